"""A study on this machine: a worker for each core, in a database that others may join.

Stage: plan → [study] → cells. The process that asks trains nothing: it starts workers, replaces those that die, and
collects what is finished, whoever trained it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actium.errors import StudyError
from actium.train.plan import Plan
from actium.train.queue import Place, Queue
from actium.train.sources import Sources
from actium.train.store import Store
from actium.train.work import job_of
from actium.train.workers import Worker

_POLL_SECONDS = 0.5
_REPLACEMENTS = 3  # for each worker that there is room for

# Called with the results so far: key → result.
Progress = Callable[[dict[str, dict[str, Any]]], None]


@dataclass
class Outcome:
    """What came of a study.

    Attributes:
        plan: What was to be trained.
        cells: Results, in the order of the plan; those that failed have an `error` and no metric.
        trained: How many were trained in this run, by the workers of this machine.
    """

    plan: Plan
    cells: list[dict[str, Any]] = field(default_factory=list)
    trained: int = 0

    @property
    def errors(self) -> dict[str, str]:
        """Activation → the first error of its cells."""
        found: dict[str, str] = {}
        for cell in self.cells:
            if cell.get("error"):
                found.setdefault(cell["activation"], cell["error"])
        return found


def compare(
    plan: Plan,
    sources: Sources | None = None,
    *,
    jobs: int | None = None,
    storage: str | None = None,
    study: str | None = None,
    out: Path | None = None,
    heartbeat: int = 10,
    pruner: str = "none",
    progress: Progress | None = None,
) -> Outcome:
    """Train every cell of a plan.

    Args:
        plan: What: see `cells.plan_of`.
        sources: Where the user's own data is.
        jobs: Workers on this machine; one for each core if not given.
        storage: URL of a database that other machines use as well; a SQLite file in `out`, or a temporary one, if not
            given.
        study: Name of the study; one that depends on the plan if not given.
        out: A folder for finished cells; they are not trained again.
        heartbeat: Seconds between two signs of life of a worker; without one for three times as long it is replaced.
        pruner: none, median or halving: whether cells that do badly are given up.
        progress: Called now and then with what is finished.

    Returns:
        All cells, and how many of them were trained here.

    Raises:
        StudyError: If the study cannot be opened or written, or its workers keep dying.
        ExtraError: If an optional package is missing.
    """
    with contextlib.ExitStack() as stack:
        folder = out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="actium-")))
        store = Store(folder)
        url = storage or f"sqlite:///{folder.resolve() / 'study.db'}"
        queue = Queue(Place(url, study or plan.name, heartbeat, pruner), plan)
        stack.callback(queue.close)
        queue.fill()
        crew = stack.enter_context(_crew(queue, job_of(plan, queue.place, sources or Sources(), folder, queue.since)))
        wanted = min(jobs or os.cpu_count() or 1, len(plan.cells))
        finished = store.finished(plan.cells) | queue.results()
        while crew.keep(0 if len(finished) == len(plan.cells) else wanted):
            finished |= queue.results()
            if progress is not None:
                progress(finished)
            if len(finished) == len(plan.cells) and queue.fill() == (0, 0):
                break  # The workers would find that out as well, a little later.
            time.sleep(_POLL_SECONDS)
        finished |= queue.results()
        _keep(store, plan, finished)
        return _outcome(plan, finished, queue.errors(), crew.trained)


def _keep(store: Store, plan: Plan, finished: dict[str, dict[str, Any]]) -> None:
    """Keep here as well what other machines trained."""
    for cell in plan.cells:
        if cell.key in finished and store.load(cell) is None:
            store.save(cell, finished[cell.key])


def _outcome(plan: Plan, finished: dict[str, dict[str, Any]], errors: dict[str, str], trained: int) -> Outcome:
    cells = []
    for cell in plan.cells:
        found = finished.get(cell.key)
        if found is None:
            error = errors.get(cell.key, "its workers died before it was finished")
            found = {"key": cell.key, "activation": cell.activation, "seed": cell.seed, "metric": None, "error": error}
        cells.append(found)
    return Outcome(plan, cells, trained)


class _Crew:
    """The workers of this machine."""

    def __init__(self, queue: Queue, job: dict[str, Any]) -> None:
        self._queue, self._job = queue, job
        self._workers: list[Worker] = []
        self._started = 0
        self._is_over = False
        self.trained = 0

    def keep(self, wanted: int) -> bool:
        """Replace workers that died; false when all have ended because nothing is left to do."""
        for worker in list(self._workers):
            self._look_at(worker)
        while not self._is_over and len(self._workers) < wanted:
            if self._started >= wanted * (1 + _REPLACEMENTS):
                raise StudyError(
                    f"{self._started} workers ended before the study was finished; the last one said: "
                    f"{self._last_words or 'nothing'}; finished cells are kept, and the same command goes on from there"
                )
            name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
            self._workers.append(Worker({**self._job, "worker": name}))
            self._started += 1
        return bool(self._workers)

    _last_words = ""

    def _look_at(self, worker: Worker) -> None:
        status = worker.poll()
        for event in worker.events():
            self.trained += "trained" in event
            if "error" in event:
                raise StudyError(event["error"])
        if status is None:
            return
        self._workers.remove(worker)
        worker.close()
        if status == 0:
            self._is_over = True
            return
        self._last_words = worker.last_words or f"nothing; it ended with {status}"
        self._queue.release(worker.name)
        self._queue.fill()

    def close(self) -> None:
        """End the workers; what they were training can be taken up by others at once."""
        for worker in self._workers:
            worker.ask_to_end()
        for worker in self._workers:
            worker.close()
            with contextlib.suppress(StudyError):
                self._queue.release(worker.name)
        self._workers.clear()


@contextlib.contextmanager
def _crew(queue: Queue, job: dict[str, Any]) -> Iterator[_Crew]:
    crew = _Crew(queue, job)
    try:
        yield crew
    finally:
        crew.close()
