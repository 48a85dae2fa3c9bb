"""Checks of transforms, compilers, copies and files reject their mutants and accept what composes."""

from __future__ import annotations

import functools
import importlib
import logging
import sys
import threading

import pytest
import torch
import torch._dynamo
from composition_mutants import MUTANTS, SOUND, Gate, Specimen
from torch import nn

import actium
import actium.nn
from actium.symbolic.parse import parse
from actium.verify import Certificate, Subject, check
from actium.verify.checks import REGISTRY
from actium.verify.subject import Construction

IDS = [i for i, c in REGISTRY.items() if c.family == "composition"]


@pytest.fixture(autouse=True)
def _one_thread():
    """A few dozen numbers need no second thread, and waiting for one takes most of the time on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def judge(call, text: str | None = None, only=IDS, target: str = "target", **more) -> Certificate:
    module = call if isinstance(call, nn.Module) else None
    formula = parse(text) if text is not None else None
    return check(Subject(target, call, formula, module=module, **more), only=only)


def found(certificate: Certificate) -> set[str]:
    return {f.check for f in certificate.findings if f.severity != "info"}


@functools.cache
def certificate_of_mutant(name: str) -> Certificate:
    mutant: Specimen = MUTANTS[name]
    return judge(mutant.call, mutant.formula, [mutant.check])


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_rejected_by_the_check_that_describes_it(name: str) -> None:
    mutant, certificate = MUTANTS[name], certificate_of_mutant(name)
    assert {f.severity for f in certificate.of(mutant.check)} == {mutant.severity}, str(certificate)
    assert all(f.message and f.suggestion for f in certificate.findings)
    assert mutant.check in certificate.checks_run


@pytest.mark.parametrize("check_id", IDS)
def test_each_check_knows_a_mutant_that_raises_and_one_that_is_silently_wrong(check_id: str) -> None:
    raises = {"raises" in str(certificate_of_mutant(name)) for name, m in MUTANTS.items() if m.check == check_id}
    assert raises == {True, False}


@pytest.mark.parametrize("name", SOUND)
def test_what_composes_is_accepted(name: str) -> None:
    call, expected = SOUND[name]
    certificate = judge(call)
    assert found(certificate) == expected, str(certificate)
    assert certificate.verdict == ("warn" if expected else "pass")


@pytest.mark.parametrize(
    "text", ["sqrt(x)", "x**1.5", "x*sqrt(x)", "sqrt(1 + x)", "sqrt(1 - x**2)", "x*log(x)", "rsqrt(x)"]
)
def test_what_has_a_domain_is_judged_inside_it(text: str) -> None:
    only = ["double-backward", "forward-ad", "functional-grad"]
    certificate = actium.check(text, only=only)
    assert certificate.verdict == "pass", str(certificate)
    assert set(certificate.checks_run) == set(only)


@pytest.mark.parametrize("name", ["root saved", "grad_output of a root detached"])
def test_numbers_inside_a_domain_are_what_is_rejected(name: str) -> None:
    (finding,) = certificate_of_mutant(name).findings
    assert "expected nan" not in finding.message
    assert "got nan" not in finding.message


def test_what_is_finite_nowhere_is_not_passed() -> None:
    certificate = judge(lambda x: torch.sqrt(-1 - x * x), only=["double-backward", "forward-ad"])
    assert set(certificate.checks_not_run) >= {"double-backward", "forward-ad"}


# --- PyTorch's own, and ours ------------------------------------------------------------------------------

TORCH = {
    nn.Threshold(0.1, 20.0): set(),
    nn.ReLU(): set(),
    nn.RReLU(): {"vmap"},
    nn.Hardtanh(): set(),
    nn.ReLU6(): set(),
    nn.Sigmoid(): set(),
    nn.Hardsigmoid(): {"double-backward"},
    nn.Tanh(): set(),
    nn.SiLU(): set(),
    nn.Mish(): set(),
    nn.Hardswish(): set(),
    nn.ELU(): set(),
    nn.CELU(): set(),
    nn.SELU(): set(),
    nn.GLU(): set(),
    nn.GELU(): set(),
    nn.Hardshrink(): set(),
    nn.LeakyReLU(): set(),
    nn.LogSigmoid(): set(),
    nn.Softplus(): {"double-backward"},
    nn.Softshrink(): set(),
    nn.PReLU(): set(),
    nn.Softsign(): set(),
    nn.Tanhshrink(): set(),
    nn.Softmin(-1): set(),
    nn.Softmax(-1): set(),
    nn.Softmax2d(): set(),
    nn.LogSoftmax(-1): set(),
}
# Their formulas, for what differences of the backward pass cannot see.
TEXTS = {
    nn.Tanh: "tanh(x)",
    nn.Softplus: "softplus(x)",
    nn.Sigmoid: "sigmoid(x)",
    nn.SiLU: "silu(x)",
    nn.Mish: "mish(x)",
}


@pytest.mark.parametrize("module", TORCH, ids=lambda m: type(m).__name__)
def test_torch_activation_warns_at_most_and_of_what_is_known(module: nn.Module) -> None:
    certificate = judge(module, TEXTS.get(type(module)))
    assert certificate.passed, str(certificate)
    assert found(certificate) == TORCH[module]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (actium.silu, "silu(x)"),
        (actium.softplus, "softplus(x)"),
        (actium.tanh, "tanh(x)"),
        (actium.hardsigmoid, "hardsigmoid(x)"),
        (actium.nn.Mish(), "mish(x)"),
        (actium.nn.PReLU(3), None),
        (actium.nn.Swish(), None),
        (actium.nn.RReLU(), None),
    ],
    ids=lambda v: None if isinstance(v, str | None) else type(v).__name__,
)
def test_catalogue_composes_without_a_warning(call, text: str | None) -> None:
    certificate = judge(call, text)
    assert found(certificate) == set(), str(certificate)
    stateless = set() if isinstance(call, nn.Module) else {"state-dict"}
    assert {i for i in IDS if i in certificate.checks_not_run} == stateless


# --- What cannot be judged is not passed, and nothing is left behind ------------------------------------------


def test_random_function_is_not_run_by_what_compares() -> None:
    certificate = judge(lambda x: x * torch.rand_like(x))
    assert not certificate.findings
    assert "random" in certificate.checks_not_run["compile"]
    assert not set(certificate.checks_run) & set(IDS)


def test_function_without_gradient_is_not_run_by_what_differentiates() -> None:
    certificate = judge(lambda x: torch.tanh(x.detach()))
    for check_id in ("double-backward", "forward-ad", "functional-grad"):
        assert "no gradient" in certificate.checks_not_run[check_id]
    assert {"vmap", "compile", "export"} <= set(certificate.checks_run)


def test_lambda_and_stateless_function_are_listed_with_the_reason() -> None:
    reasons = judge(lambda x: x * 2, only=["deepcopy", "pickle", "state-dict"]).checks_not_run
    assert "no state" in reasons["deepcopy"]
    assert "no state" in reasons["state-dict"]
    assert "lambda" in reasons["pickle"]


def test_switched_off_compiler_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch._dynamo.config, "disable", True)
    assert "switched off" in judge(torch.tanh, only=["compile"]).checks_not_run["compile"]
    monkeypatch.undo()
    with torch.compiler.set_stance("force_eager"):
        assert "switched off" in judge(torch.tanh, only=["compile"]).checks_not_run["compile"]


def test_compiling_is_silent_and_leaves_no_thread(caplog, capfd) -> None:
    threads, disabled = threading.active_count(), logging.root.manager.disable
    judge(MUTANTS["branches on values, compiled"].call, only=["compile", "export"])
    assert threading.active_count() == threads
    assert logging.root.manager.disable == disabled
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert capfd.readouterr() == ("", "")


def test_module_under_judgement_is_not_changed() -> None:
    module = nn.Sequential(Gate(), nn.BatchNorm1d(3)).train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    judge(module)
    assert module.training
    assert module[1].training
    assert all(torch.equal(tensor, module.state_dict()[name]) for name, tensor in before.items())
    assert all(p.grad is None for p in module.parameters())


def test_state_is_loaded_into_a_module_made_with_the_same_arguments() -> None:
    class Sized(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.slope = nn.Parameter(torch.full((channels,), 0.1))

        def forward(self, x):
            return torch.where(x > 0, x, self.slope * x)

    right = judge(Sized(3), only=["state-dict"], construction=Construction(Sized, (3,)))
    wrong = judge(Sized(3), only=["state-dict"], construction=Construction(Sized, (), {"channels": 4}))
    assert not right.findings
    assert "size mismatch" in wrong.findings[0].message


def test_class_of_a_file_that_was_imported_again_is_still_pickled(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "from torch import nn\nclass Twice(nn.Module):\n    def forward(self, x):\n        return 2 * x\n"
    (tmp_path / "imported_twice.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    first = importlib.import_module("imported_twice").Twice()
    monkeypatch.delitem(sys.modules, "imported_twice")
    importlib.import_module("imported_twice")
    assert not judge(first, only=["pickle"]).findings
