"""Every function in every memory mode that it has: the output of "exact", a gradient within what is announced."""

from __future__ import annotations

import re

import pytest
import torch

import actium
import actium.nn
from actium.authoring import formula
from actium.catalogue import ENTRIES, get
from actium.errors import MemoryModeError
from actium.lean import MODES
from actium.lean import apply as apply_op
from actium.symbolic.graph import variable
from actium.symbolic.selection import two_values
from samples import HALVES, all_halves, assert_same_bits, bits, gradients, identify, sample

BITS = {
    "identity", "relu", "relu6", "clipped_relu", "hardtanh", "leaky_relu", "rrelu", "threshold", "hardsigmoid",
    "hardshrink", "softshrink", "scaled_activation", "hard_clip", "prelu", "parametric_leaky", "learnable_leaky",
    "brelu",
}  # fmt: skip
UNBOUNDED = {"square_relu", "polynomial"}
# One for each kind of slope: smooth with a minimum, two values, monotone, saturating, with a jump, with parameters.
SOME = ("gelu", "leaky_relu", "sigmoid", "bounded_silu", "elu")
BEYOND = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e30, -1e30])


def names_of(activation, dtype):
    return {mode.name for mode in activation.memory_modes(dtype)}


def apply(x, op, parameters, memory):
    return apply_op(op, x, parameters, memory=memory)


def inputs(dtype):
    return all_halves(dtype) if dtype in HALVES else torch.cat([sample(4001, dtype=dtype), BEYOND.to(dtype)])


def same(a, b):
    """Bit for bit, but for what NaN says about itself."""
    return bool(((bits(a) == bits(b)) | (a.isnan() & b.isnan())).all())


def test_the_functions_of_two_slopes_are_found_by_their_formulas():
    found = set()
    for name in ENTRIES:
        op = get(name).activation().op
        found |= {name} if two_values(op.plan.slope("x").root, variable("x")) else set()
    assert found == BITS


def test_all_but_those_of_unbounded_slope_have_codes():
    some = {*SOME, *UNBOUNDED}
    assert {name for name in some if "uint8" not in names_of(get(name).activation(), torch.float32)} == UNBOUNDED


# Each function of its own C source once, and the dtypes for one with a clipped range and one with a parameter.
@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, torch.bfloat16) for name in sorted(BITS))]
    + [(name, dtype) for name in ("relu6", "leaky_relu") for dtype in (torch.float16, torch.float32, torch.float64)],
    ids=identify,
)
def test_bits_give_the_same_output_and_gradient_for_every_half(name, dtype):
    activation, x = get(name).activation(), inputs(dtype)
    grad = sample(*x.shape, dtype=dtype, seed=1)
    changed = {p.name: 0.75 * p.init + 0.3 for p in activation.parameters if name != "brelu"}
    for parameters in (activation.values(), activation.values(**changed)):
        expected = gradients(activation.op, x, grad, parameters=parameters)
        got = gradients(apply, x, grad, op=activation.op, parameters=parameters, memory="bits")
        assert all(same(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32, torch.float64], ids=identify)
@pytest.mark.parametrize("name", SOME)
def test_slopes_are_within_the_announced_error_on_every_half(name, dtype):
    activation, x = get(name).activation(), inputs(dtype)
    one = torch.ones_like(x)
    value, slope = gradients(activation, x, one)
    # Below the smallest normal number a half has no relative precision.
    unit, tiny = torch.finfo(dtype).eps, torch.finfo(dtype).tiny
    for mode in activation.memory_modes(dtype)[1:]:
        y, got = gradients(activation, x, one, memory=mode.name)
        assert same(y, value)
        assert torch.equal(got.isnan(), slope.isnan())
        error = (got.double() - slope.double()).abs() - unit * slope.double().abs() - unit * got.double().abs() - tiny
        assert error.nan_to_num(0.0).max() <= mode.slope_error
        # It is the error, not a number that is large enough; two slopes may both be close to a point of the grid.
        if name not in BITS:
            assert error.nan_to_num(0.0).max() >= 0.8 * mode.slope_error - 2.0**-15


@pytest.mark.parametrize("dtype", HALVES, ids=identify)
@pytest.mark.parametrize(
    ("name", "bfloat16", "float16"),
    [("sigmoid", 0.0019, 0.00024), ("tanh", 0.0038, 0.00049), ("elu", 0.0019, 0.00024), ("softplus", 0.0013, 0.00017),
     ("silu", 0.0114, 0.0038), ("gelu", 0.0106, 0.0048), ("mish", 0.0123, 0.0041)],
)  # fmt: skip
def test_the_output_tells_the_slope_as_well_as_an_output_can(name, bfloat16, float16, dtype):
    best = {torch.bfloat16: bfloat16, torch.float16: float16}[dtype]
    (mode,) = (m for m in get(name).activation().memory_modes(dtype) if m.name == "output")
    assert mode.slope_error == pytest.approx(best, rel=0.05)
    assert mode.bytes_per_element == (1 / 8 if name in ("silu", "gelu", "mish") else 0)


@pytest.mark.parametrize("name", ["gelu", "elu", "logsigmoid"])
def test_a_saturated_slope_is_exact_in_eight_bits(name):
    x = torch.tensor([-60.0, 60.0])
    one = torch.ones_like(x)
    slope = gradients(get(name).activation(), x, one)[1]
    assert gradients(get(name).activation(), x, one, memory="uint8")[1].tolist() == slope.round().tolist()


def test_what_a_function_does_not_have_is_refused_with_what_it_has():
    x = torch.randn(3, requires_grad=True)
    for call, says in [
        (lambda: actium.silu(x, memory="bits"), "silu: no memory='bits': its slope takes other values than two"),
        (lambda: actium.square_relu(x, memory="uint8"), "its slope is not bounded, or no bound could be proven"),
        (lambda: actium.gelu(x, memory="output"), "it takes a table of all outputs, which torch.float32"),
        (lambda: actium.bounded_silu(x.bfloat16(), memory="output"), "its output does not tell its slope"),
        (lambda: formula("sin(x)")(x.bfloat16(), memory="output"), "one bit tells two sides apart"),
        (lambda: actium.gelu(x, memory="8bit"), "expected one of 'exact', 'bits', 'uint8', 'output'"),
        (lambda: actium.rrelu(x, training=True, memory="bits"), "training keeps the drawn slopes"),
        (lambda: actium.nn.SiLU(memory="bits"), "silu: no memory='bits'"),
        (lambda: actium.nn.SiLU(memory="all"), "expected one of"),
    ]:  # fmt: skip
        with pytest.raises(MemoryModeError, match=re.escape(says)):
            call()


def test_the_modes_that_a_refusal_names_are_those_that_the_function_has():
    with pytest.raises(MemoryModeError, match=re.escape("it has exact, uint8, output (float16 and bfloat16)")):
        actium.mish(torch.randn(3, requires_grad=True), memory="bits")


@pytest.mark.parametrize("memory", MODES)
def test_modes_are_told_before_they_are_used(memory):
    dtype = torch.bfloat16
    known = {m.name: m for m in actium.leaky_relu.memory_modes(dtype)}
    assert memory in known
    assert (known[memory].slope_error == 0) == (memory in ("exact", "bits"))
    assert known["bits"].bytes_per_element == 1 / 8
    assert "slope within" in str(known["uint8"])


@pytest.mark.parametrize("memory", MODES)
def test_other_parameters_have_other_slopes(memory):
    x = sample(1000, dtype=torch.bfloat16)
    one = torch.ones_like(x)
    for slope in (0.1, 0.5, 3.0):
        exact = gradients(actium.leaky_relu, x, one, negative_slope=slope)
        got = gradients(actium.leaky_relu, x, one, negative_slope=slope, memory=memory)
        assert_same_bits(got[0], exact[0])
        torch.testing.assert_close(got[1], exact[1], atol=0.02, rtol=0)
