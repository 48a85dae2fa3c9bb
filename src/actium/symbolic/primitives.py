"""The table: one row for each primitive, with everything that any stage needs to know of it.

Stage: shared by all of them. A row says how a primitive is written in torch and in C (and so in Triton), what it is in
ball arithmetic (value and slopes, independent of the derivative rule, because the checker judges that rule with it),
what its derivative is as a graph, how it prints, and how it is computed where no single instruction does it.

Adding a primitive means adding one row; if its C form is new, also one function in `kernels/math.h`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from actium.symbolic import expansions as ex
from actium.symbolic import midrange as mid
from actium.symbolic.graph import Node, const, neg, number_of, op, power, where

Ball = Any  # flint.arb; the package is imported only where balls are made.


@dataclass(frozen=True)
class Primitive:
    """One row.

    Attributes:
        name: The operator's name in graphs.
        arity: How many operands.
        torch: Template of the torch expression, or None where only the expansion computes it.
        c: Template of the C expression over floats, or None likewise. It is the Triton form, too:
            `kernels/gpu` translates it, function bodies and all, so that the two cannot differ.
        latex: Template; `{0}` stands for an operand.
        ball: Value in ball arithmetic.
        slopes: Partial derivatives in ball arithmetic, from the operands and the value.
        derivative: Partial derivatives as graphs, from the operands and the node itself.
        expand: An equal graph of simpler primitives, for kernels.
        soft: An equal graph whose torch autodiff is stable, where `torch` and `expand` have none.
        decay: The factorisation for products, where the function has an exponential tail.
        square_decay: That of the function's square, where it is not twice the function's.
        midrange: An equal graph for operands of moderate size, where a simpler one is right there.
        infix: Printed between its operands (or before, if unary).
        internal: Made by lowering only; neither parsed nor printed for users.
    """

    name: str
    arity: int
    torch: str | None
    c: str | None
    latex: str
    ball: Callable[..., Ball] | None = None
    slopes: Callable[..., tuple[Ball, ...]] | None = None
    derivative: Callable[..., tuple[Node, ...]] | None = None
    expand: Callable[..., Node] | None = None
    soft: Callable[..., Node] | None = None
    decay: Callable[..., ex.Decay | None] | None = None
    square_decay: Callable[..., ex.Decay] | None = None
    midrange: Callable[..., Node] | None = None
    infix: str | None = None
    internal: bool = False


def _flint() -> Any:
    import flint

    return flint


def _pi() -> Node:
    return Node("pi")


def _gauss_ball(u: Ball, c: Ball) -> Ball:
    return (c * u * u).exp()


def _sigmoid_ball(u: Ball) -> Ball:
    if u > 0:  # e^|u| can exceed even the exponents of balls
        return 1 / (1 + (-u).exp())
    n = u.exp()
    return n / (1 + n)


def _squared(u: Ball) -> Ball:
    return u * u  # flint's u ** 2 is NaN for an inexact ball around 0


def _softplus_ball(u: Ball) -> Ball:
    return u.exp().log1p() if u < 0 else u + (-u).exp().log1p()


def _tanh_softplus_ball(u: Ball) -> Ball:
    if u > 0:  # in e^-u, so that a huge u cannot exceed the exponent range
        z = (-u).exp()
        return (1 + 2 * z) / (1 + 2 * z + 2 * z * z)
    n = u.exp()
    return n * (n + 2) / (n * (n + 2) + 2)


def _sech_softplus_ball(u: Ball) -> Ball:
    if u > 0:
        z = (-u).exp()
        return 2 * z * (1 + z) / (1 + 2 * z + 2 * z * z)
    n = u.exp()
    return 2 * (n + 1) / (n * (n + 2) + 2)


def _tanh_softplus_rate_ball(u: Ball) -> Ball:
    if u > 0:
        z = (-u).exp()
        return 4 * z * z * (1 + z) / ((1 + 2 * z) * (1 + 2 * z + 2 * z * z))
    n = u.exp()
    return 4 * (n + 1) / ((n + 2) * (n * (n + 2) + 2))


def _tanh_softplus_rate_slope(u: Ball, y: Ball) -> Ball:
    """R·(σ − n/(n+2) − 2n(n+1)/(n²+2n+2)) with n = e^u, divided by the powers of n where u > 0."""
    if u > 0:
        z = (-u).exp()
        return y * (1 / (1 + z) - 1 / (1 + 2 * z) - 2 * (1 + z) / (1 + 2 * z + 2 * z * z))
    n = u.exp()
    return y * (n / (1 + n) - n / (n + 2) - 2 * n * (n + 1) / (n * (n + 2) + 2))


def _mish_slope_ball(u: Ball) -> Ball:
    return _tanh_softplus_ball(u) * (1 + u * _tanh_softplus_rate_ball(u))


def _mish_slope_slope(u: Ball) -> Ball:
    rate = _tanh_softplus_rate_ball(u)
    return _tanh_softplus_ball(u) * rate * (2 + u * (rate + _tanh_softplus_rate_slope(u, 1)))


def _sech_ball(u: Ball) -> Ball:
    z = (-abs(u)).exp()  # u.sech() is NaN where cosh(u) exceeds even the exponents of balls
    return 2 * z / (1 + z * z)


def _ndtr_ball(u: Ball) -> Ball:
    return (-u / (u * 0 + 2).sqrt()).erfc() / 2


def _normal_density_ball(u: Ball) -> Ball:
    return (-u * u / 2).exp() / (2 * _flint().arb.pi()).sqrt()


def _erf_slope_ball(u: Ball) -> Ball:
    return 2 * (-u * u).exp() / _flint().arb.pi().sqrt()


def _tanhshrink_ball(u: Ball) -> Ball:
    return u - u.tanh()


def _log2_ball(u: Ball) -> Ball:
    return u.log() / _flint().arb.const_log2()


def _pow_ball(a: Ball, b: Ball) -> Ball:
    n = int(float(b)) if b.is_exact() and b.is_integer() and 0 < b < 64 else 0
    # flint's a ** 3 is NaN for an inexact ball around 0.
    return a**b if not n or a.is_exact() else functools.reduce(lambda p, q: p * q, [a] * n)


def _pow_slopes(a: Ball, b: Ball, y: Ball) -> tuple[Ball, Ball]:
    return b * _pow_ball(a, b - 1), (a * 0 if a == 0 else y * a.log())


def _pow_derivative(a: Node, b: Node, y: Node) -> tuple[Node, Node]:
    # d/db a^b = a^b·log a, whose limit at a = 0 (b > 0) is 0 and not 0·(−inf).
    return b * power(a, b - 1.0), where(op("eq", a, const(0.0)), const(0.0), y * op("log", a))


def _extremum_derivative(wins: str) -> Callable[..., tuple[Node, ...]]:
    def rule(a: Node, b: Node, _y: Node) -> tuple[Node, ...]:
        tie = where(op("eq", a, b), const(0.5), const(0.0))
        return where(op(wins, a, b), const(1.0), tie), where(op(wins, b, a), const(1.0), tie)

    return rule


def _crossed(lo: Node, hi: Node) -> Node | None:
    """The condition that the bounds of a clamp are in the wrong order; None if they are known not to be."""
    return None if lo.is_const and hi.is_const and number_of(lo) <= number_of(hi) else op("gt", lo, hi)


def _clamp(x: Node, lo: Node, hi: Node) -> Node:
    """min(max(x, lo), hi): of bounds in the wrong order the upper one wins, as in torch."""
    crossed = _crossed(lo, hi)
    bottom = lo if crossed is None else where(crossed, hi, lo)
    return where(op("gt", x, hi), hi, where(op("lt", x, lo), bottom, x))


def _clamp_derivative(x: Node, lo: Node, hi: Node, _y: Node) -> tuple[Node, ...]:
    above, below, crossed = op("gt", x, hi), op("lt", x, lo), _crossed(lo, hi)
    low, high = (_ONE, _ZERO) if crossed is None else (where(crossed, _ZERO, _ONE), where(crossed, _ONE, _ZERO))
    return (
        where(above, _ZERO, where(below, _ZERO, _ONE)),
        where(above, _ZERO, where(below, low, _ZERO)),
        where(above, _ONE, where(below, high, _ZERO)),
    )


_ONE, _ZERO = const(1.0), const(0.0)
_LN2 = op("log", const(2.0))


def _rows() -> list[Primitive]:
    P = Primitive
    return [*_arithmetic(P), *_exponentials(P), *_gates(P), *_others(P), *_conditions(P), *_machine_only(P)]


def _arithmetic(P: type[Primitive]) -> list[Primitive]:
    return [
        P("pi", 0, "3.141592653589793", "3.14159265358979324f", r"\pi", lambda: _flint().arb.pi(), lambda y: ()),
        P("add", 2, "({0} + {1})", "({0} + {1})", "{0} + {1}", lambda a, b: a + b, lambda a, b, y: (1, 1),
          lambda a, b, y: (_ONE, _ONE), infix="+"),
        P("sub", 2, "({0} - {1})", "({0} - {1})", "{0} - {1}", lambda a, b: a - b, lambda a, b, y: (1, -1),
          lambda a, b, y: (_ONE, const(-1.0)), infix="-"),
        P("mul", 2, "({0} * {1})", "({0} * {1})", r"{0} \cdot {1}", lambda a, b: a * b, lambda a, b, y: (b, a),
          lambda a, b, y: (b, a), infix="*"),
        P("div", 2, "({0} / {1})", "({0} / {1})", r"\frac{{{0}}}{{{1}}}", lambda a, b: a / b,
          lambda a, b, y: (1 / b, -y / b), lambda a, b, y: (1.0 / b, neg(y / b)), infix="/"),
        P("neg", 1, "(-{0})", "(-{0})", "-{0}", lambda u: -u, lambda u, y: (-1,), lambda u, y: (const(-1.0),),
          infix="-"),
        P("abs", 1, "torch.abs({0})", "__builtin_fabsf({0})", r"\left|{0}\right|",
          derivative=lambda u, y: (op("sign", u),), expand=lambda u: where(u > 0.0, u, neg(u))),
        # torch.sign(NaN) is 0.
        P("sign", 1, "torch.where({0} == {0}, torch.sign({0}), {0})", "act_sign({0})", r"\operatorname{{sign}}({0})",
          derivative=lambda u, y: (_ZERO,), expand=lambda u: where(u > 0.0, _ONE, where(u < 0.0, const(-1.0), u))),
        P("square", 1, "({0} * {0})", "({0} * {0})", "{0}^2", lambda u: u * u, lambda u, y: (2 * u,),
          lambda u, y: (2.0 * u,)),
        P("sqrt", 1, "torch.sqrt({0})", "act_sqrt({0})", r"\sqrt{{{0}}}", lambda u: u.sqrt(),
          lambda u, y: (1 / (2 * y),), lambda u, y: (0.5 / y,)),
        P("rsqrt", 1, "(1.0 / torch.sqrt({0}))", "(1.0f / act_sqrt({0}))", r"\frac{{1}}{{\sqrt{{{0}}}}}",
          lambda u: u.rsqrt(), lambda u, y: (-y / (2 * u),), lambda u, y: (-0.5 * (y / u),)),
        P("reciprocal", 1, "(1.0 / {0})", "(1.0f / {0})", r"\frac{{1}}{{{0}}}", lambda u: 1 / u,
          lambda u, y: (-y * y,), lambda u, y: (neg(y * y),)),
        P("pow", 2, "torch.pow({0}, {1})", "act_pow({0}, {1})", "{0}^{{{1}}}", _pow_ball, _pow_slopes, _pow_derivative,
          infix="**"),
        P("min", 2, None, "act_min({0}, {1})", r"\min({0}, {1})", derivative=_extremum_derivative("lt"),
          expand=lambda a, b: ex.average_at_ties(a, b, larger=False)),
        P("max", 2, None, "act_max({0}, {1})", r"\max({0}, {1})", derivative=_extremum_derivative("gt"),
          expand=lambda a, b: ex.average_at_ties(a, b, larger=True)),
        P("clamp", 3, None, None, r"\operatorname{{clamp}}({0}, {1}, {2})", derivative=_clamp_derivative,
          expand=_clamp),
        P("floor", 1, "torch.floor({0})", "act_floor({0})", r"\lfloor {0} \rfloor", lambda u: u.floor(),
          lambda u, y: (0,), lambda u, y: (_ZERO,)),
    ]  # fmt: skip


def _exponentials(P: type[Primitive]) -> list[Primitive]:
    return [
        P("exp", 1, "torch.exp({0})", "act_exp({0})", "e^{{{0}}}", lambda u: u.exp(), lambda u, y: (y,),
          lambda u, y: (y,), decay=ex.exp_decay, midrange=mid.exp),
        P("exp2", 1, "torch.exp2({0})", "act_exp2({0})", "2^{{{0}}}", lambda u: (u * _flint().arb.const_log2()).exp(),
          lambda u, y: (y * _flint().arb.const_log2(),), lambda u, y: (_LN2 * y,)),
        P("expm1", 1, "torch.expm1({0})", "act_expm1({0})", r"\left(e^{{{0}}} - 1\right)", lambda u: u.expm1(),
          lambda u, y: (u.exp(),), lambda u, y: (op("exp", u),), soft=ex.expm1_by_exp),
        P("log", 1, "torch.log({0})", "act_log({0})", r"\ln({0})", lambda u: u.log(), lambda u, y: (1 / u,),
          lambda u, y: (1.0 / u,)),
        P("log2", 1, "torch.log2({0})", "act_log2({0})", r"\log_2({0})", _log2_ball,
          lambda u, y: (1 / (u * _flint().arb.const_log2()),), lambda u, y: (1.0 / (_LN2 * u),)),
        P("log1p", 1, "torch.log1p({0})", "act_log1p({0})", r"\ln(1 + {0})", lambda u: u.log1p(),
          lambda u, y: (1 / (1 + u),), lambda u, y: (1.0 / (1.0 + u),)),
    ]  # fmt: skip


def _gates(P: type[Primitive]) -> list[Primitive]:
    return [
        P("sigmoid", 1, "torch.sigmoid({0})", None, r"\sigma({0})", _sigmoid_ball,
          lambda u, y: (y * _sigmoid_ball(-u),), lambda u, y: (y * op("sigmoid", neg(u)),),
          expand=ex.sigmoid, soft=ex.sigmoid, decay=ex.sigmoid_decay, midrange=mid.sigmoid),
        P("logsigmoid", 1, None, None, r"\ln\sigma({0})", lambda u: -_softplus_ball(-u),
          lambda u, y: (_sigmoid_ball(-u),), lambda u, y: (op("sigmoid", neg(u)),),
          expand=lambda u: neg(ex.softplus(neg(u)))),
        P("softplus", 1, None, None, r"\operatorname{{softplus}}({0})", _softplus_ball,
          lambda u, y: (_sigmoid_ball(u),), lambda u, y: (op("sigmoid", u),), expand=ex.softplus),
        P("tanh", 1, "torch.tanh({0})", "act_tanh({0})", r"\tanh({0})", lambda u: u.tanh(),
          lambda u, y: (_squared(_sech_ball(u)),), lambda u, y: (op("square", op("sech", u)),),
          soft=ex.tanh_by_exp, decay=ex.tanh_decay),
        P("sinh", 1, "torch.sinh({0})", "act_sinh({0})", r"\sinh({0})", lambda u: u.sinh(),
          lambda u, y: (u.cosh(),), lambda u, y: (op("cosh", u),)),
        P("cosh", 1, "torch.cosh({0})", "act_cosh({0})", r"\cosh({0})", lambda u: u.cosh(),
          lambda u, y: (u.sinh(),), lambda u, y: (op("sinh", u),)),
        P("sech", 1, None, None, r"\operatorname{{sech}}({0})", _sech_ball, lambda u, y: (-y * u.tanh(),),
          lambda u, y: (neg(y * op("tanh", u)),), expand=ex.sech, decay=ex.sech_decay,
          square_decay=ex.sech_square_decay, midrange=mid.sech),
        P("tanh_softplus", 1, None, None, r"\tanh(\operatorname{{softplus}}({0}))", _tanh_softplus_ball,
          lambda u, y: (_squared(_sech_softplus_ball(u)) * _sigmoid_ball(u),),
          lambda u, y: (y * op("tanh_softplus_rate", u),),
          expand=ex.tanh_softplus, decay=ex.tanh_softplus_decay, midrange=mid.tanh_softplus),
        P("tanh_softplus_rate", 1, None, None, r"\left(\ln\tanh\operatorname{{softplus}}\right)'({0})",
          _tanh_softplus_rate_ball, lambda u, y: (_tanh_softplus_rate_slope(u, y),),
          lambda u, y: (y * ex.tanh_softplus_rate_slope(u),), expand=ex.tanh_softplus_rate),
        P("mish_slope", 1, None, None, r"\operatorname{{mish}}'({0})", _mish_slope_ball,
          lambda u, y: (_mish_slope_slope(u),), lambda u, y: (ex.mish_slope_derivative(u),),
          decay=ex.mish_slope_decay, midrange=mid.mish_slope),
        P("sech_softplus", 1, None, None, r"\operatorname{{sech}}(\operatorname{{softplus}}({0}))", _sech_softplus_ball,
          lambda u, y: (-y * _tanh_softplus_ball(u) * _sigmoid_ball(u),),
          lambda u, y: (neg(y * op("tanh_softplus", u) * op("sigmoid", u)),),
          expand=ex.sech_softplus, decay=ex.sech_softplus_decay),
        P("tanhshrink", 1, None, "act_tanhshrink({0})", r"\left({0} - \tanh({0})\right)", _tanhshrink_ball,
          lambda u, y: (_squared(u.tanh()),), lambda u, y: (op("square", op("tanh", u)),), expand=ex.tanhshrink),
        P("exp_square", 2, "_exp_square({0}, {1})", "(act_expsq_hi({0}, {1}) * act_expsq_lo({0}, {1}))",
          "e^{{{1} {0}^2}}", _gauss_ball,
          lambda u, c, y: (2 * c * u * y, u * u * y),
          lambda u, c, y: (2.0 * (c * (u * y)), u * u * y), decay=ex.exp_square_decay, midrange=mid.exp_square),
    ]  # fmt: skip


def _others(P: type[Primitive]) -> list[Primitive]:
    two_over_sqrt_pi = 2.0 / op("sqrt", _pi())
    density = 1.0 / op("sqrt", 2.0 * _pi())
    return [
        P("sin", 1, "torch.sin({0})", "act_sin({0})", r"\sin({0})", lambda u: u.sin(), lambda u, y: (u.cos(),),
          lambda u, y: (op("cos", u),)),
        P("cos", 1, "torch.cos({0})", "act_cos({0})", r"\cos({0})", lambda u: u.cos(), lambda u, y: (-u.sin(),),
          lambda u, y: (neg(op("sin", u)),)),
        P("atan", 1, "torch.atan({0})", "act_atan({0})", r"\arctan({0})", lambda u: u.atan(),
          lambda u, y: (1 / (1 + u * u),), lambda u, y: (op("square", 1.0 / op("hypot1", u)),)),
        P("asinh", 1, "torch.asinh({0})", "act_asinh({0})", r"\operatorname{{arsinh}}({0})", lambda u: u.asinh(),
          lambda u, y: (1 / (1 + u * u).sqrt(),), lambda u, y: (1.0 / op("hypot1", u),)),
        P("hypot1", 1, None, "act_hypot1({0})", r"\sqrt{{1 + {0}^2}}", lambda u: (1 + u * u).sqrt(),
          lambda u, y: (u / y,), lambda u, y: (op("isru", u),), expand=ex.hypot1),
        P("isru", 1, None, None, r"\frac{{{0}}}{{\sqrt{{1 + {0}^2}}}}", lambda u: u / (1 + u * u).sqrt(),
          lambda u, y: (1 / (1 + u * u) ** 1.5,),
          lambda u, y: ((1.0 / op("hypot1", u)) / (1.0 + op("square", u)),), expand=ex.isru),
        P("softsign", 1, None, None, r"\frac{{{0}}}{{1 + \left|{0}\right|}}", lambda u: u / (1 + abs(u)),
          lambda u, y: (1 / _squared(1 + abs(u)),), lambda u, y: (op("square", 1.0 / (1.0 + op("abs", u))),),
          expand=ex.softsign),
        P("erf", 1, "torch.erf({0})", "act_erf({0})", r"\operatorname{{erf}}({0})", lambda u: u.erf(),
          lambda u, y: (_erf_slope_ball(u),), lambda u, y: (two_over_sqrt_pi * op("exp_square", u, const(-1.0)),)),
        P("erfc", 1, "torch.erfc({0})", "act_erfc({0})", r"\operatorname{{erfc}}({0})", lambda u: u.erfc(),
          lambda u, y: (-_erf_slope_ball(u),),
          lambda u, y: (neg(two_over_sqrt_pi * op("exp_square", u, const(-1.0))),), decay=ex.erfc_decay,
          midrange=mid.erfc),
        P("ndtr", 1, "(0.5 * torch.erfc({0} * -0.7071067811865476))", None, r"\Phi({0})", _ndtr_ball,
          lambda u, y: (_normal_density_ball(u),), lambda u, y: (density * op("exp_square", u, const(-0.5)),),
          decay=ex.ndtr_decay, midrange=mid.ndtr),
    ]  # fmt: skip


def _conditions(P: type[Primitive]) -> list[Primitive]:
    def compare(name: str, symbol: str, latex: str) -> Primitive:
        return P(name, 2, f"({{0}} {symbol} {{1}})", f"({{0}} {symbol} {{1}})", f"{{0}} {latex} {{1}}", infix=symbol)

    return [
        compare("lt", "<", "<"),
        compare("le", "<=", r"\le"),
        compare("gt", ">", ">"),
        compare("ge", ">=", r"\ge"),
        compare("eq", "==", "="),
        compare("ne", "!=", r"\ne"),
        P("and", 2, "({0} & {1})", "({0} & {1})", r"{0} \wedge {1}", infix="and"),
        P("or", 2, "({0} | {1})", "({0} | {1})", r"{0} \vee {1}", infix="or"),
        P("not", 1, "(~{0})", "(!{0})", r"\neg {0}", infix="not"),
        P("where", 3, "torch.where({0}, {1}, {2})", "({0} ? {1} : {2})",
          r"\begin{{cases}} {1} & {0} \\ {2} & \text{{otherwise}} \end{{cases}}"),
    ]  # fmt: skip


def _machine_only(P: type[Primitive]) -> list[Primitive]:
    return [
        P("exp_hi", 1, None, "act_exp_hi({0})", "", internal=True),
        P("exp_lo", 1, None, "act_exp_lo({0})", "", internal=True),
        P("expsq_hi", 2, None, "act_expsq_hi({0}, {1})", "", internal=True),
        P("expsq_lo", 2, None, "act_expsq_lo({0}, {1})", "", internal=True),
        P("mills", 1, None, "act_mills({0})", "", internal=True),
        P("mills_mid", 1, None, "act_mills_mid({0})", "", internal=True),
        P("exp_mid", 1, None, "act_exp_mid({0})", "", internal=True),
        P("expsq_mid", 2, None, "act_expsq_mid({0}, {1})", "", internal=True),
    ]


PRIMITIVES: dict[str, Primitive] = {row.name: row for row in _rows()}
