"""Files and modules, imported without a trace in the path or in other people's folders.

Stage: target text → [module] → object.
In: a path of a file, or a dotted name. Out: the module, or a `TargetError` with what it raised and where.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from actium.errors import TargetError
from actium.verify.subject import one_line


def load(place: str) -> ModuleType:
    """Import a file (`path/to/file.py`) or a module (`package.module`).

    Raises:
        TargetError: If there is no such thing, or it raises.
    """
    return _file(place) if place.endswith(".py") else _module(place)


def did_you_mean(name: str, candidates: list[str]) -> str:
    """`; did you mean …?`, or nothing."""
    near = difflib.get_close_matches(name, candidates, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""


@contextlib.contextmanager
def _importing(folder: Path) -> Iterator[None]:
    """The folder first on the path, and no `__pycache__` left in other people's folders."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.dont_write_bytecode = before
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))


def _file(text: str) -> ModuleType:
    path = Path(text)
    if not path.is_file():
        near = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise TargetError(f"no such file: {text}{did_you_mean(path.name, near)}")
    # A file called torch.py must not replace torch for everybody else.
    name = path.stem if path.stem not in sys.modules and path.stem.isidentifier() else f"{path.stem}_target"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _importing(path.resolve().parent):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise TargetError(f"{text} raises on import: {one_line(error)}{_line_in(error, path.resolve())}") from error
    return module


def _line_in(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError):
        return ""  # its text names the line
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == path]
    return f" (line {lines[-1]})" if lines else ""


def _module(name: str) -> ModuleType:
    try:
        with _importing(Path.cwd()):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise TargetError(
                f"no module named {error.name!r} here or among the installed packages; "
                "a file is named by its path: path/to/file.py:NAME"
            ) from error
        raise TargetError(f"{name} raises on import: {one_line(error)}") from error
    except (Exception, SystemExit) as error:
        raise TargetError(f"{name} raises on import: {one_line(error)}") from error
