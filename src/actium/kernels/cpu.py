"""Plan → C source of a kernel, and → a callable that takes tensors' addresses.

Stage: plan → [C] → library → op.
In: lowered graphs of outputs and sums over named inputs and parameters. Out: C text. Two layouts:

* flat: every parameter is one number; the tensors are runs of n elements, in whatever order memory has them;
* rows: parameters have one value per channel; the tensors are (outer, channels, inner) in memory order, and sums
  (parameter gradients) come out per channel in double.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from actium.errors import KernelError
from actium.symbolic.graph import IDENTIFIER, Node, const, neg, number_of, walk
from actium.symbolic.primitives import PRIMITIVES

Layout = Literal["flat", "rows"]

# How each dtype is stored, and its functions in math.h (none: it is computed in as it is).
STORAGE = {"float32": ("float", None), "bfloat16": ("uint16_t", "bf16"), "float16": ("uint16_t", "f16")}


@dataclass(frozen=True)
class Kernel:
    """One C function to generate.

    Attributes:
        name: Its name in the library.
        inputs: Names of the elementwise inputs.
        parameters: Names of the parameters.
        outputs: Lowered graphs, each written to its own tensor of the inputs' dtype.
        sums: Lowered graphs, each added up per channel (layout "rows" only).
        layout: See the module docstring.
    """

    name: str
    inputs: tuple[str, ...]
    parameters: tuple[str, ...]
    outputs: tuple[Node, ...]
    sums: tuple[Node, ...] = ()
    layout: Layout = "flat"


def headers() -> dict[str, str]:
    """The C headers that generated sources include."""
    folder = files("actium.kernels")
    return {name: folder.joinpath(name).read_text(encoding="utf-8") for name in ("math.h", "hot.h", "block.h")}


def source(kernels: tuple[Kernel, ...], dtype: str) -> str:
    """C text of a library with these kernels for one dtype."""
    if dtype not in STORAGE:
        raise KernelError(f"no kernel for {dtype}: it has {', '.join(STORAGE)}")
    storage, _ = STORAGE[dtype]
    parts = ['#include "block.h"', '#include "hot.h"', f"typedef {storage} T;"]
    for kernel in kernels:
        parts.append(_compute(kernel, narrow=dtype != "float32"))
        parts.append(_flat(kernel, dtype) if kernel.layout == "flat" else _rows(kernel, dtype))
    return "\n\n".join(parts) + "\n"


def _literal(value: float) -> str:
    if value in (float("inf"), float("-inf")):
        return "(-__builtin_inff())" if value < 0 else "__builtin_inff()"
    number = f"{value.hex()}f"
    return f"({number})" if value < 0 else number


def expressions(roots: tuple[Node, ...], names: dict[Node, str], narrow: bool) -> tuple[list[str], list[str]]:
    """Statements that compute shared nodes once, and the expression of each root."""
    text = dict(names)
    statements: list[str] = []
    hot = _Hot.of(roots, narrow)
    for node in walk(*roots):
        if node in text:
            continue
        if node.is_const:
            text[node] = _literal(number_of(node))
            continue
        template = _hot_form(node, hot) or PRIMITIVES[node.op].c
        if template is None:
            raise KernelError(f"{node.op} has no C form: it must be lowered first")
        expression = _fused(node, text, hot) or template.format(*(text[a] for a in node.args))
        if node.is_bool:  # stays inside its selection, where the compiler turns it into a mask
            text[node] = expression
        else:
            text[node] = f"t{len(statements)}"
            statements.append(f"const float {text[node]} = {expression};")
    return statements, [text[root] for root in roots]


# Functions of hot.h by the operator that they compute; those with a second name have a version for halves.
_NEVER_POSITIVE = {"exp": "act_expn", "expm1": "act_expm1n", "exp_hi": "act_expn_hi", "exp_lo": "act_expn_lo"}
_FALLING_SQUARE = {"exp_square": "act_expsqn", "expsq_hi": "act_expsqn_hi", "expsq_lo": "act_expsqn_lo"}
_ALWAYS = {"tanh": ("act_tanh_by_expm1", "act_tanh_h"), "mills": ("act_mills", "act_mills_h")}
_WITH_HALF = frozenset({"exp", "expm1", "exp_square"})


@dataclass(frozen=True)
class _Hot:
    """What the choice of a cheaper form depends on, beyond the node itself.

    Attributes:
        narrow: Results are rounded to a half.
        uses: How often each node is an operand or a root.
        split: Exponents y whose e^y is needed in two factors.
        negative: e^y and e^y - 1 that only count where their exponent is not positive.
    """

    narrow: bool
    uses: Counter[Node]
    split: frozenset[Node]
    negative: frozenset[Node]

    @classmethod
    def of(cls, roots: tuple[Node, ...], narrow: bool) -> _Hot:
        nodes = list(walk(*roots))
        uses = Counter(a for node in nodes for a in node.args)
        uses.update(roots)
        split = frozenset(node.args[0] for node in nodes if node.op == "exp_hi")
        negative = frozenset(e for node in nodes if node.op == "where" for e in _negative_exponentials(node, uses))
        return cls(narrow, uses, split, negative)


def _negative_exponentials(node: Node, uses: Counter[Node]) -> Iterator[Node]:
    """Exponentials of u that are used in the branch of a selection where u is not positive, and nowhere else."""
    condition, above, below = node.args
    if condition.op not in ("lt", "le", "gt", "ge") or condition.args[1] is not const(0.0):
        return
    left = [above if condition.op in ("lt", "le") else below]
    while left:
        inner = left.pop()
        if uses[inner] == 1 and inner.op in ("exp", "expm1") and inner.args[0] is condition.args[0]:
            yield inner
        elif uses[inner] == 1:
            left.extend(inner.args)


def _hot_form(node: Node, hot: _Hot) -> str | None:
    """A cheaper C form that the node's operands and users allow."""
    half = "_h" if hot.narrow and node.op in _WITH_HALF else ""
    if _is_negative_abs(node):
        return "(-__builtin_fabsf({1}))" if node.args[1].op != "neg" else "(-__builtin_fabsf({2}))"
    if node.op in _NEVER_POSITIVE and (node in hot.negative or _never_positive(node.args[0])):
        if node.op == "exp" and node.args[0] in hot.split:
            return "(act_expn_hi({0}) * act_expn_lo({0}))"
        return f"{_NEVER_POSITIVE[node.op]}{half}({{0}})"
    if node.op in _FALLING_SQUARE and node.args[1].is_const and number_of(node.args[1]) < 0:
        return f"{_FALLING_SQUARE[node.op]}{half}({{0}}, {{1}})"
    if node.op == "log1p" and node.args[0].op == "exp" and _never_positive(node.args[0].args[0]):
        return f"act_log1p_unit{'_h' if hot.narrow else ''}({{0}})"
    return f"{_ALWAYS[node.op][hot.narrow]}({{0}})" if node.op in _ALWAYS else None


def _fused(node: Node, text: dict[Node, str], hot: _Hot) -> str | None:
    """A sum with a product that nothing else needs, in one rounding."""
    if node.op not in ("add", "sub"):
        return None
    a, b = node.args
    for product, other, first in ((a, b, True), (b, a, False)):
        if product.op == "mul" and hot.uses[product] == 1:
            p, q = (text[n] for n in product.args)
            sign_product = "-" if node.op == "sub" and not first else ""
            sign_other = "-" if node.op == "sub" and first else ""
            return f"ACT_FMA({sign_product}{p}, {q}, {sign_other}{text[other]})"
    return None


def _is_negative_abs(node: Node) -> bool:
    if node.op != "where" or node.args[0].op != "ge" or node.args[0].args[1] is not const(0.0):
        return False
    u = node.args[0].args[0]
    return node.args[2] is u and node.args[1] is neg(u)


def _never_positive(node: Node) -> bool:
    scaled = node.op == "mul" and node.args[0].is_const and number_of(node.args[0]) > 0
    return _is_negative_abs(node.args[1] if scaled else node)


def _names(kernel: Kernel, per_element: bool) -> dict[Node, str]:
    for name in (*kernel.inputs, *kernel.parameters):
        if not IDENTIFIER.match(name):
            raise KernelError(f"{name!r} cannot be a name in C")
    suffix = "[i]" if per_element else ""
    names = {Node("input", (), n): f"in_{n}" for n in kernel.inputs}
    return names | {Node("param", (), n): f"p_{n}{suffix}" for n in kernel.parameters}


def _compute(kernel: Kernel, narrow: bool) -> str:
    """The inner loops: one with the parameters as numbers and, for rows, one with a value per element."""
    loops = [_loop(kernel, narrow, per_element=False)]
    if kernel.layout == "rows":
        loops.append(_loop(kernel, narrow, per_element=True))
    return "\n\n".join(loops)


def _loop(kernel: Kernel, narrow: bool, per_element: bool) -> str:
    names = _names(kernel, per_element)
    statements, results = expressions((*kernel.outputs, *kernel.sums), names, narrow)
    star = "const float *" if per_element else "float "
    arguments = [f"const float *x_{n}" for n in kernel.inputs]
    arguments += [f"float *y{k}" for k in range(len(results))]
    arguments += ["int n", *(f"{star}p_{n}" for n in kernel.parameters)]
    body = [f"const float in_{n} = x_{n}[i];" for n in kernel.inputs] + statements
    body += [f"y{k}[i] = {result};" for k, result in enumerate(results)]
    name = f"{kernel.name}_{'elements' if per_element else 'uniform'}"
    lines = "\n    ".join(body)
    # The pragma only says that iterations are independent, which holds in place too.
    return (
        f"static inline void {name}({', '.join(arguments)}) {{\n"
        f"#pragma GCC ivdep\n  for (int i = 0; i < n; i++) {{\n    {lines}\n  }}\n}}"
    )


def _io(kernel: Kernel, dtype: str) -> tuple[str, str, list[str], list[str]]:
    """Text that loads a block, text that stores it, and the addresses that the inner loop gets."""
    convert = STORAGE[dtype][1]
    last = kernel.inputs[-1]
    load, store, inputs, outputs = [], [], [], []
    for name in kernel.inputs:
        if name == last and len(kernel.inputs) > 1:
            load.append(f"const float *b_{name} = one_{name};")
            direct = (
                f"i_{name} + at" if convert is None else f"act_load_{convert}(i_{name} + at, w_{name}, m), w_{name}"
            )
            load.append(f"if (!(flags & ACT_ONE_GRADIENT)) b_{name} = ({direct});")
        elif convert is None:
            load.append(f"const float *b_{name} = i_{name} + at;")
        else:
            load.append(f"act_load_{convert}(i_{name} + at, w_{name}, m); const float *b_{name} = w_{name};")
        inputs.append(f"b_{name}")
    for k in range(len(kernel.outputs)):
        if convert is None:
            outputs.append(f"(o{k} ? o{k} + at : z{k})")
        else:
            outputs.append(f"z{k}")
            store.append(f"if (o{k}) act_store_{convert}(z{k}, o{k} + at, m);")
    outputs += [f"s{k}" for k in range(len(kernel.sums))]
    return "\n      ".join(load), "\n      ".join(store), inputs, outputs


def _buffers(kernel: Kernel, dtype: str) -> str:
    convert = STORAGE[dtype][1]
    names = [f"z{k}" for k in range(len(kernel.outputs))] + [f"s{k}" for k in range(len(kernel.sums))]
    names += [f"w_{n}" for n in kernel.inputs] if convert is not None else []
    lines = [f"_Alignas(64) float {n}[ACT_LANES]; (void){n};" for n in names]
    if len(kernel.inputs) > 1:
        last = kernel.inputs[-1]
        value = f"*i_{last}" if convert is None else f"act_from_{convert}(*i_{last})"
        lines.append(f"_Alignas(64) float one_{last}[ACT_LANES];")
        lines.append(f"if (flags & ACT_ONE_GRADIENT) for (int i = 0; i < ACT_LANES; i++) one_{last}[i] = {value};")
    return "\n  ".join(lines)


def _tensor_arguments(kernel: Kernel) -> str:
    pointers = [f"const T *i_{n}" for n in kernel.inputs] + [f"T *o{k}" for k in range(len(kernel.outputs))]
    return ", ".join(pointers)


def _advise(kernel: Kernel, count: str) -> str:
    return "\n    ".join(
        f"if (o{k}) act_prepare_output(o{k}, sizeof(T) * (size_t)({count}));" for k in range(len(kernel.outputs))
    )


def _flat(kernel: Kernel, dtype: str) -> str:
    load, store, inputs, outputs = _io(kernel, dtype)
    values = "".join(f", p[{k}]" for k in range(len(kernel.parameters)))
    arguments = _tensor_arguments(kernel)
    passed = ", ".join([f"i_{n}" for n in kernel.inputs] + [f"o{k}" for k in range(len(kernel.outputs))])
    return f"""static void {kernel.name}_blocks({arguments}, int64_t from, int64_t to, int64_t n,
    const float *p, int flags) {{
  (void)p;
  {_buffers(kernel, dtype)}
  for (int64_t b = from; b < to; b++) {{
      const int64_t at = b * ACT_LANES;
      const int m = n - at < ACT_LANES ? (int)(n - at) : ACT_LANES;
      {load}
      {kernel.name}_uniform({", ".join([*inputs, *outputs])}, m{values});
      {store}
  }}
}}

void {kernel.name}_serial({"const float *p, " if kernel.parameters else ""}{arguments}, int64_t n) {{
  {kernel.name}_blocks({passed}, 0, (n + ACT_LANES - 1) / ACT_LANES, n, {"p" if kernel.parameters else "NULL"}, 0);
}}

void {kernel.name}({arguments}, int64_t n, const float *p, int threads, int flags) {{
  const int64_t blocks = (n + ACT_LANES - 1) / ACT_LANES;
  if (flags & ACT_FRESH_OUTPUT) {{
    {_advise(kernel, "n")}
  }}
  if (threads <= 1) {{
    {kernel.name}_blocks({passed}, 0, blocks, n, p, flags);
    return;
  }}
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int t = 0; t < threads; t++)
    {kernel.name}_blocks({passed}, blocks * t / threads, blocks * (t + 1) / threads, n, p, flags);
}}"""


def _rows(kernel: Kernel, dtype: str) -> str:
    """Long rows take each channel's parameters as numbers; short ones a spread array of them (one period)."""
    load, store, inputs, outputs = _io(kernel, dtype)
    count, sums = len(kernel.parameters), len(kernel.sums)
    arguments = _tensor_arguments(kernel)
    passed = ", ".join([f"i_{n}" for n in kernel.inputs] + [f"o{k}" for k in range(len(kernel.outputs))])
    uniform = "".join(f", p[{k}][c]" for k in range(count))
    elements = "".join(f", spread[{k}] + (at - row)" for k in range(count))
    add_tree = "\n        ".join(f"acc[{k}] += act_tree_sum(s{k}, m);" for k in range(sums))
    add_each = "\n        ".join(
        f"for (int i = 0; i < m; i++) acc[{k} * period + (at - row) + i] += (double)s{k}[i];" for k in range(sums)
    )
    return f"""static void {kernel.name}_long({arguments}, int64_t task, int64_t length, int64_t pieces,
    int64_t channels, const float *const *p, double *acc, int flags) {{
  {_buffers(kernel, dtype)}
  const int64_t row = task / pieces, piece = task % pieces, c = row % channels;
  const int64_t per_piece = (length + pieces - 1) / pieces;
  const int64_t first = row * length + piece * per_piece;
  const int64_t rest = length - piece * per_piece;
  const int64_t last = first + (rest < per_piece ? (rest < 0 ? 0 : rest) : per_piece);
  (void)c; (void)p; (void)acc;
  for (int64_t at = first; at < last; at += ACT_LANES) {{
      const int m = last - at < ACT_LANES ? (int)(last - at) : ACT_LANES;
      {load}
      {kernel.name}_uniform({", ".join([*inputs, *outputs])}, m{uniform});
      {store}
        {add_tree}
  }}
}}

static void {kernel.name}_short({arguments}, int64_t from, int64_t to, int64_t total, int64_t period,
    float *const *spread, double *acc, int flags) {{
  {_buffers(kernel, dtype)}
  (void)acc; (void)spread;
  for (int64_t row = from * period; row < to * period && row < total; row += period) {{
    const int64_t end = total - row < period ? total : row + period;
    for (int64_t at = row; at < end; at += ACT_LANES) {{
      const int m = end - at < ACT_LANES ? (int)(end - at) : ACT_LANES;
      {load}
      {kernel.name}_elements({", ".join([*inputs, *outputs])}, m{elements});
      {store}
        {add_each}
    }}
  }}
}}

int {kernel.name}({arguments}, int64_t outer, int64_t channels, int64_t inner, const float *const *p, double *sums,
    int threads, int flags) {{
  const int64_t total = outer * channels * inner;
  int failed = 0;
  if (flags & ACT_FRESH_OUTPUT) {{
    {_advise(kernel, "total")}
  }}
  if (channels == 1 || inner >= 64) {{
    const int64_t rows = channels == 1 ? 1 : outer * channels, length = channels == 1 ? total : inner;
    const int64_t pieces = length > 16384 ? (length + 16383) / 16384 : 1, tasks = rows * pieces;
    double *parts = {f"calloc((size_t)tasks * {sums} + 1, sizeof(double))" if sums else "NULL"};
    {"if (!parts) return 1;" if sums else ""}
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t task = 0; task < tasks; task++)
      {kernel.name}_long({passed}, task, length, pieces, channels, p, parts + task * {sums}, flags);
    for (int64_t task = 0; task < tasks; task++)
      for (int k = 0; k < {sums}; k++) sums[k * channels + (task / pieces) % channels] += parts[task * {sums} + k];
    free(parts);
    return 0;
  }}
  const int64_t once = channels * inner, copies = once < 256 && once > 0 ? 256 / once : 1, period = once * copies;
  const int64_t rows = period ? (total + period - 1) / period : 0, per_task = act_rows_per_task(rows, period, {sums});
  const int64_t tasks = (rows + per_task - 1) / per_task;
  float *spread[{max(count, 1)}] = {{0}};
  for (int k = 0; k < {count}; k++) failed |= !(spread[k] = act_spread(p[k], channels, inner, copies));
  double *parts = {f"calloc((size_t)(tasks * period) * {sums} + 1, sizeof(double))" if sums else "NULL"};
  {"failed |= !parts;" if sums else ""}
  if (!failed) {{
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t task = 0; task < tasks; task++)
      {kernel.name}_short({passed}, task * per_task, (task + 1) * per_task, total, period, spread,
          parts + task * period * {sums}, flags);
    for (int64_t task = 0; task < tasks; task++)
      for (int k = 0; k < {sums}; k++)
        for (int64_t e = 0; e < period; e++)
          sums[k * channels + (e % once) / inner] += parts[(task * {sums} + k) * period + e];
  }}
  free(parts);
  for (int k = 0; k < {count}; k++) free(spread[k]);
  return failed;
}}"""
