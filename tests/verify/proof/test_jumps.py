"""Functions that jump, or may, at points that no double is; and formulas that once had no proof at all."""

from __future__ import annotations

import math

import pytest

from actium import formula
from actium.symbolic.parse import parse
from actium.verify.checks.holds import Verdict, holds
from actium.verify.claims import Claim
from actium.verify.proof import Proof, prove

INF = math.inf
CBRT2 = 2 ** (1 / 3)


def proof(text: str) -> Proof:
    return prove(parse(text))


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("sign(x*x*x - 2)", [CBRT2]),
        ("sign(tanh(x) + 0.5)", [-math.atanh(0.5)]),
        ("floor(3*sigmoid(x))", [-math.log(2), math.log(2)]),
        ("where(x*x < 2, x, where(x*x >= 2, 3, 0))", [-math.sqrt(2), math.sqrt(2)]),
        ("where(x*x < 2, x, where(4 <= 2*x*x, 3, 0))", [-math.sqrt(2), math.sqrt(2)]),
        ("where(x*x*x == 2, 1, 0)", [CBRT2]),
        ("where(x*x*x < 2, 0, where(x*x*x > 2, 0, 7))", [CBRT2]),
        ("x*sign(x*x*x - 2)", [CBRT2]),
    ],
)
def test_a_jump_at_an_irrational_point_is_certain(text: str, places: list[float]) -> None:
    found = proof(text)
    assert [c.kind for c in found.corners] == ["jump"] * len(places)
    assert [c.at.middle for c in found.corners] == pytest.approx(places, rel=1e-15)
    assert found.lipschitz == (INF, INF)
    assert not any("jumps" in sentence for sentence in found.unproven)


def test_the_value_at_the_point_itself_is_among_the_values() -> None:
    assert proof("where(x*x*x < 2, 0, where(x*x*x > 2, 0, 7))").high.value == (7.0, 7.0)


def test_between_two_tests_of_one_expression_there_is_no_piece() -> None:
    found = proof("sign(x*x*x - 2)")
    assert (found.slope_low.value, found.slope_high.value) == ((0.0, 0.0), (0.0, 0.0))
    assert found.monotone == "increasing"


@pytest.mark.parametrize(
    "text",
    [
        "where((x - 1)*(x - 1.000000000001) < 0, 10, 0)",
        "where(x*x < 2, x*x, where(sqrt(x*x) < sqrt(2), 3, 2))",
        "where(1/x > 0, 1, 1)*where(1/x > 0, 1, 2)",
        "where(log(x) < log(2)/3, 0, where(x*x*x < 2, 5, 0))",
    ],
)
def test_a_function_that_may_jump_has_no_proven_constant(text: str) -> None:
    found = proof(text)
    assert found.lipschitz.low < found.lipschitz.high == INF
    assert any("whether it jumps" in sentence for sentence in found.unproven)


@pytest.mark.parametrize(
    ("text", "constant"),
    [
        ("where(x*x < 2, x*x, 2)", 2 * math.sqrt(2)),
        ("min(x*x, 2)", 2 * math.sqrt(2)),
        ("relu(x*x - 2) - x*x", 2 * math.sqrt(2)),
        ("clamp(x*x*x, -2, 2)", 3 * CBRT2**2),
        ("min(abs(x*x*x - 2), 2)", 3 * 4 ** (2 / 3)),
        ("abs(tanh(x) + 0.5)", 1.0),
        ("relu(x*x - 3)*relu(3 - x*x)", 0.0),
        ("tanh(x)*sign(x)*where(x*x*x < 2, 1, 1)", 1.0),
        ("max(sin(x), cos(x))", 1.0),
        ("where(x*x < 2, x*x, where(sqrt(x*x) < sqrt(2), 2, 2))", 2 * math.sqrt(2)),
        # Conditions that touch 0, or nearly, are not decided there, but both branches agree where one follows another.
        ("abs(1 - cos(x))", 1.0),
        ("relu(tanh((x - 1)*(x - 1.000000000001))) + x", None),
    ],
)
def test_a_continuous_function_keeps_its_constant(text: str, constant: float | None) -> None:
    found = proof(text)
    assert math.isfinite(found.lipschitz.high)
    assert constant is None or found.lipschitz.middle == pytest.approx(constant, rel=1e-15)
    assert not any("jumps" in sentence for sentence in found.unproven)


def test_a_slope_of_an_order_of_conditions_that_may_not_occur_only_widens_the_bound() -> None:
    # Both conditions change at √2; the double in the second one is a little less than that of the first.
    found = proof("where(tanh(x*x - 2) < 0, 0, where(x*x > 2, 0, 7*x*x - 14))")
    assert found.lipschitz.low == 0.0
    assert found.lipschitz.high >= 14 * math.sqrt(2)


def test_conditions_of_one_form_but_not_of_one_domain_are_two() -> None:
    found = proof("where(x < 0, where(log(x) - log(x) + x < 0, 1, 2), 3)")
    assert found.low.value.low <= 1.0
    assert found.low.value.high >= 2.0 or found.low.attained is None


def test_a_claim_of_a_constant_is_not_proven_of_a_function_that_jumps() -> None:
    claim = Claim("lipschitz", 1.0)
    assert holds(proof("where(x*x < 2, x, where(x*x >= 2, 3, 0))"), claim) == Verdict("refuted", "f jumps")
    assert holds(proof("where((x - 1)*(x - 1.000000000001) < 0, 10, 0)"), claim).state == "open"
    assert holds(proof("abs(tanh(x) + 0.5)"), claim).state == "proven"


# --- Formulas that a proof has to get through -----------------------------------------------------------------------


def test_a_constant_to_the_power_of_x() -> None:
    found = proof("2**x")
    assert (found.low.value, found.low.attained) == ((0.0, 0.0), False)
    assert found.monotone == "increasing"
    assert found.window is None
    assert found.unproven == ()
    assert proof("where(x < 0, 2**x, 1)").lipschitz.middle == pytest.approx(math.log(2), rel=1e-15)


@pytest.mark.parametrize("text", ["(1 + x*x)**x", "softplus(x)**x", "sigmoid(x)**x", "x**x"])
def test_a_function_to_the_power_of_x_has_a_slope(text: str) -> None:
    found = proof(text)
    x = 1.5
    bases = {"(1": 1 + x * x, "softplus(x)": math.log1p(math.exp(x)), "sigmoid(x)": 1 / (1 + math.exp(-x)), "x": x}
    value = bases[text.split("**")[0].split(" ")[0]] ** x
    assert found.low.value.low <= value <= found.high.value.high
    assert found.slope_low.value.low < found.slope_high.value.high


def test_the_negation_of_an_undecided_condition() -> None:
    found, same = proof("where(not x < 1, 1, x)"), proof("where(x < 1, x, 1)")
    assert (found.runs, found.corners, found.lipschitz) == (same.runs, same.corners, same.lipschitz)


@pytest.mark.parametrize("text", ["where(x > 0, inf, x)", "x*inf"])
def test_what_is_infinite_has_no_proof_and_does_not_fail(text: str) -> None:
    found = proof(text)
    assert found.lipschitz.high == INF
    assert any("no value was found" in sentence for sentence in found.unproven)
    assert formula(text).memory_modes()[0].name == "exact"
