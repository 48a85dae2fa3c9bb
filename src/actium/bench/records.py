"""What was measured, as JSON.

Stage: cells → [records] → JSON. In: cells and cold starts. Out: one object of schema `actium.bench/1`. Loads no
torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from actium.bench.cold import ELEMENTS, Cold
from actium.bench.timing import Interval
from actium.verify.certificate import plain

if TYPE_CHECKING:
    from actium.bench.cases import Case
    from actium.bench.cells import Cell, Result

SCHEMA = "actium.bench/1"


@dataclass
class Report:
    """Everything of one run.

    Attributes:
        cases: What was compared, in the order of the targets.
        cells: What was measured, in the order in which it was.
        cold: First calls.
        environment: What the numbers depend on.
        seconds: How long each contender was measured, in each cell.
        interrupted: Whether there would have been more.
    """

    cases: Sequence[Case]
    environment: Mapping[str, Any]
    seconds: float
    cells: list[Cell] = field(default_factory=list)
    cold: list[Cold] = field(default_factory=list)
    interrupted: bool = False

    @property
    def unmeasured(self) -> dict[str, str]:
        """Targets of which nothing could be measured → why."""
        reasons: dict[str, str] = {}
        measured = {c.target for c in self.cells if c.results}
        for cell in self.cells:
            if cell.target not in measured:
                reasons.setdefault(cell.target, next(iter(cell.failed.values())))
        return reasons

    def means(self, target: str) -> dict[str, float]:
        """The geometric mean of each contender's ratio to the target, over all cells that have it."""
        ratios: dict[str, list[float]] = {}
        for cell in self.cells:
            for name, result in cell.results.items() if cell.target == target else ():
                if result.ratio is not None:
                    ratios.setdefault(name, []).append(result.ratio.median)
        return {name: geometric_mean(values) for name, values in ratios.items()}

    def to_json(self) -> dict[str, Any]:
        """The object; non-finite numbers are text in it."""
        return plain(
            {
                "schema": SCHEMA,
                "environment": dict(self.environment),
                "seconds": self.seconds,
                "interrupted": self.interrupted,
                "targets": [_case(case, self.means(case.target)) for case in self.cases],
                "cells": [_cell(cell) for cell in self.cells],
                "cold": [_cold(cold) for cold in self.cold],
            }
        )


def geometric_mean(values: Sequence[float]) -> float:
    """The mean of ratios.

    Example:
        >>> geometric_mean([0.5, 2.0])
        1.0
    """
    return math.exp(sum(map(math.log, values)) / len(values))


def _case(case: Case, means: Mapping[str, float]) -> dict[str, Any]:
    return {
        "target": case.target,
        "formula": case.formula,
        "contenders": [{"name": c.name, "what": c.what, "mean_ratio": means.get(c.name)} for c in case.contenders],
    }


def _cell(cell: Cell) -> dict[str, Any]:
    spot = cell.spot
    floor = {"bytes": cell.bytes, "copy": cell.copy, "bytes_per_second": cell.bandwidth, "seconds": cell.floor}
    return {
        "target": cell.target,
        "elements": spot.elements,
        "dtype": spot.dtype,
        "device": spot.device,
        "pass": spot.which,
        "floor": floor if cell.results else None,
        "results": [{"contender": name, **_result(result)} for name, result in cell.results.items()],
        "not_measured": dict(cell.failed),
    }


def _result(result: Result) -> dict[str, Any]:
    return {
        "seconds": _interval(result.seconds),
        "turns": result.turns,
        "repeats": result.repeats,
        "ratio": None if result.ratio is None else _interval(result.ratio),
        "share_of_copy": result.share,
        "saved_bytes_per_element": result.saved,
        "peak_bytes_per_element": result.peak,
        "largest_difference": result.difference,
    }


def _interval(interval: Interval) -> dict[str, float]:
    return {"median": interval.median, "low": interval.low, "high": interval.high}


def _cold(cold: Cold) -> dict[str, Any]:
    found = {"target": cold.target, "contender": cold.contender, "dtype": cold.dtype, "elements": ELEMENTS}
    return found | {"seconds": cold.seconds, "runs": cold.runs, "reason": cold.reason or None}
