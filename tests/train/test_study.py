"""A study whose workers, files and databases fail: a clear message each, and nothing lost.

Cells are trained in this process by a stand-in that takes no time, except where a real worker is what is tested.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from actium.errors import DataError, StudyError, TargetError
from actium.train import store as stores
from actium.train.cells import plan_of, train_cell
from actium.train.plan import Cell, Plan
from actium.train.queue import Place, Queue
from actium.train.sources import Sources
from actium.train.storage import quiet, shown
from actium.train.store import Store
from actium.train.study import compare
from actium.train.work import job_of, work


def plan(*names: str, seeds: int = 3, **more: Any) -> Plan:
    return Plan("moons", "mlp", names or ("relu", "gelu"), seeds, 1, 50, 1e-2, **more)


@contextlib.contextmanager
def queue(folder: Path, whole: Plan, name: str = "", **more: Any) -> Iterator[Queue]:
    with contextlib.closing(
        Queue(Place(f"sqlite:///{folder / 'study.db'}", name or whole.name, **more), whole)
    ) as made:
        yield made


def trained(cell: Cell, metric: float | None = 0.5) -> dict[str, Any]:
    return {"key": cell.key, "activation": cell.activation, "seed": cell.seed, "metric": metric}


# --- Cells ------------------------------------------------------------------------------------------------


def test_a_key_depends_on_what_decides_the_result_and_on_nothing_else():
    keys = {cell.activation + str(cell.seed): cell.key for cell in plan("relu", "gelu").cells}
    more = {cell.activation + str(cell.seed): cell.key for cell in plan("gelu", "mish", "relu", seeds=5).cells}
    assert len(set(more.values())) == 15
    assert all(more[name] == key for name, key in keys.items())
    for other in (plan("relu", dtype="float16"), plan("relu", gains={"relu": 1.0}), plan("relu", code={"relu": "1"})):
        assert other.cells[0].key != plan("relu").cells[0].key


def test_a_plan_survives_json():
    whole = plan("relu", gains={"relu": 1.5})
    assert Plan.from_json(json.loads(json.dumps(whole.to_json()))) == whole


def test_a_plan_is_checked_before_anything_is_trained():
    with pytest.raises(StudyError, match="named twice: relu"):
        plan("relu", "relu")
    with pytest.raises(StudyError, match="a gain is given for mish"):
        plan("relu", gains={"mish": 1.0})
    with pytest.raises(TargetError, match="did you mean"):
        plan_of(("relou",), "moons", 1)
    with pytest.raises(DataError, match="no task"):
        plan_of(("relu",), "mnist", 1)


def test_a_cell_has_what_the_report_needs():
    whole = plan_of(("torch.nn:PReLU",), "moons", 1, epochs=2)
    cell = train_cell(whole, whole.cells[0], Sources())
    assert {"activation", "seed", "metric", "loss", "seconds", "curve", "dead", "learned", "kept_bytes"} <= set(cell)
    assert len(cell["curve"]) == 2
    assert len(cell["learned"]["1.weight"]) == 3
    json.dumps(cell, allow_nan=False)


# --- The queue --------------------------------------------------------------------------------------------


def test_workers_train_each_cell_once_and_all_of_them(tmp_path: Path):
    whole, done = plan(), []
    with queue(tmp_path, whole) as one:
        one.work(lambda cell, _: done.append(cell.key) or trained(cell), "one", 0.0)
    assert sorted(done) == sorted(cell.key for cell in whole.cells)
    with queue(tmp_path, whole) as two:
        two.work(lambda cell, _: pytest.fail("trained twice"), "two", 0.0)
        assert set(two.results()) == set(done)


def test_of_two_trials_for_a_cell_only_the_first_counts(tmp_path: Path):
    whole, done = plan("relu", seeds=1), []
    with queue(tmp_path, whole) as one, queue(tmp_path, whole) as two:
        trials = one._trials()
        two._trials = lambda: trials  # Both looked at the same moment.
        one.fill()
        two.fill()
        del two._trials
        assert len(one.study.trials) == 2
        one.work(lambda cell, _: done.append(cell.key) or trained(cell), "one", 0.0)
        assert len(done) == 1
        assert sorted(t.state.name for t in one.study.trials) == ["COMPLETE", "PRUNED"]


def test_a_worker_that_died_before_its_first_heartbeat_is_missed_as_well(tmp_path: Path):
    whole, done = plan("relu", seeds=1), []
    with queue(tmp_path, whole, heartbeat=1) as dead, queue(tmp_path, whole, heartbeat=1) as alive:
        dead.fill()
        with quiet():
            dead.study.ask()  # Takes the trial, and is never heard of again.
        alive.work(lambda cell, _: done.append(cell.key) or trained(cell), "alive", 0.0)
    assert len(done) == 1


def test_a_released_trial_is_taken_up_at_once(tmp_path: Path):
    whole = plan("relu", seeds=1)
    with queue(tmp_path, whole) as one:
        one.fill()
        with quiet():
            one.study.ask().set_user_attr("worker", "dead")
        one.release("dead")
        assert one.fill() == (1, 0)


def test_a_cell_that_raises_is_told_not_retried_and_stops_nothing(tmp_path: Path):
    whole, calls = plan("relu", "gelu", seeds=1), []

    def train(cell: Cell, _: Any) -> dict[str, Any]:
        calls.append(cell.activation)
        if cell.activation == "relu":
            raise ValueError("no relu today")
        return trained(cell)

    with queue(tmp_path, whole) as one:
        one.work(train, "one", 0.0)
        assert sorted(calls) == ["gelu", "relu"]
        assert list(one.errors().values()) == ["ValueError: no relu today"]
    with queue(tmp_path, whole) as again:
        again.work(lambda cell, _: trained(cell), "two", 0.0)
        assert again.errors() == {}
        assert len(again.results()) == 2


def test_a_pruner_ends_cells_that_do_badly(tmp_path: Path):
    whole = plan("relu", seeds=9)

    def train(cell: Cell, report: Any) -> dict[str, Any]:
        for epoch in range(1, 6):
            if report(epoch, 1.0 - 0.1 * cell.seed):
                return trained(cell) | {"pruned": epoch}
        return trained(cell)

    with queue(tmp_path, whole, pruner="median") as one:
        one.work(train, "one", 0.0)
        pruned = [r for r in one.results().values() if r.get("pruned")]
        assert len(one.results()) == 9
        assert {r["seed"] for r in pruned} == {5, 6, 7, 8}


def test_interrupted_work_is_taken_up_at_once(tmp_path: Path):
    whole = plan()

    def interrupt(cell: Cell, _: Any) -> dict[str, Any]:
        if cell.seed == 1:
            raise KeyboardInterrupt
        return trained(cell)

    with queue(tmp_path, whole) as one, pytest.raises(KeyboardInterrupt):
        one.work(interrupt, "one", 0.0)
    with queue(tmp_path, whole) as two:
        assert len(two.results()) == 2
        two.work(lambda cell, _: trained(cell), "two", 0.0)
        assert len(two.results()) == len(whole.cells)


def test_what_other_machines_trained_is_kept_here_as_well_and_not_trained_again(tmp_path: Path):
    whole = plan()
    with queue(tmp_path, whole) as there:
        there.work(lambda cell, _: trained(cell), "there", 0.0)
    here = tmp_path / "out"
    outcome = compare(whole, storage=f"sqlite:///{tmp_path / 'study.db'}", out=here)
    assert outcome.trained == 0
    assert [c["key"] for c in outcome.cells] == [c.key for c in whole.cells]
    assert len(Store(here).finished(whole.cells)) == len(whole.cells)


# --- What can go wrong with files and databases -----------------------------------------------------------


def test_two_studies_with_one_name(tmp_path: Path):
    with queue(tmp_path, plan("relu"), "mine"):
        pass
    with (
        pytest.raises(StudyError, match="'mine' already, of another plan; choose another name"),
        queue(tmp_path, plan("gelu"), "mine"),
    ):
        pass


def test_a_damaged_study_file(tmp_path: Path):
    (tmp_path / "study.db").write_bytes(b"this is no database" * 100)
    with (
        pytest.raises(StudyError, match=r"is damaged .* move it away .* finished cells are files"),
        queue(tmp_path, plan()),
    ):
        pass
    whole = plan_of(("relu",), "moons", 1, epochs=1)
    Store(tmp_path).save(whole.cells[0], trained(whole.cells[0]))
    (tmp_path / "study.db").unlink()
    told: list[Any] = []
    with queue(tmp_path, whole) as one:
        work(job_of(whole, one.place, Sources(), tmp_path, one.since), "one", told.append)
        assert len(one.results()) == 1
    assert told == [{"ready": "one"}]  # and nothing trained


def test_a_database_that_is_not_there(tmp_path: Path):
    with pytest.raises(StudyError, match="cannot use the study in"):
        Queue(Place(f"sqlite:///{tmp_path / 'nowhere' / 'study.db'}", "x"), plan())
    with pytest.raises(StudyError, match="cannot use the study in"):
        Queue(Place("nonsense", "x"), plan())


def test_no_message_holds_a_password():
    assert "secret" not in shown("postgresql://me:secret@host/db")
    assert shown("sqlite:///a@b.db") == "sqlite:///a@b.db"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_loses_no_finished_cell(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = plan_of(("relu", "tanh"), "moons", 1, epochs=1)
    kept, written = Store(tmp_path), []

    def write(text: str, path: Path) -> None:
        if written:
            raise OSError(number, os.strerror(number))
        written.append(path)
        path.write_text(text, "utf-8")

    with monkeypatch.context() as patched:
        patched.setattr(stores, "write", write)
        with queue(tmp_path, whole) as one, pytest.raises(StudyError, match="finished are kept: free some space"):
            work(job_of(whole, one.place, Sources(), tmp_path, one.since), "one", lambda _: None)
    assert len(kept.finished(whole.cells)) == 1
    told: list[Any] = []
    with queue(tmp_path, whole) as two:
        work(job_of(whole, two.place, Sources(), tmp_path, two.since), "two", told.append)
        assert len(two.results()) == 2
    assert sum("trained" in t for t in told) == 1


def test_a_cut_cell_file_is_trained_again(tmp_path: Path):
    whole, store = plan(), Store(tmp_path)
    store.save(whole.cells[0], trained(whole.cells[0]))
    assert store.load(whole.cells[0]) is not None
    store.path(whole.cells[0]).write_text('{"key": ', "utf-8")
    assert store.load(whole.cells[0]) is None
    with pytest.raises(StudyError, match="expected a folder"):
        Store(store.path(whole.cells[0]))


# --- The command ------------------------------------------------------------------------------------------

RAISES = "import torch\nclass Fine(torch.nn.ReLU): pass\ndef bad(x):\n    raise ValueError('not today')\n"


def command(*arguments: str, **more: Any) -> subprocess.Popen[str]:
    code = "from actium.cli import main; main()"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code, "compare", *arguments], **pipes, **more)


@pytest.mark.slow
def test_the_command_interrupted_and_taken_up_again(tmp_path: Path):
    (tmp_path / "mine.py").write_text(RAISES, "utf-8")
    out = tmp_path / "out"
    target = f"{tmp_path / 'mine.py'}:Fine"
    options = ("--task", "moons", "--epochs", "2", "--seeds", "8", "--jobs", "1", "--out", str(out))
    first = command(target, "tanh", *options, start_new_session=True)
    end = time.monotonic() + 300
    while not list(out.glob("cells/*.json")):
        assert first.poll() is None, first.communicate()
        assert time.monotonic() < end
        time.sleep(random.uniform(0.0, 0.1))
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=120)
    assert first.returncode == 130
    assert "the same command goes on from there" in err
    before = {p.name: p.stat().st_mtime_ns for p in out.glob("cells/*.json")}
    assert 0 < len(before) < 16
    second = command(target, "tanh", *options, "--json", str(tmp_path / "s.json"), "--html", str(tmp_path / "s.html"))
    text, err = second.communicate(timeout=300)
    assert second.returncode == 0, err
    after = {p.name: p.stat().st_mtime_ns for p in out.glob("cells/*.json")}
    assert len(after) == 16
    assert before.items() <= after.items()
    document = json.loads((tmp_path / "s.json").read_text("utf-8"))
    assert document["schema"] == "actium.study/1"
    assert len(document["cells"]) == 16
    assert document["summary"]["conclusion"] in " ".join(text.split())
    assert "<svg" in (tmp_path / "s.html").read_text("utf-8")


def test_an_activation_that_raises_is_recorded(tmp_path: Path):
    (tmp_path / "mine.py").write_text(RAISES, "utf-8")
    whole = plan_of((f"{tmp_path / 'mine.py'}:bad",), "moons", 1, epochs=1)
    with queue(tmp_path, whole) as one:
        work(job_of(whole, one.place, Sources(), None, one.since), "one", lambda _: None)
        assert list(one.errors().values()) == ["ValueError: not today"]


def test_a_fresh_module_for_each_cell(tmp_path: Path):
    (tmp_path / "mine.py").write_text("import torch\nshared = torch.nn.PReLU()\n", "utf-8")
    whole = plan_of((f"{tmp_path / 'mine.py'}:shared",), "moons", 1, epochs=2)
    first, again = (train_cell(whole, whole.cells[0], Sources()) for _ in range(2))
    assert first["learned"] == again["learned"]
    assert first["metric"] == again["metric"]
    assert isinstance(nn.PReLU().weight, torch.nn.Parameter)
