"""What runs inside a worker: a process that trains cells until none is left.

Stage: job → [worker] → results in the queue and the store. The job comes on stdin, so that a password in a URL is in no
list of processes; when stdin ends, so does the worker: nothing goes on when the process that asked is gone. What
happens is told on stdout, a line of JSON each.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from actium.errors import ActiumError
from actium.train.plan import Cell, Plan
from actium.train.queue import Place, Queue, Report
from actium.train.sources import Sources
from actium.train.store import Store

Tell = Callable[[Mapping[str, Any]], None]


def job_of(plan: Plan, place: Place, sources: Sources, out: Path | None, since: int) -> dict[str, Any]:
    """What a worker needs to know, as JSON has it."""
    where = {"data_dir": sources.data_dir, "text": sources.text}
    paths = {name: None if path is None else str(path) for name, path in where.items()}
    return {
        "plan": plan.to_json(),
        "place": asdict(place),
        "sources": {**paths, "download": sources.download},
        "out": None if out is None else str(out),
        "since": since,
    }


def work(job: Mapping[str, Any], worker: str, tell: Tell) -> None:
    """Train cells until all of the plan are finished.

    Args:
        job: What `job_of` made.
        worker: A name that no other worker has.
        tell: Called with `{"trained": key}` after each cell that was trained here.

    Raises:
        ActiumError: If the study or its results cannot be read or written.
    """
    import torch

    from actium.train.cells import train_cell
    from actium.train.tasks import task_of

    torch.set_num_threads(1)  # There is a worker for each core.
    plan = Plan.from_json(job["plan"])
    given = job["sources"]
    paths = {name: Path(given[name]) if given[name] else None for name in ("data_dir", "text")}
    sources = Sources(**paths, download=given["download"])
    store = Store(Path(job["out"])) if job["out"] else None

    def train(cell: Cell, report: Report) -> dict[str, Any]:
        known = store.load(cell) if store else None
        if known is not None:
            return known
        result = train_cell(plan, cell, sources, report)
        if store is not None:
            store.save(cell, result)
        tell({"trained": cell.key})
        return result

    queue = Queue(Place(**job["place"]), plan, job["since"])
    tell({"ready": worker})
    try:
        queue.work(train, worker, task_of(plan.task)[0].metric.worst)
    finally:
        queue.close()


def _tell(event: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def _end_with_stdin() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _stop(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Do the job on the first line of stdin; the exit code is 0 when nothing is left to do."""
    signal.signal(signal.SIGTERM, _stop)
    job = json.loads(sys.stdin.readline())
    worker = str(job["worker"])
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        work(job, worker, _tell)
    except KeyboardInterrupt:
        sys.exit(130)
    except ActiumError as error:
        _tell({"error": str(error), "type": type(error).__name__})
        sys.exit(2)


if __name__ == "__main__":
    main()
