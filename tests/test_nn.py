"""The modules of `actium.nn`: named, called, printed, saved and loaded like those of torch."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest
import torch
from torch.autograd import gradcheck

import actium
import actium.nn
from actium.catalogue import ENTRIES, get
from actium.errors import ChannelError, ParameterError, TargetError
from actium.module import ActivationModule

CLASSES = sorted(ENTRIES.classes)
X = torch.linspace(-4, 4, 24).reshape(2, 3, 4)


def make(name, **arguments):
    return getattr(actium.nn, name)(**arguments)


@pytest.mark.parametrize("name", CLASSES)
def test_a_module_computes_its_function(name):
    module = make(name).eval()
    assert isinstance(module, ActivationModule)
    assert type(module).__name__ == name
    torch.testing.assert_close(module(X), get(name).activation()(X))


@pytest.mark.parametrize("name", [*CLASSES, "AdaptiveMixture"])
def test_a_module_survives_pickle_copy_and_state(name):
    module = make(name).eval()
    for other in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module)):
        assert type(other) is type(module)
        assert repr(other) == repr(module)
        assert torch.equal(other(X), module(X))
    fresh = make(name).eval()
    fresh.load_state_dict(module.state_dict())
    assert torch.equal(fresh(X), module(X))


@pytest.mark.parametrize("name", [*CLASSES, "AdaptiveMixture"])
def test_every_module_takes_inplace_as_model_builders_pass_it(name):
    for inplace in (False, True):
        module = make(name, inplace=inplace).eval()
        assert module.inplace is inplace
        layers = torch.nn.Sequential(torch.nn.Linear(4, 4), module)
        layers(torch.randn(5, 4)).sum().backward()
        assert layers[0].weight.grad is not None


@pytest.mark.parametrize("name", [c for c in CLASSES if get(c).torch_name])
def test_the_constructor_begins_like_that_of_torch(name):
    theirs = [
        p for p in inspect.signature(getattr(torch.nn, name)).parameters.values() if p.name not in ("args", "kwargs")
    ]
    ours = inspect.signature(getattr(actium.nn, name)).parameters
    for place, parameter in enumerate(p for p in theirs if p.name not in ("min_value", "max_value")):
        assert list(ours)[place] == parameter.name
        default = ours[parameter.name].default
        if parameter.default is not inspect.Parameter.empty and (name, parameter.name) != ("Softplus", "threshold"):
            assert default == parameter.default


def test_modules_print_like_those_of_torch():
    same = [
        ("ReLU", {"inplace": True}),
        ("LeakyReLU", {}),
        ("ELU", {"alpha": 0.5}),
        ("GELU", {"approximate": "tanh"}),
        ("PReLU", {"num_parameters": 3}),
        ("Hardtanh", {}),
        ("Mish", {}),
        ("Softplus", {"threshold": 20.0}),
        ("Threshold", {"threshold": 0.1, "value": 20.0}),
    ]
    for name, arguments in same:
        assert repr(make(name, **arguments)) == repr(getattr(torch.nn, name)(**arguments))
    assert repr(actium.nn.Swish()) == "Swish(beta=1, learn=('beta',))"
    swish = actium.nn.Swish(channels=3, channel_dim=1)
    assert repr(swish) == "Swish(beta=1, learn=('beta',), channels=3, channel_dim=1)"
    with torch.no_grad():
        swish.beta[1] = 2.5
    assert "beta=1…2.5" in repr(swish)


def test_unknown_and_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match="slope"):
        actium.nn.LeakyReLU(slope=0.1)
    with pytest.raises(ParameterError, match="tanh"):
        actium.nn.GELU("erf")
    with pytest.raises(ParameterError, match="exceeds"):
        actium.nn.RReLU(0.5, 0.1)
    with pytest.raises(ParameterError, match="is not below max_val"):
        actium.nn.Hardtanh(1.0, 0.0)
    with pytest.raises(ParameterError, match="alpha"):
        actium.nn.CELU(0.0)
    with pytest.raises(ParameterError, match="beta"):
        actium.nn.Softplus(0.0)
    with pytest.raises(ParameterError, match="channel_dim"):
        actium.nn.Swish(channels=3)
    with pytest.raises(AttributeError, match="Misch"):
        _ = actium.nn.Misch


def test_the_classes_are_listed_and_documented():
    assert set(CLASSES) <= set(dir(actium.nn))
    assert set(CLASSES) <= set(actium.nn.__all__)
    for name in CLASSES:
        assert inspect.getdoc(getattr(actium.nn, name))
        assert getattr(actium.nn, name) is getattr(actium.nn, name)


# --- Parameters -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3])
def test_prelu_loads_the_state_of_torch(count):
    theirs = torch.nn.PReLU(count, init=0.1)
    with torch.no_grad():
        theirs.weight += torch.arange(count)
    ours = actium.nn.PReLU(count)
    ours.load_state_dict(theirs.state_dict())
    results = []
    for module in (ours, theirs):
        leaf = X.clone().requires_grad_()
        y = module(leaf)
        results.append((y.detach(), *torch.autograd.grad(y.square().sum(), (leaf, module.weight))))
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("shape", [(), (5,), (5, 3), (5, 3, 2, 2)])
def test_prelu_takes_every_shape_that_torch_takes(shape):
    x = torch.randn(shape)
    torch.testing.assert_close(actium.prelu(x, torch.tensor([0.3])), torch.nn.functional.prelu(x, torch.tensor([0.3])))
    if len(shape) > 1:
        weight = torch.tensor([0.1, 0.2, 0.3])
        torch.testing.assert_close(actium.prelu(x, weight), torch.nn.functional.prelu(x, weight))


@pytest.mark.parametrize("name", [c for c in CLASSES if any(p.learnable for p in get(c).parameters)])
def test_learnable_parameters_get_gradients_and_one_value_per_channel(name):
    count = {"num_parameters": 3} if name == "PReLU" else {"channels": 3, "channel_dim": 1}
    module = make(name, **count)
    module(X + 0.1).square().sum().backward()
    for parameter in module.parameters():
        assert parameter.shape == (3,)
        assert parameter.grad is not None
        assert bool(torch.isfinite(parameter.grad).all())
    with pytest.raises(ChannelError):
        module(torch.zeros(2, 5, 4))


def test_a_fixed_parameter_can_be_trained_on_request():
    module = actium.nn.LearnableLeaky(learn="shift")
    module(X).sum().backward()
    assert float(module.shift.grad) == X.numel()
    assert set(dict(module.named_parameters())) == {"shift", "alpha", "scale"}


def test_a_clip_threshold_stays_positive_however_it_is_pushed():
    module = actium.nn.TanhClip()
    optimiser = torch.optim.SGD(module.parameters(), lr=10.0)
    for _ in range(20):
        optimiser.zero_grad()
        module(X).abs().sum().backward()
        optimiser.step()
    assert 0 < float(module.theta.detach()) < 0.1
    assert bool(torch.isfinite(module(X)).all())


# --- The special ones -------------------------------------------------------------------------------------


def test_rrelu_draws_in_training_and_takes_the_mean_in_evaluation():
    module = actium.nn.RReLU(0.2, 0.4)
    x = torch.full((4000,), -1.0, requires_grad=True)
    y = module(x)
    (slopes,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(y, -slopes)
    y = y.detach()
    assert -0.4 <= y.min() < -0.38
    assert -0.22 < y.max() <= -0.2
    assert float(y.mean()) == pytest.approx(-0.3, abs=0.01)
    assert torch.equal(module.eval()(x), torch.full_like(x, -0.3))
    assert torch.equal(module.train()(torch.ones(3)), torch.ones(3))


def test_rrelu_takes_the_arguments_of_torch():
    x = torch.randn(50)
    torch.testing.assert_close(actium.rrelu(x, 0.1, 0.5, False, False), torch.nn.functional.rrelu(x, 0.1, 0.5))
    torch.testing.assert_close(actium.rrelu(x, 0.3, 0.3, training=True), torch.nn.functional.leaky_relu(x, 0.3))


def test_gelu_chooses_its_form():
    for form in ("none", "tanh"):
        expected = torch.nn.functional.gelu(X.double(), approximate=form).float()
        torch.testing.assert_close(actium.gelu(X, approximate=form), expected, rtol=1e-6, atol=1e-12)
        assert torch.equal(actium.nn.GELU(form)(X), actium.gelu(X, approximate=form))


def test_brelu_alternates_over_channels_and_leaves_samples_apart():
    x = torch.randn(6, 4, 5)
    y = actium.nn.BReLU()(x)
    assert torch.equal(y[:, 0::2], x[:, 0::2].clamp(min=0))
    assert torch.equal(y[:, 1::2], x[:, 1::2].clamp(max=0))
    order = torch.randperm(6)
    assert torch.equal(actium.brelu(x[order]), y[order])
    last = actium.nn.BReLU(channel_dim=-1)(x)
    assert torch.equal(last[..., 1], x[..., 1].clamp(max=0))
    assert torch.equal(actium.brelu(torch.tensor(-1.0)), torch.tensor(0.0))


@pytest.mark.parametrize("degree", [1, 4])
def test_a_polynomial_has_its_degree(degree):
    module = actium.nn.Polynomial(degree, channels=3, channel_dim=1)
    assert len(list(module.parameters())) == degree + 1
    assert repr(module).startswith(f"Polynomial(degree={degree}, ")
    module(X).sum().backward()
    torch.testing.assert_close(module.coeff_1.grad, X.sum((0, 2)))
    assert repr(pickle.loads(pickle.dumps(module))) == repr(module)


def test_a_mixture_is_the_weighted_sum_of_its_bases():
    module = actium.nn.AdaptiveMixture("relu", "tanh", "identity").double()
    with torch.no_grad():
        module.logits.copy_(torch.tensor([[0.3], [-1.0]]))
    weights = module.get_weights()
    assert weights.sum() == pytest.approx(1.0)
    x = X.double()
    torch.testing.assert_close(module(x), weights[0] * x.relu() + weights[1] * x.tanh() + weights[2] * x)
    expected = torch.softmax(torch.tensor([0.3, -1.0, 0.0], dtype=torch.float64), 0)
    torch.testing.assert_close(weights, expected)


def test_a_mixture_learns_without_a_redundant_direction():
    module = actium.nn.AdaptiveMixture("relu", "silu", "elu", channels=3, channel_dim=1).double()
    assert module.logits.shape == (2, 3)
    assert module.get_weights().shape == (3, 3)

    def function(x, logits):
        return torch.func.functional_call(module, {"logits": logits}, (x,))

    x = (X + 0.05).double().requires_grad_()
    assert gradcheck(function, (x, module.logits.detach().clone().requires_grad_()))


def test_a_mixture_needs_different_known_bases():
    for bases in (("relu",), ("relu", "relu")):
        with pytest.raises(ParameterError, match="mixture"):
            actium.nn.AdaptiveMixture(*bases)
    with pytest.raises(TargetError, match="did you mean relu"):
        actium.nn.AdaptiveMixture("relo", "tanh")
    with pytest.raises(ParameterError, match="channel_dim"):
        actium.nn.AdaptiveMixture(channels=2)


def test_inplace_modules_work_in_place_only_where_the_gradient_allows_it():
    for module, overwrites in (
        (actium.nn.ReLU(True), True),
        (actium.nn.SiLU(True), False),
        (actium.nn.LeakyReLU(-1.0, True), False),
    ):
        inner = X.clone().requires_grad_() * 1
        before = inner.detach().clone()
        y = module(inner)
        assert (y is inner) == overwrites
        assert torch.equal(inner, before) != overwrites
        y.sum().backward()
