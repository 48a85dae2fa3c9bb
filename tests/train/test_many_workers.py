"""Many processes on one study: every cell is done, none twice, whoever is killed."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from actium.train.cells import plan_of
from actium.train.plan import Plan
from actium.train.queue import Place, Queue
from actium.train.sources import Sources
from actium.train.work import job_of

WORKERS, KILLED, LIMIT_SECONDS = 4, 2, 480


def plan() -> Plan:
    """40 cells of a second or less."""
    return plan_of(("relu", "gelu", "torch.nn:PReLU", "tanh"), "moons", 10, epochs=1)


def events(folder: Path) -> list[dict]:
    """What each worker told, in its order, with the worker's number."""
    lines = [(k, line) for k in range(WORKERS) for line in (folder / f"{k}.jsonl").read_text("utf-8").splitlines()]
    return [{**json.loads(line), "by": k} for k, line in lines]


def has_trained(folder: Path, k: int, cells: int) -> bool:
    """Whether a worker has begun, and trained so many cells."""
    file = folder / f"{k}.jsonl"
    text = file.read_text("utf-8") if file.exists() else ""
    return '"ready"' in text and text.count('"trained"') >= cells


def run_and_kill(url: str, folder: Path, chance: random.Random) -> tuple[Plan, Queue, list[dict], list[int]]:
    """Four workers, two of which are killed at random moments; the rest has to end by itself."""
    whole = plan()
    queue = Queue(Place(url, whole.name, heartbeat=1), whole)
    queue.fill()
    file = folder / "job.json"
    file.write_text(json.dumps(job_of(whole, queue.place, Sources(), None, queue.since)), "utf-8")
    command = [sys.executable, str(Path(__file__).with_name("forking.py")), str(file), str(folder), str(WORKERS)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    end = time.monotonic() + LIMIT_SECONDS
    try:
        assert process.stdout is not None
        children = [int(pid) for pid in process.stdout.readline().split()]
        killed = chance.sample(range(WORKERS), KILLED)
        for k in killed:
            # By its own progress: in a fixed time a fast machine has trained everything.
            cells = chance.randint(0, 3)
            while not has_trained(folder, k, cells):
                assert time.monotonic() < end, "the workers do not start"
                time.sleep(0.005)
            time.sleep(chance.uniform(0, 0.15))
            os.kill(children[k], signal.SIGKILL)
        process.wait(end - time.monotonic())
    finally:
        for pid in children:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.kill()
        process.wait()
        process.stdout.close()
    return whole, queue, events(folder), killed


def assert_each_cell_once(whole: Plan, queue: Queue, told: list[dict], killed: list[int]) -> None:
    with contextlib.closing(queue):
        _assert_each_cell_once(whole, queue, told, killed)


def _assert_each_cell_once(whole: Plan, queue: Queue, told: list[dict], killed: list[int]) -> None:
    assert [e for e in told if "error" in e] == []
    keys = {cell.key for cell in whole.cells}
    assert len(keys) == 40
    assert set(queue.results()) == keys
    trained = [(e["by"], e["trained"]) for e in told if "trained" in e]
    # The last cell of one that was killed may not have been stored before that.
    last = set({k: (k, key) for k, key in trained if k in killed}.values())
    counts = collections.Counter(key for k, key in trained if (k, key) not in last)
    assert max(counts.values()) == 1
    complete = collections.Counter(t.user_attrs["cell"] for t in queue.study.trials if t.state.name == "COMPLETE")
    assert max(complete.values()) == 1
    assert {t.state.name for t in queue.study.trials} <= {"COMPLETE", "FAIL", "PRUNED"}
    assert sum(t.state.name == "FAIL" for t in queue.study.trials) <= KILLED


@pytest.mark.slow
def test_forty_cells_on_one_sqlite_study_with_two_workers_killed(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    assert_each_cell_once(*run_and_kill(url, tmp_path, random.Random()))


@pytest.mark.slow
def test_forty_cells_on_one_postgresql_study_with_two_workers_killed(tmp_path: Path, postgres: str):
    assert_each_cell_once(*run_and_kill(postgres, tmp_path, random.Random()))
