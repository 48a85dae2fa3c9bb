"""Whatever comes in, the parser gives a formula or a `FormulaError`, and the reports come out harmless.

A part of the cases runs always; all of them where ACTIUM_EXHAUSTIVE is set. `benchmarks/fuzz.py` runs and counts them.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from actium.errors import FormulaError, ParameterError, TargetError
from actium.symbolic.parse import parse
from actium.targets import resolve
from fuzzing import KINDS, assert_harmless, certificate, parses, renders, renders_as_html, resolves

RESULTS = json.loads((Path(__file__).parents[1] / "benchmarks" / "results" / "fuzz.json").read_text(encoding="utf-8"))
SHARE = 1.0 if "ACTIUM_EXHAUSTIVE" in os.environ else 0.01


@pytest.mark.parametrize("name", KINDS)
def test_nothing_unexpected_comes_out(name: str):
    kind = KINDS[name]
    for seed in range(int(kind.cases * SHARE)):
        case = kind.make(random.Random(seed))
        try:
            kind.holds(case)
        except Exception as error:
            error.add_note(f"seed {seed}: {str(case)[:500]!r}")
            raise


def test_the_committed_counts_are_of_100_000_cases_and_more_without_an_exception():
    counts = RESULTS["results"]
    assert {name: row["cases"] for name, row in counts.items()} == {name: kind.cases for name, kind in KINDS.items()}
    assert counts["formula"]["cases"] >= 100_000
    assert counts["terminal"]["cases"] + counts["html"]["cases"] >= 40_000
    assert all(row["exceptions"] == 0 for row in counts.values())
    assert counts["formula"]["slowest_seconds"] < 0.5
    # The cases are not all refused, nor all the same.
    assert 0.02 < counts["formula"]["accepted"] / counts["formula"]["cases"] < 0.5


# --- What the cases found ------------------------------------------------------------------------------------------


def test_an_integer_too_long_to_be_written_is_refused():
    with pytest.raises(FormulaError, match="does not fit a double"):
        parse("x + 0x" + "f" * 4000)
    with pytest.raises(FormulaError):
        resolve("leaky_relu(0x" + "f" * 4000 + ")")
    with pytest.raises(TargetError, match="must be literals"):
        resolve("torch.nn:LeakyReLU(0x" + "f" * 4000 + ")")
    with pytest.raises((TargetError, ParameterError), match="does not fit a double"):
        resolve("leaky_relu(" + "9" * 400 + ")")


@pytest.mark.parametrize("field", ["check", "dtype", "subject"])
def test_no_field_of_a_finding_reaches_the_terminal_as_it_is(field: str):
    made = next(c for seed in range(99) if (c := certificate(random.Random(seed))).findings)
    hostile = replace(made.findings[0], **{field: "\x1b[2J\u202e"})
    renders(replace(made, findings=(hostile,)), 80, colours=False)


# --- The judge of the cases can fail ---------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["\x1b[31m", "\u202e", "\ud800", "\0", "\u2028"])
def test_what_would_do_harm_is_noticed(text: str):
    with pytest.raises(AssertionError):
        assert_harmless(f"name{text}")


@pytest.mark.parametrize("holds", [parses, resolves])
def test_what_is_accepted_and_refused_is_told_apart(holds: Callable[[str], bool]):
    assert holds("x * sigmoid(x)")
    assert not holds("x *")


def test_a_page_with_an_open_tag_is_noticed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fuzzing.page", lambda certificates, *_: f"<b>{certificates[0].target}</b>")
    with pytest.raises(AssertionError):
        renders_as_html(replace(certificate(random.Random(1)), target="<script>alert(1)</script>"))
