"""How primitives without a machine instruction are computed from ones that have it.

Stage: formula → derivative → stabilize → [lowering] → kernel.
In: operand nodes. Out: an equivalent graph that neither overflows nor cancels, or, for a function with an
exponential tail, its *decay*: the factors e^y · q that let a product with it reach into the last binades.

Everything here rests on z = e^(−|u|) ∈ [0, 1], which cannot overflow; σ, softplus, tanh∘softplus and sech share it.
"""

from __future__ import annotations

from dataclasses import dataclass

from actium.symbolic.graph import Node, both, const, is_negative, neg, negated, op, where


@dataclass(frozen=True)
class Decay:
    """A factorisation f = hi · lo · cofactor in which only `lo`, a power of two or 0, is ever tiny.

    e^y underflows float32 below y = −87.3, where x · e^y may still be a normal number (x = −89: silu = −1.98e-37).
    So a product multiplies its other factors with `hi` first and with `lo` last.

    Attributes:
        hi: The significand and half of the exponent of e^y.
        lo: The other half of the exponent; 0 where e^y is so small that the whole product is 0.
        whole: e^y in one piece, for machines on which the split has no exact form.
        gone: The condition that e^y is less than every quotient of two normal numbers: the product is 0.
        cofactor: What is left, of moderate size; None for 1.
    """

    hi: Node
    lo: Node
    whole: Node
    gone: Node
    cofactor: Node | None = None


def negative_abs(u: Node) -> Node:
    """−|u|, written so that its derivative at 0 is that of the branch u ≥ 0 and not the 0 of `abs`."""
    return where(u >= 0.0, neg(u), u)


def exp_negative_abs(u: Node) -> Node:
    """Z = e^(−|u|)."""
    return op("exp", negative_abs(u))


def _by_side(u: Node, above: Node, below: Node) -> tuple[Node, Node]:
    """(t, above where u ≥ 0 else below), decided on t = −u if u is written as a negative.

    σ(−x) then shares z with σ(x).
    """
    if is_negative(u):
        t = negated(u)
        return t, where(t >= 0.0, below, above)
    return u, where(u >= 0.0, above, below)


def _sigmoid_cofactor(u: Node) -> Node:
    t, _ = _by_side(u, const(1.0), const(0.0))
    return 1.0 / (1.0 + exp_negative_abs(t))


def sigmoid(u: Node) -> Node:
    """σ(u) = 1/(1+z) for u ≥ 0, else z/(1+z). The textbook 1/(1+e^−u) is 0 below −88.72; this is subnormal there."""
    t, _ = _by_side(u, const(1.0), const(0.0))
    _, numerator = _by_side(u, const(1.0), exp_negative_abs(t))
    return numerator * _sigmoid_cofactor(u)


def softplus(u: Node) -> Node:
    """log(1+e^u) = max(u, 0) + log1p(z): no overflow, no cancellation, and half-slope at 0 from both terms."""
    t, positive_part = _by_side(u, u, const(0.0))
    return positive_part + op("log1p", exp_negative_abs(t))


def sech(u: Node) -> Node:
    """1/cosh(u) = 2z/(1+z²)."""
    z = exp_negative_abs(u)
    return 2.0 * z / (1.0 + z * z)


def tanh_by_exp(u: Node) -> Node:
    """Tanh whose derivative by automatic differentiation keeps its tail: 1 − t² is 0 from 9.01 on in float32."""
    z = op("exp", 2.0 * negative_abs(u))
    w = 1.0 - 2.0 * z / (1.0 + z)
    return where(op("lt", op("abs", u), const(1.0)), op("tanh", u), where(u >= 0.0, w, neg(w)))


def expm1_by_exp(u: Node) -> Node:
    """Expm1 whose derivative by torch keeps its tail: torch takes (e^u − 1) + 1, which is 0 below −16.6 in float32."""
    return where(op("lt", u, const(-0.5)), op("exp", u) - 1.0, op("expm1", u))


def _side(u: Node, above: Node, below: Node) -> Node:
    """The first where u ≥ 0, the other below; decided at 0 as `_shared` decides, and as the decays do."""
    return _by_side(u, above, below)[1]


def _shared(u: Node) -> Node:
    """Z = e^(−|u|), the same of u and −u."""
    return exp_negative_abs(_by_side(u, const(1.0), const(1.0))[0])


def _mish_denominator(u: Node) -> Node:
    """With n = e^u: n²+2n+2, divided by n² where u ≥ 0 (z = 1/n). The gate of Mish and its slope share it."""
    z = _shared(u)
    return _side(u, 1.0 + 2.0 * z * (1.0 + z), z * (z + 2.0) + 2.0)


def _tanh_softplus_cofactor(u: Node) -> Node:
    # tanh(log(1+n)) = n(n+2) / (n²+2n+2)
    z = _shared(u)
    return _side(u, 1.0 + 2.0 * z, z + 2.0) / _mish_denominator(u)


def tanh_softplus(u: Node) -> Node:
    """Tanh(softplus(u)), the gate of Mish, as a ratio of polynomials in z."""
    z = _shared(u)
    return _side(u, const(1.0), z) * _tanh_softplus_cofactor(u)


def _sech_softplus_cofactor(u: Node) -> Node:
    # sech(log(1+n)) = 2(n+1) / (n²+2n+2)
    return 2.0 * (1.0 + _shared(u)) / _mish_denominator(u)


def sech_softplus(u: Node) -> Node:
    """1/cosh(softplus(u)), which the derivative of Mish needs squared: 1 − tanh² would cancel."""
    z = _shared(u)
    return _side(u, z, const(1.0)) * _sech_softplus_cofactor(u)


def tanh_softplus_rate(u: Node) -> Node:
    """The logarithmic derivative of the gate of Mish, 4(n+1)/((n+2)(n²+2n+2))."""
    z = _shared(u)
    scale = _side(u, 4.0 * op("square", z), const(4.0))
    return scale * (1.0 + z) / (_side(u, 1.0 + 2.0 * z, z + 2.0) * _mish_denominator(u))


def tanh_softplus_rate_slope(u: Node) -> Node:
    """By what that rate changes: σ − n/(n+2) − 2n(n+1)/(n²+2n+2), in terms of its relatives."""
    return op("sigmoid", u) - op("sigmoid", u - op("log", 2.0)) - op("tanh_softplus", u) + op("sech_softplus", u) - 1.0


def _mish_slope_cofactor(u: Node) -> Node:
    """n(4(u+1) + (4u+6)n + 4n² + n³)/(n²+2n+2)², over n⁴ where u ≥ 0, arranged for the fewest roundings.

    There u meets z before the 4, because 4u overflows and u·z does not.
    """
    z = _shared(u)
    above = 1.0 + z * (4.0 + z * (6.0 + 4.0 * z) + 4.0 * (u * z) * (1.0 + z))
    below = 4.0 * (1.0 + u) + z * (2.0 + z * (4.0 + z)) + 4.0 * (z * (1.0 + u))
    square = _side(u, 1.0 + z * (4.0 + z * (8.0 + z * (8.0 + 4.0 * z))), 4.0 + z * (8.0 + z * (8.0 + z * (4.0 + z))))
    return _side(u, above, below) / square


def mish_slope_derivative(u: Node) -> Node:
    """Mish″ = gate·rate·(2 + u·(rate + rate′/rate))."""
    rate = op("tanh_softplus_rate", u)
    return op("tanh_softplus", u) * rate * (2.0 + u * (rate + tanh_softplus_rate_slope(u)))


def tanhshrink(u: Node) -> Node:
    """U − tanh(u); below 0.5 by its Taylor series, because the difference is 0 for |u| < 4e-4 in float32."""
    s = op("square", u)
    total = const(_TANH_SERIES[-1])
    for coefficient in reversed(_TANH_SERIES[:-1]):
        total = const(coefficient) + s * total
    return where(op("lt", op("abs", u), const(0.5)), u * s * total, u - op("tanh", u))


def _tanhshrink_series(count: int) -> tuple[float, ...]:
    """Coefficients c_k of u − tanh(u) = u³(c_0 + c_1 u² + …), from tanh′ = 1 − tanh²."""
    t = [1.0]
    for n in range(1, count + 1):
        t.append(-sum(t[i] * t[n - 1 - i] for i in range(n)) / (2 * n + 1))
    return tuple(-c for c in t[1:])


_TANH_SERIES = _tanhshrink_series(15)


def hypot1(u: Node) -> Node:
    """sqrt(1+u²) without overflow: from 1e10 on the 1 is below half an ulp, in float64 too."""
    size = op("abs", u)
    far = op("gt", size, const(1e10))
    return where(far, size, op("sqrt", 1.0 + op("square", u)))


def softsign(u: Node) -> Node:
    """u/(1+|u|)."""
    return u / (1.0 + op("abs", u))


def isru(u: Node) -> Node:
    """u/sqrt(1+u²); from 1e10 on it is ±1, also where u has overflowed."""
    return where(u > 1e10, const(1.0), where(u < -1e10, const(-1.0), u / op("hypot1", u)))


def average_at_ties(a: Node, b: Node, larger: bool) -> Node:
    """Max or min by selection: NaN on either side comes out, and a tie shares the gradient as `torch.maximum` does."""
    first, second = (a, b) if larger else (b, a)
    return where(op("gt", a, b), first, where(op("lt", a, b), second, 0.5 * a + 0.5 * b))


# --- Decays ------------------------------------------------------------------------------------------


# Below e^−174.67 every finite multiple is less than the smallest normal float32.
GONE = -174.67


def _exp_decay(y: Node, cofactor: Node | None = None) -> Decay:
    return Decay(op("exp_hi", y), op("exp_lo", y), op("exp", y), y < GONE, cofactor)


def _one_sided(u: Node, decays_above: bool, cofactor: Node) -> Decay:
    """e^(min(u,0)) or e^(min(−u,0)) out of the shared z, so that the kernel computes one exponential."""
    one = const(1.0)
    t, _ = _by_side(u, one, one)
    d = _exp_decay(negative_abs(t))

    def pick(part: Node) -> Node:
        return _by_side(u, part, one)[1] if decays_above else _by_side(u, one, part)[1]

    return Decay(pick(d.hi), pick(d.lo), pick(d.whole), u > -GONE if decays_above else u < GONE, cofactor)


def exp_decay(u: Node) -> Decay:
    """e^u itself."""
    return _exp_decay(u)


def sigmoid_decay(u: Node) -> Decay:
    """σ(u) = e^min(u,0) · 1/(1+z)."""
    return _one_sided(u, False, _sigmoid_cofactor(u))


def sech_decay(u: Node) -> Decay:
    """Sech(u) = e^(−|u|) · 2/(1+z²)."""
    z = exp_negative_abs(u)
    return _exp_decay(negative_abs(u), 2.0 / (1.0 + z * z))


def sech_square_decay(u: Node) -> Decay:
    """sech²(u) = q · 4/(1+q)² with q = e^(−2|u|): near 0, where it is flat in q, the rounding of q does not matter."""
    y = 2.0 * negative_abs(u)
    return _exp_decay(y, 4.0 / op("square", 1.0 + op("exp", y)))


def tanh_softplus_decay(u: Node) -> Decay:
    """Tanh(softplus(u)) = e^min(u,0) · cofactor."""
    return _one_sided(u, False, _tanh_softplus_cofactor(u))


def mish_slope_decay(u: Node) -> Decay:
    """Mish′(u) = e^min(u,0) · cofactor, one quotient.

    As gate + u·gate′ it would add two rounded numbers of unlike sign: 6 ULP in float32 at u = −2.2.
    """
    return _one_sided(u, False, _mish_slope_cofactor(u))


def sech_softplus_decay(u: Node) -> Decay:
    """Sech(softplus(u)) = e^min(−u,0) · cofactor."""
    return _one_sided(u, True, _sech_softplus_cofactor(u))


def tanh_decay(u: Node) -> Decay | None:
    """Tanh(e^t) falls like e^t: tanh(v) = v · (tanh(v)/v). Other arguments have no exponential tail."""
    if u.op != "exp":
        return None
    (t,) = u.args
    d = _exp_decay(where(t >= 0.0, const(0.0), t))
    ratio = where(op("eq", u, const(0.0)), const(1.0), op("tanh", u) / u)
    return Decay(d.hi, d.lo, d.whole, t < GONE, where(t >= 0.0, op("tanh", u), ratio))


def exp_square_decay(u: Node, c: Node) -> Decay:
    """e^(c·u²), with the rounding error of c·u² compensated: at u = 13 it would cost 40 ULP."""
    return Decay(op("expsq_hi", u, c), op("expsq_lo", u, c), op("exp_square", u, c), c * u * u < GONE)


def _tail_decay(u: Node, c: Node, mills: Node, whole: float, falls_above: bool) -> Decay:
    """m·e^(c·u²) on the falling side, `whole` − m·e^(c·u²) on the other, out of one shared exponential."""
    d = exp_square_decay(u, c)
    one = const(1.0)

    def pick(falling: Node, other: Node) -> Node:
        return where(u >= 0.0, falling, other) if falls_above else where(u >= 0.0, other, falling)

    gone = both(u > 0.0 if falls_above else u < 0.0, d.gone)
    return Decay(pick(d.hi, one), pick(d.lo, one), pick(d.whole, one), gone, pick(mills, whole - mills * d.whole))


def ndtr_decay(u: Node) -> Decay:
    """Φ(u) = e^(−u²/2) · m(−u) for u < 0, where m(a) = Φ(−a)·e^(a²/2), the scaled Mills ratio, is of moderate size."""
    return _tail_decay(u, const(-0.5), op("mills", op("abs", u)), 1.0, falls_above=False)


def erfc_decay(u: Node) -> Decay:
    """Erfc(u) = e^(−u²) · 2m(√2·u) for u ≥ 0; only the smooth m sees the rounded √2·u."""
    mills = op("mills", op("sqrt", const(2.0)) * op("abs", u))
    return _tail_decay(u, const(-1.0), 2.0 * mills, 2.0, falls_above=True)
