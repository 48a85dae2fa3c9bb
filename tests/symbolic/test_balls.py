"""The small evaluator that lowering asks."""

from __future__ import annotations

import math

import pytest
from flint import ctx

from actium.symbolic.balls import constant_value, evaluate, is_regular
from actium.symbolic.graph import Node, const, op, parameter, variable, where
from actium.symbolic.parse import parse

X, P = variable("x"), parameter("p")


def test_value_and_default_of_a_leaf():
    assert float(evaluate(X * P + 2.0, {X: 3.0, P: 4.0}).mid()) == 14.0
    assert float(evaluate(X * P + 2.0, {X: 3.0}).mid()) == 5.0


@pytest.mark.parametrize("precision", [64, 300, 2000])
def test_precision_reaches_operators_that_are_evaluated_by_expansion(precision):
    third = op("max", X / 3.0, const(-1.0)) + op("abs", X / 7.0) + op("clamp", X / 9.0, const(-4.0), const(4.0))
    ball = evaluate(third, {X: 1.0}, precision)
    assert ball.rel_accuracy_bits() >= precision - 10
    assert ctx.prec == 53  # nobody else's precision is touched


@pytest.mark.parametrize(
    ("text", "x", "expected"), [("where(x > 1, x, -x)", 1.0, -1.0), ("where(x >= 1, x, -x)", 1.0, 1.0)]
)
def test_selection(text, x, expected):
    assert float(evaluate(parse(text).root, {X: x}).mid()) == expected


@pytest.mark.parametrize("name", ["lt", "le", "gt", "ge", "eq", "ne"])
def test_comparisons(name):
    import operator

    for a in (-1.0, 0.0, 2.0):
        got = evaluate(where(op(name, X, const(0.0)), const(1.0), const(0.0)), {X: a})
        assert bool(float(got.mid())) is getattr(operator, name)(a, 0.0)


def test_logic():
    inside = op("and", X > 0.0, op("not", op("or", X > 2.0, op("eq", X, const(1.0)))))
    values = [bool(evaluate(inside, {X: x})) for x in (-1.0, 0.5, 1.0, 3.0)]
    assert values == [False, True, False, False]


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (2.0 / op("sqrt", Node("pi")), 1.1283791670955126),
        (op("exp", const(1.0)), math.e),
        (op("log", const(2.0)), math.log(2.0)),
        (op("sqrt", const(2.0)), math.sqrt(2.0)),
        (const(0.1) + const(0.2), 0.30000000000000004),
        (op("exp", const(-745.0)), math.exp(-745.0)),
    ],
)
def test_constants_are_the_nearest_doubles(node, expected):
    assert constant_value(node) == expected


def test_regular_points():
    assert is_regular(op("log", X), {X: 1.0})
    assert not is_regular(op("log", X), {X: 0.0})
    assert not is_regular(op("sqrt", X), {X: 0.0})  # finite, with an infinite slope
    assert not is_regular(op("pow", X, const(1.5)), {X: 0.0})  # finite slope, infinite curvature
    assert is_regular(op("log", X + P), {X: 0.0, P: 1.0})
