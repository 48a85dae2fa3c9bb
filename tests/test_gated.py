"""Gated units: right on every half-precision gate, and the halves of one tensor are the two tensors, bit for bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import actium
from actium.errors import (
    ChannelError,
    DeviceError,
    DtypeError,
    ParameterError,
    ShapeError,
    TargetError,
    TraceError,
)
from actium.kernels import front, toolchain
from actium.verify.encodings import HALVES, finite_encodings, format_of
from actium.verify.ulp import judged_error
from samples import DTYPES, REFERENCE, SLOPE, assert_same_bits, elu, gelu, identify, mish, relu, sample, silu

ACTIVATIONS = (silu, gelu, mish, elu, relu)
FACTORS = [(1.0, 1.0), (-0.37, 3.0), (6e4, -50.0), (1e-3, 1.0)]
WIDE_FACTORS = [*FACTORS, (1e10, 1.0), (-1e30, 20.0), (1e-30, 1e20)]


def error_of(got, exact, sensitivity, dtype):
    error = judged_error(got.double().numpy(), exact.numpy(), sensitivity.numpy(), format_of(dtype))
    return np.where(np.isnan(got.double().numpy()), np.inf, error)


def sensitivity_of(function, x):
    """|x·f′(x)|, roughly."""
    step = 1e-4
    return (function(x * (1 + step)) - function(x * (1 - step))).abs() / (2 * step)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=identify)
@pytest.mark.parametrize("dtype", HALVES, ids=identify)
def test_output_and_gradients_are_within_budget_on_every_half_precision_gate(activation, dtype):
    value, slope = REFERENCE[activation.name], SLOPE[activation.name]
    unit, gates = actium.glu(activation), finite_encodings(dtype)
    x = gates.double()
    exact, steep = value(x), slope(x)
    movable, movable_slope = sensitivity_of(value, x), sensitivity_of(slope, x)
    for u, w in WIDE_FACTORS if dtype is torch.bfloat16 else FACTORS:
        gate, up = gates.clone().requires_grad_(), torch.full_like(gates, u).requires_grad_()
        grad = torch.full_like(gates, w)
        y = unit(gate, up)
        d_gate, d_up = torch.autograd.grad(y, (gate, up), grad)
        u, w = up[0].item(), grad[0].item()
        for what, got, truth, moves in (
            ("output", y.detach(), exact * u, movable * abs(u)),
            ("gate", d_gate, steep * u * w, movable_slope * abs(u * w)),
            ("up", d_up, exact * w, movable * abs(w)),
        ):
            error = error_of(got, truth, moves, dtype)
            at = int(np.argmax(error))
            assert error[at] <= 1.0, f"{what} at gate={x[at].item()!r}, up={u}, grad={w}: {error[at]} ULP"


def test_that_the_budget_notices_an_early_rounding():
    gates = finite_encodings(torch.bfloat16)
    x = gates.double()
    exact = REFERENCE["silu"](x) * 3.0
    early = F.silu(gates.float()).bfloat16() * 3
    assert error_of(early, exact, sensitivity_of(REFERENCE["silu"], x) * 3, torch.bfloat16).max() > 1.0


def float32_errors(name, gate, up, grad):
    """The largest errors of the output and of both gradients, in ULP."""
    g, u = gate.clone().requires_grad_(), up.clone().requires_grad_()
    y = actium.glu(name)(g, u)
    got = (y.detach(), *torch.autograd.grad(y, (g, u), grad))
    x, t, w = gate.double(), up.double(), grad.double()
    value, slope = REFERENCE[name], SLOPE[name]
    wanted = [(value, t), (slope, t * w), (value, w)]
    return [
        error_of(a, f(x) * factor, sensitivity_of(f, x) * factor.abs(), torch.float32).max()
        for a, (f, factor) in zip(got, wanted, strict=True)
    ]


def factors_of_many_sizes(count, largest, seed):
    """Of either sign, their exponents evenly spread."""
    return sample(count, seed=seed) * 2.0 ** torch.linspace(-largest, largest, count)[torch.randperm(count)]


@pytest.mark.parametrize("name", ["silu", "gelu", "mish"])
def test_float32_is_within_a_few_ulp_also_where_the_gate_is_tiny(name):
    count = 1 << 16
    up, grad = factors_of_many_sizes(count, 28, 1), factors_of_many_sizes(count, 28, 2)
    moderate, tiny = 3 * sample(count), sample(count) * 2.0 ** torch.linspace(-149, -80, count)
    for gate in (moderate, tiny):
        assert max(float32_errors(name, gate, up, grad)) <= 5.5
    # Without a care for the order, a subnormal value is multiplied by what makes it a normal number again.
    value = REFERENCE[name](tiny.double()).float() * up
    exact, moves = (f(tiny.double()) * up.double() for f in (REFERENCE[name], lambda x: x.abs()))
    assert error_of(value, exact, moves, torch.float32).max() > 1000


# gate, up and grad_output, with a factor that float32 cannot hold: the value of each product is a normal number.
EXTREMES = [(-100.0, 1e10, 1.0), (-80.0, 1e37, 1.0), (-150.0, 1e30, 1e5), (-60.0, 1e-20, 1e10), (-170.0, 1e34, 10.0)]


@pytest.mark.parametrize("name", ["silu", "gelu"])
@pytest.mark.parametrize(("gate", "up", "w"), EXTREMES)
def test_a_subnormal_factor_costs_nothing_where_the_product_is_normal(name, gate, up, w):
    gate = gate if name == "silu" else -math.sqrt(-2 * gate)
    g, u = torch.tensor([gate], requires_grad=True), torch.tensor([up], requires_grad=True)
    y = actium.glu(name)(g, u)
    got = (y, *torch.autograd.grad(y, (g, u), torch.tensor([w])))
    x, t = g.detach().double(), u.detach().double()
    f, s = REFERENCE[name](x), SLOPE[name](x)
    for a, b in zip(got, (f * t, s * t * w, f * w), strict=True):
        # The square in GELU's exponent is the input's own rounding, times 2·170.
        assert torch.allclose(a.double(), b, rtol=1e-5, atol=2.0**-126 * 1e-6), (a, b)


def test_without_an_activation_it_is_the_glu_of_torch_but_exact_in_its_tail():
    unit = actium.glu()
    for dtype in DTYPES:
        x = sample(50, 8, dtype=dtype)
        for dim in (0, 1, -2):
            tolerance = {"rtol": 2 * torch.finfo(dtype).eps, "atol": torch.finfo(dtype).tiny}
            torch.testing.assert_close(unit(x, dim=dim), F.glu(x, dim), **tolerance)
    tail = torch.tensor([1e10, -98.0])
    exact = 1e10 * math.exp(-98.0)
    assert unit(tail).item() == pytest.approx(exact, rel=1e-6, abs=0.0)
    assert F.glu(tail).item() != pytest.approx(exact, rel=1e-3, abs=0.0)


# --- halves of one tensor ------------------------------------------------------------------------------

SHAPES = [((6,), 0), ((2,), 0), ((3, 4), -1), ((4, 3), 0), ((3, 8, 5), 1), ((130, 2), 1), ((5, 1200), 1), ((9, 514), 1)]
SHAPES += [((2, 4, 3, 3), 1), ((2, 3, 4, 6), -2), ((70, 2 * 37), 1), ((1, 1026), 1), ((1025, 16), 1), ((4, 600), 0)]


def both_forms(unit, x, dim, gate, **parameters):
    """(output, gradient) of the halves form, and the same from two dense tensors."""
    x = x.detach().requires_grad_()
    y = unit(x, dim=dim, gate=gate, **parameters)
    grad = sample(*y.shape, dtype=x.dtype, seed=1)
    (dx,) = torch.autograd.grad(y, x, grad)
    first, second = (h.contiguous().requires_grad_() for h in x.detach().chunk(2, dim))
    pair = (first, second) if gate == "first" else (second, first)
    z = unit(*pair, **parameters)
    assert y.shape == z.shape == grad.shape
    return (y, dx), (z, torch.cat(torch.autograd.grad(z, (first, second), grad), dim))


@pytest.mark.parametrize("gate", ["first", "second"])
@pytest.mark.parametrize("dtype", DTYPES, ids=identify)
def test_halves_of_one_tensor_are_two_tensors_bit_for_bit(dtype, gate):
    for name in ("silu", "gelu"):
        for shape, dim in SHAPES:
            for got, want in zip(*both_forms(actium.glu(name), sample(*shape, dtype=dtype), dim, gate), strict=True):
                assert_same_bits(got, want)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=identify)
def test_rows_of_every_length_are_gathered_and_scattered_right(dtype):
    for inner in (*range(1, 41), 63, 64, 65, 255, 256, 257, 511, 512, 513):
        for got, want in zip(
            *both_forms(actium.glu("silu"), sample(23, 2 * inner, dtype=dtype), 1, "first"), strict=True
        ):
            assert_same_bits(got, want)


def test_the_default_gate_is_the_second_half_of_the_last_dimension():
    x = sample(3, 8)
    assert_same_bits(actium.glu("silu")(x), actium.glu("silu")(x[:, 4:], x[:, :4]))
    assert_same_bits(actium.glu("silu")(x, gate="first"), actium.glu("silu")(x[:, :4], x[:, 4:]))


LAYOUTS = {
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "permuted": lambda x: x.permute(3, 0, 2, 1).contiguous().permute(1, 3, 2, 0),
    "strided": lambda x: torch.stack([x, -x], -1)[..., 0],
    "expanded": lambda x: x[:, :, :1].expand(-1, -1, 6, -1),
    "offset": lambda x: torch.cat([x[:1], x])[1:],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=identify)
def test_memory_layout_does_not_change_a_bit(layout, dtype):
    x = LAYOUTS[layout](sample(2, 8, 6, 4, dtype=dtype))
    unit = actium.glu("silu")
    for dim in range(4):
        first, second = both_forms(unit, x, dim, "first"), both_forms(unit, x.contiguous(), dim, "first")
        for got, want in zip(first[0], second[0], strict=True):
            assert_same_bits(got, want)
    if layout == "channels_last":
        y = unit(x, dim=1)
        assert y.is_contiguous(memory_format=torch.channels_last)
        assert y.stride() == (x[:, :4] * 1).stride()


@pytest.mark.parametrize("inner", [8, 300, 5000])
def test_the_number_of_threads_changes_no_bit(threads, inner):
    x, beta = sample(1 + (1 << 17) // inner, 2 * inner, dtype=torch.bfloat16), torch.full((1,), 1.5, requires_grad=True)
    results = []
    for count in (1, 2, 3):
        threads(count)
        leaf = x.clone().requires_grad_()
        y = actium.glu("swish")(leaf, beta=beta)
        results.append((y, *torch.autograd.grad(y, (leaf, beta), sample(*y.shape, dtype=x.dtype, seed=1))))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_same_bits(a, b)


@pytest.mark.parametrize("gate", ["first", "second"])
def test_a_gradient_that_is_one_number_gives_the_same_bits(gate):
    x = sample(5, 40, dtype=torch.bfloat16).requires_grad_()
    y = actium.glu("gelu")(x, gate=gate)
    (one,) = torch.autograd.grad(y, x, torch.tensor(3.0, dtype=x.dtype).expand(y.shape), retain_graph=True)
    (full,) = torch.autograd.grad(y, x, torch.full_like(y, 3.0))
    assert_same_bits(one, full)


def saved_by(call):
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.data_ptr()) or t, lambda t: t):
        y = call()
    return kept, y


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=identify)
def test_the_inputs_and_nothing_else_are_kept(dtype):
    x, up = sample(4, 64, dtype=dtype).requires_grad_(), sample(4, 64, dtype=dtype, seed=1).requires_grad_()
    assert saved_by(lambda: actium.glu("silu")(x))[0] == [x.data_ptr()]
    assert saved_by(lambda: actium.glu("silu")(x, up))[0] == [x.data_ptr(), up.data_ptr()]


def test_without_kernels_it_computes_the_same(monkeypatch):
    x = sample(6, 40).requires_grad_()
    unit = actium.GatedActivation(actium.silu)
    y = actium.glu("silu")(x)
    (want,) = torch.autograd.grad(y, x, torch.ones_like(y))
    monkeypatch.setattr(toolchain, "kernels_enabled", lambda: False)
    monkeypatch.setattr(toolchain, "warn_once_unavailable", lambda: None)
    z = unit(x)
    torch.testing.assert_close(z, y)
    torch.testing.assert_close(torch.autograd.grad(z, x, torch.ones_like(z))[0], want)


# --- edges ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=identify)
@pytest.mark.parametrize("name", ["silu", "gelu", "relu", "identity"])
def test_nan_reaches_output_and_gradients(name, dtype):
    for place in (0, 1):
        x = torch.tensor([0.5, 2.0], dtype=dtype)
        x[place] = math.nan
        x.requires_grad_()
        y = actium.glu(name)(x)
        assert y.isnan().all()
        assert torch.autograd.grad(y, x, torch.ones_like(y))[0].isnan().all()


@pytest.mark.parametrize("dtype", DTYPES, ids=identify)
def test_infinite_inputs(dtype):
    unit = actium.glu("silu")
    call = lambda gate, up: unit(*(torch.tensor([v] * 17, dtype=dtype) for v in (gate, up)))[16].item()  # noqa: E731
    assert call(-math.inf, 3.0) == 0.0
    assert call(math.inf, 3.0) == math.inf
    assert call(math.inf, -3.0) == -math.inf
    assert call(2.0, -math.inf) == -math.inf
    # Neither of the limits that this stands between.
    assert math.isnan(call(-math.inf, math.inf))
    assert call(-1000.0, math.inf) != 0.0


def test_empty_tensors_and_tensors_without_dimensions():
    unit = actium.glu("silu")
    for shape, dim, out in (((0, 4), 1, (0, 2)), ((3, 0), 1, (3, 0)), ((0, 4), 0, (0, 4)), ((0,), 0, (0,))):
        x = torch.zeros(shape, requires_grad=True)
        y = unit(x, dim=dim)
        y.sum().backward()
        assert (tuple(y.shape), x.grad.shape) == (out, x.shape)
    assert unit(torch.tensor(1.0), torch.tensor(2.0)).item() == pytest.approx(2 / (1 + math.exp(-1)))
    with pytest.raises(ShapeError, match="without dimensions"):
        unit(torch.tensor(1.0))


REFUSALS = [
    (lambda u: u(torch.ones(2, 5)), ShapeError, r"size 5, which is odd"),
    (lambda u: u(torch.ones(3, 4), dim=0), ShapeError, r"dimension 0 of the input \(3, 4\) has size 3"),
    (lambda u: u(torch.ones(2, 4), dim=2), ShapeError, "dim=2 does not exist"),
    (lambda u: u(torch.ones(4), torch.ones(3)), ShapeError, r"\(4,\).*\(3,\)"),
    (lambda u: u(torch.ones(4), torch.ones(1)), ShapeError, "nothing is broadcast"),
    (lambda u: u(torch.ones(4), torch.ones(4).half()), DtypeError, "float32.*float16"),
    (lambda u: u(torch.ones(4), torch.ones(4, device="meta")), DeviceError, "cpu.*meta"),
    (lambda u: u(torch.ones(4, dtype=torch.int32)), DtypeError, "int32"),
    (lambda u: u(torch.ones(4).to_sparse()), DtypeError, "to_dense"),
    (lambda u: u(torch.ones(4), 0), DtypeError, "dim=… by name"),
    (lambda u: u([1.0, 2.0]), DtypeError, "list"),
    (lambda u: u(torch.ones(4), torch.ones(4), dim=0), ParameterError, "dim= chooses halves"),
    (lambda u: u(torch.ones(4), torch.ones(4), gate="first"), ParameterError, "gate= chooses halves"),
    (lambda u: u(torch.ones(4), gate="third"), ParameterError, "'third'"),
    (lambda u: u(torch.ones(4), dim=1.0), ParameterError, r"1\.0"),
    (lambda u: u(torch.ones(4), alpha=1.0), ParameterError, "alpha"),
    (lambda _: actium.glu("swish")(torch.ones(2, 6), beta=torch.ones(6), channel_dim=1), ChannelError, "size 3"),
    (lambda _: actium.glu(torch.ones(4)), ParameterError, "glu"),
    (lambda _: actium.glu("mush"), TargetError, "mush"),
    (lambda _: actium.glu(actium.brelu), ParameterError, "channel"),
    (lambda _: actium.nn.GLU("rrelu"), ParameterError, "draws its slopes"),
    (lambda _: actium.glu(actium.formula("x * dim", dim=2.0)), ParameterError, "'dim'"),
    (lambda _: actium.glu(lambda x: x.sum()), TraceError, "sum"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSALS)
def test_what_cannot_be_done_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call(actium.glu("silu"))


# --- parameters ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [(torch.float32, ()), *((d, s) for d in (torch.bfloat16, torch.float32, torch.float64) for s in ((1,), (6,)))],
    ids=str,
)
def test_gradients_of_parameters(dtype, shape):
    x, beta = sample(300, 12, dtype=dtype).requires_grad_(), torch.full(shape, 1.25, requires_grad=True)
    grad = sample(300, 6, dtype=dtype, seed=1)
    y = actium.glu("swish")(x, beta=beta, channel_dim=1)
    dx, db = torch.autograd.grad(y, (x, beta), grad)
    up, gate = x.detach().double().chunk(2, 1)
    s = torch.sigmoid(1.25 * gate)
    terms = grad.double() * up * gate * gate * s * (1 - s)
    exact, size = (terms.sum(0), terms.abs().sum(0)) if shape == (6,) else (terms.sum(), terms.abs().sum())
    assert db.shape == beta.shape
    assert ((db.double() - exact).abs() <= 2.0**-18 * size).all()
    for got, want in zip((y, dx), both_forms(actium.glu("swish"), x, 1, "second", beta=1.25)[1], strict=True):
        if dtype is torch.float64:
            torch.testing.assert_close(got, want)
        else:
            assert_same_bits(got, want)


def test_a_parameter_alone_may_need_its_gradient():
    x, beta = sample(40, 12), torch.ones(1, requires_grad=True)
    actium.glu("swish")(x, beta=beta).sum().backward()
    leaf = x.clone().requires_grad_()
    twin = torch.ones(1, requires_grad=True)
    actium.glu("swish")(leaf, beta=twin).sum().backward()
    assert_same_bits(beta.grad, twin.grad)


def test_a_new_value_of_a_parameter_builds_nothing(monkeypatch):
    x = sample(4, 12).requires_grad_()
    actium.glu("swish")(x, beta=1.5).sum().backward()
    builds = []
    monkeypatch.setattr(toolchain, "load", lambda *a, **k: builds.append(a))
    actium.glu("swish")(x, beta=-0.75).sum().backward()
    assert builds == []


# --- what it says of itself ----------------------------------------------------------------------------


def test_derivatives_are_gated_units_and_the_activation():
    unit, x = actium.glu(mish), sample(6).double().requires_grad_()
    up = sample(6, seed=1).double().requires_grad_()
    dg, du = torch.autograd.grad(unit(x, up).sum(), (x, up))
    torch.testing.assert_close(unit.derivative("gate")(x, up), dg)
    torch.testing.assert_close(unit.derivative("up")(x), du)
    assert actium.glu("swish").derivative("beta").parameters == actium.swish.parameters


def test_text_latex_and_sources():
    unit = actium.glu(actium.silu)
    assert (str(unit), unit.name) == ("gate * sigmoid(gate) * up", "silu_glu")
    assert repr(unit) == "<actium silu_glu(gate, up) = gate * sigmoid(gate) * up>"
    assert "gate" in unit.latex()
    assert "steps[1]" in unit.source()
    assert "steps" not in unit.source(form="two")
    assert "def silu_glu(gate, up)" in unit.source("torch")
    with pytest.raises(ValueError, match="fortran"):
        unit.source("fortran")


def test_names_that_an_activation_has_taken_are_avoided():
    unit = actium.glu(actium.formula("x * sigmoid(up * x)", up=2.0))
    assert unit.formula.inputs == ("gate", "up_")
    x = sample(8)
    torch.testing.assert_close(unit(x, up=3.0), x[:4] * x[4:] * torch.sigmoid(3 * x[4:]))


def test_the_same_activation_gives_the_same_unit():
    assert actium.glu(actium.silu) is actium.glu("silu") is actium.glu("SiLU")


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("form", ["two", "halves"])
def test_hooks_must_give_back_what_was_kept(monkeypatch, compiled, form):
    if not compiled:
        monkeypatch.setattr(front, "module", lambda: None)
    unit, gate, up = actium.glu("silu"), *(torch.randn(2, 4, 8).requires_grad_().unbind())
    for change in (lambda t: t.half(), lambda t: t[:1]):
        with torch.autograd.graph.saved_tensors_hooks(change, lambda t: t):
            y = unit(gate, up) if form == "two" else unit(torch.cat((gate, up), -1))
        with pytest.raises((DtypeError, ShapeError), match="came back"):
            y.sum().backward()
