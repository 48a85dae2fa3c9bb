"""Judging code that nobody here wrote: each target in a process of its own, under limits, in parallel, resumable.

Stage: target texts → [running] → certificates.
In: target texts. Out: an `Outcome` each: a certificate, or the reason why there is none. What did not run is never
reported as passed, and whatever a target does (exit, hang, crash, eat memory), the others are judged.

- `jobs`: what is asked, and what comes of it; plain data.
- `worker`: what runs inside a target's own process.
- `server`: a process that has torch loaded, forks a worker for each target, and holds it to its limits.
- `spawn`: the same where there is no fork.
- `pool`: hands out targets and collects outcomes.
- `reach`: how far a worker is with a target that takes long.
- `store`: finished certificates in a folder, so that a run can be taken up again.

Names load on first use: the process that asks needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actium.running.jobs import Judging, Limits, Outcome
    from actium.running.pool import Pool, check_all

__all__ = ["Judging", "Limits", "Outcome", "Pool", "check_all"]

_HOME = {**dict.fromkeys(("Judging", "Limits", "Outcome"), "jobs"), **dict.fromkeys(("Pool", "check_all"), "pool")}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
