"""Functions and modules → formulas, and the line of what cannot be one."""

import functools

import numpy as np
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from actium.errors import ParameterError, TraceError
from actium.symbolic.parameters import Parameter, learnable
from actium.symbolic.parse import parse
from actium.symbolic.trace import trace


def text_of(target, **options):
    return trace(target, **options).formula.text


def refusal(target, **options):
    with pytest.raises(TraceError) as caught:
        trace(target, **options)
    return str(caught.value)


# --- Functions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (torch.tanh, "tanh(x)"),
        (torch.special.expit, "sigmoid(x)"),
        (F.gelu, "gelu(x)"),
        (F.logsigmoid, "logsigmoid(x)"),
        (F.softplus, "softplus(x)"),
        (F.silu, "silu(x)"),
        (F.hardswish, "hardswish(x)"),
        (lambda x: x * torch.tanh(F.softplus(x)), "x * tanh(softplus(x))"),
        (lambda x: 2 - x, "2 - x"),
        (lambda x: 2 / (1 - x) + 3 * x, "2 / (1 - x) + 3*x"),
        (lambda x: 2**x + x**3, "2**x + x**3"),
        (lambda x: -abs(x), "-abs(x)"),
        (lambda x: x.sigmoid().mul(x).add(1, alpha=2), "sigmoid(x)*x + 2"),
        (lambda x: torch.rsub(x, 1, alpha=2), "1 - 2*x"),
        (lambda x: torch.sub(input=x, other=1), "x - 1"),
        (lambda x: torch.true_divide(x, 2), "x / 2"),
        (lambda x: x.clamp(min=0), "clamp(x, min=0)"),
        (lambda x: torch.clip(x, -1, 1), "clamp(x, -1, 1)"),
        (lambda x: torch.clamp_max(x, 1.0), "clamp(x, max=1)"),
        (lambda x: torch.maximum(x, torch.tensor(0.0)), "max(x, 0)"),
        (lambda x: x.min(torch.zeros_like(x)), "min(x, 0)"),
        (lambda x: torch.where(x > 0, x, 0.0), "where(x > 0, x, 0)"),
        (lambda x: x.where(x > 0, torch.full_like(x, 0.5)), "where(x > 0, x, 0.5)"),
        (lambda x: x.masked_fill(x < 0, 0.0), "where(x < 0, 0, x)"),
        (lambda x: torch.where((x > 0) & ~(x >= 1) | (x == 3), x, 1.0), "where(x > 0 and not x >= 1 or x == 3, x, 1)"),
        (lambda x: (x > 0) * x, "where(x > 0, 1, 0) * x"),
        (lambda x: (x > 0).to(x.dtype) * x, "where(x > 0, 1, 0) * x"),
        (lambda x: F.leaky_relu(x, 0.2), "where(x <= 0, 0.2 * x, x)"),
        (lambda x: F.threshold(x, 1.0, 2.0), "threshold(x, 1, 2)"),
        (lambda x: F.rrelu(x), "rrelu(x)"),
        (lambda x: F.dropout(x, 0.5, training=False), "x"),
        (lambda x: np.sqrt(2 / np.pi) * x, "0.7978845608028654 * x"),
        (lambda x: x * torch.tensor([1.5], dtype=x.dtype, device=x.device), "1.5 * x"),
        (lambda x: x.new_tensor(2.0) + x, "2 + x"),
        (lambda x: x.contiguous().clone().cpu().to(x.device) if torch.is_floating_point(x) else None, "x"),
        (lambda x: torch.addcmul(x, x, x, value=0.5), "x + 0.5 * (x * x)"),
        (functools.partial(F.leaky_relu, negative_slope=0.2), "where(x <= 0, 0.2 * x, x)"),
    ],
)
def test_trace_of_a_function(target, expected):
    assert trace(target).formula.root is parse(expected).root


def test_trace_makes_parameters_of_defaults():
    def soft_clip(x, threshold=learnable(1.0, positive=True), shift=0, kind="tanh", flip=False):  # noqa: B008
        assert kind == "tanh"
        return threshold * torch.tanh(x / threshold) + shift

    found = trace(soft_clip)
    assert found.name == "soft_clip"
    assert (
        found.formula.root is parse("threshold * tanh(x / threshold) + shift", parameters=["threshold", "shift"]).root
    )
    assert found.parameters == (Parameter("threshold", 1.0, learnable=True, positive=True), Parameter("shift", 0.0))
    assert found.values == {"threshold": [1.0], "shift": [0.0]}
    assert not found.casts


def test_trace_declarations_replace_those_found():
    given = {"slope": Parameter("", 0.5, learnable=True, min=0.0)}
    (slope,) = trace(F.leaky_relu, parameters={"negative_slope": given["slope"]}).parameters
    assert slope == Parameter("negative_slope", 0.5, learnable=True, min=0.0)
    assert "no parameter 'slope'" in refusal(F.leaky_relu, parameters=given)
    (alpha,) = trace(nn.PReLU(), parameters={"weight": Parameter("", 0.0, learnable=True, max=1.0)}).parameters
    assert (alpha.init, alpha.max) == (0.25, 1.0)
    with pytest.raises(ParameterError, match="outside"):
        trace(nn.PReLU(), parameters={"weight": Parameter("", 5.0, min=1.0)})


def test_trace_takes_several_inputs():
    assert text_of(lambda a, b: a * torch.sigmoid(b), inputs=("x", "gate")) == "x * sigmoid(gate)"
    assert "'gate'" in refusal(lambda a, b: a, inputs=("x", "gate"))


def test_trace_takes_methods_and_callable_objects():
    class Shape:
        def curve(self, z, x=2.0):
            return z * x

        def __call__(self, x):
            return torch.exp(x)

    assert text_of(Shape().curve) == "z * x"  # the input keeps its name where "x" is a parameter
    found = trace(Shape())
    assert (found.formula.text, found.name) == ("exp(x)", "Shape")


def test_trace_gives_in_place_arguments_torchs_meaning():
    def shared(x):
        y = x
        F.relu(y, inplace=True)
        return x + 1

    def added(x):
        y = x
        y += 1
        return x * y

    assert text_of(shared) == "where(x <= 0, 0, x) + 1"
    assert text_of(added) == "(x + 1) * (x + 1)"


def test_trace_sees_casts_of_the_input_and_not_of_parameters():
    assert trace(lambda x: torch.exp(x.float()).to(x.dtype)).casts
    assert trace(lambda x: x.type(torch.float16).type_as(x)).casts
    assert not trace(lambda x: x.to("cpu")).casts
    assert not trace(lambda x, a=1.0: x * a.to(x.dtype)).casts


def test_trace_stand_in_passes_for_a_tensor():
    def picky(x):
        assert isinstance(x, torch.Tensor)
        assert torch.is_tensor(x)
        assert not x.is_cuda
        assert not x.requires_grad
        assert x.dtype is torch.float32
        assert x.device.type == "cpu"
        assert "x" in f"{x}"
        return x * 2

    assert text_of(picky) == "2 * x"


# --- Modules ----------------------------------------------------------------------------------------------


class SmoothRoot(nn.Module):
    def forward(self, x):
        return x * torch.tanh(torch.sqrt(x**2 + 1))


class ShiftedRamp(nn.Module):
    def __init__(self, gain=1.5, offset=0.25):
        super().__init__()
        self.gain, self.offset = gain, offset

    def forward(self, x):
        return self.gain * torch.relu(x + self.offset)


class Sloped(nn.Module):
    def __init__(self, count=1):
        super().__init__()
        self.slope = nn.Parameter(torch.full((count,), 0.25))

    def forward(self, x):
        return torch.where(x > 0, x, self.slope * x)


class TanhLimit(nn.Module):
    def __init__(self, limit=2.0):
        super().__init__()
        self.limit = nn.Parameter(torch.tensor(limit))

    def forward(self, x):
        return self.limit * torch.tanh(x / self.limit)


class SoftplusLimit(nn.Module):
    def __init__(self):
        super().__init__()
        self.limit = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        u = x / self.limit
        bound = self.limit * F.softplus(u) - self.limit * torch.log(1 + torch.exp(-torch.abs(u)))
        return torch.sign(x) * torch.minimum(torch.abs(x), bound)


class Blend(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Parameter(torch.tensor([0.5, 1.0, 1.5]))

    def forward(self, x):
        w = torch.softmax(self.mix, dim=0)
        return w[0] * torch.relu(x) + w[1] * torch.tanh(x) + w[-1] * x


class Powers(nn.Module):
    def __init__(self, degree=3):
        super().__init__()
        self.coeffs = nn.Parameter(torch.arange(degree + 1.0))

    def forward(self, x):
        total, power = self.coeffs[0], x
        for i in range(1, len(self.coeffs)):
            total = total + self.coeffs[i] * power
            power = power * x
        return total


class Everything(nn.Module):
    def __init__(self, count=3, shifted=False):
        super().__init__()
        self.alpha = nn.Parameter(torch.linspace(0.1, 0.3, count))
        self.scale = nn.Parameter(torch.ones(count), requires_grad=False)
        if shifted:
            self.shift = nn.Parameter(torch.zeros(count))
        else:
            self.register_buffer("shift", torch.zeros(count))

    def forward(self, x):
        ramp = F.relu(x) + self.alpha * (-F.relu(-x))
        return self.scale.view(1, -1) * ramp + self.shift[None, :]


class Guarded(nn.Module):
    def forward(self, x):
        x = torch.clamp(x, -50, 50)
        return x * torch.sigmoid(x)


class OwnAutocast(nn.Module):
    def forward(self, x):
        with torch.cuda.amp.autocast():
            x = x.float()
            return torch.exp(-torch.abs(x)) / (1 + torch.exp(-torch.abs(x)))


class CappedRamp(nn.Module):
    def __init__(self, cap=6.0):
        super().__init__()
        self.cap = cap

    def forward(self, x):
        with torch.cuda.amp.autocast():
            return torch.clamp(F.relu(x), 0, self.cap)


class WideSigmoid(nn.Module):
    def forward(self, x):
        return torch.sigmoid(x / 10.0) * 10.0


class NegativeZero(nn.Module):
    def forward(self, x):
        return torch.where(x > 0, x, torch.zeros_like(x) * x)


@pytest.mark.parametrize(
    ("module", "expected", "parameters"),
    [
        (SmoothRoot(), "x * tanh(sqrt(x**2 + 1))", []),
        (ShiftedRamp(), "1.5 * relu(x + 0.25)", []),
        (Sloped(), "where(x > 0, x, slope * x)", ["slope"]),
        (TanhLimit(), "limit * tanh(x / limit)", ["limit"]),
        (
            SoftplusLimit(),
            "sign(x) * min(abs(x), limit*softplus(x/limit) - limit*log(exp(-abs(x/limit)) + 1))",
            ["limit"],
        ),
        (Powers(2), "coeffs_0 + coeffs_1*x + coeffs_2*(x*x)", ["coeffs_0", "coeffs_1", "coeffs_2"]),
        (Everything(1, True), "scale * (relu(x) + alpha * -relu(-x)) + shift", ["alpha", "scale", "shift"]),
        (Everything(3), "scale * (relu(x) + alpha * -relu(-x)) + shift", ["alpha", "scale", "shift"]),
        (Guarded(), "clamp(x, -50, 50) * sigmoid(clamp(x, -50, 50))", []),
        (OwnAutocast(), "exp(-abs(x)) / (exp(-abs(x)) + 1)", []),
        (CappedRamp(), "clamp(relu(x), 0, 6)", []),
        (WideSigmoid(), "10 * sigmoid(x / 10)", []),
        (NegativeZero(), "where(x > 0, x, 0)", []),
        (nn.Sequential(nn.ReLU(inplace=True), nn.Dropout(), nn.Identity(), nn.Tanh()), "tanh(relu(x))", []),
        (
            nn.Sequential(TanhLimit(), nn.PReLU()),
            "prelu(p_0_limit*tanh(x/p_0_limit), p_1_weight)",
            ["p_0_limit", "p_1_weight"],
        ),
        (nn.PReLU(4), "prelu(x, weight)", ["weight"]),
        (nn.GELU("tanh"), "gelu(x, 'tanh')", []),
        (nn.Softplus(2, 10), "softplus(x, 2, 10)", []),
        (nn.RReLU(), "rrelu(x)", []),
        (nn.Threshold(1, 2), "threshold(x, 1, 2)", []),
        (nn.Hardshrink(), "hardshrink(x)", []),
        (nn.CELU(2.0), "celu(x, 2)", []),
        (nn.SELU(), "selu(x)", []),
        (nn.Tanhshrink(), "tanhshrink(x)", []),
        (nn.Hardtanh(-2.0, 2.0), "hardtanh(x, -2, 2)", []),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else None,
)
def test_trace_of_a_module(module, expected, parameters):
    found = trace(module)
    assert found.formula.root is parse(expected, parameters=parameters).root
    assert found.formula.parameters == tuple(parameters)
    assert found.name == type(module).__name__


def test_trace_of_a_softmax_mixture_has_one_parameter_for_each_weight():
    found = trace(Blend())
    assert found.formula.parameters == ("mix_0", "mix_1", "mix_2")
    assert found.values == {"mix_0": [0.5], "mix_1": [1.0], "mix_2": [1.5]}
    top = "max(max(mix_0, mix_1), mix_2)"
    parts = [f"exp(mix_{i} - {top})" for i in range(3)]
    total = " + ".join(parts)
    gates = [f"{p} / ({total})" for p in parts]
    expected = f"{gates[0]} * relu(x) + {gates[1]} * tanh(x) + {gates[2]} * x"
    assert found.formula.root is parse(expected, parameters=found.formula.parameters).root


def test_trace_reports_values_and_what_is_trained():
    found = trace(Everything(3))
    alpha, scale, shift = found.parameters
    assert (alpha.learnable, scale.learnable, shift.learnable) == (True, False, False)
    assert found.values["alpha"] == pytest.approx([0.1, 0.2, 0.3], rel=1e-6)
    assert alpha.init == found.values["alpha"][0]
    assert found.values["shift"] == [0.0, 0.0, 0.0]
