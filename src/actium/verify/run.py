"""Run every check on one target and write the certificate.

Stage: subject → truth → sweep → checks → [certificate].
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import torch

from actium.errors import CheckError, DtypeError, TargetError
from actium.symbolic.graph import Formula
from actium.verify.case import Case
from actium.verify.certificate import Accuracy, Certificate, Finding, sort_findings
from actium.verify.checks import (
    NOT_ASKED,
    REGISTRY,
    channels,
    composition,
    construction,
    contract,
    gradients,
    identity,
    inplace,
    numerics,
    parameters,
    properties,
)
from actium.verify.encodings import format_of
from actium.verify.oracle import ACCURACY_BITS, Oracle
from actium.verify.profile import profile
from actium.verify.reference import Float64Reference
from actium.verify.subject import Runner, Subject, SubjectError, guarded, one_line
from actium.verify.sweep import Quantity, Reference, Truths, sweep
from actium.verify.training import training_note

DEFAULT_DTYPES = ("float16", "bfloat16", "float32")
# Ids of the families that judge numbers; without a sweep they do not run.
_NUMERIC = tuple(i for i, c in REGISTRY.items() if c.family in ("numerics", "gradients"))
_SWEPT = {*_NUMERIC, "duplicate", *properties.CHECKS}

Check = Callable[[Case], Iterator[Finding]]
_CONTRACT: Mapping[str, Check] = {**contract.CHECKS, **channels.CHECKS, **inplace.CHECKS, **construction.CHECKS}


def check(
    subject: Subject,
    *,
    known: Mapping[str, identity.Known] | None = None,
    dtypes: Iterable[str] = DEFAULT_DTYPES,
    only: Iterable[str] | None = None,
    aside: bool = False,
) -> Certificate:
    """Judge one target.

    Args:
        subject: What to judge.
        known: Functions that it may turn out to equal, by name.
        dtypes: Formats to sweep: all encodings of float16 and bfloat16, a stratified sample of float32.
        only: Check ids to judge by; all of them if not given.
        aside: Compute the truth in a forked process while the checks run that need none. For a process that nobody
            else's threads run in.

    Returns:
        The certificate. Whatever could not be run, or was not asked for, is listed in it with the reason, never as
        passed.

    Raises:
        CheckError: If there is no such check id.
        DtypeError: If a dtype is none of these; float64 is used to judge gradients, but not swept.
        TargetError: If the target is a class, or nothing that can be called.
        ParameterError: If the formula has a parameter without a number.
    """
    _require_function(subject)
    formats = [format_of(d) for d in dtypes]
    if any(f.dtype == torch.float64 for f in formats):
        raise DtypeError(f"float64 is not swept: the truth is known to {ACCURACY_BITS} bits; choose narrower formats")
    asked = _asked(only)
    runner = Runner(subject)
    reference, kind = _reference(runner)
    case = Case(runner, reference)
    case.blocked.update((i, NOT_ASKED) for i in REGISTRY if i not in asked)
    refusal = runner.find_layout()
    if refusal is not None:
        reason = f"it takes no tensor of any tried shape: {refusal}"
        case.blocked.update((i, reason) for i in REGISTRY if i != "shape-change")
        return _certificate(case, [contract.unusable(case, reason)], kind, reason)
    note = training_note(case.runner)
    case.runner.notes += [] if note is None else [note]
    obstacle = contract.coupling(case)
    truths = _truths_of(reference, tuple(f.dtype for f in formats))
    if aside and asked & _SWEPT and obstacle is None:
        truths.start_aside()
    findings: list[Finding] = []
    for check_id, run in {**_CONTRACT, **parameters.CHECKS, **composition.CHECKS}.items():
        if check_id in asked:
            findings += _guarded(case, run, check_id)
    if asked & _SWEPT:
        obstacle = obstacle or _sweep(case, truths, [f.dtype for f in formats])
        findings += _numbers(case, asked, obstacle, known or {})
    return _certificate(case, findings, kind, obstacle)


def _require_function(subject: Subject) -> None:
    """Refuse what is no function of a tensor: calling a class makes an object, whatever it is given."""
    call: Any = subject.call
    if isinstance(call, type):
        name = call.__name__
        advice = f"give {name}.apply" if issubclass(call, torch.autograd.Function) else f"make an instance, {name}(...)"
        raise TargetError(f"{subject.target} is a class, not a function of a tensor: {advice}")
    if not callable(call):
        raise TargetError(f"{subject.target} is not callable: give a function of one tensor, a module or a formula")


def _asked(only: Iterable[str] | None) -> set[str]:
    asked = set(REGISTRY) if only is None else set(only)
    for unknown in sorted(asked - set(REGISTRY)):
        near = difflib.get_close_matches(unknown, REGISTRY, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(REGISTRY)}"
        raise CheckError(f"no check is called {unknown!r}; {hint}")
    return asked


def _numbers(
    case: Case, asked: set[str], obstacle: str | None, known: Mapping[str, identity.Known]
) -> Iterator[Finding]:
    """What the families that need a sweep find."""
    if obstacle is not None:
        case.blocked.update(dict.fromkeys(_SWEPT & asked, obstacle))
        return
    if "duplicate" in asked:
        case.same_as = identity.find_same(case, known)
    families = {"numerics": numerics.check, "gradients": gradients.check, "duplicate": identity.duplicate}
    for name, run in families.items():
        ids = [i for i in _SWEPT & asked if name in (i, REGISTRY[i].family)]
        yield from (f for f in _guarded(case, run, *ids) if f.check in asked)
    for check_id, run in properties.CHECKS.items():
        if check_id in asked:
            yield from _guarded(case, run, check_id)


def _guarded(case: Case, run: Check, *ids: str) -> list[Finding]:
    """Run what judges by these ids; what raises is a reason why they did not run, never a pass, and costs no other."""
    try:
        return list(run(case))
    except SubjectError as error:
        case.blocked.update(dict.fromkeys(ids, str(error)))
    except Exception as error:
        # Foreign code is stranger than any list of cases, and a mistake of ours must not look like a verdict.
        reason = f"the check itself raised {one_line(error)}; please report it"
        case.blocked.update(dict.fromkeys(ids, reason))
    return []


def _reference(runner: Runner) -> tuple[Reference, Literal["ball", "float64"]]:
    subject = runner.subject
    if subject.formula is not None and len(subject.formula.inputs) == 1:
        return _oracle(subject.formula, tuple(sorted(subject.parameters.items()))), "ball"

    def in_float64(x: torch.Tensor) -> torch.Tensor:
        return runner.converted(torch.float64)(x)

    return Float64Reference(in_float64), "float64"


# The truth does not depend on the code that is judged, and one file often holds a function in several forms.
@functools.lru_cache(maxsize=8)
def _oracle(formula: Formula, parameters: tuple[tuple[str, float], ...]) -> Oracle:
    return Oracle(formula, dict(parameters))


@functools.lru_cache(maxsize=8)
def _truths(oracle: Oracle, dtypes: tuple[torch.dtype, ...]) -> Truths:
    return Truths(oracle, dtypes)


def _truths_of(reference: Reference, dtypes: tuple[torch.dtype, ...]) -> Truths:
    return _truths(reference, dtypes) if isinstance(reference, Oracle) else Truths(reference, dtypes)


def _sweep(case: Case, truths: Truths, dtypes: list[torch.dtype]) -> str | None:
    """Fill in the sweeps; the reason if not even one format can be swept."""
    done, failed = {}, []
    for dtype in dtypes:
        try:
            done[dtype] = sweep(case.runner, truths, dtype)
        except SubjectError as error:
            failed.append(f"{str(dtype).removeprefix('torch.')}: {error}")
    case.sweeps = done
    case.runner.notes += [f"not swept: {reason}" for reason in failed]
    return None if done else "; ".join(failed)


def _accuracy(q: Quantity) -> Accuracy:
    """The worst over all inputs whose exact result the format can hold."""
    compared = q.known & q.fits & (q.low == q.high)
    error = np.where(np.isnan(q.error), np.inf, q.error)[compared]
    if not error.size:
        return Accuracy(0.0, None, 0)
    at = int(np.argmax(error))
    return Accuracy(float(error[at]), float(q.x[compared][at]), int(error.size))


def saved_bytes(case: Case, dtype: torch.dtype) -> float | None:
    """Bytes per element that autograd keeps between forward and backward, each storage once."""
    x = torch.linspace(-3, 3, 4096).to(dtype)
    call = case.runner.as_is() if dtype not in case.runner.refused else case.runner.converted(dtype)
    try:
        with guarded():
            return kept_bytes(call, x.clone().requires_grad_()) / x.numel()
    except SubjectError:
        return None


def kept_bytes(call: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> int:
    """Bytes that autograd keeps between the forward and the backward pass of a call, each storage once.

    Example:
        >>> kept_bytes(torch.sigmoid, torch.zeros(100, requires_grad=True))
        400
    """
    storages: dict[int, int] = {}

    def keep(t: torch.Tensor) -> torch.Tensor:
        if t.numel() > 1:
            storages[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        output = call(x.clone())  # Kept alive while the storages are counted, so that none is reused.
    del output
    return sum(storages.values())


def _properties(case: Case, obstacle: str | None) -> dict[str, Any]:
    properties: dict[str, Any] = {"notes": case.runner.notes} if case.runner.notes else {}
    if obstacle is not None:
        return properties | {"elementwise": False, "why": obstacle}
    below, above = case.reference.limit(-1), case.reference.limit(1)
    properties["limits"] = {"-inf": below[0], "inf": above[0]}
    properties["slope_limits"] = {"-inf": below[1], "inf": above[1]}
    if isinstance(case.reference, Float64Reference) and case.reference.is_narrow:
        note = "it computes in float32 even for float64 input, so its float64 reference has 24 bits"
        properties["notes"] = [*case.runner.notes, note]
    properties |= case.facts
    if not case.sweeps:
        return properties
    table = next(iter(case.sweeps.values())).slopes
    kinks = np.unique(table.x[(table.slope_low != table.slope_high) & ~np.isnan(table.slope_low)])
    properties["kinks_met"] = [float(k) + 0.0 for k in kinks[:16]]
    slopeless = int(sum(np.isnan(s.slopes.slope_low).sum() for s in case.sweeps.values()))
    undecided = int(sum(s.slopes.undecided.sum() for s in case.sweeps.values()))
    unknown = int(sum(np.isnan(s.slopes.value).sum() for s in case.sweeps.values()))
    outside = max(unknown - undecided, 0)
    return properties | {"undecided": undecided, "outside_domain": outside, "without_slope": slopeless}


def _certificate(
    case: Case, findings: list[Finding], kind: Literal["ball", "float64"], obstacle: str | None
) -> Certificate:
    subject = case.runner.subject
    not_run = {i: case.blocked[i] for i in REGISTRY if i in case.blocked}
    accuracy = {}
    for swept in case.sweeps.values():
        rows = {"output": _accuracy(swept.output)}
        if swept.gradient is not None:
            rows["gradient"] = _accuracy(swept.gradient)
        accuracy[swept.fmt.name] = rows
    saved = {d: saved_bytes(case, format_of(d).dtype) for d in ("float32", "bfloat16")}
    return Certificate(
        target=subject.target,
        formula=None if subject.formula is None else subject.formula.text,
        reference=kind,
        findings=sort_findings(findings),
        accuracy=accuracy,
        checks_run=tuple(i for i in REGISTRY if i not in not_run),
        checks_not_run=not_run,
        same_as=case.same_as,
        properties=_properties(case, obstacle),
        saved_bytes_per_element={d: b for d, b in saved.items() if b is not None},
        profile=profile(case),
    )
