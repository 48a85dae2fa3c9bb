"""Training studies: the same task, seeds and data order for every activation; only the activation differs.

Stage: targets and a task → [train] → results → report.

- `extras`: optional packages, and what to install where one is missing.
- `data`, `sources`: real data that is at hand offline. `networks`: what is trained on it. `tasks`: both together.
- `candidates`: from a target's text to a fresh module at each place in a network.
- `loop`: one training run. `record`: what is measured on the way. `result`: what comes of it, as JSON has it.
- `plan`: the cells of a study. `store`: one file for each finished cell. `queue`: who trains which cell, in a database.
- `work`: what a worker does. `study`: workers on this machine.
- `stats`, `summary`: intervals and paired differences.
- `integration`: whether an activation trains at all, as a verdict that can fail.

Names load on first use: the command line looks at its arguments without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actium.train.data import Data
    from actium.train.integration import NetworkVerdict, trains_in_network
    from actium.train.loop import Settings, fit
    from actium.train.plan import Plan
    from actium.train.study import compare

__all__ = ["Data", "NetworkVerdict", "Plan", "Settings", "compare", "fit", "trains_in_network"]

_HOME = {
    "Data": "data",
    **dict.fromkeys(("NetworkVerdict", "trains_in_network"), "integration"),
    **dict.fromkeys(("Settings", "fit"), "loop"),
    "Plan": "plan",
    "compare": "study",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
