"""A curve as inline SVG.

Stage: samples → [SVG]. In: numbers at evenly spaced points, None or NaN where there is none. Out: one `<svg>` without
ids, scripts or styles; `currentColor` follows the theme.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

# Of equal lightness: they keep their contrast on white and on black, and for the colour-blind.
BLUE, ORANGE, GREEN = "#3b82c4", "#c9761a", "#2f9e77"
_WIDTH, _HEIGHT = 300, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 290, 22, 150
_COLUMNS = 4
# A range so many times that of the middle third would hide what happens there; so many times is shown of it.
_TOO_WIDE, _SHOWN = 50.0, 8.0
_HUGE = 1e300


def curve(title: str, low_x: float, high_x: float, y: Sequence[float | None], colour: str) -> Markup:
    """One curve with its axes.

    Args:
        title: Such as f′(x).
        low_x: Where the first point is.
        high_x: Where the last point is.
        y: Two or more.
        colour: Of the line.

    Returns:
        An `<svg>` of 300 by 170 that can be scaled.

    Example:
        >>> "<svg" in curve("f(x)", 0.0, 1.0, [0.0, None, 1.0], BLUE)
        True
    """
    values = [v if v is not None and abs(v) < _HUGE else math.nan for v in y]
    frame = _Frame(low_x, high_x, *_range(values))
    columns = [low_x + (high_x - low_x) * k / _COLUMNS for k in range(_COLUMNS + 1)]
    rows = ticks(frame.low, frame.high)
    texts = [_text(_LEFT - 5, frame.y(v) + 3.5, "end", v) for v in rows]
    texts += [_text(frame.x(v), _BOTTOM + 15, "middle", v) for v in columns]
    step = (high_x - low_x) / (len(values) - 1)
    return Markup(
        '<svg class="am-curve" viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}" '
        'fill="currentColor" font-family="system-ui,sans-serif" font-size="10.5">'
        '<text x="{}" y="14" font-size="12" font-weight="600">{}</text>{}<g fill="none" stroke="currentColor">'
        '<path stroke-opacity=".13" d="{}"/><path stroke-opacity=".5" d="{}"/></g><path fill="none" stroke="{}" '
        'stroke-width="2" stroke-linejoin="round" stroke-linecap="round" d="{}"/></svg>'
    ).format(
        *(_WIDTH, _HEIGHT, _WIDTH, _HEIGHT, f"{title} from {tick(low_x)} to {tick(high_x)}", _LEFT, title),
        *(Markup("").join(texts), frame.lines(columns, rows), frame.lines([0.0], [0.0]), colour),
        frame.path([low_x + k * step for k in range(len(values))], values),
    )


def tick(value: float) -> str:
    """A number on an axis.

    Example:
        >>> tick(-0.0), tick(-2.5), tick(1e-7)
        ('0', '−2.5', '1e−7')
    """
    text = f"{value + 0.0:.3g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")
    return text.replace("-", "−")


@dataclass(frozen=True)
class _Frame:
    """Which numbers the picture spans, and where they are in it."""

    left: float
    right: float
    low: float
    high: float

    def x(self, value: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (value - self.left) / (self.right - self.left)

    def y(self, value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * (value - self.low) / (self.high - self.low)

    def lines(self, columns: Iterable[float], rows: Iterable[float]) -> str:
        """Straight lines through the whole picture, as far as they are in it."""
        down = [f"M{self.x(v):.1f} {_TOP}V{_BOTTOM}" for v in columns if self.left <= v <= self.right]
        return "".join([*down, *(f"M{_LEFT} {self.y(v):.1f}H{_RIGHT}" for v in rows if self.low <= v <= self.high)])

    def path(self, xs: Sequence[float], values: Sequence[float]) -> str:
        """The curve; what leaves the picture ends at its border."""
        parts: list[str] = []
        before: bool | None = None  # whether the last point was inside; None where there was no number
        for x, v in zip(xs, values, strict=True):
            inside = None if math.isnan(v) else self.low <= v <= self.high
            if inside is not None:
                joined = before is not None and (before or inside)
                parts.append(f"{'L' if joined else 'M'}{self.x(x):.1f} {self.y(min(max(v, self.low), self.high)):.1f}")
            before = inside
        return "".join(parts)


def _text(x: float, y: float, anchor: str, value: float) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, tick(value))


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The numbers to show: all of them, unless few at the ends would flatten the rest."""
    finite = [v for v in values if not math.isnan(v)] or [0.0]
    low, high = min(finite), max(finite)
    third = len(values) // 3
    middle = [v for v in values[third : len(values) - third] if not math.isnan(v)] or [0.0]
    inner = max(middle) - min(middle)
    if inner > 0 and high - low > _TOO_WIDE * inner:
        low, high = max(low, min(middle) - _SHOWN * inner), min(high, max(middle) + _SHOWN * inner)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1.0):
        return low - 1.0, high + 1.0
    room = 0.04 * (high - low)
    return low - room, high + room


def ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers between two."""
    raw = (high - low) / 4
    size = 10.0 ** math.floor(math.log10(raw))
    step = size * next((m for m in (1, 2, 5) if m * size >= raw), 10)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [k * step for k in range(first, last + 1)]
