"""Many targets, a few at a time.

Stage: target texts → [pool] → outcomes.
In: target texts and limits. Out: an `Outcome` for each, as they come. Whatever happens to a worker, or to the server
that watches over the workers, each target gets one: it is the pool's promise that nothing is lost and nothing hangs.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from actium.errors import RecordError, TargetError
from actium.running import reach
from actium.running.jobs import Judging, Limits, Outcome
from actium.running.processes import Lost, Processes, start
from actium.targets import place_of
from actium.verify.certificate import Certificate

# A server that says nothing this long after the time limit of a job is taken for dead.
_GRACE = 30.0
# Loading torch takes seconds, and on a busy machine with a cold disk much longer.
_START = 600.0
_LARGEST_ANSWER = 1 << 26
_COUNT = itertools.count()
# How often somebody who wants to know how far a target is gets to know it.
_GLANCE = 0.25

Reached = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Task:
    """A target to judge.

    Attributes:
        target: Its text.
        member: Whether it was found by a `*`, so that nobody said that it is an activation.
    """

    target: str
    member: bool = False


@dataclass
class Expanded:
    """What a list of targets stands for.

    Attributes:
        tasks: What to judge, each target once.
        refused: Targets that cannot be loaded, and why; the caller named them.
        skipped: Members of a `*` that cannot be activations, and why.
    """

    tasks: list[Task] = field(default_factory=list)
    refused: dict[str, Outcome] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


@dataclass
class _Running:
    job: dict[str, Any]
    since: float
    reached: tuple[int, int] | None = None


class Pool:
    """Runs jobs in processes of their own.

    Args:
        jobs: How many at a time; as many as there are CPUs if not given.
        limits: What each may use.
        processes: What runs them.
    """

    def __init__(
        self, jobs: int | None = None, limits: Limits | None = None, processes: type[Processes] | None = None
    ) -> None:
        self.jobs = jobs or cpus()
        self.limits = limits or Limits()
        self._make = processes or start
        self._processes: Processes | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="actium-", ignore_cleanup_errors=True)
        self._many = False
        self._reached: Reached | None = None

    def __enter__(self) -> Self:
        self._processes = self._make()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._processes is not None:
            self._processes.close()
        self._folder.cleanup()

    # --- What is asked ------------------------------------------------------------------------------------

    def environment(self) -> dict[str, Any]:
        """What the results may depend on, as the workers see it."""
        ((_, reply),) = self._run([{"kind": "environment", "threads": cpus()}])
        return reply.get("environment", {})

    def expand(self, targets: Iterable[str]) -> Expanded:
        """Find out what each `*` stands for. Nothing is imported for the other targets."""
        expanded = Expanded()
        for target in dict.fromkeys(t.strip() for t in targets):
            place = place_of(target)
            if place is None or not place.is_everything:
                expanded.tasks.append(Task(target))
                continue
            refusal = self._expand(target, place.where, expanded)
            if refusal is not None:
                expanded.refused[target] = refusal
        expanded.tasks = list({t.target: t for t in reversed(expanded.tasks)}.values())[::-1]
        return expanded

    def _expand(self, target: str, where: str, into: Expanded) -> Outcome | None:
        """Members of a place and, for a package that shows nothing itself, of the modules inside."""
        before, places, first = len(into.tasks), [where], None
        while places:
            jobs = [{"kind": "members", "place": place} for place in places]
            replies = {job["place"]: reply for job, reply in self._run(jobs)}
            inside: list[str] = []
            for place in places:
                reply = replies[place]
                if "members" in reply:
                    into.tasks += [Task(t, member=True) for t in reply["members"]["targets"]]
                    into.skipped |= reply["members"]["skipped"]
                    inside += reply["members"]["places"]
                elif place == where:
                    first = _outcome(target, reply)
                else:
                    into.skipped[f"{place}:*"] = reply["reason"]
            places = inside
        if first is None and len(into.tasks) == before:
            first = Outcome(target, reason=f"{where} has no activation that can be checked", error="TargetError")
        return first

    def judge(
        self,
        tasks: Iterable[Task],
        judging: Judging,
        reached: Reached | None = None,
        keep: Callable[[str], Path] | None = None,
    ) -> Iterator[Outcome]:
        """Judge targets; outcomes come as they are ready.

        Args:
            tasks: The targets.
            judging: What of them is judged.
            reached: Called with a target, how much of it is done and of how much, while it is swept in full.
            keep: The folder for what is done of a target's sweep; the cache if not given.
        """
        tasks = list(tasks)
        threads = max(1, cpus() // max(1, min(self.jobs, len(tasks))))
        jobs = [
            {"kind": "judge", "target": t.target, "member": t.member, "judging": judging.to_json(), "threads": threads}
            for t in tasks
        ]
        if judging.full and keep is not None:
            jobs = [job | {"keep": str(keep(job["target"]).absolute())} for job in jobs]
        self._reached = reached if judging.full else None
        self._many = len(jobs) > 1 and not judging.only  # A few checks by id seldom need it.
        self._prepare()
        for job, reply in self._run(jobs):
            yield _outcome(job["target"], reply)

    # --- How it is done -----------------------------------------------------------------------------------

    def _run(self, jobs: Iterable[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """Jobs with the replies to them, as they come."""
        waiting = deque(self._prepared(job) for job in jobs)
        suspects: deque[dict[str, Any]] = deque()
        running: dict[int, _Running] = {}
        while waiting or suspects or running:
            try:
                # After the server was lost, what ran then runs alone, so that it is known who did it.
                self._fill(running, suspects, 1) if suspects else self._fill(running, waiting, self.jobs)
                events = self._wait(running)
            except Lost:
                self._restart()
                if len(running) == 1:
                    ((_, only),) = running.items()
                    yield only.job, {"reason": "ended the process that watches over it"}
                else:
                    suspects += [r.job for r in running.values()]
                running.clear()
                continue
            for event in events:
                if event["id"] in running:  # Otherwise it is about a job that nobody waits for any more.
                    job = running.pop(event["id"]).job
                    yield job, self._reply(job, event)

    def _prepared(self, job: dict[str, Any]) -> dict[str, Any]:
        one = next(_COUNT)
        answer = str(Path(self._folder.name) / f"{one}.json")
        return job | {"id": one, "answer": answer, "reach": f"{answer}.reach", "limits": asdict(self.limits)}

    def _fill(self, running: dict[int, _Running], waiting: deque[dict[str, Any]], most: int) -> None:
        assert self._processes is not None
        while waiting and len(running) < most:
            job = waiting.popleft()
            running[job["id"]] = _Running(job, time.monotonic())
            self._processes.submit(job)

    def _wait(self, running: dict[int, _Running]) -> list[dict[str, Any]]:
        assert self._processes is not None
        if not self._processes.ready:
            events = self._processes.wait(_START)
            for one in running.values():
                one.since = time.monotonic()
            return events
        left = min(r.since for r in running.values()) + self.limits.seconds + _GRACE - time.monotonic()
        if left <= 0:
            raise Lost
        if self._reached is None:
            return self._processes.wait(left)
        for one in running.values():
            now = reach.look(Path(one.job["reach"]))
            if now is not None and now != one.reached:
                one.reached = now
                self._reached(one.job["target"], *now)
        return self._processes.wait(min(left, _GLANCE))

    def _restart(self) -> None:
        assert self._processes is not None
        self._processes.close()
        self._processes = self._make()
        self._prepare()

    def _prepare(self) -> None:
        assert self._processes is not None
        if self._many:
            with contextlib.suppress(Lost):  # Then the first job meets it, too.
                self._processes.prepare()

    def _reply(self, job: dict[str, Any], event: dict[str, Any]) -> dict[str, Any]:
        """The worker's answer if it is whole, else how its process ended."""
        path = Path(job["answer"])
        reply: Any = None
        try:
            if path.stat().st_size <= _LARGEST_ANSWER:
                reply = json.loads(path.read_text(encoding="utf-8"))
            path.unlink()
        except (OSError, ValueError, RecursionError):
            reply = None
        if not isinstance(reply, dict):
            last = event["tail"].strip().splitlines()[-1:]
            reply = {"reason": event["ended"] + (f"; its last output: {last[0].strip()[:200]}" if last else "")}
        return reply | {"seconds": event["seconds"]}


def _outcome(target: str, reply: dict[str, Any]) -> Outcome:
    seconds = reply["seconds"] if "seconds" in reply else 0.0
    if "certificate" not in reply:
        reason = str(reply.get("reason", "its answer cannot be read"))
        return Outcome(target, None, reason, reply.get("error"), reply.get("trace"), seconds)
    try:
        return Outcome(target, Certificate.from_json(reply["certificate"]), seconds=seconds)
    except RecordError as error:
        return Outcome(target, reason=f"its answer cannot be read: {error}", seconds=seconds)


def cpus() -> int:
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_all(
    target: str,
    *,
    dtypes: Iterable[str] = (),
    fused: bool = False,
    only: Iterable[str] = (),
    limits: Limits | None = None,
    jobs: int | None = None,
) -> tuple[list[Certificate], dict[str, str]]:
    """Judge everything that a target names, such as every activation of a file (`path.py:*`).

    Each is judged in a process of its own, so a file that hangs or exits does no harm; it is imported there only.

    Args:
        target: As for `check`, or `path.py:*` or `package.module:*`.
        dtypes: As for `check`.
        fused: As for `check`.
        only: As for `check`.
        limits: What each may use.
        jobs: How many at a time; as many as there are CPUs if not given.

    Returns:
        The certificates in the order of the source, and target → reason for what was not checked.

    Raises:
        TargetError: If nothing can be loaded.
    """
    with Pool(jobs, limits) as pool:
        expanded = pool.expand([target])
        judging = Judging(tuple(dtypes), fused, tuple(only))
        done = {o.target: o for o in pool.judge(expanded.tasks, judging)}
    ordered = [done[t.target] for t in expanded.tasks]
    named = [done[t.target] for t in expanded.tasks if not t.member]
    for outcome in (*expanded.refused.values(), *named):
        if outcome.reason is not None:
            raise TargetError(outcome.reason)
    skipped = expanded.skipped | {o.target: o.reason for o in ordered if o.reason is not None}
    return [o.certificate for o in ordered if o.certificate is not None], skipped
