"""Who is compared with whom, and that all of them compute the same function."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from actium.bench.cases import case_of
from actium.catalogue import ENTRIES
from actium.errors import BenchError, FormulaError, TargetError
from actium.targets import resolve

ROOT = Path(__file__).parents[2]


def names(target: str, **options) -> list[str]:
    return [c.name for c in case_of(target, **options).contenders]


def test_ours_are_compared_with_torch_compile_and_the_formula():
    assert names("silu") == names("x / (1 + exp(-x))") == ["actium", "torch", "compile", "composite"]
    assert names("silu", compiled=False) == ["actium", "torch", "composite"]
    assert names("tanh_exp") == ["actium", "compile", "composite"]


def test_other_code_is_compared_with_what_actium_makes_of_it():
    assert names("torch.nn:SiLU") == ["target", "actium", "compile"]
    assert names("torch.nn.functional:gelu") == ["target", "actium", "compile"]


def test_code_that_cannot_be_traced_still_runs(tmp_path: Path):
    file = tmp_path / "odd.py"
    file.write_text("def f(x):\n    return x.flip(0) if x.sum() > 0 else x\n")
    assert names(f"{file}:f", compiled=False) == ["target"]


@pytest.mark.parametrize(
    ("target", "what"),
    [
        ("x * tanh(log(1 + exp(x)))", "torch.nn.functional.mish"),
        ("gelu_tanh", "torch.nn.functional.gelu(approximate='tanh')"),
        ("leaky_relu(0.2)", "torch.nn.functional.leaky_relu(negative_slope=0.2)"),
        ("threshold", "torch.nn.functional.threshold(threshold=0, value=0)"),
        ("softplus", "torch.nn.functional.softplus"),
    ],
)
def test_pytorchs_own_function_is_found(target: str, what: str):
    assert case_of(target, compiled=False)["torch"].what == what


# torch's softplus is a straight line from 20 on, which at 1.0e-9 below x is within float32's rounding.
@pytest.mark.parametrize("name", [e.name for e in ENTRIES.values() if e.torch_target])
def test_every_counterpart_computes_the_entry(name: str):
    case = case_of(name, compiled=False)
    x = torch.linspace(-30, 30, 4001)
    ours, theirs = (case[which].value(x) for which in ("actium", "torch"))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-6)


def test_a_counterpart_has_the_parameters_of_the_target():
    x = torch.tensor([-1.0])
    assert case_of("leaky_relu(0.2)", compiled=False)["torch"].value(x).item() == pytest.approx(-0.2)
    assert case_of("actium.nn:PReLU(init=0.5)", compiled=False)["torch"].value(x).item() == pytest.approx(-0.5)


def test_a_module_that_trains_is_not_compared_with_a_formula_that_does_not():
    assert names("actium.nn:PReLU", compiled=False) == ["actium", "torch"]
    assert "composite" in names("prelu")


def test_a_module_is_copied_and_moved_not_changed():
    case = case_of("torch.nn:PReLU", compiled=False)
    call, parameters = case["target"].call(torch.bfloat16, "cpu")
    assert [p.dtype for p in parameters] == [torch.bfloat16]
    assert call is not case["target"].value
    assert next(case["target"].value.parameters()).dtype == torch.float32
    assert len(case["actium"].call(torch.float32, "cpu")[1]) == 1  # what actium makes of it trains as well


def test_anything_can_be_compared():
    case = case_of("silu", against=["torch.nn.functional:hardswish", "x * sigmoid(1.7 * x)"], compiled=False)
    x = torch.linspace(-4, 4, 100)
    assert torch.equal(case["torch.nn.functional:hardswish"].value(x), torch.nn.functional.hardswish(x))
    assert torch.equal(case["x * sigmoid(1.7 * x)"].value(x), x * torch.sigmoid(1.7 * x))


def test_what_cannot_be_loaded_is_said():
    with pytest.raises(TargetError):
        case_of("no_such_module_here:f")
    with pytest.raises(FormulaError):
        case_of("x +")
    with pytest.raises(TargetError):
        case_of("silu", against=["torch.nn:Nothing"])
    with pytest.raises(BenchError, match="twice"):
        case_of("silu", against=["torch.nn:SiLU", "torch.nn:SiLU"])


def test_the_targets_of_torch_can_be_resolved():
    for entry in ENTRIES.values():
        if entry.torch_form is not None:
            assert callable(resolve(str(entry.torch_target)).value)
