"""Modules of gated units: PyTorch's GLU and its relatives, with the activation's parameters."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import actium
import actium.nn
from actium.errors import ParameterError, TraceError
from actium.symbolic.trace import trace
from samples import assert_same_bits, sample

X = sample(5, 8)


def test_without_arguments_it_is_the_glu_of_torch():
    ours, theirs = actium.nn.GLU(), nn.GLU()
    torch.testing.assert_close(ours(X), theirs(X))
    torch.testing.assert_close(actium.nn.GLU(dim=0)(X.t()), nn.GLU(dim=0)(X.t()))
    ours.load_state_dict(theirs.state_dict())


@pytest.mark.parametrize(
    ("module", "function"),
    [
        (actium.nn.SwiGLU, F.silu),
        (actium.nn.GeGLU, F.gelu),
        (lambda **k: actium.nn.GeGLU(approximate="tanh", **k), lambda x: F.gelu(x, approximate="tanh")),
        (actium.nn.ReGLU, F.relu),
        (lambda **k: actium.nn.GLU("identity", **k), lambda x: x),
        (lambda **k: actium.nn.GLU(lambda x: x * torch.tanh(x), **k), lambda x: x * torch.tanh(x)),
    ],
)
def test_variants(module, function):
    a, b = X.chunk(2, 1)
    torch.testing.assert_close(module()(X), a * function(b))
    torch.testing.assert_close(module(gate="first")(X), function(a) * b)
    torch.testing.assert_close(module()(a, b), function(a) * b)
    torch.testing.assert_close(module(dim=0)(X.t()), (a * function(b)).t())


def test_parameters_are_those_of_the_activation():
    module = actium.nn.GLU("swish", gate="first", learn=("beta",), channels=4, channel_dim=1, beta=1.5)
    assert {n: tuple(p.shape) for n, p in module.named_parameters()} == {"activation.beta": (4,)}
    module(X).sum().backward()
    expected = actium.swish.module(learn=("beta",), channels=4, channel_dim=1, beta=1.5)
    (expected(X[:, :4]) * X[:, 4:]).sum().backward()
    torch.testing.assert_close(module.activation.beta.grad, expected.beta.grad)
    fixed = actium.nn.GLU("elu", alpha=0.5, gate="first")
    torch.testing.assert_close(fixed(X), F.elu(X[:, :4], 0.5) * X[:, 4:])
    assert list(fixed.parameters()) == []


def test_a_parameter_with_a_range_is_trained_in_it():
    soft = actium.formula("theta * tanh(x / theta)", name="soft", theta=actium.learnable(2.0, positive=True))
    module = actium.glu(soft).module(dim=1)
    assert list(module.state_dict()) == ["activation.raw_theta"]
    module(X).sum().backward()
    theta = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    up, gate = X.double().chunk(2, 1)
    (theta * torch.tanh(gate / theta) * up).sum().backward()
    slope = -torch.expm1(torch.tensor(-2.0)).item()  # of softplus, where it is 2
    assert module.activation.raw_theta.grad.item() == pytest.approx(theta.grad.item() * slope, rel=1e-4)


def test_a_module_of_the_catalogue_may_be_the_gate():
    module = actium.nn.GLU(actium.nn.PReLU(4))
    up, gate = X.chunk(2, 1)
    torch.testing.assert_close(module(X), up * F.prelu(gate, torch.full((4,), 0.25)))
    assert list(module.state_dict()) == ["activation.weight"]


def test_float32_parameters_serve_half_precision_inputs():
    module = actium.nn.GLU("swish", learn=("beta",))
    y = module(X.bfloat16())
    y.sum().backward()
    assert y.dtype is torch.bfloat16
    assert module.activation.beta.grad.dtype is torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert module(X).dtype is torch.float32


def test_repr():
    assert repr(actium.nn.SwiGLU(gate="first")) == "SwiGLU(\n  dim=-1, gate='first'\n  (activation): silu()\n)"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: actium.nn.GLU(1), "write dim=1"),
        (lambda: actium.nn.GLU(dim="last"), "'last'"),
        (lambda: actium.nn.SwiGLU(gate=0), "got 0"),
        (lambda: actium.nn.GLU("silu", beta=2.0), "beta"),
        (lambda: actium.nn.GLU(actium.nn.SiLU(), learn=("a",)), "learn= belongs"),
        (lambda: actium.nn.GLU(actium.nn.RReLU()), "RReLU"),
        (lambda: actium.nn.GLU(actium.rrelu.module()), "rrelu is more than"),
        (lambda: actium.nn.GeGLU(approximate="erf"), "erf"),
    ],
)
def test_what_cannot_be_made_is_refused(make, message):
    with pytest.raises(ParameterError, match=message):
        make()


def test_halves_are_no_elementwise_function_and_two_tensors_are():
    with pytest.raises(TraceError, match="shape operation"):
        trace(actium.nn.GLU())
    unit = actium.glu("silu")
    assert trace(lambda x: unit(x, x)).formula.text == "x * sigmoid(x) * x"
    assert trace(lambda x: unit(torch.tensor(2.0), x)).formula.text == "2 * sigmoid(2) * x"


@pytest.mark.parametrize("module", [actium.nn.GLU, actium.nn.SwiGLU])
def test_the_checker_judges_what_applies_and_finds_nothing_wrong(module):
    certificate = actium.check(
        module(), dtypes=["float16"], only=["shape-change", "pickle", "deepcopy", "dtype-leak", "false-zero"]
    )
    assert certificate.verdict == "pass"
    assert {f.severity for f in certificate.findings} <= {"info"}
    assert {"pickle", "deepcopy", "dtype-leak"} <= set(certificate.checks_run)
    assert "(96,) input has shape (48,)" in certificate.checks_not_run["false-zero"]


def test_a_block_trains_and_learns_its_parameter():
    torch.manual_seed(0)
    block = nn.Sequential(nn.Linear(4, 32), actium.nn.GLU("swish", learn=("beta",)), nn.Linear(16, 1))
    optimiser = torch.optim.Adam(block.parameters(), 1e-2)
    x = sample(256, 4, scale=1.0)
    target = (x[:, :1] * x[:, 1:2]).sin()
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = F.mse_loss(block(x), target)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert block[1].activation.beta.item() != 1.0


def test_bits_do_not_depend_on_the_form():
    module = actium.nn.SwiGLU(gate="first")
    assert_same_bits(module(X), module(X[:, :4], X[:, 4:]))


# --- Another activation in its place ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "put", [lambda m, a: setattr(m, "activation", a), lambda m, a: m._modules.update(activation=a)]
)
def test_another_activation_makes_another_unit(put):
    module = actium.nn.GLU(actium.nn.PReLU())
    module(X)
    put(module, actium.nn.Swish(learn=("beta",)))
    up, gate = X.chunk(2, 1)
    torch.testing.assert_close(module(X), up * F.silu(gate))
    assert_same_bits(module(gate, up), module(X))
    assert list(module.state_dict()) == ["activation.beta"]
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert_same_bits(twin(X), module(X))
    assert module.unit is actium.glu("swish")


@pytest.mark.parametrize("other", [nn.ReLU(), actium.nn.RReLU(), actium.nn.BReLU(), actium.nn.AdaptiveMixture()])
def test_what_cannot_be_the_gate_cannot_be_put_there(other):
    module = actium.nn.SwiGLU()
    with pytest.raises(ParameterError, match=type(other).__name__):
        module.activation = other
    assert_same_bits(module(X), actium.nn.SwiGLU()(X))
    module._modules["activation"] = other
    with pytest.raises(ParameterError, match=type(other).__name__):
        module(X)


def test_a_compiled_unit_follows_its_activation(fresh_dynamo):
    module = actium.nn.SwiGLU()
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(X), actium.nn.SwiGLU()(X))
    module.activation = actium.nn.ReLU()
    torch.testing.assert_close(compiled(X), actium.nn.ReGLU()(X))


def test_a_wrapper_around_the_activation_keeps_the_unit():
    module = actium.nn.SwiGLU()
    module.activation = torch.compile(module.activation, backend="eager")
    assert_same_bits(module(X), actium.nn.SwiGLU()(X))
