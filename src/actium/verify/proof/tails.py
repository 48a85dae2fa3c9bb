"""Arithmetic of functions on a whole ray [R, ∞): growth rates with coefficients, never just points.

Stage: formula → [proof] → claims, report.
In: the operations of a formula, as the table's own rows apply them to balls. Out: `Tail`, a sum of coefficient times
growth rate tᵃ·(log t)ˡ·e^(q(t)), t = |x|, where each coefficient is an exact constant or a ball that encloses it for
every t ≥ R. So σ(x) + x·σ(x)·σ(−x) is −t·e^(−t)·[0.7, 1] on (−∞, −R]: negative all the way, with limit 0.
What has no such form (sin, e^(e^t)) is refused with `TailError`.
"""

from __future__ import annotations

import functools
import math
import operator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import flint

from actium.verify.proof.constants import ONE, ZERO, Ball, Number, ball_of, symbol
from actium.verify.proof.gauges import UNIT, Gauge, TailError, dominance, largest, ratio, up_to

_MOST_TERMS = 8
# e^(−v) ≤ 6!/v⁶ stands for a decay that is faster than every growth rate here.
_FAST = 6
_HALF = Fraction(1, 2)


@dataclass(frozen=True)
class Ray:
    """Where x runs: `side`·t for t ≥ `start`, start at least 2."""

    side: int
    start: float

    @property
    def x(self) -> Tail:
        """The input itself."""
        return Tail(self, {Gauge((), 1): Number.of(self.side)})

    def constant(self, value: Number | Ball | float) -> Tail:
        """A constant."""
        number = Number.of(value)
        return Tail(self, {} if number.is_zero else {UNIT: number})


class Tail:
    """A function on a ray. It has the arithmetic and the methods of a ball, so the table's rows take it for one.

    Args:
        ray: Where.
        terms: Growth rate → coefficient; none for the function 0.
    """

    __slots__ = ("ray", "terms")

    def __init__(self, ray: Ray, terms: dict[Gauge, Number]) -> None:
        self.ray = ray
        self.terms = terms

    # --- What is known of it --------------------------------------------------------------------------

    def _sup(self, gauge: Gauge) -> Ball:
        return largest(gauge, self.ray.start, flint.ctx.prec)

    def lead(self) -> tuple[Gauge, Number, Tail]:
        """Dominating growth rate, its coefficient C, and r such that the function is C·rate·(1 + r)."""
        first, coefficient = next(iter(self.terms.items()))
        if coefficient.sign is None:
            raise TailError("a leading coefficient of unknown sign")
        inverse = coefficient.inverse()
        rest = {ratio(g, first)[0]: c * inverse for g, c in list(self.terms.items())[1:]}
        return first, coefficient, Tail(self.ray, rest)

    @property
    def sign(self) -> int:
        """The sign that it has on the whole ray; 0 where it vanishes identically.

        Raises:
            TailError: If that is not known.
        """
        if not self.terms:
            return 0
        _, coefficient, rest = self.lead()
        if not 1 + rest.hull() > 0:
            raise TailError("the tail has not begun yet")
        assert coefficient.sign is not None
        return coefficient.sign

    def hull(self) -> Ball:
        """An enclosure over the whole ray; infinite on the side on which it grows."""
        total = flint.arb(0)
        for gauge, coefficient in self.terms.items():
            growth = gauge.growth()
            if growth > 0:
                return flint.arb("0 +/- inf")
            total = total + (coefficient.ball * up_to(self._sup(gauge)) if growth else coefficient.ball)
        return total

    def limit(self) -> Ball | float:
        """What it tends to: an enclosure, or ±inf."""
        if not self.terms:
            return flint.arb(0)
        gauge, coefficient, _ = self.lead() if next(iter(self.terms)).growth() > 0 else (UNIT, ZERO, None)
        if gauge.growth() > 0:
            assert coefficient.sign is not None
            return coefficient.sign * math.inf
        return self.terms.get(UNIT, ZERO).ball

    def _parts(self) -> tuple[dict[Gauge, Number], Number, Tail]:
        """Growing terms, the constant, and what tends to 0."""
        growing = {g: c for g, c in self.terms.items() if g.growth() > 0}
        small = {g: c for g, c in self.terms.items() if g.growth() < 0}
        return growing, self.terms.get(UNIT, ZERO), Tail(self.ray, small)

    # --- Arithmetic -----------------------------------------------------------------------------------

    def _of(self, other: Any) -> Tail:
        return other if isinstance(other, Tail) else self.ray.constant(other)

    def _ordered(self, terms: dict[Gauge, Number]) -> Tail:
        """Dominating terms first; too many small ones are made one."""
        kept = [(g, c) for g, c in terms.items() if not c.is_zero]
        kept.sort(key=functools.cmp_to_key(lambda a, b: dominance(a[0], b[0])))
        while len(kept) > _MOST_TERMS:
            (gauge, coefficient), (small, lost) = kept[-2:]
            share = lost.ball * up_to(self._sup(ratio(small, gauge)[0]))
            kept[-2:] = [(gauge, Number(coefficient.ball + share))]
        return Tail(self.ray, dict(kept))

    def __add__(self, other: Any) -> Tail:
        total = dict(self.terms)
        for gauge, coefficient in self._of(other).terms.items():
            total[gauge] = total.get(gauge, ZERO) + coefficient
        return self._ordered(total)

    def __neg__(self) -> Tail:
        return Tail(self.ray, {g: -c for g, c in self.terms.items()})

    def __sub__(self, other: Any) -> Tail:
        return self + -self._of(other)

    def __rsub__(self, other: Any) -> Tail:
        return self._of(other) - self

    def __mul__(self, other: Any) -> Tail:
        total: dict[Gauge, Number] = {}
        for g, c in self.terms.items():
            for h, d in self._of(other).terms.items():
                gauge = g * h
                total[gauge] = total.get(gauge, ZERO) + c * d
        return self._ordered(total)

    __radd__ = __add__
    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Tail:
        return self * self._of(other).to(Fraction(-1))

    def __rtruediv__(self, other: Any) -> Tail:
        return self._of(other) / self

    def __abs__(self) -> Tail:
        return -self if self.sign < 0 else self

    def __gt__(self, other: Any) -> bool:
        return (self - other).sign > 0

    def __lt__(self, other: Any) -> bool:
        return (self - other).sign < 0

    def __pow__(self, other: Any) -> Tail:
        constant = self._of(other)
        exponent = constant.terms.get(UNIT, ZERO).rational
        if exponent is None or set(constant.terms) - {UNIT}:
            raise TailError("a power whose exponent is no rational number")
        return self.to(exponent)

    def to(self, p: Fraction) -> Tail:
        """A constant power."""
        if p == 0:
            return self.ray.constant(1)
        if p == 1 or (p.denominator == 1 and 1 < p <= _FAST):
            return functools.reduce(operator.mul, [self] * int(p))
        if not self.terms:
            if p < 0:
                raise TailError("a division by 0")
            return self
        gauge, coefficient, r = self.lead()
        flip = coefficient.sign == -1
        if flip and p.denominator != 1:
            raise TailError("a root of a negative number")
        size = (-coefficient if flip else coefficient).power(p)
        base = Tail(self.ray, {gauge.to(p): -size if flip and p.numerator % 2 else size})
        if not r.terms:
            return base
        far = 1 + r.hull().union(flint.arb(0))
        if not far > 0:
            raise TailError("the tail has not begun yet")
        third = (far.log() * ball_of(p - 3)).exp()
        return base * _series(r, (ONE, Number.of(p), Number.of(p * (p - 1) / 2)), third * ball_of(_third(p)))

    # --- Functions ------------------------------------------------------------------------------------

    def exp(self) -> Tail:
        """The exponential; what exceeds e^polynomial is refused, what falls below it is bounded."""
        growing, constant, small = self._parts()
        exponent: tuple[tuple[Fraction, Number], ...] = ()
        if growing:
            simple = all(not g.exponent and not g.logs and c.terms is not None for g, c in growing.items())
            if not simple:
                if self.sign > 0:
                    raise TailError("a growth faster than e^polynomial, or of unknown rate")
                bound = Number(up_to(flint.arb(math.factorial(_FAST))))
                return (-self).to(Fraction(-_FAST)) * Tail(self.ray, {UNIT: bound})
            exponent = tuple(sorted(((g.power, c) for g, c in growing.items()), key=lambda item: -item[0]))
        factor = ONE if constant.is_zero else constant.function("exp", constant.ball.exp())
        whole = Tail(self.ray, {Gauge(exponent): factor})
        if not small.terms:
            return whole
        rest = small.hull().union(flint.arb(0)).exp() / 6
        return whole * _series(small, (ONE, ONE, Number.of(_HALF)), rest)

    def expm1(self) -> Tail:
        """The exponential less 1."""
        return self.exp() - 1

    def log(self) -> Tail:
        """The natural logarithm."""
        if self.sign <= 0:
            raise TailError("the logarithm of what is not positive")
        gauge, coefficient, r = self.lead()
        if gauge.logs:
            raise TailError("the logarithm of a logarithm")
        terms = {Gauge((), p): c for p, c in gauge.exponent}
        if gauge.power:
            terms[Gauge((), 0, 1)] = Number.of(gauge.power)
        terms[UNIT] = coefficient.function("log", coefficient.ball.log())
        total = self._ordered(terms)
        if not r.terms:
            return total
        far = 1 + r.hull().union(flint.arb(0))
        if not far > 0:
            raise TailError("the tail has not begun yet")
        return total + _series(r, (ZERO, ONE, Number.of(-_HALF)), 1 / (3 * far * far * far))

    def log1p(self) -> Tail:
        """log(1 + ·)."""
        return (self + 1).log()

    def sqrt(self) -> Tail:
        """The square root."""
        return self.to(_HALF)

    def rsqrt(self) -> Tail:
        """1/√·."""
        return self.to(-_HALF)

    def sinh(self) -> Tail:
        """(e^u − e^−u)/2."""
        near = self._near("sinh", lambda u: u.sinh(), lambda u: u.cosh())
        return near if near is not None else (self.exp() - (-self).exp()) / 2

    def cosh(self) -> Tail:
        """(e^u + e^−u)/2."""
        near = self._near("cosh", lambda u: u.cosh(), lambda u: u.sinh())
        return near if near is not None else (self.exp() + (-self).exp()) / 2

    def tanh(self) -> Tail:
        """±(1 − 2w/(1 + w)) with w = e^(−2|u|) where u grows."""
        near = self._near("tanh", lambda u: u.tanh(), lambda u: 1 / (u.cosh() * u.cosh()))
        if near is not None:
            return near
        w = (-2 * abs(self)).exp()
        return self.sign * (1 - 2 * w / (1 + w))

    def erf(self) -> Tail:
        """±(1 − erfc|u|) where u grows."""
        near = self._near("erf", lambda u: u.erf(), lambda u: 2 * (-u * u).exp() / flint.arb.pi().sqrt())
        return near if near is not None else self.sign * (1 - abs(self).erfc())

    def erfc(self) -> Tail:
        """e^(−u²)/(u√π)·(1 − 1/(2u²) + [0, 3]/(4u⁴)) where u grows; partial sums enclose."""
        near = self._near("erfc", lambda u: u.erfc(), lambda u: -2 * (-u * u).exp() / flint.arb.pi().sqrt())
        if near is not None:
            return near
        if self.sign < 0:
            return 2 - (-self).erfc()
        square = self * self
        inverse = square.to(Fraction(-1))
        root = symbol("pi", flint.arb.pi()).power(_HALF).inverse()
        last = Tail(self.ray, {UNIT: Number(up_to(flint.arb(3) / 4))}) * inverse * inverse
        return (-square).exp() / self * (1 - inverse * _HALF + last) * root

    def atan(self) -> Tail:
        """The arc tangent, from that of 1/|u| where u grows."""
        near = self._near("atan", lambda u: u.atan(), lambda u: 1 / (1 + u * u))
        if near is not None:
            return near
        half = self.ray.constant(symbol("pi", flint.arb.pi()) * Number.of(_HALF))
        return self.sign * (half - abs(self).to(Fraction(-1)).atan())

    def asinh(self) -> Tail:
        """±log(|u| + √(u² + 1)) where u grows."""
        near = self._near("asinh", lambda u: u.asinh(), lambda u: 1 / (1 + u * u).sqrt())
        if near is not None:
            return near
        size = abs(self)
        return self.sign * (size + (size * size + 1).sqrt()).log()

    def sin(self) -> Tail:
        """The sine of what stays bounded."""
        return self._bounded("sin", lambda u: u.sin(), lambda u: u.cos())

    def cos(self) -> Tail:
        """The cosine of what stays bounded."""
        return self._bounded("cos", lambda u: u.cos(), lambda u: -u.sin())

    def floor(self) -> Tail:
        """The floor of what stays between two integers."""
        below = self.hull().floor()
        if not below.is_exact():
            raise TailError("a floor that goes on stepping")
        return self.ray.constant(below)

    def _bounded(self, name: str, value: Any, slope: Any) -> Tail:
        near = self._near(name, value, slope)
        if near is None:
            raise TailError("it oscillates")
        return near

    def _near(self, name: str, value: Any, slope: Any) -> Tail | None:
        """By the mean value theorem, where the operand tends to a number; None where it grows."""
        growing, constant, small = self._parts()
        if growing:
            return None
        at = self.ray.constant(constant.function(name, value(constant.ball)))
        if not small.terms:
            return at
        between = slope(constant.ball + small.hull().union(flint.arb(0)))
        return at + small * Tail(self.ray, {UNIT: Number(between)})


def _series(r: Tail, coefficients: tuple[Number, Number, Number], third: Ball) -> Tail:
    """c₀ + c₁·r + c₂·r² + third·r³."""
    total = Tail(r.ray, {UNIT: Number.of(third)}) * r
    for coefficient in reversed(coefficients[1:]):
        total = (total + r.ray.constant(coefficient)) * r
    return total + r.ray.constant(coefficients[0])


def _third(p: Fraction) -> Fraction:
    return p * (p - 1) * (p - 2) / 6
