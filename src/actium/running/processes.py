"""The processes that do the work, seen from the one that asks.

Stage: jobs → [processes] → events.
In: jobs as JSON has them. Out: for each an event that says how its process ended. `Forked` talks to the server;
`Spawned` starts a fresh interpreter for each job, where there is no fork.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from typing import Any, Protocol

from actium.errors import WorkerError
from actium.running import proc
from actium.running.jobs import Limits, ended, expired, too_large

_TICK = 0.05
# The path is that of this process, so the same actium and the same collections are found; -P keeps the current folder,
# and a file called json.py in it, out of the way until then.
_CODE = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from actium.running.{0} import main; main()"


class Lost(Exception):
    """The server has ended, or does not answer."""


class Processes(Protocol):
    """What the pool needs.

    Attributes:
        ready: Whether jobs run already; until then their time does not count.
    """

    ready: bool

    def submit(self, job: dict[str, Any]) -> None:
        """Start a job. Raises `Lost`."""

    def prepare(self) -> None:
        """Expect many jobs. Raises `Lost`."""

    def wait(self, seconds: float) -> list[dict[str, Any]]:
        """Events, at the latest after so many seconds. Raises `Lost`."""
        ...

    def close(self) -> None:
        """End everything."""


def start() -> Processes:
    """The best that the platform has: macOS has fork, but its system libraries do not survive it."""
    return Forked() if hasattr(os, "fork") and sys.platform != "darwin" else Spawned()


def _command(module: str) -> list[str]:
    return [sys.executable, "-P", "-c", _CODE.format(module), json.dumps([p for p in sys.path if p])]


class Forked:
    """A server with torch in it. It starts loading at once; jobs may be submitted before it is ready."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            _command("server"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stdout, selectors.EVENT_READ)
        self._pending = b""
        self.ready = False

    def submit(self, job: dict[str, Any]) -> None:
        """Start a job."""
        try:
            self._stdin.write(json.dumps(job).encode() + b"\n")
            self._stdin.flush()
        except OSError as error:
            raise Lost from error

    def prepare(self) -> None:
        """Load once what each worker would load."""
        self.submit({"kind": "prepare"})

    def wait(self, seconds: float) -> list[dict[str, Any]]:
        """Events, at the latest after so many seconds."""
        if not self._selector.select(seconds):
            return []
        read = os.read(self._stdout.fileno(), 1 << 16)
        if not read:
            if not self.ready:
                raise WorkerError("the process that runs the targets does not start: see above; `actium doctor` helps")
            raise Lost
        *lines, self._pending = (self._pending + read).split(b"\n")
        events = [json.loads(line) for line in lines]
        self.ready = self.ready or any("ready" in e for e in events)
        return [e for e in events if "id" in e]

    def close(self) -> None:
        """End the server; it ends its workers, and those that it cannot end any more are told by the kernel."""
        self._selector.close()
        with contextlib.suppress(OSError):
            self._stdin.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            proc.kill_group(self._process.pid)
            self._process.wait()
        self._stdout.close()


class Spawned:
    """A fresh interpreter for each job: slower, since each loads torch. Memory is watched where there is /proc."""

    def __init__(self) -> None:
        self.ready = True
        self._running: dict[int, tuple[subprocess.Popen[bytes], dict[str, Any], float]] = {}

    def submit(self, job: dict[str, Any]) -> None:
        """Start a job."""
        nothing = subprocess.DEVNULL
        command = [*_command("worker"), json.dumps(job)]
        process = subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)
        self._running[job["id"]] = process, job, time.monotonic()

    def prepare(self) -> None:
        """Nothing: no worker can hand on what it has loaded."""

    def wait(self, seconds: float) -> list[dict[str, Any]]:
        """Events, at the latest after so many seconds."""
        until = time.monotonic() + seconds
        while True:
            events = [event for one in list(self._running) if (event := self._look(one)) is not None]
            if events or time.monotonic() >= until:
                return events
            time.sleep(_TICK)

    def _look(self, one: int) -> dict[str, Any] | None:
        process, job, started = self._running[one]
        limits, seconds = Limits(**job["limits"]), time.monotonic() - started
        status, verdict = process.poll(), None
        if status is None and seconds > limits.seconds:
            verdict = expired(limits)
        elif status is None and proc.tree_memory(process.pid, 0) > limits.bytes:
            verdict = too_large(limits)
        if status is None and verdict is None:
            return None
        del self._running[one]
        _kill(process)
        status = process.wait()
        return {"id": one, "seconds": round(seconds, 3), "ended": verdict or ended(status), "tail": ""}

    def close(self) -> None:
        """End everything."""
        for process, _, _ in self._running.values():
            _kill(process)
            process.wait()
        self._running.clear()


def _kill(process: subprocess.Popen[bytes]) -> None:
    if hasattr(os, "killpg"):
        proc.kill_group(process.pid)
    else:
        process.kill()
