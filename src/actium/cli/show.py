"""`actium list`, `show`, `eject` and `doctor`.

Stage: arguments → [commands] → report.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actium.cli.common import (
    FAILED,
    AsJson,
    Debug,
    Parameters,
    Target,
    errors,
    foreign_output,
    number,
    parameters,
    print_json,
    show_view,
    write,
)
from actium.errors import ParameterError

if TYPE_CHECKING:
    from actium.define import Activation


def list_(as_json: AsJson = False, debug: Debug = False) -> None:
    """List the catalogue."""
    with errors(debug):
        from actium.catalogue import ENTRIES
        from actium.report import about

        rows = about.entries(ENTRIES.values())
        if as_json:
            print_json({"schema": "actium.list/1", "activations": rows})
        else:
            show_view(lambda width: about.list_view(rows, width))


def show(
    target: Target,
    at: Annotated[
        str | None, typer.Option(metavar="X", help="Value and slope at X, decimal or hex (-0x1.64p+6).")
    ] = None,
    proof: Annotated[bool, typer.Option("--proof", help="What is proven: range, slopes, kinks, overflow.")] = False,
    source: Annotated[
        str | None, typer.Option(metavar="LANGUAGE", help="The generated text: of C, Triton or torch.")
    ] = None,
    param: Parameters = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show an activation: formula, derivative, range, limits, kinks, source, LaTeX and a curve; or what is proven."""
    with errors(debug):
        point = None if at is None else number(at, "--at")
        from actium.checking import activation_of
        from actium.report import about

        with foreign_output():
            activation = activation_of(target, parameters(param))
        if source is not None:
            _show_source(activation, source, as_json)
            return
        if proof:
            _show_proof(activation, as_json)
            return
        facts = about.facts(activation)
        rows = None if point is None else about.at_point(activation, point)
        if as_json:
            print_json({"schema": "actium.show/1", **facts} | ({"at": rows} if rows is not None else {}))
        elif rows is not None:
            show_view(lambda width: about.at_view(rows))
        else:
            show_view(lambda width: about.about_view(activation, facts, width))


def _show_source(activation: Activation, language: str, as_json: bool) -> None:
    if language not in ("c", "triton", "torch"):
        raise ParameterError(f"--source {language}: choose c, triton or torch")
    text = activation.source(language)  # type: ignore[arg-type]
    if as_json:
        print_json({"schema": "actium.source/1", "name": activation.name, "language": language, "source": text})
    else:
        typer.echo(text, nl=False)


def _show_proof(activation: Activation, as_json: bool) -> None:
    from actium.report import about
    from actium.report.proof import facts, proof_of, proof_view

    proof = proof_of(activation)
    if as_json:
        print_json({"schema": "actium.show/1", **about.facts(activation), "proof": facts(proof)})
    else:
        show_view(lambda width: proof_view(activation.name, proof))


def eject(
    target: Target,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to a file.")] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What to call it; a formula is an `activation` by itself.")
    ] = None,
    param: Parameters = None,
    debug: Debug = False,
) -> None:
    """Print a stand-alone PyTorch module of a target, in a stable form; it does not need actium."""
    with errors(debug):
        from actium.checking import activation_of
        from actium.eject import eject as write_file

        with foreign_output():
            text = write_file(activation_of(target, parameters(param), name or "activation"), name)
        if output is None:
            typer.echo(text, nl=False)
        else:
            write(text, output)


def doctor(as_json: AsJson = False, debug: Debug = False) -> None:
    """Say which compiler and which path are in use, and why; build and run one kernel."""
    with errors(debug):
        from actium.report import doctor as report

        diagnosis = report.diagnose()
        if as_json:
            print_json({"schema": "actium.doctor/1", **diagnosis})
        else:
            show_view(lambda width: report.diagnosis_view(diagnosis))
        raise typer.Exit(0 if diagnosis["self_test"]["passed"] else FAILED)


def build(debug: Debug = False) -> None:
    """Compile the front door, which makes calls of small tensors as fast as PyTorch's own: half a minute, once."""
    with errors(debug):
        from actium.kernels import front

        typer.echo(f"built: {front.build()}")
