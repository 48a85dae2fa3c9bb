"""`actium bench`.

Stage: arguments → [options] → bench → report → exit code. What is named is imported and runs in this process.
torch is loaded once the options are known to make sense.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actium.cli.common import (
    INTERRUPTED,
    UNUSABLE,
    Debug,
    JsonTo,
    Parameters,
    check_folders,
    complain,
    errors,
    foreign_output,
    parameters,
    show_view,
    write,
    write_json,
)

if TYPE_CHECKING:
    from actium.bench.cases import Case
    from actium.bench.grid import Grid
    from actium.bench.records import Report

_MANY = "may be repeated, or hold several with commas."
Sizes = Annotated[list[str], typer.Option("--size", metavar="N", help=f"Elements: 1000, 64Ki, 1Mi; {_MANY}")]
Dtypes = Annotated[list[str], typer.Option("--dtype", help=f"float16, bfloat16, float32 or float64; {_MANY}")]
Devices = Annotated[list[str], typer.Option("--device", help=f"cpu, cuda, …; {_MANY}")]
Passes = Annotated[list[str], typer.Option("--pass", help=f"forward, backward or both; {_MANY}")]
Against = Annotated[
    list[str] | None, typer.Option("--against", metavar="TARGET", help="Compare with this, too; may be repeated.")
]
Compile = Annotated[bool, typer.Option("--compile/--no-compile", help="Compare with torch.compile, some 5 s a cell.")]
Seconds = Annotated[
    float, typer.Option(metavar="SECONDS", min=0.001, max=3600.0, help="How long to time each function in each cell.")
]
Starts = Annotated[bool, typer.Option("--cold", help="Time first calls in fresh processes with empty caches, too.")]
HtmlTo = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write one self-contained page.")]


@dataclass(frozen=True)
class _Options:
    """What was asked for, as far as it says what to do."""

    parameters: Mapping[str, float]
    against: tuple[str, ...]
    compiled: bool
    seconds: float
    cold: bool


def bench(
    targets: Annotated[list[str], typer.Argument(metavar="TARGET...", help="What to time; see below.")],
    json_to: JsonTo = None,
    html_to: HtmlTo = None,
    size: Sizes = ["64Ki,1Mi"],  # noqa: B006  typer copies it
    dtype: Dtypes = ["float32,bfloat16"],  # noqa: B006
    device: Devices = ["cpu"],  # noqa: B006
    which: Passes = ["both"],  # noqa: B006
    against: Against = None,
    param: Parameters = None,
    compiled: Compile = True,
    seconds: Seconds = 0.5,
    cold: Starts = False,
    debug: Debug = False,
) -> None:
    """Time activation functions; the exit code is 0, or 2 if a target cannot be measured.

    A TARGET is a formula in x ("x * tanh(exp(x))"), a name from `actium list`, path.py:NAME or package.module:NAME
    (with literals as arguments where it needs some: NAME(alpha=0.2)). It is compared with PyTorch's own function where
    there is one, torch.compile, the formula as plain torch operations, and what --against names. All are timed in
    turns; a ratio says how many times as long the other takes, with a 95 % interval. The floor is what the bytes that
    have to move take at the bandwidth of the fastest copy, measured in the same turns.
    """
    with errors(debug):
        from actium.bench.grid import grid_of

        grid = grid_of(size, dtype, device, which)
        options = _Options(parameters(param), tuple(against or ()), compiled, seconds, cold)
        check_folders(json_to, html_to)
        report = _prepared(targets, grid, options)
        _measure(report, grid, options)
        if json_to != "-":
            _show(report)
        if json_to is not None:
            write_json(report.to_json(), json_to)
        if html_to is not None:
            from actium.report.bench_html import page

            write(page(report), html_to)
        raise typer.Exit(_explain(report))


# --- Measuring ---------------------------------------------------------------------------------------------


def _prepared(targets: Sequence[str], grid: Grid, options: _Options) -> Report:
    from actium.bench.cases import case_of
    from actium.bench.cells import check_devices
    from actium.bench.records import Report
    from actium.kernels import toolchain
    from actium.verify.certificate import environment

    check_devices(grid)
    cases: list[Case] = []
    with foreign_output():
        for target in dict.fromkeys(targets):
            cases.append(case_of(target, options.parameters, options.against, options.compiled))
    kernels = "C" if toolchain.kernels_enabled() else f"none: {toolchain.unavailable_reason()}"
    return Report(cases, environment(kernels), options.seconds)


def _measure(report: Report, grid: Grid, options: _Options) -> None:
    """Fill the report; an interrupt leaves in it what there is."""
    from actium.bench.cells import measure
    from actium.bench.cold import cold_start

    jobs = [(case, spot) for case in report.cases for spot in grid]
    starts = [(case, c, d) for case in report.cases for d in grid.dtypes for c in case.contenders if options.cold]
    try:
        with _progress(len(jobs) + len(starts)) as say, foreign_output():
            for done, (case, spot) in enumerate(jobs):
                head = f"{case.target}, {spot}"
                report.cells.append(
                    measure(case, spot, options.seconds, say=lambda what, d=done, h=head: say(d, f"{h}: {what}"))
                )
            for done, (case, contender, dtype) in enumerate(starts, len(jobs)):
                say(done, f"{case.target}, {dtype}: first call of {contender.name}")
                asked = (options.parameters, options.against, dtype, contender.compiled)
                report.cold.append(cold_start(case.target, contender.name, *asked))
    except KeyboardInterrupt:
        report.interrupted = True


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[int, str], Any]]:
    """A bar on stderr; nothing off a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, what: None
        return
    from actium.report.progress import Steps

    with Steps(total) as steps:
        yield steps.at


# --- Reporting ---------------------------------------------------------------------------------------------


def _show(report: Report) -> None:
    from actium.report.bench import report_view

    show_view(lambda width: report_view(report, width))


def _explain(report: Report) -> int:
    """Say on stderr what was not measured; the exit code."""
    for target, reason in report.unmeasured.items():
        complain(f"{target} was not measured: {reason}")
    if report.interrupted:
        typer.echo(f"interrupted: {len(report.cells)} cells measured", err=True)
        return INTERRUPTED
    return UNUSABLE if report.unmeasured else 0
