"""A worker, seen from the process that started it.

Stage: job → [worker process] → events. It is in a session of its own, so that Ctrl-C reaches only the process that
asked, which then ends it in order.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
from queue import Empty, SimpleQueue
from typing import Any

_PATIENCE = 5.0
# The path is that of this process; -P keeps the current folder, and a file called json.py in it, out of the way.
_CODE = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from actium.train.work import main; main()"


class Worker:
    """A process that trains cells.

    Args:
        job: What it is to do; `worker` is its name.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self.name = str(job["worker"])
        self._stderr = tempfile.TemporaryFile()
        command = [sys.executable, "-P", "-c", _CODE, json.dumps([p for p in sys.path if p])]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, start_new_session=True
        )
        self._events: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # It may have ended already; poll() tells.
            self.process.stdin.write(json.dumps(job).encode() + b"\n")
            self.process.stdin.flush()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):  # what an activation prints
                event = json.loads(line)
                if isinstance(event, dict):
                    self._events.put(event)

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        status = self.process.poll()
        if status is not None:
            self._reader.join(_PATIENCE)
        return status

    def events(self) -> list[dict[str, Any]]:
        """What it told since the last call."""
        found = []
        with contextlib.suppress(Empty):
            while True:
                found.append(self._events.get_nowait())
        return found

    @property
    def last_words(self) -> str:
        """The last line on its stderr."""
        try:
            self._stderr.seek(0)
            lines = self._stderr.read().decode(errors="replace").splitlines()
        except (OSError, ValueError):
            return ""
        return lines[-1] if lines else ""

    def ask_to_end(self) -> None:
        """Ask it to give up its cell and to end."""
        with contextlib.suppress(OSError):
            self.process.terminate()

    def close(self) -> None:
        """Wait for its end, which comes soon or by force."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(_PATIENCE)
        if self.process.stdout is not None:
            self.process.stdout.close()
        if self.process.returncode == 0:
            self._stderr.close()
