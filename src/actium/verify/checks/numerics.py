"""Outputs: finite, not falsely zero, accurate, and honest about NaN and infinity.

Stage: sweep → [checks] → certificate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import torch

from actium.verify import advice
from actium.verify.case import Case, budget, describe, serious, within_reach
from actium.verify.certificate import Finding, Severity, Worst
from actium.verify.encodings import hex_text
from actium.verify.subject import SubjectError
from actium.verify.sweep import Mask, Quantity

_SPECIAL = (math.nan, -math.inf, math.inf)
_Wrong = tuple[tuple[str, str, str], ...]  # input, got, expected
_Pair = tuple[float | None, float | None]  # output, gradient
_LANES = 67  # More than one vector and a tail, whatever the machine: kernels treat NaN differently in the two.


def check(case: Case) -> Iterator[Finding]:
    """All findings of this family."""
    for swept in case.sweeps.values():
        yield from non_finite(case, swept.output, "non-finite-output")
        yield from false_zero(case, swept.output, "false-zero")
        yield from precision_loss(case, swept.output)
    yield from nan_policy(case)


def is_non_finite(q: Quantity) -> Mask:
    """NaN anywhere, or an infinity where the exact value is further than the budget from overflowing."""
    with np.errstate(invalid="ignore"):
        early = np.isinf(q.computed) & q.fits & (q.error > budget(q.fmt))
    return q.known & (np.isnan(q.computed) | early)


def is_false_zero(q: Quantity) -> Mask:
    """0 where the exact value is a normal number of the format and no root is near."""
    with np.errstate(invalid="ignore"):
        return q.known & (q.computed == 0) & (np.abs(q.exact) >= q.fmt.smallest_normal) & (q.error > budget(q.fmt))


def is_imprecise(q: Quantity) -> Mask:
    """A number, not falsely zero, and further from the exact value than the budget."""
    with np.errstate(invalid="ignore"):
        return q.known & ~is_non_finite(q) & ~is_false_zero(q) & (q.error > budget(q.fmt))


def non_finite(
    case: Case, q: Quantity, check_id: str, mask: Mask | None = None, counts: Mask | bool = True
) -> Iterator[Finding]:
    """`non-finite-output` and `non-finite-gradient`. The worst input is the smallest.

    `counts` says where it may be a fail: a gradient beside an output that overflows rightly is nobody's.
    """
    mask = is_non_finite(q) if mask is None else mask
    if not mask.any():
        return
    grave = mask & q.fits & within_reach(q.x) & counts
    what = "give NaN or inf where the exact value is finite" if (mask & q.fits).any() else "give NaN"
    severity: Severity = "fail" if grave.any() else "warn"
    rank = np.where(grave, -np.abs(q.x), -math.inf) if grave.any() else -np.abs(q.x)
    yield describe(case, check_id, severity, q, mask, rank, what, advice.for_numbers(case, q))


def false_zero(case: Case, q: Quantity, check_id: str, where: Mask | None = None) -> Iterator[Finding]:
    """`false-zero` and `false-zero-gradient`. The worst input has the largest exact value."""
    mask = is_false_zero(q) if where is None else is_false_zero(q) & where
    if mask.any():
        grave = mask & serious(q)
        severity: Severity = "fail" if grave.any() else "warn"
        what = "give 0 where the exact value is a normal number"
        rank = np.where(grave, np.abs(q.exact), 0.0) if grave.any() else np.abs(q.exact)
        yield describe(case, check_id, severity, q, mask, rank, what, advice.for_numbers(case, q))


def precision_loss(case: Case, q: Quantity, where: Mask | None = None) -> Iterator[Finding]:
    """`precision-loss`, of output or gradient."""
    mask = is_imprecise(q) if where is None else is_imprecise(q) & where
    if not mask.any():
        return
    grave = mask & serious(q)
    severity: Severity = "fail" if grave.any() else "warn"
    # Where errors reach the scale of the network, the largest of those says more than the longest tail in ULP.
    rank = np.where(grave, np.abs(q.computed - q.exact), 0.0) if grave.any() else q.error
    at = int(np.argmax(np.where(mask, q.error, 0.0)))
    what = f"exceed {budget(q.fmt):g} ULP (at most {q.error[at]:.3g})"
    yield describe(case, "precision-loss", severity, q, mask, rank, what, advice.for_numbers(case, q))


# --- NaN and infinity in ------------------------------------------------------------------------------


def nan_policy(case: Case) -> Iterator[Finding]:
    """`nan-policy`: NaN in must give NaN out, and f(±inf) the limit where there is one; likewise for the gradient.

    Never more than a warning, and for gradients only information: PyTorch's own functions disagree with each other.
    """
    groups: dict[tuple[str, _Wrong], list[str]] = {}
    limits = {x: case.reference.limit(1 if x > 0 else -1) for x in _SPECIAL[1:]}
    for dtype in case.sweeps:
        try:
            got = _at_special_inputs(case, dtype, limits)
        except SubjectError as error:
            case.blocked["nan-policy"] = f"NaN and infinite inputs: {error}"
            return
        for index, name in enumerate(("output", "gradient")):
            wrong = _wrong(got, {x: limits[x][index] for x in limits}, index)
            if wrong:
                groups.setdefault((name, wrong), []).append(str(dtype).removeprefix("torch."))
    for (name, wrong), dtypes in groups.items():
        yield _policy_finding(case, name, dtypes, wrong)


def _wrong(got: Mapping[float, _Pair], limits: Mapping[float, float | None], index: int) -> _Wrong:
    """Special inputs whose result is not what it should be, as text, so that equal sets of formats compare equal."""
    wrong = []
    for x, pair in got.items():
        expected = math.nan if math.isnan(x) else limits[x]
        value = pair[index]
        if expected is not None and value is not None and not _same(value, expected):
            wrong.append((str(x), f"{value:g}", f"{expected:g}"))
    return tuple(wrong)


def _at_special_inputs(case: Case, dtype: torch.dtype, limits: Mapping[float, _Pair]) -> dict[float, _Pair]:
    """What NaN and ±inf give, over several positions in a tensor; a wrong one wins over a right one."""
    found: dict[float, _Pair] = {}
    for x in _SPECIAL:
        result = case.runner.run(torch.full((_LANES,), x, dtype=dtype))
        output, gradient = (math.nan, math.nan) if math.isnan(x) else limits[x]
        found[x] = (_odd_one(result.output, output), _odd_one(result.gradient, gradient))
    return found


def _odd_one(values: torch.Tensor | None, expected: float | None) -> float | None:
    """The value furthest from what is expected; any where nothing is."""
    if values is None:
        return None
    flat = values.double().reshape(-1)
    if expected is None:
        return float(flat[0])
    same = torch.isnan(flat) if math.isnan(expected) else flat == expected
    distance = torch.where(same, 0.0, (flat - expected).abs().nan_to_num(math.inf, posinf=math.inf))
    return float(flat[int(distance.argmax())])


def _same(got: float, expected: float) -> bool:
    if math.isnan(expected) or math.isinf(expected) or not math.isfinite(got):
        return got == expected or (math.isnan(got) and math.isnan(expected))
    return abs(got - expected) <= 2.0**-7 * max(abs(expected), 1.0)


def _policy_finding(case: Case, name: str, dtypes: list[str], wrong: _Wrong) -> Finding:
    listed = "; ".join(f"x = {x}: got {got}, expected {expected}" for x, got, expected in wrong)
    x, got, expected = (float(text) for text in wrong[0])
    return Finding(
        "nan-policy",
        "warn" if name == "output" else "info",
        name,
        dtypes[0] if len(dtypes) == 1 else None,
        len(wrong),
        len(_SPECIAL),
        f"{case.target} {name}, {', '.join(dtypes)} on {case.device}: {listed}.",
        case.device,
        Worst(x, hex_text(x), got, expected, math.nan),
        None,
        "let NaN through, and return the limit at infinity: write selections with `where` on x itself, so that NaN "
        "reaches the last branch, and keep 0·inf out of products",
    )
