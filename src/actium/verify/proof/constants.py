"""Real constants that can be told apart exactly: √2 is more than a ball around it.

Stage: formula → [proof] → claims, report.
In: doubles and the functions applied to them. Out: `Number`: a sum of rational multiples of products of symbols, with
an enclosure; or an enclosure alone, which then may stand for something that varies within it. Tails need the
difference: e^(−x²/2) and e^(−(x/√2)²) are one growth rate, and 1 − 1 leaves exactly nothing.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import flint

Ball = Any  # flint.arb ships without type information
Monomial = tuple[tuple[Any, Fraction], ...]
Terms = dict[Monomial, Fraction]

# A sum of more terms, or of longer products, is kept as an enclosure.
_MOST_TERMS, _MOST_SYMBOLS, _MOST_PRODUCTS = 4, 4, 8
_ONE: Monomial = ()
_UNIT: Terms = {_ONE: Fraction(1)}


def ball_of(value: Fraction) -> Ball:
    """A rational number as a ball."""
    return flint.arb(value.numerator) / flint.arb(value.denominator)


class Number:
    """A constant, or an enclosure.

    Attributes:
        terms: Monomial in symbols → rational factor, if the number is known exactly; None for a mere enclosure.
        ball: The enclosure.
    """

    __slots__ = ("ball", "terms")

    def __init__(self, ball: Ball, terms: Terms | None = None) -> None:
        self.ball = ball
        self.terms = terms

    @classmethod
    def of(cls, value: Number | Ball | float) -> Number:
        """A number for an exact double, an integer, a fraction, or a ball."""
        if isinstance(value, Number):
            return value
        if isinstance(value, flint.arb):
            if not value.is_exact() or not value.is_finite():
                return cls(value)
            man, exp = value.man_exp()
            value = Fraction(int(man)) * Fraction(2) ** int(exp)
        exact = Fraction(value)
        return cls(ball_of(exact), {_ONE: exact} if exact else {})

    @property
    def is_zero(self) -> bool:
        """Whether it is exactly 0."""
        return self.terms is not None and not self.terms

    @property
    def key(self) -> frozenset[tuple[Monomial, Fraction]] | None:
        """Equal for equal constants; None for an enclosure."""
        return None if self.terms is None else frozenset(self.terms.items())

    @property
    def rational(self) -> Fraction | None:
        """The rational number that it is, if it is one."""
        if self.terms is None or set(self.terms) - {_ONE}:
            return None
        return self.terms.get(_ONE, Fraction(0))

    @property
    def sign(self) -> int | None:
        """−1, 0 or 1; None if the enclosure does not tell."""
        if self.is_zero:
            return 0
        return 1 if self.ball > 0 else -1 if self.ball < 0 else None

    def __add__(self, other: Number) -> Number:
        if self.is_zero or other.is_zero:
            return other if self.is_zero else self
        terms = None
        if self.terms is not None and other.terms is not None:
            terms = dict(self.terms)
            for monomial, factor in other.terms.items():
                total = terms.pop(monomial, Fraction(0)) + factor
                if total:
                    terms[monomial] = total
        return _made(self.ball + other.ball, terms)

    def __neg__(self) -> Number:
        return Number(-self.ball, None if self.terms is None else {m: -f for m, f in self.terms.items()})

    def __sub__(self, other: Number) -> Number:
        return self + -other

    def __mul__(self, other: Number) -> Number:
        if self.is_zero or other.is_zero:
            return ZERO
        if self.terms == _UNIT or other.terms == _UNIT:
            return other if self.terms == _UNIT else self
        terms: Terms | None = None
        if self.terms is not None and other.terms is not None and len(self.terms) * len(other.terms) <= _MOST_PRODUCTS:
            terms = {}
            for m, f in self.terms.items():
                for n, g in other.terms.items():
                    monomial, factor = _product(m, n)
                    terms[monomial] = terms.get(monomial, Fraction(0)) + f * g * factor
        return _made(self.ball * other.ball, terms)

    def inverse(self) -> Number:
        """1/number; an infinite enclosure if it may be 0."""
        if self.terms is not None and len(self.terms) == 1:
            ((monomial, factor),) = self.terms.items()
            flipped, extra = _product(tuple((s, -e) for s, e in monomial), ())
            return Number(1 / self.ball, {flipped: extra / factor})
        return self.function("reciprocal", 1 / self.ball)

    def power(self, exponent: Fraction) -> Number:
        """The positive number to a rational power."""
        if exponent.denominator == 1 and 0 <= exponent <= 8:
            result = ONE
            for _ in range(int(exponent)):
                result = result * self
            return result
        if exponent.denominator == 1 and -8 <= exponent < 0:
            return self.power(-exponent).inverse()
        ball = (self.ball.log() * ball_of(exponent)).exp()
        if exponent == Fraction(1, 2):
            return self.function("sqrt", self.ball.sqrt())
        if exponent == Fraction(-1, 2):
            return self.power(Fraction(1, 2)).inverse()
        return self.function(("power", exponent), ball)

    def function(self, name: Any, ball: Ball) -> Number:
        """A function of this number, of which the enclosure is given: a new symbol, or exact where that is plain."""
        if self.terms is None:
            return Number(ball)
        if ball.is_exact() and ball.is_finite():
            return Number.of(ball)
        return Number(ball, {(((name, self.key), Fraction(1)),): Fraction(1)})


def _made(ball: Ball, terms: Terms | None) -> Number:
    if terms is not None:
        terms = {m: f for m, f in terms.items() if f}
        if not terms:
            return ZERO
        if len(terms) > _MOST_TERMS or any(len(m) > _MOST_SYMBOLS for m in terms):
            terms = None
    return Number(ball, terms)


def _product(a: Monomial, b: Monomial) -> tuple[Monomial, Fraction]:
    """Two monomials multiplied, where √q·√q is q."""
    powers = dict(a)
    for symbol, exponent in b:
        powers[symbol] = powers.get(symbol, Fraction(0)) + exponent
    factor = Fraction(1)
    for symbol, exponent in list(powers.items()):
        radicand = _radicand(symbol)
        if radicand and not 0 <= exponent < 2:  # 1/√q = √q/q
            whole = exponent // 2
            factor *= radicand**whole
            powers[symbol] = exponent - 2 * whole
    kept = ((s, e) for s, e in powers.items() if e)
    return tuple(sorted(kept, key=lambda item: hash(item[0]))), factor


def _radicand(symbol: Any) -> Fraction | None:
    """The rational q of the symbol √q."""
    name, key = symbol if isinstance(symbol, tuple) else (None, None)
    if name != "sqrt" or not isinstance(key, frozenset) or len(key) != 1:
        return None
    ((monomial, factor),) = key
    return factor if monomial == _ONE else None


def symbol(name: str, ball: Ball) -> Number:
    """A constant with a name of its own, such as π."""
    return Number(ball, {((name, Fraction(1)),): Fraction(1)})


ZERO = Number(flint.arb(0), {})
ONE = Number(flint.arb(1), {_ONE: Fraction(1)})
