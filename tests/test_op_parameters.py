"""Parameters of an op, as numbers, single values or one per channel, and their gradients."""

from __future__ import annotations

import pytest
import torch

import actium
from actium.kernels import toolchain
from samples import DTYPES, REFERENCE, UNIT, assert_same_bits, gradients, identify, sample, soft_clip, two


def parameter_reference(activation, x, grad, values, channel_dim):
    """Gradients of parameters in float64, and the sum of the absolute terms they are made of."""
    shape = [1] * x.dim()
    if channel_dim is not None:
        shape[channel_dim] = -1
    x, grad = x.double(), grad.double()
    spread = [v.detach().double().reshape(shape).expand(x.shape).clone().requires_grad_() for v in values]
    terms = torch.autograd.grad(REFERENCE[activation.name](x, *spread), spread, grad)
    others = [d for d in range(x.dim()) if channel_dim is None or d != channel_dim % x.dim()]
    return [(t.sum(others), t.abs().sum(others)) if others else (t, t.abs()) for t in terms]


def assert_parameter_gradients(activation, x, grad, values, channel_dim):
    given = {p.name: v for p, v in zip(activation.parameters, values, strict=True)}
    got = gradients(activation, x, grad, channel_dim=channel_dim, **given)[2:]
    # The slope of tanh(b·x) is conditioned like 2·|b·x| <= 40, and each term is a difference of two parts of size 1.
    wide = x.dtype is torch.float64
    unit = max(2.0**-45 if wide else 2.0**-18, *(torch.finfo(v.dtype).eps for v in values))
    parts = grad.double().abs().sum([d for d in range(x.dim()) if channel_dim is None or d != channel_dim % x.dim()])
    exact = parameter_reference(activation, x, grad, values, channel_dim)
    for g, v, (total, size) in zip(got, values, exact, strict=True):
        assert g.shape == v.shape
        allowed = unit * size + parts * (2.0**-50 if wide else 2.0**-22)
        assert ((g.double() - total.reshape(v.shape)).abs() <= allowed.reshape(v.shape)).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=identify)
@pytest.mark.parametrize("channels", [1, 3, 64, 257])
@pytest.mark.parametrize("inner", [1, 7, 49, 784])
def test_per_channel_parameters_with_every_inner_size(channels, inner, dtype):
    x, grad = sample(3, channels, inner, dtype=dtype), sample(3, channels, inner, dtype=dtype, seed=1)
    values = [sample(channels, scale=0.3, seed=s).add_(1.0).requires_grad_() for s in (2, 3)]
    assert_parameter_gradients(two, x, grad, values, 1)
    y = two(x, *values, channel_dim=1).double()
    exact = REFERENCE["two"](x.double(), *(v.detach().double()[:, None] for v in values))
    assert torch.allclose(y, exact, rtol=UNIT[dtype], atol=UNIT[dtype])


@pytest.mark.parametrize("shape", [(900, 50, 1), (3000, 3, 7), (70, 5, 90), (9, 2, 5000)])
def test_parameter_gradients_of_several_tasks_are_added_up(shape):
    for dtype in DTYPES:
        x, grad = sample(*shape, dtype=dtype), sample(*shape, dtype=dtype, seed=1)
        values = [sample(shape[1], scale=0.3, seed=s).add_(1.0).requires_grad_() for s in (2, 3)]
        assert_parameter_gradients(two, x, grad, values, 1)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "permuted", "strided", "expanded"])
@pytest.mark.parametrize("channel_dim", [0, 1, 3, -1, -2])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=identify)
def test_per_channel_parameters_with_every_layout(layout, channel_dim, dtype):
    x = sample(4, 5, 6, 7, dtype=dtype)
    x = {
        "contiguous": x,
        "channels_last": x.contiguous(memory_format=torch.channels_last),
        "permuted": x.permute(2, 3, 1, 0),
        "strided": x[:, ::2, 1:],
        "expanded": x[:, :, :1].expand(-1, -1, 6, -1),
    }[layout]
    grad = sample(*x.shape, dtype=dtype, seed=1)
    values = [sample(x.shape[channel_dim], scale=0.3, seed=s).add_(1.0).requires_grad_() for s in (2, 3)]
    assert_parameter_gradients(two, x, grad, values, channel_dim)
    given = dict(zip("ab", values, strict=True))
    flat = gradients(two, x.contiguous(), grad, channel_dim=channel_dim, **given)
    for got, want in zip(gradients(two, x, grad, channel_dim=channel_dim, **given)[:2], flat[:2], strict=True):
        assert_same_bits(got, want)


@pytest.mark.parametrize("shape", [(1,), ()])
@pytest.mark.parametrize("dtype", DTYPES, ids=identify)
def test_scalar_parameter_gradient_is_summed_in_at_least_float32(dtype, shape):
    x, grad = sample(40_000, dtype=dtype, scale=1.0) + 1, torch.ones(40_000, dtype=dtype)  # the sum passes fp16's range
    theta = torch.full(shape, 8.0, requires_grad=True)
    assert_parameter_gradients(soft_clip, x, grad, [theta], None)


@pytest.mark.parametrize("which", [(True, False), (False, True), (True, True)])
def test_only_the_gradients_asked_for_are_computed(which):
    x = sample(4, 6)
    a, b = (torch.full((6,), v, requires_grad=need) for v, need in zip((1.5, 0.5), which, strict=True))
    two(x, a, b, channel_dim=1).sum().backward()
    assert [p.grad is not None for p in (a, b)] == list(which)


def test_mixed_numbers_scalars_and_channels():
    x = sample(4, 6).requires_grad_()
    a, b = torch.full((6,), 1.5, requires_grad=True), torch.full((1,), 0.5, requires_grad=True)
    two(x, a, b, channel_dim=1).sum().backward()
    expected = [p.detach().double().requires_grad_() for p in (a, b)]
    REFERENCE["two"](x.detach().double(), *expected).sum().backward()
    assert torch.allclose(a.grad.double(), expected[0].grad, rtol=1e-6)
    assert torch.allclose(b.grad.double(), expected[1].grad, rtol=1e-6)
    assert_same_bits(two(x, a, 0.5, channel_dim=1), two(x, a, b, channel_dim=1))


def test_empty_input_gives_zero_parameter_gradients():
    for shape, dim in (((0, 6), 1), ((3, 6, 0), 1), ((0,), None)):
        a = torch.ones(6 if dim else 1, requires_grad=True)
        two(torch.zeros(shape), a, 0.5, channel_dim=dim).sum().backward()
        assert torch.equal(a.grad, torch.zeros_like(a))


def test_hyper_parameters_do_not_trigger_a_build(monkeypatch):
    x = sample(64).requires_grad_()
    soft_clip(x, theta=1.25).sum().backward()
    soft_clip(x, theta=torch.full((1,), 1.25, requires_grad=True)).sum().backward()
    builds = []
    monkeypatch.setattr(toolchain, "load", lambda *a, **k: builds.append(a))
    for theta in (0.5, 2.0, 1e-3, torch.full((1,), 7.0), torch.full((64,), 3.0, requires_grad=True)):
        channel_dim = 0 if isinstance(theta, torch.Tensor) else None
        soft_clip(x, theta=theta, channel_dim=channel_dim).sum().backward()
    assert builds == []


def test_the_limit_at_infinity_leaves_no_nan_in_parameter_gradients_under_transforms():
    module = actium.nn.Polynomial()
    x = torch.tensor([1.0, -2.0, 0.5])
    parameters = dict(module.named_parameters())
    transformed = torch.func.grad(lambda p: torch.func.functional_call(module, p, (x,)).sum())(parameters)
    plain = torch.autograd.grad(module(x).sum(), list(parameters.values()))
    for name, expected in zip(parameters, plain, strict=True):
        torch.testing.assert_close(transformed[name], expected)
