"""The state of the code behind a target, so that results are taken up for the same code only.

Stage: target text or object → [fingerprint] → stores, study keys, journals.
In: where a target is, or the function itself. Out: a digest of relative names and contents, without times and without
paths, so that it is the same on every machine. Nothing is imported to find it out.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

_SOURCES = frozenset({".py", ".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp"})
_OWN = Path(__file__).resolve().parents[1]
_SITES = frozenset({"site-packages", "dist-packages"})
# So many objects are looked at; nobody can tell what a function depends on that holds more.
_MOST = 100_000


@dataclass(frozen=True)
class Root:
    """The files that an import from some file can reach without leaving its project.

    Attributes:
        path: A folder, or a single installed file.
        package: Whether the folder is a package: then all folders in it count, else those with Python files in them.
    """

    path: Path
    package: bool = False


def fingerprint(where: str) -> str:
    """The state of the code in a file (`path/to/file.py`) or module (`package.module`).

    Of a file these are the sources of its folder, of a module in a package those of the package.

    Args:
        where: The part of a target before the colon.

    Returns:
        A digest that is the same on every machine; nothing if there is no such code.

    Example:
        >>> fingerprint("no_such_file.py")
        ''
    """
    root = root_of(where)
    return "" if root is None else digest(root)


def root_of(where: str) -> Root | None:
    """The files that decide what a file or module does; None where only an import hook can find it.

    Args:
        where: `path/to/file.py` or `package.module`.

    Returns:
        Where they are.
    """
    if where.endswith(".py"):
        path = Path(where)
        return root_of_file(path) if path.is_file() else None
    top, _, rest = where.partition(".")
    spec = _spec(top)
    if spec is None:
        return None
    if spec.has_location and spec.origin:
        return root_of_file(Path(spec.origin))
    # Of a package without `__init__` in several places, the one that has the module.
    part = rest.partition(".")[0]
    places = [Path(p) for p in spec.submodule_search_locations or ()]
    having = [p for p in places if part and ((p / part).is_dir() or (p / f"{part}.py").is_file())]
    return next((Root(p.resolve(), package=True) for p in [*having, *places]), None)


def root_of_file(path: Path) -> Root:
    """The outermost package that a file belongs to, else its folder; of an installed module the file alone.

    Args:
        path: A file.

    Returns:
        Where the files are that it can import.
    """
    path = path.resolve()
    folder = path.parent
    if (folder / "__init__.py").is_file():
        while (folder.parent / "__init__.py").is_file():
            folder = folder.parent
        return Root(folder, package=True)
    return Root(path) if is_installed(path) else Root(folder)


def digest(root: Root) -> str:
    """The relative names and the contents of the sources.

    Args:
        root: Where they are.

    Returns:
        16 hexadecimal digits.
    """
    if root.path.is_file():
        return _hash([(root.path.name, root.path)])
    if is_installed(root.path) and root.path != _OWN:
        return _installed_digest(root)
    return _folder_digest(root, _SOURCES)


@functools.cache
def _installed_digest(root: Root) -> str:
    """An installed package is not edited while it is used, and takes seconds: torch has 2,000 files.

    Headers, which it brings by the thousand, do not count.
    """
    return _folder_digest(root, frozenset({".py"}))


def _folder_digest(root: Root, wanted: frozenset[str]) -> str:
    found = _files(root.path, root.package, wanted, set())
    return _hash((p.relative_to(root.path).as_posix(), p) for p in found)


def _spec(top: str) -> ModuleSpec | None:
    importlib.invalidate_caches()
    found = PathFinder.find_spec(top, [str(Path.cwd()), *sys.path])
    if found is None:
        with contextlib.suppress(ImportError, ValueError, AttributeError):  # an import hook may do anything
            found = importlib.util.find_spec(top)
    return found


@functools.cache
def _installed() -> tuple[Path, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({Path(sysconfig.get_path(name)).resolve() for name in names})


def is_installed(path: Path) -> bool:
    """Whether a file or folder belongs to Python or to an installed package.

    Args:
        path: Resolved.

    Returns:
        Whether it does.
    """
    return any(path.is_relative_to(p) for p in _installed()) or bool(_SITES & {*path.parts})


def _files(folder: Path, package: bool, wanted: frozenset[str], seen: set[Path]) -> Iterator[Path]:
    """Sources in a folder and below, in a fixed order.

    A folder that no import statement can name, such as a hidden one, does not count, and neither does a virtual
    environment. Outside packages one without Python files does not count either: a home folder has thousands.
    """
    real = folder.resolve()
    if real in seen:  # a link to a folder above
        return
    seen.add(real)
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.suffix in wanted and entry.is_file() and not entry.name.startswith("."):
            yield entry
        elif entry.name.isidentifier() and entry.is_dir() and not (entry / "pyvenv.cfg").exists():
            if package or any(entry.glob("*.py")):
                yield from _files(entry, package, wanted, seen)


def _hash(files: Iterable[tuple[str, Path]]) -> str:
    whole = hashlib.sha256()
    for name, path in files:
        try:
            content = hashlib.sha256(path.read_bytes()).digest()
        except OSError:
            content = b"unreadable"
        whole.update(name.encode("utf-8", "surrogateescape") + b"\0" + content)
    return whole.hexdigest()[:16]


# --- The code behind an object ------------------------------------------------------------------------------


def fingerprint_of(*values: Any) -> str | None:
    """The state of the code of functions, modules and classes, of what they hold, and of actium itself.

    Torch and the standard library are left out: their versions say it.

    Args:
        *values: Functions, classes or objects.

    Returns:
        A digest; None if some code is in no file, as in an interactive session, so that nobody can tell.
    """
    files: set[Path] = set()
    texts: list[str] = []
    reached = _reached(values)
    if reached is None:
        return None
    for item in reached:
        if isinstance(item, FunctionType):
            found = _file_of_function(item)
        elif isinstance(item, type):
            found = _file_of_class(item)
        else:
            code = _attribute(item, "code")  # of what torch.jit compiled
            texts += [code] if isinstance(code, str) else []
            continue
        if found is None:
            return None
        files.add(found)
    roots = {_OWN: Root(_OWN, package=True)}
    for file in files - {_OWN}:
        root = root_of_file(file)
        roots.setdefault(root.path, root)
    states = sorted(digest(root) for root in roots.values() if not _has_version(root.path))
    return hashlib.sha256("\n".join([*states, *sorted(texts)]).encode()).hexdigest()[:16]


def _has_version(path: Path) -> bool:
    """Whether it is torch, or a file of the standard library."""
    torch = _attribute(sys.modules.get("torch"), "__file__")
    own = torch is not None and path == Path(torch).resolve().parent
    stdlib = Path(sysconfig.get_path("stdlib")).resolve()
    return own or (path.is_relative_to(stdlib) and not _SITES & {*path.parts})


def _reached(values: Iterable[Any]) -> list[Any] | None:
    """What can be called among some values and what they hold; nothing is run for it."""
    waiting, seen, found = list(values), set(), []
    while waiting:
        if len(seen) > _MOST:
            return None
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, (list, tuple, set, frozenset)):
            waiting += item
        elif callable(item):
            found.append(item)
            waiting += _held(item)
    return found


def _held(item: Any) -> list[Any]:
    if isinstance(item, functools.partial):
        return [item.func, item.args, item.keywords]
    if isinstance(item, MethodType):
        return [item.__func__, item.__self__]
    if isinstance(item, FunctionType):
        cells = []
        for cell in item.__closure__ or ():
            with contextlib.suppress(ValueError):  # not filled yet
                cells.append(cell.cell_contents)
        return [*cells, item.__defaults__, item.__kwdefaults__, _attribute(item, "__wrapped__")]
    if isinstance(item, type):
        return [b for b in item.__mro__ if b.__module__ != "builtins"]
    # A method of C code, such as an autograd function's `apply`, has its class in `__self__`.
    return [type(item), _attribute(item, "__self__"), _attribute(item, "__dict__")]


def _attribute(item: Any, name: str) -> Any:
    try:
        return getattr(item, name, None)
    except Exception:  # foreign code: a __getattr__ may do anything
        return None


def _file_of_function(function: FunctionType) -> Path | None:
    name = function.__code__.co_filename
    if name.startswith("<actium "):
        return _OWN  # Made of a formula.
    path = Path(name)
    return path if path.is_file() else _file_of_module(function.__module__)


def _file_of_class(cls: type) -> Path | None:
    functions = (getattr(v, "__func__", v) for v in vars(cls).values())
    names = (f.__code__.co_filename for f in functions if isinstance(f, FunctionType))
    path = next((p for p in map(Path, names) if p.is_file()), None)
    return _file_of_module(cls.__module__) if path is None else path


def _file_of_module(name: str | None) -> Path | None:
    """The file of a module; of what Python was built with, the package's own stands for a version."""
    if name in sys.builtin_module_names:
        return _OWN
    file = _attribute(sys.modules.get(name or ""), "__file__")
    return Path(file) if file and Path(file).is_file() else None
