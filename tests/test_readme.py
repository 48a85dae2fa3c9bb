"""README.md says what is true: its example runs, its tables are the committed measurements."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"<!-- example -->\n```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> dict:
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    return runpy.run_path(str(ROOT / "benchmarks" / "tables.py"))


def test_example_is_examples_quickstart():
    """Which test_examples.py runs."""
    assert EXAMPLE is not None
    quickstart = (ROOT / "examples" / "quickstart.py").read_text(encoding="utf-8")
    assert quickstart.split('"""\n\n', 1)[1] == EXAMPLE[1]


def test_example_is_fifteen_lines():
    assert EXAMPLE is not None
    assert len([line for line in EXAMPLE[1].splitlines() if line.strip()]) <= 15


def test_tables_are_the_committed_measurements(tables: dict):
    for page in tables["PAGES"]:
        text = page.read_text(encoding="utf-8")
        assert tables["rendered"](text) == text


def test_a_changed_number_is_noticed(tables: dict):
    number = re.search(r"\*\*0\.5\d\*\*", README)
    assert number is not None
    assert tables["rendered"](README.replace(number[0], "**0.01**", 1)) == README


@pytest.mark.parametrize("target", ["env", "demo", "test", "lint", "types", "layers", "unit", "bench"])
def test_make_has_the_targets_that_the_pages_name(target: str):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
