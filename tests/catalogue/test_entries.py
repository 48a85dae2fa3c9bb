"""What the entries claim: ranges, kinks, symmetry, monotonicity, derivatives of every order and argument."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

from actium.catalogue import ENTRIES, get
from actium.catalogue.polynomial import polynomial_entry, relu_fit
from actium.errors import InplaceError, ParameterError, TargetError
from actium.verify.encodings import finite_encodings

NAMES = list(ENTRIES)
POINTS = torch.tensor([-7.3, -2.9, -1.7, -0.61, -0.13, 0.11, 0.47, 1.3, 2.7, 6.9], dtype=torch.float64)


def dense_grid():
    inner = torch.linspace(-12, 12, 40_001, dtype=torch.float64)
    return torch.cat([inner, finite_encodings(torch.float16).double()]).sort().values


@pytest.mark.parametrize("name", NAMES)
def test_the_range_holds_and_is_reached(name):
    entry = get(name)
    y = entry.activation()(dense_grid())
    y = y[torch.isfinite(y)]
    interval = entry.interval()
    slack = 1e-15 * max([1.0, *(abs(e) for e in (interval.low, interval.high) if math.isfinite(e))])
    assert interval.low - slack <= y.min() <= y.max() <= interval.high + slack
    for end, reached in ((interval.low, y.min()), (interval.high, y.max())):
        assert abs(reached) > 600 if math.isinf(end) else abs(reached - end) < 2e-3


@pytest.mark.parametrize("name", NAMES)
def test_open_ends_are_not_values(name):
    entry = get(name)
    interval = entry.interval()
    y = entry.activation()(torch.linspace(-8, 8, 4001, dtype=torch.float64))
    if not interval.has_low:
        assert y.min() > interval.low
    if not interval.has_high:
        assert y.max() < interval.high


@pytest.mark.parametrize("name", NAMES)
def test_the_declared_shape_holds(name):
    entry = get(name)
    x = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    y = entry.activation()(x)
    assert bool((y.diff() >= -1e-15).all()) == entry.monotone
    odd, even = bool(torch.allclose(y, -y.flip(0), atol=1e-14)), bool(torch.allclose(y, y.flip(0), atol=1e-14))
    if name == "soft_exponential":  # its default is the identity; other alphas have no symmetry
        assert odd
        return
    assert {"odd": odd, "even": even, None: not (odd or even)}[entry.parity]


def slope_at(activation, x, **values):
    leaf = torch.tensor([x], dtype=torch.float64, requires_grad=True)
    return float(torch.autograd.grad(activation(leaf, **values).sum(), leaf)[0])


@pytest.mark.parametrize("name", NAMES)
def test_kinks_are_all_declared_and_their_gradients_are_true(name):
    entry = get(name)
    activation = entry.activation()
    declared = [k for k in entry.kink_points() if math.isfinite(k[0])]
    for at, gradient in declared:
        assert slope_at(activation, at) == pytest.approx(gradient, abs=1e-12)
        left, right = (slope_at(activation, at + side) for side in (-1e-9, 1e-9))
        assert min(left, right) - 1e-6 <= gradient <= max(left, right) + 1e-6
    x = torch.linspace(-10, 10, 80_001, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(activation(x).sum(), x)
    for jump in x.detach()[1:][slope.diff().abs() > 0.01]:
        assert any(abs(float(jump) - at) < 1e-3 for at, _ in declared), f"{name} has an undeclared kink near {jump}"


TORCH = [e for e in ENTRIES.values() if e.torch_name]
TORCH_ARGUMENTS = {
    "threshold": [(0.1, 20.0), (1.0, 1.0)],
    "hardtanh": [(), (-2.0, 0.5)],
    "leaky_relu": [(), (0.3,), (-0.5,)],
    "elu": [(), (0.5,)],
    "celu": [(), (0.5,)],
    "softplus": [(2.0, 20.0)],
    "softshrink": [(), (1.0,)],
    "hardshrink": [(), (1.0,)],
    "rrelu": [(), (0.1, 0.9)],
}


@pytest.mark.parametrize("entry", TORCH, ids=lambda e: e.name)
def test_values_and_gradients_are_those_of_torch_also_at_the_kinks(entry):
    ours, theirs = entry.activation(), getattr(F, entry.torch_name)
    for args in TORCH_ARGUMENTS.get(entry.name, [()]):
        places = [a for v in ({}, dict(zip(entry.defaults, args, strict=False))) for a, _ in entry.kink_points(**v)]
        x = torch.cat([POINTS, torch.tensor([p for p in places if math.isfinite(p)], dtype=torch.float64)])
        given = (torch.tensor([0.25], dtype=torch.float64),) if entry.name == "prelu" else args
        results = []
        for function in (ours, theirs):
            leaf = x.clone().requires_grad_()
            y = function(leaf, *given)
            results.append((y.detach(), torch.autograd.grad(y.sum(), leaf)[0]))
        # torch multiplies hardsigmoid's gradient by a float32 1/6, in float64 too.
        torch.testing.assert_close(results[0], results[1], rtol=4e-8, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_input_and_parameters_pass_gradcheck(name):
    entry = get(name)
    activation = entry.activation()
    leaves = [torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in usual_values(entry)]

    def function(x, *values):
        return activation(x, **dict(zip(entry.defaults, values, strict=True)))

    inputs = (POINTS.clone().requires_grad_(), *leaves)
    if not leaves and name in ("identity", "relu"):
        assert gradcheck(function, inputs)
    else:
        assert gradcheck(function, inputs)
        assert gradgradcheck(function, inputs)


def usual_values(entry):
    """The defaults, moved off places where a parameter's own derivative has a kink."""
    special = {"soft_exponential": {"alpha": 0.3}, "threshold": {"threshold": 0.3, "value": 0.1}}
    special["softplus"] = {"threshold": 1e3}
    return {**entry.defaults, **special.get(entry.name, {})}.values()


@pytest.mark.parametrize("alpha", [0.0, 1e-30, -1e-30, 1e-6, -1e-6, 1e-3, -1e-3])
def test_soft_exponential_has_the_right_parameter_gradient_near_zero(alpha):
    x = torch.linspace(-3, 3, 13)
    parameter = torch.tensor([alpha], requires_grad=True)
    for at in x:
        (gradient,) = torch.autograd.grad(get("soft_exponential").activation()(at[None], parameter).sum(), parameter)
        assert float(gradient) == pytest.approx(1 + float(at) ** 2 / 2, rel=0.02 if abs(alpha) > 1e-4 else 1e-4)


def test_soft_exponential_goes_on_smoothly_beyond_the_domain_of_the_logarithm():
    f = get("soft_exponential").activation()
    edge = (1 - 2.0**-10) / -0.5 + 0.5  # where 1 − alpha·(x + alpha) = 2^-10 for alpha = −0.5
    x = torch.tensor([edge - 1e-7, edge + 1e-7, -100.0], dtype=torch.float64, requires_grad=True)
    y = f(x, -0.5)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert bool(torch.isfinite(y).all())
    assert y[2] < y[0] < y[1]
    torch.testing.assert_close(slope, torch.full_like(slope, 1024.0), rtol=1e-3, atol=0)


def test_soft_exponential_learns_from_its_identity():
    alpha = torch.zeros(1, requires_grad=True)
    (gradient,) = torch.autograd.grad(get("soft_exponential").activation()(torch.ones(4), alpha).sum(), alpha)
    assert float(gradient) == pytest.approx(6.0)


def test_softplus_clip_clips_what_the_published_form_does_not():
    f = get("softplus_clip").activation()
    x = torch.tensor([-1e4, -100.0, 0.0, 100.0, 1e4], dtype=torch.float64)
    torch.testing.assert_close(f(x, 2.0, 5.0), torch.tensor([-2.0, -2.0, 0.0, 2.0, 2.0], dtype=torch.float64))
    grid = torch.linspace(-6, 6, 2001, dtype=torch.float64)
    gaps = [(f(grid, 2.0, beta) - grid.clamp(-2, 2)).abs().max() for beta in (1.0, 5.0, 50.0)]
    torch.testing.assert_close(
        torch.stack(gaps[:2]), torch.tensor([0.67, 0.14], dtype=torch.float64), atol=0.01, rtol=0
    )
    assert gaps[2] < 0.02


def test_scaled_sigmoid_has_slope_one_quarter_at_zero_for_every_scale():
    assert [slope_at(get("scaled_sigmoid").activation(), 0.0, scale=s) for s in (0.1, 1.0, 1000.0)] == [0.25] * 3


def test_the_polynomial_starts_as_the_best_fit_of_relu():
    nodes = 3.0 * np.cos((np.arange(512) + 0.5) * np.pi / 512)
    relu = np.maximum(nodes, 0)
    error = np.mean((np.polynomial.polynomial.polyval(nodes, relu_fit(3)) - relu) ** 2)
    for k in range(4):
        for step in (-1e-3, 1e-3):
            moved = np.array(relu_fit(3))
            moved[k] += step
            assert np.mean((np.polynomial.polynomial.polyval(nodes, moved) - relu) ** 2) > error
    assert np.mean((nodes / 2 - relu) ** 2) > 5 * error


@pytest.mark.parametrize("degree", [1, 2, 5, 16])
def test_polynomials_of_other_degrees_are_what_they_say(degree):
    entry = polynomial_entry(degree)
    x = torch.linspace(-2, 2, 11, dtype=torch.float64)
    expected = np.polynomial.polynomial.polyval(x.numpy(), relu_fit(degree))
    torch.testing.assert_close(entry.activation()(x), torch.from_numpy(expected))


@pytest.mark.parametrize("degree", [0, -1, 17, 2.0, True, "3"])
def test_a_degree_outside_the_range_is_refused(degree):
    with pytest.raises(ParameterError, match="degree"):
        polynomial_entry(degree)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("clipped_relu", {"max_value": -1.0}),
        ("scaled_sigmoid", {"scale": 0.0}),
        ("soft_clip", {"scale": 0.0}),
        ("tanh_clip", {"theta": -1.0}),
        ("softshrink", {"lambd": -0.1}),
        ("isru", {"alpha": 0.0}),
        ("elu", {"alpa": 1.0}),
    ],
)
def test_parameters_outside_their_range_are_refused(name, values):
    with pytest.raises(ParameterError):
        get(name).activation()(torch.zeros(2), **values)


# --- In place ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in NAMES if get(n).output_slope is not None])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_training_in_place_gives_the_same_gradients(name, dtype):
    activation = get(name).activation()
    x = finite_encodings(torch.bfloat16 if dtype == torch.bfloat16 else torch.float16).to(dtype)
    gradients = []
    for inplace in (False, True):
        leaf = x.clone().requires_grad_()
        inner = leaf * 1.0
        y = activation(inner, inplace=inplace)
        assert (y.data_ptr() == inner.data_ptr()) == inplace
        gradients.append(torch.autograd.grad(y.sum(), leaf)[0])
    assert torch.equal(*gradients)


@pytest.mark.parametrize(
    ("name", "values", "dtype"),
    [
        ("leaky_relu", {"negative_slope": -0.1}, torch.float32),
        ("hardshrink", {"lambd": -1.0}, torch.float32),
        ("hardtanh", {"min_val": -0.1}, torch.bfloat16),
        ("hardtanh", {"max_val": -2.0}, torch.float32),
        ("clipped_relu", {"max_value": 0.1}, torch.float16),
        ("silu", {}, torch.float32),
    ],
)
def test_training_in_place_is_refused_where_the_output_does_not_tell_the_slope(name, values, dtype):
    x = torch.ones(3, dtype=dtype, requires_grad=True) * 1
    with pytest.raises(InplaceError, match="inplace"):
        get(name).activation()(x, inplace=True, **values)
    with torch.no_grad():
        plain = torch.ones(3, dtype=dtype)
        assert get(name).activation()(plain, inplace=True, **values) is plain


# --- The mapping ------------------------------------------------------------------------------------------


def test_names_aliases_and_classes_are_unique():
    names = [*ENTRIES, *ENTRIES.aliases, *ENTRIES.classes]
    assert len(set(names)) == len(names)
    assert len(ENTRIES.aliases) == sum(len(e.aliases) for e in ENTRIES.values())
    assert get("well_documented") is get("Mish") is ENTRIES["mish"]


def test_an_unknown_name_is_answered_with_near_ones():
    with pytest.raises(TargetError, match="did you mean mish"):
        get("mush")
    with pytest.raises(TargetError, match="known are"):
        get("qqqqqqq")


@pytest.mark.parametrize("name", NAMES)
def test_every_entry_says_where_it_comes_from(name):
    entry = get(name)
    assert entry.source
    assert entry.summary.endswith(".")
    assert entry.range in entry.doc
    assert entry.source in entry.doc


def test_reading_the_catalogue_loads_no_torch():
    code = "import sys; from actium.catalogue import ENTRIES; len(ENTRIES); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["isru", "isrlu"])
@pytest.mark.parametrize("alpha", [1e-30, 1e-20, 1e-9, 1e-4, 0.3, 1.0, 7.0, 1e6, 1e20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_slope_of_isru_in_alpha_does_not_cancel(name, alpha, dtype):
    """−½·x³/(1 + alpha·x²)^1.5, in which the parameter's share is far below an ulp of the value."""
    size = torch.logspace(-12, 12, 49, dtype=dtype)
    x = torch.cat([-size, size])
    a = torch.full_like(x, alpha).requires_grad_()
    (slope,) = torch.autograd.grad(get(name).activation()(x[None], a, channel_dim=1).sum(), a)
    x, a = x.double(), a.detach().double()
    exact = -0.5 * (x / torch.sqrt(1 + a * x * x)) ** 3
    exact = torch.where(x < 0, exact, 0.0) if name == "isrlu" else exact
    info = torch.finfo(dtype)
    known = (exact == 0) | ((exact.abs() >= info.tiny) & (exact.abs() <= info.max))
    assert known.sum() > 30
    torch.testing.assert_close(slope.double()[known], exact[known], rtol=16 * info.eps, atol=0)
