"""From tensors to launches: the Triton kernels of one plan and dtype.

Stage: kernel → [launch] → op. In: plain tensors of one shape and dtype on one device, checked. Out: tensors. No
autograd. Nothing here waits for the device: parameters stay where they are.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from actium.kernels.described import flat_kernels, rows_kernels
from actium.kernels.gpu import printing, tuning
from actium.kernels.gpu.geometry import Geometry, geometry
from actium.kernels.gpu.loading import load
from actium.kernels.gpu.sums import add_up
from actium.kernels.layout import channels_of, dense, like, rows_of
from actium.kernels.plan import Plan

DTYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}
# The interpreter takes about as long for a program of many elements as for one of few.
INTERPRETED_BLOCK = 1 << 16

Parameters = tuple[float | Tensor, ...]
_interpreter = threading.Lock()  # it keeps its state in Triton's modules


class TritonLibrary:
    """The kernels of one plan for one dtype, each made when first needed.

    Args:
        plan: What to compute.
        dtype: "float32", "bfloat16" or "float16".
        interpreted: For CPU tensors, by Triton's interpreter.
    """

    def __init__(self, plan: Plan, dtype: str, interpreted: bool = False) -> None:
        self._plan, self._dtype, self._interpreted = plan, dtype, interpreted
        self._count = len(plan.formula.inputs)

    def source(self) -> str:
        """Triton text of the flat kernels."""
        return printing.source(flat_kernels(self._plan, self._plan.mode(self._dtype)), self._dtype, self._interpreted)

    @functools.cached_property
    def _flat(self) -> dict[str, Any]:
        return load(self.source(), ("forward", "backward"), self._interpreted)

    @functools.cached_property
    def _rows(self) -> dict[str, Any]:
        text = printing.source(rows_kernels(self._plan, self._plan.mode(self._dtype)), self._dtype, self._interpreted)
        return load(text, ("forward", "backward"), self._interpreted)

    def forward(
        self, inputs: tuple[Tensor, ...], parameters: Parameters, channel_dim: int | None, out: Tensor | None = None
    ) -> Tensor:
        """The value; written to `out` if given."""
        first, rest = _aligned(inputs)
        y = torch.empty_like(first) if out is None or first is not out else out
        self._run("forward", (first, *rest), (y,), parameters, channel_dim, None, again=y is not out)
        return y if out is None or y is out else out.copy_(y)

    def backward(
        self,
        inputs: tuple[Tensor, ...],
        grad: Tensor,
        parameters: Parameters,
        channel_dim: int | None,
        needed: tuple[bool, ...],
    ) -> list[Tensor | None]:
        """Gradients of the inputs and parameters that need one."""
        first, rest = _aligned(inputs)
        one = grad.numel() > 1 and not any(grad.stride())  # y.sum().backward() sends one number, expanded
        grad = grad if one else like(grad, first)
        grads: list[Tensor | None] = [torch.empty_like(first) if n else None for n in needed[: self._count]]
        sums = None
        if any(needed[self._count :]):
            shape = (len(parameters), channels_of(parameters))
            sums = torch.zeros(shape, dtype=torch.float64, device=first.device)
        if any(needed):
            self._run("backward", (first, *rest, grad), tuple(grads), parameters, channel_dim, sums, one=one)
        for k, p in enumerate(parameters):
            wanted = needed[self._count + k] and isinstance(p, Tensor) and sums is not None
            grads.append(_gradient_of(p, sums[k]) if wanted else None)  # type: ignore[index,arg-type]
        return grads

    def _run(
        self,
        which: str,
        inputs: tuple[Tensor, ...],
        outputs: tuple[Tensor | None, ...],
        parameters: Parameters,
        channel_dim: int | None,
        sums: Tensor | None,
        one: bool = False,
        again: bool = True,
    ) -> None:
        first = inputs[0]
        if first.numel() == 0:
            return
        tensors = [self._passed(t) for t in (*inputs, *outputs)]
        values = [_operand(p, first.device) for p in parameters]
        device = torch.cuda.device(first.device) if first.is_cuda else nullcontext()
        with device, _interpreting() if self._interpreted else nullcontext():
            if sums is None and all(v.numel() == 1 for v in values):
                self._launch_flat(which, tensors, values, first.numel(), one, again)
            else:
                shape = rows_of(first, channels_of(parameters), channel_dim)
                self._launch_rows(which, tensors, values, geometry(*shape, summed=sums is not None), sums, one)

    def _passed(self, t: Tensor | None) -> Tensor | None:
        """As the kernels take it: the interpreter's bfloat16 are integers."""
        return t.view(torch.uint16) if t is not None and self._interpreted and t.dtype is torch.bfloat16 else t

    def _launch_flat(
        self, which: str, tensors: list[Tensor | None], values: list[Tensor], count: int, one: bool, again: bool
    ) -> None:
        kernel = self._flat[which]

        def run(launch: tuning.Launch) -> None:
            grid = (-(-count // launch.block),)
            options = {"BLOCK": launch.block, "ONE_GRADIENT": one, "num_warps": launch.warps, **printing.OPTIONS}
            kernel[grid](*tensors, *values, count, **options)

        if self._interpreted:
            run(tuning.Launch(min(INTERPRETED_BLOCK, _power_of_two(count)), 1))
            return
        device = tensors[0].device if tensors[0] is not None else None
        key = (id(kernel), one, device, tuple(t is None for t in tensors))
        run(tuning.choose(key, count, run if again else None))

    def _launch_rows(
        self,
        which: str,
        tensors: list[Tensor | None],
        values: list[Tensor],
        shape: Geometry,
        sums: Tensor | None,
        one: bool,
    ) -> None:
        kernels = self._rows
        spread = [part for v in values for part in (v, 0 if v.numel() == 1 else 1)]
        partials = None if sums is None else sums.new_empty(len(values) * shape.partials)
        numbers = (shape.total, shape.period, shape.channels, shape.inner, shape.pieces, shape.tiles)
        options = {"LANES": printing.LANES, "num_warps": 4, **printing.OPTIONS}
        kernels[which][(shape.tiles * shape.groups,)](
            *tensors, *spread, partials, *numbers, shape.items, shape.steps,
            BY_CHANNEL=shape.by_channel, ONE_GRADIENT=one, **options,
        )  # fmt: skip
        if sums is not None and partials is not None:
            parts = (len(values), shape.partial_rows, shape.channels, shape.partial_inner)
            add_up(partials, parts, sums, self._interpreted)


def _aligned(inputs: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The inputs in one order of memory, without gaps."""
    first = dense(inputs[0])
    return first, tuple(like(t, first) for t in inputs[1:])


def _gradient_of(p: Tensor, total: Tensor) -> Tensor:
    return (total.sum() if p.numel() == 1 else total).reshape(p.shape).to(p.dtype)


def _operand(p: float | Tensor, device: torch.device) -> Tensor:
    """A parameter in float32 where the kernel can read it."""
    if isinstance(p, Tensor):
        return p.detach().reshape(-1).to(torch.float32).contiguous()
    return _number(float(p), math.copysign(1.0, p), device)


def _number(value: float, sign: float, device: torch.device) -> Tensor:
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        return torch.full((1,), value, dtype=torch.float32, device=device)  # filled by the graph, and its own
    return _kept_number(value, sign, device)


@functools.lru_cache(maxsize=1024)
def _kept_number(value: float, _sign: float, device: torch.device) -> Tensor:  # as a key, −0.0 is 0.0
    made = torch.full((1,), value, dtype=torch.float32, device=device)
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()  # once: whatever stream reads it next, it is filled
    return made


def _power_of_two(count: int) -> int:
    return 1 << max(count - 1, 1).bit_length()


@contextmanager
def _interpreting() -> Iterator[None]:
    """One kernel at a time, and numpy says nothing of overflow: a kernel computes both sides of each selection."""
    import numpy as np

    with _interpreter, np.errstate(all="ignore"):
        yield
