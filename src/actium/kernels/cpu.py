"""Plan → C source of a kernel, which takes tensors' addresses.

Stage: plan → [C] → library → op.
In: lowered graphs of outputs and sums over named inputs and parameters. Out: C text. Two layouts:

* flat: every parameter is one number; the tensors are runs of n elements, in whatever order memory has them;
* rows: parameters have one value per channel; the tensors are (outer, channels, inner) in memory order, and sums
  (parameter gradients) come out per channel in double.
"""

from __future__ import annotations

from importlib.resources import files

from actium.errors import KernelError
from actium.kernels.compiler import has_long_vectors
from actium.kernels.loops import Kernel, compute

# How each dtype is stored, and its functions in halves.h (none: it is computed in as it is).
STORAGE = {"float32": ("float", None), "bfloat16": ("uint16_t", "bf16"), "float16": ("uint16_t", "f16")}


def headers() -> dict[str, str]:
    """The C headers that generated sources include."""
    folder = files("actium.kernels")
    names = ("math.h", "halves.h", "hot.h", "block.h")
    return {name: folder.joinpath(name).read_text(encoding="utf-8") for name in names}


def source(kernels: tuple[Kernel, ...], dtype: str) -> str:
    """C text of a library with these kernels for one dtype."""
    parts = prelude(dtype)
    for kernel in kernels:
        parts.append(compute(kernel, dtype != "float32", converts(dtype)))
        parts.append(_flat(kernel, dtype) if kernel.layout == "flat" else _rows(kernel, dtype))
    return "\n\n".join(parts) + "\n"


def prelude(dtype: str) -> list[str]:
    """What every library of kernels for a dtype begins with."""
    if dtype not in STORAGE:
        raise KernelError(f"no kernel for {dtype}: it has {', '.join(STORAGE)}")
    return ['#include "block.h"', '#include "hot.h"', f"typedef {STORAGE[dtype][0]} T;"]


def _io(kernel: Kernel, dtype: str) -> tuple[str, str, list[str], list[str]]:
    """Text that loads a block, text that stores it to e0, e1, …, and the addresses that the inner loop gets.

    Loops that convert take a multiple of ACT_WIDE elements, w; where there are not so many, the block is copied to
    where there is room.
    """
    if converts(dtype) is None:
        return _io_of_floats(kernel)
    last = kernel.inputs[-1]
    load = [f"const T *b_{n} = i_{n} + at;" for n in kernel.inputs]
    if len(kernel.inputs) > 1:
        load[-1] = f"const T *b_{last} = flags & ACT_ONE_GRADIENT ? one_{last} : i_{last} + at;"
    copies = [f"b_{n} = act_padded(w_{n}, b_{n}, sizeof(T) * (size_t)m, sizeof w_{n});" for n in kernel.inputs]
    store = []
    for k in range(len(kernel.outputs)):
        load.append(f"T *d{k} = e{k} ? e{k} : z{k};")
        copies.append(f"d{k} = z{k};")
        store.append(f"if (e{k} && w != m) memcpy(e{k}, z{k}, sizeof(T) * (size_t)m);")
    load += ["const int w = (m + ACT_WIDE - 1) / ACT_WIDE * ACT_WIDE;", f"if (w != m) {{ {' '.join(copies)} }}"]
    outputs = [f"d{k}" for k in range(len(kernel.outputs))] + [f"s{k}" for k in range(len(kernel.sums))]
    return "\n      ".join(load), "\n      ".join(store), [f"b_{n}" for n in kernel.inputs], outputs


def converts(dtype: str) -> str | None:
    """Which halves the loops over a dtype convert, in registers: a block of floats would cost more. None for floats."""
    return STORAGE[dtype][1]


def _taken_apart(dtype: str) -> bool:
    """Whether the loops take the elements in another order than memory has them."""
    return converts(dtype) == "bf16"


def number(parameter: str, dtype: str) -> str:
    """A parameter as the loops over a dtype get it."""
    return f"act_plain_nan({parameter})" if converts(dtype) == "bf16" else parameter


def _io_of_floats(kernel: Kernel) -> tuple[str, str, list[str], list[str]]:
    """The same for floats, which the loops read and write where they are."""
    last = kernel.inputs[-1]
    load = ["const int w = m;", *(f"const float *b_{n} = i_{n} + at;" for n in kernel.inputs)]
    if len(kernel.inputs) > 1:
        load[-1] = f"const float *b_{last} = flags & ACT_ONE_GRADIENT ? one_{last} : i_{last} + at;"
    outputs = [f"(e{k} ? e{k} : z{k})" for k in range(len(kernel.outputs))]
    outputs += [f"s{k}" for k in range(len(kernel.sums))]
    return "\n      ".join(load), "", [f"b_{n}" for n in kernel.inputs], outputs


def buffers(kernel: Kernel, dtype: str) -> str:
    """Room for a block of every tensor that the inner loop cannot read or write where it is."""
    names = [f"z{k}" for k in range(len(kernel.outputs))]
    names += [f"w_{n}" for n in kernel.inputs] if converts(dtype) is not None else []
    lines = [f"_Alignas(64) T {n}[ACT_LANES]; (void){n};" for n in names]
    lines += [f"_Alignas(64) float s{k}[ACT_LANES]; (void)s{k};" for k in range(len(kernel.sums))]
    if len(kernel.inputs) > 1:
        last = kernel.inputs[-1]
        lines.append(f"_Alignas(64) T one_{last}[ACT_LANES];")
        lines.append(f"if (flags & ACT_ONE_GRADIENT) for (int i = 0; i < ACT_LANES; i++) one_{last}[i] = *i_{last};")
    return "\n  ".join(lines)


def _tensor_arguments(kernel: Kernel) -> str:
    pointers = [f"const T *i_{n}" for n in kernel.inputs] + [f"T *o{k}" for k in range(len(kernel.outputs))]
    return ", ".join(pointers)


def _passed(kernel: Kernel) -> str:
    return ", ".join([f"i_{n}" for n in kernel.inputs] + [f"o{k}" for k in range(len(kernel.outputs))])


def _advise(kernel: Kernel, count: str) -> str:
    return "\n    ".join(
        f"if (o{k}) act_prepare_output(o{k}, sizeof(T) * (size_t)({count}));" for k in range(len(kernel.outputs))
    )


def _targets(kernel: Kernel) -> str:
    """Where in memory a block of each output belongs."""
    return "\n      ".join(f"T *e{k} = o{k} ? o{k} + at : NULL;" for k in range(len(kernel.outputs)))


def _may_be_far(kernel: Kernel, dtype: str) -> bool:
    """Whether it pays to write around the caches (`benchmarks/far.py`).

    Long loops that convert in registers gain nothing; those over floats do where they are fast for what memory gives.
    """
    return kernel.is_light or (converts(dtype) is None and has_long_vectors())


def _rows_may_be_far(kernel: Kernel, dtype: str) -> bool:
    """The same for rows of channels: those of halves are too short, and long loops gain nothing (28 by 28 images)."""
    return kernel.is_light and converts(dtype) is None


def _far(kernel: Kernel, dtype: str) -> tuple[str, str, str, str]:
    """Text for outputs that are written around the caches: room for a block; before, behind each block; at the end."""
    if not _may_be_far(kernel, dtype):
        return "", "", "", ""
    outputs = range(len(kernel.outputs))
    soon = [f"act_read_soon(i_{n} + at + 2 * ACT_LANES, sizeof(T) * ACT_LANES);" for n in kernel.inputs]
    if len(kernel.inputs) > 1:
        soon[-1] = f"if (!(flags & ACT_ONE_GRADIENT)) {soon[-1]}"
    early = f"if (flags & ACT_FAR && n - at > 3 * ACT_LANES) {{ {' '.join(soon)} }}"
    before = [] if kernel.is_light else [early]
    before += [f"if (flags & ACT_FAR && e{k}) e{k} = f{k};" for k in outputs]
    behind = [f"if (flags & ACT_FAR && o{k}) act_write_far(o{k} + at, f{k}, sizeof(T) * (size_t)m);" for k in outputs]
    room = [f"_Alignas(64) T f{k}[ACT_LANES]; (void)f{k};" for k in outputs]
    last = "if (flags & ACT_FAR) act_far_written();"
    return "\n  ".join(room), "\n      ".join(before), "\n      ".join(behind), last


def _flat(kernel: Kernel, dtype: str) -> str:
    load, store, inputs, outputs = _io(kernel, dtype)
    room, before, behind, last = _far(kernel, dtype)
    values = "".join(f", {number(f'p[{k}]', dtype)}" for k in range(len(kernel.parameters)))
    blocks = f"""static void {kernel.name}_blocks({_tensor_arguments(kernel)}, int64_t from, int64_t to, int64_t n,
    const float *p, int flags) {{
  (void)p;
  {buffers(kernel, dtype)}
  {room}
  for (int64_t b = from; b < to; b++) {{
      const int64_t at = b * ACT_LANES;
      const int m = n - at < ACT_LANES ? (int)(n - at) : ACT_LANES;
      {_targets(kernel)}
      {before}
      {load}
      {kernel.name}_uniform({", ".join([*inputs, *outputs])}, w{values});
      {store}
      {behind}
  }}
  {last}
}}"""
    return f"{blocks}\n\n{_flat_entries(kernel, dtype)}"


def _distance(kernel: Kernel, count: str) -> str:
    """A statement that notes in the flags whether all outputs are to be written around the caches."""
    each = [f"act_distance(o{k}, sizeof(T) * (size_t){count})" for k in range(len(kernel.outputs))]
    return f"flags |= {' & '.join(each)};" if each else ""


def _flat_entries(kernel: Kernel, dtype: str) -> str:
    """For one thread with no questions asked, and for any number of them."""
    arguments, passed = _tensor_arguments(kernel), _passed(kernel)
    distance = _distance(kernel, "n") if _may_be_far(kernel, dtype) else ""
    return f"""void {kernel.name}_serial({"const float *p, " if kernel.parameters else ""}{arguments}, int64_t n) {{
  {kernel.name}_blocks({passed}, 0, (n + ACT_LANES - 1) / ACT_LANES, n, {"p" if kernel.parameters else "NULL"}, 0);
}}

void {kernel.name}({arguments}, int64_t n, const float *p, int threads, int flags) {{
  const int64_t blocks = (n + ACT_LANES - 1) / ACT_LANES;
  if (flags & ACT_FRESH_OUTPUT) {{
    {_advise(kernel, "n")}
  }}
  {distance}
  if (threads <= 1) {{
    {kernel.name}_blocks({passed}, 0, blocks, n, p, flags);
    return;
  }}
  {share_out("blocks", f"{kernel.name}_blocks({passed}, piece.from, piece.to, n, p, flags);")}
}}"""


def share_out(tasks: str, call: str, size: str = "ACT_PIECE", clauses: str = "") -> str:
    """C statements that run tasks on `threads` threads; in the call, piece.from and piece.to say which."""
    return f"""act_share shares[threads];
  act_share_out(shares, {tasks}, threads);
#pragma omp parallel for num_threads(threads) schedule(static){clauses} if (threads > 1)
  for (int t = 0; t < threads; t++)
    for (act_piece piece = {{.thread = t}}; act_take(shares, threads, {size}, &piece);)
      {call}"""


def _rows(kernel: Kernel, dtype: str) -> str:
    return "\n\n".join((_long_rows(kernel, dtype), _short_rows(kernel, dtype), _rows_entry(kernel, dtype)))


def sum_blocks(kernel: Kernel, dtype: str) -> list[str]:
    """Statements that add the first m of a block's w terms to sums0, sums1, …."""
    # Of a padded block the terms behind its end are left out: the last ones have to be the last.
    order = "if (w != m) act_in_order(s{0} + m / ACT_WIDE * ACT_WIDE); " if _taken_apart(dtype) else ""
    return [f"{order}act_tree_add(sums{{0}}, s{{0}}, m);".format(k) for k in range(len(kernel.sums))]


def _long_rows(kernel: Kernel, dtype: str) -> str:
    """One piece of a row of one channel: the parameters are numbers."""
    halves = int(converts(dtype) is not None)
    load, store, inputs, outputs = _io(kernel, dtype)
    room, before, behind, _ = _far(kernel, dtype) if _rows_may_be_far(kernel, dtype) else ("", "", "", "")
    uniform = "".join(f", {number(f'p[{k}][c]', dtype)}" for k in range(len(kernel.parameters)))
    count = range(len(kernel.sums))
    sums = " ".join(f"double sums{k}[ACT_SUMS] = {{0}};" for k in count)
    add_tree = "\n      ".join(sum_blocks(kernel, dtype))
    add_up = " ".join(f"acc[{k}] += act_sum_up(sums{k});" for k in count)
    return f"""static void {kernel.name}_long({_tensor_arguments(kernel)}, int64_t task, int64_t length, int64_t pieces,
    int64_t channels, const float *const *p, double *acc, int flags) {{
  {buffers(kernel, dtype)}
  {room}
  const int64_t row = task / pieces, piece = task % pieces, c = row % channels;
  const int64_t per_piece = (length + pieces - 1) / pieces;
  const int64_t first = row * length + piece * per_piece;
  const int64_t rest = length - piece * per_piece;
  const int64_t last = first + (rest < per_piece ? (rest < 0 ? 0 : rest) : per_piece);
  (void)c; (void)p; (void)acc;
  {sums}
  for (int64_t at = first, left; (left = last - at) > 0; at += act_block(left, {halves})) {{
      const int m = act_block(left, {halves});
      {_targets(kernel)}
      {before}
      {load}
      {kernel.name}_uniform({", ".join([*inputs, *outputs])}, w{uniform});
      {store}
      {behind}
      {add_tree}
  }}
  {add_up}
}}"""


def _short_rows(kernel: Kernel, dtype: str) -> str:
    """Periods of all channels: the parameters are spread to a value per element, in the order that loops take them.

    Sums are in that order, too. Behind a last period that is cut short, padding lies where other elements have theirs.
    """
    halves, apart = int(converts(dtype) is not None), int(_taken_apart(dtype))
    load, store, inputs, outputs = _io(kernel, dtype)
    elements = "".join(f", spread[{k}] + (at - row)" for k in range(len(kernel.parameters)))
    add_each = "\n        ".join(
        f"if (w != m) act_forget(s{k}, m, w, {apart});\n        "
        f"for (int i = 0; i < w; i++) acc[{k} * room + (at - row) + i] += (double)s{k}[i];"
        for k in range(len(kernel.sums))
    )
    return f"""static void {kernel.name}_short({_tensor_arguments(kernel)},
    int64_t from, int64_t to, int64_t total, int64_t period, float *const *spread, double *acc, int flags) {{
  {buffers(kernel, dtype)}
  const int64_t room = act_room(period);
  (void)acc; (void)spread; (void)room;
  for (int64_t row = from * period; row < to * period && row < total; row += period) {{
    const int64_t end = total - row < period ? total : row + period;
    for (int64_t at = row, left; (left = end - at) > 0; at += act_block(left, {halves})) {{
      const int m = act_block(left, {halves});
      {_targets(kernel)}
      {load}
      {kernel.name}_elements({", ".join([*inputs, *outputs])}, w{elements});
      {store}
        {add_each}
    }}
  }}
}}"""


def _rows_entry(kernel: Kernel, dtype: str) -> str:
    """Shares the work out: tasks depend on the shape alone, and their sums are added in their order."""
    return f"""int {kernel.name}({_tensor_arguments(kernel)},
    int64_t outer, int64_t channels, int64_t inner, const float *const *p, double *sums, int threads, int flags) {{
  const int64_t total = outer * channels * inner;
  int failed = 0;
  if (flags & ACT_FRESH_OUTPUT) {{
    {_advise(kernel, "total")}
  }}
  if (channels == 1 || inner >= 64) {{
    {_share_long_rows(kernel, dtype)}
  }}
  {_share_short_rows(kernel, dtype)}
}}"""


_EACH_TASK = "for (int64_t task = piece.from; task < piece.to; task++)\n        "


def _share_long_rows(kernel: Kernel, dtype: str) -> str:
    sums = len(kernel.sums)
    call = f"{kernel.name}_long({_passed(kernel)}, task, length, pieces, channels, p, parts + task * {sums}, flags);"
    each, distance = _EACH_TASK + call, ""
    if _rows_may_be_far(kernel, dtype):
        each = f"{{ {each}\n        {_far(kernel, dtype)[-1]} }}"
        distance = f"if (act_whole(length, pieces, sizeof(T))) {_distance(kernel, 'total')}"
    return f"""const int64_t rows = channels == 1 ? 1 : outer * channels, length = channels == 1 ? total : inner;
    const int64_t pieces = length > 16384 ? (length + 16383) / 16384 : 1, tasks = rows * pieces;
    {distance}
    double *parts = {f"calloc((size_t)tasks * {sums} + 1, sizeof(double))" if sums else "NULL"};
    {"if (!parts) return 1;" if sums else ""}
    {share_out("tasks", each, "length < 8192 ? 8192 / (length + 1) + 1 : 1")}
    {f"act_gather_sums(sums, parts, {sums}, rows, pieces, channels);" if sums else ""}
    free(parts);
    return 0;"""


def _share_short_rows(kernel: Kernel, dtype: str) -> str:
    count, sums = len(kernel.parameters), len(kernel.sums)
    apart = int(_taken_apart(dtype))
    call = (
        f"{kernel.name}_short({_passed(kernel)}, task * per_task, (task + 1) * per_task, total, period, spread,\n"
        f"          parts + task * act_room(period) * {sums}, flags);"
    )
    return f"""const int64_t once = channels * inner, copies = act_copies(once);
  const int64_t period = once * copies;
  const int64_t rows = period ? (total + period - 1) / period : 0, per_task = act_rows_per_task(rows, period, {sums});
  const int64_t tasks = (rows + per_task - 1) / per_task;
  float *spread[{max(count, 1)}] = {{0}};
  for (int k = 0; k < {count}; k++) failed |= !(spread[k] = act_spread(p[k], channels, inner, copies, {apart}));
  double *parts = {f"calloc((size_t)(tasks * act_room(period)) * {sums} + 1, sizeof(double))" if sums else "NULL"};
  {"failed |= !parts;" if sums else ""}
  if (!failed) {{
    {share_out("tasks", _EACH_TASK + call, "1")}
    {f"act_fold(sums, parts, tasks, {sums}, channels, inner, copies, {apart});" if sums else ""}
  }}
  free(parts);
  for (int k = 0; k < {count}; k++) free(spread[k]);
  return failed;"""
