"""Gains: PyTorch's where they are principled, the others by quadrature, and what cannot have one."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from torch import nn

import actium
from actium.errors import ParameterError
from actium.models import moments


@pytest.mark.parametrize(
    ("name", "torch_name", "slope"),
    [("identity", "linear", None), ("relu", "relu", None), ("leaky_relu", "leaky_relu", 0.01)]
    + [("leaky_relu", "leaky_relu", s) for s in (0.0, 0.2, 1.0, -1.0)],
)
def test_pytorchs_principled_gains_are_reproduced(name, torch_name, slope):
    given = {} if slope is None else {"negative_slope": slope}
    wanted = nn.init.calculate_gain(torch_name, slope)
    for convention in ("forward", "backward", "torch"):
        assert actium.gain(name, convention, **given) == pytest.approx(wanted, rel=4e-16)


@pytest.mark.parametrize(
    ("name", "forward", "backward", "torchs"),
    [("tanh", 1.5925, 1.4674, 5 / 3), ("sigmoid", 1.8462, 4.7226, 1.0), ("selu", 1.0, 0.9660, 0.75)],
)
def test_pytorchs_other_gains_are_conventions_of_their_own(name, forward, backward, torchs):
    assert actium.gain(name) == pytest.approx(forward, abs=5e-5)
    assert actium.gain(name, "backward") == pytest.approx(backward, abs=5e-5)
    assert actium.gain(name, "torch") == nn.init.calculate_gain(name) == pytest.approx(torchs)


def test_where_pytorch_has_no_gain_the_error_says_what_to_use():
    with pytest.raises(ParameterError, match=r"gelu.*gain\('gelu'\)"):
        actium.gain("gelu", "torch")


@pytest.mark.parametrize(
    "act", [actium.gelu, "gelu", nn.GELU, nn.GELU(), actium.nn.GELU(), torch.nn.functional.gelu], ids=repr
)
def test_every_way_to_name_an_activation_has_the_same_certified_gain(act):
    assert actium.gain(act) == pytest.approx(1.5335304411955, rel=1e-12)
    assert moments(act).method == "certified"


@pytest.mark.parametrize(
    "act",
    [lambda: nn.ELU(0.5), functools.partial(nn.ELU, 0.5), lambda alpha=0.5: nn.ELU(alpha)],
    ids=["lambda", "partial", "default"],
)
def test_a_function_that_makes_a_module_has_the_gain_of_the_module(act):
    assert actium.gain(act) == actium.gain(nn.ELU(0.5))
    assert moments(act).method == "certified"


def test_arguments_reach_the_function_that_makes_the_module():
    assert actium.gain(lambda alpha=1.0: nn.ELU(alpha), alpha=0.5) == actium.gain(nn.ELU(0.5))
    assert actium.gain(lambda: actium.nn.PReLU(), weight=0.5) == actium.gain(actium.nn.PReLU(init=0.5))
    with pytest.raises(ParameterError, match="alpha"):
        actium.gain(lambda: nn.ELU(0.5), alpha=1.0)


def test_a_function_that_makes_no_module_says_so():
    with pytest.raises(ParameterError, match="made a int"):
        actium.gain(lambda: 3)


def test_a_function_that_hands_its_arguments_on_is_one_of_tensors():
    assert actium.gain(lambda *args: torch.relu(*args)) == pytest.approx(math.sqrt(2))


def test_learned_values_count():
    layer = actium.nn.PReLU(2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, 0.7]))
    assert actium.gain(layer) == pytest.approx(math.sqrt(2 / (1 + 0.6**2)), rel=1e-7)


def test_a_function_without_a_formula_is_estimated_and_says_so():
    found = moments(lambda x: torch.relu(x.sort().values))
    assert found.method == "float64"
    assert found.square == pytest.approx(0.5, abs=1e-9)


def test_a_function_with_too_many_pieces_is_estimated_and_says_so():
    assert moments(lambda x: torch.floor(x)).method == "float64"


@pytest.mark.parametrize("act", [lambda x: x * 0 + 0.0 * torch.relu(x), actium.formula("0 * x + relu(x) - relu(x)")])
def test_what_is_zero_everywhere_has_no_gain(act):
    with pytest.raises((ParameterError, actium.errors.TraceError)):
        actium.gain(act)


def test_wrong_arguments_are_named():
    with pytest.raises(ParameterError, match="'backward'"):
        actium.gain("relu", "sideways")
    with pytest.raises(ParameterError, match="alpha"):
        actium.gain(actium.relu, alpha=1.0)
    with pytest.raises(ParameterError, match="slope"):
        actium.gain(nn.PReLU(), slope=1.0)


def test_growth_tells_stable_from_unstable():
    assert moments("tanh").growth < 1 < moments("gelu").growth
    assert moments("relu").growth == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize(
    "unit", [actium.nn.SwiGLU, actium.nn.GLU("silu"), actium.glu("silu"), lambda: actium.nn.SwiGLU()], ids=range(4)
)
def test_a_gated_unit_has_the_moments_of_the_product(unit):
    torch.manual_seed(0)
    z, u = torch.randn(2, 2_000_000, dtype=torch.float64)
    y = torch.nn.functional.silu(z) * u
    found = moments(unit)
    assert found.method == "certified"
    assert found.mean == 0
    assert found.square == pytest.approx(float(y.square().mean()), rel=0.01)
    assert found.fourth == pytest.approx(float(y.pow(4).mean()), rel=0.05)
    a, b = z.clone().requires_grad_(), u.clone().requires_grad_()
    slopes = torch.autograd.grad((torch.nn.functional.silu(a) * b).sum(), (a, b))
    assert found.slope_square == pytest.approx(sum(float(s.square().mean()) for s in slopes) / 2, rel=0.01)
    q = 1.02
    more = torch.nn.functional.silu(z * math.sqrt(q)) * u * math.sqrt(q)
    assert found.growth == pytest.approx(
        math.log(float(more.square().mean() / y.square().mean())) / math.log(q), abs=0.02
    )


def test_pytorchs_gated_unit_is_one_of_sigmoid():
    assert moments(torch.nn.GLU()) == moments(actium.nn.GLU()) == moments(torch.nn.GLU)
    assert moments(torch.nn.GLU()).square == moments("sigmoid").square
