"""Gradients: the derivative of the function, finite, and not falsely zero.

Stage: sweep → [checks] → certificate.
Accuracy in each format is judged on the sweeps; whether the backward is the derivative at all is judged in float64,
where rounding cannot hide a formula that is off by 5e-4.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import torch

from actium.verify import advice
from actium.verify.case import Case, describe
from actium.verify.certificate import Finding
from actium.verify.checks.numerics import false_zero, is_non_finite, non_finite, precision_loss
from actium.verify.encodings import format_of
from actium.verify.oracle import Floats, Table
from actium.verify.subject import Result, SubjectError
from actium.verify.sweep import Mask, Quantity, Sweep, curvature, usual

# Autograd nodes that multiply by 0 what was not selected; a NaN there is the classic masked branch.
_SELECTING = ("Where", "Clamp", "Maximum", "Minimum", "Max", "Min", "Index", "MaskedFill", "Masked")

# What rounding in the working precision of the function may explain: relative, and relative to its usual slope.
_RELATIVE = {torch.float64: (2e-5, 2e-6), torch.float32: (2.0**-11, 2.0**-13)}


def check(case: Case) -> Iterator[Finding]:
    """All findings of this family. A gradient that is wrong outright is not also called imprecise."""
    wrong = list(wrong_gradient(case))
    yield from wrong
    for swept in case.sweeps.values():
        q = swept.gradient
        if q is None:
            yield from no_gradient(case, swept)
            continue
        yield from non_finite_gradient(case, swept, q)
        yield from invalid_subgradient(case, q)
        if not any(f.subject == "gradient" for f in wrong):
            elsewhere = ~at_single_points(q)
            yield from false_zero(case, q, "false-zero-gradient", elsewhere)
            yield from precision_loss(case, q, elsewhere)


def non_finite_gradient(case: Case, swept: Sweep, q: Quantity) -> Iterator[Finding]:
    """`masked-branch` for NaN beside a finite output in code that selects; else `non-finite-gradient`."""
    bad = is_non_finite(q)
    selects = any(any(s in name for s in _SELECTING) for name in swept.result.operations)
    masked: Mask = bad & np.isnan(q.computed) & np.isfinite(swept.output.computed) & selects
    yield from non_finite(case, q, "non-finite-gradient", bad & ~masked)
    for finding in non_finite(case, q, "masked-branch", masked):
        message = finding.message.replace("NaN or inf", "NaN")
        yield Finding(**{**vars(finding), "message": message, "suggestion": advice.for_masked_branch(case)})


def at_single_points(q: Quantity) -> Mask:
    """Inputs at which the gradient is off by much, while it is right on both sides: the mark of a mishandled tie."""
    slack = 2.0**-5 * np.maximum(np.maximum(np.abs(q.low), np.abs(q.high)), usual(q.x, q.low))
    with np.errstate(invalid="ignore"):
        off = np.isfinite(q.computed) & q.known & (np.abs(q.computed - q.exact) > slack)
    kink = q.low < q.high
    with np.errstate(invalid="ignore"):
        clean = np.append(np.append(True, np.abs(q.computed - q.exact) <= slack / 8), True)
    starts = np.flatnonzero(off & ~np.append(False, off[:-1]))
    ends = np.flatnonzero(off & ~np.append(off[1:], False))
    single = np.zeros_like(off)
    for first, last in zip(starts, ends, strict=True):
        one_point = q.x[first] == q.x[last]  # −0 and +0 are one
        single[first : last + 1] = one_point and clean[first] and clean[last + 2]
    return off & (kink | single)


def invalid_subgradient(case: Case, q: Quantity) -> Iterator[Finding]:
    """A gradient at one point outside the one-sided slopes there. One input, so it is a warning."""
    mask = at_single_points(q)
    if mask.any():
        what = "are single points where the gradient lies outside the one-sided slopes"
        fix = "return a value between the two one-sided derivatives; check how `abs`, `sign` and `max` act at the tie"
        yield describe(case, "invalid-subgradient", "warn", q, mask, np.abs(q.computed - q.exact), what, fix)


def no_gradient(case: Case, swept: Sweep) -> Iterator[Finding]:
    """No gradient at all where the function has slopes: detached, or backward raises."""
    flat = not np.nanmax(np.abs(swept.slopes.slope), initial=0.0) > 0
    reason = swept.result.gradient_error
    if reason is None and flat:
        return
    why = f"backward raises {reason}" if reason else "no gradient reaches the input (detached, or not differentiable)"
    check_id = "input-mutated" if reason and "inplace" in reason else "wrong-gradient"
    tested = len(swept.output.x)
    yield Finding(
        check_id,
        "fail",
        "gradient",
        swept.fmt.name,
        tested,
        tested,
        f"{case.target} gradient, {swept.fmt.name} on {case.device}: {why}, though the function is not constant.",
        case.device,
        suggestion="compute with differentiable torch operations, and modify nothing in place that backward needs",
    )


# --- Is it the derivative at all? -----------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def probe_points() -> Floats:
    """Where activations bend: an even grid over [-8, 8], and every binade from 2^-8 to 2^10."""
    grid = np.linspace(-8.0, 8.0, 2049)
    powers = np.ldexp(1.0, np.arange(-8, 11))
    tails = np.concatenate([powers * m for m in (1.0, 1.21, 1.43, 1.69)])
    return np.unique(np.concatenate([grid, tails, -tails]))


def wrong_gradient(case: Case) -> Iterator[Finding]:
    """`wrong-gradient`, and `precision-loss` for an output that is not the function's at all.

    Tolerance: 2e-5 of the exact slope and of |x·f″|, plus 2e-6 of the mean |slope| over [-4, 4], so that the scale of
    the function does not matter. For a function that refuses float64 it is judged in float32, with 2^-11 and 2^-13.
    """
    x = probe_points()
    try:
        dtype, result = _run(case, x)
    except SubjectError as error:
        case.blocked["wrong-gradient"] = f"it runs neither in float64 nor in float32: {error}"
        return
    table = case.reference.table(x)
    yield from _wrong(case, "output", dtype, result, table)
    yield from _wrong(case, "gradient", dtype, result, table)


def _run(case: Case, x: Floats) -> tuple[torch.dtype, Result]:
    """Float64 on a converted copy, so that the parameters are as wide; float32 where that is refused."""
    from actium.verify.subject import evaluate

    try:
        result = evaluate(case.runner.converted(torch.float64), torch.from_numpy(x))
        if result.output.dtype == torch.float64:
            return torch.float64, result
    except SubjectError:
        pass  # Not every function takes float64; float32 it must take.
    return torch.float32, case.runner.run(torch.from_numpy(x).float())


def _wrong(case: Case, name: str, dtype: torch.dtype, result: Result, table: Table) -> Iterator[Finding]:
    x = table.x
    output = name == "output"
    computed = result.output if output else result.gradient
    if computed is None:
        return
    exact = table.value if output else table.slope
    low, high = (exact, exact) if output else (table.slope_low, table.slope_high)
    got = computed.double().reshape(-1).numpy()
    sensitivity = np.abs(x * table.slope) if output else curvature(x, table.slope)
    q = Quantity("output" if output else "gradient", format_of(dtype), x, got, low, high, sensitivity)
    relative, floor = _RELATIVE[dtype]
    with np.errstate(invalid="ignore", over="ignore"):
        allowed = relative * (np.abs(q.exact) + np.nan_to_num(sensitivity)) + floor * max(usual(x, exact), 2.0**-20)
        mask = np.isfinite(got) & (low == high) & np.isfinite(exact) & (np.abs(got - q.exact) > allowed)
        rank = np.abs(got - q.exact) / np.maximum(allowed, 1e-300)
    if not output:
        mask &= ~at_single_points(q)
    if not mask.any():
        return
    check_id = "precision-loss" if output else "wrong-gradient"
    what = "do not give the function's value" if output else "differ from the derivative"
    fix = (
        "the code does not compute its formula: compare the two at the worst input"
        if output
        else "derive the backward from the forward: `actium show` prints the derivative, or let autograd do it"
    )
    yield describe(case, check_id, "fail", q, mask, rank, what, fix)
