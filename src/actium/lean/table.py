"""The slope from the output: a table over every encoding of a half, and how far it is from the slope at most.

Stage: op → [table] → lean kernels. In: an op, numbers for its parameters, a half-precision dtype. Out: `Recall`.
The 65,536 inputs are all looked at: where several give one output, the table holds the middle of their slopes, and the
largest distance from it is the error, exactly. Not for float32, which has too many outputs for a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from actium.kernels import dispatch

if TYPE_CHECKING:
    from actium.op import Op

HALVES = (torch.float16, torch.bfloat16)
_ENCODINGS = 1 << 16
# The kernels' own error in float32, of slopes of the size of 1.
_ROUNDING = 2.0**-20
# A slope that is further off than this is another function's.
_MOST = 1 / 16


@dataclass(frozen=True)
class Recall:
    """How to tell a slope from an output.

    Attributes:
        table: Slope by encoding of the output; a second half for inputs right of the turning point.
        turn: The last input left of it; None if the function has none.
        error: The largest distance of a slope from the table's.
    """

    table: Tensor
    turn: float | None
    error: float


def recall(op: Op, numbers: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Recall | str:
    """The table, or why there is none.

    By what computes on the device, whose outputs may differ from another's in the last bit: one that this has not met
    would have no slope.
    """
    x = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32, device=device).to(torch.int16).view(dtype)
    y, slope = _computed(op, x, numbers)
    turn = _turning_point(x, slope)
    if isinstance(turn, str):
        return turn
    right = torch.zeros_like(x, dtype=torch.bool) if turn is None else x > turn
    index = (y.view(torch.int16).long() & 0xFFFF) + right.long() * _ENCODINGS
    size = _ENCODINGS * (1 if turn is None else 2)
    seen = ~x.isnan()
    least, greatest = (
        torch.full((size,), fill, dtype=torch.float32, device=device).scatter_reduce(0, index[seen], slope[seen], how)
        for fill, how in ((float("inf"), "amin"), (-float("inf"), "amax"))
    )
    table = torch.where(least <= greatest, least + (greatest - least) / 2, float("nan"))
    error = (slope[seen] - table[index[seen]]).abs().max().item() + _ROUNDING
    if not error <= _MOST:
        return f"its output does not tell its slope, which may be off by {error:.2g}"
    return Recall(table, turn, error)


def _computed(op: Op, x: Tensor, numbers: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """The outputs, and the slopes in float32."""
    needed = (True, *(False for _ in numbers))
    wide = x.float()
    with torch.no_grad():
        y = dispatch.forward(op, (x,), numbers, None)
        (slope, *_) = dispatch.backward(op, (wide,), torch.ones_like(wide), numbers, None, needed)
    assert slope is not None
    return y, slope


def _turning_point(x: Tensor, slope: Tensor) -> float | str | None:
    finite = x.isfinite() & (slope != 0) & ~slope.isnan()
    ordered, order = x[finite].float().sort()
    rising = slope[finite][order] > 0
    turns = (rising[1:] != rising[:-1]).nonzero().flatten()
    if len(turns) > 1:
        return f"it turns at {len(turns)} points, and one bit tells two sides apart"
    return None if len(turns) == 0 else float(ordered[turns[0]])
