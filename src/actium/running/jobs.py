"""What is asked of a worker, and what comes of it.

Stage: target texts → [jobs] → workers. Plain data that JSON can hold: nothing that a process which ran foreign code
has written is ever unpickled.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from actium.verify.certificate import Certificate

GIBIBYTE = 2**30


@dataclass(frozen=True)
class Judging:
    """What of a target is judged: everything besides its code that its certificate depends on.

    A new option of `actium check` that changes certificates is a field here, read in `worker.judge`.

    Attributes:
        dtypes: Formats to sweep; the default ones if empty.
        fused: Whether formula text stands for the kernel that actium makes of it.
        only: Check ids to judge by; all of them if empty.
        parameters: Values for the names in a formula besides `x`.
        claims: Properties to hold it to, besides those that its author declares.
        full: Whether float32 is run on all inputs.
    """

    dtypes: tuple[str, ...] = ()
    fused: bool = False
    only: tuple[str, ...] = ()
    parameters: Mapping[str, float] = field(default_factory=dict)
    claims: Mapping[str, Any] = field(default_factory=dict)
    full: bool = False

    def to_json(self) -> dict[str, Any]:
        """The options as JSON has them."""
        return asdict(self)


@dataclass(frozen=True)
class Limits:
    """How much a target may use.

    Attributes:
        seconds: Wall time, import of its code included.
        bytes: Memory beyond what the checker itself holds.
    """

    seconds: float = 120.0
    bytes: int = 4 * GIBIBYTE

    def __str__(self) -> str:
        return f"{self.seconds:g} s, {_size(self.bytes)}"


def _size(count: int) -> str:
    return f"{count / GIBIBYTE:g} GiB" if count >= GIBIBYTE else f"{count / 2**20:g} MiB"


@dataclass(frozen=True)
class Outcome:
    """What came of one target.

    Attributes:
        target: The target's text.
        certificate: The verdict, if there is one.
        reason: Otherwise, why it was not checked.
        error: The type of the exception behind the reason, if the worker lived to tell.
        trace: The traceback of that exception.
        seconds: How long it took.
    """

    target: str
    certificate: Certificate | None = None
    reason: str | None = None
    error: str | None = None
    trace: str | None = None
    seconds: float = 0.0


def expired(limits: Limits) -> str:
    """The reason for a target that took too long."""
    return f"exceeded {limits.seconds:g} s"


def too_large(limits: Limits) -> str:
    """The reason for a target that used too much memory."""
    return f"used more than {_size(limits.bytes)}"


def ended(status: int) -> str:
    """The reason for a process that ended without an answer; a negative status is a signal.

    Example:
        >>> ended(3), ended(-11)
        ('exited with status 3', 'killed by signal 11 (SIGSEGV)')
    """
    if status >= 0:
        return f"exited with status {status}"
    try:
        name = f" ({signal.Signals(-status).name})"
    except ValueError:
        name = ""
    return f"killed by signal {-status}{name}"
