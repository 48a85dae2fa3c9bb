"""Gradients: the derivative of the function, finite, and not falsely zero.

Stage: sweep → [checks] → certificate.
Accuracy in each format is judged on the sweeps; whether the backward is the derivative at all is judged in float64,
where rounding cannot hide a formula that is off by 5e-4.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from actium.symbolic.graph import number_of
from actium.verify import advice
from actium.verify.case import Case, describe
from actium.verify.certificate import Finding
from actium.verify.checks.numerics import false_zero, is_false_zero, is_non_finite, non_finite, precision_loss
from actium.verify.encodings import format_of
from actium.verify.oracle import Floats, Oracle, Table
from actium.verify.reference import is_narrow
from actium.verify.subject import Call, Result, SubjectError, evaluate, guarded
from actium.verify.sweep import Mask, Quantity, Sweep, curvature, usual

# Autograd nodes that multiply by 0 what was not selected; a NaN there is the classic masked branch.
_SELECTING = ("Where", "Clamp", "Maximum", "Minimum", "Max", "Min", "Index", "MaskedFill", "Masked")

# What rounding may explain: of the exact value, of what a relative change of x makes of it, and of its usual size.
# For code that computes in float64; in float32 whatever it is given; and that refuses float64.
_WIDE, _NARROW = (1e-6, 1e-9, 1e-7), (2e-5, 2e-5, 2e-6)
_REFUSED = (2.0**-11, 2.0**-11, 2.0**-13)
# How near a kink the gradient is looked at: 2^-4 to 2^-16 of its place.
_NEAR = np.ldexp(1.0, -np.arange(4, 17))
_MOST_PLACES, _FURTHEST = 12, 2.0**10
# Of what has none.
_CHANNELS = 4


def check(case: Case) -> Iterator[Finding]:
    """All findings of this family. A gradient that is wrong outright is not also called imprecise."""
    wrong = list(wrong_gradient(case))
    yield from wrong
    yield from wrong_use_of_grad_output(case)
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
    yield from non_finite(case, q, "non-finite-gradient", bad & ~masked, swept.output.fits)
    for finding in non_finite(case, q, "masked-branch", masked):
        message = finding.message.replace("NaN or inf", "NaN")
        yield Finding(**{**vars(finding), "message": message, "suggestion": advice.for_masked_branch(case, swept)})


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


def near_kinks(case: Case) -> Floats:
    """Points on both sides of where the function may bend: kinks that a sweep met, and the formula's own numbers.

    A threshold that is off by 1e-3 shows only between the two places, where a sample may have no point.
    """
    places: set[float] = set()
    for swept in case.sweeps.values():
        t = swept.slopes
        places.update(t.x[(t.slope_low != t.slope_high) & ~np.isnan(t.slope_low)].tolist())
    formula = case.runner.subject.formula
    if formula is not None:
        places.update(number_of(node) for node in formula.nodes if node.is_const)
        places.update(case.runner.subject.parameters.values())
    bends = sorted({abs(p) for p in places if abs(p) <= _FURTHEST})[:_MOST_PLACES]
    centres = np.unique([*bends, *(-p for p in bends)])
    steps = np.maximum(np.abs(centres), 2.0**-3)[:, None] * _NEAR
    return np.concatenate([(centres[:, None] + steps).ravel(), (centres[:, None] - steps).ravel()])


def wrong_gradient(case: Case) -> Iterator[Finding]:
    """`wrong-gradient`, and `precision-loss` for an output that is not the function's at all.

    Tolerance: 1e-6 of the exact slope, plus 1e-7 of the mean |slope| over [-4, 4], so that the scale of the function
    does not matter. It is 20 times that, and as much of |x·f″|, for code that computes in float32 whatever it is given;
    2^-11 and 2^-13 for code that refuses float64.
    """
    x = np.unique(np.concatenate([probe_points(), near_kinks(case)]))
    try:
        dtype, result = _run(case, x)
    except SubjectError as error:
        case.blocked["wrong-gradient"] = f"it runs neither in float64 nor in float32: {error}"
        return
    oracle = case.reference if isinstance(case.reference, Oracle) else None
    table = case.reference.table(x) if oracle is None else _truth(oracle, x.tobytes())
    yield from _wrong(case, "output", dtype, result, table)
    yield from _wrong(case, "gradient", dtype, result, table)


# One formula is often judged in several forms; see `run.py`.
@functools.lru_cache(maxsize=8)
def _truth(oracle: Oracle, points: bytes) -> Table:
    return oracle.table(np.frombuffer(points))


def _run(case: Case, x: Floats) -> tuple[torch.dtype, Result]:
    """Float64 on a converted copy, so that the parameters are as wide; float32 where that is refused."""
    try:
        result = evaluate(case.runner.converted(torch.float64), torch.from_numpy(x))
        if result.output.dtype == torch.float64:
            return torch.float64, result
    except SubjectError:
        pass  # Not every function takes float64; float32 it must take.
    return torch.float32, case.runner.run(torch.from_numpy(x).float())


def _allowances(dtype: torch.dtype, output: Floats) -> tuple[float, float, float]:
    if dtype == torch.float32:
        return _REFUSED
    return _NARROW if is_narrow(output) else _WIDE


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
    relative, moved, floor = _allowances(dtype, result.output.double().reshape(-1).numpy())
    with np.errstate(invalid="ignore", over="ignore"):
        allowed = relative * np.abs(q.exact) + moved * np.nan_to_num(sensitivity)
        allowed += floor * max(usual(x, exact), 2.0**-20)
        judged = (low == high) & np.isfinite(exact)
        mask = judged & np.isfinite(got) & (np.abs(got - q.exact) > allowed)
        rank = np.abs(got - q.exact) / np.maximum(allowed, 1e-300)
    if not output:
        mask &= ~at_single_points(q)
    yield from _wide_non_finite(case, q, judged)
    if not output and _faded(case, x, got, mask):
        return  # Underflow of autograd's own products: `false-zero-gradient` judges it in the formats that are swept.
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


def _faded(case: Case, x: Floats, got: Floats, mask: Mask) -> bool:
    """Whether all that is wrong is 0 far out, while a narrower format falsely has 0 nearer to the origin."""
    if not bool(mask.any() and (got[mask] == 0).all()):
        return False
    swept = [s.gradient for s in case.sweeps.values() if s.gradient is not None]
    nearest = min((float(np.abs(q.x[z]).min()) for q in swept if (z := is_false_zero(q)).any()), default=np.inf)
    return nearest < float(np.abs(x[mask]).min()) / 2


def _wide_non_finite(case: Case, q: Quantity, judged: Mask) -> Iterator[Finding]:
    """NaN and infinity in float64, for code in which no narrower format has them: a path of its own is at fault."""
    met = [s.output if q.name == "output" else s.gradient for s in case.sweeps.values()]
    if not any(is_non_finite(n).any() for n in met if n is not None):
        check_id = "non-finite-output" if q.name == "output" else "non-finite-gradient"
        yield from non_finite(case, q, check_id, judged & ~np.isfinite(q.computed))


# --- What backward makes of grad_output --------------------------------------------------------------------


def wrong_use_of_grad_output(case: Case) -> Iterator[Finding]:
    """`wrong-gradient`: backward is linear in `grad_output`, and both it and the input may have any strides.

    A loss such as `y.sum()` hands back an expanded scalar, whose storage is one number. `grad_output` belongs to
    autograd, which may hand the same tensor to another branch, so that a backward may not write into it.
    """
    channels = case.runner.channels or _CHANNELS
    x = torch.linspace(-4.0, 4.0, 4 * channels * -(-24 // channels), dtype=torch.float64)
    faults: dict[str, list[str]] = {}
    try:
        dtype, result = _run(case, x.numpy())
        x = x.to(dtype)
        call = case.runner.converted(dtype) if dtype == torch.float64 else case.runner.as_is()
        if result.gradient is None:
            return
        usual_size = float(result.gradient.abs().nan_to_num(0.0).mean())
        relative, _, floor = _allowances(dtype, result.output.double().reshape(-1).numpy())
        for what, given, upstream in _ways(x):
            expected = upstream * result.gradient
            allowed = relative * expected.abs() + (floor + 1e-9) * usual_size * upstream.abs()
            for fault in _faults(call, given, upstream, expected, allowed):
                faults.setdefault(fault, []).append(what)
        if _is_of_the_last_call(call, x, result.gradient):
            faults["not the slope of its own call"] = ["another call comes between forward and backward"]
        call = call if case.runner.channels is None else case.runner.fresh_copy(dtype)
        for fault, what in _faults_by_layout(call, x, channels, result, relative, (floor + 1e-9) * usual_size):
            faults.setdefault(fault, []).append(what)
    except SubjectError as error:  # Of forward: what backward raises is a fault.
        if not faults:
            case.blocked.setdefault("wrong-gradient", f"backward with other values of grad_output: {error}")
    if faults:
        yield _misused(case, x, faults)


def _is_of_the_last_call(call: Call, x: Tensor, expected: Tensor) -> bool:
    """Whether backward takes what a later call has left: a network may call one activation in many places."""
    with guarded():
        leaf, other = x.detach().clone().requires_grad_(), x.detach().flip(0).requires_grad_()
        first, last = call(leaf.clone()), call(other.clone())
        (slope,) = torch.autograd.grad(first, leaf, torch.ones_like(first))
        del last
    return not torch.allclose(slope, expected, rtol=1e-4, atol=1e-6, equal_nan=True)


def _ways(x: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(what is unusual, the input, grad_output)."""
    ramp = torch.linspace(-2.0, 3.0, x.numel(), dtype=x.dtype)
    strided = torch.stack([x, -x], dim=1)[:, 0]
    yield "grad_output is not 1", x, ramp
    yield "grad_output is large (as from a GradScaler)", x, 4096 * ramp
    yield "grad_output is an expanded scalar (as from y.sum())", x, torch.full((), -1.5, dtype=x.dtype).expand(x.shape)
    yield "grad_output has strides", x, torch.stack([ramp, 7 * ramp], dim=1)[:, 0]
    yield "the input has strides", strided, torch.ones_like(x)


def _layouts(x: Tensor, channels: int) -> Iterator[tuple[str, Callable[[Tensor], Tensor], Tensor]]:
    """(what is unusual, how that many numbers are arranged for the input, grad_output)."""
    ramp = torch.linspace(-2.0, 3.0, x.numel(), dtype=x.dtype)

    def matrix(t: Tensor) -> Tensor:
        return t.reshape(-1, channels)

    def transposed(t: Tensor) -> Tensor:
        return matrix(t).t().contiguous().t()

    def last(t: Tensor) -> Tensor:
        return t.reshape(2, 2, -1, channels).permute(0, 3, 1, 2)  # In memory, the channels are last.

    def image(t: Tensor) -> Tensor:
        return last(t).contiguous()

    yield "the input is transposed", transposed, matrix(ramp)
    yield "grad_output is transposed", matrix, transposed(ramp)
    yield "the input has four dimensions", image, image(ramp)
    yield "the input is channels_last", last, image(ramp)
    yield "grad_output is channels_last", image, last(ramp)


def _faults_by_layout(
    call: Call, x: Tensor, channels: int, flat: Result, relative: float, floor: float
) -> Iterator[tuple[str, str]]:
    """(fault, what is unusual) for inputs of several dimensions, whose gradient must be that of the flat input."""
    assert flat.gradient is not None
    for what, arrange, upstream in _layouts(x, channels):
        given = arrange(x)
        try:
            output = evaluate(call, given, gradient=False).output
            alike = torch.allclose(output, arrange(flat.output), rtol=1e-3, atol=1e-5, equal_nan=True)
        except (SubjectError, RuntimeError):
            continue
        if output.shape != given.shape or not alike:
            continue  # Which shapes it takes, and with what values, is the business of `shape-change`.
        expected = upstream * arrange(flat.gradient)
        allowed = relative * expected.abs() + floor * upstream.abs()
        yield from ((fault, what) for fault in _faults(call, given, upstream, expected, allowed))


def _faults(call: Call, x: Tensor, upstream: Tensor, expected: Tensor, allowed: Tensor) -> Iterator[str]:
    """What is wrong with the backward for one input and one grad_output, for which forward must run."""
    with guarded():
        leaf = x.detach().clone().requires_grad_()
        # Not a leaf, as in a network, and with the strides of x, which a clone would lose.
        output = call(torch.empty_strided(x.shape, x.stride(), dtype=x.dtype).copy_(leaf))
        given = upstream.to(output.dtype).reshape(output.shape)
        before = given.clone()
    try:
        with guarded():
            (slope,) = torch.autograd.grad(output, leaf, given)
    except SubjectError as error:
        yield f"backward raises {error}"
        return
    if not torch.equal(given, before):
        yield "backward overwrites grad_output"
    near = (slope - expected).abs() <= allowed  # Not for NaN.
    if bool((~near & expected.isfinite()).any()):
        yield "not grad_output times the slope"


def _misused(case: Case, x: Tensor, faults: dict[str, list[str]]) -> Finding:
    name = format_of(x.dtype).name
    tested = len([*_ways(x), *_layouts(x, case.runner.channels or _CHANNELS)]) + 1  # and another call in between
    listed = "; ".join(f"{fault} where {', '.join(ways)}" for fault, ways in faults.items())
    return Finding(
        "wrong-gradient",
        "fail",
        "gradient",
        name,
        len({way for ways in faults.values() for way in ways}),
        tested,
        f"{case.target} gradient, {name} on {case.device}: {listed}.",
        case.device,
        suggestion="multiply the slope by grad_output, element by element and out of place (`.clone()` what is to be "
        "written into); a kernel that reads memory by address needs `.contiguous()` of both tensors first",
    )
