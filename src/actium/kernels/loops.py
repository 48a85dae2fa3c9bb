"""Plan → the inner loops of a kernel in C, over the elements of one block.

Stage: plan → C expressions → fission → [loops] → kernel source.
In: lowered graphs of outputs and sums. Out: C functions that take the addresses of a block. A loop over halves in
memory widens a few of them, computes, and rounds once; a loop over floats leaves that to who calls it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from actium.errors import KernelError
from actium.kernels.fission import Piece, pieces
from actium.kernels.forms import deciding, expressions, is_light, literal
from actium.kernels.midrange import Midrange
from actium.symbolic.graph import IDENTIFIER, Node, walk, where

Layout = Literal["flat", "rows"]
_LEAF = re.compile(r"\bin_\w+")
# What a loop over halves collects for each output: its type, and what is done to a result. Rounding to float16 is one
# instruction, for eight at a time; that to bfloat16 is arithmetic, which the loop's own vectors do best.
_COLLECTED = {"f16": ("float", "{}"), "bf16": ("uint32_t", "act_round_bf16_({})")}


@dataclass(frozen=True)
class Kernel:
    """One C function to generate.

    Attributes:
        name: Its name in the library.
        inputs: Names of the elementwise inputs.
        parameters: Names of the parameters.
        outputs: Lowered graphs, each written to its own tensor of the inputs' dtype.
        sums: Lowered graphs, each added up: per channel with the layout "rows", over all elements by `paired.py`.
        layout: See `cpu.py`.
        midrange: The cheap form of the outputs and sums, if there is one.
    """

    name: str
    inputs: tuple[str, ...]
    parameters: tuple[str, ...]
    outputs: tuple[Node, ...]
    sums: tuple[Node, ...] = ()
    layout: Layout = "flat"
    midrange: Midrange | None = None

    @functools.cached_property
    def is_light(self) -> bool:
        """Whether no elementary function is in it, nor anything that takes long."""
        return self.midrange is None and is_light(self.outputs + self.sums)


@dataclass(frozen=True)
class _Style:
    """How a loop sees its operands.

    Attributes:
        narrow: Results are rounded to a half, here or later.
        convert: Which halves memory holds, "bf16" or "f16"; None for floats.
        per_element: Parameters have a value per element.
    """

    narrow: bool
    convert: str | None
    per_element: bool

    @property
    def index(self) -> str:
        """The place of an element in the block."""
        return "i" if self.convert is None else "i + j"


def compute(kernel: Kernel, narrow: bool, convert: str | None = None) -> str:
    """The inner loops: one with the parameters as numbers and, for rows, one with a value per element.

    Args:
        kernel: What they compute.
        narrow: Whether results are rounded to a half.
        convert: For loops over halves in memory, a multiple of ACT_WIDE of them, which ones: "bf16" or "f16". They
            take bfloat16 apart; sums, and parameters with a value per element, are in the same order.
    """
    make = _loop if kernel.midrange is None else _two_loops
    loops = [make(kernel, _Style(narrow, convert, per_element=False))]
    if kernel.layout == "rows":
        loops.append(make(kernel, _Style(narrow, convert, per_element=True)))
    return "\n\n".join(loops)


def _names(kernel: Kernel, style: _Style) -> dict[Node, str]:
    for name in (*kernel.inputs, *kernel.parameters):
        if not IDENTIFIER.match(name):
            raise KernelError(f"{name!r} cannot be a name in C")
    suffix = f"[{style.index}]" if style.per_element else ""
    names = {Node("input", (), n): f"in_{n}" for n in kernel.inputs}
    return names | {Node("param", (), n): f"p_{n}{suffix}" for n in kernel.parameters}


def _loop_name(kernel: Kernel, style: _Style) -> str:
    return f"{kernel.name}_{'elements' if style.per_element else 'uniform'}"


def _loop_arguments(kernel: Kernel, style: _Style) -> list[tuple[str, str]]:
    """Types and names: the inputs, the outputs, the sums, the count, the parameters."""
    memory = "float *" if style.convert is None else "T *"
    arguments = [(f"const {memory}", f"x_{n}") for n in kernel.inputs]
    arguments += [(memory, f"y{k}") for k in range(len(kernel.outputs))]
    arguments += [("float *", f"s{k}") for k in range(len(kernel.sums))]
    parameter = "const float *" if style.per_element else "float "
    return [*arguments, ("int ", "n"), *((parameter, f"p_{n}") for n in kernel.parameters)]


def _loop(kernel: Kernel, style: _Style) -> str:
    roots, name = (*kernel.outputs, *kernel.sums), _loop_name(kernel, style)
    decide = () if style.per_element else deciding(roots)
    if not decide:
        return _function(kernel, style, f"inline void {name}", roots)
    # The same for all elements: asked once, not of each.
    names, passed = _names(kernel, style), ", ".join(n for _, n in _loop_arguments(kernel, style))
    arguments = ", ".join(kind + n for kind, n in _loop_arguments(kernel, style))
    condition = " & ".join(f"({names[p]} >= 0.0f)" for p in decide)
    parts = [
        _function(kernel, style, f"inline void {name}_falling", roots, not_negative=True),
        _function(kernel, style, f"__attribute__((noinline)) void {name}_any", roots),
        f"static inline void {name}({arguments}) {{\n  if ({condition}) {name}_falling({passed});\n"
        f"  else {name}_any({passed});\n}}",
    ]
    return "\n\n".join(parts)


@dataclass(frozen=True)
class _Watch:
    """How a loop finds out whether all elements are in the midrange.

    Attributes:
        of: What it takes the largest value of: nodes as expressions.
        after: What is returned.
    """

    of: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    def before(self) -> list[str]:
        """Declarations."""
        return [f"int most{k}[ACT_WIDE] = {{0}};" for k in range(len(self.of))]

    def each(self, style: _Style) -> list[str]:
        """Statements for every element."""
        lane = "0" if style.convert is None else "j"
        return [f"most{k}[{lane}] = act_larger(most{k}[{lane}], {value});" for k, value in enumerate(self.of)]


def _watch(kernel: Kernel, style: _Style, midrange: Midrange, results: Sequence[str]) -> _Watch:
    """The results are the expressions of the bounded nodes; parameters that are numbers are asked once."""
    if (x := _decided_by(midrange, style)) is not None:
        return _Watch((f"in_{x.value}",), (f"return !{_holds(kernel, style, ['act_largest(most0)'])};",))
    names, moving = _names(kernel, style), _moving(midrange, style)
    kept = [f"(act_largest(most{k}) <= {literal(most)})" for k, (_, most) in enumerate(moving)]
    fixed = [pair for pair in midrange.bounds if pair not in moving]
    kept += [f"(__builtin_fabsf({names[node]}) <= {literal(most)})" for node, most in fixed]
    return _Watch(tuple(results), (f"return !({' & '.join(kept)});",))


def _moving(midrange: Midrange, style: _Style) -> list[tuple[Node, float]]:
    """The bounds that every element is asked about: none where the largest decides."""
    if _decided_by(midrange, style) is not None:
        return []
    return [(node, most) for node, most in midrange.bounds if node.op != "param" or style.per_element]


def _function(
    kernel: Kernel,
    style: _Style,
    head: str,
    roots: tuple[Node, ...],
    midrange: Midrange | None = None,
    cut: bool = True,
    not_negative: bool = False,
    among: tuple[Node, ...] = (),
) -> str:
    """A function that computes the roots for n elements; with a midrange, it returns whether any is outside.

    It rounds as another one does whose graphs `among` are.
    """
    names = _names(kernel, style)
    nodes = [] if midrange is None else [node for node, _ in _moving(midrange, style)]
    statements, results = expressions((*roots, *nodes), names, style.narrow, not_negative, among)
    loops = pieces(statements, results) if cut else [Piece((), tuple(statements), ())]
    values, rest = results[: len(roots)], results[len(roots) :]
    watch = _Watch() if midrange is None else _watch(kernel, style, midrange, rest)
    text = [f"_Alignas(64) float a_{name}[ACT_LANES];" for piece in loops for name in piece.stores]
    text += watch.before()
    text += [_loop_text(kernel, style, piece) for piece in loops[:-1]]
    text.append(_loop_text(kernel, style, loops[-1], values, watch.each(style)))
    arguments = ", ".join(kind + name for kind, name in _loop_arguments(kernel, style))
    lines = "\n  ".join([*text, *watch.after])
    return f"static {head}({arguments}) {{\n  {lines}\n}}"


def _loop_text(
    kernel: Kernel, style: _Style, piece: Piece, results: Sequence[str] = (), notes: Sequence[str] = ()
) -> str:
    """One loop over the elements of a block; the last one has the results, and notes what is to be known of them."""
    at, count = style.index, len(kernel.outputs)
    outputs, sums = results[:count], results[count:]
    place, kind, rounded = ("y{}[i]", "", "{}") if style.convert is None else ("f_y{}[j]", *_COLLECTED[style.convert])
    body = [*map(str, piece.statements), *(f"a_{name}[{at}] = {name};" for name in piece.stores)]
    body += [f"{place.format(k)} = {rounded.format(result)};" for k, result in enumerate(outputs)]
    body += [f"s{k}[{at}] = {result};" for k, result in enumerate(sums)]
    body += notes
    names = set(_LEAF.findall("\n".join(body)))
    inputs = [n for n in kernel.inputs if f"in_{n}" in names]
    place = "x_{}[i]" if style.convert is None else "f_{}[j]"
    before = [f"const float in_{n} = {place.format(n)};" for n in inputs]
    before += [f"const float {name} = a_{name}[{at}];" for name in piece.loads]
    lines = "\n    ".join([*before, *body])
    # The pragma only says that iterations are independent, which holds in place too.
    if style.convert is None:
        return f"#pragma GCC ivdep\n  for (int i = 0; i < n; i++) {{\n    {lines}\n  }}"
    return _over_halves(style.convert, lines, inputs, [f"{kind} f_y{k}[ACT_WIDE];" for k in range(len(outputs))])


def _over_halves(convert: str, lines: str, inputs: list[str], outputs: list[str]) -> str:
    """A loop that takes ACT_WIDE halves at a time, and within it one over their elements."""
    widen = [f"float f_{n}[ACT_WIDE]; act_widen_{convert}(x_{n} + i, f_{n});" for n in inputs] + outputs
    narrow = [f"act_narrow_{convert}(f_y{k}, y{k} + i);" for k in range(len(outputs))]
    before, after = ("\n    ".join(["", *part]) for part in (widen, narrow))
    # Unrolled before it is made of vectors, the inner loop would be made of none.
    pragmas = "#pragma GCC ivdep\n#pragma GCC unroll 1"
    inner = f"\n{pragmas}\n    for (int j = 0; j < ACT_WIDE; j++) {{\n    {lines}\n    }}"
    return f"for (int i = 0; i < n; i += ACT_WIDE) {{{before}{inner}{after}\n  }}"


def _two_loops(kernel: Kernel, style: _Style) -> str:
    """The cheap form for all elements and, where it fails for one of them, again with the form that always holds.

    A result must not replace an input before it is known that it stands: in place, it goes to a buffer first.
    """
    assert kernel.midrange is not None
    name, midrange = _loop_name(kernel, style), kernel.midrange
    roots = (*kernel.outputs, *kernel.sums)
    chosen = tuple(where(midrange.condition, cheap, root) for cheap, root in zip(midrange.roots, roots, strict=True))
    cheap = _function(kernel, style, f"inline int {name}_mid", midrange.roots, midrange, among=chosen)
    # Not inline: seldom called, it would only push the other's constants out of registers.
    whole = _function(kernel, style, f"__attribute__((noinline)) void {name}_all", chosen, cut=False)
    passed = [n for _, n in _loop_arguments(kernel, style)]
    arguments = ", ".join(kind + n for kind, n in _loop_arguments(kernel, style))
    memory = "float" if style.convert is None else "T"
    buffers, back = [], []
    for k in range(len(kernel.outputs)):
        same = " || ".join(f"y{k} == x_{n}" for n in kernel.inputs)
        buffers.append(f"_Alignas(64) {memory} buffer{k}[ACT_LANES]; {memory} *out{k} = {same} ? buffer{k} : y{k};")
        back.append(f"if (out{k} != y{k}) memcpy(y{k}, out{k}, sizeof({memory}) * (size_t)n);")
        passed[passed.index(f"y{k}")] = f"out{k}"
    call = ", ".join(passed)
    # Neighbours are mostly alike: where the first element is outside, the cheap form need not be tried.
    value = "x_{}[0]" if style.convert is None else f"act_from_{style.convert}(x_{{}}[0])"
    first = _holds(kernel, style, [value.format(n) for n in _asked(kernel, midrange.condition)], "first")
    choice = f"if (!{first} || {name}_mid({call})) {name}_all({call});"
    lines = "\n  ".join([*buffers, choice, *back])
    parts = [
        _holds_function(kernel, style, chosen),
        cheap,
        whole,
        f"static inline void {name}({arguments}) {{\n  {lines}\n}}",
    ]
    return "\n\n".join(parts)


def _decided_by(midrange: Midrange, style: _Style) -> Node | None:
    """The input of which the largest element decides: where parameters are the same for all."""
    return None if style.per_element else midrange.decided_by


def _asked(kernel: Kernel, condition: Node) -> list[str]:
    """The inputs that the condition is about."""
    found = {node.value for node in walk(condition) if node.op == "input"}
    return [n for n in kernel.inputs if n in found]


def _holds(kernel: Kernel, style: _Style, inputs: Sequence[str], which: str = "holds") -> str:
    """A call that tells whether the condition holds for inputs, with the parameters of the block's first element."""
    at = "[0]" if style.per_element else ""
    return f"{_loop_name(kernel, style)}_{which}({', '.join([*inputs, *(f'p_{n}{at}' for n in kernel.parameters)])})"


def _holds_function(kernel: Kernel, style: _Style, chosen: tuple[Node, ...]) -> str:
    """The function that it calls; it rounds as the selections in the chosen graphs do."""
    assert kernel.midrange is not None
    condition, one = kernel.midrange.condition, replace(style, per_element=False)
    statements, (holds,) = expressions((condition,), _names(kernel, one), style.narrow, among=chosen)
    names = [f"in_{n}" for n in _asked(kernel, condition)] + [f"p_{n}" for n in kernel.parameters]
    arguments, name = ", ".join(f"float {n}" for n in names), _loop_name(kernel, style)
    lines = "\n  ".join([*map(str, statements), f"return {holds};"])
    # Inlined before the loops, it would have gcc carry what it computes from one iteration to the next, and so keep
    # them from being vectorised.
    return f"""static inline int {name}_holds({arguments}) {{
  {lines}
}}

static __attribute__((noinline)) int {name}_first({arguments}) {{ return {name}_holds({", ".join(names)}); }}"""
