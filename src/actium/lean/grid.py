"""A slope in eight bits: the points that a code stands for, and how far they are from the slope at most.

Stage: proof of the slope's range → [grid] → lean kernels. In: bounds of f′ and its limits. Out: a `Grid`. Pure numbers.
The points are evenly spaced over all slopes. 0 is one of them, and so is the limit at infinity if there is another:
the gradient of a saturated input is then exact, not off by half a step in the same direction for every such input.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

LAST = 254  # the largest code; 255 stands for NaN
# Steps between 0 and the other limit below which putting that limit on the grid would widen the steps noticeably.
_FEWEST = 64


@dataclass(frozen=True)
class Grid:
    """Evenly spaced slopes.

    Attributes:
        origin: A slope that is a point.
        zero: Its code.
        unit: The distance of another exact point from the origin; 0 if there is one slope only.
        steps: How many steps away that point is.
        low: Least slope.
        high: Greatest slope.
    """

    origin: float
    zero: int
    unit: float
    steps: int
    low: float
    high: float

    @property
    def step(self) -> float:
        """The distance of two neighbours."""
        return abs(self.unit) / self.steps

    @property
    def encoder(self) -> tuple[float, float, float]:
        """Origin, 1/step, the origin's code: code = round((slope − origin)/step + zero)."""
        # Slopes that are one slope to float32 are one point.
        return self.origin, 1.0 / self.step if self.step > 1e-30 else 0.0, float(self.zero)

    def table(self) -> list[float]:
        """The slope of each code, NaN for 255."""
        return [self.origin + (q - self.zero) * abs(self.unit) / self.steps for q in range(LAST + 1)] + [math.nan]


def make_grid(low: float, high: float, limits: Iterable[float]) -> Grid:
    """The grid for slopes in [low, high] that tends to `limits`.

    Example:
        >>> grid = make_grid(-0.129, 1.129, (0.0, 1.0))
        >>> round(grid.step / 2, 5), 0.0 in grid.table(), 1.0 in grid.table()
        (0.00249, True, True)
    """
    inside = [v for v in limits if low <= v <= high]
    origin = 0.0 if low <= 0.0 <= high else (inside or [low])[0]
    other = max(inside, key=lambda v: abs(v - origin), default=origin) - origin
    below, above = origin - low, high - origin
    steps = 0
    if abs(other) > (high - low) * _FEWEST / LAST:
        steps = next((m for m in range(LAST, _FEWEST, -1) if _codes(below, above, abs(other) / m) <= LAST), 0)
    if steps:
        unit, zero = other, math.ceil(below * steps / abs(other) - 1e-9)
    else:
        zero = min(range(LAST + 1), key=lambda k: _step(below, above, k))
        unit, steps = _step(below, above, zero), 1
    return Grid(origin, zero, unit, steps, low, high)


def _codes(below: float, above: float, step: float) -> int:
    """Steps that reach both ends, or nearly: a billionth of a step beyond the last point costs nothing."""
    return math.ceil(below / step - 1e-9) + math.ceil(above / step - 1e-9)


def _step(below: float, above: float, zero: int) -> float:
    """The smallest step with which `zero` codes reach down, and the others up."""
    down = below / zero if zero else (math.inf if below else 0.0)
    up = above / (LAST - zero) if zero < LAST else (math.inf if above else 0.0)
    return max(down, up)
