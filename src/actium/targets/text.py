"""The parts of a target's text.

Stage: [target text] → place and name → object. Loads nothing, so that the command line can look at a target at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_FILE = re.compile(r"(?P<where>.+?\.py):(?P<name>.*)", re.DOTALL)
_MODULE = re.compile(r"(?P<where>[^\W\d]\w*(\.[^\W\d]\w*)*):(?P<name>.*)", re.DOTALL)
NAME = re.compile(r"(?P<name>[^\W\d]\w*(\.[^\W\d]\w*)*)\s*(?P<arguments>\(.*\))?", re.DOTALL)


@dataclass(frozen=True)
class Place:
    """Where a target is.

    Attributes:
        where: `path.py` or `package.module`.
        name: What stands behind the colon.
    """

    where: str
    name: str

    @property
    def is_everything(self) -> bool:
        """Whether it names all that is there."""
        return self.name == "*"


def place_of(target: str) -> Place | None:
    """The parts of `path.py:NAME` or `package.module:NAME`; None for a formula or a catalogue name.

    Example:
        >>> place_of("torch.nn:ReLU"), place_of("x * sigmoid(x)")
        (Place(where='torch.nn', name='ReLU'), None)
    """
    match = _FILE.fullmatch(target.strip()) or _MODULE.fullmatch(target.strip())
    return None if match is None else Place(match["where"], match["name"].strip())


def is_path(target: str) -> bool:
    """Whether it can only mean a file."""
    return target.endswith(".py") or (Path(target).suffix == ".py" and Path(target).exists())
