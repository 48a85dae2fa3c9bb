"""Every kind of target is found; every mistake in one is answered with what to do; nothing of its text is executed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from actium.define import Activation
from actium.errors import ActiumError, FormulaError, TargetError
from actium.module import ActivationModule
from actium.symbolic.graph import Formula
from actium.targets import resolve

CODE = """
import torch
from torch import nn
from helper_beside import SLOPE

class Gate(nn.Module):
    def __init__(self, alpha=1.0):
        super().__init__()
        self.alpha = alpha
    def forward(self, x):
        return x * torch.sigmoid(self.alpha * x)
    class Inner(nn.Module):
        def forward(self, x):
            return x.tanh()

class NeedsTwo(nn.Module):
    def __init__(self, low, high):
        super().__init__()
    def forward(self, x):
        return x

class Raises(nn.Module):
    def __init__(self):
        raise RuntimeError("no\\nway")

class Mixes(nn.Module):
    def forward(self, x):
        return torch.softmax(x, -1)

class Shrinks(nn.Module):
    def forward(self, x):
        return x.flatten()[:1]

class Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clamp(min=0)
    @staticmethod
    def backward(ctx, grad):
        return grad

class Record:
    pass

def leak(x, slope=0.1):
    return torch.where(x > 0, x, SLOPE * slope * x)

def two(x, slope):
    return x * slope

def settings():
    return 3

def _private(x):
    return x

shifted = nn.Sequential(nn.Tanh())
number = 3
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("helper_beside", "code_here"):  # of another test's folder
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "helper_beside.py").write_text("SLOPE = 2.0\n")
    (tmp_path / "code_here.py").write_text(CODE)
    return str(tmp_path / "code_here.py")


def only(text: str):
    return resolve(text).value


def error(text: str, **parameters: float) -> str:
    with pytest.raises(TargetError) as raised:
        resolve(text, parameters)
    return str(raised.value)


def test_formula_text_is_a_formula():
    value = only(" x * tanh(exp(x)) ")
    assert isinstance(value, Formula)
    assert value.text == "x * tanh(exp(x))"


def test_formula_takes_parameters():
    found = resolve("theta * tanh(x / theta)", {"theta": 2.0})
    assert isinstance(found.value, Formula)
    assert found.value.parameters == ("theta",)
    assert found.values == {"theta": 2.0}


@pytest.mark.parametrize("name", ["mish", "SiLU", "x_is_not_here"])
def test_catalogue_name(name: str):
    if name == "x_is_not_here":
        assert "no activation 'x_is_not_here'" in error(name)
    else:
        assert isinstance(only(name), Activation)


def test_misspelt_catalogue_name_is_answered_with_the_near_ones():
    assert "did you mean mish" in error("mihs")


def test_catalogue_name_with_arguments_is_a_module_with_them():
    value = only("swish(beta=2.0)")
    assert isinstance(value, ActivationModule)
    assert value.beta.item() == 2.0
    assert "no parameter 'gamma'" in error("swish(gamma=1)")


def test_call_of_a_catalogue_function_is_a_formula():
    assert isinstance(only("mish(2 * x)"), Formula)


def test_class_in_a_file_is_constructed(place: str):
    assert only(f"{place}:Gate").alpha == 1.0
    assert only(f"{place}:Gate(alpha=0.2)").alpha == 0.2
    assert only(f"{place}:Gate(-3e-1)").alpha == -0.3
    assert resolve(f"{place}:Gate(0.2)").notes == ("constructed with 0.2",)


def test_nested_name_is_found(place: str):
    assert only(f"{place}:Gate.Inner")(torch.ones(1)) == torch.ones(1).tanh()


def test_function_arguments_go_by_name(place: str):
    x = torch.tensor([-1.0])
    assert only(f"{place}:leak")(x).item() == pytest.approx(-0.2)
    assert only(f"{place}:leak(slope=0.5)")(x).item() == -1.0
    assert "arguments go by name" in error(f"{place}:leak(0.5)")


def test_autograd_function_is_called_through_apply(place: str):
    assert only(f"{place}:Step")(torch.tensor([-1.0, 2.0])).tolist() == [0.0, 2.0]


def test_module_path_and_instance(place: str):
    assert isinstance(only("torch.nn:SiLU"), nn.SiLU)
    assert only("torch.nn.functional:silu") is torch.nn.functional.silu
    assert isinstance(only(f"{place}:shifted"), nn.Sequential)


def test_package_in_the_current_folder_is_found(place: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(Path(place).parent)
    assert only("code_here:Gate").alpha == 1.0
    del sys.modules["code_here"]


def test_import_leaves_no_trace(place: str):
    before = list(sys.path)
    only(f"{place}:Gate")
    assert sys.path == before
    assert not (Path(place).parent / "__pycache__").exists()


def test_file_named_like_a_module_does_not_replace_it(tmp_path: Path):
    (tmp_path / "torch.py").write_text("def f(x):\n    return x\n")
    assert only(f"{tmp_path}/torch.py:f")(3) == 3
    assert sys.modules["torch"] is torch


@pytest.mark.parametrize(
    ("suffix", "message"),
    [
        (":Gaet", "did you mean Gate"),
        (":NeedsTwo", "needs arguments: low, high"),
        (":NeedsTwo(1)", "needs arguments: high"),
        (":Record", "neither an nn.Module"),
        (":Raises", "raises when constructed: RuntimeError: no way"),
        (":two", "two(slope=0.5)"),
        (":number", "of type int"),
        (":shifted(1)", "is an instance already"),
        ("", "is a file: write"),
        (":", "after a colon comes a name"),
        (":Gate(alpha=SLOPE)", "arguments must be literals"),
        (":Gate(**{'alpha': 1})", "arguments must be literals"),
        (":Gate(alpha=1)(2)", "arguments must be literals"),
    ],
)
def test_mistakes_are_answered_with_what_to_do(place: str, suffix: str, message: str):
    assert message in error(place + suffix)


def test_arguments_are_never_evaluated(place: str, tmp_path: Path):
    proof = tmp_path / "executed"
    assert "literals" in error(f"{place}:Gate(alpha=open({str(proof)!r}, 'w'))")
    assert not proof.exists()


def test_arguments_of_what_is_no_formula_go_into_the_target(place: str):
    assert error("swish", beta=2.0).endswith("arguments go into the target: swish(beta=2)")
    assert error("swish", beta=0.5).endswith("arguments go into the target: swish(beta=0.5)")
    assert error(f"{place}:Gate", alpha=2).endswith(f"arguments go into the target: {place}:Gate(alpha=2)")
    assert error("swish(beta=1)", beta=2.0).endswith("has its arguments in the target: give swish no others")
    assert "no parameter 'beta'" in error("silu", beta=2.0)
    assert resolve("swish(a * x)", {"a": 2.0}).values == {"a": 2.0}  # A call of a function in a formula


def test_an_unknown_name_may_be_a_parameter_where_one_can_be_given():
    with pytest.raises(
        FormulaError, match=r"unknown name 'beta'.* needs a value: -p beta=1, or beta=1 in Python"
    ) as told:
        resolve("x * sigmoid(beta * x)", {})
    assert str(told.value).splitlines()[1].strip() == "x * sigmoid(beta * x)"
    with pytest.raises(FormulaError, match=r"unknown name 'beta'") as told:
        resolve("x * sigmoid(beta * x)")
    assert "-p" not in str(told.value)


def test_missing_files_and_modules(tmp_path: Path):
    (tmp_path / "model.py").write_text("")
    assert "did you mean model.py" in error(f"{tmp_path}/modle.py:A")
    assert "no module named 'nosuch_package'" in error("nosuch_package.part:A")
    assert f"write {tmp_path}/model.py:NAME for each" in error(f"{tmp_path}/model.py:*")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import torch\n\n1 / 0\n", "ZeroDivisionError: division by zero (line 3)"),
        ("def f(x:\n", "SyntaxError"),
        ("import nosuch_dependency\n", "ModuleNotFoundError"),
        ("import sys\nsys.exit(0)\n", "SystemExit"),
    ],
)
def test_file_that_raises_on_import(tmp_path: Path, code: str, message: str):
    (tmp_path / "broken_here.py").write_text(code)
    text = error(f"{tmp_path}/broken_here.py:f")
    assert "raises on import" in text
    assert message in text
    assert "broken_here" not in sys.modules


@pytest.mark.parametrize("text", ["", "x.__class__", "tanh(x)*", "sinn(x)", "/etc/passwd:x", "a\x00b", "x" * 5000])
def test_what_is_nothing_is_a_typed_error(text: str):
    with pytest.raises((FormulaError, TargetError)) as raised:
        resolve(text)
    assert isinstance(raised.value, ActiumError)
