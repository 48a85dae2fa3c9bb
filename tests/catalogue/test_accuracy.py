"""Every activation of the catalogue against ball arithmetic, on every half-precision input, and by every check."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from actium.catalogue import ENTRIES, get
from actium.checking import check
from actium.verify.encodings import HALVES, finite_encodings
from actium.verify.oracle import Oracle
from actium.verify.run import DEFAULT_DTYPES, _oracle, _truths
from actium.verify.subject import Runner, Subject
from actium.verify.sweep import Truths, sweep

DTYPES = (torch.float16, torch.bfloat16, torch.float32)

# Besides the defaults: where another branch or another regime of the formula is reached.
SETTINGS = {
    "threshold": [{"threshold": 1.0, "value": 0.5}],
    "softplus": [{"beta": 2.0, "threshold": 20.0}, {"beta": 0.25}],
    "soft_exponential": [{"alpha": a} for a in (1.0, 0.5, -0.5, 1e-3, -1e-3, 1e-30)],
    "softplus_clip": [{"theta": 0.01}, {"theta": 100.0}, {"beta": 1.0}],
    "bounded_silu": [{"bound": 6.0}, {"bound": math.inf}],
    "swish": [{"beta": 1.702}, {"beta": -1.0}],
    "isru": [{"alpha": 3.0}],
    "isrlu": [{"alpha": 3.0}],
    "soft_clip": [{"scale": 5.0}],
    "scaled_sigmoid": [{"scale": 1.0}, {"scale": 1000.0}],
    "elu": [{"alpha": 0.5}],
    "celu": [{"alpha": 0.5}],
    "leaky_relu": [{"negative_slope": 2.0}, {"negative_slope": -1.0}],
    "brelu": [{"sign": -1.0}],
    "learnable_leaky": [{"alpha": 0.125, "scale": 2.0, "shift": 0.5}],
}
CASES = [(name, values) for name in ENTRIES for values in [{}, *SETTINGS.get(name, [])]]


def case_id(case):
    return case if isinstance(case, str) else "-".join(f"{k}={v:g}" for k, v in case.items()) or "default"


def terms_of_polynomial(x, values):
    """Σ |cₖ·xᵏ|: by how much a relative change of the coefficients, which are rounded parameters, moves the value."""
    with np.errstate(over="ignore"):
        return sum(abs(c) * np.abs(x) ** k for k, c in enumerate(values.values()))


def judged(quantity, name, values):
    """The error in ULP, NaN and all."""
    error = np.where(np.isnan(quantity.computed), np.inf, quantity.error)
    if name == "polynomial" and quantity.name == "output":
        scale = quantity.fmt.unit * terms_of_polynomial(quantity.x, values)
        with np.errstate(invalid="ignore", over="ignore"):
            error = np.fmin(error, np.abs(quantity.computed - quantity.exact) / scale)
    return error


def assert_within_budget(quantity, name, values):
    budget = 1.0 if quantity.fmt.dtype in HALVES else 4.0
    error = judged(quantity, name, values)
    at = int(np.nanargmax(error))
    where = f"{name} {quantity.name} {quantity.fmt.name} at {quantity.x[at]!r}"
    assert not np.isnan(quantity.exact).any(), (
        f"{where}: the truth is unknown at {np.isnan(quantity.exact).sum()} inputs"
    )
    assert error[at] <= budget, (
        f"{where}: {error[at]:.3g} ULP, got {quantity.computed[at]!r}, exact {quantity.exact[at]!r}"
    )
    false_zero = (quantity.computed == 0) & (np.abs(quantity.exact) >= quantity.fmt.smallest_normal)
    assert not false_zero.any(), f"{where}: 0 at x = {quantity.x[false_zero][:3]}"
    lost = ~np.isfinite(quantity.computed) & quantity.fits
    assert not lost.any(), f"{where}: not finite at x = {quantity.x[lost][:3]}"


def assert_all_within_budget(name, values, truths):
    entry = get(name)
    activation = entry.activation()
    runner = Runner(Subject(name, lambda x: activation(x, **values)))
    for dtype in DTYPES:
        result = sweep(runner, truths, dtype)
        assert_within_budget(result.output, name, {**entry.defaults, **values})
        assert result.gradient is not None
        assert_within_budget(result.gradient, name, {**entry.defaults, **values})


@pytest.fixture(scope="module", params=ENTRIES)
def truths(request):
    """The truth about an entry as `check` asks for it. It takes seconds, so the tests of an entry follow each other."""
    entry = get(request.param)
    return _truths(_oracle(entry.as_written(), tuple(sorted(entry.defaults.items()))), DTYPES)


def test_output_and_gradient_are_within_budget(truths, request):
    assert_all_within_budget(request.node.callspec.params["truths"], {}, truths)


@pytest.mark.usefixtures("truths")
def test_every_check_passes_without_a_warning(request):
    certificate = check(request.node.callspec.params["truths"], dtypes=DEFAULT_DTYPES)
    assert [f for f in certificate.findings if f.severity != "info"] == [], str(certificate)
    assert {"compile", "shape-change", "precision-loss"} <= set(certificate.checks_run)


@pytest.mark.parametrize(("name", "values"), [case for case in CASES if case[1]], ids=case_id)
def test_output_and_gradient_are_within_budget_at_other_parameters(name, values):
    entry = get(name)
    assert_all_within_budget(name, values, Truths(Oracle(entry.as_written(), {**entry.defaults, **values}), DTYPES))


@pytest.mark.parametrize("break_it", [lambda y: y * (1 + 2**-9), lambda y: torch.where(y.abs() < 1e-3, 0 * y, y)])
def test_the_budget_rejects_a_worse_function(break_it):
    entry = get("silu")
    truths = Truths(Oracle(entry.as_written(), {}), (torch.float16,))
    runner = Runner(Subject("worse", lambda x: break_it(entry.activation()(x))))
    with pytest.raises(AssertionError):
        assert_within_budget(sweep(runner, truths, torch.float16).output, "worse", {})


@pytest.mark.parametrize(("name", "values"), CASES, ids=case_id)
@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64], ids=str)
def test_infinity_gives_the_limit_and_nan_gives_nan(name, values, dtype):
    entry = get(name)
    oracle = Oracle(entry.as_written(), {**entry.defaults, **values})
    x = torch.tensor([math.inf, -math.inf, math.nan], dtype=dtype).repeat(23).requires_grad_()
    y = entry.activation()(x, **values)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    expected = [oracle.limit(1), oracle.limit(-1), (math.nan, math.nan)]
    for got, index in ((y, 0), (gradient, 1)):
        for place, limits in enumerate(expected):
            limit = limits[index]
            if limit is not None:
                wanted = torch.full((23,), limit, dtype=torch.float64).to(dtype)
                what = f"{name}: {('value', 'slope')[index]} at {x[place].item()}: {got[place].item()}, limit {limit}"
                assert torch.allclose(got[place::3], wanted, rtol=2 * torch.finfo(dtype).eps, equal_nan=True), what


@pytest.mark.parametrize(("name", "values"), CASES, ids=case_id)
def test_double_precision_agrees_with_the_oracle(name, values):
    entry = get(name)
    oracle = Oracle(entry.as_written(), {**entry.defaults, **values})
    points = np.concatenate([np.linspace(-30.05, 30.05, 241), [-1e-3, 1e-6, 1e-12, -0.49, 700.3, -700.3]])
    truth = oracle.table(points)
    x = torch.from_numpy(points).requires_grad_()
    y = entry.activation()(x, **values)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    scale = 1 + np.abs(points)
    smooth = truth.slope_low == truth.slope_high
    for got, exact in ((y, truth.value), (gradient, np.where(smooth, truth.slope, np.nan))):
        error = np.abs(got.detach().numpy() - exact) / (scale * np.abs(exact) + scale * 1e-3 + 1e-300)
        assert np.nanmax(np.where(np.isfinite(exact), error, 0)) < 1e-13


@pytest.mark.parametrize("name", ["silu", "mish", "gelu", "tanh", "softplus_clip", "soft_exponential", "hardswish"])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_the_eager_form_agrees_with_the_kernel(name, dtype):
    op = get(name).activation().op
    values = tuple(op.defaults.values())
    x = finite_encodings(dtype)
    kernel, eager = (f((x,), values, None) for f in (op.many, op._eager))
    steps = ordered(kernel) - ordered(eager)
    tiny = torch.maximum(kernel.abs(), eager.abs()).double() < torch.finfo(dtype).tiny
    assert int(steps[~tiny].abs().max()) <= 2


def ordered(y):
    """Encodings of a half format as integers in the order of values."""
    bits = y.view(torch.int16).int()
    return torch.where(bits >= 0, bits, -(bits & 0x7FFF))
