"""Modules: parameters kept in range, one per channel, and everything that `nn.Module` promises."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch import nn

import actium
import actium.nn
from actium.authoring import formula
from actium.errors import ChannelError, DeviceError, InplaceError, ParameterError
from actium.symbolic.parameters import learnable
from samples import assert_same_bits, leaky, mish, relu, silu, soft_clip, swish, two

bounded = formula("gain * tanh(x)", name="bounded", gain=learnable(0.5, min=-1.0, max=2.0))
capped = formula("gain * tanh(x)", name="capped", gain=learnable(0.5, max=2.0))
floored = formula("gain * tanh(x)", name="floored", gain=learnable(0.5, min=-3.0))


def test_module_is_the_function_at_the_initial_values():
    x = torch.randn(50)
    assert_same_bits(mish.module()(x), mish(x))
    assert_same_bits(leaky.module(slope=0.5)(x), leaky(x, slope=0.5))
    torch.testing.assert_close(two.module(a=0.75)(x), two(x, a=0.75))


@pytest.mark.parametrize("activation", [soft_clip, bounded, capped, floored, two], ids=lambda a: a.name)
def test_initial_value_survives_the_map_into_the_range(activation):
    module = activation.module()
    for p in activation.parameters:
        assert getattr(module, p.name).item() == pytest.approx(p.init, rel=1e-6)


@pytest.mark.parametrize(
    ("activation", "low", "high"),
    [(soft_clip, 0.0, math.inf), (bounded, -1.0, 2.0), (capped, -math.inf, 2.0), (floored, -3.0, math.inf)],
    ids=lambda v: getattr(v, "name", v),
)
def test_no_training_step_leaves_the_range(activation, low, high):
    (p,) = activation.parameters
    for direction in (1.0, -1.0):
        module = activation.module()
        optimizer = torch.optim.SGD(module.parameters(), lr=1e3)
        for _ in range(5):
            optimizer.zero_grad()
            (direction * getattr(module, p.name).sum()).backward()
            optimizer.step()
        value = getattr(module, p.name).item()
        assert math.isfinite(value)
        assert low <= value <= high
        assert not p.positive or value > 0


@pytest.mark.parametrize("init", [1e-6, 1e-3, 0.5, 30.0, 1e4, 1e30])
def test_positive_initial_values_of_any_size(init):
    module = soft_clip.module(theta=init)
    assert module.theta.item() == pytest.approx(init, rel=1e-5, abs=2e-6)
    assert math.isfinite(module(torch.ones(3))[0].item())


@pytest.mark.parametrize("share", [-1.0, 2.0])
def test_an_initial_value_at_a_bound_still_has_a_gradient(share):
    module = bounded.module(gain=share)
    module(torch.ones(4)).sum().backward()
    assert module.raw_gain.grad.abs().item() > 0


def test_state_dict_round_trip_and_names():
    module = two.module(channels=3, channel_dim=1)
    assert {n: tuple(p.shape) for n, p in module.named_parameters()} == {"a": (3,), "raw_b": (3,)}
    with torch.no_grad():
        module.a.add_(0.25)
    twin = two.module(channels=3, channel_dim=1)
    twin.load_state_dict(module.state_dict())
    x = torch.randn(4, 3, 5)
    assert_same_bits(twin(x), module(x))
    with pytest.raises(RuntimeError, match="size mismatch"):
        two.module(channels=4, channel_dim=1).load_state_dict(module.state_dict())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_moving_a_model_to_another_dtype(dtype):
    model = nn.Sequential(nn.Linear(4, 3), two.module(channels=3, channel_dim=-1), mish.module()).to(dtype)
    x = torch.randn(5, 4, dtype=dtype)
    y = model(x)
    y.sum().backward()
    assert y.dtype is dtype
    assert all(p.dtype is dtype and p.grad.dtype is dtype for p in model.parameters())


def test_float32_parameters_serve_half_inputs():
    module = swish.module(channels=6, channel_dim=1)
    x = torch.randn(4, 6).half()
    module(x).sum().backward()
    assert module(x).dtype is torch.float16
    assert module.beta.grad.dtype is torch.float32
    made_half = swish.module().half()
    assert made_half(x).dtype is torch.float16


def test_parameters_are_made_on_the_given_device():
    from actium.module import ActivationModule

    module = ActivationModule(swish, channels=2, channel_dim=0, device="meta", dtype=torch.bfloat16)
    assert module.beta.is_meta
    assert module.beta.dtype is torch.bfloat16
    with pytest.raises(DeviceError, match="meta"):
        module(torch.ones(2))


def test_learning_a_parameter_that_was_not_declared():
    module = leaky.module(learn=("slope",), channels=2, channel_dim=0)
    module(torch.tensor([-1.0, -2.0])).sum().backward()
    assert module.slope.grad.tolist() == [-1.0, -2.0]
    assert list(dict(leaky.module().named_parameters())) == []


def test_parameter_gradients_train_a_model():
    torch.manual_seed(0)
    module = soft_clip.module()
    x = torch.randn(1000) * 3
    target = soft_clip(x, theta=2.5)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        ((module(x) - target) ** 2).mean().backward()
        optimizer.step()
    assert module.theta.item() == pytest.approx(2.5, rel=1e-2)


def test_repr_states_what_differs():
    assert repr(mish.module()) == "mish()"
    assert repr(leaky.module(slope=0.5)) == "leaky(slope=0.5)"
    assert repr(two.module(channels=3, channel_dim=1)) == "two(a=1.5, b=0.5, learn=a+b, channels=3, channel_dim=1)"
    assert "inplace=True" in repr(silu.module(inplace=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 3}, "3 channels need channel_dim"),
        ({"channels": 0}, "positive integer, got 0"),
        ({"channels": True}, "positive integer, got True"),
        ({"channels": 2.0}, "positive integer, got 2.0"),
        ({"gamma": 1.0}, "no parameter 'gamma'; it has: a, b"),
        ({"learn": ("gamma",)}, "no parameter 'gamma'; it has: a, b"),
        ({"b": 9.0}, "9.0 is outside .0, 4."),
        ({"b": math.nan}, "nan is outside"),
        ({"a": "1"}, "expected a number, got str"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ParameterError, match=message):
        two.module(**arguments)


def test_wrong_channel_count_names_both_sizes():
    module = two.module(channels=3, channel_dim=1)
    with pytest.raises(ChannelError, match=r"'a' has 3 values, but dimension 1 of the input \(2, 5\) has size 5"):
        module(torch.ones(2, 5))
    with pytest.raises(ChannelError, match=r"channel_dim=1 does not exist in an input of shape \(3,\)"):
        module(torch.ones(3))


# --- inplace is a permission ---------------------------------------------------------------------------


def test_inplace_module_overwrites_where_that_is_exact():
    module = relu.module(inplace=True)
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    hidden = x * 1.0
    address = hidden.data_ptr()
    y = module(hidden)
    assert y.data_ptr() == address
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 1.0]


def test_inplace_module_keeps_what_backward_needs():
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    for module in (silu.module(inplace=True), swish.module(inplace=True)):
        hidden = x * 1.0
        before = hidden.detach().clone()
        module(hidden).sum().backward()
        assert torch.equal(hidden, before)
    with torch.no_grad():
        hidden = x * 1.0
        assert silu.module(inplace=True)(hidden).data_ptr() == hidden.data_ptr()


def test_inplace_module_leaves_a_leaf_alone():
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    relu.module(inplace=True)(x).sum().backward()
    assert x.tolist() == [-1.0, 2.0]
    with pytest.raises(InplaceError, match="leaf"):
        relu(x, inplace=True)


def test_attributes_that_do_not_exist():
    with pytest.raises(AttributeError, match="nothing"):
        _ = two.module().nothing


# --- Where the call does more than the formula says ------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"inplace": True}, {"memory": "bits"}, {"memory": "bits", "inplace": True}, {"channel_dim": -1}]
)
def test_the_module_of_brelu_takes_the_sign_from_the_channel(options):
    module = actium.brelu.module(**options)
    grads = []
    for m in (module, actium.nn.BReLU(**options), pickle.loads(pickle.dumps(module))):
        x = torch.linspace(-2, 2, 24).reshape(2, 3, 4).requires_grad_()
        y = m(x * 1)
        y.sum().backward()
        grads.append((y.detach(), x.grad))
    assert not torch.equal(grads[0][0], torch.relu(x))
    assert all(torch.equal(a, b) for pair in grads for a, b in zip(pair, grads[0], strict=True))
    assert repr(module).startswith(f"brelu(channel_dim={options.get('channel_dim', 1)}")


def test_a_given_or_learned_sign_of_brelu_is_that_of_every_channel():
    x = torch.tensor([[-1.0, -2.0], [3.0, 4.0]])
    assert_same_bits(actium.brelu.module(sign=-1.0)(x), x.clamp(max=0))
    assert [n for n, _ in actium.brelu.module(learn=("sign",)).named_parameters()] == ["raw_sign"]


def test_the_module_of_rrelu_draws_in_training_only():
    module, x = actium.rrelu.module(lower=0.1), -torch.ones(1000)
    torch.manual_seed(0)
    y = module(x)
    torch.manual_seed(0)
    assert_same_bits(y, actium.nn.RReLU(0.1)(x))
    assert 0.1 <= -y.max() < 0.12 < 0.3 < -y.min() <= 1 / 3
    assert_same_bits(module.eval()(x), actium.nn.RReLU(0.1).eval()(x))
    assert module(x).unique().numel() == 1
    assert repr(module) == "rrelu(lower=0.1, upper=0.333333)"
    with pytest.raises(ParameterError, match="exceeds"):
        actium.rrelu.module(lower=0.5)
    with pytest.raises(ParameterError, match="slope"):
        actium.rrelu.module(slope=0.5)


def test_an_assigned_number_is_the_one_that_is_computed_with():
    x = torch.tensor([-1.0, 2.0])
    layer = actium.nn.LeakyReLU(0.1)
    twin = copy.copy(layer)
    layer.negative_slope = 0.5
    assert layer(x).tolist() == [-0.5, 2.0]
    assert "0.5" in repr(layer)
    layer.negative_slope = 0.01  # the default, which has the shortest path
    torch.testing.assert_close(layer(x), torch.tensor([-0.01, 2.0]))
    torch.testing.assert_close(twin(x), torch.tensor([-0.1, 2.0]))
    with pytest.raises(ParameterError):
        layer.negative_slope = "steep"


def test_an_assigned_number_of_a_range_is_still_trained_and_saved():
    clip = actium.formula("clamp(x, -t, t)", t=actium.learnable(2.0, positive=True)).module()
    clip.t = 5.0
    assert clip(torch.tensor([100.0])).item() == pytest.approx(5.0)
    assert clip.t.requires_grad
    other = actium.formula("clamp(x, -t, t)", t=actium.learnable(2.0, positive=True)).module()
    other.load_state_dict(clip.state_dict())
    assert other.t.item() == pytest.approx(5.0)
    with pytest.raises(ParameterError):
        clip.t = -1.0


@pytest.mark.parametrize("name", ["HardClip", "SReLU", "SoftplusClip", "TanhClip", "PReLU"])
def test_modules_of_trained_ranges_are_made_without_memory_and_replicated(name):
    with torch.device("meta"):
        assert repr(getattr(actium.nn, name)())
    layer = getattr(actium.nn, name)()
    replica = layer._replicate_for_data_parallel()
    for key, parameter in layer._parameters.items():  # as torch.nn.parallel.replicate does
        replica._parameters.pop(key, None)
        setattr(replica, key, parameter.detach().clone().requires_grad_())
    x = torch.randn(2, 3)
    assert torch.equal(replica(x), layer(x))
    assert repr(replica)
