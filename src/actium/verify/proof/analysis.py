"""Pieces and signs of derivatives → range, slopes, runs, corners.

Stage: formula → [proof] → claims, report.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import flint

from actium.symbolic.graph import Node
from actium.verify.proof.constants import Ball
from actium.verify.proof.curve import Curve, End, Segment, Work, above, below, is_finite
from actium.verify.proof.model import ANYTHING, Bound, Corner, Enclosure, Run, Trend
from actium.verify.proof.pieces import Break, Piece, Splitter

_TRENDS: dict[int | None, Trend] = {1: "increasing", -1: "decreasing", 0: "constant", None: "unknown"}
# Into how many parts an interval of unknown sign is divided for its enclosure.
_PARTS = 8
_UNBOUNDED = "0 +/- inf"
# Values of one point are enclosed this tightly, relative to max(|value|, 1), or are not compared.
_AGREE = 2.0**-90


class Span(NamedTuple):
    """Part of a piece on which a derivative has one sign.

    Attributes:
        piece: Index of the piece.
        low: Left end.
        high: Right end.
        sign: As in `Segment`.
        empty: As in `Segment`.
    """

    piece: int
    low: End
    high: End
    sign: int | None
    empty: bool = False


@dataclass(frozen=True)
class _Candidate:
    """A value that may be extreme: its enclosure, where, and whether it is a value of the function.

    A possible one is perhaps none at all: then it widens a bound and does not move it.
    """

    value: Enclosure
    at: Enclosure
    attained: bool | None
    possible: bool = False


def enclose(value: Any) -> Enclosure:
    """A ball as an interval of doubles."""
    if value is None:
        return ANYTHING
    if not is_finite(value):
        return Enclosure(value, value)
    return ANYTHING if value.is_nan() else Enclosure(below(value) + 0.0, above(value) + 0.0)


class Analysis:
    """Everything about one function on (low, high), computed when asked for.

    Args:
        root: As `pieces.plain` gives it.
        x: The variable.
        work: What may be spent.
        low: Left end.
        high: Right end.
    """

    def __init__(self, root: Node, x: Node, work: Work, low: End, high: End) -> None:
        splitter = Splitter(root, x, work)
        self.x = x
        self.work = work
        self.pieces: list[Piece] = splitter.pieces(low, high)
        self.breaks: list[Break] = splitter.breaks(self.pieces)
        self._curves: dict[Node, Curve] = {}
        self._spans: dict[int, list[Span]] = {}

    def curves(self, piece: int) -> list[Curve]:
        """The branches of a piece."""
        for branch in self.pieces[piece].branches:
            if branch not in self._curves:
                self._curves[branch] = Curve(branch, self.x, self.work)
        return [self._curves[b] for b in self.pieces[piece].branches]

    def spans(self, order: int) -> list[Span]:
        """Where the derivative of this order has which sign, in order."""
        if order not in self._spans:
            found: list[Span] = []
            for i, piece in enumerate(self.pieces):
                curves = self.curves(i)
                whole = [Segment(piece.low, piece.high, None)]
                parts = curves[0].segments(order, piece.low, piece.high) if len(curves) == 1 else whole
                found += [Span(i, *part) for part in parts]
            self._spans[order] = found
        return self._spans[order]

    def value(self, order: int, piece: int, end: End) -> Ball | float | None:
        """The derivative of this order at an end of a piece, from within; a limit at ±inf."""
        curves = self.curves(piece)
        if not is_finite(end):
            return curves[0].limit(order, 1 if end > 0 else -1) if len(curves) == 1 else None
        balls = [curve.at(order, end)[0] for curve in curves]
        return functools.reduce(lambda a, b: a.union(b), balls)

    def over(self, order: int, span: Span) -> Enclosure:
        """An enclosure over a span, of whatever sign."""
        parts = [self._over(curve, order, span) for curve in self.curves(span.piece)]
        return Enclosure(min(p.low for p in parts), max(p.high for p in parts))

    def _over(self, curve: Curve, order: int, span: Span) -> Enclosure:
        if is_finite(span.low) and is_finite(span.high):
            a, b = below(span.low), above(span.high)
            cuts = [a + (b - a) * k / _PARTS for k in range(_PARTS)] + [b]
            balls = [curve.enclosure(order, p, q) for p, q in itertools.pairwise(cuts)]
            parts = [enclose(ball) for ball in balls]
            return Enclosure(min(p.low for p in parts), max(p.high for p in parts))
        side, start = (1, below(span.low)) if is_finite(span.low) else (-1, -above(span.high))
        found = curve.on_ray(order, side, start) if start >= 2 else None
        if found is not None:
            return enclose(found[0].hull())
        return enclose(curve.at(order, flint.arb(_UNBOUNDED))[0])

    @property
    def undecided(self) -> tuple[Enclosure, ...]:
        """Where the function may jump, since it is not known which branch is in force where."""
        return tuple(Enclosure(below(p.low), above(p.high)) for p in self.pieces if not p.continuous)

    # --- Extrema --------------------------------------------------------------------------------------

    def extrema(self, order: int) -> tuple[Bound, Bound]:
        """Infimum and supremum of the derivative of this order."""
        candidates = [c for span in self.spans(order + 1) for c in self._candidates(order, span)]
        if order == 0:
            candidates += [
                _Candidate(enclose(b.value), enclose(b.at), True) for b in self.breaks if b.value is not None
            ]
        else:
            # Where conditions change within one ball, the pieces between them are not among the spans.
            for point in self.breaks:
                branches = point.branches if len(point.branches) > 1 else ()
                slopes = [Curve(b, self.x, self.work).at(order, point.at)[0] for b in branches]
                candidates += [_Candidate(enclose(s), enclose(point.at), None, possible=True) for s in slopes]
        flipped = [replace(c, value=_negated(c.value)) for c in candidates]
        low, high = _infimum(candidates), _infimum(flipped)
        return low, Bound(_negated(high.value), high.at, high.attained)

    def _candidates(self, order: int, span: Span) -> list[_Candidate]:
        piece = self.pieces[span.piece]
        if span.sign is None:
            if span.empty:
                return []
            return [_Candidate(self.over(order, span), Enclosure(below(span.low), above(span.high)), None)]
        if span.sign == 0:
            inner = span.low if is_finite(span.low) else span.high if is_finite(span.high) else flint.arb(0)
            value = enclose(self.value(order, span.piece, inner))
            return [_Candidate(value, Enclosure(below(span.low), above(span.high)), True)]
        found = []
        for end, border in ((span.low, piece.low), (span.high, piece.high)):
            # A break belongs to one piece only, and its value is a candidate of its own; a window is open.
            inside = is_finite(end) and end is not border
            found.append(_Candidate(enclose(self.value(order, span.piece, end)), enclose(end), inside))
        return found

    # --- Shape ----------------------------------------------------------------------------------------

    def runs(self) -> tuple[Run, ...]:
        """Where the function goes which way; runs that go on across a corner are one."""
        found: list[Run] = []
        corners = {c.at: c for c in self.corners}
        for span in self.spans(1):
            trend = "undefined" if span.empty else _TRENDS[span.sign]
            run = Run(enclose(span.low), enclose(span.high), trend)
            corner = corners.get(run.low)
            joins = corner is None or corner.kind in ("smooth", "kink")
            if found and found[-1].trend == run.trend and joins:
                found[-1] = Run(found[-1].low, run.high, run.trend)
            else:
                found.append(run)
        return tuple(found)

    @functools.cached_property
    def corners(self) -> tuple[Corner, ...]:
        """The breaks, with what is known on both sides."""
        return tuple(self._corner(i, b) for i, b in enumerate(self.breaks))

    def _corner(self, left: int, point: Break) -> Corner:
        values = (self.value(0, left, point.at), point.value, self.value(0, left + 1, point.at))
        slopes = (self.value(1, left, point.at), self.value(1, left + 1, point.at))
        shown = (enclose(values[0]), enclose(values[1]), enclose(values[2]))
        kind = _kind(values, slopes)
        return Corner(
            enclose(point.at),
            kind,
            shown,
            (enclose(slopes[0]), enclose(slopes[1])),
            may_jump=kind == "jump" or (kind == "unknown" and not self._agrees(left, point)),
            exact=all(isinstance(v, flint.arb) and v.is_exact() for v in (*values, *slopes)),
        )

    def _agrees(self, left: int, point: Break) -> bool:
        """Whether one side has, in some order, the branches of both, which agree wherever one may follow another."""
        sides = [self.pieces[left], self.pieces[left + 1]]
        both = {*point.branches, *sides[0].branches, *sides[1].branches}
        return bool(point.branches) and any(s.continuous and both <= set(s.branches) for s in sides)


def _kind(values: tuple[Any, Any, Any], slopes: tuple[Any, Any]) -> Literal["smooth", "kink", "jump", "unknown"]:
    known = [v for v in values if isinstance(v, flint.arb) and v.is_finite()]
    if not all(a.overlaps(b) for a, b in itertools.combinations(known, 2)):
        return "jump"
    # Wide enclosures overlap wherever the values are.
    if len(known) < len(values) or any(v.rad() > _AGREE * max(1.0, abs(float(v.mid()))) for v in known):
        return "unknown"
    if not all(isinstance(s, flint.arb) and s.is_finite() for s in slopes):
        return "unknown"
    return "smooth" if slopes[0].overlaps(slopes[1]) else "kink"


def _negated(value: Enclosure) -> Enclosure:
    return Enclosure(-value.high + 0.0, -value.low + 0.0)


def _infimum(candidates: list[_Candidate]) -> Bound:
    if not candidates:
        return Bound(ANYTHING)
    sure_highs = (c.value.high for c in candidates if not c.possible)
    value = Enclosure(min(c.value.low for c in candidates), min(sure_highs, default=math.inf))
    reaching = [c for c in candidates if c.value.low <= value.high]
    attained: bool | None = None
    sure = [c for c in reaching if c.attained]
    if all(c.attained is False for c in reaching):
        attained = False
    elif sure and all(c.attained or _same(c, sure) for c in reaching):
        attained = True
    at = tuple(dict.fromkeys(c.at for c in (sure or reaching)))
    return Bound(value, at, attained and not math.isinf(value.middle))


def _same(candidate: _Candidate, others: list[_Candidate]) -> bool:
    """Whether a value that is only approached is also one that is attained: the same place, or the same number."""
    exact = candidate.value.low == candidate.value.high
    return any(
        (c.at == candidate.at and c.value.low <= candidate.value.high and candidate.value.low <= c.value.high)
        or (exact and c.value == candidate.value)
        for c in others
    )
