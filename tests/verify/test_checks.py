"""Every check rejects its mutants and accepts sound functions, on every half-precision number."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mutants import MUTANTS, SOUND, Specimen
from torch import nn

from actium.errors import CheckError, DtypeError, TargetError
from actium.symbolic.parse import parse
from actium.verify import Certificate, Subject, check, subject_of
from actium.verify.checks import REGISTRY

KNOWN = {"mish": parse("mish(x)"), "silu": parse("silu(x)"), "relu": parse("relu(x)"), "F.gelu": F.gelu}
HALVES = ("float16", "bfloat16")


# What a formula decides. The others look at the code alone.
OF_NUMBERS = ("duplicate", *(i for i, c in REGISTRY.items() if c.family in ("numerics", "gradients")))


def judge(
    call,
    text: str | None = None,
    dtypes: tuple[str, ...] = HALVES,
    target: str = "target",
    only: tuple[str, ...] | None = None,
) -> Certificate:
    module = call if isinstance(call, nn.Module) else None
    formula = parse(text) if text is not None else None
    return check(Subject(target, call, formula, module=module), known=KNOWN, dtypes=dtypes, only=only)


@functools.cache
def certificate_of_sound(name: str) -> Certificate:
    call, text = SOUND[name]
    return judge(call, text, ("float16", "bfloat16", "float32"))


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_rejected_by_the_check_that_describes_it(name: str) -> None:
    mutant: Specimen = MUTANTS[name]
    certificate = judge(mutant.call, mutant.formula, (mutant.dtype,), only=(mutant.check,))
    found = certificate.of(mutant.check)
    assert found, str(certificate)
    assert mutant.severity in {f.severity for f in found}
    assert all(f.message and f.suggestion for f in found)


@pytest.mark.parametrize("name", SOUND)
def test_sound_function_passes_every_check_on_every_encoding(name: str) -> None:
    certificate = certificate_of_sound(name)
    # Torch's own NaN and infinity habits are no fault of a sound function; F.softplus has f″ = 0 above its threshold.
    allowed = {"nan-policy"} | ({"double-backward"} if name == "softplus" else set())
    assert {f.check for f in certificate.findings if f.severity != "info"} <= allowed, str(certificate)
    for dtype, tested in (("float16", 63_488), ("bfloat16", 65_280)):
        output = certificate.accuracy[dtype]["output"]
        assert output.max_ulp <= 1
        assert output.tested >= tested - 4 * 8192  # less where the exact result overflows or is unknown


def test_every_check_has_a_mutant() -> None:
    families = [importlib.import_module(path.stem) for path in Path(__file__).parent.glob("*mutants.py")]
    assert set(REGISTRY) == {mutant.check for family in families for mutant in family.MUTANTS.values()}


def test_only_the_checks_asked_for_run() -> None:
    certificate = check(Subject("naive", lambda x: torch.exp(x) / (1 + torch.exp(x))), only=["dtype-leak"])
    assert certificate.checks_run == ("dtype-leak",)
    assert certificate.verdict == "pass"
    assert not certificate.accuracy
    assert set(certificate.checks_not_run) == set(REGISTRY) - {"dtype-leak"}
    with pytest.raises(CheckError, match="did you mean dtype-leak"):
        check(Subject("naive", torch.sigmoid), only=["dtype-leaks"])


@pytest.mark.parametrize(
    ("target", "advice"),
    [
        (nn.ReLU, r"make an instance, ReLU\(...\)"),
        (torch.autograd.Function, r"give Function\.apply"),
        (None, "not callable"),
        (3, "not callable"),
    ],
)
def test_what_is_no_function_is_refused(target, advice: str) -> None:
    with pytest.raises(TargetError, match=advice):
        check(Subject("target", target))


def test_every_check_has_run_or_is_listed_with_the_reason() -> None:
    certificate = certificate_of_sound("relu")
    assert set(certificate.checks_run) | set(certificate.checks_not_run) == set(REGISTRY)
    assert not set(certificate.checks_run) & set(certificate.checks_not_run)
    assert all(certificate.checks_not_run.values())


# --- Numbers that are known independently: torch 2.13 on every finite encoding --------------------------------


@pytest.mark.parametrize(
    ("call", "text", "dtype", "check_id", "count"),
    [
        (F.silu, "silu(x)", "bfloat16", "false-zero", 6),
        (F.softsign, "softsign(x)", "bfloat16", "false-zero-gradient", 14_056),
        (MUTANTS["naive sigmoid"].call, "sigmoid(x)", "float16", "non-finite-gradient", 12_916),
        (MUTANTS["naive sigmoid"].call, "sigmoid(x)", "bfloat16", "non-finite-gradient", 15_566),
        (MUTANTS["naive tanh"].call, "tanh(x)", "float16", "non-finite-output", 25_832),
        (MUTANTS["naive elu"].call, "elu(x)", "float16", "masked-branch", 12_916),
    ],
    ids=lambda v: v if isinstance(v, str) else None,
)
def test_counts_match_an_independent_sweep(call, text, dtype, check_id, count) -> None:
    certificate = judge(call, text, (dtype,), only=(check_id,))
    (found,) = [f for f in certificate.of(check_id) if f.dtype == dtype]
    assert found.count == count


def test_finding_names_the_first_failing_input_and_its_region() -> None:
    certificate = judge(MUTANTS["naive sigmoid"].call, "sigmoid(x)", ("float16",), only=("non-finite-gradient",))
    (found,) = certificate.of("non-finite-gradient")
    assert found.worst is not None
    assert found.worst.x == -11.09375
    assert found.worst.x_hex == "-0x1.63p+3"
    assert found.region == (-65504.0, -11.09375)
    assert "12,916 of 63,488 finite inputs" in found.message


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("grad_output overwritten", "backward overwrites grad_output where grad_output is not 1"),
        (
            "grad_output multiplied in place",
            "backward raises RuntimeError: unsupported operation: more than one",
        ),
        ("NaN for negative grad_output", "not grad_output times the slope where grad_output is an expanded scalar"),
    ],
)
def test_finding_says_what_backward_does_to_grad_output(name: str, fault: str) -> None:
    certificate = judge(MUTANTS[name].call, "relu(x)", ("float16",), only=("wrong-gradient",))
    assert any(fault in f.message for f in certificate.findings), str(certificate)
    assert "wrong-gradient" in certificate.checks_run


@pytest.mark.parametrize("value", [3.0, -torch.inf])
def test_another_limit_in_the_last_lanes_only_is_seen(value: float) -> None:
    def faulty(x):
        last = torch.arange(x.numel()).reshape(x.shape) >= x.numel() // 16 * 16
        return torch.where(last & (x == -torch.inf), value, torch.relu(x))

    certificate = judge(faulty, "relu(x)", ("float16",), only=("nan-policy",))
    (found,) = [f for f in certificate.findings if f.subject == "output"]
    assert found.worst is not None
    assert (found.worst.x, found.worst.got, found.worst.expected) == (-torch.inf, value, 0.0)


def test_unreachable_overflow_is_a_warning_and_reachable_overflow_a_failure() -> None:
    square = judge(lambda x: x * (x * x) / (1 + x * x), "x - x / (1 + x*x)", only=("non-finite-output",))
    severities = {(f.dtype, f.severity) for f in square.of("non-finite-output")}
    assert severities == {("float16", "fail"), ("bfloat16", "warn")}


# --- PyTorch's own ---------------------------------------------------------------------------------------------

TORCH = {
    "ReLU": (nn.ReLU(), "relu(x)"),
    "Hardtanh": (nn.Hardtanh(), "hardtanh(x)"),
    "ReLU6": (nn.ReLU6(), "relu6(x)"),
    "RReLU": (nn.RReLU(), "rrelu(x)"),
    "Sigmoid": (nn.Sigmoid(), "sigmoid(x)"),
    "Hardsigmoid": (nn.Hardsigmoid(), "hardsigmoid(x)"),
    "Tanh": (nn.Tanh(), "tanh(x)"),
    "SiLU": (nn.SiLU(), "silu(x)"),
    "Mish": (nn.Mish(), "mish(x)"),
    "Hardswish": (nn.Hardswish(), "hardswish(x)"),
    "CELU": (nn.CELU(), "celu(x)"),
    "SELU": (nn.SELU(), "selu(x)"),
    "GELU": (nn.GELU(), "gelu(x)"),
    "GELU-tanh": (nn.GELU("tanh"), "0.5*x*(1+tanh(sqrt(2/pi)*(x+0.044715*x**3)))"),
    "LogSigmoid": (nn.LogSigmoid(), "logsigmoid(x)"),
    "Softshrink": (nn.Softshrink(), "softshrink(x)"),
    "PReLU": (nn.PReLU(), "prelu(x, 0.25)"),
    "PReLU-3": (nn.PReLU(3), "prelu(x, 0.25)"),
    "Softsign": (nn.Softsign(), "softsign(x)"),
    "Tanhshrink": (nn.Tanhshrink(), "tanhshrink(x)"),
    "ReLU-inplace": (nn.ReLU(inplace=True), "relu(x)"),
    "GLU": (nn.GLU(), None),
    "Softmax": (nn.Softmax(-1), None),
    "Softmax2d": (nn.Softmax2d(), None),
    "LogSoftmax": (nn.LogSoftmax(-1), None),
}


@pytest.mark.parametrize("name", TORCH)
def test_torch_activation_never_fails(name: str) -> None:
    """Against a formula typed by hand; test_pytorch.py has the formula that is traced, and all checks."""
    module, text = TORCH[name]
    certificate = judge(module, text, only=OF_NUMBERS if text else None)
    assert certificate.passed, str(certificate)


@pytest.mark.parametrize("name", ["ReLU", "Hardtanh", "SELU", "SiLU", "GELU", "Tanhshrink", "Softshrink"])
def test_torch_activation_never_fails_without_a_formula(name: str) -> None:
    certificate = judge(TORCH[name][0], only=OF_NUMBERS)
    assert certificate.reference == "float64"
    assert certificate.passed, str(certificate)
    assert not certificate.of("invalid-subgradient")


# --- What cannot be judged is not passed ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (nn.Softmax(-1), "depends on other elements"),
        (lambda x: x * torch.sigmoid(x.sum()), "depends on other"),
        (lambda x: x * torch.rand(()), "random"),
        (lambda x: x * torch.arange(x.numel()).reshape(x.shape).fmod(2), "on its position"),
        (lambda x: 1 / 0, "ZeroDivisionError"),
        (lambda x: None, "not a tensor"),
    ],
    ids=["softmax", "coupled", "random", "by position", "raises", "returns None"],
)
def test_what_is_not_elementwise_or_does_not_run_is_not_swept(call, reason: str) -> None:
    certificate = judge(call)
    assert reason in certificate.checks_not_run["precision-loss"]
    assert "wrong-gradient" not in certificate.checks_run
    assert certificate.accuracy == {}


def test_target_that_takes_no_tensor_fails_once_and_says_why() -> None:
    (found,) = judge(lambda x: (x, x)).findings
    assert found.severity == "fail"
    assert "returned tuple, not a tensor" in found.message


def test_reference_that_rounds_to_float32_inside_says_so() -> None:
    notes = judge(lambda x: torch.tanh(x.float()).to(x.dtype), dtypes=("float16",)).properties["notes"]
    assert any("24 bits" in note for note in notes)
    assert "notes" not in judge(torch.tanh, dtypes=("float16",)).properties


def test_a_traceable_module_is_judged_by_its_own_formula() -> None:
    subject = subject_of("gate", SOUND["gated by a parameter"][0])
    assert subject.formula is not None
    assert list(subject.parameters.values()) == [1.0]
    certificate = check(subject, dtypes=("float16",))
    assert certificate.reference == "ball"
    assert certificate.accuracy["float16"]["gradient"].max_ulp <= 1


def test_what_cannot_be_traced_is_judged_in_float64_and_says_why() -> None:
    subject = subject_of("off", MUTANTS["backward off by 5e-4"].call)
    certificate = check(subject, dtypes=("float16",))
    assert certificate.reference == "float64"
    assert any("not traced" in note for note in certificate.properties["notes"])
    assert certificate.of("wrong-gradient")


def test_float64_is_not_swept() -> None:
    with pytest.raises(DtypeError, match="40 bits"):
        judge(torch.tanh, "tanh(x)", ("float64",))


def test_module_is_not_changed_by_being_judged() -> None:
    module = nn.Sequential(nn.PReLU(), nn.Dropout(0.5)).train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    judge(module, dtypes=("float16",))
    assert module.training
    assert all(torch.equal(v, module.state_dict()[k]) for k, v in before.items())
    assert all(p.dtype == torch.float32 and p.grad is None for p in module.parameters())


def test_module_that_refuses_halves_is_judged_converted_and_says_so() -> None:
    certificate = judge(nn.PReLU(), "prelu(x, 0.25)", ("float16",))
    (note,) = [f for f in certificate.of("dtype-leak") if f.severity == "info"]
    assert "only after `.to(dtype)`" in note.message
    assert certificate.accuracy["float16"]["output"].tested == 63_488


def test_duplicates_are_named_however_they_are_written() -> None:
    assert "mish" in equals(lambda x: x * torch.tanh(torch.log(1 + torch.exp(x))))
    assert equals(lambda x: 0.5 * x, "0.5 * x") == ("affine: 0.5·x + 0",)
    assert equals(lambda x: x + 0.0, "x") == ("identity",)
    assert equals(torch.tanh, "tanh(x)") == ()


def equals(call, text: str | None = None, target: str = "target") -> tuple[str, ...]:
    return judge(call, text, ("float16",), target, only=("duplicate",)).same_as


def test_a_function_is_not_its_own_duplicate() -> None:
    assert equals(F.mish, "mish(x)", target="Mish") == ()


def test_saved_bytes_count_each_storage_once() -> None:
    saved = judge(F.silu, "silu(x)", ("float16",), only=("dtype-leak",)).saved_bytes_per_element
    assert saved == {"float32": 4.0, "bfloat16": 2.0}
