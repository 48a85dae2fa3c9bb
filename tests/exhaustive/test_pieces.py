"""The reference is within its proven bound of the formula, covers every input, and decides what it claims to."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from actium.catalogue import ENTRIES
from actium.exhaustive.jet import Series, Straddle
from actium.exhaustive.pieces import GOAL, Cutter, number
from actium.exhaustive.screen import Screen
from actium.symbolic.parse import parse
from actium.verify.oracle import Oracle

flint = pytest.importorskip("flint")

# Exponents where something happens, on both sides: subnormals, 2^-40, around 1, the tails, 2^100, the largest.
UNITS = [0, 87, 126, 127, 129, 132, 227, 254]
UNITS += [256 + u for u in UNITS]
FORMULAS = {
    "naive tanh": "(exp(x) - exp(-x)) / (exp(x) + exp(-x))",
    "naive softplus": "log(1 + exp(x))",
    "logarithm": "log(x) * x",
    "clipped": "min(max(x, -0.1), 0.3)",
    "roots": "(x - 1) * (x - 1) * (x + 2)",
    "power": "abs(x) ** 1.5",
    "overflow": "exp(x) + exp(2 * x)",
    "asinh": "asinh(x) + atan(x)",
}
SUBJECTS = {name: (e.as_written(), e.defaults) for name, e in ENTRIES.items()}
SUBJECTS |= {name: (parse(text), {}) for name, text in FORMULAS.items()}


def some_inputs(unit, count, seed):
    """Encodings: random ones, and both ends of pieces, where remainders are largest."""
    rng = np.random.default_rng(seed)
    pieces = [p for p in unit.pieces if p.last > p.first] or unit.pieces
    chosen = [pieces[i] for i in rng.integers(len(pieces), size=count)]
    places = [(p.first, p.last, int(rng.integers(p.first, p.last + 1)))[int(rng.integers(3))] for p in chosen]
    return np.array(places, dtype=np.uint32), chosen


@pytest.fixture(scope="module", params=SUBJECTS)
def covered(request):
    """A formula and its exponents, cut."""
    formula, parameters = SUBJECTS[request.param]
    cutter = Cutter(formula, parameters)
    return Oracle(formula, parameters), {index: cutter.unit(index) for index in UNITS}


def test_bound_holds_at_random_inputs(covered):
    oracle, units = covered
    for index, unit in units.items():
        if not unit.pieces:
            continue
        encodings, pieces = some_inputs(unit, 12, seed=index)
        value, slope, _ = Screen(unit.pieces).reference(encodings)
        for k, (encoding, piece) in enumerate(zip(encodings, pieces, strict=True)):
            x = number(int(encoding))
            truth = oracle.evaluate(x)
            both = ((value[k], truth.value, 0), (slope[k], truth.slope, 1))
            for got, exact, error in both if piece.slope_known else both[:1]:
                if math.isnan(exact) or abs(exact) > 2.0**129:
                    assert math.isnan(exact) or abs(got) > 2.0**129
                    continue
                allowed = piece.errors[error] + 2.0**-39 * abs(exact) + 2.0**-199  # what balls tell apart
                assert abs(got - exact) <= allowed, f"at {x!r}: {got!r}, exact {exact!r}"


def test_every_encoding_is_accounted_for_once(covered):
    for index, unit in covered[1].items():
        runs = [(p.first, p.last) for p in unit.pieces] + [(s, s) for s in unit.singles]
        runs = sorted(runs + unit.undecided + unit.outside)
        assert runs[0][0] == index << 23
        assert runs[-1][1] == ((index + 1) << 23) - 1
        assert all(a[1] + 1 == b[0] for a, b in itertools.pairwise(runs))
        assert all(p.bound <= GOAL and p.ruler_error <= 4 * GOAL for p in unit.pieces)
        assert not unit.undecided


def test_a_kink_between_two_floats_leaves_both_to_balls():
    singles = [
        number(s)
        for i in range(512)
        if i & 255 != 255
        for s in Cutter(parse("where(x > 0.1, 2*x, x)"), {}).unit(i).kinks
    ]
    near = sorted(s for s in singles if s)
    assert len(near) == 2
    assert near[0] < 0.1 < near[1]
    assert np.nextafter(np.float32(near[0]), np.float32(1)) == np.float32(near[1])


def test_where_there_is_no_value_nothing_is_compared():
    unit = Cutter(parse("log(x)"), {}).unit(256 + 127)
    assert unit.outside == [((256 + 127) << 23, ((256 + 128) << 23) - 1)]
    assert not unit.pieces


def test_what_overflows_and_what_vanishes_needs_no_polynomial():
    cutter = Cutter(parse("exp(x)"), {})
    above, (below,) = (cutter.unit(i).pieces for i in (127 + 8, 256 + 127 + 8))
    assert all(p.value[0] > 2.0**129 and len(p.value) == 1 for p in above)
    assert below.value == (0.0,)
    assert Oracle(parse("exp(x)")).evaluate(number(below.first)).value < 2.0**-165


@pytest.mark.parametrize("x", [-3.0, -0.7, 0.3, 2.5, 40.0])
@pytest.mark.parametrize("radius", [0.0, 0.01, 0.2])
@pytest.mark.parametrize(
    "text",
    ["tanh(x)", "x*sigmoid(x)", "softsign(x)", "erf(x)*x", "x/sqrt(1+x**2)", "asinh(x)", "exp(-x**2)", "sinh(x)"],
)
def test_series_over_an_interval_contains_those_of_its_points(text, x, radius):
    wide, exact = Series(parse(text), {}, wide=True), Series(parse(text), {})
    try:
        outer = wide.at(flint.arb(x, radius), 96, 8)
    except Straddle:
        pytest.skip("has to be cut")
    for offset in (-1.0, -0.3, 0.0, 0.9):
        inner = exact.at(flint.arb(x + offset * radius), 300, 8)
        for k in range(8):
            assert not outer[k].is_finite() or outer[k].overlaps(inner[k])
