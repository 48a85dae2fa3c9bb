"""Straight-line code gives what the loop over steps gives, bit for bit, or leaves the point to it."""

import flint
import numpy as np
import pytest

from actium.catalogue import ENTRIES
from actium.symbolic.parse import parse
from actium.verify.oracle import LEVELS, Oracle, Table

POINTS = np.sort(np.concatenate([np.random.default_rng(5).normal(size=60) * 5, [0.0, 1.0, -3.0, 3.0, -88.0, 300.0]]))
TEXTS = [
    "x",
    "abs(x) + sign(x)",
    "where(x > 1 and x < 2 or not (x <= 3), x * x, max(x, -x))",
    "where(x > 0, 2, x) * exp(where(x < 1, 3, x))",
    "log(x) + sqrt(x)",
    "1 / x",
    "clamp(x, -1, 1) ** 3",
]


def oracles():
    yield from (pytest.param(Oracle(parse(text), {}), id=text) for text in TEXTS)
    for name, entry in ENTRIES.items():
        yield pytest.param(Oracle(entry.as_written(), entry.defaults), id=name)


@pytest.mark.parametrize("oracle", list(oracles()))
def test_it_is_the_loop_over_steps(oracle: Oracle):
    found = 0
    for point in POINTS.tolist():
        for precision in LEVELS[:2]:
            value, slope, state = oracle._pass(flint.arb(point), precision)
            got = oracle._run(flint.arb(point), oracle._constants(precision))
            assert (got is None) == state.tie
            if got is not None:
                found += 1
                assert [_text(ball) for ball in got] == [_text(value), _text(slope)]
    assert found > len(POINTS)


def _text(ball) -> str:
    """All digits of middle and radius; None stands for a slope that is exactly 0."""
    if not isinstance(ball, flint.arb):
        return str(float(ball or 0.0))
    return str([m.man_exp() if m.is_finite() else str(m) for m in (ball.mid(), ball.rad())])


def test_tables_are_those_of_single_points():
    oracle = Oracle(parse("where(x > 1, x * tanh(x), exp(x) - 1)"), {})
    table: Table = oracle.table(POINTS)
    for row, point in enumerate(POINTS.tolist()):
        truth = oracle.evaluate(point)
        assert (table.value[row], table.slope[row]) == (truth.value, truth.slope)
        assert (table.slope_low[row], table.slope_high[row]) == truth.slope_range


def test_a_slope_with_respect_to_a_parameter():
    formula = parse("where(x > 0, a * x, a)", parameters=("a",))
    oracle = Oracle(formula, {"a": 2.0}, wrt="a")
    assert oracle.table([3.0, -3.0]).slope.tolist() == [3.0, 1.0]
