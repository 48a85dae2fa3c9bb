"""The checks on parameters: what each accepts, what it says, and what it leaves alone."""

from __future__ import annotations

import math

import pytest
import torch
from mutants import Specimen
from parameter_mutants import (
    MUTANTS,
    Frozen,
    LearnableClipping,
    OffSwish,
    OneCoefficientAsANumber,
    SoftExponential,
    Swish,
    UnusedCoefficient,
    WhereELU,
    WhereFloatELU,
    WhereLog,
)
from sound_modules import SOUND
from torch import Tensor, nn

import actium.nn
from actium.checking import subject_of
from actium.symbolic.parse import parse
from actium.targets import Found
from actium.verify import Certificate, Subject, check
from actium.verify.checks import REGISTRY

IDS = [i for i, c in REGISTRY.items() if c.family == "parameters"]
UNREGISTERED = {"unregistered-parameter", "unregistered-constant"}
TORCH = [nn.ReLU(), nn.GELU(), nn.SiLU(), nn.Mish(), nn.ELU(), nn.Softplus(), nn.Hardtanh(), nn.RReLU(), nn.Softmax(-1)]


def judge(module, *only: str) -> Certificate:
    """By the checks of this family alone, so without a sweep."""
    return check(subject_of(Found(type(module).__name__, module)), only=only or IDS)


def grave(certificate: Certificate) -> list[str]:
    return [str(f) for f in certificate.findings if f.severity != "info"]


# --- What is rejected, what is accepted -----------------------------------------------------------------------


@pytest.mark.parametrize("check_id", IDS)
def test_each_check_has_two_mutants_and_two_sound_modules(check_id: str):
    assert len({type(m.call) for m in MUTANTS.values() if m.check == check_id}) >= 2
    assert sum(check_id in judge(m).checks_run for m in (SOUND["torch.nn.PReLU"], SOUND["re-zero"])) == 2


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_rejected_and_the_finding_names_the_parameter(name: str):
    mutant: Specimen = MUTANTS[name]
    formula = None if mutant.formula is None else parse(mutant.formula)
    assert isinstance(mutant.call, nn.Module)
    found = check(Subject("mutant", mutant.call, formula, module=mutant.call), only=[mutant.check]).findings
    assert mutant.severity in {f.severity for f in found}
    assert {f.check for f in found} == {mutant.check}
    registered = {f"parameter:{n}" for n, _ in mutant.call.named_parameters()}
    assert all(f.subject in (registered or {"module"}) and f.suggestion for f in found)


def test_the_elements_that_do_nothing_are_named():
    (found,) = judge(UnusedCoefficient(), "ineffective-parameter").findings
    assert "weight[3] (1 of 4 elements)" in found.message
    (found,) = judge(OneCoefficientAsANumber(), "dead-parameter").findings
    assert "slopes[1] (1 of 2 elements)" in found.message


@pytest.mark.parametrize("name", SOUND)
def test_sound_module_is_accepted(name: str):
    certificate = judge(SOUND[name])
    assert not grave(certificate)
    assert set(certificate.checks_run) >= UNREGISTERED


@pytest.mark.parametrize("name", [n for n in actium.nn.__all__ if list(getattr(actium.nn, n)().parameters())])
def test_catalogue_module_with_parameters_is_clean(name: str):
    certificate = judge(getattr(actium.nn, name)())
    assert not grave(certificate)
    assert set(certificate.checks_run) == set(IDS)


@pytest.mark.parametrize("name", ["PReLU", "SReLU", "AdaptiveMixture", "TanhClip"])
def test_catalogue_module_with_channels_is_clean(name: str):
    cls = getattr(actium.nn, name)
    certificate = judge(cls(8) if name == "PReLU" else cls(channels=8, channel_dim=1))
    assert not grave(certificate)
    assert set(certificate.checks_run) == set(IDS)


@pytest.mark.parametrize("module", TORCH, ids=repr)
def test_torch_activation_without_parameters_is_clean_and_nothing_is_called_passed(module: nn.Module):
    certificate = judge(module)
    assert not certificate.findings
    assert set(certificate.checks_run) == UNREGISTERED
    assert {certificate.checks_not_run[i] for i in set(IDS) - UNREGISTERED} == {"it has no parameters"}


# --- What is not judged ------------------------------------------------------------------------------------------


def test_a_function_has_no_parameters():
    certificate = judge(torch.tanh)
    assert not certificate.checks_run
    assert certificate.checks_not_run["dead-parameter"] == "a function without parameters"
    assert certificate.checks_not_run["unregistered-parameter"] == "not a module"


def test_frozen_parameters_are_not_judged():
    module = nn.PReLU().requires_grad_(False)
    assert judge(module).checks_not_run["dead-parameter"] == "none of its parameters is learnable"


class Uncopyable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.ones(1))
        self.double = self.slope * 2  # no leaf, so deepcopy refuses it

    def forward(self, x: Tensor) -> Tensor:
        return x * self.slope


class OneValueOnly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        if self.slope != 1:
            raise ValueError("no other slope")
        return x * self.slope


@pytest.mark.parametrize(("module", "reason"), [(Uncopyable(), "deepcopy"), (OneValueOnly(), "no other slope")])
def test_what_cannot_be_moved_is_not_run_and_says_why(module: nn.Module, reason: str):
    certificate = judge(module)
    assert "ineffective-parameter" not in certificate.checks_run
    assert reason in certificate.checks_not_run["ineffective-parameter"]


def test_what_mixes_elements_has_no_gradient_for_each():
    reason = judge(SOUND["temperature"]).checks_not_run["parameter-gradient-overflow"]
    assert "not elementwise" in reason


def test_a_network_is_judged_by_its_first_parameters_and_says_so():
    class Many(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gains = nn.ParameterList(nn.Parameter(torch.ones(1)) for _ in range(18))

        def forward(self, x: Tensor) -> Tensor:
            return x * torch.stack([*self.gains]).sum(0)

    certificate = judge(Many(), "ineffective-parameter")
    assert any("first 16 parameters" in note for note in certificate.properties["notes"])


def test_the_module_is_left_as_it_was():
    module = LearnableClipping(0.7).train()
    judge(module)
    assert module.training
    assert float(module.theta.detach()) == pytest.approx(0.7)
    assert module.theta.grad is None
    assert module.theta.dtype == torch.float32


# --- What it says ------------------------------------------------------------------------------------------------


def test_wrong_gradient_is_reported_with_the_exact_derivative():
    (found,) = judge(OffSwish()).of("wrong-parameter-gradient")
    assert found.worst is not None
    x = found.worst.x
    s = 1 / (1 + math.exp(-x))
    assert found.worst.expected == pytest.approx(x * x * s * (1 - s), rel=1e-7)
    assert found.worst.got == pytest.approx(1.0005 * found.worst.expected, rel=1e-7)


@pytest.mark.parametrize(("module", "first"), [(WhereLog(), -1.625), (WhereFloatELU(), 152.0)])
def test_a_gradient_that_every_format_loses_is_reported_nearest_to_the_origin(module: nn.Module, first: float):
    (found,) = judge(module).of("wrong-parameter-gradient")
    assert found.worst is not None
    assert found.worst.x == first
    assert math.isnan(found.worst.got)
    assert found.worst.expected == 0


def test_a_gradient_that_narrow_formats_lose_first_is_not_reported_twice():
    assert {f.check for f in judge(WhereELU()).findings if f.severity == "fail"} == {"parameter-gradient-overflow"}


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("fault", [0.0, 2e-6])
def test_the_scale_of_a_function_does_not_matter(scale: float, fault: float):
    class Leak(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor, slope: Tensor) -> Tensor:
            ctx.save_for_backward(x, slope)
            return scale * torch.where(x > 0, x, slope * x)

        @staticmethod
        def backward(ctx, *grads: Tensor) -> tuple[Tensor, Tensor]:
            x, slope = ctx.saved_tensors
            to_slope = (grads[0] * torch.where(x > 0, 0, x)).sum() * scale * (1 + fault)
            return grads[0] * scale * torch.where(x > 0, 1, slope), to_slope.reshape(slope.shape)

    class Module(Swish):
        def forward(self, x: Tensor) -> Tensor:
            return Leak.apply(x, self.beta)

    assert bool(judge(Module(0.25), "wrong-parameter-gradient").findings) == (fault > 0)


def test_dead_parameter_tells_detached_from_unused():
    (detached,) = judge(Frozen()).of("dead-parameter")
    (unused,) = judge(MUTANTS["never used"].call).of("dead-parameter")
    assert "an optimiser never changes it" in detached.message
    assert "the output does not use it" in unused.message


def test_domain_violation_names_the_nearest_value_and_the_inputs():
    (found,) = judge(SoftExponential()).of("domain-violation")
    assert found.region is not None
    # At α = −0.23 the logarithm ends at 1/α − α.
    assert "at alpha = -0.23" in found.message
    assert found.region[1] < 1 / -0.23 + 0.23 < found.region[1] + 13 / 32


def test_degenerate_parameter_says_nan_and_even():
    (found,) = judge(LearnableClipping()).of("degenerate-parameter")
    assert "NaN or inf at theta = 0" in found.message
    assert "theta and −theta give the same function" in found.message


def test_overflow_begins_where_the_quotient_overflows():
    found = judge(LearnableClipping(0.01)).of("parameter-gradient-overflow")
    (grave_one,) = [f for f in found if f.severity == "fail"]
    assert grave_one.worst is not None
    # tanh(x/θ) is saturated, and its slope 0, times the infinite x/θ² from x = 6.55 on.
    assert 6.55 <= abs(grave_one.worst.x) < 8
    assert math.isnan(grave_one.worst.got)


def test_a_sum_that_its_own_format_cannot_hold_is_nobodys_fault():
    assert not judge(nn.PReLU(init=0.25), "parameter-gradient-overflow").findings


def test_what_is_hidden_is_named_by_its_place():
    places = {
        "parameters in a list": "weights[1] (1,)",
        "closure": "function (closure: scale) (1,)",
        "modules in a dict": "sides['left'].weight (1,)",
        "global": "a tensor (1,) that no attribute holds",
    }
    for name, place in places.items():
        (found,) = judge(MUTANTS[name].call, "unregistered-parameter").findings
        assert place in found.message
