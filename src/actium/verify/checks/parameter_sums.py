"""Gradients of parameters in narrow formats: a number for each input, and their sum over many.

Stage: trial → [checks] → certificate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from actium.verify.case import Case, case_finding, number, region
from actium.verify.certificate import Finding, Severity, Worst
from actium.verify.encodings import HALVES, Format, format_of, hex_text
from actium.verify.oracle import Floats
from actium.verify.subject import SubjectError
from actium.verify.sweep import Mask
from actium.verify.trial import Learnable, Trial

# Elements of a sum: more than a half can count by ones.
_MANY = 8192
# How far a sum may be from as many times one element: rounding in the format explains far less.
_ALLOWED = 2.0**-4
# Gradients are of a size to be summed if they are this large beside the output; smaller ones may be rounding noise.
_VISIBLE = 2.0**-10


@dataclass(frozen=True)
class _Setting:
    """Inputs in a format, with parameters in the same, or in float32."""

    fmt: Format
    convert: bool = True

    @property
    def text(self) -> str:
        return self.fmt.name if self.convert else f"{self.fmt.name} with float32 parameters"


@dataclass(frozen=True)
class _Loss:
    """Samples whose gradient is NaN or inf in a setting, and what they are."""

    setting: _Setting
    bad: Mask
    got: Floats


_HALF = tuple(_Setting(format_of(d), convert) for d in HALVES for convert in (True, False))
_SETTINGS = (*_HALF, _Setting(format_of(torch.float32)))


def parameter_gradient_overflow(case: Case, trial: Trial) -> Iterator[Finding]:
    """`parameter-gradient-overflow`: NaN or inf in a parameter's gradient where the exact one is far from overflow.

    For each input by itself, and for the sum over 8,192 of them. A sum that overflows the parameter's own format is
    nobody's fault, and is not made here. One that overflows only the inputs' format, while the parameter's could hold
    it, is a `warn`: a gradient scaler recovers from it.
    """
    if not trial.elementwise:
        case.blocked["parameter-gradient-overflow"] = "not elementwise: its gradient has no number for each input"
        return
    trials: dict[_Setting, Trial] = {}
    for setting in _SETTINGS:
        try:
            trials[setting] = Trial(case.runner, True, setting.fmt.dtype, setting.convert)
        except SubjectError:
            continue  # Which dtypes it takes is the business of `dtype-leak`.
    losses: dict[str, list[_Loss]] = {}
    for setting, narrow in trials.items():
        for name, loss in _losses(trial, narrow, setting):
            losses.setdefault(name, []).append(loss)
    for i, p in enumerate(trial.parameters):
        if trial.gradients[p] is None:
            continue
        if p.name in losses:
            yield _element_finding(case, trial, p, losses[p.name])
        else:
            yield from _sum_findings(case, trial, i, trials)
        yield from _at_infinity(case, trial, p)


def _finding(case: Case, p: Learnable, names: list[str], bad: list[str], fix: str, severity: Severity) -> Finding:
    name = names[0] if len(set(names)) == 1 else None
    return case_finding(
        case, "parameter-gradient-overflow", severity, name, bad, len(_SETTINGS), fix, f"parameter:{p.name}"
    )


# --- One by one -------------------------------------------------------------------------------------------


def _fits(trial: Trial, exact: Floats | None, fmt: Format, share: float) -> Mask:
    """Samples and elements whose exact gradient, like the output, is a number of the format with room to spare."""
    if exact is None:
        return np.ones((len(trial.x), 1), dtype=np.bool_)
    with np.errstate(invalid="ignore"):
        room = np.abs(trial.at_rest).max(axis=1, keepdims=True) < fmt.largest / 4
        return np.isfinite(exact) & room & (np.abs(exact) < fmt.largest * share)


def _losses(trial: Trial, narrow: Trial, setting: _Setting) -> Iterator[tuple[str, _Loss]]:
    """For each parameter whose gradient is lost somewhere: its name and where."""
    try:
        got = _gradients(trial, narrow, setting)
    except SubjectError:
        return  # A backward that refuses the dtype is the business of `dtype-leak`.
    for p, gradient in zip(trial.parameters, got, strict=True):
        if gradient is not None:
            fits = _fits(trial, trial.gradients[p], setting.fmt, 1 / 16)
            bad = np.asarray((fits & ~np.isfinite(gradient)).any(axis=1))
            if bad.any():
                yield p.name, _Loss(setting, bad, gradient)


def _gradients(trial: Trial, narrow: Trial, setting: _Setting) -> list[Floats | None]:
    """The gradient of each parameter for each sample; those that are finite in a common sum are given as exact."""
    exact = list(trial.gradients.values())
    together = np.logical_and.reduce([_fits(trial, e, setting.fmt, 1 / (16 * _MANY / 64)).all(axis=1) for e in exact])
    summed = narrow.summed(together)
    if all(s is None or np.isfinite(s).all() for s in summed):
        chosen = np.flatnonzero(~together)
    else:
        chosen = np.arange(len(trial.x))
    rows = narrow.gradients_at(chosen)
    made: list[Floats | None] = []
    for e, row, s in zip(exact, rows, summed, strict=True):
        filled = None if e is None or (row is None and s is None) else np.where(np.isfinite(e), e, 0.0)
        if filled is not None and row is not None:
            filled[chosen] = row
        made.append(filled)
    return made


def _element_finding(case: Case, trial: Trial, p: Learnable, losses: list[_Loss]) -> Finding:
    exact = trial.gradients[p]
    assert exact is not None
    texts, worst = [], []
    for loss in losses:
        at = int(np.argmin(np.where(loss.bad, np.abs(trial.x), np.inf)))
        element = int(np.argmax(~np.isfinite(loss.got[at]) & np.isfinite(exact[at])))
        x, was, should = (float(v) for v in (trial.x[at], loss.got[at, element], exact[at, element]))
        worst.append((Worst(x, hex_text(x), was, should, math.nan), region(trial.x, loss.bad, at)))
        texts.append(
            f"{loss.setting.text} for {int(loss.bad.sum())} of {len(loss.bad)} inputs, first at x = {number(x)}: "
            f"{number(was)}, not {number(should)}"
        )
    texts[0] = f"for a random grad_output, the gradient of {p.name} is NaN or inf in {texts[0]}"
    fix = (
        f"keep what the gradient of {p.name} is made of small: give a branch that is not selected a harmless argument, "
        f"bound {p.name} away from where quotients overflow, or compute in float32 and cast the result back once"
    )
    made = _finding(case, p, [loss.setting.fmt.name for loss in losses], texts, fix, "fail")
    first = losses[0].bad
    return replace(made, count=int(first.sum()), tested=len(first), worst=worst[0][0], region=worst[0][1])


# --- The sum ----------------------------------------------------------------------------------------------


def _sum_findings(case: Case, trial: Trial, index: int, trials: Mapping[_Setting, Trial]) -> Iterator[Finding]:
    p = trial.parameters[index]
    fix = (
        "compute in float32 and cast the result back once, f(x.float()).to(x.dtype), so that the sum is made in "
        "float32; in a backward written by hand, (grad * slope).sum(dtype=torch.float32)"
    )
    severities: dict[bool, Severity] = {True: "fail", False: "warn"}
    for convert, severity in severities.items():
        bad, names = [], []
        for setting in (s for s in _HALF if s.convert == convert and s in trials):
            text = _lost_sum(trial, trials[setting], index, setting)
            if text is not None:
                bad.append(f"the gradient of {p.name}, {setting.text}, {text}")
                names.append(setting.fmt.name)
        if bad:
            yield _finding(case, p, names, bad, fix, severity)


def _to_sum(trial: Trial, p: Learnable, fmt: Format) -> tuple[int, int] | None:
    """A sample and an element with a gradient of about 1, if there is one beyond rounding noise."""
    exact = trial.gradients[p]
    assert exact is not None
    size = np.where(_fits(trial, exact, fmt, 1 / 16) & trial.inner[:, None], np.abs(exact), 0.0)
    seen = size * float(p.tensor.detach().abs().max().clamp(min=2.0**-4)) > _VISIBLE * trial.usual_size(trial.at_rest)
    if not seen.any():
        return None
    distance = np.where(seen, np.abs(np.log2(np.maximum(size, 1e-30))), np.inf)
    at, element = np.unravel_index(int(np.argmin(distance)), distance.shape)
    return int(at), int(element)


def _lost_sum(trial: Trial, narrow: Trial, index: int, setting: _Setting) -> str | None:
    """What becomes of the sum over many equal inputs, beside as many times the gradient of one; in words."""
    p, q = trial.parameters[index], narrow.parameters[index]
    place = _to_sum(trial, p, setting.fmt)
    if place is None:
        return None
    at, element = place
    many = max(_MANY // trial.width, 256)
    one = trial.gradient_of(p, trial.inputs[at])
    if one is None or one[element] == 0:
        return None
    # Beyond what the inputs' format holds, if the parameter's is wider: else a sum in the narrow one goes unseen.
    goal = 65504 / 8 if setting.convert else 65504 * 4
    weight = 2.0 ** math.floor(math.log2(min(goal / (many * abs(one[element])), 256.0)))
    if not _multiplies(trial, p, at, element, many, weight):
        return None  # A wrong reduction is wrong in every format: `wrong-parameter-gradient`.
    single = narrow.gradient_of(q, narrow.inputs[at], weight)
    total = narrow.gradient_of(q, narrow.inputs[at].repeat(many), weight)
    if single is None or total is None or not np.isfinite(single[element]) or single[element] == 0:
        return None
    got, expected = float(total[element]), many * float(single[element])
    if math.isfinite(got) and abs(got - expected) <= _ALLOWED * abs(expected):
        return None
    x = number(float(trial.x[at]))
    return f"over {many:,} inputs of {x} is {number(got)}, while {many:,} times that of one is {number(expected)}"


def _multiplies(trial: Trial, p: Learnable, at: int, element: int, many: int, weight: float) -> bool:
    """Whether in float64 the sum over many equal inputs is as many times the gradient of one."""
    single = trial.gradient_of(p, trial.inputs[at], weight)
    total = trial.gradient_of(p, trial.inputs[at].repeat(many), weight)
    return (
        single is not None
        and total is not None
        and math.isclose(total[element], many * single[element], rel_tol=2.0**-10)
    )


# --- Infinite inputs --------------------------------------------------------------------------------------


def _at_infinity(case: Case, trial: Trial, p: Learnable) -> Iterator[Finding]:
    """One infinite input makes the sum NaN, where the gradient has long been 0: `info`, as for `nan-policy`."""
    exact = trial.gradients[p]
    assert exact is not None
    far = np.abs(trial.x) > 2.0**10
    lost = [sign for sign in (-1, 1) if _poisoned(trial, p, exact[far & (sign * trial.x > 0)], sign)]
    if lost:
        where = " or ".join(f"{sign * math.inf:+}" for sign in lost)
        text = f"one input of {where} makes the whole gradient of {p.name} NaN, though its share is 0 in the limit"
        fix = "give a branch that is not selected a harmless argument first: where(c, f(where(c, x, 1)), g(x))"
        yield _finding(case, p, ["float32"], [text], fix, "info")


def _poisoned(trial: Trial, p: Learnable, tail: Floats, sign: int) -> bool:
    if not (tail == 0).all():
        return False
    got = trial.gradient_of(p, torch.full((trial.width,), sign * math.inf, dtype=trial.inputs.dtype))
    return got is not None and bool(np.isnan(got).any())
