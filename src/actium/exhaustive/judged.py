"""The inputs that decide, judged by balls.

Stage: tallies → [verdict] → certificate.
In: tallies of all exponents. Out: an ordinary `Sweep` over a sample, the worst inputs, the lone ones and the neighbours
of kinks, so that the ordinary checks can judge it. The reference is held against balls at every one of these points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from actium.errors import CheckError
from actium.exhaustive.pieces import GOAL, Cutter
from actium.exhaustive.screen import Encodings, Screen
from actium.exhaustive.tally import FLOAT32, UnitTally
from actium.verify.oracle import Floats, Oracle
from actium.verify.subject import Runner
from actium.verify.sweep import Mask, Quantity, Sweep
from actium.verify.ulp import judged_error

# In ULP: the oracle's numbers, which are known to 40 bits, and the reference's own bound.
_AGREES = 2.0**-14 + 2 * GOAL
_MOST = 200_000
# Slopes (or values) on both sides of a kink's neighbours differ by more than this share of themselves.
_JUMP = 2.0**-10


@dataclass(frozen=True)
class Judged:
    """What balls say.

    Attributes:
        sweep: The inputs that decide, in order of value.
        alone: Those of them that no polynomial covers: ties and the neighbours of kinks.
    """

    sweep: Sweep
    alone: Mask

    def holds(self, name: str, predicate: Callable[[Quantity], Mask]) -> int:
        """For how many inputs without a polynomial a predicate holds."""
        q = self.sweep.output if name == "output" else self.sweep.gradient
        return 0 if q is None else int((predicate(q) & self.alone).sum())


def judge(runner: Runner, oracle: Oracle, cutter: Cutter, tallies: list[UnitTally], sample: Tensor) -> Judged:
    """Judge the inputs that decide.

    Args:
        runner: The subject.
        oracle: The truth.
        cutter: The reference, which is compared with the truth.
        tallies: Of every exponent that was run.
        sample: Further inputs: those of the ordinary check.

    Returns:
        What the ordinary checks need.

    Raises:
        CheckError: If the reference is further from the truth than it was proven to be.
    """
    encodings = _chosen(tallies, sample)
    inputs = torch.from_numpy(encodings.view(np.float32).copy())
    result = runner.run(inputs)
    x = inputs.double().numpy()
    table = oracle.table(x)
    value, slope, bend = _reference(cutter, tallies, encodings)
    covered = ~np.isnan(value)
    with np.errstate(invalid="ignore", over="ignore"):
        of_output, of_gradient = np.nan_to_num(np.abs(x * slope), nan=0.0), np.nan_to_num(np.abs(x * bend), nan=0.0)
    _compare("value", x, value, table.value, of_output)
    _compare("slope", x, slope, np.where(table.slope_low == table.slope_high, table.slope, np.nan), of_gradient)
    kinks = np.isin(encodings, np.array([e for t in tallies for e in t.kinks], dtype=np.uint32))
    output = Quantity(
        "output", FLOAT32, x, _floats(result.output), *_across(table.value, table.value, kinks), of_output
    )
    gradient = None
    if result.gradient is not None:
        known = ~np.isnan(table.slope) | (table.slope_low != table.slope_high)
        low, high = np.where(known, table.slope_low, np.nan), np.where(known, table.slope_high, np.nan)
        computed = _floats(result.gradient)
        gradient = Quantity("gradient", FLOAT32, x, computed, *_across(low, high, kinks), of_gradient)
    swept = Sweep(FLOAT32, result, output, gradient, table)
    return Judged(swept, ~covered)


def _compare(name: str, x: Floats, reference: Floats, truth: Floats, sensitivity: Floats) -> None:
    with np.errstate(invalid="ignore"):
        wrong = judged_error(reference, truth, sensitivity, FLOAT32) > _AGREES
    if wrong.any():
        at = int(np.argmax(wrong))
        raise CheckError(
            f"the reference for the sweep is wrong: its {name} at x = {x[at]!r} is {reference[at]!r}, the exact one "
            f"{truth[at]!r}. Please report this formula"
        )


def _floats(values: Tensor) -> Floats:
    return values.detach().double().reshape(-1).numpy()


def _chosen(tallies: list[UnitTally], sample: Tensor) -> Encodings:
    """The inputs that decide, with their neighbours, in order of value."""
    some: set[int] = set()
    for unit in tallies:
        some.update(unit.singles)
        for tally in (unit.output, unit.gradient):
            if tally is None:
                continue
            some.update(e for _, e in tally.worst.values())
            some.update([tally.at] if tally.at >= 0 else [])
            some.update(n for e in tally.lone for n in (e - 1, e, e + 1))
        some.update(n for e in unit.kinks for n in (e - 1, e + 1))
    run = {t.index for t in tallies}
    found = np.array(sorted(some)[:_MOST], dtype=np.int64)
    found = found[(found >= 0) & (found < 1 << 32)]
    both = np.union1d(found.astype(np.uint32), sample.numpy().view(np.uint32))
    both = both[np.isin(both >> 23, list(run)) & ((both >> 23) & 255 != 255)]
    order = np.where(both < 1 << 31, both.astype(np.int64), (1 << 31) - 1 - both.astype(np.int64))
    return both[np.argsort(order)]


def _reference(cutter: Cutter, tallies: Iterable[UnitTally], encodings: Encodings) -> tuple[Floats, Floats, Floats]:
    found = np.full((3, len(encodings)), np.nan)
    for unit in tallies:
        here = np.flatnonzero(encodings >> 23 == unit.index)
        if here.size and unit.index & 255 != 255:
            found[:, here] = Screen(cutter.unit(unit.index).pieces).reference(encodings[here])
    return found[0], found[1], found[2]


def _across(low: Floats, high: Floats, kinks: Mask) -> tuple[Floats, Floats]:
    """Let both neighbours of a kink between two floats take either side's value.

    A threshold such as 0.1 is no float32, and the function compares with its rounded value: the neighbour that it
    rounds to is then on the other side.
    """
    low, high = low.copy(), high.copy()
    for i in np.flatnonzero(kinks[:-1] & kinks[1:]):
        ends = np.array([low[i], low[i + 1], high[i], high[i + 1]])
        tie = low[i] != high[i] or low[i + 1] != high[i + 1]
        if not np.isnan(ends).any() and not tie and np.ptp(ends) > _JUMP * np.abs(ends).max():
            low[i : i + 2], high[i : i + 2] = ends.min(), ends.max()
    return low, high
