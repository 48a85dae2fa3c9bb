"""`actium check`.

Stage: arguments → [options] → run → report → exit code. torch is loaded by the workers only: this process asks, shows
what comes back, and stays what it is whatever the code under judgement does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from actium.cli.common import Debug, Dtype, JsonTo, Parameters, check_folders, errors, parameters

Only = Annotated[
    list[str] | None, typer.Option("--check", metavar="ID", help="Judge by this check only; may be repeated.")
]
Claims = Annotated[
    list[str] | None,
    typer.Option("--claim", metavar="CLAIM", help="Hold it to this property: odd, range=[0,1), …; may be repeated."),
]
Full = Annotated[
    bool,
    typer.Option("--full", help="Run float32 on all 2^32 inputs, not on a sample; an interrupted run can be taken up."),
]
Jobs = Annotated[int | None, typer.Option("-j", "--jobs", min=1, help="How many at a time [default: all CPUs].")]
Seconds = Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="Wall time for each target.")]
Gibibytes = Annotated[float, typer.Option(metavar="GIB", min=0.01, help="Memory for each target.")]
HtmlTo = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write one self-contained page.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Keep one certificate a target here; finished ones are not repeated."),
]

Budget = Annotated[
    Path | None, typer.Option("--budget", metavar="FILE.toml", help="Hold each function to its budget in this file.")
]
UpdateBudget = Annotated[
    bool, typer.Option("--update-budget", help="Tighten the file where functions are better, and add new functions.")
]

# A day: the sweep over all inputs takes half a minute on two idle CPUs, but nobody knows how busy they are.
FULL_SECONDS = 86_400.0


def check(
    targets: Annotated[list[str], typer.Argument(metavar="TARGET...", help="What to check; see below.")],
    json_to: JsonTo = None,
    html_to: HtmlTo = None,
    dtype: Annotated[list[Dtype] | None, typer.Option(help="Check this format only; may be repeated.")] = None,
    only: Only = None,
    param: Parameters = None,
    claim: Claims = None,
    fused: Annotated[
        bool, typer.Option("--fused", help="Of a formula, check the kernel that actium makes of it.")
    ] = False,
    full: Full = False,
    out: Out = None,
    budget: Budget = None,
    update_budget: UpdateBudget = False,
    jobs: Jobs = None,
    time_limit: Seconds = 120.0,
    memory_limit: Gibibytes = 4.0,
    debug: Debug = False,
) -> None:
    """Check activation functions; the exit code is 0 without a fail, 1 with one, 2 if a target cannot be judged.

    A TARGET is a formula in x ("x * tanh(exp(x))"), a name from `actium list`, path.py:NAME or package.module:NAME
    (with literals as arguments where it needs some: NAME(alpha=0.2)), or path.py:* or package.module:* for everything
    in a file, a module or a package. Named files are imported, so they run: each target in a process of its own, which
    is ended at the limits. A formula is judged as plain PyTorch computes it, typed as it stands.
    """
    with errors(debug):
        check_folders(json_to, html_to, budget if update_budget else None, out=out)
        from actium.cli.budget import read
        from actium.cli.judge import Options, run
        from actium.errors import CheckError
        from actium.running.jobs import GIBIBYTE, Judging, Limits
        from actium.verify.claims import claims_of_texts

        claims = claims_of_texts(claim or ())
        if full and only:
            raise CheckError("--full runs every check: leave out --check")
        judging = Judging(
            tuple(d.value for d in dtype or ()), fused, tuple(only or ()), parameters(param), claims, full
        )
        limits = Limits(max(time_limit, FULL_SECONDS) if full else time_limit, int(memory_limit * GIBIBYTE))
        held = read(budget, update_budget, partial=bool(dtype or only))
        raise typer.Exit(run(Options(tuple(targets), judging, limits, jobs, out, json_to, html_to, debug, held)))
