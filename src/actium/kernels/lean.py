"""Kernels that keep a bit or a byte per element for the backward pass, not the input: C text, and the same in torch.

Stage: plan → [C, torch] → lean. In: graphs of the value, of a mark and of grad · slope from what is kept, for one
dtype. Out: callables on dense tensors. Forward reads x once and writes y and the marks; backward reads the gradient and
the marks. The value is computed by the same loop as in `cpu.py`, apart from the mark: what is kept never changes y.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

import torch
from torch import Tensor

from actium.errors import KernelError
from actium.kernels import cpu, dispatch, layout, toolchain
from actium.kernels.eager import compile_function
from actium.kernels.front import fresh_like
from actium.kernels.gpu import availability
from actium.kernels.loops import Kernel, compute
from actium.kernels.midrange import Midrange, midrange
from actium.kernels.plan import Mode, Plan
from actium.symbolic.graph import Node, const, mul, op, parameter, variable, where
from actium.symbolic.selection import TwoValues

# bits: which of two slopes. codes: the slope on a grid of 255 points. recall: the output's encoding, and a bit.
Kind = Literal["bits", "codes", "recall"]
NAN_CODE = 255


@dataclass(frozen=True)
class Graphs:
    """What the kernels of one plan compute.

    Attributes:
        kind: What is kept.
        x: The input's name.
        parameters: Names of the formula's parameters.
        value: The output.
        mark: From x: 1, 0 or NaN; for codes the slope.
        mark_parameters: The formula's, and for recall where the function turns.
        kept: The name of what is kept, as the backward graph reads it.
        gradient: The name of the incoming gradient.
        slope: grad · slope, from what is kept.
        value_midrange: The cheap form of the value in C, the same as in other kernels: it gives the same bits.
        mark_midrange: The cheap form of the slope, for codes.
    """

    kind: Kind
    x: str
    parameters: tuple[str, ...]
    value: Node
    mark: Node
    mark_parameters: tuple[str, ...]
    kept: str
    gradient: str
    slope: Node
    value_midrange: Midrange | None = None
    mark_midrange: Midrange | None = None


def graphs(plan: Plan, kind: Kind, mode: Mode, two: TwoValues | None = None) -> Graphs:
    """The graphs of a plan of one input, lowered for a target."""
    (x,), parameters = plan.formula.inputs, plan.formula.parameters
    taken = {x, *parameters}
    kept, gradient, turn = (_free(name, taken) for name in ("kept", "grad_output", "turn"))
    mark_parameters = parameters
    k = variable(kept)
    slope: Node = k
    if kind == "bits":
        assert two is not None
        mark = plan.of_input(two.mark, mode)
        yes, no = (plan.constant(side, mode) for side in (two.yes, two.no))
        slope = where(op("eq", k, k), where(op("gt", k, const(0.5)), yes, no), k)
    elif kind == "codes":
        mark = plan.of_input(plan.slope(x).root, mode)
    else:
        mark = where(op("gt", variable(x), parameter(turn)), const(1.0), const(0.0))
        mark_parameters = (*parameters, turn)
    slope = mul(variable(gradient), slope)
    cheap = None if mode == "torch" else plan.midrange()
    cheap_mark = midrange((plan.slope(x).root,), (x,)) if kind == "codes" and mode != "torch" else None
    value = plan.value(mode)
    return Graphs(kind, x, parameters, value, mark, mark_parameters, kept, gradient, slope, cheap, cheap_mark)


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


# --- C -------------------------------------------------------------------------------------------------------------


def headers() -> dict[str, str]:
    """The C headers that the generated sources include."""
    return {**cpu.headers(), "lean.h": files("actium.kernels").joinpath("lean.h").read_text(encoding="utf-8")}


def source(g: Graphs, dtype: str) -> str:
    """C text of `forward` and `backward` for one dtype."""
    if g.kind == "recall" and dtype == "float32":
        raise KernelError("float32 outputs are too many for a table")
    loops = [
        Kernel("value", (g.x,), g.parameters, (g.value,), midrange=g.value_midrange),
        Kernel("mark", (g.x,), g.mark_parameters, (g.mark,), midrange=g.mark_midrange),
        Kernel("slope", (g.kept, g.gradient), g.parameters, (g.slope,)),
    ]
    parts = ['#include "lean.h"', *cpu.prelude(dtype)]
    parts += [compute(loop, narrow=dtype != "float32") for loop in loops]
    return "\n\n".join([*parts, _forward(g, dtype), _backward(g, dtype)]) + "\n"


def _load(name: str, dtype: str) -> str:
    convert = cpu.STORAGE[dtype][1]
    return f"{name} + at" if convert is None else f"(act_load_{convert}({name} + at, w, m), w)"


def _store(dtype: str) -> tuple[str, str]:
    """Where the inner loop writes, and what stores it."""
    convert = cpu.STORAGE[dtype][1]
    return ("o + at", "") if convert is None else ("z", f"act_store_{convert}(z, o + at, m);")


def _values(parameters: tuple[str, ...]) -> str:
    return "".join(f", p[{k}]" for k in range(len(parameters)))


_BLOCK = """const int64_t at = b * ACT_LANES;
    const int m = n - at < ACT_LANES ? (int)(n - at) : ACT_LANES;"""


def _forward(g: Graphs, dtype: str) -> str:
    out, store = _store(dtype)
    keep = "act_encode(s, marks + at, grid, m);"
    if g.kind != "codes":
        keep = "found += act_pack(s, marks + at / 8, nans + at / 8, m);"
    call = "found += forward_blocks(x, o, marks, nans, piece.from, piece.to, n, p, grid);"
    # In place, the value overwrites what the mark is made from: the mark comes first.
    return f"""static int64_t forward_blocks(const T *x, T *o, uint8_t *marks, uint8_t *nans, int64_t from, int64_t to,
    int64_t n, const float *p, const float *grid) {{
  _Alignas(64) float w[ACT_LANES], z[ACT_LANES], s[ACT_LANES];
  int64_t found = 0;
  (void)w; (void)z; (void)p; (void)grid; (void)nans;
  for (int64_t b = from; b < to; b++) {{
    {_BLOCK}
    const float *in = {_load("x", dtype)};
    mark_uniform(in, s, m{_values(g.mark_parameters)});
    value_uniform(in, {out}, m{_values(g.parameters)});
    {store}
    {keep}
  }}
  return found;
}}

int64_t forward(const T *x, T *o, uint8_t *marks, uint8_t *nans, int64_t n, const float *p, const float *grid,
    int threads, int flags) {{
  const int64_t blocks = (n + ACT_LANES - 1) / ACT_LANES;
  int64_t found = 0;
  if (flags & ACT_FRESH_OUTPUT) act_prepare_output(o, sizeof(T) * (size_t)n);
  if (threads <= 1) return forward_blocks(x, o, marks, nans, 0, blocks, n, p, grid);
  {cpu.share_out("blocks", call, clauses=" reduction(+ : found)")}
  return found;
}}"""


_RECOVER = {
    "bits": "act_unpack(marks + at / 8, s, m);\n    if (nans) act_unpack_nan(nans + at / 8, s, m);",
    "codes": "act_decode(marks + at, table, s, m);",
    "recall": (
        "if (marks) act_unpack(marks + at / 8, s, m);\n"
        "    else memset(s, 0, sizeof s);\n    act_recall(y + at, table, s, m);"
    ),
}


def _backward(g: Graphs, dtype: str) -> str:
    out, store = _store(dtype)
    call = "backward_blocks(g, marks, nans, y, o, piece.from, piece.to, n, p, table);"
    return f"""static void backward_blocks(const T *g, const uint8_t *marks, const uint8_t *nans, const T *y, T *o,
    int64_t from, int64_t to, int64_t n, const float *p, const float *table) {{
  _Alignas(64) float w[ACT_LANES], z[ACT_LANES], s[ACT_LANES];
  (void)w; (void)z; (void)p; (void)table; (void)nans; (void)y; (void)marks;
  for (int64_t b = from; b < to; b++) {{
    {_BLOCK}
    {_RECOVER[g.kind]}
    const float *in = {_load("g", dtype)};
    slope_uniform(s, in, {out}, m{_values(g.parameters)});
    {store}
  }}
}}

void backward(const T *g, const uint8_t *marks, const uint8_t *nans, const T *y, T *o, int64_t n, const float *p,
    const float *table, int threads, int flags) {{
  const int64_t blocks = (n + ACT_LANES - 1) / ACT_LANES;
  if (flags & ACT_FRESH_OUTPUT) act_prepare_output(o, sizeof(T) * (size_t)n);
  if (threads <= 1) {{
    backward_blocks(g, marks, nans, y, o, 0, blocks, n, p, table);
    return;
  }}
  {cpu.share_out("blocks", call)}
}}"""


# --- Calls ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kept:
    """What a forward pass leaves for the backward pass, beside the output.

    Attributes:
        marks: Bits, packed eight to a byte, or codes; in the memory's order. None if y alone tells the slope.
        nans: A second plane of bits, if there was a NaN.
    """

    marks: Tensor | None
    nans: Tensor | None = None


class LeanKernels:
    """The kernels of one plan that keep one kind of thing.

    Args:
        plan: Of one input.
        kind: What to keep.
        two: The two slopes, for bits.
    """

    def __init__(self, plan: Plan, kind: Kind, two: TwoValues | None = None) -> None:
        self.plan = plan
        self.kind: Kind = kind
        self._two = two
        self._libraries: dict[str, tuple[Any, Any]] = {}

    def source(self, dtype: str) -> str:
        """C text for a dtype."""
        return source(graphs(self.plan, self.kind, self.plan.mode(dtype), self._two), dtype)

    def library(self, x: Tensor) -> tuple[Any, Any] | None:
        """The compiled (forward, backward) for a tensor; None where there is none, or Triton's are to run instead."""
        name = dispatch.C_DTYPES.get(x.dtype)
        if name is None or not x.is_cpu or availability.INTERPRETED or not toolchain.kernels_enabled():
            return None
        if name not in self._libraries:
            library = toolchain.load(self.source(name), headers())
            pointer, long, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
            forward, backward = library.forward, library.backward
            forward.argtypes = [*[pointer] * 4, long, pointer, pointer, number, number]
            forward.restype = long
            backward.argtypes = [*[pointer] * 5, long, pointer, pointer, number, number]
            backward.restype = None
            self._libraries[name] = forward, backward
        return self._libraries[name]

    def forward(self, x: Tensor, y: Tensor, numbers: tuple[float, ...], grid: Tensor | None) -> Kept:
        """Write f(x) to y, which may be x itself; both dense, of the same strides."""
        library = self.library(x)
        assert library is not None
        n = x.numel()
        bytes_ = n if self.kind == "codes" else (n + 7) // 8
        marks = torch.empty(bytes_, dtype=torch.uint8)
        # Zeroed memory that nothing writes to costs nothing, but for small tensors.
        nans = torch.zeros(0 if self.kind == "codes" else bytes_, dtype=torch.uint8)
        flags = 0 if y is x else dispatch.FRESH_OUTPUT
        found = library[0](
            x.data_ptr(), y.data_ptr(), marks.data_ptr(), nans.data_ptr(), n, dispatch.float_array(numbers),
            None if grid is None else grid.data_ptr(), dispatch.threads_for(n), flags,
        )  # fmt: skip
        return Kept(marks, nans if found and self.kind == "bits" else None)

    def backward(self, grad: Tensor, kept: Kept, y: Tensor | None, numbers: tuple[float, ...], table: Tensor | None):  # noqa: ANN201
        """Grad · slope; `grad` dense, with the strides that the input had."""
        library = self.library(grad)
        assert library is not None
        result, n = fresh_like(grad), grad.numel()
        addresses = [None if t is None else t.data_ptr() for t in (grad, kept.marks, kept.nans, y, result)]
        library[1](
            *addresses, n, dispatch.float_array(numbers), None if table is None else table.data_ptr(),
            dispatch.threads_for(n), dispatch.FRESH_OUTPUT,
        )  # fmt: skip
        return result

    # -- the same in torch ---------------------------------------------------------------------------

    @functools.cached_property
    def _graphs(self) -> Graphs:
        return graphs(self.plan, self.kind, "torch", self._two)

    @functools.cached_property
    def _mark_function(self) -> Any:
        g = self._graphs
        return compile_function("mark", (g.x, *g.mark_parameters), (g.mark,))

    @functools.cached_property
    def _slope_function(self) -> Any:
        g = self._graphs
        return compile_function("slope", (g.kept, g.gradient, *g.parameters), (g.slope,))

    def marks_in_torch(
        self, x: Tensor, parameters: tuple[Any, ...], channel_dim: int | None, grid: Tensor | None
    ) -> Kept:
        """What `forward` keeps of a dense x."""
        wide = x.to(dispatch.COMPUTE[x.dtype])
        mark = self._mark_function(wide, *(dispatch.as_operand(p, wide, channel_dim) for p in parameters))
        flat = _flat(layout.like(mark.expand(x.shape), x))
        if self.kind == "codes":
            assert grid is not None
            origin, inverse, zero = grid.tolist()
            codes = ((flat - origin) * inverse + zero).clamp(0.0, 254.0) + 0.5
            return Kept(torch.where(flat.isnan(), NAN_CODE, codes).to(torch.uint8))
        nan = flat.isnan()
        return Kept(_pack(flat > 0.5), _pack(nan) if self.kind == "bits" and bool(nan.any()) else None)

    def backward_in_torch(
        self, grad: Tensor, like: Tensor, kept: Kept, parameters: tuple[Any, ...], channel_dim: int | None,
        table: Tensor | None,
    ) -> Tensor:  # fmt: skip
        """Grad · slope by torch operations, which also take a batched gradient.

        Args:
            grad: The incoming gradient.
            like: The output if it is kept, else any dense tensor of its shape, strides and dtype.
            kept: From the forward pass.
            parameters: Numbers, or tensors of one value per channel.
            channel_dim: Their dimension.
            table: Code → slope.
        """
        compute = dispatch.COMPUTE[like.dtype]
        n = like.numel()
        if self.kind == "codes":
            assert kept.marks is not None
            assert table is not None
            flat = table[kept.marks.long()]
        elif self.kind == "bits":
            assert kept.marks is not None
            flat = _unpack(kept.marks, n).to(compute)
            if kept.nans is not None:
                flat = flat.masked_fill(_unpack(kept.nans, n), float("nan"))
        else:
            assert table is not None
            index = _flat(like).view(torch.int16).long() & 0xFFFF
            flat = table[index if kept.marks is None else index + (_unpack(kept.marks, n).long() << 16)]
        slope = torch.empty_like(like, dtype=compute)
        _flat(slope).copy_(flat)
        operands = [dispatch.as_operand(p, slope, channel_dim) for p in parameters]
        return self._slope_function(slope, grad.to(compute), *operands).to(like.dtype)


def _flat(x: Tensor) -> Tensor:
    """A dense tensor's elements in the memory's order."""
    return x.as_strided((x.numel(),), (1,))


def _shifts(like: Tensor) -> Tensor:
    return torch.arange(8, dtype=torch.uint8, device=like.device)


def _pack(flags: Tensor) -> Tensor:
    padded = torch.nn.functional.pad(flags.to(torch.uint8), (0, -flags.numel() % 8))
    return (padded.view(-1, 8) << _shifts(flags)).sum(1, dtype=torch.uint8)


def _unpack(marks: Tensor, n: int) -> Tensor:
    return ((marks.unsqueeze(1) >> _shifts(marks)) & 1).flatten()[:n].bool()
