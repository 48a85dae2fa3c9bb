"""What `actium check` does with its options.

Stage: options → [run] → report → exit code. Outcomes come in any order and are shown in that of the targets. Loads no
torch.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import typer

from actium.cli.budget import Held, settle
from actium.cli.common import FAILED, INTERRUPTED, PLEASE_REPORT, UNUSABLE, complain, show_view, write_json
from actium.errors import CheckError
from actium.running.files import write
from actium.running.jobs import Judging, Limits, Outcome
from actium.running.pool import Expanded, Pool, Reached, Task
from actium.running.store import Store
from actium.verify.certificate import Certificate, document


@dataclass(frozen=True)
class Options:
    """The options of `actium check`.

    Attributes:
        targets: As typed.
        judging: What the certificates depend on.
        limits: What each target may use.
        jobs: How many at a time.
        out: A folder for certificates.
        json_to: A file for one JSON document, or `-`.
        html_to: A file for one HTML page.
        debug: Whether to show tracebacks.
        held: Budgets to hold the functions to.
    """

    targets: tuple[str, ...]
    judging: Judging
    limits: Limits
    jobs: int | None = None
    out: Path | None = None
    json_to: str | None = None
    html_to: Path | None = None
    debug: bool = False
    held: Held | None = None

    @property
    def shows(self) -> bool:
        """Whether certificates are shown as they come: not beside JSON, and not where they are kept."""
        return self.json_to != "-" and self.out is None


@dataclass
class Results:
    """What came of all targets, in their order.

    Attributes:
        certificates: Of those that were judged.
        skipped: Target → reason, for members of a `*`.
        refused: Targets that the caller named and that could not be judged.
    """

    certificates: list[Certificate] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    refused: dict[str, Outcome] = field(default_factory=dict)

    def add(self, task: Task, outcome: Outcome) -> None:
        """Sort an outcome in."""
        if outcome.certificate is not None:
            self.certificates.append(outcome.certificate)
        elif task.member:
            self.skipped[task.target] = outcome.reason or ""
        else:
            self.refused[task.target] = outcome

    @property
    def not_checked(self) -> dict[str, str]:
        """Target → reason, for everything that has no certificate."""
        return self.skipped | {t: o.reason or "" for t, o in self.refused.items()}

    @property
    def exit_code(self) -> int:
        """2 if something that was asked for was not judged, 1 if something fails."""
        if self.refused:
            return UNUSABLE
        return FAILED if any(c.verdict == "fail" for c in self.certificates) else 0


def run(options: Options) -> int:
    """Judge the targets and report; the exit code."""
    so_far = _SoFar()
    try:
        with Pool(options.jobs, options.limits) as pool:
            return _report(options, *_judge(options, pool, so_far))
    except KeyboardInterrupt:
        typer.echo(so_far.text(options.out), err=True)
        return INTERRUPTED


@dataclass
class _SoFar:
    """What an interrupted run leaves.

    Attributes:
        finished: How many targets are.
        swept: Target → how many of its exponents are done, and of how many, while it is swept in full.
    """

    finished: int = 0
    swept: dict[str, tuple[int, int]] = field(default_factory=dict)

    def text(self, out: Path | None) -> str:
        """What to tell who interrupted it."""
        from actium.report.clean import clean, shortened

        where = "the cache" if out is None else str(out)
        parts = [f"interrupted: {self.finished} finished"]
        parts += [f"{shortened(clean(t), 60)}: {a} of {b} exponents done" for t, (a, b) in self.swept.items()]
        if self.swept or out is not None:
            parts.append(f"what is done is kept in {where}, and the same command goes on from there")
        return "; ".join(parts)


def _judge(options: Options, pool: Pool, so_far: _SoFar) -> tuple[Results, dict[str, Any]]:
    expanded = pool.expand(options.targets)
    results = Results(skipped=dict(expanded.skipped), refused=dict(expanded.refused))
    store = None if options.out is None else Store(options.out, options.judging, options.limits)
    needed = options.json_to is not None or options.html_to is not None or store is not None
    environment = pool.environment() if needed else {}
    waiting = list(expanded.tasks)
    done: dict[str, Outcome] = {}
    with _progress(waiting) as progress:

        def reached(target: str, done: int, total: int) -> None:
            so_far.swept[target] = done, total
            progress.reach(target, done, total)

        for outcome in _outcomes(options, pool, expanded, store, environment, reached):
            so_far.finished += 1
            so_far.swept.pop(outcome.target, None)
            done[outcome.target] = outcome
            ready = []
            while waiting and waiting[0].target in done:
                task = waiting.pop(0)
                results.add(task, done[task.target])
                ready += [done[task.target].certificate] if options.shows else []
            progress.step(outcome, [c for c in ready if c is not None])
    return results, environment


def _outcomes(
    options: Options,
    pool: Pool,
    expanded: Expanded,
    store: Store | None,
    environment: dict[str, Any],
    reached: Reached,
) -> Iterator[Outcome]:
    """Those that are known from an earlier run, then the others as they come."""
    missing = []
    for task in expanded.tasks:
        known = None if store is None else store.load(task.target)
        if known is None:
            missing.append(task)
        else:
            yield known
    for outcome in pool.judge(missing, options.judging, reached, None if store is None else store.partial):
        if outcome.error == CheckError.__name__:
            raise CheckError(outcome.reason)  # It is about the options, not about the target.
        if store is not None:
            store.save(outcome, environment)
        yield outcome


# --- Progress ---------------------------------------------------------------------------------------------


class _Progress(Protocol):
    def reach(self, target: str, done: int, total: int) -> None: ...

    def step(self, outcome: Outcome, ready: Sequence[Certificate]) -> None: ...


class _Quiet:
    """Shows certificates only."""

    def reach(self, target: str, done: int, total: int) -> None:
        """Nothing to see."""

    def step(self, outcome: Outcome, ready: Sequence[Certificate]) -> None:
        for certificate in ready:
            _show(certificate)


@contextlib.contextmanager
def _progress(tasks: Sequence[Task]) -> Iterator[_Progress]:
    """A bar on stderr that says what has been checked; nothing off a terminal."""
    if not sys.stderr.isatty() or not tasks:
        yield _Quiet()
        return
    from actium.report.progress import Bar

    with Bar([t.target for t in tasks], _show) as bar:
        yield bar


def _show(certificate: Certificate) -> None:
    from actium.report.terminal import certificate_view

    show_view(lambda width: certificate_view(certificate, width))
    typer.echo()


# --- Report -----------------------------------------------------------------------------------------------


def _report(options: Options, results: Results, environment: dict[str, Any]) -> int:
    if options.json_to != "-" and len(results.certificates) + len(results.not_checked) > 1:
        from actium.report.table import table_view
        from actium.report.terminal import summary_view

        show_view(lambda width: summary_view(results.certificates, results.not_checked))
        typer.echo()
        show_view(lambda width: table_view(results.certificates, results.not_checked))
    if options.json_to is not None and (results.certificates or results.skipped):
        write_json(_document(results, environment), options.json_to)
    if options.html_to is not None and (results.certificates or results.not_checked):
        from actium.report.html import page

        write(page(results.certificates, environment, results.not_checked), options.html_to)
    _explain(options, results)
    if options.held is None:
        return results.exit_code
    to_stderr = options.json_to == "-"
    kept = settle(
        options.held, options.targets, results.certificates, results.not_checked, options.judging.dtypes, to_stderr
    )
    return UNUSABLE if results.refused else 0 if kept else FAILED


def _explain(options: Options, results: Results) -> None:
    """Say on stderr what was not checked, and why."""
    from actium.report.clean import clean

    for target, reason in results.skipped.items():
        typer.echo(f"not checked: {clean(target)}: {clean(reason)}", err=True)
    for target, outcome in results.refused.items():
        if options.debug and outcome.trace:
            typer.echo(outcome.trace, err=True)
        internal = (outcome.reason or "").startswith("internal:")
        # A worker that died could not say which target it is about; the errors of one that lived do.
        told = outcome.error is not None
        complain(f"{'' if told else f'{target} was not checked: '}{outcome.reason}{PLEASE_REPORT if internal else ''}")


def _document(results: Results, environment: dict[str, Any]) -> dict[str, Any]:
    whole = document(results.certificates, environment)
    return whole | {"skipped": results.not_checked} if results.not_checked else whole
