"""How primitives are computed where their arguments are of moderate size: nearly always.

Stage: formula → derivative → stabilize → [lowering] → kernel.
In: operand nodes. Out: an equivalent graph for |u| up to a bound, where no exponential over- or underflows. It needs
neither z = e^(−|u|) with its selections nor exponentials in two factors (`expansions.py`): half the instructions.
What is outside the bound takes the other form (`kernels/midrange.py`).
"""

from __future__ import annotations

from actium.symbolic.graph import Node, const, is_negative, neg, negated, op, where

# Bounds of arguments. e^32 squared is a float32, also with another factor of 1e10; and so is its reciprocal.
EXPONENT = 32.0
# The same for the fourth power.
FOURTH_POWER = 16.0


def exp(u: Node) -> Node:
    """e^u without a care for its range."""
    return op("exp_mid", u)


def exp_square(u: Node, c: Node) -> Node:
    """e^(c·u²), likewise."""
    return op("expsq_mid", u, c)


def sigmoid(u: Node) -> Node:
    """1/(1+E) with E = e^−t, and E/(1+E) for σ(−t): both share E and the reciprocal."""
    if not is_negative(u):
        return 1.0 / (1.0 + exp(neg(u)))
    e = exp(neg(negated(u)))
    return e * (1.0 / (1.0 + e))


def sech(u: Node) -> Node:
    """2E/(1+E²); near 0, where E is near 1, the rounding of E does not matter."""
    e = exp(neg(u))
    return 2.0 * e * (1.0 / (1.0 + e * e))


def sech_square(u: Node) -> Node:
    """Sech² as 4q/(1+q)² with q = e^(−2|u|), whose denominator `kernels/midrange.py` merges with others.

    Not with e^−2u: just above 1 it makes 1+q a number above 2, whose rounding is twice as large.
    """
    q = exp(neg(2.0 * op("abs", u)))
    return 4.0 * q * op("square", 1.0 / (1.0 + q))


def tanh_softplus(u: Node) -> Node:
    """The gate of Mish: w/(w+2) with w = n(n+2), n = e^u."""
    n = exp(u)
    w = n * (n + 2.0)
    return w / (w + 2.0)


def mish_slope(u: Node) -> Node:
    """n(4(u+1) + (4u+6)n + 4n² + n³)/P, where P = (n²+2n+2)², for u < 0, and 1 − (4 + (4−4u)n + (2−4u)n²)/P above.

    One quotient of polynomials by Horner's scheme: 4.2 ULP at worst, where the product rule's sum has 8 (at u = −2.2).
    """
    n = exp(u)
    more = n + 4.0
    below = 4.0 + n * (8.0 + n * (8.0 + n * more))
    rises = n * (4.0 * (u + 1.0) + n * ((4.0 * u + 6.0) + n * more))
    lacks = 4.0 + n * ((4.0 - 4.0 * u) + n * (2.0 - 4.0 * u))
    quotient = where(u >= 0.0, lacks, rises) / below
    return where(u >= 0.0, 1.0 - quotient, quotient)


def _tail(u: Node, falling: Node, whole: float, falls_above: bool) -> Node:
    other = whole - falling
    return where(u >= 0.0, falling, other) if falls_above else where(u >= 0.0, other, falling)


def ndtr(u: Node) -> Node:
    """Φ(u) from the scaled Mills ratio m: m(|u|)·e^(−u²/2) on the falling side."""
    return _tail(u, op("mills_mid", op("abs", u)) * exp_square(u, const(-0.5)), 1.0, falls_above=False)


def erfc(u: Node) -> Node:
    """2m(√2·u)·e^(−u²) for u ≥ 0."""
    mills = op("mills_mid", op("sqrt", const(2.0)) * op("abs", u))
    return _tail(u, 2.0 * mills * exp_square(u, const(-1.0)), 2.0, falls_above=True)
