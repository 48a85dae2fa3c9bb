"""Does a proof bear out a declared property, refute it, or leave it open?

Stage: proof → [verdicts] → claim.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from actium.verify.case import number
from actium.verify.claims import Claim, Interval
from actium.verify.proof import Bound, Proof

# A declared end of a range is a decimal that was rounded to a double.
_ROUNDING = 2.0**-50


class Verdict(NamedTuple):
    """What became of a claim.

    Attributes:
        state: "refuted" only with a counterexample.
        text: Why, for what is not proven.
    """

    state: Literal["proven", "refuted", "open"]
    text: str = ""


PROVEN = Verdict("proven")


def holds(proof: Proof, claim: Claim) -> Verdict:
    """The verdict on a property of values and slopes.

    A proof about a window can refute, but what holds there is open elsewhere; so is what has no value somewhere.
    """
    verdict = _JUDGES[claim.name](proof, claim.value)
    if verdict.state != "proven":
        return verdict
    if proof.window is not None:
        return Verdict("open", f"proven on ({proof.window[0]:g}, {proof.window[1]:g}) only")
    if any(run.trend == "undefined" for run in proof.runs):
        return Verdict("open", "proven where the function has a value")
    return PROVEN


def flat(proof: Proof) -> Verdict | None:
    """Refutes "no gradient is 0", where the function is constant."""
    for run in proof.flat:
        return Verdict("refuted", f"it is constant on {run}")
    return None


def _value(bound: Bound, what: str) -> str:
    size = bound.value.middle
    if math.isinf(size):
        return f"f is not bounded {'above' if size > 0 else 'below'}"
    place = f" at x = {number(bound.at[0].inside)}" if bound.at else ""
    return f"{what} {size:.9g}{place}"


def _range(proof: Proof, claimed: Interval) -> Verdict:
    below, above = proof.low, proof.high
    if below.value.high < _wider(claimed.low, -1):
        return Verdict("refuted", _value(below, "f goes down to"))
    if above.value.low > _wider(claimed.high, 1):
        return Verdict("refuted", _value(above, "f goes up to"))
    for bound, end, belongs in ((below, claimed.low, claimed.has_low), (above, claimed.high, claimed.has_high)):
        if not belongs and bound.attained and bound.value.low == end == bound.value.high:
            return Verdict("refuted", _value(bound, "f is"))
    if below.value.low < _wider(claimed.low, -1) or above.value.high > _wider(claimed.high, 1):
        return Verdict("open", f"enclosed by [{below.value.low:.6g}, {above.value.high:.6g}]")
    return PROVEN


def _wider(end: float, direction: int) -> float:
    return end + direction * _ROUNDING * abs(end) if math.isfinite(end) else end


def _bounded(proof: Proof, _: Any) -> Verdict:
    for bound in (proof.low, proof.high):
        if math.isinf(bound.value.low) and bound.value.low == bound.value.high:
            return Verdict("refuted", _value(bound, ""))
    known = math.isfinite(proof.low.value.low) and math.isfinite(proof.high.value.high)
    return PROVEN if known else Verdict("open", "no bound was found")


def _monotone(proof: Proof, claimed: Any) -> Verdict:
    found = proof.monotone
    if found is None:
        return Verdict("open", "; ".join(proof.unproven) or "not decided")
    ways = ("increasing", "decreasing") if claimed is True else (claimed,)
    if found in (*ways, "constant"):
        return PROVEN
    wrong = [r for r in proof.runs if r.trend in ("increasing", "decreasing") and (r.trend,) != ways]
    if not wrong:
        return Verdict("refuted", f"it jumps the other way at x = {number(proof.kinks[0].at.middle)}")
    run = wrong[0]
    return Verdict("refuted", f"it is {run.trend} on {run}")


def _parity(name: Literal["odd", "even"]) -> Callable[[Proof, Any], Verdict]:
    def judge(proof: Proof, _: Any) -> Verdict:
        found = proof.parity
        if name in found.refuted:
            sign = "-" if name == "odd" else ""
            return Verdict("refuted", f"f(-x) is not {sign}f(x) at x = {found.refuted[name]:g}")
        return PROVEN if found.proven and found.kind in (name, "both") else Verdict("open", found.how)

    return judge


def _smooth(proof: Proof, _: Any) -> Verdict:
    return _kinks(proof, ())


def _kinks(proof: Proof, claimed: tuple[float, ...]) -> Verdict:
    def is_declared(at: float) -> bool:
        return any(abs(at - c) <= _ROUNDING * max(abs(c), 1.0) for c in claimed)

    for corner in proof.kinks:
        if not is_declared(corner.at.middle):
            left, right = (number(s.middle) for s in corner.slopes)
            what = "f jumps" if corner.kind == "jump" else f"the slope goes from {left} to {right}"
            return Verdict("refuted", f"{what} at x = {number(corner.at.middle)}")
    unclear = [c for c in proof.corners if c.kind == "unknown" and not is_declared(c.at.middle)]
    if unclear:
        return Verdict("open", f"the slopes at x = {number(unclear[0].at.middle)} are not known")
    return PROVEN


def _lipschitz(proof: Proof, claimed: float) -> Verdict:
    found = proof.lipschitz
    if found.low > _wider(claimed, 1):
        if math.isinf(found.low):
            jumps = any(c.kind == "jump" for c in proof.corners)
            return Verdict("refuted", "f jumps" if jumps else "the slope is not bounded")
        steep = max((proof.slope_low, proof.slope_high), key=lambda b: abs(b.value.middle))
        return Verdict("refuted", _value(steep, "the slope is"))
    return PROVEN if found.high <= _wider(claimed, 1) else Verdict("open", f"the slope is enclosed by {found.high:.6g}")


def _positive(proof: Proof, _: Any) -> Verdict:
    low = proof.low
    if low.value.high < 0 or (low.attained and low.value.low == 0 == low.value.high):
        return Verdict("refuted", _value(low, "f is" if low.attained else "f goes down to"))
    if low.value.low > 0 or (low.value.low == 0 and low.attained is False):
        return PROVEN
    return Verdict("open", f"the infimum is enclosed by [{low.value.low:.6g}, {low.value.high:.6g}]")


def _nonnegative(proof: Proof, _: Any) -> Verdict:
    return _range(proof, Interval(0.0, math.inf))


_JUDGES: dict[str, Callable[[Proof, Any], Verdict]] = {
    "range": _range,
    "bounded": _bounded,
    "monotone": _monotone,
    "odd": _parity("odd"),
    "even": _parity("even"),
    "smooth": _smooth,
    "kinks": _kinks,
    "lipschitz": _lipschitz,
    "positive": _positive,
    "nonnegative": _nonnegative,
}
