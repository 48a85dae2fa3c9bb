"""An ejected file needs torch alone, computes the same numbers, and cannot be written by its user's texts."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from actium import catalogue
from actium.authoring import formula
from actium.checking import activation_of
from actium.define import Activation
from actium.eject import eject
from actium.errors import TargetError
from actium.kernels.dispatch import safe_name
from actium.symbolic.parameters import learnable
from actium.verify.encodings import all_encodings, finite_encodings

MISH = "x * tanh(log(1 + exp(x)))"
NAMES = ("mish", "gelu", "silu", "softplus", "tanhshrink", "hardswish", "srelu", "swish", "elu", "celu")


def load(text: str, folder: Path) -> types.ModuleType:
    path = folder / "ejected.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("ejected", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def functions(activation: Activation, folder: Path):
    module = load(eject(activation), folder)
    return getattr(module, activation.name), module


def with_gradient(function, x: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.clone().requires_grad_()
    y = function(leaf)
    (slope,) = torch.autograd.grad(y, leaf, torch.ones_like(y))
    return y.detach(), slope


def order(t: Tensor) -> Tensor:
    """Encodings as integers whose difference counts representable steps; both zeros are 0."""
    bits = t.view(torch.int16).int()
    return torch.where(bits < 0, -(bits & 0x7FFF), bits)


@pytest.mark.parametrize("name", [*NAMES, "elu"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_ejected_value_is_within_one_step_on_every_encoding(name: str, dtype: torch.dtype, tmp_path: Path):
    activation = catalogue.get(name).activation()
    theirs, _ = functions(activation, tmp_path)
    x = all_encodings(dtype)
    ours, other = activation(x), theirs(x)
    assert torch.equal(ours.isnan(), other.isnan())
    assert int((order(ours) - order(other)).abs()[~ours.isnan()].max()) <= 1


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *((name, torch.float16) for name in NAMES),
        *((name, torch.bfloat16) for name in NAMES),
    ],
)
def test_ejected_gradient_is_within_one_step_on_every_finite_encoding(name: str, dtype: torch.dtype, tmp_path: Path):
    activation = catalogue.get(name).activation()
    theirs, _ = functions(activation, tmp_path)
    ours, other = (with_gradient(f, finite_encodings(dtype))[1] for f in (activation, theirs))
    steps = (order(ours) - order(other)).abs()
    # Beside a root of the gradient (gelu's at -0.752), float32 itself leaves this much.
    near_root = (ours - other).double().abs() <= 2e-6 if dtype == torch.float16 else steps < 0
    assert ((steps <= 1) | near_root).all()


@pytest.mark.parametrize("name", NAMES)
def test_ejected_float64_agrees(name: str, tmp_path: Path):
    activation = catalogue.get(name).activation()
    theirs, _ = functions(activation, tmp_path)
    ends = torch.tensor([-1e300, -1e5, 1e5, 1e300], dtype=torch.float64)
    x = torch.cat([torch.linspace(-45, 40, 4001, dtype=torch.float64), ends])
    (y, slope), (y_, slope_) = with_gradient(activation, x), with_gradient(theirs, x)
    torch.testing.assert_close(y, y_, rtol=1e-14, atol=0.0)
    root = slope.abs() < 1e-3  # beside a root, cancellation leaves absolute accuracy only
    root &= x.abs() < 4
    torch.testing.assert_close(slope[~root], slope_[~root], rtol=1e-12, atol=1e-300)
    torch.testing.assert_close(slope[root], slope_[root], rtol=0.0, atol=1e-15)


def test_file_runs_where_actium_cannot_be_imported(tmp_path: Path):
    (tmp_path / "mish_alone.py").write_text(eject(formula(MISH, name="mish")), encoding="utf-8")
    code = (
        "import sys\n"
        "sys.modules['actium'] = None\n"
        "import torch\n"
        "from mish_alone import Mish, mish\n"
        "x = torch.linspace(-200, 200, 1001, dtype=torch.float16, requires_grad=True)\n"
        "y = Mish()(x)\n"
        "y.sum().backward()\n"
        "assert y.dtype == x.dtype and torch.isfinite(x.grad).all()\n"
        "assert float(y[-1]) == 200.0\n"
        "print('alone')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "alone\n", done.stderr


def test_parameters_are_registered_kept_in_range_and_trained(tmp_path: Path):
    activation = formula(
        "where(x > 0, x, alpha * expm1(x)) + beta * x + c",
        name="shifted_elu",
        alpha=learnable(0.5, positive=True),
        beta=learnable(0.25, min=-1.0, max=1.0),
        c=0.0,
    )
    _, module = functions(activation, tmp_path)
    layer = module.ShiftedElu(channels=3, channel_dim=1)
    ours = activation.module(channels=3, channel_dim=1)
    ours.load_state_dict(layer.state_dict())
    x = torch.linspace(-4, 4, 120).reshape(10, 3, 4)
    torch.testing.assert_close(layer(x), ours(x))
    layer(x).sum().backward()
    ours(x).sum().backward()
    for (name, a), b in zip(layer.named_parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)
    assert layer.alpha.tolist() == pytest.approx([0.5] * 3)
    assert "c_=0" in repr(layer)
    with pytest.raises(ValueError, match=r"alpha must be in \(0, inf\)"):
        module.ShiftedElu(alpha=-1.0)
    with pytest.raises(ValueError, match="channel_dim"):
        module.ShiftedElu(channels=3)
    with pytest.raises(ValueError, match="do not fit"):
        layer(torch.zeros(10, 4, 4))
    assert layer(x.half()).dtype == torch.float16


def test_integers_are_refused(tmp_path: Path):
    theirs, _ = functions(formula("x * tanh(x)", name="f"), tmp_path)
    with pytest.raises(TypeError, match="floating-point"):
        theirs(torch.arange(3))


def test_ejected_function_composes(tmp_path: Path, fresh_dynamo: None):
    activation = catalogue.get("swish").activation()
    theirs, module = functions(activation, tmp_path)
    x = torch.linspace(-3, 3, 12).reshape(3, 4)
    torch.testing.assert_close(torch.func.vmap(theirs)(x), theirs(x))
    torch.testing.assert_close(
        torch.func.vmap(torch.func.grad(theirs))(x.flatten()), with_gradient(theirs, x.flatten())[1]
    )
    compiled = torch.compile(module.Swish(), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), theirs(x))


def test_text_from_the_user_cannot_leave_its_comment(tmp_path: Path):
    evil = 'a"""\nimport os\r\nboom = 1\u2028boom = 2\x0cboom = 3\\'
    activation = Activation(formula("x * tanh(x)").formula, name='x"""; boom = 4', source=evil, doc=f"{evil}\n{evil}")
    text = eject(activation)
    module = load(text, tmp_path)
    assert not hasattr(module, "boom")
    assert not hasattr(module, "os")
    kinds = {type(node) for node in ast.parse(text).body}
    assert kinds <= {ast.Expr, ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef}


@pytest.mark.parametrize(
    "name", ["class", "torch", "nn", "Tensor", "float", "_compute", "lambda", "x", "F1", "__", "match"]
)
def test_any_name_gives_a_file_that_works(name: str, tmp_path: Path):
    activation = formula("a * tanh(x)", a=learnable(1.0))
    activation.name = name
    module = load(eject(activation), tmp_path)
    layers = [v for v in vars(module).values() if isinstance(v, type) and issubclass(v, nn.Module)]
    assert [layer()(torch.zeros(2)).tolist() for layer in layers] == [[0.0, 0.0]]


@pytest.mark.parametrize("name", ["t0", "s1", "training", "forward", "channels", "wide", "like", "half", "u", "torch"])
def test_any_parameter_name_gives_a_file_that_works(name: str, tmp_path: Path):
    activation = formula(f"{name} * tanh({name} * x) * log1p(exp({name} * x))", name="f", **{name: learnable(2.0)})
    theirs, module = functions(activation, tmp_path)
    x = torch.linspace(-3, 3, 9, dtype=torch.float64)
    torch.testing.assert_close(theirs(x), 2 * torch.tanh(2 * x) * nn.functional.softplus(2 * x))
    torch.testing.assert_close(module.F(3.0)(x), 3 * torch.tanh(3 * x) * nn.functional.softplus(3 * x))


@pytest.mark.parametrize(
    ("name", "function", "cls"),
    [
        ("LeakyReLU", "leaky_relu", "LeakyReLU"),
        ("SiLU", "silu", "SiLU"),
        ("GELU", "gelu", "GELU"),
        ("ReLU6", "relu6", "ReLU6"),
        ("LogSigmoid", "log_sigmoid", "LogSigmoid"),
        ("leaky_relu", "leaky_relu", "LeakyRelu"),
        ("softClip", "softClip", "SoftClip"),
        ("Print", "print_", "Print"),
        ("not a name", "not_a_name", "NotAName"),
    ],
)
def test_function_and_class_are_called_as_python_calls_them(name: str, function: str, cls: str, tmp_path: Path):
    named, renamed = formula("x * tanh(x)"), formula("x * tanh(x)")
    named.name = safe_name(name)
    for text in (eject(named), eject(renamed, name)):
        module = load(text, tmp_path)
        x = torch.linspace(-1, 1, 5)
        assert torch.equal(getattr(module, cls)()(x), getattr(module, function)(x))


def test_a_module_of_torch_keeps_its_name():
    text = activation_of("torch.nn:LeakyReLU").eject()
    assert "def leaky_relu(x: Tensor" in text
    assert "class LeakyReLU(nn.Module)" in text


@pytest.mark.parametrize("target", ["brelu", "rrelu", "actium.nn:BReLU()", "actium.nn:RReLU(0.1)"])
def test_what_is_more_than_its_formula_is_refused(target: str):
    with pytest.raises(TargetError, match=r"is more than its formula: .*; use (actium|torch)\.nn\.(B|R)ReLU"):
        eject(activation_of(target))


def test_a_formula_of_that_name_is_not_refused(tmp_path: Path):
    theirs, _ = functions(formula("where(x <= 0, x / 4, x)", name="rrelu"), tmp_path)
    assert theirs(torch.tensor([-4.0, 4.0])).tolist() == [-1.0, 4.0]


def test_every_entry_ejects_to_a_file_that_the_linter_accepts(tmp_path: Path):
    for name in catalogue.ENTRIES.keys() - {"brelu", "rrelu"}:
        (tmp_path / f"{name}.py").write_text(eject(catalogue.get(name).activation()), encoding="utf-8")
    assert linted(tmp_path) == (0, "All checks passed!\n")


def test_the_linter_reads_every_file_of_a_folder(tmp_path: Path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text("import os\n", encoding="utf-8")
    code, said = linted(tmp_path)
    assert code == 1
    assert all(f"{name}.py" in said for name in ("one", "two"))


def linted(folder: Path) -> tuple[int, str]:
    """What ruff says of all files in a folder."""
    rules = "E,F,W,I,B,UP,D,ANN,PIE,RUF,C4"
    command = ["-m", "ruff", "check", "--isolated", "--line-length=120", f"--select={rules}", "--ignore=D107,D203,D213"]
    done = subprocess.run(
        [sys.executable, *command, "--ignore=RUF002,RUF003", str(folder)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr
