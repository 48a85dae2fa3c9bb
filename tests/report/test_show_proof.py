"""`actium show --proof`: the page shows what is printed, and nothing foreign gets through."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from actium import cli
from actium.report.proof import facts, proof_view
from actium.report.terminal import console
from actium.symbolic.parse import parse
from actium.verify.proof import prove

PAGE = Path(__file__).parents[2] / "docs" / "proofs.md"
EXAMPLES = re.findall(r"^```\n\$ actium (.+)\n((?:.*\n)*?)```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.setenv("COLUMNS", "100")

    def command(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["actium", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert not stopped.value.code
        return capfd.readouterr().out

    return command


def text_of(formula: str) -> str:
    to = console()
    with to.capture() as captured:
        to.print(proof_view("f", prove(parse(formula))))
    return " ".join(captured.get().split())


@pytest.mark.parametrize(("command", "printed"), EXAMPLES, ids=[c for c, _ in EXAMPLES])
def test_the_page_shows_what_is_printed(run, command: str, printed: str) -> None:
    assert len(EXAMPLES) == 2
    assert run(*command.split()) == printed


def test_json_has_intervals(run) -> None:
    shown = json.loads(run("show", "silu", "--proof", "--json"))
    low, high = shown["proof"]["range"]["low"]["value"]
    assert low <= -0.27846454276107379 <= high
    assert 0 < high - low < 1e-16
    assert shown["name"] == "silu"
    assert shown["proof"]["range"]["high"]["value"] == ["inf", "inf"]


@pytest.mark.parametrize(
    ("formula", "pieces"),
    [
        ("sin(x)", ["only for -16 < x < 16", "and 3 more", "min at x = ", "not proven - overflow"]),
        ("hardshrink(x)", ["x = 0.5: jumps from 0 over 0 to 0.5", "Lipschitz constant is inf", "odd (from the struc"]),
        ("log(x)", ["undefined on (-inf, 0]", "f(-inf) = not known", "no value was found"]),
        ("sqrt(abs(x))", ["range within [-inf, inf]", "even (from"]),
        ("relu6(x)", ["range [0, 6]", "max at every x in [6, inf)", "x = 6: slopes 1 and 0"]),
        ("x - x", ["odd and even", "constant on (-inf, inf)"]),
        ("floor(100*x)", ["parity neither proven nor refuted", "too many pieces"]),
    ],
)
def test_what_is_printed(formula: str, pieces: list[str]) -> None:
    text = text_of(formula)
    assert [p for p in pieces if p not in text] == [], text


def test_strict_json_for_whatever_is_not_proven() -> None:
    for formula in ("log(x)", "floor(x)", "1/x", "sqrt(abs(x))"):
        json.dumps(facts(prove(parse(formula))), allow_nan=False)


def test_names_are_cleaned() -> None:
    to = console()
    with to.capture() as captured:
        to.print(proof_view("a\x1b[31mred", prove(parse("tanh(x)"))))
    assert "\x1b" not in captured.get()
