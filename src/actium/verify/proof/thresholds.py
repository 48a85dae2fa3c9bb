"""From where on a rounded result is infinite, subnormal or zero, exact to the neighbouring number of the format.

Stage: formula → [proof] → claims, report.
In: runs of one direction. Out: for each format, side and quantity, the smallest |x| of the format from which on,
outwards to its largest number, every result rounds there. On a run the function is monotone, so one bisection over
the format's numbers finds the edge, and every comparison on the way is between balls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import flint

from actium.symbolic.balls import exclusive
from actium.verify.encodings import Format, format_of
from actium.verify.proof.analysis import Analysis, Span
from actium.verify.proof.constants import Ball
from actium.verify.proof.curve import Curve, above, below
from actium.verify.proof.model import Threshold

DTYPES = ("float16", "bfloat16", "float32")
_QUANTITIES: tuple[tuple[Literal["output", "gradient"], int], ...] = (("output", 0), ("gradient", 1))
_PRECISIONS = (128, 512, 4096)


class _UnknownError(Exception):
    """A comparison that no precision decides, or a run of unknown direction."""


def number_at(fmt: Format, index: int) -> float:
    """The non-negative number of a format with this place in the order, 0 being 0."""
    field = fmt.significand_bits - 1
    biased, fraction = index >> field, index & ((1 << field) - 1)
    if biased == 0:
        return math.ldexp(fraction, fmt.min_exponent - field)
    return math.ldexp(fraction + (1 << field), biased - 1 + fmt.min_exponent - field)


def largest_index(fmt: Format) -> int:
    """The place of the largest finite number."""
    field = fmt.significand_bits - 1
    return ((fmt.max_exponent - fmt.min_exponent + 2) << field) - 1


def index_below(fmt: Format, value: float) -> int:
    """The place of the largest number of the format that does not exceed a non-negative value."""
    return _last(0, largest_index(fmt), lambda i: number_at(fmt, i) <= value)


def _last(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The last index at which a condition holds that holds at `low` and, once false, stays false."""
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low


@dataclass(frozen=True)
class _Limit:
    """A magnitude that decides what a result becomes, and for which results: those whose comparison is in `signs`."""

    becomes: Literal["inf", "subnormal", "0"]
    magnitude: float
    signs: tuple[int, ...]

    @property
    def is_large(self) -> bool:
        """Whether it is about results above the magnitude."""
        return 1 in self.signs


def _limits(fmt: Format) -> tuple[_Limit, ...]:
    """Rounding is to nearest, ties to even.

    The midpoint above the largest number becomes inf, half of the smallest subnormal becomes 0, and the midpoint below
    the smallest normal number becomes that.
    """
    p = fmt.significand_bits
    tiny = math.ldexp(1.0, fmt.min_exponent - p)
    return (
        _Limit("inf", fmt.largest + math.ldexp(1.0, fmt.max_exponent - p), (0, 1)),
        _Limit("subnormal", fmt.smallest_normal - tiny, (-1,)),
        _Limit("0", tiny, (-1, 0)),
    )


def thresholds(analysis: Analysis) -> Iterator[Threshold | str]:
    """All thresholds; a sentence for each that is not proven."""
    for quantity, order in _QUANTITIES:
        for side in (-1, 1):
            spans = [s for s in analysis.spans(order + 1) if not _is_zero(analysis, order, s)]
            outwards = list(reversed(spans)) if side > 0 else spans
            for dtype in DTYPES:
                for limit in _limits(format_of(dtype)):
                    search = _Search(analysis, order, side, format_of(dtype), limit)
                    try:
                        x = search.edge(outwards)
                    except _UnknownError:
                        where = "right" if side > 0 else "left"
                        yield f"from where on the {quantity} becomes {limit.becomes} in {dtype}, on the {where}"
                        continue
                    if x is not None:
                        yield Threshold(dtype, quantity, limit.becomes, x)


def _is_zero(analysis: Analysis, order: int, span: Span) -> bool:
    """Whether the function is exactly 0 there, which is no underflow."""
    if span.sign != 0:
        return False
    curve = analysis.curves(span.piece)[0]
    return curve.program(order).is_constant and curve.at(order, flint.arb(0))[0] == 0


@dataclass(frozen=True)
class _Search:
    """The innermost number of the outermost stretch on which a limit is passed."""

    analysis: Analysis
    order: int
    side: int
    fmt: Format
    limit: _Limit

    def edge(self, spans: list[Span]) -> float | None:
        """That number; `spans` are given from the outermost on."""
        found: float | None = None
        outer = largest_index(self.fmt)
        for span in spans:
            ends = (below(span.low), above(span.high)) if self.side > 0 else (-above(span.high), -below(span.low))
            if ends[1] <= 0 or span.empty:
                break
            first, last = self._indices(*ends)
            last = min(last, outer)
            if first > last:
                continue
            if last != outer:
                break  # between them the function is exactly 0, or has no value
            flip = self._flip(span, last)
            if flip is None:
                break
            inner = last - _last(0, last - first, lambda back, s=span, f=flip, n=last: self._passes(s, n - back, f))
            found, outer = self.side * number_at(self.fmt, inner), first - 1
            if inner > first or outer < 1:
                break
        return found

    def _indices(self, near: float, far: float) -> tuple[int, int]:
        """The places of the format's positive numbers in [near, far]."""
        first = max(index_below(self.fmt, max(near, 0.0)), 1)
        return first + (number_at(self.fmt, first) < near), index_below(self.fmt, far)

    def _flip(self, span: Span, last: int) -> int | None:
        """The sign s for which going inwards only s·f can cross the limit; None if the outermost does not pass it."""
        passes = [s for s in (1, -1) if self._passes(span, last, s)]
        if not passes or (not self.limit.is_large and len(passes) < 2):
            return None
        if span.sign is None:
            raise _UnknownError
        if self.limit.is_large:
            return passes[0]
        return -1 if -self.side * span.sign < 0 else 1

    @exclusive
    def _passes(self, span: Span, index: int, flip: int) -> bool:
        """Whether flip·f at a number of the format is on the limit's side."""
        x = self.side * number_at(self.fmt, index)
        for precision in _PRECISIONS:
            flint.ctx.prec = precision
            signs = {_comparison(flip * v, self.limit.magnitude) for v in self._values(span, x)}
            if len(signs) == 1 and None not in signs:
                return signs.pop() in self.limit.signs
        raise _UnknownError

    def _values(self, span: Span, x: float) -> list[Ball]:
        for point in self.analysis.breaks:
            if point.branches and point.at == x:
                curves = [Curve(b, self.analysis.x, self.analysis.work) for b in point.branches]
                return [curve.at(self.order, flint.arb(x))[0] for curve in curves]
        return [c.at(self.order, flint.arb(x))[0] for c in self.analysis.curves(span.piece)]


def _comparison(ball: Ball, magnitude: float) -> int | None:
    bound = flint.arb(magnitude)
    return 1 if ball > bound else -1 if ball < bound else 0 if ball == bound else None
