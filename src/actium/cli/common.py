"""What the commands share: options, errors as one line, and writing.

Stage: arguments → [common] → commands. Loads neither torch nor rich until something has to be shown.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TextIO

import typer

from actium.errors import ActiumError, TargetError
from actium.running.files import write

if TYPE_CHECKING:
    from rich.console import RenderableType

FAILED, UNUSABLE, INTERRUPTED = 1, 2, 130
PLEASE_REPORT = ". --debug shows where; please report it"


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


class _Outliving(io.FileIO):
    def write(self, data: Any) -> int | None:
        try:
            return super().write(data)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            return len(data)


def outlive_reader(stream: TextIO) -> TextIO:
    """Stdout whose reader may leave, as `head` does: the work goes on, its files are written, its exit code stands."""
    try:
        raw = _Outliving(stream.fileno(), "w", closefd=False)
    except (OSError, ValueError):  # there is no file behind it
        return stream
    lines = getattr(stream, "line_buffering", False)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=stream.encoding, errors="replace", line_buffering=lines)


@contextlib.contextmanager
def errors(debug: bool) -> Iterator[None]:
    """Turn what goes wrong into `error: …` on stderr and an exit code."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except ActiumError as error:
        give_up(str(error), debug)
    except OSError as error:
        give_up(f"{error.strerror or error}: {error.filename}" if error.filename else str(error), debug)
    except Exception as error:
        give_up(f"internal: {type(error).__name__}: {error}{PLEASE_REPORT}", debug)


def give_up(message: str, debug: bool) -> NoReturn:
    """Say what is wrong in one line, and end with exit code 2."""
    if debug:
        traceback.print_exc()
    complain(message)
    raise typer.Exit(UNUSABLE)


def complain(message: str) -> None:
    """Say what is wrong in one line, or two."""
    from actium.report.clean import clean

    # Behind the message, a formula or trace error has the line that it is about; the caret below that is dropped.
    first, *rest = [clean(line) for line in message.splitlines() if line.strip(" ^~")] or [""]
    typer.echo("\n".join([f"error: {first}", *(f"  {line.strip()}" for line in rest[:1])]), err=True)


def number(text: str, option: str) -> float:
    """A number given as text, decimal or hex."""
    try:
        return float.fromhex(text) if "0x" in text.lower() else float(text)
    except (ValueError, OverflowError):
        raise TargetError(f"{option} {text}: expected a number, such as -89 or -0x1.64p+6") from None


def parameters(texts: list[str] | None) -> dict[str, float]:
    """The values of `--param NAME=VALUE`."""
    values: dict[str, float] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise TargetError(f"--param {text}: write NAME=VALUE, such as --param alpha=0.2")
        values[name.strip()] = number(value, f"--param {name}=")
    return values


@contextlib.contextmanager
def foreign_output() -> Iterator[None]:
    """What code under judgement prints goes to stderr: stdout is the report's."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def show_view(view: Callable[[int], RenderableType]) -> None:
    """Print what `view` makes for the width of the terminal."""
    from actium.report.terminal import console, show

    out = console()
    show(view(out.width), out)


def print_json(value: Any) -> None:
    """Print strict JSON."""
    typer.echo(json.dumps(value, allow_nan=False, indent=1))


def check_folders(json_to: str | None, *files: Path | None, out: Path | None = None) -> None:
    """Say before the work, not after it, that there is nowhere to write.

    Args:
        json_to: What `--json` says: a file, or `-`.
        files: Other files that will be written.
        out: A folder that will be made, with those above it.

    Raises:
        TargetError: If the directory of a file does not exist or cannot be written, or the file is a directory.
    """
    made = () if out is None else (out.absolute(), *out.absolute().parents)
    for path in (None if json_to in (None, "-") else Path(json_to), *files):
        if path is None or (path.absolute().parent in made and not path.parent.exists()):
            continue
        if not path.parent.is_dir():
            raise TargetError(f"cannot write {path}: there is no directory {path.parent}")
        if path.is_dir():
            raise TargetError(f"cannot write {path}: it is a directory")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise TargetError(f"cannot write {path}: no permission to write in {path.parent}")


def write_json(value: Any, to: str) -> None:
    """Write strict JSON to a file, or to stdout for `-`."""
    if to == "-":
        print_json(value)
    else:
        write(json.dumps(value, allow_nan=False, indent=1) + "\n", Path(to))
