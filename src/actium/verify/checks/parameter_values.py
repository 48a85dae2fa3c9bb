"""What becomes of a function when an optimiser moves its parameters.

Stage: trial → [checks] → certificate. The parameters are moved as they are stored: one that is mapped into its range
(`softplus(raw)`) is moved before the map, so that a value that it cannot reach is never tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from actium.verify.case import Case, case_finding, number
from actium.verify.certificate import Finding
from actium.verify.oracle import Floats
from actium.verify.sweep import Mask
from actium.verify.trial import Learnable, Trial

_TINY, _LARGE = 1e-8, 100.0
# Two outputs closer than this are one, in float64.
_SAME = 2.0**-40
# How far training may take a parameter: shares of max(|value|, 1), none a round number, so that a single point at
# which a function has no value is not taken for a region.
_REACH = (0.11, 0.23, 0.47, 0.76)


# --- Degenerate values ----------------------------------------------------------------------------------


def degenerate_parameter(case: Case, trial: Trial) -> Iterator[Finding]:
    """`degenerate-parameter`: NaN or inf at 0, ±tiny, ±1 or the opposite value; constant without a way back.

    A function that is even in its parameter is reported too: `warn` if something of the above breaks it, `info` if
    the two halves meet smoothly. So is, as `info`, NaN at ±100.
    """
    for p in trial.parameters:
        broken = [*_without_value(trial, p, _stations(p)), *_trapped(trial, p)]
        notable = [*_without_value(trial, p, [-_LARGE, _LARGE])]
        if _is_even(trial, p):
            notable.append(f"{p.name} and −{p.name} give the same function, so that training may oscillate around 0")
        if broken or notable:
            fix = (
                f"keep {p.name} where the function is sound: store a free parameter and use softplus(raw) + 1e-6 in "
                "its place, or a sigmoid between two bounds"
            )
            severity = "warn" if broken else "info"
            bad, tried = [*broken, *notable], len(_stations(p)) + 2
            yield case_finding(case, "degenerate-parameter", severity, None, bad, tried, fix, f"parameter:{p.name}")


def _stations(p: Learnable) -> list[float]:
    """The values to try: where functions of a parameter break, and the opposite of what it is."""
    own = float(p.tensor.detach().double().mean())
    return list(dict.fromkeys([0.0, _TINY, -_TINY, 1.0, -1.0, *([-own] if own else [])]))


def _without_value(trial: Trial, p: Learnable, values: list[float]) -> Iterator[str]:
    """Values of a parameter at which outputs stop being numbers, in words. At a distance an overflow is no defect."""
    found = []
    for value in values:
        outputs = trial.outputs_with_all(p, value)
        bad = np.isnan(outputs) if abs(value) >= 1 else ~np.isfinite(outputs)
        lost = int(((bad & np.isfinite(trial.at_rest)).any(axis=1) & trial.inner).sum())
        if lost:
            found.append(f"{number(value)} (for {lost} of {int(trial.inner.sum())} inputs)")
    if found:
        yield f"NaN or inf at {p.name} = {', '.join(found)}"


def _trapped(trial: Trial, p: Learnable) -> Iterator[str]:
    """Constant, and without a gradient in the parameter: no optimiser finds the way back.

    That the scale of a function may become 0 is no defect: its gradient is then as alive as ever. Nor is a single
    point, which no optimiser meets.
    """
    gradient = trial.gradients[p]
    if _is_constant(trial, trial.at_rest) or gradient is None or not np.any(gradient):
        return
    values = [v for v in _stations(p) if v and _is_constant(trial, trial.outputs_with_all(p, v))]
    stuck = [number(v) for v in values if not _has_gradient(trial, p, v)]
    if stuck:
        yield f"a constant at {p.name} = {', '.join(stuck)}, with no gradient to lead {p.name} back"


def _has_gradient(trial: Trial, p: Learnable, value: float) -> bool:
    with trial.moved({p: torch.full_like(p.tensor, value)}):
        slope = trial.gradients_at(np.flatnonzero(trial.inner))[trial.parameters.index(p)]
    return slope is not None and bool(np.any(slope))


def _is_constant(trial: Trial, outputs: Floats) -> bool:
    inner = outputs[trial.inner]
    if not np.isfinite(inner).all():
        return False
    return bool((np.ptp(inner, axis=0) <= _SAME * np.abs(inner).max(axis=0)).all())


def _is_even(trial: Trial, p: Learnable) -> bool:
    """Whether −p gives what p gives, at three sizes, although the size matters."""
    size = float(p.tensor.detach().abs().mean()) or 1.0
    sides: list[Floats] = []
    for value in (size, 0.37 * size, 2.3 * size):
        positive, negative = trial.outputs_with_all(p, value), trial.outputs_with_all(p, -value)
        if _differ(trial, positive, negative).any():
            return False
        sides.append(positive)
    return bool(_differ(trial, sides[1], sides[2]).any())


def _differ(trial: Trial, a: Floats, b: Floats) -> Mask:
    inner = trial.inner
    return trial.differ(a, b, 64 * trial.precision.noise)[inner]


# --- Domain ---------------------------------------------------------------------------------------------


def domain_violation(case: Case, trial: Trial) -> Iterator[Finding]:
    """`domain-violation`: NaN for |x| ≤ 8, in float64, at or near the parameter's present value."""
    for p in trial.parameters:
        own = p.tensor.detach().clone()
        reach = float(own.abs().max().clamp(min=1.0))
        found: list[tuple[float, Mask]] = []
        shifts = (0.0, *(s * side * reach for s in _REACH for side in (-1, 1)))
        for shift in shifts:
            nan = np.isnan(trial.outputs_at(p, own + shift)).any(axis=1) & trial.inner
            if nan.sum() > 1:
                found.append((shift, nan))
        if found:
            yield _domain_finding(case, trial, p, found, len(shifts))


def _domain_finding(case: Case, trial: Trial, p: Learnable, found: list[tuple[float, Mask]], tried: int) -> Finding:
    shift, nan = found[0]
    value = float(p.tensor.detach().double().flatten()[0]) + shift
    now = "" if shift else ", which it has now"
    x = trial.x[nan]
    region = (float(x.min()), float(x.max())) if trial.elementwise else None
    where = f"for x in [{number(x.min())}, {number(x.max())}]" if region else "for some inputs"
    bad = [
        f"NaN {where} at {p.name} = {number(value)}{now}: "
        f"{len(found)} of {tried} values within {number(max(_REACH))} of {p.text} leave the function's domain"
    ]
    fix = (
        f"keep the function defined for every input and every {p.name} that training can reach: bound {p.name} by a "
        "softplus or sigmoid, or continue the function beyond its domain (as its tangent, for example)"
    )
    made = case_finding(case, "domain-violation", "fail", None, bad, tried, fix, f"parameter:{p.name}")
    return replace(made, count=len(found), region=region)
