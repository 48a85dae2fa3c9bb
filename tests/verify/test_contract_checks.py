"""Autocast, in-place forms, channels and constructors: mutants are rejected, sound functions accepted."""

from __future__ import annotations

import functools

import pytest
import torch
from contract_mutants import HOW, MUTANTS, SOUND, Mixture, Scale, Specimen, clip_without_grad_
from torch import nn

import actium
from actium.verify import Certificate, Subject, check
from actium.verify.subject import Construction

IDS = ("autocast-inside", "channel-axis", "in-place", "constructor")


def judge(call, only: tuple[str, ...] = IDS, construction: Construction | None = None) -> Certificate:
    module = call if isinstance(call, nn.Module) else None
    how = construction or (None if module is None else HOW.get(module))
    return check(Subject("target", call, module=module, construction=how), only=only)


def messages(certificate: Certificate, severity: str) -> str:
    return " | ".join(f.message for f in certificate.findings if f.severity == severity)


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_rejected_by_the_check_that_describes_it(name: str) -> None:
    mutant: Specimen = MUTANTS[name]
    found = judge(mutant.call, (mutant.check,)).of(mutant.check)
    assert mutant.severity in {f.severity for f in found}
    assert all(f.message and f.suggestion for f in found)


@pytest.mark.parametrize(("check_id", "at"), [(i, n) for i, calls in SOUND.items() for n in range(len(calls))])
def test_sound_function_is_accepted(check_id: str, at: int) -> None:
    certificate = judge(SOUND[check_id][at], (check_id,))
    assert certificate.checks_run == (check_id,), certificate.checks_not_run
    assert certificate.verdict == "pass", str(certificate)


TORCH = [
    *(nn.ReLU, nn.RReLU, nn.Hardtanh, nn.ReLU6, nn.Sigmoid, nn.Hardsigmoid, nn.Tanh, nn.SiLU, nn.Mish, nn.Hardswish),
    *(nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.Hardshrink, nn.LeakyReLU, nn.LogSigmoid, nn.Softplus, nn.Softshrink),
    *(nn.PReLU, nn.Softsign, nn.Tanhshrink, nn.Softmin, nn.Softmax2d, nn.GLU),
]


@pytest.mark.parametrize("cls", TORCH)
def test_torch_activation_never_fails(cls: type[nn.Module]) -> None:
    certificate = judge(cls(), construction=Construction(cls))
    assert certificate.passed, str(certificate)
    assert {f.check for f in certificate.findings if f.severity == "warn"} <= {"constructor"}


# --- batch-coupling -------------------------------------------------------------------------------------------


def test_the_generators_of_the_callers_gpus_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    torch.manual_seed(torch.initial_seed())  # What is patched is what seeding everything calls.
    assert len(seeds) == 1
    certificate = actium.check(torch.tanh, only=["batch-coupling"])
    assert certificate.checks_run == ("batch-coupling",)
    assert len(seeds) == 1


# --- shape-change ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["squeeze", "squeeze of the batch", "squeeze of the channels"])
def test_what_drops_dimensions_of_size_1_is_swept_all_the_same(name: str) -> None:
    certificate = judge(MUTANTS[name].call, ("shape-change", "nan-policy"))
    assert set(certificate.checks_run) == {"shape-change", "nan-policy"}
    assert "one number: (1,) in, () out" in messages(certificate, "fail")


def test_channels_that_a_layer_does_not_have_are_not_tried() -> None:
    for layer in (nn.PReLU(8), actium.nn.PReLU(8), Scale(16)):
        assert "(5, 1)" not in str(judge(layer, ("shape-change",)))


# --- dtype of the parameters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "dtype"),
    [
        (nn.PReLU().bfloat16(), "bfloat16"),
        (nn.PReLU(4).half(), "float16"),
        (nn.PReLU().double(), "float64"),
        (nn.Sequential(nn.Linear(8, 8), nn.GELU()).bfloat16(), "bfloat16"),
        (Scale(16).double(), "float64"),
    ],
    ids=["bfloat16", "float16 with channels", "float64", "linear", "promoting"],
)
def test_a_converted_module_is_judged_in_float32(module: nn.Module, dtype: str) -> None:
    before = {p.dtype for p in module.parameters()}
    only = ("dtype-leak", "shape-change", "batch-coupling", "wrong-parameter-gradient", "deepcopy", "state-dict")
    certificate = judge(module, only)
    assert certificate.passed, str(certificate)
    assert set(certificate.checks_run) == set(only)
    assert f"its parameters are {dtype}" in " ".join(certificate.properties["notes"])
    assert {p.dtype for p in module.parameters()} == before


def test_a_dtype_that_only_some_parameters_have_is_still_a_fault() -> None:
    layer = Scale(16)
    layer.bias = nn.Parameter(torch.zeros(1))
    layer.gain = nn.Parameter(layer.gain.detach().double())
    certificate = judge(layer, ("dtype-leak",))
    assert "float16 in, float64 out" in messages(certificate, "warn")
    assert "converted with" not in str(certificate.properties.get("notes"))


# --- autocast-inside ------------------------------------------------------------------------------------------


def test_autocast_is_named_with_its_device_and_why_it_is_deprecated() -> None:
    said = messages(judge(MUTANTS["deprecated autocast"].call), "warn")
    assert "turns autocast on for 'cuda' (float16)" in said
    assert "`torch.cuda.amp.autocast(args...)` is deprecated" in said


def test_autocast_is_itself_again_afterwards() -> None:
    before = torch.autocast.__init__, torch.autocast.__enter__
    judge(nn.SiLU(), ("autocast-inside",))
    assert (torch.autocast.__init__, torch.autocast.__enter__) == before


# --- in-place -------------------------------------------------------------------------------------------------


def test_what_a_write_behind_autograds_back_breaks_is_said() -> None:
    said = messages(judge(MUTANTS["relu_ by .data"].call), "fail")
    assert "the tensor's version stays the same" in said
    assert "silently gives a wrong gradient behind tanh" in said
    assert "overwrites a leaf" in said


def test_only_what_was_asked_to_work_in_place_is_told_about_residuals() -> None:
    assert "h + f(h)" in messages(judge(nn.ReLU(inplace=True)), "info")
    assert not judge(nn.ReLU(), ("in-place",), Construction(nn.ReLU)).findings


def test_one_change_of_the_input_is_reported_once() -> None:
    certificate = judge(clip_without_grad_, ("input-mutated", "in-place"))
    assert {(f.check, f.severity) for f in certificate.findings} == {("input-mutated", "info"), ("in-place", "fail")}


def test_an_in_place_form_that_raises_is_a_warning_and_one_that_refuses_is_not() -> None:
    def broken(x, inplace=False):
        if inplace:
            raise AttributeError("tanh__")
        return torch.tanh(x)

    def refusing(x, inplace=False):
        if inplace:
            raise NotImplementedError("later")
        return torch.tanh(x)

    assert "its in-place form raises AttributeError: tanh__" in messages(judge(broken), "warn")
    assert "its in-place form raises NotImplementedError: later" in messages(judge(refusing), "info")


# --- channel-axis -----------------------------------------------------------------------------------------------


def test_the_shape_that_is_silently_wrong_and_the_one_that_is_refused_are_named() -> None:
    said = messages(judge(MUTANTS["slopes on the last axis, one by default"].call), "fail")
    assert "on an input of shape (2, 8, 5, 8) they lie on dimension 3 and not on 1" in said
    assert "(2, 8, 5, 7) is refused" in said
    assert "constructed with num_parameters=8" in said


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (Mixture(), "no per-channel parameter"),
        (nn.ReLU(), "no per-channel parameter"),
        (nn.LayerNorm(8), "depends on other elements"),
        (nn.Linear(8, 8), "depends on other elements"),
        (torch.tanh, "not a module"),
    ],
    ids=["mixture", "relu", "layer norm", "linear", "function"],
)
def test_what_has_no_channels_is_not_judged(call, reason: str) -> None:
    assert reason in judge(call).checks_not_run["channel-axis"]


@pytest.mark.parametrize("name", ["channel_dim", "dim", "axis"])
def test_a_declared_axis_is_the_right_one(name: str) -> None:
    module = MUTANTS["slopes on the last axis"].call
    assert not judge(functools.partial(_with, module, name, -1)(), ("channel-axis",)).findings
    assert judge(functools.partial(_with, module, name, 1)(), ("channel-axis",)).findings


def _with(module, name: str, value: int) -> nn.Module:
    twin = type(module)(4)
    setattr(twin, name, value)
    return twin


# --- constructor ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("int theta", "theta=1 raises RuntimeError: Only Tensors of floating point"),
        ("int theta", "theta=0.0 is accepted, and gives NaN or an infinity in the output, on 1 of 33 inputs"),
        ("bound of any size", "max_value=-1.0 is accepted, and gives a constant"),
        ("bound of any size", "max_value=70000.0 is accepted, then float16 raises RuntimeError: value cannot be"),
        ("degree 0", "degree=0 is accepted, then forward raises IndexError"),
    ],
)
def test_the_argument_and_what_it_does_are_named(name: str, says: str) -> None:
    assert says in messages(judge(MUTANTS[name].call), "warn")


def test_a_module_that_the_checker_did_not_make_has_no_constructor_to_judge() -> None:
    assert judge(nn.LeakyReLU()).checks_not_run["constructor"] == "it was not made from a class"
    assert "no numeric argument" in judge(nn.ReLU(), construction=Construction(nn.ReLU)).checks_not_run["constructor"]


def test_torch_is_told_what_its_constructors_accept() -> None:
    said = messages(judge(nn.Softplus(), construction=Construction(nn.Softplus)), "warn")
    assert "beta=0.0 is accepted, and gives NaN or an infinity" in said
