"""Is the function what its author says, and where does it not learn?

Stage: sweeps, proof → [checks] → certificate.
With a formula, declared properties are held against the proof, and only what is refuted is a finding. Without one,
they are held against measurements, which can refute but never prove.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch

from actium.errors import CheckError
from actium.verify.case import Case, number
from actium.verify.certificate import Finding
from actium.verify.checks import holds, measured
from actium.verify.checks.holds import Verdict
from actium.verify.claims import Claim, claims_of
from actium.verify.oracle import Floats
from actium.verify.proof import Enclosure, Proof, prove
from actium.verify.sweep import Sweep

NO_CLAIMS = "no property is declared"
# Below this share of normal inputs a measured dead zone is the far end of a tail.
_SHARE = 1e-3
_ZERO = Enclosure(0.0, 0.0)
_FIX = "correct the declaration or the function; `actium show TARGET --proof` prints what is proven"


def proof_of(case: Case) -> Proof | None:
    """The proof, if the target is a formula of one input."""
    formula = case.runner.subject.formula
    if formula is None or len(formula.inputs) != 1:
        return None
    proof = prove(formula, case.runner.subject.parameters)
    case.facts["proof"] = proof.summary()
    return proof


def claim(case: Case) -> Iterator[Finding]:
    """`claim`: one finding for each declared property that does not hold."""
    declared = case.runner.subject.claims
    if not declared:
        case.blocked["claim"] = NO_CLAIMS
        return
    try:
        claims = claims_of(declared)
    except CheckError as error:
        yield _finding(case, "output", str(error), "declare properties that exist, with values of their kind")
        return
    proof = proof_of(case)
    states: dict[str, str] = {}
    for one in claims:
        verdict = _judged(case, proof, one)
        states[str(one)] = verdict.state if not verdict.text else f"{verdict.state}: {verdict.text}"
        if verdict.state == "refuted":
            subject = "gradient" if one.name in ("nonzero_gradient", "lipschitz", "smooth", "kinks") else "output"
            yield _finding(case, subject, f"declared {one}, but {verdict.text}", _FIX)
    case.facts["claims"] = states


def _judged(case: Case, proof: Proof | None, one: Claim) -> Verdict:
    if one.name == "nonzero_gradient":
        flat = holds.flat(proof) if proof is not None else None
        return flat if flat is not None else measured.gradient_is_nowhere_zero(case)
    if one.name == "zero_at_zero":
        return measured.is_zero_at_zero(case)
    return measured.holds(case, one) if proof is None else holds.holds(proof, one)


def _finding(case: Case, subject: str, what: str, fix: str) -> Finding:
    return Finding("claim", "fail", subject, None, 1, 1, f"{case.target}: {what}.", case.device, suggestion=fix)


# --- Dead zones -------------------------------------------------------------------------------------------


def dead_zone(case: Case) -> Iterator[Finding]:
    """`dead-zone`: where the gradient is 0, for which share of normal inputs, and what caps the output."""
    proof = proof_of(case)
    swept = case.sweeps.get(torch.float16) or next(iter(case.sweeps.values()), None)
    share = 0.0 if swept is None else _share(swept)
    flat = () if proof is None else tuple(r for r in proof.flat if r.low.low < r.high.high)
    if not flat and share < _SHARE:
        return
    parts = []
    if swept is not None and share > 0:
        parts.append(f"gradient 0 for {_percent(share)} of N(0, 1) inputs in {swept.fmt.name}")
    if proof is not None and flat:
        parts.append("constant on " + ", ".join(map(str, flat[:4])) + _more(len(flat), 4))
        parts += _caps(proof)
    elif swept is not None:
        parts.append(f"gradient 0 on {_shown_zones(swept)}")
    yield Finding(
        "dead-zone",
        "info",
        "gradient",
        None if swept is None else swept.fmt.name,
        0 if swept is None else sum(b - a + 1 for a, b in _zones(swept)),
        0 if swept is None else len(swept.output.x),
        f"{case.target}: {'; '.join(parts)}.",
        case.device,
        suggestion="keep the inputs where there is a gradient (normalise them), or take a function with a leak",
    )


def _more(count: int, shown: int) -> str:
    return f" and {count - shown} more intervals" if count > shown else ""


def _percent(share: float) -> str:
    return "all" if share > 1 - 1e-9 else f"{100 * share:.3g} %"


def _zones(swept: Sweep) -> list[tuple[int, int]]:
    """First and last index of the stretches that hold more than a thousandth of the inputs, all with gradient 0.

    A single input is no zone: at a minimum the gradient may round to 0. Where there is no gradient at all, the inputs
    count on which it should be 0.
    """
    if swept.gradient is None:
        dead = swept.slopes.slope == 0
    else:
        dead = (swept.gradient.computed == 0) & np.isfinite(swept.output.computed)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], dead.astype(np.int8), [0]])))
    ends = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    return [(a, b - 1) for a, b in ends if b - a > len(dead) / 1000]


def _share(swept: Sweep) -> float:
    """The normal probability of the inputs that are rounded to one of a zone."""
    x = swept.output.x
    inner = (x[1:] + x[:-1]) / 2
    below = torch.special.ndtr(torch.from_numpy(np.concatenate([[-math.inf], inner, [math.inf]]))).numpy()
    return float(sum(below[last + 1] - below[first] for first, last in _zones(swept)))


def _shown_zones(swept: Sweep) -> str:
    """The likeliest of the zones, from left to right."""
    x = swept.output.x
    zones = [(float(x[first]), float(x[last])) for first, last in _zones(swept)]
    likeliest = sorted(zones, key=lambda z: _weight(*z), reverse=True)[:4]
    return ", ".join(f"[{number(a)}, {number(b)}]" for a, b in sorted(likeliest)) + _more(len(zones), 4)


def _weight(low: float, high: float) -> float:
    ends: Floats = torch.special.ndtr(torch.tensor([low, high], dtype=torch.float64)).numpy()
    return float(ends[1] - ends[0])


def _caps(proof: Proof) -> Iterator[str]:
    """The constant outer ends: what the output is capped at, and from where on."""
    none = (None, None)
    left, right = proof.limits.get("-inf", none)[0], proof.limits.get("inf", none)[0]
    first, last = proof.runs[0], proof.runs[-1]
    for run, edge, limit, way in ((first, first.high, left, "down"), (last, last.low, right, "on")):
        if run.trend == "constant" and limit is not None and limit != _ZERO and math.isfinite(edge.middle):
            yield f"output capped at {number(limit.middle)} from x = {number(edge.middle)} {way}"


CHECKS: Mapping[str, Callable[[Case], Iterator[Finding]]] = {"claim": claim, "dead-zone": dead_zone}
