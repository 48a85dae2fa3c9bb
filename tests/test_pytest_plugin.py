"""The pytest plugin as a project sees it: a function, a fixture, a marker and an option; nothing until asked."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from torch import nn

from actium.errors import CheckError, TargetError
from actium.pytest_plugin import assert_activation

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[1]
NUMBERS = ("precision-loss", "masked-branch", "false-zero-gradient")
F16 = {"dtypes": ("float16",), "only": NUMBERS}


def where_elu(x):
    return torch.where(x > 0, x, torch.exp(x) - 1)


def run(pytester: pytest.Pytester, test: str, *options: str) -> pytest.RunResult:
    """The plugin by its module, whether or not its entry point is installed."""
    pytester.makepyfile(test)
    quiet = ("-p", "no:cacheprovider", "--strict-markers")
    return pytester.runpytest("-p", "no:actium", "-p", "actium.pytest_plugin", *quiet, *options)


# --- The function --------------------------------------------------------------------------------------------


def test_a_function_that_holds_gives_its_certificate() -> None:
    certificate = assert_activation(torch.relu, **F16, max_ulp=0.5, name="mine")
    assert certificate.target == "mine"
    assert list(certificate.accuracy) == ["float16"]


def test_what_does_not_hold_is_said_with_what_to_do() -> None:
    with pytest.raises(AssertionError) as caught:
        assert_activation(where_elu, **F16, formula="elu(x)")
    said = str(caught.value)
    assert said.startswith("where_elu does not hold:\n")
    assert "masked-branch" in said
    assert "try: " in said


def test_a_formula_is_the_truth_for_what_does_not_know_its_own() -> None:
    assert_activation(torch.tanh, **F16)
    with pytest.raises(AssertionError, match="precision-loss"):
        assert_activation(torch.tanh, **F16, formula="tanh(1.01 * x)")
    assert_activation(nn.LeakyReLU(0.25), **F16, formula="where(x > 0, x, a*x)", a=0.25, max_ulp=0.5)


@pytest.mark.parametrize("allow", ["false-zero-gradient", ["false-zero-gradient", "precision-loss"]])
def test_the_mildest_finding_and_the_exceptions_can_be_chosen(allow) -> None:
    assert_activation(torch.tanh, **F16)
    with pytest.raises(AssertionError, match="warn  precision-loss"):
        assert_activation(torch.tanh, **F16, severity="warn", allow="false-zero-gradient")
    if not isinstance(allow, str):
        assert_activation(torch.tanh, **F16, severity="warn", allow=allow)


@pytest.mark.parametrize(
    ("max_ulp", "holds"),
    [(0.5, False), ({"float16": 0.5}, False), ({"float16": {"output": 0.5}}, True), (1e4, True), ({}, True)],
)
def test_a_limit_is_for_all_or_for_a_format_or_for_a_quantity(max_ulp, holds: bool) -> None:
    if holds:
        assert_activation(torch.tanh, **F16, max_ulp=max_ulp)
        return
    with pytest.raises(AssertionError, match=r"gradient, float16: [\d.]+ ULP at x = .*, the budget is 0.5 ULP"):
        assert_activation(torch.tanh, **F16, max_ulp=max_ulp)


def test_what_could_not_be_measured_does_not_hold() -> None:
    with pytest.raises(AssertionError, match="output, float16: has a budget of 1 ULP, and was not measured"):
        assert_activation(nn.Softmax(-1), **F16, max_ulp=1.0)


@pytest.mark.parametrize("only", [NUMBERS, ("dtype-leak",)])
def test_a_gradient_that_nobody_looked_for_does_not_hold(only) -> None:
    with pytest.raises(AssertionError, match="gradient, float16: has a budget of 1 ULP, and was not measured"):
        assert_activation(nn.Softmax(-1), dtypes=["float16"], only=only, max_ulp={"float16": {"gradient": 1}})


def test_a_function_without_a_gradient_keeps_to_a_limit_on_it() -> None:
    certificate = assert_activation(torch.sign, **F16, formula="sign(x)", max_ulp=0.5)
    assert "gradient" in certificate.accuracy["float16"]
    certificate = assert_activation(lambda x: torch.sign(x.detach()), **F16, formula="sign(x)", max_ulp=0.5)
    assert list(certificate.accuracy["float16"]) == ["output"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"allow": ["precision-los"]}, "did you mean precision-loss"),
        ({"max_ulp": {"float32": 1.0}}, "'float32' is not among the formats"),
        ({"max_ulp": {"float16": {"slope": 1.0}}}, "no 'slope' is known"),
    ],
)
def test_options_that_mean_nothing_are_named(options, says: str) -> None:
    with pytest.raises(CheckError, match=says):
        assert_activation(torch.relu, **F16, **options)
    with pytest.raises(TargetError):
        assert_activation("nowhere.at:all", **F16)


def test_an_entry_of_a_budget_decides_what_is_accepted(tmp_path: Path) -> None:
    file = tmp_path / "budget.toml"
    file.write_text('[functions."elu"]\nallow = { masked-branch = "fail" }\n')
    options = {**F16, "formula": "elu(x)", "budget": file}
    with pytest.raises(AssertionError, match="not allowed"):
        assert_activation(where_elu, name="elu", **options)
    with pytest.raises(AssertionError, match="masked-branch"):
        assert_activation(where_elu, name="another", **options)


# --- In a project -----------------------------------------------------------------------------------------------


def test_a_marked_test_fails_before_its_body(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import pytest

        @pytest.mark.activation("torch.nn:ReLU", "relu", dtypes=["float16"], only=["precision-loss"], max_ulp=0.5)
        def test_holds():
            pass

        @pytest.mark.activation("torch.nn:Tanh", dtypes=["float16"], only=["precision-loss"], max_ulp={"float16": 0.5})
        class TestNetwork:
            def test_never_runs(self):
                raise RuntimeError("the body ran")
        """,
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*AssertionError: torch.nn:Tanh does not hold:*", "*gradient, float16: * ULP at *"])
    result.stdout.no_fnmatch_line("*the body ran*")
    result.stdout.no_fnmatch_line("*pytest_plugin.py:*")


def test_the_fixture_is_the_function(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import torch

        def test_holds(assert_activation):
            assert assert_activation(torch.relu, dtypes=["float16"], only=["precision-loss"]).verdict == "pass"
        """,
    )
    result.assert_outcomes(passed=1)


def test_the_option_holds_marker_and_fixture_to_a_budget(pytester: pytest.Pytester) -> None:
    pytester.makefile(".toml", budget='[functions."torch.nn:Tanh".float16]\ngradient = 0.5\n')
    test = """
        import pytest, torch

        @pytest.mark.activation("torch.nn:Tanh", dtypes=["float16"], only=["precision-loss"])
        def test_marked():
            pass

        def test_fixture(assert_activation):
            assert_activation(torch.tanh, name="torch.nn:Tanh", dtypes=["float16"], only=["precision-loss"])
            """
    run(pytester, test).assert_outcomes(passed=2)
    result = run(pytester, test, "--actium-budget", "budget.toml")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*gradient, float16: * ULP at *, the budget is 0.5 ULP"])


def test_a_mistake_in_the_budget_or_the_marker_stops_with_its_name(pytester: pytest.Pytester) -> None:
    pytester.makefile(".toml", budget="[functions.silu.float15]")
    result = run(pytester, "def test_it(): pass", "--actium-budget", "budget.toml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--actium-budget: *budget.toml: *'float15'*did you mean float16?"])
    test = "import pytest\n\n@pytest.mark.activation()\ndef test_it(): pass\n"
    run(pytester, test).stdout.fnmatch_lines(["*@pytest.mark.activation needs a target*"])


# --- What it costs everybody else ---------------------------------------------------------------------------------


def test_pytest_finds_the_plugin_by_its_entry_point() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"actium": assert_activation.__module__}


def test_a_project_that_does_not_use_it_pays_nothing() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules); import actium.pytest_plugin; "
        "print(sorted({m.partition('.')[0] for m in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['actium']"


# --- The example --------------------------------------------------------------------------------------------------


def test_the_example_keeps_to_its_budget() -> None:
    options = ["-p", "no:actium", "-p", "actium.pytest_plugin", "-p", "no:cacheprovider", "-q"]
    command = [*options, "examples/test_activations.py", "--actium-budget", "examples/budget.toml"]
    done = subprocess.run([sys.executable, "-m", "pytest", *command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
