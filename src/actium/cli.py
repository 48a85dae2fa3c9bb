"""The command line.

Stage: [arguments] → everything else → exit code. Reads arguments, writes text or JSON, and turns exceptions into one
line. torch is loaded by the commands that need it, inside them, so that `--help` and mistakes answer at once.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from actium import __version__
from actium.errors import ActiumError, TargetError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from actium.targets import Resolved
    from actium.verify.certificate import Certificate

FAILED, UNUSABLE = 1, 2
# An argument that starts with a dash and is not one of these is a formula: -x * sigmoid(x).
_OPTION = re.compile(r"-|-[oph]|--([a-z][a-z-]*(=.*)?)?", re.DOTALL)

app = typer.Typer(
    name="actium",
    help="Activation functions: checked on every half-precision number, derived, fused.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # help is plain text, and starts without rich
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Dtype(StrEnum):
    """A format to check."""

    float16 = "float16"
    bfloat16 = "bfloat16"
    float32 = "float32"


Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
JsonTo = Annotated[str | None, typer.Option("--json", metavar="PATH|-", help="Write JSON to a file, or to stdout.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Parameters = Annotated[
    list[str] | None,
    typer.Option("-p", "--param", metavar="NAME=VALUE", help="A name in the formula besides x; may be repeated."),
]
Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="A formula, a name from `actium list`, path.py:NAME or package.module:NAME (NAME may have arguments).",
    ),
]


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 gets ? for →
    arguments = [a if not a.startswith("-") or _OPTION.fullmatch(a) else f" {a}" for a in sys.argv[1:]]
    app(args=arguments, prog_name="actium")


@contextlib.contextmanager
def _errors(debug: bool) -> Iterator[None]:
    """Turn what goes wrong into `error: …` on stderr and an exit code."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except BrokenPipeError:
        # The reader has gone; Python would complain again when it flushes stdout on the way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(FAILED) from None
    except ActiumError as error:
        _give_up(str(error), debug)
    except OSError as error:
        _give_up(f"{error.strerror or error}: {error.filename}" if error.filename else str(error), debug)
    except Exception as error:
        _give_up(f"internal: {type(error).__name__}: {error}. --debug shows where; please report it", debug)


def _give_up(message: str, debug: bool) -> NoReturn:
    from actium.report.clean import clean

    if debug:
        traceback.print_exc()
    # Behind the message, a formula or trace error has the line that it is about; the caret below that is dropped.
    first, *rest = [clean(line) for line in message.splitlines() if line.strip(" ^~")] or [""]
    typer.echo("\n".join([f"error: {first}", *(f"  {line.strip()}" for line in rest[:1])]), err=True)
    raise typer.Exit(UNUSABLE)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"actium {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


# --- check ------------------------------------------------------------------------------------------------


@app.command(short_help="Check activation functions.")
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
    with _errors(debug):
        from actium.report.terminal import summary_view

        resolved = _resolve(targets, _parameters(param))
        done: list[Certificate] = []
        for certificate in _certificates(resolved, [d.value for d in dtype or ()], fused):
            done.append(certificate)
            if json_to != "-":
                _show(certificate)
        if json_to != "-" and len(resolved.found) + len(resolved.skipped) > 1:
            _print(lambda width: summary_view(done, resolved.skipped))
        if json_to is not None:
            _write_json(_document(done, resolved), json_to)
        _report_skipped(resolved)
        raise typer.Exit(FAILED if any(c.verdict == "fail" for c in done) else 0)


# --- list, show, eject, doctor ------------------------------------------------------------------------------


@app.command("list")
def list_(as_json: AsJson = False, debug: Debug = False) -> None:
    """List the catalogue."""
    with _errors(debug):
        from actium.catalogue import ENTRIES
        from actium.report import about

        rows = about.entries(ENTRIES.values())
        if as_json:
            _print_json({"schema": "actium.list/1", "activations": rows})
        else:
            _print(lambda width: about.list_view(rows, width))


@app.command(short_help="Show an activation, and draw it.")
def show(
    target: Target,
    at: Annotated[
        str | None, typer.Option(metavar="X", help="Value and slope at X, decimal or hex (-0x1.64p+6).")
    ] = None,
    param: Parameters = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show an activation: formula, derivative, range, limits, kinks, source, LaTeX and a curve."""
    with _errors(debug):
        point = None if at is None else _number(at, "--at")
        from actium.checking import activation_of
        from actium.report import about

        with _foreign_output():
            activation = activation_of(target, _parameters(param))
        facts = about.facts(activation)
        rows = None if point is None else about.at_point(activation, point)
        if as_json:
            _print_json({"schema": "actium.show/1", **facts} | ({"at": rows} if rows is not None else {}))
        elif rows is not None:
            _print(lambda width: about.at_view(rows))
        else:
            _print(lambda width: about.about_view(activation, facts, width))


def _number(text: str, option: str) -> float:
    try:
        return float.fromhex(text) if "0x" in text.lower() else float(text)
    except (ValueError, OverflowError):
        raise TargetError(f"{option} {text}: expected a number, such as -89 or -0x1.64p+6") from None


def _parameters(texts: list[str] | None) -> dict[str, float]:
    values: dict[str, float] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise TargetError(f"--param {text}: write NAME=VALUE, such as --param alpha=0.2")
        values[name.strip()] = _number(value, f"--param {name}=")
    return values


@app.command(short_help="Print a stand-alone PyTorch module.")
def eject(
    target: Target,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to a file.")] = None,
    name: Annotated[str, typer.Option(metavar="NAME", help="What to call a formula.")] = "activation",
    param: Parameters = None,
    debug: Debug = False,
) -> None:
    """Print a stand-alone PyTorch module of a target, in a stable form; it does not need actium."""
    with _errors(debug):
        from actium.checking import activation_of

        with _foreign_output():
            text = activation_of(target, _parameters(param), name).eject()
        if output is None:
            typer.echo(text, nl=False)
        else:
            _write(text, output)


@app.command(short_help="Say what is in use and whether it works.")
def doctor(as_json: AsJson = False, debug: Debug = False) -> None:
    """Say which compiler and which path are in use, and why; build and run one kernel."""
    with _errors(debug):
        from actium.report import doctor as report

        diagnosis = report.diagnose()
        if as_json:
            _print_json({"schema": "actium.doctor/1", **diagnosis})
        else:
            _print(lambda width: report.diagnosis_view(diagnosis))
        raise typer.Exit(0 if diagnosis["self_test"]["passed"] else FAILED)


def _print(view: Callable[[int], RenderableType]) -> None:
    from actium.report.terminal import console, show

    out = console()
    show(view(out.width), out)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, allow_nan=False, indent=1))


# --- Helpers of check ---------------------------------------------------------------------------------------


def _resolve(targets: list[str], parameters: dict[str, float]) -> Resolved:
    """Load all targets before judging the first, so that a misspelt one is known at once."""
    from actium.targets import Resolved, resolve

    with _foreign_output():
        parts = [resolve(t, parameters) for t in targets]
    skipped = {target: why for part in parts for target, why in part.skipped.items()}
    return Resolved(tuple(f for part in parts for f in part.found), skipped)


@contextlib.contextmanager
def _foreign_output() -> Iterator[None]:
    """What code under judgement prints goes to stderr: stdout is the report's."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def _certificates(resolved: Resolved, dtypes: list[str], fused: bool) -> Iterator[Certificate]:
    from actium.checking import certificates
    from actium.verify.run import DEFAULT_DTYPES

    with _progress(len(resolved.found)) as step:
        judged = certificates(resolved.found, dtypes or DEFAULT_DTYPES, fused)
        for found in resolved.found:
            step(found.target)
            with _foreign_output():
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

    _print(lambda width: certificate_view(certificate, width))
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


def _write_json(value: Any, to: str) -> None:
    if to == "-":
        _print_json(value)
    else:
        _write(json.dumps(value, allow_nan=False, indent=1) + "\n", Path(to))


def _write(text: str, path: Path) -> None:
    """Write a file whole or not at all: a reader never sees half of it."""
    if not path.parent.is_dir():
        raise TargetError(f"cannot write {path}: there is no directory {path.parent}")
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
