"""Without a formula, a backward is judged by the differences of its own forward: to 1e-6, and without false alarms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from by_hand import ORIGINALS, Made, Original, made_of
from sound_modules import Snake
from test_checks import TORCH
from torch import Tensor, nn

from actium import catalogue
from actium.verify import Certificate, Subject, check
from actium.verify.reference import Float64Reference, is_narrow

GRADIENTS = ("wrong-gradient", "masked-branch", "non-finite-gradient", "invalid-subgradient")


def judge(call: Callable[[Tensor], Tensor], **options) -> Certificate:
    module = call if isinstance(call, nn.Module) else None
    certificate = check(Subject("opaque", call, module=module), **{"only": GRADIENTS, **options})
    assert certificate.reference == "float64"
    return certificate


def alarms(certificate: Certificate) -> list[str]:
    return [str(f) for f in certificate.findings if f.severity != "info"]


@pytest.fixture(autouse=True)
def _one_thread(threads: Callable[[int], None]) -> None:
    threads(1)


# --- Sound code that cannot be traced ---------------------------------------------------------------------------

ELEMENTWISE = [name for name in TORCH if not name.startswith(("GLU", "Softmax", "LogSoftmax"))]


@pytest.mark.parametrize("name", [*ELEMENTWISE, "Softplus", "LeakyReLU", "ELU", "Hardshrink", "Threshold"])
def test_torch_has_the_gradient_of_its_own_forward(name: str):
    module = (
        TORCH[name][0] if name in TORCH else nn.Threshold(0.1, 20.0) if name == "Threshold" else getattr(nn, name)()
    )
    assert not [a for a in alarms(judge(module)) if "wrong-gradient" in a or "invalid" in a]


@pytest.mark.parametrize("name", catalogue.ENTRIES)
def test_every_catalogue_entry_has_the_gradient_of_its_own_forward(name: str):
    activation = catalogue.get(name).activation()

    def opaque(x: Tensor) -> Tensor:
        return activation(x) if bool((x >= 0).any()) else activation(1.0 * x)

    assert not alarms(judge(opaque))


class _NumPy(torch.autograd.Function):
    """Softplus-gated, as somebody writes it who thinks in NumPy."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        y = x.detach().double().numpy()
        return torch.from_numpy(y * np.tanh(np.logaddexp(0, y))).to(x.dtype)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        y = x.double()
        s, g = torch.logaddexp(y, torch.zeros_like(y)), torch.sigmoid(y)
        return (grads[0].double() * (torch.tanh(s) + y * g / torch.cosh(s.clamp(max=300.0)) ** 2)).to(x.dtype)


def table(x: Tensor) -> Tensor:
    """Linear interpolation between 33 knots."""
    knots = torch.linspace(-4.0, 4.0, 33, dtype=torch.float64)
    values = torch.sin(knots) + knots
    y = x.double().clamp(-4.0, 4.0)
    i = ((y.detach() + 4.0) * 4.0).long().clamp(0, 31)
    return torch.lerp(values[i], values[i + 1], (y - knots[i]) * 4.0).to(x.dtype)


OPAQUE: dict[str, Callable[[Tensor], Tensor]] = {
    "numpy": _NumPy.apply,
    "table": table,
    "fast wave": lambda x: x + torch.sin(30 * x) ** 2 / 30,
    "power 1.5": lambda x: torch.sign(x) * x.abs().clamp(min=1e-12) ** 1.5,
    "square root": lambda x: torch.sign(x) * (torch.sqrt(x.abs() + 1) - 1) + 0.01 * x,
    "cubic hinge": lambda x: torch.relu(x + 1) ** 3 - torch.relu(x - 1) ** 3,
    "smoothstep": lambda x: (lambda t: t * t * (3 - 2 * t))((x * 0.5 + 0.5).clamp(0, 1)),
    "growing": lambda x: torch.exp(x.clamp(max=20.0)) - 1,
    "rational": lambda x: (0.02 + x * (0.6 + x * (1.6 + 1.2 * x))) / (1 + (2.4 * x).abs() + (x * x)),
    "many kinks": lambda x: (x - 2 * torch.floor(x / 2) - 1).abs().where(x.abs() < 9, torch.zeros_like(x)),
    "scaled": lambda x: 1e4 * F.silu(x / 1e2),
    "offset": lambda x: 1e6 + torch.tanh(x),
    "steps and a slope": lambda x: torch.where(x > 1.7, x + 3, torch.where(x > 0.3, 0.1 * x, -x)),
    "float32 inside": lambda x: F.hardtanh(x.float()).to(x.dtype),
}


@pytest.mark.parametrize("name", OPAQUE)
def test_sound_code_of_other_people_raises_no_alarm(name: str):
    assert not [a for a in alarms(judge(OPAQUE[name], dtypes=("float32", "float16"))) if "wrong-gradient" in a]


# x + sin(x) with its exact slope: computed in float64, and in float32 whatever it is given.
WAVE = made_of(lambda y: y + torch.sin(y), lambda y: 1 + torch.cos(y))
NARROW_WAVE = Made(
    lambda x: (x.float() + torch.sin(x.float())).to(x.dtype),
    lambda x, g: (g.float() * (1 + torch.cos(x.float()))).to(x.dtype),
)


@pytest.mark.parametrize("call", [WAVE, NARROW_WAVE, Snake(1)], ids=["wave", "wave in float32", "snake"])
def test_a_step_of_many_periods_refutes_no_slope_of_an_oscillation(call: Callable[[Tensor], Tensor]):
    # At 1e14 differences over 2^-26 of x are taken over 1e6 periods, and say 1 wherever the slope is 0 or 2.
    certificate = judge(call, only=(*GRADIENTS, "precision-loss", "false-zero-gradient"))
    assert list(certificate.accuracy) == ["float16", "bfloat16", "float32"]
    assert not alarms(certificate)


# --- A backward that is off ----------------------------------------------------------------------------------------


def scaled(o: Original, factor: float) -> Made:
    def gradient(x: Tensor, g: Tensor) -> Tensor:
        return (o.made.gradient(x.double(), g.double()) * factor).to(x.dtype)

    return Made(o.made.output, gradient)


@pytest.mark.parametrize("original", ORIGINALS, ids=lambda o: o.name)
def test_backward_is_judged_to_1e_6(original: Original):
    def found(factor: float) -> bool:
        return bool(judge(scaled(original, factor), dtypes=("float16",)).of("wrong-gradient"))

    assert found(1 + 2e-6)
    assert found(1 - 2e-6)
    assert not found(1 + 5e-7)
    assert not found(1.0)


@pytest.mark.parametrize("original", ORIGINALS, ids=lambda o: o.name)
def test_backward_of_code_that_computes_in_float32_is_judged_to_5e_4(original: Original):
    def narrow(factor: float) -> Certificate:
        made = scaled(original, factor)
        inside = Made(
            lambda x: made.output(x.float()).to(x.dtype), lambda x, g: made.gradient(x.float(), g.float()).to(x.dtype)
        )
        return judge(inside, dtypes=("float16",))

    assert narrow(1 + 5e-4).of("wrong-gradient")
    assert not alarms(narrow(1.0))


def wave_but(edit: Callable[[Tensor, Tensor], Tensor]) -> Made:
    """x + sin(x) with an edit of its exact slope."""
    return made_of(lambda y: y + torch.sin(y), lambda y: edit(y, 1 + torch.cos(y)))


@pytest.mark.parametrize(
    ("edit", "check_id"),
    [
        (lambda x, slope: slope * (1 + 1e-5), "wrong-gradient"),
        (lambda x, slope: 1 - 0.9 * torch.cos(x), "wrong-gradient"),
        (lambda x, slope: torch.where((x > 20) & (x < 21), 1 - torch.cos(x), slope), "wrong-gradient"),
        (lambda x, slope: torch.where(x == 100.0, 0.25, slope), "invalid-subgradient"),
        (lambda x, slope: torch.where(x.abs() > 2.0**40, torch.nan, slope), "non-finite-gradient"),
    ],
    ids=["scaled", "sign of the cosine", "one part", "one point", "NaN far out"],
)
def test_slopes_of_an_oscillation_are_not_believed_where_differences_see_them(edit, check_id: str):
    assert judge(wave_but(edit), only=(*GRADIENTS, "precision-loss"), dtypes=("bfloat16",)).of(check_id)


# --- How it is measured ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", [0.0, 0.1, 0.26, 1 / 3, 0.4, 0.49, 0.6, 0.99])
@pytest.mark.parametrize("side", [-1, 1])
def test_no_slope_is_measured_across_a_kink(distance: float, side: int):
    reference = Float64Reference(lambda x: F.leaky_relu(x - 1, 0.25))
    x = np.array([1 + side * distance * 2.0**-12])
    slope, _ = reference.differences(np.append(x, np.linspace(-3, 3, 64)))
    assert np.isnan(slope[0]) or slope[0] == pytest.approx(1.0 if side > 0 else 0.25, rel=1e-9)


def test_slopes_are_measured_to_1e_7():
    x = np.linspace(-6, 6, 501)
    slope, _ = Float64Reference(torch.tanh).differences(x)
    assert np.abs(slope - 1 / np.cosh(x) ** 2).max() < 1e-8


def test_float32_inside_is_noticed_even_of_functions_that_keep_short_numbers():
    assert is_narrow(np.tanh(np.linspace(-3, 3, 99)).astype(np.float32).astype(np.float64))
    for name in ("hardtanh", "relu", "hardswish", "silu"):
        call = getattr(F, name)
        assert not Float64Reference(call).is_narrow
        assert Float64Reference(lambda x, call=call: call(x.float()).to(x.dtype)).is_narrow
