"""One smooth branch of a function with its derivatives, enclosed on intervals and on rays.

Stage: formula → [proof] → claims, report.
In: a graph without conditions. Out: enclosures of its value and of any derivative, and a division of an interval into
parts where one of them has a proven sign. The slope of each order is the dual number of the order below.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import flint

from actium.symbolic.derivative import differentiate
from actium.symbolic.graph import Node, const
from actium.verify.proof.constants import Ball
from actium.verify.proof.forms import constant_of
from actium.verify.proof.program import Program
from actium.verify.proof.tails import Ray, Tail, TailError

End = Ball  # a ball, or ±inf as a float
# Starts of rays that are tried; most tails have begun at 4.
STARTS = (4.0, 16.0, 64.0, 1024.0, 2.0**20, 2.0**40)
_FAR = 2.0**200
# An interval this narrow, relative to max(|x|, 2^-20), is not divided further.
_NARROW = 2.0**-34
# From this depth on, the signs of up to this many further derivatives are asked.
_DEEP, _ORDERS = 5, 4
_NEWTON_STEPS = 40
# Operations in a derivative from which on it is not differentiated for its sign.
_LARGE = 300


class Work:
    """What may be spent: operations of ball arithmetic.

    Args:
        limit: How many.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.spent = 0

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left."""
        return self.spent >= self.limit


class Segment(NamedTuple):
    """Where a function has one sign.

    Attributes:
        low: Left end.
        high: Right end.
        sign: 1, −1, or 0 where it vanishes identically; None where the sign is not known. It may vanish at the ends,
            and at single points between parts of the same sign.
        empty: Whether the function has no value at any of several points there.
    """

    low: End
    high: End
    sign: int | None
    empty: bool = False


def is_finite(end: End) -> bool:
    """Whether an end is a number."""
    return isinstance(end, flint.arb)


def below(end: End) -> float:
    """The largest double that is surely not above the end."""
    if not is_finite(end):
        return end
    lower = float(end.lower())
    return lower if flint.arb(lower) <= end else math.nextafter(lower, -math.inf)


def above(end: End) -> float:
    """The smallest double that is surely not below the end."""
    return -below(-end)


@dataclass
class Curve:
    """A smooth branch.

    Attributes:
        root: Its graph.
        x: The variable.
        work: What may be spent.
    """

    root: Node
    x: Node
    work: Work
    _graphs: list[Node] = field(default_factory=list)
    _programs: dict[int, Program] = field(default_factory=dict)
    _rays: dict[tuple[int, int, float], tuple[Tail, Tail] | None] = field(default_factory=dict)

    def program(self, order: int) -> Program:
        """The derivative of this order."""
        self._graphs = self._graphs or [self.root]
        while len(self._graphs) <= order:
            graph = differentiate(self._graphs[-1], self.x)
            constant = constant_of(graph)
            self._graphs.append(graph if constant is None else const(constant))
        if order not in self._programs:
            self._programs[order] = Program(self._graphs[order], self.x)
        return self._programs[order]

    def at(self, order: int, x: Ball) -> tuple[Ball, Ball]:
        """Enclosures of the derivative of this order, and of its slope."""
        program = self.program(order)
        self.work.spent += program.cost
        return program.at(x)

    def enclosure(self, order: int, low: float, high: float) -> Ball:
        """An enclosure over [low, high], by the mean value theorem where that is better."""
        value, slope = self.at(order, _box(low, high))
        return _meet(value, self._centred(order, slope, low, high))

    def _centred(self, order: int, slope: Ball, low: float, high: float) -> Ball:
        middle = flint.arb(low + (high - low) / 2)
        return self.at(order, middle)[0] + slope * (_box(low, high) - middle)

    # --- Rays -----------------------------------------------------------------------------------------

    def on_ray(self, order: int, side: int, start: float) -> tuple[Tail, Tail] | None:
        """The derivative of this order and its slope on the ray from side·start outwards; None if there is no form."""
        key = order, side, start
        if key not in self._rays:
            if self.work.exhausted:
                return None
            program = self.program(order)
            self.work.spent += 200 * program.cost
            try:
                self._rays[key] = program.on(Ray(side, start))
            except TailError:
                self._rays[key] = None
        return self._rays[key]

    def tail(self, order: int, side: int, beyond: float) -> tuple[float, Tail, int] | None:
        """Start, form and sign on the first ray, of those that begin beyond a point, on which the sign is known."""
        for start in _starts(side, beyond):
            found = self.on_ray(order, side, start)
            if found is None or self.on_ray(0, side, start) is None:
                continue
            try:
                return start, found[0], found[0].sign
            except TailError:
                continue
        return None

    def limit(self, order: int, side: int) -> Ball | float | None:
        """The limit of the derivative of this order towards side·inf, or None if it is not known to exist."""
        for start in (_FAR, *reversed(STARTS)):  # the further out, the tighter
            found = self.on_ray(order, side, start)
            if found is None:
                continue
            try:
                return found[0].limit()
            except TailError:
                continue
        return None

    # --- Signs ----------------------------------------------------------------------------------------

    def segments(self, order: int, low: End, high: End, touching: bool = False) -> list[Segment]:
        """Parts of (low, high), in order, where the derivative of this order has one sign.

        With `touching`, a point where it may vanish divides parts of the same sign.
        """
        left, right = below(low), above(high)
        outer: list[Segment] = []
        if right == math.inf:
            found = self.tail(order, 1, left if math.isfinite(left) else 0.0)
            right = found[0] if found else _starts(1, left if math.isfinite(left) else 0.0)[0]
            outer.append(self._outer(flint.arb(right), math.inf, found))
        inner_end = right
        if left == -math.inf:
            found = self.tail(order, -1, inner_end)
            left = -(found[0] if found else _starts(-1, inner_end)[0])
            outer.insert(0, self._outer(-math.inf, flint.arb(left), found))
        ends = (low if is_finite(low) else flint.arb(left), high if is_finite(high) else flint.arb(right))
        inner = list(self._inner(order, left, right))
        if inner:
            inner[0] = inner[0]._replace(low=ends[0])
            inner[-1] = inner[-1]._replace(high=ends[1])
        before = outer[:1] if low == -math.inf else []
        parts = [*before, *inner, *(outer[-1:] if high == math.inf else [])]
        return merged(parts, (lambda at: self.at(order, at)[0].contains(0)) if touching else lambda at: False)

    def _outer(self, low: End, high: End, found: tuple[float, Tail, int] | None) -> Segment:
        if found is not None:
            return Segment(low, high, found[2])
        side, start = (1, below(low)) if is_finite(low) else (-1, -above(high))
        places = [flint.arb(side * start * 2.0**k) for k in range(0, 60, 5)]
        return Segment(low, high, None, not any(self.at(0, p)[0].is_finite() for p in places))

    def _inner(self, order: int, low: float, high: float) -> Iterator[Segment]:
        program = self.program(order)
        # sqrt(x) − sqrt(x) has slope 0 everywhere in form, but no value below 0.
        if program.is_constant and self._has_value(order, low, high):
            value = program.at(flint.arb(0))[0]
            yield Segment(flint.arb(low), flint.arb(high), _sign(value))
            return
        todo = [(a, b, 0) for a, b in reversed(_grid(low, high))]
        while todo:
            a, b, depth = todo.pop()
            parts = self._decided(order, a, b, depth) if self._has_value(order, a, b) else None
            narrow = b - a <= _NARROW * max(abs(a), abs(b), 2.0**-20)
            if parts is not None:
                yield from parts
            elif depth >= _DEEP and self._is_empty(a, b):
                yield Segment(flint.arb(a), flint.arb(b), None, empty=True)
            elif narrow or self.work.exhausted:
                yield Segment(flint.arb(a), flint.arb(b), None)
            else:
                middle = a + (b - a) / 2
                todo += [(middle, b, depth + 1), (a, middle, depth + 1)]

    def _has_value(self, order: int, a: float, b: float) -> bool:
        """Whether the function itself has a value everywhere: 1/x is a derivative of log for positive x only."""
        return order == 0 or self.at(0, _box(a, b))[0].is_finite()

    def _is_empty(self, a: float, b: float) -> bool:
        """Whether the function has no value at the ends and in the middle: dividing would go on for ever."""
        points = (a, a + (b - a) / 2, b)
        return not any(self.at(0, flint.arb(p))[0].is_finite() for p in points)

    def _decided(self, order: int, a: float, b: float, depth: int) -> list[Segment] | None:
        """The sign on [a, b], or the two around its one root; None if neither is known."""
        value, slope = self.at(order, _box(a, b))
        sign = _sign(value)
        if sign is None and slope.is_finite():
            sign = _sign(self._centred(order, slope, a, b))
        if sign is not None:
            return [Segment(flint.arb(a), flint.arb(b), sign)]
        trend = _sign(slope)
        if not trend and depth < _DEEP:
            return None
        at_a, at_b = (_sign(self.at(order, flint.arb(end))[0]) for end in (a, b))
        if at_a is None or at_b is None:
            return None
        if not trend and at_a * at_b == 0 and self._is_small(order):  # elsewhere, dividing helps by itself
            trend = self._constant_sign(order + 1, a, b, _ORDERS)
        if not trend:
            return None
        if at_a * at_b >= 0:
            return [Segment(flint.arb(a), flint.arb(b), at_a or at_b)]
        root = self._root(order, a, b, trend)
        return [Segment(flint.arb(a), root, at_a), Segment(root, flint.arb(b), at_b)]

    def _constant_sign(self, order: int, a: float, b: float, orders: int) -> int | None:
        """A sign that holds on [a, b] except perhaps at an end, from the derivatives' signs."""
        value, slope = self.at(order, _box(a, b))
        sign = _sign(value)
        if sign is not None:
            return sign
        trend = _sign(slope)
        if trend is None and orders > 1 and self._is_small(order):
            trend = self._constant_sign(order + 1, a, b, orders - 1)
        if not trend:
            return None
        at_a, at_b = (_sign(self.at(order, flint.arb(end))[0]) for end in (a, b))
        if at_a is None or at_b is None or at_a * at_b < 0:
            return None
        return at_a or at_b

    def _is_small(self, order: int) -> bool:
        """Whether a further derivative is worth its size: graphs can grow tenfold with each."""
        return self.program(order).cost <= _LARGE

    def _root(self, order: int, a: float, b: float, trend: int) -> Ball:
        """The one root of a strictly monotone function in [a, b], by Newton's method on intervals."""
        box = _box(a, b)
        for _ in range(0 if box.is_exact() else _NEWTON_STEPS):
            middle = box.mid()
            value = self.at(order, middle)[0]
            slope = self.at(order, box)[1]
            sign = _sign(value)
            if slope.contains(0) or not slope.is_finite():
                if not sign:
                    break
                half = middle.union(box.upper()) if sign * trend < 0 else box.lower().union(middle)
                new = _meet(box, half)
            else:
                new = _meet(box, middle - value / slope)
            slow = new.rad() * 10 > box.rad() * 9
            box = new
            if slow or box.is_exact():
                break
        return self._exact_root(order, box)

    def _exact_root(self, order: int, box: Ball) -> Ball:
        """The shortest number in the box, if it is exactly a root; else the box."""
        middle = float(box.mid())
        mantissa, exponent = math.frexp(middle)
        for bits in (6, 12, 24, 40, 53):
            candidate = math.ldexp(round(math.ldexp(mantissa, bits)), exponent - bits)
            number = flint.arb(candidate)
            if box.contains(number):
                value = self.at(order, number)[0]
                if value.is_exact() and value == 0:
                    return number
        return box


def merged(segments: list[Segment], divides: Callable[[Ball], bool]) -> list[Segment]:
    """Neighbours of the same sign made one, unless the point between them divides them."""
    result: list[Segment] = []
    for s in segments:
        same = bool(result) and (result[-1].sign, result[-1].empty) == (s.sign, s.empty)
        if same and not (s.sign and divides(s.low)):
            result[-1] = result[-1]._replace(high=s.high)
        else:
            result.append(s)
    return result


def _starts(side: int, beyond: float) -> list[float]:
    least = max(side * beyond, 0.0) if math.isfinite(beyond) else 0.0
    return [max(s, math.ldexp(1.0, math.frexp(2 * least)[1]) if least >= s else s) for s in STARTS]


def _grid(low: float, high: float) -> list[tuple[float, float]]:
    """[low, high] divided at 0 and at powers of 2 from 1 on, so that no interval is wide for its place."""
    places = {low, high}
    places.update(p for p in (0.0, *(s * 2.0**k for k in range(-1, 60) for s in (1, -1))) if low < p < high)
    ordered = sorted(places)
    return list(itertools.pairwise(ordered))


def _box(low: float, high: float) -> Ball:
    return flint.arb(low).union(flint.arb(high))


def _meet(a: Ball, b: Ball) -> Ball:
    """What both enclose; NaN encloses everything."""
    if not b.is_finite():
        return a
    if not a.is_finite():
        return b
    return a.intersection(b)


def _sign(ball: Ball) -> int | None:
    """−1, 0 (exactly) or 1; None if the ball does not tell."""
    return 1 if ball > 0 else -1 if ball < 0 else 0 if ball.is_exact() and ball == 0 else None
