"""The code behind a target is part of a run's key, wherever that code is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from actium.train.candidates import code_of
from actium.train.cells import plan_of


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "here"
    (place / "compared_package").mkdir(parents=True)
    (place / "compared_package" / "__init__.py").write_text("from .inside import f\n")
    (place / "compared_package" / "inside.py").write_text("def f(x):\n    return x\n")
    (place / "compared_here.py").write_text("from compared_beside import f\n")
    (place / "compared_beside.py").write_text("def f(x):\n    return x\n")
    monkeypatch.chdir(place)
    return place


@pytest.mark.parametrize(
    ("target", "edited"),
    [
        ("compared_here.py:f", "compared_here.py"),
        ("compared_here.py:f", "compared_beside.py"),
        ("compared_here:f", "compared_beside.py"),
        ("compared_package:f", "compared_package/inside.py"),
        ("compared_package.inside:f", "compared_package/__init__.py"),
    ],
)
def test_an_edit_of_what_a_target_imports_makes_it_another_run(place: Path, target: str, edited: str):
    before = code_of(target)
    assert before
    (place / edited).write_text("def f(x):\n    return -x\n")
    assert code_of(target) != before


def test_the_same_code_has_the_same_key_on_another_machine(place: Path, monkeypatch: pytest.MonkeyPatch):
    targets = ("compared_here.py:f", "compared_package:f")
    before = [cell.key for cell in plan_of(targets, "moons", 1).cells]
    shutil.copytree(place, place.parent / "there")
    shutil.rmtree(place)
    monkeypatch.chdir(place.parent / "there")
    code = {target: code_of(target) for target in targets}
    assert all(code.values())
    monkeypatch.setattr("actium.train.cells.candidate", lambda target, plain: None)  # Both are imported already.
    assert [cell.key for cell in plan_of(targets, "moons", 1).cells] == before


def test_a_formula_has_no_code_of_its_own():
    assert code_of("x * tanh(exp(x))") == code_of("relu") == ""
