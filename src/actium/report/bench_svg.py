"""Ratios as bars and times as curves, as inline SVG.

Stage: numbers → [SVG]. In: rows of ratios with their intervals; series of times by size. Out: `<svg>` without ids,
scripts or styles; `currentColor` follows the theme. All axes are logarithmic: twice and half as fast look alike.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from actium.bench.grid import size_text
from actium.bench.timing import Interval
from actium.report.bench import ratio_text, time_text
from actium.report.clean import clean, shortened
from actium.report.svg import BLUE, GREEN, ORANGE

# Of equal lightness, and each with a dash of its own: nobody has to tell them apart by colour alone.
COLOURS = (BLUE, ORANGE, GREEN, "#8f6bd6", "#c2528f", "#6f8a1f")
_DASHES = ("none", "7 3", "2 3", "9 3 2 3", "5 2", "12 4")
_WIDTH = 560
_LABEL, _VALUE = 176, 492  # bars lie between the labels on the left and the numbers on the right
_ROW, _HEAD, _FOOT = 22, 8, 26
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 412, 14, 236
_NAME_WIDTH = 22


@dataclass(frozen=True)
class Bar:
    """One ratio.

    Attributes:
        label: What it is.
        ratio: With its interval.
    """

    label: str
    ratio: Interval


@dataclass(frozen=True)
class Series:
    """One curve.

    Attributes:
        name: What it is.
        points: (elements, seconds), by size.
        floor: Whether it is the floor, which is drawn thin and grey.
    """

    name: str
    points: Sequence[tuple[int, float]]
    floor: bool = False


def bars(title: str, rows: Sequence[Bar]) -> Markup:
    """Ratios from a line at 1: to the right where the target is faster, to the left where it is slower.

    Args:
        title: What a screen reader says.
        rows: From top to bottom; at least one.

    Example:
        >>> "1.50×" in bars("silu", [Bar("torch", Interval(1.5, 1.4, 1.6))])
        True
    """
    ends = [v for row in rows for v in (row.ratio.low, row.ratio.high)]
    low, high = min(*ends, 0.8), max(*ends, 1.25)
    low, high = max(low, 1e-3), min(high, 1e3)
    scale = _Log(low / 1.06, high * 1.06, _LABEL, _VALUE)
    height = _HEAD + _ROW * len(rows) + _FOOT
    bottom = height - _FOOT
    grid = [_line(scale(v), _HEAD, scale(v), bottom, 0.5 if v == 1 else 0.14) for v in _round_ratios(low, high)]
    texts = [_text(scale(v), bottom + 16, "middle", f"{v:.3g}×") for v in _round_ratios(low, high)]
    drawn = [_bar(scale, row, _HEAD + _ROW * k + _ROW / 2) for k, row in enumerate(rows)]
    return _svg(title, height, [*grid, *texts, *drawn])


def curves(title: str, series: Sequence[Series]) -> Markup:
    """Times over sizes.

    Args:
        title: What a screen reader says.
        series: With two or more sizes between them; their names stand at their ends.
    """
    sizes = sorted({n for s in series for n, _ in s.points})
    times = [t for s in series for _, t in s.points]
    x = _Log(sizes[0], sizes[-1], _LEFT + 8, _RIGHT - 8)
    y = _Log(min(times) / 1.3, max(times) * 1.3, _BOTTOM, _TOP)
    rows = _decades(min(times) / 1.3, max(times) * 1.3)
    parts = [_line(_LEFT, y(v), _RIGHT, y(v), 0.14) for v in rows]
    parts += [_text(_LEFT - 6, y(v) + 4, "end", _round_time(v)) for v in rows]
    parts += [_line(x(n), _BOTTOM, x(n), _BOTTOM + 4, 0.5) for n in sizes]
    parts += [_text(x(n), _BOTTOM + 17, "middle", size_text(n)) for n in sizes]
    ends = _apart([y(s.points[-1][1]) for s in series])
    for k, (one, end) in enumerate(zip(series, ends, strict=True)):
        parts += _curve(one, k, x, y, end)
    return _svg(title, _BOTTOM + 24, parts)


# --- Pieces ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Log:
    """From numbers to places, logarithmically."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        value = min(max(value, self.low), self.high)
        return self.begin + (self.end - self.begin) * math.log(value / self.low) / math.log(self.high / self.low)


def _svg(title: str, height: float, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg class="am-bench" viewBox="0 0 {} {:.0f}" width="{}" height="{:.0f}" role="img" aria-label="{}" '
        'fill="currentColor" font-family="system-ui,sans-serif" font-size="12">{}</svg>'
    ).format(_WIDTH, height, _WIDTH, height, clean(title), Markup("").join(parts))


def _line(x1: float, y1: float, x2: float, y2: float, opacity: float) -> Markup:
    return Markup('<path stroke="currentColor" stroke-opacity="{}" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>').format(
        opacity, x1, y1, x2, y2
    )


def _text(x: float, y: float, anchor: str, text: str, weight: int = 400) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" font-weight="{}">{}</text>').format(
        x, y, anchor, weight, text
    )


def _bar(scale: _Log, row: Bar, y: float) -> Markup:
    ratio = row.ratio
    one, end = scale(1.0), scale(ratio.median)
    colour = BLUE if ratio.median >= 1 else ORANGE
    shape = Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="12" rx="2" fill="{}"/>').format(
        min(one, end), y - 6, max(abs(end - one), 1.0), colour
    )
    whisker = Markup(
        '<path fill="none" stroke="currentColor" stroke-width="1.5" d="M{0:.1f} {2:.1f}H{1:.1f}"/>'
    ).format(scale(ratio.low), scale(ratio.high), y)
    label = _text(_LABEL - 12, y + 4, "end", shortened(clean(row.label), 28))
    return Markup("").join([shape, whisker, label, _text(_VALUE + 12, y + 4, "start", ratio_text(ratio.median), 600)])


def _curve(one: Series, k: int, x: _Log, y: _Log, end: float) -> list[Markup]:
    colour = "currentColor" if one.floor else COLOURS[k % len(COLOURS)]
    places = [(x(n), y(t)) for n, t in one.points]
    path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in places)
    line = Markup(
        '<path fill="none" stroke="{}" stroke-width="{}" stroke-opacity="{}" stroke-dasharray="{}" '
        'stroke-linejoin="round" d="{}"/>'
    ).format(colour, *((1.5, 0.55, "1 3") if one.floor else (2, 1, _DASHES[k % len(_DASHES)])), path)
    dots = [Markup('<circle cx="{:.1f}" cy="{:.1f}" r="3" fill="{}"/>').format(a, b, colour) for a, b in places]
    leader = _line(places[-1][0], places[-1][1], _RIGHT + 6, end, 0.3)
    name = _text(_RIGHT + 10, end + 4, "start", shortened(clean(one.name), _NAME_WIDTH))
    return [line, *([] if one.floor else dots), leader, name]


def _apart(places: Sequence[float], gap: float = 15.0) -> list[float]:
    """Heights for the names, in the order of the curves' ends and not on top of each other."""
    order = sorted(range(len(places)), key=places.__getitem__)
    found = list(places)
    for before, k in itertools.pairwise(order):
        found[k] = max(found[k], found[before] + gap)
    overhang = max(found[order[-1]] - _BOTTOM, 0.0)
    if overhang:
        found[order[-1]] -= overhang
        for after, k in itertools.pairwise(reversed(order)):
            found[k] = min(found[k], found[after] - gap)
    return found


def _round_ratios(low: float, high: float) -> list[float]:
    """1, and a few numbers around it."""
    doubling = [2.0**k for k in range(-10, 11)]
    inside = [v for v in doubling if low <= v <= high]
    step = math.ceil(len(inside) / 7)
    inside = [v for v in inside if round(math.log2(v)) % step == 0]
    return inside if len(inside) > 2 else sorted({*inside, 1.0, *(v for v in (0.8, 1.25, 1.5) if low <= v <= high)})


def _round_time(seconds: float) -> str:
    """A time that is a round number.

    Example:
        >>> _round_time(2e-5), _round_time(0.001)
        ('20 µs', '1 ms')
    """
    number, unit = time_text(seconds * (1 + 1e-9)).split()  # 10.0**-6 is below 1e-6, and would be 1000 ns
    return f"{float(number):g} {unit}"


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten, with 2 and 5 where there is room."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    tens = [10.0**k for k in powers if low <= 10.0**k <= high]
    if len(tens) >= 3:
        return tens
    return [m * 10.0**k for k in powers for m in (1, 2, 5) if low <= m * 10.0**k <= high]
