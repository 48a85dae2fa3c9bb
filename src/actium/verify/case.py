"""Everything that the checks share about one target, and how a finding is put into words.

Stage: sweep → [case] → checks → certificate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from actium.verify.certificate import Finding, Severity, Worst
from actium.verify.encodings import HALVES, Format, hex_text
from actium.verify.oracle import Floats
from actium.verify.subject import Runner
from actium.verify.sweep import Mask, Quantity, Reference, Sweep

# The largest float16: a preactivation this large does occur, one beyond it does not survive in a float16 network.
REACH = 65504.0


@dataclass
class Case:
    """One target under judgement.

    Attributes:
        runner: Runs it.
        reference: The truth.
        sweeps: One for each format that could be swept.
        same_as: Names of known functions that it equals, once found.
        blocked: Check id → why it could not run, filled in on the way.
        facts: What checks found out besides findings, for the certificate's properties.
    """

    runner: Runner
    reference: Reference
    sweeps: Mapping[torch.dtype, Sweep] = field(default_factory=dict)
    same_as: tuple[str, ...] = ()
    blocked: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def target(self) -> str:
        """What the target is called."""
        return self.runner.subject.target

    @property
    def device(self) -> str:
        """Where it was run."""
        return "cpu"


def budget(fmt: Format) -> float:
    """How many ULP of error are allowed: halves computed in float32 and rounded once need 0.5."""
    return 1.0 if fmt.dtype in HALVES else 4.0


def is_off(quantity: Quantity) -> Mask:
    """Where the result is NaN or further from the exact value than the budget, for whatever reason."""
    return quantity.known & ~(quantity.error <= budget(quantity.fmt))


def serious(quantity: Quantity) -> Mask:
    """Where an error matters at the scale of a network's numbers, not only at the result's own."""
    share = 2.0**-4 if quantity.fmt.dtype in HALVES else 2.0**-10
    scale = np.maximum(np.abs(quantity.exact), 1.0)
    if quantity.name == "output":
        scale = np.maximum(scale, np.abs(quantity.x))
    with np.errstate(invalid="ignore"):
        return within_reach(quantity.x) & (np.abs(quantity.computed - quantity.exact) > share * scale)


def within_reach(x: Floats) -> Mask:
    """Inputs that a float16 preactivation can hold."""
    return np.abs(x) <= REACH


def region(x: Floats, mask: Mask, at: int) -> tuple[float, float]:
    """Ends of the run of consecutive affected inputs around index `at`."""
    outside = np.flatnonzero(~mask)
    before = outside[outside < at]
    after = outside[outside > at]
    first = int(before[-1]) + 1 if before.size else 0
    last = int(after[0]) - 1 if after.size else len(x) - 1
    return float(x[first]), float(x[last])


def number(value: float) -> str:
    """A number in a message: short, but never a different one by more than its last digit."""
    return f"{value:.5g}" if value == 0 or not np.isfinite(value) or value != int(value) else f"{value:.10g}"


def describe(
    case: Case,
    check: str,
    severity: Severity,
    quantity: Quantity,
    mask: Mask,
    rank: Floats,
    what: str,
    suggestion: str | None,
) -> Finding:
    """A finding about the inputs in `mask`, with the one of highest `rank` as the worst.

    `mask` is not empty, a NaN in `rank` counts as highest, and `what` is the predicate of the message
    ("exceed 1 ULP"), which says what, how many, the worst input, got, expected and the region.
    """
    at = int(np.argmax(np.where(mask, np.where(np.isnan(rank), np.inf, rank), -np.inf)))
    x, got, expected = (float(a[at]) for a in (quantity.x, quantity.computed, quantity.exact))
    error = float(quantity.error[at])
    low, high = region(quantity.x, mask, at)
    count, tested = int(mask.sum()), int(quantity.known.sum())
    inputs = "finite inputs" if quantity.fmt.dtype in HALVES else "sampled inputs"
    place = f"{quantity.fmt.name} on {case.device}"
    message = (
        f"{case.target} {quantity.name}, {place}: {count:,} of {tested:,} {inputs} {what}. "
        f"Worst x = {number(x)} ({hex_text(x)}): got {number(got)}, expected {number(expected)}. "
        f"Region [{number(low)}, {number(high)}]."
    )
    worst = Worst(x, hex_text(x), got, expected, error)
    dtype = quantity.fmt.name
    return Finding(
        check, severity, quantity.name, dtype, count, tested, message, case.device, worst, (low, high), suggestion
    )


def case_finding(
    case: Case,
    check: str,
    severity: Severity,
    dtype: str | None,
    bad: list[str],
    tested: int,
    fix: str,
    subject: str = "module",
) -> Finding:
    """A finding that is about the target as a whole: each of `bad` is one way in which it fails, in words."""
    message = f"{case.target} on {case.device}: {'; '.join(bad)}."
    return Finding(check, severity, subject, dtype, len(bad), tested, message, case.device, suggestion=fix)
