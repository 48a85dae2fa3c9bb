"""Parameters: with the right gradient, and of use. Needs no sweep, and no formula.

Stage: subject → trial → [checks] → certificate.
What becomes of the function when a parameter moves is judged in `parameter_values.py`, sums of gradients in
`parameter_sums.py`, and tensors that are not registered in `tensors.py`.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from actium.verify.case import Case, case_finding, number
from actium.verify.certificate import Finding, Severity, Worst
from actium.verify.checks import parameter_elements, parameter_sums, parameter_values, tensors
from actium.verify.encodings import hex_text
from actium.verify.oracle import Floats, Oracle
from actium.verify.subject import Runner, SubjectError, guarded
from actium.verify.sweep import Mask
from actium.verify.trial import INVISIBLE, MOST, WIDE, Learnable, Trial, nearby

# Differences and exact slopes further apart than this are not of the same function.
_NEAR = 2.0**-10
# Exact slopes are slow: so many points that the differences flag are enough to decide.
_JUDGED_EXACTLY = 24


@functools.lru_cache(maxsize=1)
def _trial(runner: Runner) -> Trial:
    """In float64, or in float32 where that is refused."""
    elementwise = _is_elementwise(runner)
    try:
        return Trial(runner, elementwise, torch.float64)
    except SubjectError:
        return Trial(runner, elementwise, torch.float32)


def _is_elementwise(runner: Runner) -> bool:
    """Whether an output depends on its own input and channel only, whatever the shape in which it comes out."""
    width = runner.channels or 1
    rows = torch.linspace(-4.0, 4.0, 48 * width).reshape(48, width)
    order = torch.randperm(48, generator=torch.Generator().manual_seed(5))
    one_changed = torch.cat([rows[:, :1] + 1, rows[:, 1:]], dim=1)
    runs = (rows, rows[order], rows[:24], one_changed)
    whole, shuffled, part, other = (runner.run(x.reshape(-1), gradient=False).output.float().reshape(-1) for x in runs)
    if whole.numel() != rows.numel() or part.numel() != rows.numel() // 2:
        return False
    same = functools.partial(torch.allclose, rtol=1e-4, atol=1e-5, equal_nan=True)
    whole = whole.reshape(rows.shape)
    return (
        same(whole[order].reshape(-1), shuffled)
        and same(whole[:24].reshape(-1), part)
        and same(whole[:, 1:], other.reshape(rows.shape)[:, 1:])
    )


def _obstacle(case: Case) -> str | None:
    module = case.runner.subject.module
    if module is None:
        return "a function without parameters"
    named = list(module.named_parameters())
    if not any(p.requires_grad and p.is_floating_point() for _, p in named):
        return "none of its parameters is learnable" if named else "it has no parameters"
    return None


def _on_trial(check_id: str, judge: Callable[[Case, Trial], Iterator[Finding]]) -> Callable[[Case], Iterator[Finding]]:
    """A check of a case from one of a trial; what has no parameters to judge is not judged."""

    def run(case: Case) -> Iterator[Finding]:
        obstacle = _obstacle(case)
        if obstacle is not None:
            case.blocked[check_id] = obstacle
            return
        trial = _trial(case.runner)
        note = f"only the first {MOST} parameters were judged, not {', '.join(trial.left_out)[:80]}"
        if trial.left_out and note not in case.runner.notes:
            case.runner.notes.append(note)
        yield from judge(case, trial)

    return run


def _is_zero(gradient: Floats | None) -> bool:
    return gradient is None or not np.any(gradient != 0)


# --- Is it the derivative? ----------------------------------------------------------------------------------


def _directions(p: Learnable) -> Iterator[Tensor]:
    """Each element by itself if there are few; else directions in which no two elements weigh the same."""
    count = p.tensor.numel()
    if count <= 4:
        yield from torch.eye(count, dtype=torch.float64)
        return
    generator = torch.Generator().manual_seed(13)
    for _ in range(3):
        random = torch.rand(count, generator=generator, dtype=torch.float64)
        yield (0.5 + random) * torch.sign(random - 0.5)


def wrong_parameter_gradient(case: Case, trial: Trial) -> Iterator[Finding]:
    """`wrong-parameter-gradient`: each sample's gradient for a random `grad_output`, in float64.

    Compared with the function's own extrapolated differences, within 5e-7 of the derivative and of its usual size;
    where the formula is known, what disagrees must disagree with the exact slope too.
    """
    judged = 0
    for p in trial.parameters:
        gradient = trial.gradients[p]
        if gradient is None or _is_zero(gradient):
            judged += 1
            continue  # Whether it should be is the business of `dead-parameter`.
        for along in _directions(p):
            got = gradient @ along.numpy()
            slopes = _slopes(trial, p, along, got)
            exact = (trial.cotangents * slopes).sum(axis=1)
            judged += int((~np.isnan(exact)).any())
            wrong = _disagree(trial, p, slopes, exact, got)
            if _overflows(case, trial, p, wrong & ~np.isfinite(got)):
                wrong &= np.isfinite(got)
            if wrong.any():
                wrong, exact = _exactly(case, trial, p, along, wrong, exact, got)
            if wrong.any():
                yield _wrong_finding(case, trial, p, wrong, exact, got)
                break
        else:
            yield from _wrong_sum(case, trial, p, gradient)
    if not judged:
        case.blocked["wrong-parameter-gradient"] = "no derivative is known: the function is rough wherever it was tried"


def _allowed(trial: Trial, p: Learnable, size: Floats, terms: int = 1) -> Floats:
    """How far a gradient of some size may be from the derivative; one below rounding noise may be anything."""
    noise = (
        terms * trial.precision.noise * trial.usual_size(trial.at_rest) / float(p.tensor.detach().abs().max() or 1.0)
    )
    return trial.precision.tolerance * size + noise


def _disagree(trial: Trial, p: Learnable, slopes: Floats, exact: Floats, got: Floats) -> Mask:
    weighed = np.abs(trial.cotangents * slopes).sum(axis=1)
    # The usual size is that of what is judged: of the differences, some may be unknown.
    allowed = _allowed(trial, p, weighed + trial.usual_size(got))
    with np.errstate(invalid="ignore"):
        off = np.isfinite(got) & ~np.isnan(exact) & (np.abs(got - exact) > allowed)
    return off | _is_lost(trial, exact, got)


def _slopes(trial: Trial, p: Learnable, along: Tensor, got: Floats) -> Floats:
    """Differences as good as they must be: that a derivative is finite is known where its digits are not."""
    slopes, lost = trial.slopes(p, along), ~np.isfinite(got)
    if lost.any():
        slopes[lost] = trial.slopes(p, along, rough=True)[lost]
    return slopes


def _is_lost(trial: Trial, exact: Floats, got: Floats) -> Mask:
    """NaN or inf where the output and its derivative are far from overflow."""
    largest = torch.finfo(torch.float64 if trial.precision is WIDE else torch.float32).max / 16
    with np.errstate(invalid="ignore"):
        room = np.abs(trial.at_rest).max(axis=1) < largest
        return ~np.isfinite(got) & room & (np.abs(exact) < largest)


def _overflows(case: Case, trial: Trial, p: Learnable, lost: Mask) -> bool:
    """Whether float32 loses the gradient nearer to the origin: `parameter-gradient-overflow` judges that."""
    nearer = np.abs(trial.x) < np.abs(trial.x[lost]).min(initial=np.inf)
    if not trial.elementwise or not lost.any() or not nearer.any():
        return False
    try:
        gradients = Trial(case.runner, True, torch.float32).gradients_at(np.flatnonzero(nearer))
    except SubjectError:
        return False  # Which dtypes it takes is the business of `dtype-leak`.
    gradient = gradients[trial.parameters.index(p)]
    return gradient is not None and not np.isfinite(gradient).all()


def _exactly(
    case: Case, trial: Trial, p: Learnable, along: Tensor, wrong: Mask, exact: Floats, got: Floats
) -> tuple[Mask, Floats]:
    """Ask exact arithmetic about what the differences flag, if the formula has this parameter by itself."""
    oracle = _oracle(case, p)
    if oracle is None or not trial.elementwise or p.tensor.numel() not in (1, trial.width):
        return wrong, exact
    chosen = np.flatnonzero(wrong)[:: max(1, int(wrong.sum()) // _JUDGED_EXACTLY)]
    table = oracle.table(trial.x[chosen])
    slope = (trial.cotangents * along.numpy()).sum(axis=1)[chosen] * table.slope
    size = np.abs(slope) + trial.usual_size(got)
    with np.errstate(invalid="ignore"):
        # Where the parameter itself is at a tie (alpha == 0), the formula's slope is that of one branch only.
        known = (table.slope_low == table.slope_high) & (np.abs(slope - exact[chosen]) <= _NEAR * size)
        right = known & (np.abs(got[chosen] - slope) <= _allowed(trial, p, size))
    wrong, exact = wrong.copy(), exact.copy()
    wrong[chosen[right]] = False
    exact[chosen[known]] = slope[known]
    return (wrong & False, exact) if right.all() else (wrong, exact)


def _oracle(case: Case, p: Learnable) -> Oracle | None:
    """Exact slopes in a parameter: for one that the formula has under its name, with this value in all its elements."""
    subject = case.runner.subject
    name = re.sub(r"\W", "_", p.name, flags=re.ASCII)
    formula = subject.formula
    if formula is None or name not in formula.parameters or len(formula.inputs) != 1:
        return None
    same = bool((p.tensor == subject.parameters.get(name)).all())
    return Oracle(formula, subject.parameters, wrt=name) if same else None


def _wrong_finding(case: Case, trial: Trial, p: Learnable, wrong: Mask, exact: Floats, got: Floats) -> Finding:
    lost = wrong & ~np.isfinite(got)
    with np.errstate(invalid="ignore", divide="ignore"):
        off = np.abs(got - exact) / (np.abs(exact) + trial.usual_size(exact))
    rank = np.where(lost, -np.abs(trial.x), -np.inf) if lost.any() else np.where(wrong, off, -1.0)
    at = int(np.argmax(rank))
    weight = trial.cotangents[at, 0] if trial.width == 1 and trial.elementwise else 1.0
    x, was, should = (float(v) for v in (trial.x[at], got[at] / weight, exact[at] / weight + 0.0))
    where = f"worst at x = {number(x)}: " if trial.elementwise else "for instance "
    bad = [
        f"the gradient of {p.name} is not the derivative for {int(wrong.sum())} of {len(exact)} inputs in "
        f"{str(trial.dtype).removeprefix('torch.')}, {where}got {number(was)}, expected {number(should)}"
    ]
    fix = (
        "derive the backward from the forward, multiply by grad_output, and sum over every dimension that the "
        "parameter does not have; or let autograd do it"
    )
    if lost.any():
        fix = "give a branch that is not selected a harmless argument first: where(c, f(where(c, x, 1)), g(x))"
    dtype = str(trial.dtype).removeprefix("torch.")
    made = case_finding(case, "wrong-parameter-gradient", "fail", dtype, bad, len(exact), fix, f"parameter:{p.name}")
    worst = Worst(x, hex_text(x), was, should, float("nan")) if trial.elementwise else None
    return replace(made, count=int(wrong.sum()), worst=worst)


def _wrong_sum(case: Case, trial: Trial, p: Learnable, gradient: Floats) -> Iterator[Finding]:
    """The gradient over a whole tensor must be the sum of those of its elements, however they lie in it."""
    chosen = np.flatnonzero(trial.inner & np.isfinite(gradient).all(axis=1))
    if not trial.elementwise or len(chosen) < 2:
        return
    # Of others the elements may depend on the number of channels, which an image has and a flat tensor does not.
    fixed = p.tensor.numel() in (1, trial.width)
    whole = chosen[: len(chosen) // 8 * 8 if fixed else 0]
    sums = itertools.chain(
        [(chosen, "", trial.summed(chosen))],
        ((whole, f" in {how}", found) for how, found in trial.summed_in_images(whole)),
    )
    for samples, how, found in sums:
        got = found[trial.parameters.index(p)]
        exact, size = gradient[samples].sum(axis=0), np.abs(gradient[samples]).sum(axis=0)
        allowed = _allowed(trial, p, size, len(samples))
        off = np.ones(1, dtype=np.bool_) if got is None else ~(np.abs(got - exact) <= allowed)
        if off.any():
            at = int(np.argmax(off))
            shown = "None" if got is None else number(float(got[at]))
            bad = [
                f"the gradient of {p.name} over {len(samples)} inputs{how} is {shown}, while those of the inputs one "
                f"by one add up to {number(float(exact[at]))}"
            ]
            fix = (
                "sum the gradient over every dimension that the parameter does not have: no mean, and no element left "
                "out; a kernel that reads memory by address needs `.contiguous()` first"
            )
            yield _about(case, "wrong-parameter-gradient", "fail", p, bad, fix)
            return


# --- Does it do anything? -----------------------------------------------------------------------------------


def _has_effect(trial: Trial, p: Learnable) -> bool:
    """Whether moving it moves any output by more than float32 rounding does."""
    return any(trial.differ(trial.at_rest, trial.outputs_at(p, v), INVISIBLE).any() for v in nearby(p))


def _has_effect_elsewhere(trial: Trial, p: Learnable) -> bool:
    """Whether it has one when the others have left their initial values: a factor of 0 hides what it scales."""
    others = [q for q in trial.parameters if q is not p]
    with trial.moved({q: next(nearby(q)) for q in others}):
        before = trial.outputs()
        return bool(others) and any(trial.differ(before, trial.outputs_at(p, v), INVISIBLE).any() for v in nearby(p))


def _matters_in_training(trial: Trial, p: Learnable) -> bool:
    """Whether the gradient arrives in training mode, or for an image: what a flat input in evaluation may not reach."""
    flat = torch.linspace(-3.0, 3.0, 24 * max(trial.width, 2), dtype=trial.inputs.dtype)
    try:
        for call, x in ((trial.call, flat), (trial.module, flat.reshape(2, -1, 3, 4))):
            try:
                with guarded():
                    trial.module.train()
                    if _is_used(call(x), p):
                        return True
            except SubjectError:
                continue  # Which shapes it takes is the business of `shape-change`.
    finally:
        with guarded():
            trial.module.eval()
    return False


def _is_used(output: Tensor, p: Learnable) -> bool:
    if not output.requires_grad:
        return False
    (slope,) = torch.autograd.grad(output, [p.tensor], torch.ones_like(output), allow_unused=True)
    return slope is not None and bool((slope != 0).any())


def dead_parameter(case: Case, trial: Trial) -> Iterator[Finding]:
    """`dead-parameter`: a gradient that is None, or 0 for every sample. `fail` if moving it moves the output.

    One that neither moves the output nor gets a gradient is a `warn`, unless training mode uses it. The same for
    single elements.
    """
    for p in trial.parameters:
        gradient = trial.gradients[p]
        if not _is_zero(gradient):
            found = parameter_elements.silent(trial, p)
            if found.moving:
                which = found.text(found.moving)
                bad = [f"the gradient is 0 for every input of {which}, though moving it moves the output"]
                fix = "use each element in differentiable operations: none by its .item(), .data or in a comparison"
                yield _about(case, "dead-parameter", "fail", p, bad, fix)
            continue
        never = gradient is None
        if _has_effect(trial, p):
            how = "no gradient reaches" if never else "the gradient is 0 for every input of"
            bad = [f"{how} {p.name} (at {p.text}), though moving it moves the output: an optimiser never changes it"]
            fix = (
                "use the parameter itself with differentiable operations, not its .data, .item(), .detach() or a "
                "torch.tensor made of it, nor under no_grad or in a comparison; start it where its gradient is not 0"
            )
            yield _about(case, "dead-parameter", "fail", p, bad, fix)
        elif never and not _matters_in_training(trial, p):
            bad = [f"no gradient reaches {p.name}: the output does not use it (DistributedDataParallel refuses that)"]
            fix = f"use {p.name} in forward, or delete it"
            yield _about(case, "dead-parameter", "warn", p, bad, fix)


def ineffective_parameter(case: Case, trial: Trial) -> Iterator[Finding]:
    """`ineffective-parameter`: ±10 %, ±75 % and steps of 0.1 and 1 move no output beyond float32's rounding.

    Of single elements, those that get no gradient either.
    """
    for p in trial.parameters:
        found = parameter_elements.silent(trial, p)
        if found.idle:
            bad = [f"changing {found.text(found.idle)} changes no output, and no gradient reaches it"]
            fix = f"give {p.name} as many elements as forward uses, or correct what leaves these out"
            yield _about(case, "ineffective-parameter", "warn", p, bad, fix)
            continue
        if _has_effect(trial, p) or _has_effect_elsewhere(trial, p) or _matters_elsewhere(trial, p):
            continue
        noise = "" if _is_zero(trial.gradients[p]) else "; its gradient is rounding noise, which makes it drift"
        bad = [f"changing {p.name} (at {p.text}) changes no output by more than 4 ULP of float32{noise}"]
        fix = f"delete {p.name}; or correct the formula, if it is meant to depend on it"
        yield _about(case, "ineffective-parameter", "warn", p, bad, fix)


def _matters_elsewhere(trial: Trial, p: Learnable) -> bool:
    return trial.gradients[p] is None and _matters_in_training(trial, p)


def _about(case: Case, check_id: str, severity: Severity, p: Learnable, bad: list[str], fix: str) -> Finding:
    return case_finding(case, check_id, severity, None, bad, 1, fix, f"parameter:{p.name}")


CHECKS: Mapping[str, Callable[[Case], Iterator[Finding]]] = {
    check_id: _on_trial(check_id, judge)
    for check_id, judge in {
        "wrong-parameter-gradient": wrong_parameter_gradient,
        "dead-parameter": dead_parameter,
        "ineffective-parameter": ineffective_parameter,
        "degenerate-parameter": parameter_values.degenerate_parameter,
        "domain-violation": parameter_values.domain_violation,
        "parameter-gradient-overflow": parameter_sums.parameter_gradient_overflow,
    }.items()
} | dict(tensors.CHECKS)
