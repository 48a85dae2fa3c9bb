"""The oracle against values and identities that are known without it."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from actium.errors import ParameterError
from actium.symbolic.graph import Formula, const, op, parameter, variable, where
from actium.symbolic.parse import parse
from actium.verify.encodings import finite_encodings
from actium.verify.oracle import Oracle

HALF = finite_encodings(torch.bfloat16).double().numpy()[::97]


def close(got: float, expected: float) -> bool:
    return got == expected or abs(got - expected) <= 2.0**-40 * abs(expected)


@pytest.mark.parametrize(
    ("text", "x", "value", "slope"),
    [
        # From 50-digit tables of e, tanh and erf; far tails where float64 formulas underflow or cancel.
        ("exp(x)", 1.0, math.e, math.e),
        ("silu(x)", -89.0, -1.9823535699982118e-37, -1.9600799343802546e-37),
        ("x * tanh(log(1 + exp(x)))", 0.0, 0.0, 0.6),
        ("log(1 + exp(x))", -60.0, 8.756510762696520e-27, 8.756510762696520e-27),
        ("1 - tanh(x)**2", 20.0, 1.699341702116675e-17, -3.398683404233350e-17),
        ("erfc(x)", 10.0, 2.0884875837625447570e-45, -2 / math.sqrt(math.pi) * math.exp(-100)),
    ],
)
def test_known_values(text: str, x: float, value: float, slope: float) -> None:
    truth = Oracle(parse(text)).evaluate(x)
    assert truth.value == pytest.approx(value, rel=1e-12, abs=0)
    assert truth.slope == pytest.approx(slope, rel=1e-9, abs=0)


@pytest.mark.parametrize("x", [-3.75, -0.3125, 0.5, 7.0, 1e-20, -1e20])
def test_rational_functions_are_correctly_rounded(x: float) -> None:
    f = Fraction(x)
    truth = Oracle(parse("x*x*x / (1 + x*x)")).evaluate(x)
    assert close(truth.value, float(f**3 / (1 + f * f)))
    assert close(truth.slope, float((f**4 + 3 * f * f) / (1 + f * f) ** 2))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("sigmoid(x)", "1 / (1 + exp(-x))"),
        ("sigmoid(x)", "(1 + tanh(x/2)) / 2"),
        ("softplus(x)", "log(1 + exp(x))"),
        ("mish(x)", "x * tanh(log(1 + exp(x)))"),
        ("gelu(x)", "0.5 * x * erfc(-x / sqrt(2))"),
        ("tanh(x)", "1 - 2 / (exp(2*x) + 1)"),
        ("elu(x)", "where(x > 0, x, exp(x) - 1)"),
    ],
)
def test_identities_hold_over_the_whole_range_of_bfloat16(left: str, right: str) -> None:
    a, b = Oracle(parse(left)).table(HALF), Oracle(parse(right)).table(HALF)
    for p, q in ((a.value, b.value), (a.slope, b.slope)):
        known = ~np.isnan(p) & ~np.isnan(q) & (np.abs(p) > 2.0**-199)
        assert known.sum() > len(HALF) / 3
        np.testing.assert_allclose(p[known], q[known], rtol=2.0**-39, atol=0)


def test_slope_agrees_with_a_difference_of_values() -> None:
    oracle = Oracle(parse("x * sigmoid(1.702 * x)"))
    h = 2.0**-10

    def difference(x: float, step: float) -> float:
        return (oracle.evaluate(x + step).value - oracle.evaluate(x - step).value) / (2 * step)

    for x in np.linspace(-20, 20, 81):
        numeric = (4 * difference(x, h / 2) - difference(x, h)) / 3
        assert oracle.evaluate(x).slope == pytest.approx(numeric, rel=1e-11, abs=1e-11)


@pytest.mark.parametrize(
    ("text", "x", "slopes"),
    [
        ("relu(x)", 0.0, (0.0, 1.0)),
        ("abs(x)", 0.0, (-1.0, 1.0)),
        ("clamp(x, -1, 2)", 2.0, (0.0, 1.0)),
        ("where(x > 0, x, 0.25*x)", 0.0, (0.25, 1.0)),
        ("where(x > 0, x, exp(x) - 1)", 0.0, (1.0, 1.0)),
        ("max(x, 3*x - 4)", 2.0, (1.0, 3.0)),
        ("where(x*x > 0, abs(x), 5*x)", 0.0, (-1.0, 1.0)),
        ("x * clamp(x + 3, 0, 6) / 6", -3.0, (-0.5, 0.0)),
    ],
)
def test_one_sided_slopes_at_kinks(text: str, x: float, slopes: tuple[float, float]) -> None:
    truth = Oracle(parse(text)).evaluate(x)
    assert truth.slope_range == pytest.approx(slopes, rel=1e-12)
    if slopes[0] == slopes[1]:
        assert truth.slope == slopes[0]


def test_a_vertical_tangent_has_no_slope() -> None:
    truth = Oracle(parse("sqrt(abs(x))")).evaluate(0.0)
    assert truth.value == 0.0
    assert math.isnan(truth.slope)
    assert all(math.isnan(s) for s in truth.slope_range)


def test_no_kink_beside_the_kink() -> None:
    truth = Oracle(parse("relu(x)")).evaluate(5e-324)
    assert truth.slope_range == (1.0, 1.0)


@pytest.mark.parametrize("x", [-1.0, -3.0e38])
def test_outside_the_domain_is_nan_and_not_undecided(x: float) -> None:
    truth = Oracle(parse("log(x)")).evaluate(x)
    assert math.isnan(truth.value)
    assert not truth.undecided


def test_unselected_branch_does_not_spoil_the_selected_one() -> None:
    x = variable("x")
    truth = Oracle(Formula(where(x > 0.0, op("log", x), const(2.0) * x))).evaluate(-3.0)
    assert (truth.value, truth.slope) == (-6.0, 2.0)


def test_a_zero_that_no_precision_can_prove_is_taken_for_zero() -> None:
    truth = Oracle(parse("sin(x)**2 + cos(x)**2 - 1")).evaluate(1.0)
    assert abs(truth.value) < 2.0**-199
    assert not truth.undecided


def test_large_arguments_get_the_precision_they_need() -> None:
    # sin(2^100): 2^100 mod 2π needs more than 64 bits of π.
    assert Oracle(parse("sin(x)")).evaluate(2.0**100).value == pytest.approx(-0.8721836054182673, rel=1e-12)


def test_beyond_double_is_infinite() -> None:
    assert Oracle(parse("exp(x)")).evaluate(1e30).value == math.inf
    assert Oracle(parse("exp(x)")).evaluate(-1e30).value == 0.0


@pytest.mark.parametrize(
    ("text", "below", "above"),
    [
        ("silu(x)", (0.0, 0.0), (math.inf, 1.0)),
        ("sigmoid(x)", (0.0, 0.0), (1.0, 0.0)),
        ("softsign(x)", (-1.0, 0.0), (1.0, 0.0)),
        ("log(1 + abs(x))", (math.inf, 0.0), (math.inf, 0.0)),
        ("sin(x)", (None, None), (None, None)),
        ("-3*x", (math.inf, -3.0), (-math.inf, -3.0)),
    ],
)
def test_limits(text: str, below: tuple[float | None, ...], above: tuple[float | None, ...]) -> None:
    oracle = Oracle(parse(text))
    assert oracle.limit(-1) == below
    assert oracle.limit(1) == above


def test_slope_with_respect_to_a_parameter() -> None:
    x, a = variable("x"), parameter("a")
    formula = Formula(a * op("tanh", x / a), ("x",), ("a",))
    u = 3.0 / 2.0
    expected = math.tanh(u) - u / math.cosh(u) ** 2
    assert Oracle(formula, {"a": 2.0}, wrt="a").evaluate(3.0).slope == pytest.approx(expected, rel=1e-13)


def test_missing_parameter_is_named() -> None:
    with pytest.raises(ParameterError, match="a"):
        Oracle(Formula(parameter("a") * variable("x"), ("x",), ("a",)))


def test_table_equals_single_evaluations_in_any_order() -> None:
    oracle = Oracle(parse("x * tanh(log(1 + exp(x)))"))
    table = oracle.table(HALF)
    shuffled = np.random.default_rng(0).permutation(HALF)[:50]
    for x in shuffled:
        row = int(np.searchsorted(HALF, x))
        truth = oracle.evaluate(x)
        assert abs(truth.value) < 2.0**-199 or close(truth.value, table.value[row])
        assert abs(truth.slope) < 2.0**-199 or close(truth.slope, table.slope[row])


def test_precision_of_flint_is_left_as_it_was() -> None:
    import flint

    before = flint.ctx.prec
    Oracle(parse("sin(x)")).evaluate(2.0**100)
    Oracle(parse("sin(x)")).limit(1)
    assert flint.ctx.prec == before
