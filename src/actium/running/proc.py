"""Processes as /proc shows them; where there is none, nothing is known and nothing is an error.

Stage: process ids → [proc] → memory, children.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def children(pid: int) -> list[int]:
    """Ids of the processes that a process started, or inherited, and has not waited for."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text(encoding="ascii").split())
    return found


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for one in found:
        found += children(one)
    return found


def memory(pid: int) -> int:
    """Bytes of a process that are not files: its own and what it shares by shared memory."""
    return _kilobytes(pid, ("RssAnon:", "RssShmem:")) * 1024


def data_size() -> int:
    """Bytes of writable private memory that this process has mapped, used or not."""
    return _kilobytes(os.getpid(), ("VmData:",)) * 1024


def _kilobytes(pid: int, names: tuple[str, ...]) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
        return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith(names))
    return 0


def tree_memory(pid: int, base: int) -> int:
    """Bytes that a process and all below it use, each beyond the `base` that they were forked with."""
    return sum(max(memory(one) - base, 0) for one in tree(pid))


def kill_group(pid: int) -> None:
    """Kill a process, its group, and all below it."""
    below = tree(pid)
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
    for one in below:
        with contextlib.suppress(OSError):
            os.kill(one, signal.SIGKILL)
