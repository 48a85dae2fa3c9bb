"""A process that has torch loaded, forks a worker for each job, and holds it to its limits.

Stage: jobs → [server] → answers in files.
In: a job on each line of stdin, as JSON; "prepare" is for the server itself. Out: `{"ready": …}` once, then for each
job a line that says how its process ended. It runs no foreign code itself, and ends with all its workers when stdin
ends. Linux and other Unix; what only /proc can tell (memory, processes that ran away from their parents) is watched
where there is /proc.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import selectors
import signal
import sys
import time
import warnings
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NoReturn

from actium.running import proc, worker
from actium.running.jobs import Limits, ended, expired, too_large

_TICK = 0.05
_TAIL = 2000
_SET_PARENT_DEATH_SIGNAL, _SET_SUBREAPER = 1, 36  # Of Linux' prctl(2).


@dataclass
class Child:
    """A worker process.

    Attributes:
        job: What it does.
        limits: What it may use.
        output: Where its stdout and stderr can be read.
        started: When, on the monotonic clock.
        tail: The last of its output.
        verdict: Why it was killed, if it was.
    """

    job: dict[str, Any]
    limits: Limits
    output: int
    started: float = field(default_factory=time.monotonic)
    tail: bytes = b""
    verdict: str | None = None


class Server:
    """Forks, watches and reaps.

    Args:
        jobs: Where jobs come from; a pipe.
        events: Where to say what became of them.
    """

    def __init__(self, jobs: int, events: BinaryIO) -> None:
        self._jobs, self._events = jobs, events
        self._pending = b""
        self._children: dict[int, Child] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(jobs, selectors.EVENT_READ)
        self._own = proc.memory(os.getpid())
        self._open = True

    def serve(self) -> None:
        """Work until stdin ends."""
        self._tell({"ready": os.getpid()})
        try:
            while self._open:
                for key, _ in self._selector.select(_TICK if self._children else None):
                    if key.fd == self._jobs:
                        self._receive()
                    else:
                        self._drain(key.data)
                self._watch()
                self._reap()
        finally:
            for pid in self._children:
                proc.kill_group(pid)

    def _tell(self, event: dict[str, Any]) -> None:
        try:
            self._events.write(json.dumps(event).encode() + b"\n")
            self._events.flush()
        except BrokenPipeError:
            self._open = False

    def _receive(self) -> None:
        read = os.read(self._jobs, 1 << 16)
        self._open = bool(read)
        *lines, self._pending = (self._pending + read).split(b"\n")
        for line in lines:
            job = json.loads(line)
            if job["kind"] == "prepare":
                worker.prepare_for_many()
                self._own = proc.memory(os.getpid())
            else:
                self._start(job)

    def _start(self, job: dict[str, Any]) -> None:
        limits = Limits(**job["limits"])
        read, write = os.pipe()
        os.set_blocking(read, False)
        with warnings.catch_warnings():
            # The other threads are those of BLAS, asleep: nothing has been computed here.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            self._become_worker(job, limits, write)
        os.close(write)
        self._children[pid] = Child(job, limits, read)
        self._selector.register(read, selectors.EVENT_READ, self._children[pid])

    def _become_worker(self, job: dict[str, Any], limits: Limits, output: int) -> NoReturn:
        try:
            os.setsid()
            _prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            nothing = os.open(os.devnull, os.O_RDWR)
            for target, source in ((0, nothing), (1, output), (2, output)):
                os.dup2(source, target)
            # Neither the server's pipes nor those of other workers are within foreign code's reach.
            os.closerange(3, 4096)
            _restrict(limits)
            worker.run(job)
        finally:
            os._exit(70)

    def _drain(self, child: Child) -> None:
        with contextlib.suppress(BlockingIOError):
            read = os.read(child.output, 1 << 16)
            child.tail = (child.tail + read)[-_TAIL:]
            if not read:  # Foreign code has closed it.
                with contextlib.suppress(KeyError):
                    self._selector.unregister(child.output)

    def _watch(self) -> None:
        """Kill what is over its limits, and what has run away from its parent."""
        now = time.monotonic()
        for pid, child in self._children.items():
            if child.verdict is not None:
                continue
            if now - child.started > child.limits.seconds:
                child.verdict = expired(child.limits)
            elif proc.tree_memory(pid, self._own) > child.limits.bytes:
                child.verdict = too_large(child.limits)
            if child.verdict is not None:
                proc.kill_group(pid)
        for pid in proc.children(os.getpid()):
            if pid not in self._children:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, os.WNOHANG)

    def _reap(self) -> None:
        for pid in list(self._children):
            gone = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if gone is None:
                continue
            proc.kill_group(pid)  # Before the wait below, so that the number cannot belong to somebody else.
            _, status = os.waitpid(pid, 0)
            child = self._children.pop(pid)
            self._drain(child)
            with contextlib.suppress(KeyError):
                self._selector.unregister(child.output)
            os.close(child.output)
            self._tell({
                "id": child.job["id"],
                "seconds": round(time.monotonic() - child.started, 3),
                "ended": child.verdict or ended(os.waitstatus_to_exitcode(status)),
                "tail": child.tail.decode("utf-8", "replace"),
            })  # fmt: skip


def _restrict(limits: Limits) -> None:
    """Hard limits behind the watch, for what is too fast for it, and the first place when memory runs out."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):
        # Address space says nothing: torch reserves far more than it uses. Writable private memory does.
        room = resource.getrlimit(resource.RLIMIT_DATA)[1]
        most = proc.data_size() + 2 * limits.bytes
        resource.setrlimit(resource.RLIMIT_DATA, (most if room < 0 else min(most, room), room))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def main() -> None:
    """Serve on stdin and stdout, which workers do not get."""
    jobs, events = os.dup(0), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks; it ends this one.
    _prctl(_SET_SUBREAPER, 1)
    worker.prepare()
    Server(jobs, events).serve()
    os._exit(0)  # To take torch apart in good order takes most of a second, and the caller waits.
