"""A fingerprint changes with every source that a target can import, and with nothing else."""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from actium.catalogue import get
from actium.targets import resolve
from actium.targets.fingerprint import fingerprint, fingerprint_of

pytestmark = pytest.mark.usefixtures("modules")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file, what is beside it, and a package."""
    place = tmp_path / "here"
    for name in ("beside", "package_fp", "package_fp/deep", ".hidden", "env/lib"):
        (place / name).mkdir(parents=True)
        (place / name / "code.py").write_text("K = 1\n")
    (place / "package_fp" / "__init__.py").write_text("")
    (place / "env" / "pyvenv.cfg").write_text("")
    (place / "env" / "run.py").write_text("")
    (place / "helper_fp.py").write_text("K = 1\n")
    (place / "act_fp.py").write_text("from helper_fp import K\ndef f(x):\n    return K * x\n")
    monkeypatch.chdir(place)
    return place


FILE, MODULE, INSIDE = "act_fp.py", "act_fp", "package_fp.code"


@pytest.mark.parametrize(
    ("edited", "seen_by"),
    [
        ("act_fp.py", {FILE, MODULE}),
        ("helper_fp.py", {FILE, MODULE}),
        ("added.py", {FILE, MODULE}),
        ("kernel.cpp", {FILE, MODULE}),
        ("beside/code.py", {FILE, MODULE}),
        ("package_fp/deep/code.py", {FILE, MODULE, INSIDE}),
        (".hidden/code.py", set()),
        ("env/lib/code.py", set()),
        ("env/run.py", set()),
        ("notes.txt", set()),
    ],
)
def test_an_edit_is_seen_where_it_can_matter(place: Path, edited: str, seen_by: set[str]):
    before = {where: fingerprint(where) for where in (FILE, MODULE, INSIDE)}
    (place / edited).write_text("K = 2\n")
    assert all(before.values())
    assert {where for where in before if fingerprint(where) != before[where]} == seen_by


def test_times_and_paths_do_not_matter(place: Path, monkeypatch: pytest.MonkeyPatch):
    before = [fingerprint(where) for where in (FILE, MODULE, INSIDE)]
    shutil.copytree(place, place.parent / "there")
    os.utime(place.parent / "there" / "helper_fp.py", (1, 1))
    monkeypatch.chdir(place.parent / "there")
    assert [fingerprint(where) for where in (FILE, MODULE, INSIDE)] == before


def test_a_link_in_a_circle_ends(place: Path):
    (place / "beside" / "up").symlink_to(place)
    assert fingerprint(FILE)


def test_a_file_in_a_package_stands_for_the_package(place: Path):
    assert fingerprint("package_fp/__init__.py") == fingerprint("package_fp.code")


@pytest.mark.parametrize("where", ["nowhere.py", "nowhere_fp", "nowhere_fp.inside", "sys"])
def test_what_is_not_there_has_none(where: str):
    assert fingerprint(where) == ""


def test_the_code_of_an_object_is_that_of_its_file(place: Path):
    function = resolve(f"{place}/act_fp.py:f").value
    held = (functools.partial(function), lambda x: function(x), nn.Sequential(nn.Tanh()))
    held[2].append(nn.Module())
    held[2][1].function = function
    before = [fingerprint_of(value) for value in (function, *held)]
    own = fingerprint_of(nn.Tanh())
    (place / "helper_fp.py").write_text("K = 2\n")
    after = [fingerprint_of(value) for value in (function, *held)]
    assert all(a is not None and a != b for a, b in zip(after, before, strict=True))
    assert fingerprint_of(nn.Tanh()) == own


def test_the_class_of_an_autograd_function_is_found_behind_apply(place: Path):
    (place / "step_fp.py").write_text(
        "import torch\nclass Step(torch.autograd.Function):\n"
        "    @staticmethod\n    def forward(ctx, x):\n        return x\n"
    )
    call = resolve(f"{place}/step_fp.py:Step").value
    before = fingerprint_of(call)
    (place / "helper_fp.py").write_text("K = 2\n")
    assert fingerprint_of(call) != before


def test_of_code_that_is_in_no_file_nobody_can_tell():
    scope = {"__name__": "nowhere_fp"}
    exec("def f(x):\n    return x\nclass C:\n    def __call__(self, x):\n        return x\n", scope)
    assert fingerprint_of(scope["f"]) is None
    assert fingerprint_of(scope["C"]()) is None


@pytest.mark.parametrize("value", [get("silu").activation(), torch.tanh, nn.functional.silu, get("mish").as_written()])
def test_code_of_actium_and_of_torch_has_one(value: object):
    assert fingerprint_of(value)
