"""What one exponent's inputs came to: counts, the worst inputs, runs of affected ones. Kept as JSON between runs.

Stage: screen → [tally] → verdict → certificate.
Which of the suspects count as what is decided by the predicates of `verify/checks/numerics.py`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from actium.exhaustive.screen import Encodings, Screened, Suspects
from actium.verify.case import serious
from actium.verify.checks.numerics import is_false_zero, is_imprecise, is_non_finite
from actium.verify.encodings import FORMATS
from actium.verify.oracle import Floats
from actium.verify.sweep import Mask, Quantity

FLOAT32 = FORMATS[torch.float32]
PREDICATES = {"non-finite": is_non_finite, "false-zero": is_false_zero, "imprecise": is_imprecise}
# More runs or lone inputs than this in one exponent are not kept; counts go on.
MOST_RUNS = 256


@dataclass
class Tally:
    """One quantity over one exponent.

    Attributes:
        most: The largest error, not conditioned on anything but the ruler; 0 if nothing was compared.
        at: Its encoding, or −1.
        counts: How many inputs each predicate holds for.
        worst: `PREDICATE/MEASURE` → (measure, encoding): the inputs from which findings are written.
        runs: Consecutive affected encodings, by predicate.
        lone: Affected inputs whose neighbours are not.
    """

    most: float = 0.0
    at: int = -1
    counts: dict[str, int] = field(default_factory=dict)
    worst: dict[str, tuple[float, int]] = field(default_factory=dict)
    runs: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    lone: list[int] = field(default_factory=list)

    def add(self, name: Literal["output", "gradient"], screened: Screened, computed: Floats, beside: Floats) -> None:
        """Take in what was screened.

        Args:
            name: Which quantity it is.
            screened: What the screen found.
            computed: The suspects' results.
            beside: For a gradient, the outputs at the suspects: NaN beside a number may be a masked branch.
        """
        if screened.most > self.most:
            self.most, self.at = screened.most, screened.at
        suspects = screened.suspects
        if not suspects.encodings.size:
            return
        q = quantity(name, suspects, computed)
        masks = {predicate: holds(q) for predicate, holds in PREDICATES.items()}
        if name == "gradient":
            masks["masked"] = masks["non-finite"] & np.isnan(computed) & np.isfinite(beside)
            masks["non-finite"] &= ~masks["masked"]
        for predicate, mask in masks.items():
            if mask.any():
                self._note(predicate, mask, q, suspects.encodings)
        self._note_lone(suspects.encodings)

    def _note(self, predicate: str, mask: Mask, q: Quantity, encodings: Encodings) -> None:
        self.counts[predicate] = self.counts.get(predicate, 0) + int(mask.sum())
        with np.errstate(invalid="ignore", over="ignore"):
            distance = np.abs(q.computed - q.exact)
            measures = {
                "error": np.where(np.isnan(q.error), np.inf, q.error),
                "distance": np.where(serious(q), np.where(np.isnan(distance), np.inf, distance), -1.0),
                "near": -np.abs(q.x),
                "size": np.where(serious(q), np.abs(q.exact), -1.0),
                "exact": np.abs(q.exact),
            }
        for name, measure in measures.items():
            at = int(np.argmax(np.where(mask, measure, -np.inf)))
            key, value = f"{predicate}/{name}", float(measure[at])
            if key not in self.worst or value > self.worst[key][0]:
                self.worst[key] = value, int(encodings[at])
        self._extend(self.runs.setdefault(predicate, []), encodings[mask])

    def _note_lone(self, encodings: Encodings) -> None:
        wide = encodings.astype(np.int64)
        gaps = np.diff(wide) > 1
        alone = np.append(True, gaps) & np.append(gaps, True)
        self.lone += wide[alone].tolist()[: MOST_RUNS - len(self.lone)]

    @staticmethod
    def _extend(runs: list[tuple[int, int]], encodings: Encodings) -> None:
        wide = encodings.astype(np.int64)
        breaks = np.flatnonzero(np.diff(wide) > 1)
        starts, ends = np.append(0, breaks + 1), np.append(breaks, len(wide) - 1)
        for first, last in zip(wide[starts].tolist(), wide[ends].tolist(), strict=True):
            if runs and runs[-1][1] + 1 == first:
                runs[-1] = runs[-1][0], last
            elif len(runs) < MOST_RUNS:
                runs.append((first, last))


def quantity(name: Literal["output", "gradient"], suspects: Suspects, computed: Floats) -> Quantity:
    """Suspects as what the checks judge."""
    x = suspects.encodings.view(np.float32).astype(np.float64)
    return Quantity(name, FLOAT32, x, computed, suspects.exact, suspects.exact, suspects.sensitivity)


@dataclass
class UnitTally:
    """Everything about one exponent.

    Attributes:
        index: Sign bit and biased exponent.
        compared: How many inputs were compared with polynomials.
        output: The output's tally.
        gradient: The gradient's; None if there is no gradient.
        singles: Inputs left to balls.
        kinks: Those of them that lie at or beside a kink.
        undecided: How many inputs have no reference.
        slopes_unknown: How many have none for the slope, where the value overflows.
        outside: How many lie where the function has no value.
        pieces: How many polynomials.
        bound: By how many ULP the reference may be off.
        ruler_error: By what share the ruler may be off.
        nan_inputs: NaN encodings that were run.
        nan_lost: Those whose output, and whose gradient, is not NaN.
    """

    index: int
    compared: int = 0
    output: Tally = field(default_factory=Tally)
    gradient: Tally | None = None
    singles: list[int] = field(default_factory=list)
    kinks: list[int] = field(default_factory=list)
    undecided: int = 0
    slopes_unknown: int = 0
    outside: int = 0
    pieces: int = 0
    bound: float = 0.0
    ruler_error: float = 0.0
    nan_inputs: int = 0
    nan_lost: tuple[int, int] = (0, 0)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> UnitTally:
        """The record that `to_json` made."""
        gradient = value["gradient"]
        rest = {k: v for k, v in value.items() if k not in ("output", "gradient", "nan_lost")}
        output, lost = _tally(value["output"]), tuple(value["nan_lost"])
        return cls(**rest, output=output, gradient=None if gradient is None else _tally(gradient), nan_lost=lost)


def _tally(value: dict[str, Any]) -> Tally:
    worst = {k: (m, e) for k, (m, e) in value["worst"].items()}
    runs = {k: [(a, b) for a, b in pairs] for k, pairs in value["runs"].items()}
    return Tally(value["most"], value["at"], value["counts"], worst, runs, value["lone"])
