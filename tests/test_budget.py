"""Budgets: read strictly, compared plainly, tightened and never loosened, edited without losing a comment."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from actium.budget import Entry, entry_of, exceeded, measured, parse_budget, rounded_up, tightened
from actium.budget_text import rewritten
from actium.cli import app
from actium.cli.budget import Held, read, settle
from actium.errors import CheckError
from actium.verify.certificate import Accuracy, Certificate, Finding
from actium.verify.checks import REGISTRY

ENTRY = Entry({"float16": {"output": 1.0, "gradient": 2.0}}, {"precision-loss": "warn", "nan-policy": "fail"})
TEXT = """# Held since the first release.
[functions."pkg.acts:Swish"]  # the team's own
allow = { precision-loss = "warn", nan-policy = "fail" }

[functions."pkg.acts:Swish".float16]
output = 1.0  # ULP = units in the last place
gradient = 2.0
"""


def certificate(
    output: float = 0.5, gradient: float = 0.75, findings: dict[str, str] | None = None, target: str = "pkg.acts:Swish"
) -> Certificate:
    found = tuple(Finding(i, s, "output", "float16", 1, 9, f"what {i} found") for i, s in (findings or {}).items())
    rows = {"output": Accuracy(output, 1.5, 9), "gradient": Accuracy(gradient, -2.0, 9)}
    run = tuple(REGISTRY)
    return Certificate(target, None, "float64", found, {"float16": rows}, run)


# --- Reading ------------------------------------------------------------------------------------------------


def test_a_budget_is_read_as_it_is_written() -> None:
    assert parse_budget(TEXT) == {"pkg.acts:Swish": ENTRY}
    assert parse_budget("") == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[function.silu]", "no 'function' is known; did you mean functions?"),
        ("[functions.silu.float15]", "functions.'silu': no 'float15' is known; did you mean float16?"),
        ("[functions.silu.float16]\noutptu = 1.0", "float16: no 'outptu' is known; did you mean output?"),
        ("[functions.silu.float16]\noutput = '1'", "float16.output: expected a number of ULP, got '1'"),
        ("[functions.silu.float16]\noutput = -1.0", "expected a number of ULP, got -1.0"),
        ("[functions.silu.float16]\noutput = nan", "expected a number of ULP, got nan"),
        ("[functions.silu.float16]\noutput = true", "expected a number of ULP, got True"),
        ("[functions.silu]\nallow = { nan-polcy = 'warn' }", "no 'nan-polcy' is known; did you mean nan-policy?"),
        ("[functions.silu]\nallow = { nan-policy = 'info' }", 'expected "warn" or "fail", got \'info\''),
        ("[functions.silu]\nallow = ['nan-policy']", "allow: expected a table"),
        ("functions = 1", "functions: expected a table, got 1"),
        ("[functions", "mine.toml: "),
    ],
)
def test_what_means_nothing_in_a_budget_is_named(text: str, says: str) -> None:
    with pytest.raises(CheckError) as caught:
        parse_budget(text, "mine.toml")
    assert says in str(caught.value)
    assert str(caught.value).startswith("mine.toml: ")


# --- Comparing ----------------------------------------------------------------------------------------------


def test_a_function_within_its_budget_exceeds_nothing() -> None:
    assert exceeded(ENTRY, certificate(1.0, 2.0, {"precision-loss": "warn", "nan-policy": "fail"})) == []


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (certificate(output=1.25), "output, float16: 1.25 ULP at x = 1.5, the budget is 1 ULP"),
        (certificate(gradient=math.inf), "gradient, float16: inf ULP at x = -2.0, the budget is 2 ULP"),
        (certificate(findings={"precision-loss": "fail"}), "fail precision-loss, allowed as warn only: what"),
        (certificate(findings={"false-zero": "warn"}), "warn false-zero, not allowed: what false-zero found"),
    ],
)
def test_what_is_worse_than_the_budget_is_one_line(found: Certificate, line: str) -> None:
    (got,) = exceeded(ENTRY, found)
    assert got.startswith(line)


def test_without_a_list_of_what_is_allowed_only_a_fail_exceeds() -> None:
    entry = Entry({"float16": {"output": 1.0}})
    assert exceeded(entry, certificate(findings={"false-zero": "warn", "dead-zone": "info"})) == []
    assert len(exceeded(entry, certificate(findings={"false-zero": "fail"}))) == 1


def test_a_format_that_was_not_measured_is_not_passed_unless_nobody_asked_for_it() -> None:
    entry = Entry({"bfloat16": {"output": 1.0}})
    assert exceeded(entry, certificate()) == ["output, bfloat16: has a budget of 1 ULP, and was not measured"]
    assert exceeded(entry, certificate(), ("float16",)) == []
    assert measured(certificate(), "bfloat16", "output") is None


# --- Tightening ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "limit"), [(0.0, 0.0), (0.5, 0.5), (0.501, 0.51), (9.99, 10.0), (math.inf, math.inf)]
)
def test_a_limit_has_two_digits_and_is_never_below_the_error(error: float, limit: float) -> None:
    assert rounded_up(error) == limit
    assert rounded_up(limit) == limit


def test_rounding_up_never_goes_below_and_adds_at_most_a_tenth() -> None:
    for error in (1.0001**n * 1e-3 for n in range(0, 200_000, 7)):
        assert error <= rounded_up(error) <= error * 1.1
        assert rounded_up(rounded_up(error)) == rounded_up(error)


def test_the_tightest_budget_is_one_that_the_function_keeps_to() -> None:
    found = certificate(0.501, 7.7, {"false-zero": "warn", "nan-policy": "fail", "dead-zone": "info"})
    entry = entry_of(found)
    assert entry == Entry({"float16": {"output": 0.51, "gradient": 7.7}}, {"false-zero": "warn", "nan-policy": "fail"})
    assert exceeded(entry, found) == []


def test_numbers_and_allowances_only_ever_shrink() -> None:
    better = tightened(ENTRY, certificate(0.5, 3.0, {"nan-policy": "warn", "false-zero": "fail"}))
    assert better == Entry({"float16": {"output": 0.5, "gradient": 2.0}}, {"nan-policy": "warn"})
    assert tightened(better, certificate(9.0, 9.0, {"nan-policy": "fail"})) == better
    assert tightened(Entry(), certificate(findings={"false-zero": "warn"})) == Entry()


def test_what_was_not_checked_this_time_stays_allowed() -> None:
    found = Certificate("f", None, "float64", checks_run=("nan-policy",))
    assert tightened(ENTRY, found).allow == {"precision-loss": "warn"}
    assert tightened(ENTRY, found).limits == ENTRY.limits


# --- Editing ------------------------------------------------------------------------------------------------


def test_only_the_numbers_change_and_the_comments_stay() -> None:
    entries = {"pkg.acts:Swish": Entry({"float16": {"output": 0.51, "gradient": 2.0}}, {"nan-policy": "warn"})}
    new = rewritten(TEXT, entries)
    assert new == TEXT.replace("= 1.0", "= 0.51").replace(
        '{ precision-loss = "warn", nan-policy = "fail" }', '{ nan-policy = "warn" }'
    )


@pytest.mark.parametrize(
    "text",
    [
        '[functions."a=b".float16]\n"output"=1.0 # = 3\n\n[functions."a=b".allow]\nnan-policy = "fail" # why\n',
        "functions.'a=b'.float16.output = 1_0.0e-1\nfunctions.'a=b'.allow.nan-policy='fail'",
        '[functions]\n[functions."a=b"]\nfloat16.output = 1\r\nallow.nan-policy = "fail"\r\n',
    ],
)
def test_other_ways_to_write_a_budget_are_edited_too(text: str) -> None:
    entries = {"a=b": Entry({"float16": {"output": 0.5}}, {"nan-policy": "warn"})}
    assert parse_budget(rewritten(text, entries)) == entries
    assert rewritten(text, parse_budget(text)).rstrip("\n") == text.rstrip("\n")


def test_what_cannot_be_edited_is_left_alone_and_named() -> None:
    with pytest.raises(CheckError, match="write each number of silu on a line of its own"):
        rewritten("[functions]\nsilu = { float16 = { output = 1.0 } }", {"silu": Entry({"float16": {"output": 0.5}})})


@pytest.mark.parametrize("name", ["silu", "pkg.acts:Swish(beta=0.5)", 'say "x"', "x * tanh(log(1 + exp(x)))", "é\\n"])
def test_new_functions_go_to_the_end_whatever_their_name(name: str) -> None:
    entries = {**parse_budget(TEXT), name: Entry({"bfloat16": {"output": math.inf}}, {})}
    new = rewritten(TEXT, entries)
    assert new.startswith(TEXT)
    assert parse_budget(new) == entries


# --- The command ------------------------------------------------------------------------------------------------


def held(tmp_path: Path, text: str = TEXT, update: bool = False) -> Held:
    path = tmp_path / "budget.toml"
    path.write_text(text)
    made = read(path, update)
    assert made is not None
    return made


def test_what_keeps_to_its_budget_passes_even_if_a_fail_is_allowed(tmp_path: Path) -> None:
    found = certificate(1.0, 2.0, {"nan-policy": "fail", "precision-loss": "warn"})
    assert settle(held(tmp_path), ["pkg.acts:Swish"], [found], {})


def test_what_exceeds_its_budget_is_said_with_its_name(tmp_path: Path, capsys) -> None:
    assert not settle(held(tmp_path), ["pkg.acts:Swish"], [certificate(output=3.0)], {})
    assert "budget exceeded: pkg.acts:Swish: output, float16: 3 ULP" in capsys.readouterr().out


def test_a_function_without_a_budget_is_judged_as_ever_and_listed(tmp_path: Path, capsys) -> None:
    other = certificate(99.0, target="pkg.acts:Other")
    assert settle(held(tmp_path), ["pkg.acts:Other"], [other], {}, err=True)
    assert "no budget: pkg.acts:Other" in capsys.readouterr().err
    broken = certificate(findings={"dtype-leak": "fail"}, target="pkg.acts:Other")
    assert not settle(held(tmp_path), ["pkg.acts:Other"], [broken], {})


def test_a_function_with_a_budget_that_could_not_be_checked_exceeds_it(tmp_path: Path, capsys) -> None:
    assert not settle(held(tmp_path), ["pkg.acts:*"], [], {"pkg.acts:Swish": "it hangs"})
    assert "has a budget, and was not checked: it hangs" in capsys.readouterr().out


@pytest.mark.parametrize("whole", ["pkg.acts:*", "pkg:*"])
def test_an_entry_that_names_nothing_is_an_error(tmp_path: Path, whole: str) -> None:
    with pytest.raises(CheckError, match=r"has no such activation; did you mean pkg\.acts:Swoosh"):
        settle(held(tmp_path), [whole], [certificate(target="pkg.acts:Swoosh")], {})


def test_a_better_function_is_told_and_its_budget_tightened_when_asked(tmp_path: Path, capsys) -> None:
    better = certificate(0.5, 2.0, {"nan-policy": "fail"})
    assert settle(held(tmp_path), ["pkg.acts:Swish"], [better], {})
    said = capsys.readouterr().out
    assert "pkg.acts:Swish: output, float16: 0.5 ULP instead of 1" in said
    assert "precision-loss: no finding instead of warn" in said
    assert "--update-budget tightens" in said
    budget = held(tmp_path, update=True)
    settle(budget, ["pkg.acts:Swish"], [better, certificate(0.7, target="new")], {})
    kept = parse_budget(budget.path.read_text())
    assert kept["pkg.acts:Swish"] == Entry({"float16": {"output": 0.5, "gradient": 2.0}}, {"nan-policy": "fail"})
    assert kept["new"] == entry_of(certificate(0.7, target="new"))
    assert budget.path.read_text().startswith("# Held since the first release.")


def test_a_worse_function_does_not_loosen_its_budget(tmp_path: Path) -> None:
    budget = held(tmp_path, update=True)
    assert not settle(budget, ["pkg.acts:Swish"], [certificate(9.0, 9.0, {"nan-policy": "fail"})], {})
    assert parse_budget(budget.path.read_text())["pkg.acts:Swish"].limits == ENTRY.limits


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--update-budget"], "which file?"),
        (["--budget", "nothing.toml"], "No such file or directory: nothing.toml"),
        (["--budget", "new.toml", "--update-budget", "--check", "dtype-leak"], "leave out --check and --dtype"),
        (["--budget", "new.toml", "--update-budget", "--dtype", "float16"], "leave out --check and --dtype"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_is_judged(
    tmp_path: Path, monkeypatch, options: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["check", "relu", *options])
    assert result.exit_code == 2
    assert says in result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("server")
def test_the_command_fails_where_a_budget_is_exceeded(tmp_path: Path) -> None:
    budget = tmp_path / "budget.toml"
    budget.write_text('[functions."torch.nn:Tanh".float16]\noutput = 1.0\ngradient = 0.5\n')
    arguments = ["torch.nn:Tanh", "--dtype", "float16", "--check", "precision-loss", "--budget", str(budget)]
    result = CliRunner().invoke(app, ["check", *arguments])
    assert result.exit_code == 1, result.output
    assert "budget exceeded: torch.nn:Tanh: gradient, float16: " in result.output
    assert "better than its budget: torch.nn:Tanh: output, float16: 0.5 ULP instead of 1" in result.output
