"""The command line.

Stage: [arguments] → everything else → exit code. Reads arguments, writes text or JSON, and turns exceptions into one
line. torch is loaded by the commands that need it, inside them, so that `--help` and mistakes answer at once.
"""

from __future__ import annotations

import io
import re
import sys
from typing import Annotated

import typer

from actium import __version__
from actium.cli import bench, check, compare, show
from actium.cli.common import outlive_reader

# An argument that starts with a dash and is not one of these is a formula: -x * sigmoid(x).
_OPTION = re.compile(r"-|-[oph]|-j\d*|--([a-z][a-z-]*(=.*)?)?", re.DOTALL)

app = typer.Typer(
    name="actium",
    help="Activation functions: checked on every half-precision number, derived, fused.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # help is plain text, and starts without rich
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


app.command(short_help="Check activation functions.")(check.check)
app.command(short_help="Time activation functions.")(bench.bench)
app.command(short_help="Train with each activation, and compare.")(compare.compare)
app.command("list")(show.list_)
app.command(short_help="Show an activation, and draw it.")(show.show)
app.command(short_help="Print a stand-alone PyTorch module.")(show.eject)
app.command(short_help="Compile the front door, for small tensors.")(show.build)
app.command(short_help="Say what is in use and whether it works.")(show.doctor)


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 gets ? for →
    sys.stdout = outlive_reader(sys.stdout)
    arguments = [a if not a.startswith("-") or _OPTION.fullmatch(a) else f" {a}" for a in sys.argv[1:]]
    app(args=arguments, prog_name="actium")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"actium {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass
