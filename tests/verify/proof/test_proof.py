"""Proofs against values that are known without them, and against the truth at many points."""

from __future__ import annotations

import math

import numpy as np
import pytest

from actium.catalogue import ENTRIES
from actium.errors import ParameterError
from actium.symbolic.graph import Formula, parameter, variable
from actium.symbolic.parse import parse
from actium.verify.oracle import Oracle
from actium.verify.proof import Enclosure, Proof, prove

INF = math.inf


def proof(text: str) -> Proof:
    return prove(parse(text))


def contains(enclosure: Enclosure, value: float) -> bool:
    return enclosure.low <= value <= enclosure.high or math.isclose(enclosure.middle, value, rel_tol=4e-16)


def root(slope, low: float, high: float) -> float:
    """Where a function changes its sign, by bisection in double precision."""
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if (slope(middle) > 0) == (slope(low) > 0) else (low, middle)
    return low


def normal(x: float) -> tuple[float, float]:
    return math.erfc(-x / math.sqrt(2)) / 2, math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def mish_slope(x: float) -> float:
    t = math.tanh(math.log1p(math.exp(x)))
    return t + x * (1 - t * t) * sigmoid(x)


def tanh_exp_slope(x: float) -> float:
    t = math.tanh(math.exp(x))
    return t + x * math.exp(x) * (1 - t * t)


MINIMA = [
    # Text, slope written out, f, largest slope if there is a formula for it.
    ("silu(x)", lambda x: 1 + x * sigmoid(-x), lambda x: x * sigmoid(x), 1.0998393201288669),
    ("mish(x)", mish_slope, lambda x: x * math.tanh(math.log1p(math.exp(x))), None),
    ("x*tanh(log(1 + exp(x)))", mish_slope, lambda x: x * math.tanh(math.log1p(math.exp(x))), None),
    ("x*tanh(exp(x))", tanh_exp_slope, lambda x: x * math.tanh(math.exp(x)), None),
    ("gelu(x)", lambda x: normal(x)[0] + x * normal(x)[1], lambda x: x * normal(x)[0],
     normal(2**0.5)[0] + 2**0.5 * normal(2**0.5)[1]),
    ("0.5*x*(1 + erf(x/sqrt(2)))", lambda x: normal(x)[0] + x * normal(x)[1], lambda x: x * normal(x)[0],
     normal(2**0.5)[0] + 2**0.5 * normal(2**0.5)[1]),
    ("hardswish(x)", lambda x: 2 * x + 3, lambda x: x * (x + 3) / 6, 1.5),
]  # fmt: skip


@pytest.mark.parametrize(("text", "slope", "value", "steepest"), MINIMA, ids=[m[0] for m in MINIMA])
def test_minima_and_steepest_slopes(text: str, slope, value, steepest: float | None) -> None:
    found = proof(text)
    at = root(slope, -2.9, -0.1)
    assert found.low.attained
    assert found.low.value.is_tight
    assert found.low.value.middle == pytest.approx(value(at), rel=1e-14)
    (place,) = found.low.at
    assert place.is_tight
    assert place.middle == pytest.approx(at, rel=1e-13)
    assert found.high.value == Enclosure(INF, INF)
    assert [r.trend for r in found.runs if r.trend != "constant"] == ["decreasing", "increasing"]
    assert found.lipschitz.is_tight
    assert steepest is None or found.lipschitz.middle == pytest.approx(steepest, rel=1e-14)


def test_the_minimum_of_silu_is_that_of_lamberts_function() -> None:
    low = proof("silu(x)").low
    w = 0.2784645427610738  # W(1/e)
    assert low.value.low <= -w <= low.value.high
    assert low.at[0].low <= -1 - w <= low.at[0].high


@pytest.mark.parametrize(
    ("text", "low", "high", "attained", "monotone", "lipschitz"),
    [
        ("relu(x)", 0.0, INF, (True, False), "increasing", 1.0),
        ("relu6(x)", 0.0, 6.0, (True, True), "increasing", 1.0),
        ("tanh(x)", -1.0, 1.0, (False, False), "increasing", 1.0),
        ("sigmoid(x)", 0.0, 1.0, (False, False), "increasing", 0.25),
        ("erf(x)", -1.0, 1.0, (False, False), "increasing", 2 / math.sqrt(math.pi)),
        ("atan(x)", -math.pi / 2, math.pi / 2, (False, False), "increasing", 1.0),
        ("softplus(x)", 0.0, INF, (False, False), "increasing", 1.0),
        ("elu(x)", -1.0, INF, (False, False), "increasing", 1.0),
        ("softsign(x)", -1.0, 1.0, (False, False), "increasing", 1.0),
        ("x/sqrt(1 + x*x)", -1.0, 1.0, (False, False), "increasing", 1.0),
        ("sigmoid(-abs(x))", 0.0, 0.5, (False, True), "no", 0.25),
        ("exp(-x*x)", 0.0, 1.0, (False, True), "no", math.sqrt(2 / math.e)),
        ("-x", -INF, INF, (False, False), "decreasing", 1.0),
        ("3 + x - x", 3.0, 3.0, (True, True), "constant", 0.0),
        ("softplus(x) - softplus(-x)", -INF, INF, (False, False), "increasing", 1.0),
        ("where(x > 0.1, x, 20)", 0.1, INF, (False, False), "no", INF),
        ("log(1 + abs(x))", 0.0, INF, (True, False), "no", 1.0),
        ("x - tanh(x)", -INF, INF, (False, False), "increasing", 1.0),
        ("x*x*x", -INF, INF, (False, False), "increasing", INF),
        ("tanh(x)*sigmoid(x)", None, 1.0, (True, False), "no", None),
    ],
)
def test_ranges_directions_and_lipschitz_constants(text, low, high, attained, monotone, lipschitz) -> None:
    found = proof(text)
    for bound, value in ((found.low, low), (found.high, high)):
        assert value is None or contains(bound.value, value)
        assert bound.value.is_tight
    assert (found.low.attained, found.high.attained) == attained
    assert found.monotone == monotone
    assert lipschitz is None or contains(found.lipschitz, lipschitz)
    assert found.window is None
    assert found.unproven == ()


@pytest.mark.parametrize(
    ("text", "corners"),
    [
        ("relu(x)", [(0.0, "kink", (0.0, 1.0))]),
        ("elu(x)", [(0.0, "smooth", (1.0, 1.0))]),
        ("where(x > 0, x, 0.5*expm1(x))", [(0.0, "kink", (0.5, 1.0))]),
        ("hardshrink(x)", [(-0.5, "jump", (1.0, 0.0)), (0.5, "jump", (0.0, 1.0))]),
        ("max(x, 3*x - 4)", [(2.0, "kink", (1.0, 3.0))]),
        ("where(x > 0, x, x)", []),
        ("where(x > inf, 0, x)", []),
        ("sign(x*x)", [(0.0, "jump", (0.0, 0.0))]),
        ("abs(x)*x", [(0.0, "smooth", (0.0, 0.0))]),
    ],
)
def test_corners(text: str, corners: list) -> None:
    found = [(c.at.middle, c.kind, tuple(s.middle for s in c.slopes)) for c in proof(text).corners]
    assert found == corners


def test_a_corner_at_an_irrational_place_is_enclosed() -> None:
    left, right = proof("where(x*x > 2, x, 1)").corners
    assert right.at.low < math.sqrt(2) < right.at.high or right.at.is_tight
    assert (left.kind, right.kind) == ("jump", "jump")
    assert right.at.middle == pytest.approx(math.sqrt(2), rel=4e-16)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("tanh(x)", "odd"),
        ("hardtanh(x)", "odd"),
        ("2*sigmoid(x) - 1", "odd"),
        ("x*(ndtr(x) - 0.5)", "even"),
        ("(softplus(4*(x + 1)) - softplus(4*(x - 1)))/4 - 1", "odd"),
        ("log(1 + abs(x))*sign(x)", "odd"),
        ("x - x", "both"),
        ("silu(x)", "none"),
        ("log(x)", "none"),
        ("where(x*x > 0, x, 5)", "none"),
        ("x + 1e-9", "none"),
    ],
)
def test_parity(text: str, kind: str) -> None:
    found = proof(text).parity
    assert (found.kind, found.proven) == (kind, True)


def test_parity_that_the_structure_does_not_show_is_bounded_and_not_called_proven() -> None:
    found = proof("log(1 + exp(x)) - log(2)- x/2 - log(exp(x/2)/2 + exp(-x/2)/2) + tanh(x)").parity
    assert (found.kind, found.proven) == ("odd", False)
    assert "2^-" in found.how
    assert set(found.refuted) == {"even"}


@pytest.mark.parametrize(
    ("text", "below", "above"),
    [
        ("silu(x)", (0.0, 0.0), (INF, 1.0)),
        ("softsign(x)", (-1.0, 0.0), (1.0, 0.0)),
        ("x*x", (INF, -INF), (INF, INF)),
        ("tanh(x) + x", (-INF, 1.0), (INF, 1.0)),
        ("sqrt(1 + x*x) - x", (INF, -2.0), (0.0, 0.0)),
        ("log(x)", (None, None), (INF, 0.0)),
    ],
)
def test_limits(text: str, below, above) -> None:
    limits = proof(text).limits
    for side, expected in (("-inf", below), ("inf", above)):
        assert tuple(None if v is None else v.middle for v in limits[side]) == expected


def test_a_function_without_end_is_looked_at_in_a_window() -> None:
    found = proof("x + sin(x)**2")
    assert found.window == (-16.0, 16.0)
    assert found.lipschitz.middle == 2.0
    assert found.thresholds == ()
    assert any("window" in sentence for sentence in found.unproven)
    steps = proof("floor(x)")
    assert len(steps.corners) == 31
    assert (steps.low.value, steps.high.value) == (Enclosure(-16.0, -16.0), Enclosure(15.0, 15.0))
    assert proof("x - floor(x)").high.attained is False
    assert proof("floor(100*x)").low.value == Enclosure(-INF, INF)


def test_what_has_no_value_is_said_and_not_judged() -> None:
    found = proof("log(x)")
    assert found.runs[0].trend == "undefined"
    assert found.monotone is None
    assert any("no value was found" in sentence for sentence in found.unproven)


def test_work_that_is_spent_leaves_statements_unproven_and_not_wrong() -> None:
    text = "gelu(x, 'tanh')"
    short, whole = prove(parse(text), work=3_000), prove(parse(text))
    assert any("work" in sentence for sentence in short.unproven)
    assert short.low.value.low <= whole.low.value.low
    assert short.lipschitz.high >= whole.lipschitz.high
    assert whole.unproven == ()


def test_parameters_are_needed_and_used() -> None:
    x, a = variable("x"), parameter("a")
    with pytest.raises(ParameterError, match="a"):
        prove(Formula(a * x, ("x",), ("a",)))
    assert prove(Formula(a * x, ("x",), ("a",)), {"a": 2.5}).lipschitz.middle == 2.5
    with pytest.raises(ParameterError, match="one input"):
        prove(Formula(x * variable("y"), ("x", "y")))


def test_precision_of_flint_is_left_as_it_was() -> None:
    import flint

    before = flint.ctx.prec
    prove(parse("tanh(x) + 0.123*x"))
    assert flint.ctx.prec == before


# --- The catalogue ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(ENTRIES))
def test_what_the_catalogue_declares_is_proven(name: str) -> None:
    entry = ENTRIES[name]
    found = prove(entry.as_written(), entry.defaults)
    declared = entry.interval()
    assert found.window is None
    assert found.unproven == ()
    for bound, end, has in (
        (found.low, declared.low, declared.has_low),
        (found.high, declared.high, declared.has_high),
    ):
        assert contains(bound.value, end) or bound.value.middle == pytest.approx(end, rel=4e-16)
        assert bound.attained == has
    assert (found.monotone == "increasing") == entry.monotone
    assert found.parity.proven
    if name != "soft_exponential":  # odd at its default only, where it is the identity
        assert found.parity.kind == (entry.parity or "none")
    places = [k.at.middle for k in found.kinks]
    # Kinks are declared for every value of the parameters: ELU has none at its default.
    assert set(places) <= {at for at, _ in entry.kink_points()}
    for kink in found.kinks:
        gradient = next(g for at, g in entry.kink_points() if at == kink.at.middle)
        assert min(s.low for s in kink.slopes) <= gradient <= max(s.high for s in kink.slopes)


@pytest.mark.parametrize("name", list(ENTRIES))
def test_the_truth_at_many_points_keeps_to_the_proof(name: str) -> None:
    entry = ENTRIES[name]
    found = prove(entry.as_written(), entry.defaults)
    x = np.unique(np.concatenate([np.linspace(-12, 12, 97), np.ldexp(1.3, np.arange(-20, 40, 5)) * -1.0]))
    table = Oracle(entry.as_written(), entry.defaults).table(x)
    slack = 2.0**-39 * np.maximum(np.abs(table.value), 1.0)
    assert (table.value >= found.low.value.low - slack).all()
    assert (table.value <= found.high.value.high + slack).all()
    assert (np.abs(table.slope) <= found.lipschitz.high * (1 + 2.0**-39)).all()
    for run in found.runs:
        steps = np.diff(table.value[(x > run.low.high) & (x < run.high.low)])
        assert {"increasing": (steps >= 0).all(), "decreasing": (steps <= 0).all()}.get(run.trend, (steps == 0).all())
