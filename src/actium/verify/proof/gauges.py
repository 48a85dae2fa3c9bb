"""Growth rates tᵃ·(log t)ˡ·e^(q(t)) for t → ∞, compared exactly.

Stage: formula → [proof] → claims, report.
In: exponents and exact coefficients. Out: which of two dominates, and how large one that tends to 0 can be on a ray.
"""

from __future__ import annotations

import functools
import threading
import weakref
from fractions import Fraction
from typing import Any

import flint

from actium.verify.proof.constants import ZERO, Ball, Number, ball_of


class TailError(Exception):
    """No statement about the whole ray; perhaps one is possible further out."""


class Gauge:
    """A growth rate tᵃ·(log t)ˡ·e^(q(t)). Equal ones are the same object.

    Attributes:
        exponent: (power, coefficient) of each term of q, highest power first.
        power: a.
        logs: l.
    """

    __slots__ = ("__weakref__", "exponent", "logs", "power")
    exponent: tuple[tuple[Fraction, Number], ...]
    power: Fraction
    logs: int

    def __new__(cls, exponent: tuple[tuple[Fraction, Number], ...] = (), power: Any = 0, logs: int = 0) -> Gauge:
        """Return the one gauge with these parts."""
        if any(c.terms is None for _, c in exponent):
            raise TailError("a growth rate that is not known exactly")  # nothing would tell it apart
        key = (tuple((p, c.key) for p, c in exponent), power, logs)
        with _LOCK:
            found = _GAUGES.get(key)
            if found is None:
                found = object.__new__(cls)
                found.exponent, found.power, found.logs = exponent, Fraction(power), logs
                _GAUGES[key] = found
        return found

    def __mul__(self, other: Gauge) -> Gauge:
        return _product(self, other)

    def to(self, exponent: Fraction) -> Gauge:
        """The growth rate to a power."""
        logs = self.logs * exponent
        if logs.denominator != 1:
            raise TailError("a root of a logarithm")
        factor = Number.of(exponent)
        return Gauge(tuple((p, c * factor) for p, c in self.exponent), self.power * exponent, int(logs))

    def growth(self) -> int:
        """1 if it tends to infinity, −1 if to 0, 0 if it is 1."""
        if self.exponent:
            sign = self.exponent[0][1].sign
            if sign is None:
                raise TailError("a growth rate of unknown sign")
            return sign
        return (self.power > 0) - (self.power < 0) or (self.logs > 0) - (self.logs < 0)


_LOCK = threading.RLock()
_GAUGES: weakref.WeakValueDictionary[object, Gauge] = weakref.WeakValueDictionary()
UNIT = Gauge()


@functools.lru_cache(maxsize=8192)
def _product(a: Gauge, b: Gauge) -> Gauge:
    total = dict(a.exponent)
    for p, c in b.exponent:
        total[p] = total.get(p, ZERO) + c
    kept = sorted(((p, c) for p, c in total.items() if not c.is_zero), key=lambda item: -item[0])
    return Gauge(tuple(kept), a.power + b.power, a.logs + b.logs)


@functools.lru_cache(maxsize=4096)
def ratio(a: Gauge, b: Gauge) -> tuple[Gauge, int]:
    """A/b and its growth."""
    quotient = a * b.to(Fraction(-1))
    return quotient, quotient.growth()


def dominance(a: Gauge, b: Gauge) -> int:
    """Negative if the first grows faster, for sorting."""
    return -ratio(a, b)[1]


@functools.lru_cache(maxsize=4096)
def largest(gauge: Gauge, start: float, precision: int) -> Ball:
    """Its supremum over [start, ∞), for one that tends to 0.

    The logarithm of the gauge must fall from the start on: t·(log g)′ = Σ p·c·tᵖ + a + l/log t is at most
    t^P·(P·c_P + Σ positive terms at the start, over start^P), which has to be negative.
    """
    del precision  # part of the key only: balls depend on it
    t = flint.arb(start)
    log = t.log()
    rest = max(gauge.power, Fraction(0)) + 0
    total = ball_of(rest) + (flint.arb(max(gauge.logs, 0)) / log if gauge.logs else 0)
    if gauge.exponent:
        lead, coefficient = gauge.exponent[0]
        scale = _power(t, -lead)
        total = total * scale + coefficient.ball * ball_of(lead)
        for p, c in gauge.exponent[1:]:
            if not c.ball < 0:
                total = total + abs(c.ball) * ball_of(p) * _power(t, p - lead)
    else:
        total = total + ball_of(min(gauge.power, Fraction(0)))
        if gauge.power == 0 and gauge.logs < 0:
            total = flint.arb(-1)
    if not total < 0:
        raise TailError("the tail has not begun yet")
    value = sum((c.ball * _power(t, p) for p, c in gauge.exponent), flint.arb(0)).exp() * _power(t, gauge.power)
    return (value * _power(log, Fraction(gauge.logs))).upper()


def _power(t: Ball, p: Fraction) -> Ball:
    return flint.arb(1) if p == 0 else (t.log() * ball_of(p)).exp() if p.denominator != 1 else t ** int(p)


def up_to(high: Ball) -> Ball:
    """[0, high]."""
    return flint.arb(0).union(high)
