"""Formulas whose plain text cancels or overflows, in the form that is computed.

In: nothing. Out: builders of `Formula`, each equal to the text of its entry (tests compare both, value and slope).
The derivatives with respect to parameters come from these graphs too, so a form has to be differentiable without
cancellation, not only accurate.
"""

from __future__ import annotations

import math

from actium.symbolic.graph import Formula, Node, as_node, const, neg, op, parameter, variable, where

# Where the logarithm of the soft exponential for alpha < 0 is continued by its tangent: its slope stays below 1024.
SOFT_EXPONENTIAL_EDGE = 2.0**-10

_X = variable("x")


def isru() -> Formula:
    """u/√(1 + u²) for u = √alpha·x, divided by √alpha: the slope is then a power of 1/√(1 + u²)."""
    return Formula(_isru(), ("x",), ("alpha",))


def isrlu() -> Formula:
    """The same below 0."""
    return Formula(where(_X < 0.0, _isru(), _X), ("x",), ("alpha",))


def _isru() -> Node:
    root = op("sqrt", parameter("alpha"))
    return op("isru", root * _X) / root


# --- Soft clip by softplus -----------------------------------------------------------------------------


def softplus_clip() -> Formula:
    """(softplus(t + a) − softplus(t − a) − a)/beta for t = beta·x and a = beta·theta, without differences.

    It is odd, so take t ≥ 0. With z = e^−t and w = e^−a, the sum of logarithms is log((1 + z·w)/(z + w)), which is
    2·artanh(tanh(t/2)·tanh(a/2)): no cancellation, but the product rounds to 1 when both are large. Unless t < ¼
    or a < 2, min(t, a) + log1p(z·w) − log1p(e^−|t−a|) is used: its first term dominates there.
    """
    beta, theta = parameter("beta"), parameter("theta")
    t, a = beta * _X, beta * theta
    product = op("tanh", 0.5 * t) * op("tanh", 0.5 * a)
    near = op("log1p", product) - op("log1p", neg(product))  # odd by itself
    size = op("abs", t)
    # Not −|size − a|: where they are equal both this and the first term have the slope of the same side.
    gap = where(size >= a, a - size, size - a)
    far = where(size >= a, a, size) + op("log1p", op("exp", neg(size + a))) - op("log1p", op("exp", gap))
    signed = where(t >= 0.0, far, neg(far))
    return Formula(where(op("or", size < 0.25, a < 2.0), near, signed) / beta, ("x",), ("theta", "beta"))


# --- Soft exponential ----------------------------------------------------------------------------------


def soft_exponential() -> Formula:
    """x·E(alpha·x) + alpha for alpha ≥ 0 and w·L(alpha·w), w = x + alpha, below.

    E(t) = (e^t − 1)/t and L(u) = −log(1 − u)/u are 1 at 0, with series there: the difference quotients of the
    definition lose everything at small alpha, in the derivative with respect to alpha first.
    """
    alpha = parameter("alpha")
    t = alpha * _X
    size = op("abs", t)
    # (e^t − 1)/alpha + alpha loses e^t at alpha = 1, where the whole is e^t.
    far = op("exp", t) / alpha + (alpha - 1.0) * (alpha + 1.0) / alpha
    above = where(size < 1.0, _X * _expm1_ratio(t) + alpha, far)
    w = _X + alpha
    u = alpha * w
    below = where(op("abs", u) < 0.5, w * _log1p_ratio(u), _logarithm(u) / alpha)
    # 0·inf at alpha = 0: the identity needs no product.
    endless = op("and", op("eq", alpha, 0.0), op("eq", op("abs", _X), math.inf))
    return Formula(where(endless, _X, where(alpha >= 0.0, above, below)), ("x",), ("alpha",))


def _logarithm(u: Node) -> Node:
    """−log(1 − u), and its tangent where 1 − u is below the edge."""
    edge = SOFT_EXPONENTIAL_EDGE
    rest = 1.0 - u
    tangent = -math.log(edge) + 1.0 - rest / edge
    return where(rest < edge, tangent, neg(op("log1p", neg(u))))


def _horner(variable: Node, coefficients: list[float]) -> Node:
    total: Node = const(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = coefficient + variable * total
    return total


def _expm1_ratio(t: Node) -> Node:
    """Σ tᵏ/(k+1)!; 20 terms reach 2^-60 at |t| = 1, also in the first derivative."""
    return _horner(t, [1.0 / math.factorial(k + 1) for k in range(20)])


def _log1p_ratio(u: Node) -> Node:
    """−log(1 − u)/u = 2/(2 − u)·Σ s²ᵏ/(2k+1) with s = u/(2 − u); |s| ≤ 1/3 for |u| ≤ ½, where 20 terms reach 2^-60."""
    rest = 2.0 - as_node(u)
    return 2.0 / rest * _horner(op("square", u / rest), [1.0 / (2 * k + 1) for k in range(20)])
