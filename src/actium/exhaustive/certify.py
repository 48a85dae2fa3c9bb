"""A certificate over all float32 inputs.

Stage: subject → [sweep of 2^32 → verdict] → certificate.
In: a subject with a formula. Out: the ordinary certificate, in which float32 is no sample any more. The inputs that
decide (the worst ones, ties, lone ones) are judged again by balls and by the ordinary checks of `verify/`; how many
there are of a kind comes from the tallies.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from actium.define import Activation
from actium.errors import CheckError
from actium.exhaustive import screen
from actium.exhaustive.judged import Judged, judge
from actium.exhaustive.pieces import Cutter
from actium.exhaustive.sweep import UNITS, Journal, Progress, sweep
from actium.exhaustive.tally import PREDICATES, Tally, UnitTally
from actium.kernels import toolchain
from actium.symbolic.graph import Formula
from actium.targets import fingerprint, place_of
from actium.verify.case import Case, number
from actium.verify.certificate import Accuracy, Certificate, Finding, environment, sort_findings
from actium.verify.checks import gradients, identity, numerics
from actium.verify.encodings import stratified
from actium.verify.oracle import Oracle
from actium.verify.run import DEFAULT_DTYPES, check
from actium.verify.subject import Runner, Subject
from actium.verify.sweep import Quantity

_FINITE = 510 << 23
_PREDICATE_OF = {
    "non-finite-output": "non-finite",
    "non-finite-gradient": "non-finite",
    "masked-branch": "masked",
    "false-zero": "false-zero",
    "false-zero-gradient": "false-zero",
    "precision-loss": "imprecise",
}


def check_full(
    subject: Subject,
    *,
    known: Mapping[str, identity.Known] | None = None,
    dtypes: Iterable[str] = DEFAULT_DTYPES,
    out: Path | None = None,
    progress: Progress | None = None,
    units: Iterable[int] = UNITS,
    aside: bool = False,
) -> Certificate:
    """Judge a function on every float32 input, besides all that `check` does.

    Args:
        subject: What to judge. It needs a formula of one input.
        known: As for `verify.run.check`, and so are the formats.
        dtypes: float32 must be among them.
        out: A directory in which results are kept, so that an interrupted run goes on where it stopped.
        progress: Called with how many of 512 exponents are done.
        units: Which exponents to run; for tests.
        aside: As for `verify.run.check`.

    Returns:
        The certificate; `properties["exhaustive"]` says what it stands on. What cannot be swept gets the ordinary one.

    Raises:
        CheckError: If there is no formula, or float32 is not among the formats.
        KernelError: If there is no C compiler: the comparison is compiled.
    """
    formula, formats = _formula_of(subject), tuple(dtypes)
    if "float32" not in formats:
        raise CheckError(f"the sweep over all inputs is of float32; the formats are {', '.join(formats)}: add float32")
    base = check(subject, known=known, dtypes=formats, aside=aside)
    if "float32" not in base.accuracy:
        return base
    began = time.monotonic()
    runner = _runner(subject)
    cutter, facts = Cutter(formula, subject.parameters), trust(subject)
    journal = None if out is None else _journal(subject, facts, out)
    ours = isinstance(subject.call, Activation)  # Foreign code may keep something between calls.
    tallies = sweep(runner, cutter, units, journal, progress, concurrent=ours)
    oracle = Oracle(formula, subject.parameters)
    judged = judge(runner, oracle, cutter, tallies, stratified(torch.float32))
    made = _merged(base, Case(runner, oracle), tallies, judged, facts, time.monotonic() - began)
    if journal is not None and journal.done.keys() >= set(UNITS):
        journal.discard()  # It is for going on; whoever runs it again wants to see it done again.
    return made


def _journal(subject: Subject, facts: Mapping[str, Any], out: Path) -> Journal | None:
    """What was kept of the same code. Of code that is in no file nobody can say that it is the same: nothing is kept.

    The bits of a sample do not tell: the sweep is there to find what the sample does not see.
    """
    behind = fingerprint.fingerprint_of(subject.call, subject.module)
    if behind is None:
        return None
    place = place_of(subject.target)
    named = "" if place is None else fingerprint.fingerprint(place.where)
    basis = {**facts, "code_sha256": f"{behind} {named}".strip()}
    return Journal(out / _file_name(subject, basis), basis)


def _runner(subject: Subject) -> Runner:
    runner = Runner(subject)
    runner.find_layout()
    return runner


def _formula_of(subject: Subject) -> Formula:
    if subject.formula is None or len(subject.formula.inputs) != 1:
        why = "; ".join(n for n in subject.notes if "formula" in n or "traced" in n) or "it has no formula"
        raise CheckError(
            f"{subject.target}: the sweep over all float32 inputs needs a formula to compare with ({why}). Write the "
            "function as formula text, or so that it can be traced; without it, the ordinary check samples float32"
        )
    return subject.formula


def trust(subject: Subject) -> dict[str, Any]:
    """What the results of a sweep depend on, beside the proofs."""
    formula = subject.formula
    assert formula is not None
    where = environment()
    compiler = toolchain.find_compiler()
    text = json.dumps([formula.text, sorted(subject.parameters.items())])
    engine = hashlib.sha256(screen.source().encode())
    for name in ("jet", "pieces", "tally", "sweep"):
        engine.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return {
        "target": subject.target,
        "formula_sha256": hashlib.sha256(text.encode()).hexdigest()[:16],
        "engine_sha256": engine.hexdigest()[:16],
        "results_sha256": _results(subject),
        "compiler": None if compiler is None else f"{compiler.kind} {compiler.version}",
        "flags": [] if compiler is None else list(compiler.flags),
        **{name: where[name] for name in ("actium", "torch", "python", "cpu", "cpu_capability")},
    }


def _results(subject: Subject) -> str:
    """A digest of the bits that the subject computes for a fixed sample of float32: outputs and gradients."""
    result = _runner(subject).run(stratified(torch.float32))
    digest = hashlib.sha256()
    for values in (result.output, result.gradient):
        if values is not None:
            digest.update((values.float() + 0.0).numpy().tobytes())  # the sign of 0 is no difference
    return digest.hexdigest()[:16]


def _file_name(subject: Subject, facts: Mapping[str, Any]) -> str:
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", subject.target)[:60]
    return f"{name}-{hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode()).hexdigest()[:12]}.jsonl"


# --- Into the certificate -----------------------------------------------------------------------------------


def _merged(
    base: Certificate, case: Case, tallies: list[UnitTally], judged: Judged, facts: Mapping[str, Any], seconds: float
) -> Certificate:
    case.sweeps = {torch.float32: judged.sweep}
    wrong = any(f.check == "wrong-gradient" for f in base.findings)
    raw = list(_findings(case, judged, wrong))
    selects = any(f.check == "masked-branch" for f in raw)
    found = [_recounted(f, tallies, judged, selects) for f in raw]
    replaced = {(f.check, f.subject) for f in found}
    kept = [f for f in base.findings if f.dtype != "float32" or (f.check, f.subject) not in replaced]
    lost = _lost_nan(case, tallies, base)
    measured = {"output": judged.sweep.output, "gradient": judged.sweep.gradient}
    accuracy = {
        name: _accuracy(q, name, tallies, base.accuracy["float32"].get(name))
        for name, q in measured.items()
        if q is not None
    }
    return replace(
        base,
        findings=sort_findings([*kept, *found, *lost]),
        accuracy={**base.accuracy, "float32": accuracy},
        properties={**base.properties, "exhaustive": _facts(tallies, accuracy, facts, seconds)},
    )


def _findings(case: Case, judged: Judged, wrong: bool) -> Iterator[Finding]:
    """The ordinary checks of one format, on the inputs that decide."""
    q = judged.sweep.output
    yield from numerics.non_finite(case, q, "non-finite-output")
    yield from numerics.false_zero(case, q, "false-zero")
    yield from numerics.precision_loss(case, q)
    g = judged.sweep.gradient
    if g is None:
        return
    yield from gradients.non_finite_gradient(case, judged.sweep, g)
    yield from gradients.invalid_subgradient(case, g)
    if not wrong:
        elsewhere = ~gradients.at_single_points(g)
        yield from numerics.false_zero(case, g, "false-zero-gradient", elsewhere)
        yield from numerics.precision_loss(case, g, elsewhere)


def _recounted(finding: Finding, tallies: list[UnitTally], judged: Judged, selects: bool) -> Finding:
    """The finding with how many of all inputs it is about, and the whole region around its worst one."""
    predicate = _PREDICATE_OF.get(finding.check)
    tested = _compared(tallies)
    count, region = finding.count, finding.region
    if predicate is not None and finding.worst is not None:
        parts = [t for t in (_part(u, finding.subject) for u in tallies) if t is not None]
        by_balls = judged.holds(finding.subject, PREDICATES.get(predicate, PREDICATES["non-finite"]))
        count = sum(_counted(t, predicate, selects) for t in parts) + by_balls
        region = _region(parts, predicate, finding.worst.x) or region
    assert region is not None
    old = f"{finding.count:,} of {finding.tested:,} sampled inputs"
    message = finding.message.replace(old, f"{count:,} of {tested:,} finite inputs")
    message = re.sub(r"Region \[.*\]\.$", f"Region [{number(region[0])}, {number(region[1])}].", message)
    return replace(finding, count=count, tested=tested, message=message, region=region)


def _counted(tally: Tally, predicate: str, selects: bool) -> int:
    more = "masked" if predicate == "non-finite" and not selects else None
    return tally.counts.get(predicate, 0) + tally.counts.get(more or "", 0)


def _part(unit: UnitTally, name: str) -> Tally | None:
    return unit.output if name == "output" else unit.gradient


def _compared(tallies: list[UnitTally]) -> int:
    return sum(t.compared + len(t.singles) for t in tallies)


def _place(encoding: int) -> int:
    """Encodings in the order of values; both zeros are 0."""
    return encoding if encoding < 1 << 31 else -(encoding & 0x7FFFFFFF)


def _region(parts: list[Tally], predicate: str, x: float) -> tuple[float, float] | None:
    """The run of affected inputs around x, across exponents."""
    runs = sorted(tuple(sorted((_place(a), _place(b)))) for t in parts for a, b in t.runs.get(predicate, ()))
    at = _place(int(np.float32(x).view(np.uint32)))
    joined: list[list[int]] = []
    for low, high in runs:
        if joined and low <= joined[-1][1] + 1:
            joined[-1][1] = max(joined[-1][1], high)
        else:
            joined.append([low, high])
    for low, high in joined:
        if low <= at <= high:
            return _value(low), _value(high)
    return None


def _value(place: int) -> float:
    encoding = place if place >= 0 else -place | 1 << 31
    return float(np.uint32(encoding).view(np.float32))


def _accuracy(q: Quantity, name: str, tallies: list[UnitTally], sampled: Accuracy | None) -> Accuracy:
    """The largest error that balls confirm."""
    compared = q.known & q.fits & (q.low == q.high)
    error = np.where(np.isnan(q.error), np.inf, q.error)
    at = int(np.argmax(np.where(compared, error, -1.0)))
    tested = _compared(tallies)
    if not compared.any():
        return Accuracy(0.0, None, tested)
    found = Accuracy(float(error[at]), float(q.x[at]), tested)
    # The sampled check also runs small tensors, for which there may be other code.
    return replace(sampled, tested=tested) if sampled is not None and sampled.max_ulp > found.max_ulp else found


def _facts(
    tallies: list[UnitTally], accuracy: Mapping[str, Accuracy], facts: Mapping[str, Any], seconds: float
) -> dict[str, Any]:
    bound, share = max(t.bound for t in tallies), max(t.ruler_error for t in tallies)
    most = {n: max(t.most for t in (_part(u, n) for u in tallies) if t is not None) for n in accuracy}
    at_most = {
        n: math.inf if math.isinf(a.max_ulp) else (max(a.max_ulp, most[n]) + bound) / (1 - share)
        for n, a in accuracy.items()
    }
    return {
        "inputs": _FINITE,
        "compared": _compared(tallies),
        "compared_with_balls": sum(len(t.singles) for t in tallies),
        "outside_domain": sum(t.outside for t in tallies),
        "undecided": sum(t.undecided for t in tallies),
        "slopes_unknown": sum(t.slopes_unknown for t in tallies),
        "at_most_ulp": at_most,
        "reference_bound_ulp": bound,
        "ruler_bound": share,
        "polynomials": sum(t.pieces for t in tallies),
        "nan_inputs": sum(t.nan_inputs for t in tallies),
        "nan_lost": {n: sum(t.nan_lost[k] for t in tallies) for k, n in enumerate(("output", "gradient"))},
        "seconds": round(seconds, 1),
        "trust": dict(facts),
    }


def _lost_nan(case: Case, tallies: list[UnitTally], base: Certificate) -> Iterator[Finding]:
    """`nan-policy` for encodings of NaN that the ordinary check does not try."""
    tested = sum(t.nan_inputs for t in tallies)
    for k, name in enumerate(("output", "gradient")):
        count = sum(t.nan_lost[k] for t in tallies)
        if count and not any(f.check == "nan-policy" and f.subject == name for f in base.findings):
            message = f"{case.target} {name}, float32 on {case.device}: {count:,} of {tested:,} NaN inputs give no NaN."
            yield Finding(
                "nan-policy",
                "warn" if name == "output" else "info",
                name,
                "float32",
                count,
                tested,
                message,
                case.device,
                suggestion="let every NaN through, whatever its payload: test with x != x",
            )
