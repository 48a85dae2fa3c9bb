"""Declared properties held against measurements, for functions that are not formulas.

Stage: sweeps, float64 reference → [verdicts] → claim.
A counterexample refutes; without one a claim stays open. The float64 reference is looked at on a grid over [-8, 8]
and in every binade up to 2^10; a slack of 2^-20 keeps its rounding, and that of code in float32, out of the verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from actium.verify.case import Case, number
from actium.verify.checks.gradients import probe_points
from actium.verify.checks.holds import Verdict
from actium.verify.claims import Claim
from actium.verify.encodings import hex_text
from actium.verify.oracle import Floats, Table
from actium.verify.sweep import Mask, Sweep

_SLACK = 2.0**-20
_NOT_REFUTED = Verdict("open", "not refuted by measurement")


def holds(case: Case, claim: Claim) -> Verdict:
    """The verdict on a property, from the function in float64."""
    table = case.reference.table(probe_points())
    found = _JUDGES[claim.name](case, table, claim.value)
    return _NOT_REFUTED if found is None else Verdict("refuted", found)


def is_zero_at_zero(case: Case) -> Verdict:
    """Whether f(0) is 0, from the truth."""
    value = float(case.reference.table(np.zeros(1)).value[0])
    if value == 0:
        return Verdict("proven")
    return Verdict("open", "f(0) is not known") if math.isnan(value) else Verdict("refuted", f"f(0) = {value:.9g}")


def gradient_is_nowhere_zero(case: Case) -> Verdict:
    """Whether some finite input of a swept format gets gradient 0, where the output is finite."""
    for swept in case.sweeps.values():
        dead = _dead(swept)
        if dead.any():
            x = swept.output.x[dead]
            at = float(x[np.argmin(np.abs(x))])
            count = f"{int(dead.sum()):,} of {len(dead):,} {swept.fmt.name} inputs"
            return Verdict("refuted", f"the gradient is 0 for {count}, first at x = {number(at)} ({hex_text(at)})")
    return Verdict("open", "not refuted on any tested input") if case.sweeps else Verdict("open", "nothing was swept")


def _dead(swept: Sweep) -> Mask:
    if swept.gradient is None:
        return np.isfinite(swept.output.computed)
    return (swept.gradient.computed == 0) & np.isfinite(swept.output.computed)


def _first(x: Floats, mask: Mask) -> float:
    where = x[mask]
    return float(where[np.argmin(np.abs(where))])


def _scale(values: Floats) -> Floats:
    return _SLACK * np.maximum(np.abs(values), 1.0)


def _outside(_: Case, t: Table, claimed: Any) -> str | None:
    slack = _scale(t.value)
    with np.errstate(invalid="ignore"):
        mask = (t.value < claimed.low - slack) | (t.value > claimed.high + slack)
    return _at(t, mask, "f is") if mask.any() else None


def _at(t: Table, mask: Mask, what: str) -> str:
    x = _first(t.x, mask)
    return f"{what} {float(t.value[t.x == x][0]):.9g} at x = {number(x)}"


def _unbounded(case: Case, _: Table, __: Any) -> str | None:
    for sign, name in ((-1, "-inf"), (1, "inf")):
        limit = case.reference.limit(sign)[0]
        if limit is not None and math.isinf(limit):
            return f"f tends to {limit:g} for x → {name}"
    return None


def _turns(_: Case, t: Table, claimed: Any) -> str | None:
    known = np.isfinite(t.value)
    x, value = t.x[known], t.value[known]
    step = np.diff(value)
    slack = np.maximum(_scale(value[:-1]), _scale(value[1:]))
    down, up = step < -slack, step > slack
    wrong = {"increasing": down, "decreasing": up}.get(claimed)
    if wrong is None:
        wrong = down if up.any() and down.any() else np.zeros_like(down)
    if not wrong.any():
        return None
    i = int(np.argmax(wrong))
    return f"f goes from {value[i]:.6g} to {value[i + 1]:.6g} between x = {number(x[i])} and {number(x[i + 1])}"


def _asymmetric(sign: int) -> Callable[[Case, Table, Any], str | None]:
    def judge(case: Case, t: Table, _: Any) -> str | None:
        mirrored = case.reference.table(-t.x[::-1]).value[::-1]
        with np.errstate(invalid="ignore"):
            mask = np.abs(mirrored - sign * t.value) > _scale(t.value)
        if not mask.any():
            return None
        x = _first(t.x, mask)
        return f"f(-x) is not {'-' if sign < 0 else ''}f(x) at x = {number(x)}"

    return judge


def _bent(_: Case, t: Table, claimed: Any) -> str | None:
    declared = () if claimed is True else claimed
    with np.errstate(invalid="ignore"):
        mask = t.slope_high - t.slope_low > 2.0**-10
    for c in declared:
        mask &= np.abs(t.x - c) > 2.0**-10 * max(abs(c), 1.0)
    if not mask.any():
        return None
    x = _first(t.x, mask)
    row = t.x == x
    return f"the slope goes from {t.slope_low[row][0]:.6g} to {t.slope_high[row][0]:.6g} around x = {number(x)}"


def _steep(_: Case, t: Table, claimed: float) -> str | None:
    with np.errstate(invalid="ignore"):
        mask = np.abs(t.slope) > claimed * (1 + _SLACK) + _SLACK
    if not mask.any():
        return None
    x = _first(t.x, mask)
    return f"the slope is {float(t.slope[t.x == x][0]):.6g} at x = {number(x)}"


def _negative(_: Case, t: Table, __: Any) -> str | None:
    with np.errstate(invalid="ignore"):
        mask = t.value < -_SLACK * 2.0**-10
    return _at(t, mask, "f is") if mask.any() else None


_JUDGES: dict[str, Callable[[Case, Table, Any], str | None]] = {
    "range": _outside,
    "bounded": _unbounded,
    "monotone": _turns,
    "odd": _asymmetric(-1),
    "even": _asymmetric(1),
    "smooth": _bent,
    "kinks": _bent,
    "lipschitz": _steep,
    "positive": _negative,
    "nonnegative": _negative,
}
