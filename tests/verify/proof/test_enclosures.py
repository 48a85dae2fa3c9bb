"""What proofs rest on: intervals that contain, tails that contain, constants that are told apart."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import flint
import pytest

from actium.symbolic.graph import const, op, variable
from actium.symbolic.parse import parse
from actium.symbolic.primitives import PRIMITIVES
from actium.verify.proof.constants import Number
from actium.verify.proof.forms import constant_of, form
from actium.verify.proof.gauges import Gauge, TailError
from actium.verify.proof.program import Program
from actium.verify.proof.tails import Ray

X = variable("x")
# Primitives of one or two operands with a ball, and where their first operand may lie.
DOMAIN = {"sqrt": (0.1, 9.0), "rsqrt": (0.1, 9.0), "log": (0.1, 9.0), "log2": (0.1, 9.0), "log1p": (-0.9, 9.0)}
DOMAIN |= {"reciprocal": (0.2, 9.0), "div": (-9.0, 9.0)}
ROWS = [r.name for r in PRIMITIVES.values() if r.ball is not None and r.arity in (1, 2)]


@pytest.fixture(autouse=True)
def precision():
    before = flint.ctx.prec
    flint.ctx.prec = 128
    yield
    flint.ctx.prec = before


def graph(name: str):
    second = {"div": X * X + 0.5, "pow": const(3.0), "exp_square": const(-0.75)}.get(name, 0.7 * X + 1.0)
    return op(name, X) if PRIMITIVES[name].arity == 1 else op(name, X, second)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_on_an_interval_contains_its_values_and_slopes_inside(name: str) -> None:
    rng = random.Random(name)
    program = Program(graph(name), X)
    low, high = DOMAIN.get(name, (-9.0, 9.0))
    for _ in range(120):
        a, b = sorted(rng.uniform(low, high) for _ in range(2))
        value, slope = program.at(flint.arb(a).union(flint.arb(b)))
        for point in (a, b, *(rng.uniform(a, b) for _ in range(3))):
            exact, steep = program.at(flint.arb(point))
            assert not value.is_finite() or value.overlaps(exact), (a, b, point)
            assert not slope.is_finite() or slope.overlaps(steep), (a, b, point)


def test_a_row_that_decides_by_the_middle_of_an_interval_is_caught() -> None:
    """The property above can fail: this is what a row of ReLU would be that looks at the middle."""

    def relu(u):
        return u if u.mid() > 0 else u * 0

    assert not relu(flint.arb(-2.0).union(flint.arb(1.0))).overlaps(relu(flint.arb(1.0)))


def test_the_sigmoid_is_right_on_an_interval_around_0() -> None:
    value, _ = Program(op("sigmoid", X), X).at(flint.arb(-30.0).union(flint.arb(2.0**-10)))
    assert value.contains(0.5)
    assert Program(op("sigmoid", X), X).at(flint.arb(-0.25).union(flint.arb(0.25)))[0].rad() < 0.2


RAYS = [
    "silu(x)", "mish(x)", "gelu(x)", "gelu(x, 'tanh')", "x*tanh(exp(x))", "x/sqrt(1 + x*x)", "x - tanh(x)",
    "log(1 + exp(x))", "x**3/(1 + x**4)", "erfc(x)", "asinh(x)", "atan(x) - x", "sqrt(1 + x*x) - x", "exp(-x*x/3)",
    "log(1 + x*x)*exp(-x)", "x**2 * sigmoid(-x*x)", "softplus(3*x) - softplus(x)", "tanh(0.5*x)*erf(x/sqrt(3))",
    "sinh(x)/cosh(x)", "exp2(-x*x)", "log2(2 + x*x)", "cos(1/(1 + x*x))", "expm1(-x*x)", "hypot1(x)*isru(x)",
]  # fmt: skip


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("text", RAYS)
def test_a_tail_contains_the_function_and_has_its_sign(text: str, side: int) -> None:
    program = Program(parse(text).root, X)
    ray = Ray(side, 16.0)
    for tail, index in zip(program.on(ray), (0, 1), strict=True):
        for t in (16.0, 17.5, 100.0, 1e4, 1e9):
            exact = program.at(flint.arb(side * t))[index]
            if not exact.is_finite() or exact.rel_accuracy_bits() < 30:
                continue
            assert tail.hull().overlaps(exact)
            total = flint.arb(0)
            for gauge, coefficient in tail.terms.items():
                total += coefficient.ball * growth(gauge, t)
            assert total.overlaps(exact), (text, t)
            assert tail.sign in (0, 1 if exact > 0 else -1)


def growth(gauge: Gauge, t: float):
    x = flint.arb(t)
    rate = sum((c.ball * x ** flint.arb(float(p)) for p, c in gauge.exponent), flint.arb(0)).exp()
    return rate * x ** flint.arb(float(gauge.power)) * x.log() ** gauge.logs


@pytest.mark.parametrize("text", ["sin(x)", "exp(exp(x))", "floor(x)", "x*cos(x)", "log(-abs(x) - 1)"])
def test_what_has_no_tail_is_refused(text: str) -> None:
    with pytest.raises((TailError, KeyError, AssertionError)):
        Program(parse(text).root, X).on(Ray(1, 16.0))


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("x - x*tanh(x)", 0.0),
        ("sqrt(x*x + x) - x", 0.5),
        ("softplus(x + 1) - softplus(x - 1)", 2.0),
        ("x*(1 - erf(x))", 0.0),
        ("x*atan(1/x)", 1.0),
        ("log(2*x) - log(x)", math.log(2)),
    ],
)
def test_limits_survive_cancellation(text: str, limit: float) -> None:
    assert float(Program(parse(text).root, X).on(Ray(1, 2.0**60))[0].limit()) == pytest.approx(limit, rel=1e-15)


def test_constants_that_are_equal_are_known_to_be() -> None:
    two, three = Number.of(2), Number.of(3)
    root = two.power(Fraction(1, 2))
    assert (root * root - two).is_zero
    assert (root.inverse() * root - Number.of(1)).is_zero
    assert (root * two.inverse() - root.inverse()).is_zero
    assert not (root - three.power(Fraction(1, 2))).is_zero
    assert (two.function("exp", flint.arb(2).exp()) - two.function("exp", flint.arb(2).exp())).is_zero
    assert Number(flint.arb(1, 0.1)).key is None


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("sigmoid(-x)", "1 - sigmoid(x)"),
        ("softplus(-x)", "softplus(x) - x"),
        ("(x + 1)*(x - 1)", "x*x - 1"),
        ("tanh(1 - x)", "-tanh(x - 1)"),
        ("cos(x - 2)", "cos(2 - x)"),
        ("logsigmoid(x)", "x - softplus(x)"),
        ("erfc(-x) + erfc(x) + x", "2 + x"),
    ],
)
def test_equal_functions_have_equal_forms(left: str, right: str) -> None:
    assert form(parse(left).root) == form(parse(right).root)


@pytest.mark.parametrize(("left", "right"), [("exp(-x)", "exp(x)"), ("x*x", "x"), ("tanh(x)", "sinh(x)")])
def test_different_functions_have_different_forms(left: str, right: str) -> None:
    assert form(parse(left).root) != form(parse(right).root)


def test_a_constant_in_disguise_is_seen() -> None:
    assert constant_of(parse("sigmoid(x) + sigmoid(-x)").root) == 1.0
    assert constant_of(parse("x + 1").root) is None
