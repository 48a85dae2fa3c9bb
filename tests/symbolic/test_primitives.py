"""Every row of the table: its columns agree with each other, and each slope with the slope of the value alone."""

from __future__ import annotations

import math
import string

import pytest
import torch
from flint import arb, ctx
from identities import agree

import actium
from actium.symbolic import limits
from actium.symbolic.balls import evaluate
from actium.symbolic.derivative import differentiate
from actium.symbolic.graph import COMPARISONS, LOGICAL, Node, const, op, parameter, where
from actium.symbolic.primitives import PRIMITIVES

A, B, C = OPERANDS = tuple(parameter(n) for n in "abc")
ANY = [-30.5, -3.25, -1.5, -0.625, -0.3, 0.1, 0.75, 1.25, 2.0, 8.5, 40.0, 1e-20, -1e-20]
ABOVE_0 = [1e-30, 0.01, 0.5, 1.0, 3.75, 1e20]
DOMAIN = {
    **dict.fromkeys(("sqrt", "rsqrt", "log", "log2"), ABOVE_0),
    "log1p": [-0.99, -0.5, -1e-20, 1e-20, 0.3, 7.0, 1e20],
    "floor": [-2.5, -0.25, 0.5, 3.75],  # between the steps
    "sinh": [-20.5, -1.0, 0.25, 3.0],
}
TRUTH = COMPARISONS | LOGICAL
REAL = [r for r in PRIMITIVES.values() if r.arity and not r.internal and r.name != "where" and r.name not in TRUTH]
WITH_BALL = [r for r in REAL if r.ball is not None]


def points(row) -> list[tuple[float, ...]]:
    if row.name == "pow":
        return [(a, b) for a in ABOVE_0[1:5] for b in (-2.5, 0.5, 3.0)]
    first = DOMAIN.get(row.name, ANY)
    if row.arity == 1:
        return [(a,) for a in first]
    if row.arity == 2:
        return [(a, b) for a in first for b in (-1.5, 0.75, 2.0)]
    return [(a, b, c) for a in first for b, c in ((-1.0, 2.25), (0.5, 20.0))]  # not at kinks


def at(node: Node, values, precision: int = 2000) -> arb:
    return evaluate(node, dict(zip(OPERANDS, values, strict=False)), precision)


@pytest.mark.parametrize("row", REAL, ids=lambda r: r.name)
def test_derivative_equals_the_slope_of_the_value(row):
    node = Node(row.name, OPERANDS[: row.arity])
    for k in range(row.arity):
        slope = differentiate(node, OPERANDS[k])
        for values in points(row):
            before, ctx.prec = ctx.prec, 3000
            try:
                h = arb(2) ** -600
                up, down = ([v + s * h * (i == k) for i, v in enumerate(map(arb, values))] for s in (1, -1))
                measured = (at(node, up, 3000) - at(node, down, 3000)) / (2 * h)
            finally:
                ctx.prec = before
            assert agree(at(slope, values), measured, 200), (k, values)


@pytest.mark.parametrize("row", WITH_BALL, ids=lambda r: r.name)
def test_ball_slopes_equal_the_derivative_graphs(row):
    node = Node(row.name, OPERANDS[: row.arity])
    for values in points(row):
        before, ctx.prec = ctx.prec, 1500
        try:
            operands = [arb(v) for v in values]
            slopes = row.slopes(*operands, row.ball(*operands))
        finally:
            ctx.prec = before
        assert len(slopes) == row.arity
        for operand, slope in zip(OPERANDS, slopes, strict=False):
            assert agree(arb(slope), at(differentiate(node, operand), values), 200), values


@pytest.mark.parametrize("row", [r for r in WITH_BALL if r.expand or r.soft], ids=lambda r: r.name)
def test_expansions_are_identities(row):
    for form in (row.expand, row.soft):
        if form is None:
            continue
        for values in points(row):
            got, exact = at(form(*OPERANDS[: row.arity]), values), at(Node(row.name, OPERANDS[: row.arity]), values)
            # Constants of series are doubles.
            assert agree(got, exact, 30 if row.name == "tanhshrink" else 200), values


# The Mills ratio in the decays of Φ and erfc has no ball form; tests/kernels/test_math_h.py judges its C form.
@pytest.mark.parametrize("row", [r for r in REAL if r.decay and r.name not in ("ndtr", "erfc")], ids=lambda r: r.name)
def test_decay_factors_multiply_to_the_whole(row):
    operands = [op("exp", A)] if row.name == "tanh" else [A, B][: row.arity]
    decay = row.decay(*operands)
    whole = decay.whole if decay.cofactor is None else decay.whole * decay.cofactor
    for values in points(row):
        if row.arity == 1 or values[1] < 0:
            assert agree(at(whole, values), at(Node(row.name, tuple(operands)), values), 200), values


@pytest.mark.parametrize("row", PRIMITIVES.values(), ids=lambda r: r.name)
def test_templates_use_exactly_the_operands(row):
    for template in (row.torch, row.c, None if row.internal else row.latex):
        if template is not None:
            fields = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
            assert fields == {str(k) for k in range(row.arity)}


@pytest.mark.parametrize("row", PRIMITIVES.values(), ids=lambda r: r.name)
def test_a_row_says_how_it_is_computed(row):
    assert row.c is not None or row.expand is not None or row.decay is not None or row.internal
    assert row.torch is not None or row.expand is not None or row.decay is not None or row.internal
    if row in REAL:
        assert row.derivative is not None
        assert row.ball is not None or row.expand is not None
        assert (row.ball is None) == (row.slopes is None)


def test_limits_know_every_operator_that_a_lowered_graph_can_hold():
    machine = {r.name for r in PRIMITIVES.values() if r.torch is not None or r.c is not None}
    assert machine <= set(limits._IEEE)


@pytest.mark.parametrize(
    ("name", "at_kink", "wrt", "expected"),
    [
        ("abs", (0.0,), 0, 0.0),
        ("sign", (0.0,), 0, 0.0),
        ("max", (2.0, 2.0), 0, 0.5),
        ("max", (2.0, 2.0), 1, 0.5),
        ("min", (2.0, 2.0), 0, 0.5),
        ("min", (2.0, 2.0), 1, 0.5),
        ("clamp", (-1.0, -1.0, 1.0), 0, 1.0),
        ("clamp", (1.0, -1.0, 1.0), 0, 1.0),
        ("clamp", (1.5, -1.0, 1.0), 2, 1.0),
        ("clamp", (-1.5, -1.0, 1.0), 1, 1.0),
        ("clamp", (0.0, 2.0, 1.0), 0, 0.0),  # bounds in the wrong order: the upper one wins
        ("clamp", (0.0, 2.0, 1.0), 1, 0.0),
        ("clamp", (0.0, 2.0, 1.0), 2, 1.0),
        ("clamp", (3.0, 2.0, 1.0), 2, 1.0),
    ],
)
def test_slopes_at_kinks_are_pytorchs(name, at_kink, wrt, expected):
    node = Node(name, OPERANDS[: len(at_kink)])
    assert float(at(differentiate(node, OPERANDS[wrt]), at_kink).mid()) == expected


def test_power_of_zero_has_no_nan_slope_in_the_exponent():
    assert float(at(differentiate(op("pow", A, B), B), (0.0, 2.5)).mid()) == 0.0
    assert math.isfinite(float(at(differentiate(op("pow", A, B), A), (0.0, 2.5)).mid()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (2.0, 1.0), (1.0, -1.0), (0.5, 3.0)])
def test_clamp_is_pytorchs_whatever_the_order_of_the_bounds(low, high, dtype):
    clamp = actium.activation(lambda x, lo=actium.learnable(0.0), hi=actium.learnable(1.0): torch.clamp(x, lo, hi))

    def made(f):
        x, lo, hi = (
            torch.tensor(v, dtype=dtype, requires_grad=True) for v in ([-3.0, -1.0, 0.0, 1.5, 2.0, 9.0], [low], [high])
        )
        y = f(x, lo, hi)
        return y, *torch.autograd.grad(y.sum(), (x, lo, hi))

    for got, wanted in zip(made(clamp), made(torch.clamp), strict=True):
        assert got.tolist() == wanted.tolist()


def test_clamp_between_numbers_in_the_wrong_order_is_the_upper_one():
    assert actium.formula("clamp(x, 2, 1)")(torch.tensor([0.0, 1.5, 3.0])).tolist() == [1.0, 1.0, 1.0]


def test_clamp_between_numbers_in_order_asks_nothing_of_them():
    low, high = const(-1.0), const(6.0)
    assert PRIMITIVES["clamp"].expand(A, low, high) is where(A > high, high, where(A < low, low, A))
    assert differentiate(op("clamp", A, low, high), A) is where(A > high, const(0.0), where(A < low, 0.0, 1.0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("text", ["2 * sign(x) + 1", "abs(x)"])
def test_nan_comes_out_of_sign_as_value_and_as_slope(text, dtype):
    x = torch.tensor([math.nan, -2.0, 3.0], dtype=dtype, requires_grad=True)
    y = actium.formula(text)(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert y.isnan().tolist() == slope.isnan().tolist() == [True, False, False]


def test_sign_keeps_the_values_and_slopes_of_torch():
    sign = actium.formula("sign(x)")
    x = torch.tensor([-math.inf, -2.0, -0.0, 0.0, 1e-45, math.inf])
    for y in (sign(x), sign(x.double()), torch.vmap(sign)(x)):
        assert y.tolist() == torch.sign(x).tolist()
    assert torch.func.grad(lambda x: sign(x).sum())(x).tolist() == [0.0] * 6
