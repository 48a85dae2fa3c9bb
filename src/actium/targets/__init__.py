"""What a target string names: a formula, a catalogue entry, or a function or module in somebody's code.

Stage: [target text] → object → subject → verify.
In: `x * sigmoid(x)`, `mish`, `path.py:Name(alpha=0.2)`, `package.module:*`. Out: the object, or for a `*` the targets
that it stands for. Code in the named file is imported, so it is trusted; of the target's own text nothing is ever
evaluated: arguments are literals. Names load on first use, so that a text can be looked at without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actium.targets.making import Found
    from actium.targets.members import Members, members_of
    from actium.targets.resolving import resolve
    from actium.targets.text import Place, place_of

__all__ = ["Found", "Members", "Place", "members_of", "place_of", "resolve"]

_HOME = {
    "Found": "making",
    **dict.fromkeys(("Members", "members_of"), "members"),
    "resolve": "resolving",
    **dict.fromkeys(("Place", "place_of"), "text"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
