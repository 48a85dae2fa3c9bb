"""`actium check`.

Stage: arguments → [targets → certificates] → report.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actium.cli.common import (
    FAILED,
    Debug,
    Dtype,
    JsonTo,
    Parameters,
    errors,
    foreign_output,
    parameters,
    show_view,
    write_json,
)

if TYPE_CHECKING:
    from actium.targets import Resolved
    from actium.verify.certificate import Certificate


def check(
    targets: Annotated[list[str], typer.Argument(metavar="TARGET...", help="What to check; see below.")],
    json_to: JsonTo = None,
    dtype: Annotated[list[Dtype] | None, typer.Option(help="Check this format only; may be repeated.")] = None,
    param: Parameters = None,
    fused: Annotated[
        bool, typer.Option("--fused", help="Of a formula, check the kernel that actium makes of it.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Check activation functions; the exit code is 0 without a fail, 1 with one, 2 if a target cannot be loaded.

    A TARGET is a formula in x ("x * tanh(exp(x))"), a name from `actium list`, path.py:NAME or package.module:NAME
    (with literals as arguments where it needs some: NAME(alpha=0.2)), or path.py:* for everything in a file.
    Named files are imported, so they run. A formula is judged as plain PyTorch computes it, typed as it stands.
    """
    with errors(debug):
        from actium.report.terminal import summary_view

        resolved = _resolve(targets, parameters(param))
        done: list[Certificate] = []
        for certificate in _certificates(resolved, [d.value for d in dtype or ()], fused):
            done.append(certificate)
            if json_to != "-":
                _show(certificate)
        if json_to != "-" and len(resolved.found) + len(resolved.skipped) > 1:
            show_view(lambda width: summary_view(done, resolved.skipped))
        if json_to is not None:
            write_json(_document(done, resolved), json_to)
        _report_skipped(resolved)
        raise typer.Exit(FAILED if any(c.verdict == "fail" for c in done) else 0)


def _resolve(targets: list[str], parameters: dict[str, float]) -> Resolved:
    """Load all targets before judging the first, so that a misspelt one is known at once."""
    from actium.targets import Resolved, resolve

    with foreign_output():
        parts = [resolve(t, parameters) for t in targets]
    skipped = {target: why for part in parts for target, why in part.skipped.items()}
    return Resolved(tuple(f for part in parts for f in part.found), skipped)


def _certificates(resolved: Resolved, dtypes: list[str], fused: bool) -> Iterator[Certificate]:
    from actium.checking import certificates
    from actium.verify.run import DEFAULT_DTYPES

    with _progress(len(resolved.found)) as step:
        judged = certificates(resolved.found, dtypes or DEFAULT_DTYPES, fused)
        for found in resolved.found:
            step(found.target)
            with foreign_output():
                certificate = next(judged)
            step(None)
            yield certificate


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Any]:
    """A line on stderr that says what is being checked; nothing off a terminal."""
    if not sys.stderr.isatty():
        yield lambda target: None
        return
    from actium.report.clean import clean, shortened
    from actium.report.terminal import console

    screen = console(stderr=True)
    with screen.status("") as status:

        def step(target: str | None) -> None:
            if target is None:
                status.stop()
                return
            step.count += 1  # type: ignore[attr-defined]
            place = f" {step.count} of {total}" if total > 1 else ""  # type: ignore[attr-defined]
            status.update(shortened(f"checking{place}: {clean(target)}", max(screen.width - 4, 20)))
            status.start()

        step.count = 0  # type: ignore[attr-defined]
        yield step


def _show(certificate: Certificate) -> None:
    from actium.report.terminal import certificate_view

    show_view(lambda width: certificate_view(certificate, width))
    typer.echo()


def _report_skipped(resolved: Resolved) -> None:
    from actium.report.clean import clean

    for target, reason in resolved.skipped.items():
        typer.echo(f"skipped: {clean(target)}: {clean(reason)}", err=True)


def _document(done: list[Certificate], resolved: Resolved) -> dict[str, Any]:
    from actium.kernels import toolchain
    from actium.verify.certificate import document, environment

    kernels = "C" if toolchain.kernels_enabled() else f"none: {toolchain.unavailable_reason()}"
    whole = document(done, environment(kernels))
    return whole | {"skipped": resolved.skipped} if resolved.skipped else whole
