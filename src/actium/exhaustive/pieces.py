"""The reference: polynomials that are the formula and its slope, to a proven bound, on pieces of the input axis.

Stage: formula → series → [pieces] → screen → certificate.
In: a formula and an exponent. Out: pieces, each a run of consecutive float32 encodings with polynomials for value,
slope and second derivative, and a bound on their error. A piece is halved until its bound is small beside the ruler.
What no piece can hold (±0, ties, the neighbours of a kink) is left to balls, one input at a time.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flint import arb

from actium.exhaustive.jet import Series, Straddle
from actium.symbolic.graph import Formula
from actium.verify.oracle import Oracle

DEGREE = 7
BEND = 3  # degree of the second derivative, which is only a ruler's allowance
# How small a bound has to be, in units of the ruler: a measured error is known to about this much.
GOAL = 2.0**-12
# Below this the exact result counts as 0: it is 2^-16 of the smallest float32.
VANISHED = 2.0**-165
# Beyond this both a result and everything near it overflow.
SATURATED = 2.0**130
_UNIT, _PLACE = 2.0**-24, 2.0**-149
_PRECISIONS = (128, 384, 1152, 3456)
_WIDE = 96
_LENGTH = DEGREE + 4
UNIT_SIZE = 1 << 23
# More single inputs, or more attempts, than this in one exponent, and the rest of it is left undecided.
SINGLES, ATTEMPTS = 256, 8192
# What overflows by far may have a slope that no ball encloses; pieces down to this size are tried.
FAR = UNIT_SIZE // 32


@dataclass(frozen=True)
class Piece:
    """Consecutive encodings of one sign and exponent.

    Attributes:
        first: The first encoding, sign bit included.
        last: The last one.
        centre: Where the polynomials are expanded.
        scale: A power of two: t = (x − centre)·scale is in [−1, 1].
        value: Coefficients of the value in t.
        slope: Of the slope.
        bend: Of the second derivative.
        errors: Bounds on the absolute errors of the three, evaluation in double included.
        rulers: What value and slope are measured in here, at least.
        slope_known: Whether there is a reference for the slope. If not, the value overflows on the whole piece.
    """

    first: int
    last: int
    centre: float
    scale: float
    value: tuple[float, ...]
    slope: tuple[float, ...]
    bend: tuple[float, ...]
    errors: tuple[float, float, float]
    rulers: tuple[float, float]
    slope_known: bool = True

    @property
    def bound(self) -> float:
        """By how many ULP a measured error may be off, for the reference's own."""
        return max(e / r for e, r in zip(self.errors[:2], self.rulers, strict=True))

    @property
    def ruler_error(self) -> float:
        """By what share the ruler itself may be off, for the sensitivities' errors."""
        reach = max(abs(number(self.first)), abs(number(self.last))) * _UNIT
        return max((e + reach * d) / r for e, d, r in zip(self.errors, self.errors[1:], self.rulers, strict=False))


@dataclass
class Unit:
    """One sign and exponent, covered.

    Attributes:
        pieces: In order of encoding.
        singles: Inputs for balls: a kink is at them or between them, or they fit nowhere.
        kinks: Those of them at which, or next to which, a condition of the formula changes.
        undecided: Runs of encodings without a reference.
        outside: Runs of encodings where the function has no value.
    """

    pieces: list[Piece] = field(default_factory=list)
    singles: list[int] = field(default_factory=list)
    kinks: list[int] = field(default_factory=list)
    undecided: list[tuple[int, int]] = field(default_factory=list)
    outside: list[tuple[int, int]] = field(default_factory=list)


def number(encoding: int) -> float:
    """The float32 of an encoding, as a double.

    Example:
        >>> number(0xBFC00000)
        -1.5
    """
    return struct.unpack("<f", struct.pack("<I", encoding))[0]


class Cutter:
    """Cuts exponents into pieces for one formula.

    Args:
        formula: The function; its own text gives the coefficients.
        parameters: A number for each parameter.
    """

    def __init__(self, formula: Formula, parameters: Mapping[str, float]) -> None:
        self._exact = Series(formula, parameters)
        # Its remainders are narrower over a wide interval; the coefficients owe nothing to it.
        self._wide = Series(formula, parameters, wide=True)
        self._oracle = Oracle(formula, parameters)

    def unit(self, index: int) -> Unit:
        """Cover an exponent.

        Args:
            index: Sign bit and biased exponent: the encoding's upper nine bits. 255 and 511 have no finite inputs.
        """
        unit = Unit()
        start = index << 23
        todo = [(start, start + UNIT_SIZE - 1)]
        for _ in range(ATTEMPTS):
            if not todo:
                break
            first, last = todo.pop()
            if first & 0x7FFFFFFF == 0:  # ±0
                unit.singles.append(first)
                unit.kinks.append(first)
                first += 1
            try:
                piece = self._piece(first, last)
            except Straddle as cut:
                piece = None
                if cut.kink and last - first <= 1:
                    unit.kinks += range(first, last + 1)
                    unit.singles += range(first, last + 1)
                    continue
            if isinstance(piece, Piece):
                unit.pieces.append(piece)
            elif piece is not None:
                (unit.outside if piece == "outside" else unit.undecided).append((first, last))
            elif first == last:
                unit.singles.append(first)
            elif len(unit.singles) > SINGLES:
                unit.undecided.append((first, last))
            else:
                middle = (first + last) // 2
                todo += [(middle + 1, last), (first, middle)]
        unit.undecided += todo
        return unit

    # -- one piece ---------------------------------------------------------------------------------

    def _piece(self, first: int, last: int) -> Piece | str | None:
        """The piece; None if it has to be halved, or why it cannot be judged.

        Raises:
            Straddle: If a condition is undecided on it.
        """
        low, high = sorted((number(first), number(last)))
        wide, least = self._wide.jet(arb((low + high) / 2, (high - low) / 2), _WIDE, _LENGTH)
        centre = number((first + last) // 2)
        radius = max(high - centre, centre - low)
        power = math.frexp(radius)[1] if radius else 0
        tau = math.ldexp(radius, -power)
        known = _Known(wide, _lower(least), tau, power, sorted((abs(low), abs(high))))
        if known.complete():
            return known.piece(first, last, centre)
        if known.overflows and last - first < FAR:
            return _overflowing(first, last, centre, known.sign)
        finite = False
        for precision in _PRECISIONS:
            exact = self._exact.at(arb(centre), precision, _LENGTH)
            finite = all(c.is_finite() for c in exact)
            if not finite:
                continue
            known.expand(exact)
            if known.complete():
                return known.piece(first, last, centre)
            if known.blurred <= known.missed:
                return None
        return None if finite else self._without_value(first, last)

    def _without_value(self, first: int, last: int) -> str | None:
        ends = [self._oracle.evaluate(number(e)) for e in (first, (first + last) // 2, last)]
        if any(not math.isnan(t.value) for t in ends):
            return None
        return "undecided" if any(t.undecided for t in ends) else "outside"


class _Known:
    """What is known of value, slope and second derivative on one piece.

    Coefficients are those of powers of t, |t| ≤ tau, where x = centre + 2^power·t: the k-th of the q-th derivative is
    (k+q)!/k! · A(k+q) · 2^(−power·q), with A(j) the j-th of the value.
    """

    def __init__(self, wide: list[Any], least: float, tau: float, power: int, sizes: list[float]) -> None:
        self._tau, self._power = tau, power
        self._reach, self._farthest = sizes  # of x
        self._bounds = [_upper(_scaled(c, power * j)) for j, c in enumerate(wide)]
        derivatives = [wide[0], wide[1], 2 * wide[2]]
        self._enclosed = [(_lower(d), _upper(d)) for d in derivatives]
        self._enclosed[0] = max(least, self._enclosed[0][0]), self._enclosed[0][1]
        self._signs = [1.0 if d.mid() > 0 else -1.0 for d in derivatives]
        self._terms: list[float] | None = None
        self._radii: list[float] = []
        self.blurred = self.missed = math.inf
        self._found: list[_Fit | None] = [None] * 3
        self._fit()

    @property
    def overflows(self) -> bool:
        """Whether every value on the piece overflows."""
        return self._enclosed[0][0] > SATURATED

    @property
    def sign(self) -> float:
        """Of a value that overflows."""
        return self._signs[0]

    def expand(self, exact: list[Any]) -> None:
        """Take note of the coefficients at the centre."""
        scaled = [_scaled(c, self._power * j) for j, c in enumerate(exact)]
        self._terms = [float(c.mid()) for c in scaled]
        self._radii = [_upper(c.rad()) for c in scaled]
        self._fit()

    def complete(self) -> bool:
        """Whether all three are known well enough."""
        return all(f is not None for f in self._found)

    def piece(self, first: int, last: int, centre: float) -> Piece:
        """The piece, once complete."""
        value, slope, bend = (f for f in self._found if f is not None)
        count = max(len(value.terms), len(slope.terms))
        return Piece(
            first,
            last,
            centre,
            math.ldexp(1.0, -self._power),
            _padded(value.terms, count),
            _padded(slope.terms, count),
            _padded(bend.terms, BEND + 1),
            (value.error, slope.error, bend.error),
            self._rulers(value, slope, bend),
        )

    def _rulers(self, value: _Fit, slope: _Fit, bend: _Fit) -> tuple[float, float]:
        """The least that an error of value and slope is divided by."""
        return (
            max(_PLACE, _UNIT * (value.least + self._reach * slope.least)),
            max(_PLACE, _UNIT * (slope.least + self._reach * bend.least)),
        )

    def _fit(self) -> None:
        """Find the lowest degree that is good enough; else, which of blur and remainder prevents it."""
        self.blurred = self.missed = math.inf
        bend = self._trivial(2) or self._polynomial(2, BEND)
        for degree in range(DEGREE + 1):
            value = self._trivial(0) or self._polynomial(0, degree)
            slope = self._trivial(1) or self._polynomial(1, degree)
            if value is None or slope is None or bend is None:
                return
            rulers = self._rulers(value, slope, bend)
            through = GOAL / (self._farthest * _UNIT)  # an error of the slope also moves the value's ruler
            allowed = (GOAL * rulers[0], min(GOAL * rulers[1], through * rulers[0]), through * rulers[1])
            fits = (value, slope, bend)
            self._found = [f if f.error <= a else None for f, a in zip(fits, allowed, strict=True)]
            if self.complete():
                return
            self.blurred = max(f.blur / a for f, a in zip(fits, allowed, strict=True))
            self.missed = max(f.remainder / a for f, a in zip(fits, allowed, strict=True))

    def _trivial(self, q: int) -> _Fit | None:
        """Nothing at all, or beyond every float."""
        low, high = self._enclosed[q]
        if high * (max(self._farthest, 1.0) if q else 1.0) < VANISHED:
            return _Fit((0.0,), high, 0.0)
        if low > SATURATED:
            return _Fit((self._signs[q] * SATURATED,), 0.0, SATURATED)
        return None

    def _polynomial(self, q: int, degree: int) -> _Fit | None:
        if self._terms is None:
            return None
        factors = [math.ldexp(math.perm(k + q, q), -self._power * q) for k in range(degree + 2)]
        terms = [factors[k] * self._terms[k + q] for k in range(degree + 1)]
        sizes = [abs(c) * self._tau**k for k, c in enumerate(terms)]
        total = sum(sizes)
        if not total < 2.0**1000:
            return None
        blur = sum(factors[k] * self._radii[k + q] * self._tau**k for k in range(degree + 1))
        remainder = factors[-1] * self._bounds[degree + 1 + q] * self._tau ** (degree + 1)
        # Horner's scheme rounds twice a step, each coefficient was rounded twice.
        error = (remainder + blur + (2 * degree + 4) * 2.0**-53 * total) * 1.0001 + 2.0**-300
        least = max(self._enclosed[q][0], 2 * sizes[0] - total - error, 0.0)
        return _Fit(tuple(terms), error, min(least, SATURATED), blur, remainder)


def _overflowing(first: int, last: int, centre: float, sign: float) -> Piece:
    """A piece on which the value overflows and the slope is unknown."""
    nothing, rulers = (0.0,) * (BEND + 1), (_UNIT * SATURATED, _PLACE)
    return Piece(first, last, centre, 0.0, (sign * SATURATED,), (0.0,), nothing, (0.0, 0.0, 0.0), rulers, False)


class _Fit(NamedTuple):
    """A polynomial for one of the three: coefficients, bound on its error, least size of what it stands for."""

    terms: tuple[float, ...]
    error: float
    least: float
    blur: float = 0.0
    remainder: float = 0.0


def _padded(terms: tuple[float, ...], count: int) -> tuple[float, ...]:
    return terms + (0.0,) * (count - len(terms))


def _scaled(ball: Any, power: int) -> Any:
    return ball * arb(2) ** power


def _upper(ball: Any) -> float:
    """At least |ball|; inf if that is unknown."""
    if not ball.is_finite():
        return math.inf
    return 0.0 if ball == 0 else float(ball.abs_upper()) * (1 + 2.0**-50) + 2.0**-1000


def _lower(ball: Any) -> float:
    """At most |ball|."""
    return min(float(ball.abs_lower()), 2.0**1000) * (1 - 2.0**-50) if ball.is_finite() else 0.0
