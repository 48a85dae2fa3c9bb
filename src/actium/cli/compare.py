"""`actium compare`.

Stage: arguments → [options] → train → report → exit code.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actium.cli.common import (
    FAILED,
    INTERRUPTED,
    Debug,
    Dtype,
    JsonTo,
    check_folders,
    errors,
    foreign_output,
    number,
    show_view,
    write_json,
)
from actium.errors import StudyError
from actium.running.files import write

if TYPE_CHECKING:
    from actium.train.plan import Plan
    from actium.train.sources import Sources
    from actium.train.study import Outcome, Progress

Task = Annotated[str, typer.Option(help="digits, moons, fashion-mnist, image or charlm.")]
Seeds = Annotated[int, typer.Option(min=1, help="How many runs of each; more show smaller differences.")]
Jobs = Annotated[int | None, typer.Option("-j", "--jobs", min=1, help="How many at a time [default: all CPUs].")]
Storage = Annotated[
    str | None,
    typer.Option(metavar="URL", help="A database that several machines share, such as postgresql://user@host/name."),
]
Study = Annotated[str | None, typer.Option(help="Name of the study there [default: one that depends on the plan].")]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Keep each finished run here; none is repeated."),
]
HtmlTo = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write one self-contained page.")]
DataDir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where the files of fashion-mnist are: idx, or the sprite.")
]
Text = Annotated[Path | None, typer.Option("--text", metavar="FILE", help="A text of your own for charlm.")]
Gain = Annotated[
    list[str] | None,
    typer.Option("--gain", metavar="TARGET=VALUE", help="Of the layers before it [default: √2]; may be repeated."),
]


def compare(
    targets: Annotated[
        list[str], typer.Argument(metavar="TARGET...", help="What to compare, as `actium check` has it.")
    ],
    task: Task = "digits",
    seeds: Seeds = 5,
    network: Annotated[str | None, typer.Option(help="mlp, cnn or transformer, where the task has a choice.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the task's own.")] = None,
    dtype: Annotated[Dtype, typer.Option(help="What matrix products and activations run in.")] = Dtype.float32,
    device: Annotated[str, typer.Option(help="Such as cuda.")] = "cpu",
    as_written: Annotated[
        bool, typer.Option("--as-written", help="Train formulas as plain PyTorch computes them, not in actium's form.")
    ] = False,
    gain: Gain = None,
    jobs: Jobs = None,
    storage: Storage = None,
    study: Study = None,
    heartbeat: Annotated[int, typer.Option(min=1, help="Seconds between a worker's signs of life.")] = 10,
    pruner: Annotated[str, typer.Option(help="none, median or halving: give up runs that do badly.")] = "none",
    out: Out = None,
    data_dir: DataDir = None,
    text: Text = None,
    download: Annotated[bool, typer.Option("--download", help="Let torchvision fetch fashion-mnist.")] = False,
    json_to: JsonTo = None,
    html_to: HtmlTo = None,
    debug: Debug = False,
) -> None:
    """Train the same network with each activation, and say whether the difference is more than chance.

    A TARGET is what `actium check` takes: a formula, a name from `actium list`, path.py:NAME or package.module:NAME.
    All activations get the same data, initial weights and order for a seed. The exit code is 0 if every run ended (a
    run that diverges is a result), 1 if one could not be trained, 2 if the study could not be done. Ctrl-C loses no
    finished run: with --out or --storage, the same command goes on from there.
    """
    with errors(debug):
        check_folders(json_to, html_to, out=out)
        from actium.train.cells import plan_of
        from actium.train.sources import Sources

        gains = _gains(gain)
        sources = Sources(data_dir, text, download)
        options = {"network": network, "epochs": epochs, "dtype": dtype.value, "device": device}
        with foreign_output():
            plan = plan_of(tuple(targets), task, seeds, sources, **options, plain=as_written, gains=gains)
        keeping = {"jobs": jobs, "storage": storage, "study": study, "out": out}
        outcome = _run(plan, sources, **keeping, heartbeat=heartbeat, pruner=pruner)
        raise typer.Exit(_report(outcome, json_to, html_to))


def _gains(texts: list[str] | None) -> dict[str, float]:
    gains = {}
    for text in texts or ():
        target, equals, value = text.rpartition("=")
        if not equals:
            raise StudyError(f"--gain {text}: write TARGET=VALUE, such as --gain silu=1.68")
        gains[target.strip()] = number(value, f"--gain {target}=")
    return gains


def _run(plan: Plan, sources: Sources, **keeping: Any) -> Outcome:
    from actium.train.study import compare as run

    with _progress(plan) as progress:
        try:
            return run(plan, sources, **keeping, progress=progress)
        except KeyboardInterrupt:
            kept = keeping["out"] or keeping["storage"]
            told = "; finished runs are kept, and the same command goes on from there" if kept else _NOT_KEPT
            typer.echo(f"interrupted{told}", err=True)
            raise typer.Exit(INTERRUPTED) from None


_NOT_KEPT = "; nothing was kept: with --out DIR a study can be taken up again"


@contextlib.contextmanager
def _progress(plan: Plan) -> Iterator[Progress | None]:
    """A bar on stderr with what is finished; nothing off a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from actium.report.study_progress import Bar

    with Bar(plan.cells) as bar:
        yield bar.show


def _report(outcome: Outcome, json_to: str | None, html_to: Path | None) -> int:
    from actium.report.clean import clean
    from actium.train.summary import document
    from actium.verify.certificate import environment

    made = document(outcome.plan, outcome.cells, environment())
    if json_to != "-":
        from actium.report.study import study_view

        show_view(lambda width: study_view(made, width))
    if json_to is not None:
        write_json(made, json_to)
    if html_to is not None:
        from actium.report.study_html import page

        write(page(made), html_to)
    for activation, error in outcome.errors.items():
        typer.echo(f"error: {clean(activation)}: {clean(error)}", err=True)
    return FAILED if outcome.errors else 0
