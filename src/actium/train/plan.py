"""The cells of a study: every activation with every seed, each with a key that says all that its result depends on.

Stage: options → [plan] → queue and store. In: names and numbers. Out: cells. The key holds no path and no name of a
machine, so the same cell has the same key everywhere.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from actium.errors import StudyError

SCHEMA = "actium.study/1"


@dataclass(frozen=True)
class Cell:
    """One training run.

    Attributes:
        activation: Target text.
        seed: Decides the split or the data, the initial weights and the order.
        key: A hash of all that the result depends on.
    """

    activation: str
    seed: int
    key: str


@dataclass(frozen=True)
class Plan:
    """What a study trains.

    Attributes:
        task: Name of the task.
        network: Name of one of its networks.
        activations: Target texts; the order is that of the report.
        seeds: How many; they are 0, 1, ….
        epochs: How often the training data is gone through.
        batch: Examples in a step.
        learning_rate: Of Adam.
        dtype: What matrix products and activations run in.
        device: Such as cpu.
        plain: Whether formulas are trained as plain PyTorch computes them.
        gains: Activation → gain of the layers before it, where it is not √2.
        data: Fingerprint of the data of seed 0.
        code: Activation → hash of the code that it can import.
        software: What decides the numbers on our side.

    Raises:
        StudyError: If an activation is named twice, or there is nothing to train.
    """

    task: str
    network: str
    activations: tuple[str, ...]
    seeds: int
    epochs: int
    batch: int
    learning_rate: float
    dtype: str = "float32"
    device: str = "cpu"
    plain: bool = False
    gains: Mapping[str, float] = field(default_factory=dict)
    data: str = ""
    code: Mapping[str, str] = field(default_factory=dict)
    software: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.activations or self.seeds < 1:
            raise StudyError("a study needs an activation and a seed at least")
        twice = sorted({a for a in self.activations if self.activations.count(a) > 1})
        if twice:
            raise StudyError(f"named twice: {', '.join(twice)}; each activation is trained once for each seed")
        unknown = sorted(set(self.gains) - set(self.activations))
        if unknown:
            raise StudyError(f"a gain is given for {', '.join(unknown)}, which is not compared")

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, those of the first seed first, so that a study that is cut short has whole seeds."""
        return tuple(Cell(a, s, self._key(a, s)) for s in range(self.seeds) for a in self.activations)

    @property
    def name(self) -> str:
        """A name that only this study has."""
        keys = " ".join(cell.key for cell in self.cells)
        return f"actium-{self.task}-{_hash(keys)}"

    def _key(self, activation: str, seed: int) -> str:
        basis = self.to_json()
        for name in ("activations", "seeds", "gains", "code"):
            del basis[name]
        own = {"activation": activation, "seed": seed}
        own |= {"gain": self.gains.get(activation), "code": self.code.get(activation, "")}
        return _hash(json.dumps(basis | own, sort_keys=True))

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON has it."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """The plan that `to_json` wrote."""
        return cls(**{**value, "activations": tuple(value["activations"])})


@functools.cache
def software() -> dict[str, str]:
    """Versions, and the content of this package: a change of a formula changes what was measured."""
    names = ("actium", "torch", "numpy")
    return {name: importlib.metadata.version(name) for name in names} | {"files": _package_hash()}


def _package_hash() -> str:
    root = Path(__file__).parents[1]
    own = (p for p in sorted(root.rglob("*")) if p.suffix in (".py", ".h") and _decides(p.relative_to(root).parts))
    return _hash_of_files(own)


def _decides(parts: Iterable[str]) -> bool:
    """Whether a file can change what a run computes; how results are judged and shown cannot."""
    return next(iter(parts)) not in ("cli", "report", "verify", "exhaustive", "running")


def _hash_of_files(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
