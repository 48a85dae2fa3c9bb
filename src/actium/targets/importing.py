"""Files and modules, imported without a trace in the path or in other people's folders.

Stage: target text → [module] → object.
In: a path of a file, or a dotted name. Out: the module, or a `TargetError` with what it raised and where.
"""

from __future__ import annotations

import ast
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
from actium.targets.fingerprint import is_installed
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
    _refuse_mixture(text, path.resolve())
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
        reason = f"{one_line(error)}{_line_in(error, path.resolve())}{_in_package(error, path.resolve())}"
        raise TargetError(f"{text} raises on import: {reason}") from error
    return module


def _in_package(error: BaseException, path: Path) -> str:
    """What to write instead for a file of a package that imports from its neighbours."""
    if "relative import" not in str(error):
        return ""
    names, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    return f"; it belongs to a package: name it {'.'.join(names)}:NAME, from the folder {folder}" if names[1:] else ""


def _line_in(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError):
        return ""  # its text names the line
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == path]
    return f" (line {lines[-1]})" if lines else ""


def _module(name: str) -> ModuleType:
    top = name.partition(".")[0]
    if _is_elsewhere(top, Path.cwd()):
        raise TargetError(_mixed(name, top, Path.cwd()))
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


# --- Two folders with modules of one name --------------------------------------------------------------------


def _refuse_mixture(text: str, path: Path) -> None:
    """Refuse a file that would get another folder's module in the place of the one beside it.

    Python keeps a module under its name for the whole process. To take it away instead would break what finds it by
    name later: pickle, torch.compile, and imports inside functions.
    """
    taken = {name for name in [*sys.modules] if "." not in name and _is_elsewhere(name, path.parent)}
    if taken and (mixed := sorted(taken & _imported_beside(path))):
        raise TargetError(_mixed(text, mixed[0], path.parent))


def _mixed(text: str, name: str, folder: Path) -> str:
    loaded = sys.modules[name]
    place = getattr(loaded, "__file__", None) or next(iter(getattr(loaded, "__path__", ())), "elsewhere")
    return (
        f"{text} needs the module {name!r} of {folder}, but in this process that name is taken by {place}, and Python "
        "keeps one module of a name: use the two in separate commands, or rename one of the modules"
    )


def _is_elsewhere(name: str, folder: Path) -> bool:
    """Whether a folder has a module whose name is taken by another one, which is neither Python's nor installed."""
    loaded = sys.modules.get(name)
    beside = [] if loaded is None else _sources(folder, name)
    if not beside:
        return False
    file = getattr(loaded, "__file__", None)
    places = [Path(p).absolute() for p in ([file] if file else getattr(loaded, "__path__", ()))]
    package = folder.resolve() / name
    if any(p == package.with_name(f"{name}.py") or p.is_relative_to(package) for p in places):
        return False
    real, same = [p.resolve() for p in places], {p.resolve() for p in beside}  # both may link to one file
    return bool(real) and not any(p in same or is_installed(p) for p in real)


def _sources(folder: Path, name: str) -> list[Path]:
    """The files of a module or package in a folder; none if it is not there."""
    package, file = folder / name, folder / f"{name}.py"
    if package.is_dir() and (inside := sorted(package.rglob("*.py"))):
        return inside
    return [file] if file.is_file() else []


def _imported_beside(path: Path) -> set[str]:
    """Names of the modules in a file's folder that it imports, at once or later, itself or through one of them."""
    found: set[str] = set()
    waiting = [path]
    while waiting:
        for name in _imports(waiting.pop()) - found:
            sources = _sources(path.parent, name)
            if sources:
                found.add(name)
                waiting += sources
    return found


def _imports(path: Path) -> set[str]:
    """The first part of each module name in the import statements of a file, and in calls such as `import_module`."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return set()  # The import will say so.
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.append(node.module or "")
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
            names += [str(node.args[0].value)] if function in ("import_module", "__import__") else []
    return {name.partition(".")[0] for name in names}
