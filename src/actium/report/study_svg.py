"""The pictures of a study as inline SVG: what each activation reached, and how its loss fell.

Stage: numbers → [SVG]. Like `svg`: no ids, scripts or styles; `currentColor` follows the theme.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from actium.report.svg import BLUE, GREEN, ORANGE, tick, ticks

# Eight that differ in lightness as well as in hue; beyond them the dashes differ.
COLOURS = (BLUE, ORANGE, GREEN, "#a667c9", "#c2486b", "#7a8a1f", "#5d7f99", "#8f6b4a")
_DASHES = ("", "6 3", "2 3")
_WIDTH, _LEFT, _RIGHT = 640, 56, 624
_RULES = '<path fill="none" stroke="currentColor" stroke-opacity=".13" d="{}"/>'
_HEAD = (
    '<svg class="am-plot" viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}" '
    'fill="currentColor" font-family="system-ui,sans-serif" font-size="12">{}</svg>'
)


def colour(k: int) -> str:
    """The colour of activation `k`."""
    return COLOURS[k % len(COLOURS)]


def key(k: int) -> Markup:
    """A piece of the line of activation `k`, for the key."""
    line = Markup('<path d="M0 6H28" stroke="{}" stroke-width="3"{}/>')
    return Markup('<svg width="28" height="12" aria-hidden="true">{}</svg>').format(line.format(colour(k), _dash(k)))


def intervals(title: str, rows: Sequence[tuple[str, Sequence[float], tuple[float, float] | None]]) -> Markup:
    """A row for each activation: a small dot for each seed, a large one for the mean, a bar for the interval.

    Args:
        title: What is measured.
        rows: Label, values and interval; rows without values stay empty.

    Returns:
        An `<svg>`.

    Example:
        >>> "<circle" in intervals("accuracy", [("relu", [0.97, 0.98], (0.96, 0.99))])
        True
    """
    known = [v for _, values, ends in rows for v in (*values, *(ends or ()))] or [0.0]
    scale = _Scale(min(known), max(known), 150, _RIGHT)
    bottom = 30 + 30 * len(rows)
    parts = [_grid(scale, 22, bottom)]
    for k, (label, values, ends) in enumerate(rows):
        y = 42 + 30 * k
        parts.append(Markup('<text x="140" y="{}" text-anchor="end">{}</text>').format(y + 4, label))
        if ends is not None:
            bar = Markup('<path d="M{:.1f} {}H{:.1f}" stroke="{}" stroke-width="6" stroke-opacity=".35"/>')
            parts.append(bar.format(scale(ends[0]), y, scale(ends[1]), colour(k)))
        dot = Markup('<circle cx="{:.1f}" cy="{}" r="{}" fill="{}" fill-opacity="{}"/>')
        parts += [dot.format(scale(v), y + 8, 2.5, colour(k), 0.75) for v in values]
        if values:
            parts.append(dot.format(scale(sum(values) / len(values)), y, 5, colour(k), 1))
    return _svg(bottom + 24, title, parts)


def curves(title: str, lines: Mapping[str, Sequence[float | None]], low_x: int = 1, log: bool = False) -> Markup:
    """A line for each activation over the epochs.

    Args:
        title: What is drawn.
        lines: Label → value after each epoch; a line ends where there is no number.
        low_x: The first epoch.
        log: Whether equal ratios are equal distances.

    Returns:
        An `<svg>`.

    Example:
        >>> "<path" in curves("loss", {"relu": [2.0, 1.0, None]})
        True
    """
    drawn = [[_height(v, log) for v in values] for values in lines.values()]
    known = [v for values in drawn for v in values if v is not None] or [0.0]
    length = max([len(values) for values in drawn] + [2])
    across, up = _Scale(low_x, low_x + length - 1, _LEFT, _RIGHT, room=0.0), _Scale(min(known), max(known), 230, 22)
    rows = _log_ticks(up.low, up.high) if log else [(v, v) for v in ticks(up.low, up.high)]
    parts = [_grid(across, 22, 230), Markup(_RULES).format("".join(f"M{_LEFT} {up(y):.1f}H{_RIGHT}" for y, _ in rows))]
    label = Markup('<text x="{}" y="{:.1f}" text-anchor="end">{}</text>')
    parts += [label.format(_LEFT - 6, up(y) + 4, tick(v)) for y, v in rows]
    path = Markup('<path fill="none" stroke="{}" stroke-width="2" stroke-linejoin="round"{} d="{}"/>')
    for k, values in enumerate(drawn):
        points = [(across(low_x + e), up(v)) for e, v in enumerate(values) if v is not None]
        text = "".join(f"{'L' if i else 'M'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(points))
        parts.append(path.format(colour(k), _dash(k), text))
    return _svg(254, title, parts)


def _height(value: float | None, log: bool) -> float | None:
    if value is None or (log and value <= 0):
        return None
    return math.log10(value) if log else value


def _log_ticks(low: float, high: float) -> list[tuple[float, float]]:
    """Places and numbers 1, 2 and 5 times a power of ten, or the powers alone where they are many."""
    steps = (1, 2, 5) if high - low < 3 else (1,)
    numbers = [m * 10.0**k for k in range(math.floor(low), math.ceil(high) + 1) for m in steps]
    return [(math.log10(v), v) for v in numbers if low <= math.log10(v) <= high]


class _Scale:
    """From numbers to places in the picture."""

    def __init__(self, low: float, high: float, first: float, last: float, room: float = 0.05) -> None:
        if high - low <= 1e-9 * max(abs(low), abs(high), 1.0):
            low, high = low - 0.5, high + 0.5
        margin = room * (high - low)
        self.low, self.high, self.first, self.last = low - margin, high + margin, first, last

    def __call__(self, value: float) -> float:
        return self.first + (self.last - self.first) * (value - self.low) / (self.high - self.low)


def _dash(k: int) -> Markup:
    dashes = _DASHES[k // len(COLOURS) % len(_DASHES)]
    return Markup(' stroke-dasharray="{}"').format(dashes) if dashes else Markup("")


def _grid(scale: _Scale, top: int, bottom: int) -> Markup:
    """Upright lines with their numbers below."""
    values = ticks(scale.low, scale.high)
    lines = "".join(f"M{scale(v):.1f} {top}V{bottom}" for v in values)
    text = Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>')
    numbers = Markup("").join(text.format(scale(v), bottom + 16, tick(v)) for v in values)
    return numbers + Markup(_RULES).format(lines)


def _svg(height: int, title: str, parts: Sequence[Markup]) -> Markup:
    heading = Markup('<text x="{}" y="13" font-weight="600">{}</text>').format(_LEFT, title)
    return Markup(_HEAD).format(_WIDTH, height, _WIDTH, height, title, heading + Markup("").join(parts))
