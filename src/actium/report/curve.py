"""A function and its slope, drawn: in characters for a terminal; the samples serve the notebook's picture too.

Stage: activation → samples → [lines of text]. Each braille character is a grid of two by four dots, so a curve of 36
characters by 12 has 72 by 48 points. Nothing is judged here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actium.define import Activation

# The bit of each dot of a braille character, by column and row.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BLANK = 0x2800
_GAP = 4


@dataclass(frozen=True)
class Samples:
    """A function and its slope at evenly spaced inputs; NaN where there is no number."""

    x: list[float]
    value: list[float]
    slope: list[float]


def samples(activation: Activation, low: float = -5.0, high: float = 5.0, count: int = 321) -> Samples:
    """Evaluate an activation at its default parameters, in float64."""
    import torch

    x = torch.linspace(low, high, count, dtype=torch.float64, requires_grad=True)
    y = activation(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    return Samples(x.tolist(), y.tolist(), slope.tolist())


def panels(s: Samples, width: int) -> list[str]:
    """Both curves, side by side if they fit, else one above the other; at most 20 lines.

    Args:
        s: The samples.
        width: How many columns there are.

    Returns:
        Lines no wider than that.
    """
    beside = width >= 72
    columns = min((width - _GAP) // 2 if beside else width, 60)
    rows = 12 if beside else 7
    left = plot("f(x)", s.x, s.value, columns, rows)
    right = plot("f′(x)", s.x, s.slope, columns, rows)
    if not beside:
        return [line.rstrip() for line in (*left, *right)]
    return [f"{a:<{columns}}{' ' * _GAP}{b}".rstrip() for a, b in zip(left, right, strict=True)]


def plot(title: str, x: list[float], y: list[float], columns: int, rows: int) -> list[str]:
    """One curve with its axes: a title, `rows` lines, and a line of x labels.

    Args:
        title: Printed above.
        x: Increasing.
        y: As many; what is not finite is left out.
        columns: Width in characters, labels included.
        rows: Height in characters, of the curve alone.

    Returns:
        `rows` + 2 lines.

    Example:
        >>> lines = plot("f(x)", [0.0, 1.0, 2.0], [0.0, 1.0, 2.0], 14, 3)
        >>> lines[1].strip(), lines[-1].split()
        ('2 ┤     ⣀⠔⠊', ['0', '1', '2'])
    """
    low, high = _bounds(y)
    labels = [_label(low), _label(high)]
    margin = max(4, *map(len, labels)) + 2
    wide = columns - margin
    grid = _Grid(wide, rows)
    grid.draw([(t - x[0]) / (x[-1] - x[0]) for t in x], [(v - low) / (high - low) for v in y])
    zero = round((1 - (0 - low) / (high - low)) * (rows - 1)) if low < 0 < high else None
    lines = [f"{'':{margin}}{title}"]
    for row, dots in enumerate(grid.lines()):
        text = labels[1] if row == 0 else labels[0] if row == rows - 1 else "0" if row == zero else ""
        lines.append(f"{text:>{margin - 2}} {'┤' if text else '│'}{dots}")
    ends = _label(x[0]), _label((x[0] + x[-1]) / 2), _label(x[-1])
    gap = wide - sum(map(len, ends))
    if gap < 4:
        ends, gap = (ends[0], "", ends[2]), wide - len(ends[0]) - len(ends[2])
    before = (wide - len(ends[1])) // 2 - len(ends[0])
    lines.append(f"{'':{margin}}{ends[0]}{' ' * before}{ends[1]}{' ' * (gap - before)}{ends[2]}")
    return lines


def _bounds(y: list[float]) -> tuple[float, float]:
    finite = [v for v in y if math.isfinite(v)] or [0.0]
    low, high = min(finite), max(finite)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1.0):
        return low - 1.0, high + 1.0
    return low, high


def _label(value: float) -> str:
    text = f"{value:.3g}"
    return "0" if text == "-0" else text.replace("e+0", "e").replace("e-0", "e-")


class _Grid:
    """A canvas of dots."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self._cells = [[0] * columns for _ in range(rows)]

    def draw(self, x: list[float], y: list[float]) -> None:
        """Dots along a line through points in the unit square; a gap where a number is missing."""
        wide, tall = 2 * self.columns - 1, 4 * self.rows - 1
        before: tuple[float, float] | None = None
        for u, v in zip(x, y, strict=True):
            if not math.isfinite(v):
                before = None
                continue
            point = u * wide, (1 - v) * tall
            for step in self._between(before or point, point):
                self._dot(*step)
            before = point

    @staticmethod
    def _between(a: tuple[float, float], b: tuple[float, float]) -> list[tuple[int, int]]:
        count = max(int(abs(b[0] - a[0])), int(abs(b[1] - a[1])), 0) + 1
        return [
            (round(a[0] + (b[0] - a[0]) * k / count), round(a[1] + (b[1] - a[1]) * k / count)) for k in range(count + 1)
        ]

    def _dot(self, column: int, row: int) -> None:
        self._cells[row // 4][column // 2] |= _DOTS[column % 2][row % 4]

    def lines(self) -> list[str]:
        """The canvas as text."""
        return ["".join(chr(_BLANK + bits) if bits else " " for bits in row) for row in self._cells]
