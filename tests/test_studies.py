"""docs/choosing.md and docs/mixed-precision.md say what was measured."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> dict:
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    return runpy.run_path(str(ROOT / "benchmarks" / "study_tables.py"))


def newest(topic: str) -> dict:
    return json.loads(sorted(RESULTS.glob(f"{topic}_*.json"))[-1].read_text("utf-8"))["results"]


@pytest.mark.parametrize("name", ["choosing.md", "mixed-precision.md"])
def test_the_tables_are_the_committed_measurements(tables: dict, name: str):
    text = (ROOT / "docs" / name).read_text("utf-8")
    assert tables["rendered"](text) == text
    before, marker, table = text.partition("<!-- table")
    changed = before + marker + re.sub(r"\| 0\.\d{3,4} \|", "| 0.123 |", table, count=1)
    assert changed != text
    assert tables["rendered"](changed) == text


def test_the_usual_networks_learn_what_is_promised():
    found = newest("studies")
    for task, least in (("digits", 0.97), ("moons", 0.97), ("fashion-mnist", 0.80)):
        if task in found:
            assert all(row["mean"] >= least for row in found[task]["summary"]["activations"]), task


def test_in_mixed_precision_only_the_naive_form_diverges():
    rows = newest("mixed_precision")
    assert all(row["diverged"] == 0 for row in rows if row["form"] == "actium")
    assert all(row["diverged"] == row["seeds"] for row in rows if row["form"] != "actium" and row["dtype"] == "float16")
