"""What is finished is kept under a safe name; it holds for the same code, the same options and the same actium only."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from actium.errors import TargetError
from actium.running import Judging, Limits, Outcome
from actium.running.store import Store
from actium.verify.certificate import Certificate

ODD = (
    "path/to/file.py:Name", "../../etc/passwd:x", "..", ".", "", "a\x00b", "x * tanh(exp(x))", "ä" * 5000, "x" * 10_000,
    "‮evil", "CON", "a/b:C", "a-b:C", "a:b/C", "~/x.py:f", "-rf", "\n\n",
)  # fmt: skip


def passed(target: str) -> Outcome:
    return Outcome(target, Certificate(target, None, "float64"), seconds=1.5)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "kept", Judging(), Limits())


def test_every_target_has_a_file_of_its_own_in_the_folder(store: Store):
    for target in ODD:
        store.save(passed(target), {})
    files = list(store.folder.iterdir())
    assert len(files) == len(ODD)
    assert all(len(f.name.encode()) < 100 and f.suffix == ".json" and not f.name.startswith(".") for f in files)
    assert [store.load(t) for t in ODD] == [passed(t) for t in ODD]


def test_a_file_is_a_document_of_the_schema(store: Store):
    store.save(passed("x"), {"cpu": "one"})
    store.save(Outcome("y", reason="exceeded 1 s"), {})
    document = json.loads(store.path("x").read_text())
    assert document["schema"] == "actium.certificates/1"
    assert document["environment"] == {"cpu": "one"}
    assert [c["target"] for c in document["certificates"]] == ["x"]
    assert json.loads(store.path("y").read_text())["skipped"] == {"y": "exceeded 1 s"}


@pytest.mark.parametrize(
    "judging", [Judging(("float16",)), Judging(fused=True), Judging(only=("vmap",)), Judging(parameters={"a": 2.0})]
)
def test_other_options_do_not_count(store: Store, judging: Judging):
    store.save(passed("x"), {})
    assert Store(store.folder, judging, Limits()).load("x") is None


def test_other_limits_count_for_what_was_judged_only(store: Store):
    store.save(passed("x"), {})
    store.save(Outcome("y", reason="exceeded 120 s"), {})
    longer = Store(store.folder, Judging(), Limits(500.0))
    assert longer.load("x") == passed("x")
    assert longer.load("y") is None
    assert store.load("y") == Outcome("y", reason="exceeded 120 s")


def test_changed_code_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "edited_here.py").write_text("def f(x):\n    return x\n")
    package = tmp_path / "edited_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.chdir(tmp_path)
    targets = ["edited_here.py:f", "edited_here:f", "edited_package:f"]
    store = Store(tmp_path / "kept", Judging(), Limits())
    for target in targets:
        store.save(passed(target), {})
    assert all(Store(store.folder, Judging(), Limits()).load(t) for t in targets)
    (tmp_path / "edited_here.py").write_text("def f(x):\n    return -x\n")
    (package / "added.py").write_text("")
    assert not any(Store(store.folder, Judging(), Limits()).load(t) for t in targets)


def test_an_edit_beside_the_file_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "edited_here.py").write_text("from beside_here import f\n")
    (tmp_path / "beside_here.py").write_text("def f(x):\n    return x\n")
    monkeypatch.chdir(tmp_path)
    targets = ["edited_here.py:f", "edited_here:f", f"{tmp_path}/edited_here.py:f"]
    store = Store(tmp_path / "kept", Judging(), Limits())
    for target in targets:
        store.save(passed(target), {})
    (tmp_path / "beside_here.py").touch()  # A time is no edit.
    assert all(Store(store.folder, Judging(), Limits()).load(t) for t in targets)
    (tmp_path / "beside_here.py").write_text("def f(x):\n    return -x\n")
    assert not any(Store(store.folder, Judging(), Limits()).load(t) for t in targets)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"basis": 3}', "[" * 10_000, "\x00"])
def test_a_file_that_is_not_ours_is_done_again(store: Store, text: str):
    store.save(passed("x"), {})
    store.path("x").write_text(text)
    assert store.load("x") is None


def test_a_damaged_certificate_is_done_again(store: Store):
    store.save(passed("x"), {})
    document = json.loads(store.path("x").read_text())
    document["certificates"][0]["verdict"] = "fail"
    store.path("x").write_text(json.dumps(document))
    assert store.load("x") is None


def test_nothing_half_written_is_left(store: Store, monkeypatch: pytest.MonkeyPatch):
    def stopped(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        store.save(passed("x"), {})
    assert list(store.folder.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_an_error(tmp_path: Path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(TargetError, match="expected a folder"):
        Store(tmp_path / "taken", Judging(), Limits())


def test_options_of_judging_are_all_in_the_basis():
    assert set(Judging().to_json()) == {f.name for f in dataclasses.fields(Judging)}
