"""Plan → C source of kernels whose tensors are rows at a distance: the halves of one tensor, read in place.

Stage: plan → [C] → library → gated units.
In: kernels as for `cpu.py`. Out: C text. The layout: every tensor is (outer, inner) elements, rows of `inner` that lie
together, at a distance of its own from row to row. In an (outer, 2, inner) tensor the rows of either half are 2·inner
apart; in the dense output, `inner`. Every parameter is one number; its gradient is a sum over all elements.
"""

from __future__ import annotations

from importlib.resources import files

from actium.kernels import cpu
from actium.kernels.loops import Kernel, compute


def headers() -> dict[str, str]:
    """The C headers that generated sources include."""
    own = files("actium.kernels").joinpath("paired.h").read_text(encoding="utf-8")
    return {**cpu.headers(), "paired.h": own}


def source(kernels: tuple[Kernel, ...], dtype: str) -> str:
    """C text of a library with these kernels for one dtype."""
    parts = [*cpu.prelude(dtype), '#include "paired.h"']
    for kernel in kernels:
        parts += [
            compute(kernel, dtype != "float32", cpu.converts(dtype)),
            _blocks(kernel, dtype),
            _entry(kernel),
        ]
    return "\n\n".join(parts) + "\n"


def _tensors(kernel: Kernel) -> list[str]:
    return [f"i_{n}" for n in kernel.inputs] + [f"o{k}" for k in range(len(kernel.outputs))]


def _arguments(kernel: Kernel) -> str:
    pointers = [f"const T *i_{n}" for n in kernel.inputs] + [f"T *o{k}" for k in range(len(kernel.outputs))]
    return ", ".join([*pointers, "int64_t outer, int64_t inner, const int64_t *steps, const float *p, double *parts"])


def _runs(kernel: Kernel) -> dict[str, str]:
    """Where each input of a block is, as one run of elements; the last of several may be one number for all."""
    return {
        name: f"act_gather(i_{name} + row * steps[{k}] + column, steps[{k}], rows, width, g_{name})"
        for k, name in enumerate(kernel.inputs)
    }


def _io(kernel: Kernel, dtype: str) -> tuple[list[str], list[str], list[str]]:
    """Statements before and after the inner loop, and the addresses that it gets."""
    before, after = [], []
    for k in range(len(kernel.outputs)):
        step = f"steps[{len(kernel.inputs) + k}]"
        before.append(f"T *e{k} = o{k} ? o{k} + row * {step} + column : NULL;")
        before.append(f"T *d{k} = e{k} && w == m && (rows == 1 || {step} == width) ? e{k} : g{k};")
        after.append(f"if (e{k} && d{k} != e{k}) act_copy_rows(e{k}, {step}, d{k}, width, rows, width);")
    padded = cpu.converts(dtype) is not None
    last = kernel.inputs[-1]
    load = [f"const int w = {'(m + ACT_WIDE - 1) / ACT_WIDE * ACT_WIDE' if padded else 'm'};"]
    for name, run in _runs(kernel).items():
        one = f"flags & ACT_ONE_GRADIENT ? one_{name} : " if name == last else ""
        load.append(f"const T *b_{name} = {one}{run};")
        if padded:
            room = f"w_{name}, b_{name}, sizeof(T) * (size_t)m, sizeof w_{name}"
            load.append(f"if (w != m) b_{name} = act_padded({room});")
    addresses = [*(f"b_{n}" for n in kernel.inputs), *(f"d{k}" for k in range(len(kernel.outputs)))]
    return load + before, after, addresses


def _blocks(kernel: Kernel, dtype: str) -> str:
    before, after, addresses = _io(kernel, dtype)
    sums = [f"s{k}" for k in range(len(kernel.sums))]
    before += [f"double sums{k}[ACT_SUMS] = {{0}};" for k in range(len(sums))]
    after += cpu.sum_blocks(kernel, dtype)
    after += [f"parts[b * {len(sums)} + {k}] = act_sum_up(sums{k});" for k in range(len(sums))]
    values = [cpu.number(f"p[{k}]", dtype) for k in range(len(kernel.parameters))]
    runs = [f"g_{n}" for n in kernel.inputs] + [f"g{k}" for k in range(len(kernel.outputs))]
    gathered = "\n  ".join(f"_Alignas(64) T {name}[ACT_LANES];" for name in runs)
    call = f"{kernel.name}_uniform({', '.join([*addresses, *sums, 'w', *values])});"
    body = "\n      ".join([*before, call, *after])
    return f"""static void {kernel.name}_blocks({_arguments(kernel)}, int64_t from, int64_t to, int flags) {{
  (void)p; (void)parts;
  {cpu.buffers(kernel, dtype)}
  {gathered}
  const act_cut cut = act_cut_of(outer, inner);
  for (int64_t b = from; b < to; b++) {{
      const int64_t row = b / cut.pieces * cut.rows, column = b % cut.pieces * ACT_LANES;
      const int rows = outer - row < cut.rows ? (int)(outer - row) : (int)cut.rows;
      const int width = inner - column < ACT_LANES ? (int)(inner - column) : ACT_LANES, m = rows * width;
      {body}
  }}
}}"""


def _entry(kernel: Kernel) -> str:
    """Shares the blocks out; the sums of blocks are added in their order."""
    count = len(kernel.sums)
    passed = ", ".join([*_tensors(kernel), "outer, inner, steps, p, parts"])
    first = len(kernel.inputs)
    advise = "\n    ".join(
        f"if (o{k}) act_prepare_output(o{k}, sizeof(T) * (size_t)((outer - 1) * steps[{first + k}] + inner));"
        for k in range(len(kernel.outputs))
    )
    allocate = (
        f"parts = calloc((size_t)blocks * {count} + 1, sizeof(double));\n  if (!parts) return 1;" if count else ""
    )
    return f"""int {kernel.name}({_arguments(kernel).replace("*parts", "*sums")}, int threads, int flags) {{
  const int64_t blocks = act_cut_of(outer, inner).count;
  double *parts = NULL;
  {allocate}
  if (flags & ACT_FRESH_OUTPUT) {{
    {advise}
  }}
  (void)sums;
  {cpu.share_out("blocks", f"{kernel.name}_blocks({passed}, piece.from, piece.to, flags);")}
  for (int64_t b = 0; b < blocks * (parts != NULL); b++)
    for (int k = 0; k < {count}; k++) sums[k] += parts[b * {count} + k];
  free(parts);
  return 0;
}}"""
