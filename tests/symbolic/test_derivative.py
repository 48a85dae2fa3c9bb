"""Derivatives of any order against the slope of the value alone, and what they do at kinks."""

from __future__ import annotations

import math

import pytest
from identities import BETA, agree, ball, central_difference

from actium.errors import DerivativeError
from actium.symbolic.derivative import derivative, differentiate
from actium.symbolic.graph import const, op, substitute, variable, walk, where
from actium.symbolic.parse import parse
from actium.symbolic.stabilize import stabilize

X = variable("x")
POINTS = [-20.5, -3.75, -1.5, -0.625, -0.125, 0.25, 0.875, 1.5, 4.25, 17.5]
SMOOTH = [
    "x * sigmoid(x)",
    "x * tanh(log(1 + exp(x)))",
    "0.5 * x * (1 + erf(x / sqrt(2)))",
    "x / sqrt(1 + beta * x**2)",
    "tanh(beta * x) / beta",
    "x / (1 + abs(x))",
    "exp(-x**2) * sin(3 * x)",
    "where(x > 0, x, beta * (exp(x / beta) - 1))",
    "log(beta + x**2) * atan(x)",
    "softplus(beta * x) / (beta + cosh(x))",
    "clamp(x * exp(x / 4), -1, 30) - max(x, 2)",
    "(x**2 + 1)**1.5 * asinh(x)",
    "x**7 / (3 + x**4)",
    "sech(x) * logsigmoid(x) + tanhshrink(x)",
]


@pytest.mark.parametrize("stable", [False, True], ids=["as written", "stabilized"])
@pytest.mark.parametrize("text", SMOOTH)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_each_order_is_the_slope_of_the_one_before(text, order, stable):
    formula = parse(text, parameters={"beta": 1.0} if "beta" in text else {})
    previous = derivative(formula, order=order - 1) if order > 1 else formula
    this = derivative(stabilize(formula), order=order)
    if stable:
        this = stabilize(this)
    for x in POINTS:
        assert agree(ball(this.root, x, 1.25, 2000), central_difference(previous.root, x, 1.25), 150), x


@pytest.mark.parametrize("text", [t for t in SMOOTH if "beta" in t])
def test_parameter_derivatives(text):
    formula = parse(text, parameters={"beta": 1.0})
    slope, mixed = derivative(formula, "beta"), derivative(derivative(formula, "beta"), "x")
    other_way = derivative(derivative(formula, "x"), "beta")
    # The same expression with the roles of x and β swapped, so that the difference runs over β.
    swapped = substitute(formula.root, {X: BETA, BETA: X})
    for x in POINTS:
        assert agree(ball(slope.root, x, 1.25, 2000), central_difference(swapped, 1.25, x), 150), x
        assert agree(ball(mixed.root, x, 1.25), ball(other_way.root, x, 1.25), 150)


def slope_at(text: str, x: float, order: int = 1) -> float:
    value = ball(derivative(parse(text), order=order).root, x)
    assert value.is_finite(), value
    return float(value.mid())


@pytest.mark.parametrize(
    ("text", "x", "expected"),
    [
        ("where(x <= 0, 0, x)", 0.0, 0.0),
        ("where(x < 0, 0, x)", 0.0, 1.0),
        ("relu6(x)", 6.0, 0.0),
        ("hardtanh(x)", -1.0, 0.0),
        ("clamp(x, -1, 1)", -1.0, 1.0),
        ("abs(x)", 0.0, 0.0),
        ("max(x, 0)", 0.0, 0.5),
        ("leaky_relu(x, 0.25)", 0.0, 0.25),
        ("hardswish(x)", 3.0, 1.0),
        ("hardswish(x)", -3.0, 0.0),
        ("floor(x)", 2.0, 0.0),
        ("softplus(x)", 0.0, 0.5),
        ("tanh(softplus(x))", 0.0, 0.32),
    ],
)
def test_a_kink_takes_the_slope_of_the_selected_branch(text, x, expected):
    assert slope_at(text, x) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    ("text", "x"),
    [
        ("sqrt(clamp(x, 0, 1))", -1.0),
        ("sqrt(relu(x))", -1.0),
        ("sqrt(relu(x))", 0.0),
        ("log(where(x > 0, x, 1))", -2.0),
        ("where(x > 0, log(x), x * 0)", -2.0),
        ("where(x > 0, sqrt(x), 0)", 0.0),
        ("clamp(sqrt(where(x > 0, x, 0)), 0, 1)", -1.0),
        ("min(max(x, 0), 1)**0.5", -1.0),
        ("clamp(x, 0, 1)**0.25", -1.0),
    ],
)
@pytest.mark.parametrize("stable", [False, True])
def test_an_unselected_branch_never_contributes(text, x, stable):
    formula = derivative(parse(text))
    if stable:
        formula = stabilize(formula)
    value = ball(formula.root, x)
    assert value.is_finite()
    assert float(value.mid()) == 0.0


def test_infinite_slope_is_not_hidden():
    assert not ball(derivative(parse("sqrt(abs(x))")).root, 0.0).is_finite()
    assert not ball(derivative(parse("log(x)")).root, 0.0).is_finite()


def test_graphs_stay_small():
    formula = parse("x * tanh(softplus(x)) * sigmoid(x) * exp(-x**2)")
    sizes = [len(derivative(formula, order=n).nodes) for n in (1, 2, 3)]
    assert sizes[2] < 40 * len(formula.nodes)
    nested = X
    for slope in range(2, 30):
        nested = where(nested > float(slope), nested, 0.5 * nested + 1.0)
    assert len(walk(differentiate(nested, X))) < 40 * 30


def test_constants_and_conditions_have_no_slope():
    assert differentiate(op("exp", const(2.0)), X) is const(0.0)
    assert differentiate(where(X > 0.0, 1.0, 2.0), X) is const(0.0)
    assert differentiate(X, X) is const(1.0)
    assert derivative(parse("x**2"), order=3).root is const(0.0)


@pytest.mark.parametrize("order", [0, -1, 1.0, True, "2"])
def test_wrong_order(order):
    with pytest.raises(DerivativeError, match="order must be a positive integer"):
        derivative(parse("x"), order=order)


def test_unknown_variable_names_the_known_ones():
    with pytest.raises(DerivativeError, match="no input or parameter 'y'; it has: x, beta"):
        derivative(parse("x * beta", parameters={"beta": 1.0}), "y")


def test_internal_primitives_cannot_be_differentiated():
    with pytest.raises(DerivativeError, match="exp_hi has no derivative"):
        differentiate(op("exp_hi", X), X)
    assert math.isfinite(slope_at("exp(x)", 1.0))
