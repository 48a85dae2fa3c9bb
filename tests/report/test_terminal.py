"""A certificate on a terminal: complete, within the width, and never at the mercy of foreign text."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from actium.report.clean import clean, shortened
from actium.report.terminal import certificate_view, number, show, summary_view
from actium.verify.certificate import Accuracy, Certificate, Finding, Worst

EVIL = "evil[red]x[/red]\x1b[31m\x07\nnext‮line"


def finding(severity="fail", check="false-zero", dtype="bfloat16", suggestion="do this", region=(-1.0, 2.5)):
    worst = Worst(-89.0, "-0x1.64p+6", -0.0, -1.954e-37, 645.0) if region else None
    return Finding(check, severity, "output", dtype, 15, 65280, f"{EVIL}: wrong", "cpu", worst, region, suggestion)


def certificate(target="f", findings=None) -> Certificate:
    return Certificate(
        target,
        "x * tanh(x)",
        "ball",
        tuple([finding()] if findings is None else findings),
        {"bfloat16": {"output": Accuracy(0.5, 1.0, 65280), "gradient": Accuracy(float("inf"), -2.0, 65280)}},
        ("false-zero",),
        {"vmap": "not implemented", "compile": "not implemented"},
        ("mish",),
        {"notes": ["a note"]},
        {"float32": 4.0},
    )


def rendered(view, width: int = 110, terminal: bool = False) -> str:
    out = io.StringIO()
    to = Console(file=out, width=width, force_terminal=terminal, highlight=False, emoji=False, markup=False)
    show(view, to)
    return out.getvalue()


def test_verdict_evidence_and_advice_are_all_there():
    text = rendered(certificate_view(certificate(), 110))
    for piece in (
        "✗ FAIL f  wrong (1 fail)", "x * tanh(x)", "ball arithmetic", "equals   mish", "a note", "4 (fp32) bytes",
        "15 of 65,280", "-0x1.64p+6", "-0 → -1.954e-37", "[-1, 2.5]", "→ do this  (false-zero)",
        "0.5 ULP at x = 1", "inf ULP at x = -2", "1 checks run, 2 not run", "vmap, compile: not implemented",
    ):  # fmt: skip
        assert piece in text, piece


@pytest.mark.parametrize("width", [40, 60, 80, 110, 200])
def test_no_line_is_wider_than_the_terminal(width: int):
    findings = [finding(), finding("warn", "precision-loss", "float32", "x" * 30), finding("info", region=None)]
    text = rendered(certificate_view(certificate("a_long_name_of_a_target" * 9, findings), width), width)
    assert max(cell_len(line) for line in text.splitlines()) <= width


def test_narrow_terminal_loses_no_number():
    text = " ".join(rendered(certificate_view(certificate(), 44), 44).split())
    for piece in ("15 of 65,280", "[-1, 2.5]", "-0x1.64p+6", "-0 → -1.954e-37"):
        assert piece in text


def test_findings_of_one_check_stand_together():
    findings = [finding(dtype="float16"), finding(check="precision-loss"), finding(dtype="float32")]
    text = rendered(certificate_view(certificate(findings=findings), 110))
    assert text.count("false-zero  output") == 1
    assert text.index("fp32") < text.index("precision-loss")


def test_the_same_advice_is_given_once():
    text = rendered(certificate_view(certificate(findings=[finding(), finding(check="precision-loss")]), 110))
    assert text.count("do this") == 1
    assert "(false-zero, precision-loss)" in text


def test_numbers_that_differ_are_printed_differently():
    worst = Worst(1.0, "0x1p+0", 0.1125000, 0.1125001, 6.0)
    close = Finding("precision-loss", "warn", "output", "float32", 1, 2, "m", "cpu", worst, (0.0, 1.0), None)
    assert "0.1125 → 0.1125001" in rendered(certificate_view(certificate(findings=[close]), 110))


@pytest.mark.parametrize("terminal", [False, True], ids=["file", "terminal"])
def test_foreign_text_is_neither_markup_nor_control(terminal: bool):
    findings = [finding(suggestion=EVIL), finding(region=None)]
    text = rendered(certificate_view(certificate(EVIL, findings), 110), terminal=terminal)
    assert "[red]x[/red]" in text
    assert "\x07" not in text
    assert "‮" not in text
    assert "\x1b[31mnext" not in text
    if not terminal:
        assert "\x1b" not in text


def test_nothing_is_padded_off_a_terminal():
    assert all(line == line.rstrip() for line in rendered(certificate_view(certificate(), 110)).splitlines())


def test_summary_has_a_line_for_each_target_and_counts():
    passing = certificate("sound", ())
    text = rendered(summary_view([certificate(), passing], {"g": "needs arguments"}))
    assert "2 checked, 1 not checked: 1 fail, 1 pass" in text
    assert "✓ pass         sound" in text
    assert "false-zero" in text


def test_not_elementwise_is_said_plainly():
    c = Certificate("f", None, "float64", properties={"elementwise": False, "why": "it is random"})
    assert "not judged: it is random" in rendered(certificate_view(c, 110))


def test_clean_and_shortened():
    assert clean("\x1b]0;title\x07a\x9b31mb\x00c\r\nd") == "abc d"
    assert shortened("abcdefghij", 5) == "ab…ij"
    assert number(float("nan")) == "nan"
    assert number(float("-inf")) == "-inf"


def test_a_long_name_does_not_hide_the_verdict():
    name = "some/long/folder/" * 10 + "file.py:"
    text = rendered(summary_view([certificate(f"{name}f", ())], {f"{name}g": "exceeded 120 s"}), 60)
    assert "✓ pass" in text
    assert "? not checked" in text
