"""Limits at ±infinity, and the guard that makes IEEE arithmetic return them."""

from __future__ import annotations

import math

import pytest
import torch

from actium.kernels.eager import compile_function
from actium.kernels.lower import Lowering
from actium.symbolic.graph import const, op, parameter, variable, walk, where
from actium.symbolic.limits import guard, limit, nan_sources
from actium.symbolic.parse import parse
from actium.symbolic.stabilize import stabilize_node

X = variable("x")
INF, NAN = math.inf, math.nan
LIMITS = [
    ("x", -INF, INF),
    ("3 - x", INF, -INF),
    ("x * sigmoid(x)", 0.0, INF),
    ("x / (1 + abs(x))", -1.0, 1.0),
    ("x * exp(-x**2)", 0.0, 0.0),
    ("x * tanh(log(1 + exp(x)))", 0.0, INF),
    ("sigmoid(x) + x * sigmoid(x) * sigmoid(-x)", 0.0, 1.0),
    ("x**2 / (1 + x**2)", 1.0, 1.0),
    ("x**3 / (1 + x**2)", -INF, INF),
    ("(2 * x + 1) / (x - 5)", 2.0, 2.0),
    ("x - tanh(x)", -INF, INF),
    ("sqrt(1 + x**2) - abs(x)", 0.0, 0.0),
    ("log(1 + exp(x)) - x", INF, 0.0),
    ("where(x <= -3, 0, where(x >= 3, x, x * (x + 3) / 6))", 0.0, INF),
    ("exp(x) * x**3", 0.0, INF),
    ("exp(x) - x", INF, INF),  # inf − inf in IEEE arithmetic
    ("x - exp(x**2)", -INF, -INF),
    ("x**20 * exp(-abs(x))", 0.0, 0.0),
    ("0.5 * x * (1 + erf(x / sqrt(2)))", 0.0, INF),
    ("log(1 + x**2)", INF, INF),
    ("sin(x)", None, None),
    ("x * sin(x)", None, None),
    ("sin(2 * pi * x)", None, None),  # these are constant at integers, and so at all large doubles
    ("x * sin(2 * pi * x)", None, None),
    ("cos(2 * pi * x)", None, None),
    ("sin(200 * pi * x)", None, None),
    ("x - floor(x)", None, None),
    ("x * (x - floor(x))", None, None),
    ("floor(x) / x", 1.0, 1.0),
    ("x + sin(2 * pi * x)", -INF, INF),
    ("x * (2 + cos(2 * pi * x))", -INF, INF),
    ("tanh(x * (2 + sin(2 * pi * x)))", -1.0, 1.0),
    ("x**3 - x**2 * x", 0.0, 0.0),
    ("log(x)", None, INF),
    ("sqrt(x)", None, INF),
]


@pytest.mark.parametrize(("text", "below", "above"), LIMITS, ids=[t for t, _, _ in LIMITS])
def test_limit(text, below, above):
    root = parse(text).root
    assert (limit(root, X, -1.0, {}), limit(root, X, 1.0, {})) == (below, above)


def test_limit_depends_on_the_parameters():
    root = parse("beta * x", parameters={"beta": 1.0}).root
    beta = parameter("beta")
    assert limit(root, X, 1.0, {beta: 2.0}) == INF
    assert limit(root, X, 1.0, {beta: -2.0}) == -INF
    assert limit(root, X, 1.0, {beta: 0.0}) == 0.0


def test_a_periodic_factor_leaves_a_limit_of_0():
    root = parse("sin(2 * pi * x) / x").root
    assert limit(root, X, 1.0, {}) == limit(root, X, -1.0, {}) == 0.0


def test_a_power_that_is_real_at_integers_only_has_no_limit():
    assert limit(op("pow", const(-2.0), X), X, 1.0, {}) is None
    assert limit(op("pow", const(2.0), X), X, 1.0, {}) == INF


def run(root, *values: float, target="torch") -> list[float]:
    lowering, stable = Lowering(target), stabilize_node(root)
    lowered = lowering.finish(guard(lowering.lower(stable), stable, X, {}))
    function = compile_function("guarded", ("x",), (lowered,))
    return function(torch.tensor(values, dtype=torch.float64)).tolist()


@pytest.mark.parametrize(("text", "below", "above"), LIMITS, ids=[t for t, _, _ in LIMITS])
def test_guarded_graph_returns_the_limit_and_hands_nan_on(text, below, above):
    low, high, nan = run(parse(text).root, -INF, INF, NAN)
    for got, wanted in ((low, below), (high, above)):
        assert math.isnan(got) if wanted is None else got == wanted
    assert math.isnan(nan)


def test_guard_adds_nothing_where_nothing_is_needed():
    for text in ("x * 2", "tanh(x)", "exp(-x**2)", "where(x <= 0, 0, x)"):
        root = parse(text).root
        assert guard(root, root, X, {}) is root


def test_guard_changes_no_finite_value():
    root = parse("x / (1 + abs(x))").root
    values = [-1e30, -3.0, -0.0, 1e-300, 2.5, 1e18, 1e300]
    assert run(root, *values) == [v / (1 + abs(v)) for v in values]


def test_a_comparison_that_swallows_nan_is_guarded():
    swallow = where(X > 0.0, X, const(0.0))
    assert X not in nan_sources(swallow)
    assert math.isnan(run(swallow, NAN)[0])
    assert X in nan_sources(where(X <= 0.0, const(0.0), X))


@pytest.mark.parametrize(
    ("node", "passes"),
    [
        (X + 1.0, True),
        (where(X > 0.0, const(1.0), X), True),
        (where(X > 0.0, X, const(1.0)), False),
        (where(op("ne", X, const(0.0)), X, const(1.0)), True),
        (where(op("not", X > 0.0), X, const(1.0)), False),
        (where(X > 0.0, X, -X), True),
        (op("floor", X) * const(2.0), True),
        (op("sign", X), True),
        (2.0 * op("sign", X + 1.0) + 1.0, True),
    ],
)
def test_nan_sources(node, passes):
    assert (X in nan_sources(node)) is passes
    truth = compile_function("f", ("x",), (node,))(torch.tensor([NAN])).isnan().item()
    assert truth or not passes  # a claimed source is one


def test_graph_sizes_stay_in_bounds():
    root = parse("x / (1 + abs(x))").root
    assert len(walk(guard(root, root, X, {}))) < 6 * len(walk(root))
