"""The error over the whole axis of a format, drawn so that a bad region is seen at a glance.

Stage: certificate's profile → [SVG]. In: the texts that `verify/profile.py` describes. Out: inline SVG without ids,
scripts or styles, the same in a page and in a notebook. It fills the width it is given, and its labels keep their size.

Every kind of bin has its own colour, height and texture, so none is needed to tell them apart: an error is a plain bar
whose height counts lost bits, a false zero is higher than all of those and striped across, and NaN or infinity fills
the whole height, striped along. Colours show on white and on black; a page may set its own by class.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from actium.report.clean import clean
from actium.report.svg import tick
from actium.report.terminal import number
from actium.verify.axis import ALPHABET, FALSE_ZERO, LEVELS, NON_FINITE, UNKNOWN, Run, edges, place, runs

GOOD, OVER, HALF, ZERO, WRONG, DARK = "good", "over", "half", "zero", "wrong", "dark"
# After Okabe and Ito, with a contrast of at least 3:1 on white and on black.
_COLOURS = {GOOD: "#4a86b8", OVER: "#b87a00", HALF: "#cf5a13", ZERO: "#8a63d2", WRONG: "#d1265b", DARK: "#888888"}
_MEANING = {
    DARK: "no exact value to compare with",
    GOOD: "within budget",
    OVER: "over budget",
    HALF: "more than half the digits wrong",
    ZERO: "0 instead of a number",
    WRONG: "NaN or infinite instead of a number",
}
KINDS = tuple(_MEANING)
_IN_SHORT = {OVER: "over budget", HALF: "over half the digits wrong", ZERO: "0 for a number", WRONG: "NaN or infinite"}
_BAD = (WRONG, ZERO, HALF, OVER)
_QUANTITIES = ("output", "gradient")
_SPECIAL = {UNKNOWN: DARK, FALSE_ZERO: ZERO, NON_FINITE: WRONG}
# Heights as shares of a lane: errors stay below false zeros, and those below what is not a number at all.
_ERROR, _ZERO = 0.6, 0.8
# Where a bad bin is a fraction of a pixel wide, a bar of so many bins is drawn.
_LEAST = 3
_MOST_BINS = 2048
_TITLES = 6
_HEADER, _SPACE, _AXIS = 16, 8, 18
# Those further left win the room that there is.
_TICKS = (1.0, 1e-2, 100.0, 1e-20, 1e20, 1e-4)
_MINOR = (1e-2, 100.0, 1e-20, 1e20, 1e-4)
_TICK_ROOM = 6.0


@dataclass(frozen=True)
class Lane:
    """The bins of one quantity in one format.

    Attributes:
        dtype: The format.
        quantity: `output` or `gradient`.
        text: The worst of each bin.
        ends: Ends of the bins of the positive side.
        bits: The format's significand.
        budget: In ULP.
    """

    dtype: str
    quantity: str
    text: str
    ends: Sequence[float]
    bits: int
    budget: float

    def kind(self, character: str) -> str:
        """What a bin is drawn as."""
        if character in _SPECIAL:
            return _SPECIAL[character]
        most = _most(character)
        return GOOD if most <= self.budget else HALF if most > 2.0 ** (self.bits / 2) else OVER

    def runs(self) -> list[Run]:
        """Neighbouring bins of the same kind."""
        return list(self._runs)

    @functools.cached_property
    def _runs(self) -> tuple[Run, ...]:
        # A picture asks once for each kind, and a text has few different characters.
        kinds = {character: self.kind(character) for character in set(self.text)}
        return tuple(runs(kinds[character] for character in self.text))

    def height(self, character: str) -> float:
        """As a share of the lane: lost bits among all bits, or more for what is no error in bits."""
        special = {ZERO: _ZERO, WRONG: 1.0, DARK: 0.0}
        if character in _SPECIAL:
            return special[_SPECIAL[character]]
        return _ERROR * min(LEVELS.index(character) / (self.bits + 1), 1.0)

    def coarse(self, factor: int) -> Lane:
        """With so many bins in one, counted from 0 outwards; the worst stays."""
        if factor <= 1:
            return self
        side = len(self.ends) - 1
        left, right = (_worst_of_each(half, factor) for half in (self.text[:side][::-1], self.text[side:]))
        return replace(self, text=left[::-1] + right, ends=[*self.ends[:-1:factor], self.ends[-1]])

    @property
    def largest(self) -> float:
        """The largest finite number of the format."""
        return self.ends[-1] * (1 - 2.0**-self.bits)

    def where(self, run: Run) -> str:
        """The inputs of a run, in words."""
        low, high = (max(-self.largest, min(v, self.largest)) for v in run.interval(self.ends))
        return f"from {_number(low)} to {_number(high)}"

    def summary(self) -> str:
        """The worst there is, and where, in a few words."""
        found = self.runs()
        kind = next((k for k in _BAD if any(r.kind == k for r in found)), None)
        if kind is None:
            most = max(map(_most, set(self.text) & set(LEVELS)), default=None)
            return "nothing to compare" if most is None else f"at most {_number(most)} ULP"
        bad = [r for r in found if r.kind == kind]
        widest = max(bad, key=lambda r: r.stop - r.start)
        return f"{_IN_SHORT[kind]} {self.where(widest)}{', and elsewhere' if len(bad) > 1 else ''}"


def lanes(profile: Mapping[str, Any], dtype: str) -> list[Lane]:
    """Output and gradient of a format; empty if the profile does not have it, or is not as described."""
    try:
        data = profile["formats"][dtype]
        if not 0 < sum((last - first + 1) * parts for first, last, parts in data["axis"]) <= _MOST_BINS:
            return []
        ends, bits, budget = edges(data["axis"]), int(data["significand_bits"]), float(data["budget"])
        found = [Lane(clean(dtype), q, str(data[q]), ends, bits, budget) for q in _QUANTITIES if q in data]
    except (KeyError, TypeError, ValueError, IndexError, ArithmeticError):
        return []
    sound = all(len(one.text) == 2 * (len(ends) - 1) and set(one.text) <= set(ALPHABET) for one in found)
    return found if sound else []


def kinds(lanes: Iterable[Lane]) -> set[str]:
    """The kinds of bins that there are."""
    return {lane.kind(c) for lane in lanes for c in set(lane.text)}


def _number(value: float) -> str:
    return number(value).replace("e+", "e").replace("-", "−")


def _most(level: str) -> float:
    """The largest error in ULP that a letter stands for."""
    return 2.0 ** (LEVELS.index(level) - 1)


def _worst_of_each(text: str, factor: int) -> str:
    return "".join(max(text[i : i + factor], key=ALPHABET.index) for i in range(0, len(text), factor))


# --- The picture ------------------------------------------------------------------------------------------


def picture(lanes: Sequence[Lane], height: int = 72) -> Markup:
    """The lanes of one format, one below the other on one axis.

    Args:
        lanes: From `lanes`, not empty; perhaps made coarse.
        height: Of a lane, in pixels.

    Returns:
        An `<svg>` as wide as its container, which has to leave 44 pixels to the left of it for the labels of heights.
    """
    parts, top = [], 0
    for lane in lanes:
        head = '<text y="{}" font-weight="600">{}</text><text x="100%" y="{}" text-anchor="end">{}</text>'
        parts.append(Markup(head).format(top + 11, lane.quantity, top + 11, lane.summary()))
        top += _HEADER
        parts += [_lane(lane, top, height), _scale(lane, top, height)]
        top += height + _SPACE
    parts.append(_ticks(lanes[0], top - _SPACE + 13))
    label = "; ".join(f"{one.dtype} {one.quantity}: {one.summary()}" for one in lanes)
    return Markup(
        '<svg class="am-map" width="100%" height="{}" role="img" aria-label="{}" overflow="visible" '
        'fill="currentColor" font-family="system-ui,sans-serif" font-size="11">{}</svg>'
    ).format(top - _SPACE + _AXIS, label, Markup("").join(parts))


def strip(lanes: Sequence[Lane], height: int) -> Markup:
    """The lanes of one format in little room: without numbers and texts, in colours that only the page has.

    Args:
        lanes: From `lanes`, not empty; better made coarse.
        height: Of a lane, in pixels.
    """
    count, whole = len(lanes[0].text), len(lanes) * (height + 2)
    parts = [Markup('<path class="am-base" d="{}"/>').format(_across(count, range(height, whole, height + 2)))]
    for kind in (DARK, *_BAD[::-1]):
        shapes = [
            _outline(_bars(lane, [r for r in lane.runs() if r.kind == kind], height), (height + 2) * k + height)
            for k, lane in enumerate(lanes)
        ]
        if any(shapes):
            parts.append(Markup('<path class="am-{}" d="{}"/>').format(kind, "".join(shapes)))
    shape = f'height="{whole}" viewBox="0 0 {count} {whole}" preserveAspectRatio="none"'
    frame = f'<svg class="am-strip" {shape} role="img" aria-label="{{}}">{{}}</svg>'
    label = "; ".join(f"{one.quantity}: {one.summary()}" for one in lanes)
    return Markup(frame).format(label, Markup("").join(parts))


def axis(lane: Lane) -> Markup:
    """The numbers on the axis, for strips that have none."""
    frame = '<svg width="100%" height="16" aria-hidden="true" overflow="visible" font-size="11">{}</svg>'
    return Markup(frame).format(_ticks(lane, 11))


def legend(kinds: Iterable[str]) -> Markup:
    """What the given kinds of bins look like."""
    wanted = set(kinds)
    swatch = '<span class="am-key"><svg width="24" height="12" viewBox="0 0 24 12" aria-hidden="true">{}</svg>{}</span>'
    return Markup(" ").join(
        Markup(swatch).format(
            _painted(kind, [("", [_Bar(1, 23, 11.0)])], 12, 60), f"\u00a0{meaning}".replace(" ", "\u00a0")
        )
        for kind, meaning in _MEANING.items()
        if kind in wanted
    )


def _lane(lane: Lane, top: int, height: int) -> Markup:
    count, found = len(lane.text), lane.runs()
    parts = [Markup('<path fill-opacity=".05" d="M0 0H{}V{}H0z"/>').format(count, height)]
    parts += [_drawn(lane, [r for r in found if r.kind == kind], height) for kind in _MEANING]
    parts.append(_guides(lane, height))
    frame = '<svg y="{}" width="100%" height="{}" viewBox="0 0 {} {}" preserveAspectRatio="none">{}</svg>'
    return Markup(frame).format(top, height, count, height, Markup("").join(parts))


@dataclass(frozen=True)
class _Bar:
    """A bar of the picture, in bins across and pixels up."""

    start: int
    stop: int
    height: float


def _drawn(lane: Lane, found: Sequence[Run], height: int) -> Markup:
    """All runs of one kind; the widest bad ones say where they are when pointed at."""
    if not found:
        return Markup("")
    kind, parts = lane.kind(lane.text[found[0].start]), []
    told = sorted(found, key=lambda r: r.start - r.stop)[:_TITLES] if kind in _BAD else []
    silent = [r for r in found if r not in told]
    for members in [[r] for r in told] + [silent] * bool(silent):
        title = f"{lane.quantity}: {_MEANING[kind]}, {lane.where(members[0])}" if members[0] in told else ""
        parts.append((title, _bars(lane, members, height)))
    return _painted(kind, parts, height, len(lane.text))


def _bars(lane: Lane, found: Iterable[Run], height: int) -> list[_Bar]:
    """A bar for each stretch of equal errors."""
    bars = []
    for run in found:
        for part in runs(lane.text[run.start : run.stop]):
            start, stop = run.start + part.start, run.start + part.stop
            if run.kind in (ZERO, WRONG) and stop - start < _LEAST:
                start = max(0, min(start - 1, len(lane.text) - _LEAST))
                stop = start + _LEAST
            bars.append(_Bar(start, stop, lane.height(part.kind) * height))
    return bars


def _painted(kind: str, parts: Sequence[tuple[str, list[_Bar]]], height: int, count: int) -> Markup:
    """Bars, some with a title, in the colour and texture of their kind; `count` is how many bins the width has."""
    look = Markup(' fill-opacity=".3"') if kind in (ZERO, WRONG) else ""
    shapes = []
    for title, bars in parts:
        inner = Markup("<title>{}</title>").format(title) if title else ""
        shapes.append(Markup('<path{} d="{}">{}</path>').format(look, _outline(bars, height), inner))
    texture = _texture(kind, [bar for _, bars in parts for bar in bars], height, count)
    colour, is_bad = _COLOURS[kind], kind in _BAD
    edge = Markup('stroke-width="1" vector-effect="non-scaling-stroke"') if is_bad else ""
    group = '<g class="am-{}" fill="{}" stroke="{}" {}>{}{}</g>'
    return Markup(group).format(kind, colour, colour if is_bad else "none", edge, Markup("").join(shapes), texture)


def _outline(bars: Sequence[_Bar], base: int) -> str:
    """Bars on a base line, those that touch as one shape: up, along, down."""
    text, open_at = [], None
    for bar in bars:
        top = f"{base - max(bar.height, 2):.1f}".removesuffix(".0")
        if open_at != bar.start:
            text.append(f"{f'V{base}z' if text else ''}M{bar.start} {base}")
        text.append(f"V{top}H{bar.stop}")
        open_at = bar.stop
    return "".join([*text, f"V{base}z"]) if text else ""


def _across(count: int, rows: Iterable[int]) -> str:
    return "".join(f"M0 {y}H{count}" for y in rows)


def _texture(kind: str, bars: Sequence[_Bar], height: int, count: int) -> Markup:
    """Stripes: along for NaN and infinity, across for false zeros; none for the rest."""
    if kind == WRONG:
        pitch = count / 250
        lines = "".join(f"M{b.start} {height / 2:g}H{b.stop}" for b in bars)
        look = 'stroke-width="{}" stroke-dasharray="{:.2g} {:.2g}" stroke-opacity=".75"'
        return Markup(f'<path {look} vector-effect="none" d="{{}}"/>').format(height, pitch, 1.4 * pitch, lines)
    if kind == ZERO:
        rows = range(2, int(bars[0].height), 5)
        lines = "".join(f"M{b.start} {height - y}H{b.stop}" for b in bars for y in rows)
        return Markup('<path stroke-width="2" vector-effect="none" d="{}"/>').format(lines)
    return Markup("")


def _guides(lane: Lane, height: int) -> Markup:
    """Thin lines: up at −1, 0 and 1; across at the budget."""
    up = "".join(f"M{place(x, lane.ends):g} 0V{height}" for x in (-1.0, 0.0, 1.0))
    budget = next(c for c in LEVELS if _most(c) >= lane.budget)
    across = f"M0 {height - max(lane.height(budget) * height, 2):.1f}H{len(lane.text)}"
    look = 'stroke="currentColor" stroke-opacity=".4" vector-effect="non-scaling-stroke" fill="none"'
    return Markup(f'<path {look} d="{{}}"/><path {look} stroke-dasharray="4 3" d="{{}}"/>').format(up, across)


def _scale(lane: Lane, top: int, height: int) -> Markup:
    """What the heights mean, to the left of the lane."""
    marks = [(0.0, "½ ULP"), (_ERROR, _power_of_two(lane.bits)), (_ZERO, "0"), (1.0, "NaN, ∞")]
    texts = (
        Markup('<text x="-5" y="{:.0f}">{}</text>').format(top + height * (1 - share) + (1 if share == 0 else 5), text)
        for share, text in marks
    )
    return Markup('<g text-anchor="end" font-size="9.5" opacity=".8">{}</g>').format(Markup("").join(texts))


def _power_of_two(exponent: int) -> str:
    return "2" + str(exponent).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _ticks(lane: Lane, y: int) -> Markup:
    """The numbers on the axis. Those of class `am-minor` can be left out where it is narrow."""
    count = len(lane.text)
    taken = [0.0, 50.0, 100.0]
    size = _number(lane.largest)
    parts = [
        Markup(
            '<text text-anchor="start">−{}</text><text x="50%">0</text><text x="100%" text-anchor="end">{}</text>'
        ).format(size, size)
    ]
    for x in _TICKS:
        at = 100 * place(x, lane.ends) / count
        if x >= lane.largest or min(abs(at - t) for t in taken) < _TICK_ROOM:
            continue
        taken.append(at)
        minor = Markup(' class="am-minor"') if x in _MINOR else ""
        for sign, share in (("−", 100 - at), ("", at)):
            parts.append(Markup('<text x="{:.4g}%"{}>{}{}</text>').format(share, minor, sign, tick(x)))
    moved = Markup("").join(parts)
    return Markup('<svg y="{}" overflow="visible" width="100%" height="1"><g text-anchor="middle">{}</g></svg>').format(
        y, moved
    )
