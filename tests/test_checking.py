"""`check` takes anything that is an activation, and knows what it is."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from actium.authoring import activation, formula
from actium.checking import activation_of, at_values, check, known_functions, subject_of
from actium.errors import CheckError, DtypeError, ParameterError, TargetError
from actium.running import check_all
from actium.symbolic.parameters import learnable
from actium.symbolic.parse import parse
from actium.targets import Found, resolve

FAST = ["bfloat16"]
ONE = ["dtype-leak"]  # For what does not depend on what is checked.
POSITIVE = learnable(2.0, positive=True)


def subject(text: str, fused: bool = False):
    return subject_of(resolve(text), fused)


def test_formula_text_is_judged_as_written_and_the_kernel_on_request():
    naive = "x * tanh(log(1 + exp(x)))"
    assert check(naive, dtypes=FAST).verdict == "fail"
    assert check(naive, dtypes=FAST, fused=True).verdict == "pass"


def test_naive_formula_is_recognised_in_the_catalogue():
    certificate = check("x / (1 + exp(-x))", dtypes=FAST, only=("duplicate", "non-finite-gradient", "precision-loss"))
    assert "silu" in certificate.same_as
    assert certificate.of("non-finite-gradient") or certificate.of("precision-loss")


def test_known_functions_are_the_catalogue_without_parameters():
    known = known_functions()
    assert {"relu", "identity", "mish", "silu"} <= set(known)
    assert all(not f.parameters for f in known.values())


def test_module_is_judged_by_its_formula_and_its_parameters():
    made = subject("torch.nn:LeakyReLU(0.2)")
    assert made.formula is not None
    assert "0.2" in made.formula.text or made.parameters
    assert made.module is not None


def test_parameters_that_differ_by_channel_leave_the_float64_reference():
    layer = nn.PReLU(3)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.1, 0.2, 0.3]))
    made = subject_of(Found("p", layer))
    assert made.formula is None
    assert "3 different values" in made.notes[-1]


def test_equal_channels_are_one_function():
    assert subject_of(Found("p", nn.PReLU(3))).formula is not None


def test_what_cannot_be_traced_is_judged_against_itself_in_float64_and_says_so():
    def branchy(x: torch.Tensor) -> torch.Tensor:
        return x * 2 if bool((x > 0).all()) else F.relu(x)

    made = subject_of(Found("branchy", branchy))
    assert made.formula is None
    assert made.notes[-1].startswith("no formula: ")


def test_catalogue_entry_is_judged_by_its_text():
    made = subject("softplus")
    assert made.formula is not None
    assert "softplus" in made.formula.text
    assert set(made.parameters) >= {"beta"}


def test_catalogue_module_with_arguments_is_judged_at_them():
    assert subject("swish(beta=2.0)").parameters == {"beta": 2.0}


def test_formula_with_parameters_as_written_and_fused():
    certificate = check("theta * tanh(x / theta)", dtypes=FAST, theta=2.0)
    assert certificate.formula == "theta * tanh(x / theta)"
    assert check("theta * tanh(x / theta)", dtypes=FAST, fused=True, theta=2.0).passed


def test_any_object_is_taken_and_named():
    assert check(F.silu, only=ONE).target == "silu"
    assert check(nn.ReLU(), only=ONE).target == "ReLU"
    assert check(functools.partial(F.leaky_relu, negative_slope=0.5), only=ONE).target == "leaky_relu"
    assert check(formula("x * tanh(x)", name="mine"), only=ONE).target == "mine"
    assert check(parse("x * tanh(x)"), only=ONE).target == "x * tanh(x)"
    assert check(nn.ReLU(), only=ONE, name="first").target == "first"


def test_decorated_function_is_judged_at_its_defaults():
    @activation
    def soft_clip(x, threshold=POSITIVE):
        return threshold * torch.tanh(x / threshold)

    certificate = check(soft_clip, dtypes=FAST)
    assert certificate.passed
    assert certificate.accuracy["bfloat16"]["gradient"].max_ulp <= 1.0


def test_saved_bytes_are_those_of_the_op():
    kept = check(formula("x * tanh(x)"), only=ONE).saved_bytes_per_element
    assert kept == {"float32": 4.0, "bfloat16": 2.0}


@pytest.mark.usefixtures("server")
def test_star_needs_check_all(tmp_path: Path):
    (tmp_path / "two_here.py").write_text(
        "import torch\ndef a(x):\n    return x.tanh()\ndef b(x):\n    return x.relu()\ndef c(x, y):\n    return x\n"
    )
    target = f"{tmp_path}/two_here.py:*"
    with pytest.raises(TargetError, match="check_all"):
        check(target)
    certificates, skipped = check_all(target, only=ONE)
    assert [c.target.rpartition(":")[2] for c in certificates] == ["a", "b"]
    assert list(skipped) == [f"{tmp_path}/two_here.py:c"]


def test_unknown_dtype_is_refused():
    with pytest.raises(DtypeError, match="int8"):
        check("x", dtypes=["int8"])


def test_activation_of_every_kind_of_target():
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)
    torch.testing.assert_close(activation_of("torch.nn:SiLU")(x), F.silu(x))
    torch.testing.assert_close(activation_of("mish")(x), F.mish(x))
    torch.testing.assert_close(activation_of("swish(beta=2.0)")(x), x * torch.sigmoid(2 * x))
    torch.testing.assert_close(activation_of("a * x", {"a": 3.0})(x), 3 * x)
    assert activation_of("a * x", {"a": 3.0}, "triple").name == "triple"
    assert activation_of("a * x", {"a": 3.0}).parameters[0].learnable


def test_at_values_leaves_no_parameter():
    made = at_values(parse("a * x + b", parameters=["a", "b"]), {"a": 2.0, "b": 1.0})
    assert made.text == "2 * x + 1"


def test_a_given_formula_is_what_code_is_held_to():
    certificate = check(torch.relu, formula="x * sigmoid(x)", dtypes=["float16"])
    assert certificate.verdict == "fail"
    assert certificate.of("wrong-gradient")
    leaky = check(torch.nn.functional.leaky_relu, formula="where(x > 0, x, a * x)", a=0.01, dtypes=["float16"])
    assert leaky.passed


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"claim": {"odd": True}}, ParameterError, "'claim'"),
        ({"onyl": ("wrong-gradient",)}, ParameterError, "'onyl'"),
        ({"only": ()}, CheckError, "empty"),
        ({"dtypes": ()}, DtypeError, "no dtype"),
    ],
)
def test_misspelt_and_empty_options_are_refused(wrong, error, message):
    with pytest.raises(error, match=message):
        check(torch.relu, **wrong)
