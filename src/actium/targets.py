"""What a target string names: a formula, a catalogue entry, or a function or module in somebody's code.

Stage: [target text] → object → subject → verify.
In: `x * sigmoid(x)`, `mish`, `path.py:Name(alpha=0.2)`, `package.module:*`. Out: the objects, and what of a `*` was
skipped, with the reason. Code in the named file is imported, so it is trusted; of the target's own text nothing is
ever evaluated: arguments are literals.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import functools
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from actium.define import Activation
from actium.errors import ActiumError, FormulaError, TargetError
from actium.symbolic.graph import Formula
from actium.symbolic.parse import parse
from actium.verify.subject import Construction, SubjectError, guarded, one_line

_FILE = re.compile(r"(?P<place>.+?\.py):(?P<name>.*)", re.DOTALL)
_MODULE = re.compile(r"(?P<place>[^\W\d]\w*(\.[^\W\d]\w*)*):(?P<name>.*)", re.DOTALL)
_NAME = re.compile(r"(?P<name>[^\W\d]\w*(\.[^\W\d]\w*)*)\s*(?P<arguments>\(.*\))?", re.DOTALL)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class Found:
    """One thing that a target names.

    Attributes:
        target: What to call it, such that `resolve` finds it again.
        value: A formula (as written), an `Activation`, a module or a function of one tensor.
        notes: How it was made.
        values: Numbers for a formula's parameters.
        construction: How a module was made of its class.
        claims: Properties that its author or the caller declares: name → value.
    """

    target: str
    value: Formula | Activation | nn.Module | Callable[[Tensor], Tensor]
    notes: tuple[str, ...] = ()
    values: Mapping[str, float] = field(default_factory=dict)
    construction: Construction | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Resolved:
    """Everything that a target names.

    Attributes:
        found: In the order of the source.
        skipped: Target → reason, for what a `*` met and left out.
    """

    found: tuple[Found, ...]
    skipped: dict[str, str] = field(default_factory=dict)


def resolve(text: str, parameters: Mapping[str, float] | None = None) -> Resolved:
    """Find what a target names.

    Args:
        text: A formula in `x`; a catalogue name; `path.py:Name`, `package.module:Name` or `…:Name(alpha=0.2)` with
            literals as arguments; `path.py:*` or `package.module:*`.
        parameters: Names that a formula may use besides `x`, with their values. Other targets take none.

    Returns:
        One object, or several for `*`.

    Raises:
        TargetError: If there is no such thing, it raises on import, or needs arguments.
        FormulaError: If the text can only be a formula, and is none.

    Example:
        >>> resolve("torch.nn:LeakyReLU(0.2)").found[0].value
        LeakyReLU(negative_slope=0.2)
    """
    target = text.strip()
    place = None if parameters else _FILE.fullmatch(target) or _MODULE.fullmatch(target)
    if place is not None:
        module = _import_file(place["place"]) if place["place"].endswith(".py") else _import_module(place["place"])
        if place["name"].strip() == "*":
            return _everything(module, place["place"])
        return Resolved((_named(module, place["place"], place["name"]),))
    if _is_path(target):
        raise TargetError(f"{target} is a file: write {target}:NAME for one activation in it, {target}:* for all")
    found = None if parameters else _catalogue_entry(target)
    return Resolved((found or Found(target, _formula(target, parameters or {}), values=dict(parameters or {})),))


def _formula(target: str, parameters: Mapping[str, float]) -> Formula:
    from actium import catalogue

    try:
        return parse(target, parameters=parameters)
    except FormulaError as error:
        if _NAME.fullmatch(target) and "(" not in target:
            catalogue.get(target)  # says which names are near
        if ":" in target:
            first = str(error).splitlines()[0]
            raise TargetError(f"{first}; if it names code, write path/to/file.py:NAME or package:NAME") from error
        raise


def _is_path(target: str) -> bool:
    return target.endswith(".py") or (Path(target).suffix == ".py" and Path(target).exists())


# --- The catalogue ----------------------------------------------------------------------------------------


def _catalogue_entry(target: str) -> Found | None:
    from actium import catalogue

    match = _NAME.fullmatch(target)
    entry = None if match is None else catalogue.find(match["name"])
    if match is None or entry is None:
        return None
    if match["arguments"] is None:
        return Found(target, entry.activation())
    try:
        args, kwargs = _literals(target, match["arguments"])
    except TargetError:
        return None  # mish(2 * x) is a formula
    return _with_arguments(entry.activation(), target, args, kwargs)


# --- Importing --------------------------------------------------------------------------------------------


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


def _import_file(text: str) -> ModuleType:
    path = Path(text)
    if not path.is_file():
        near = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise TargetError(f"no such file: {text}{_did_you_mean(path.name, near)}")
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


def _import_module(name: str) -> ModuleType:
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


# --- One name ---------------------------------------------------------------------------------------------


def _did_you_mean(name: str, candidates: list[str]) -> str:
    near = difflib.get_close_matches(name, candidates, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _named(module: ModuleType, place: str, text: str) -> Found:
    match = _NAME.fullmatch(text.strip())
    target = f"{place}:{text.strip()}".removesuffix(":")
    if match is None:
        raise TargetError(f"{target}: after a colon comes a name, NAME or NAME(argument=0.2), or * for all")
    value: Any = module
    for part in match["name"].split("."):
        if not hasattr(value, part):
            names = [n for n, v in vars(value).items() if callable(v) and not n.startswith("_")]
            hint = _did_you_mean(part, names) or f"; {place}:* is every activation in it"
            raise TargetError(f"{place} has no {match['name']}{hint}")
        value = getattr(value, part)
    args, kwargs = _literals(target, match["arguments"]) if match["arguments"] is not None else ((), {})
    return _instance(value, target, args, kwargs, called=match["arguments"] is not None)


def _literals(target: str, arguments: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of a call, without evaluating anything."""
    try:
        call = ast.parse(f"f{arguments}", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise ValueError("not one call")
        kwargs = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords if k.arg is not None}
        if len(kwargs) < len(call.keywords):
            raise ValueError("** is not a literal")
        return tuple(ast.literal_eval(a) for a in call.args), kwargs
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise TargetError(
            f"{target}: arguments must be literals, such as (0.2), (alpha=0.2) or (inplace=True); got {arguments}"
        ) from error


def _instance(value: Any, target: str, args: Any, kwargs: Any, called: bool) -> Found:
    """A callable of one tensor, made of whatever the name stands for, and notes on how."""
    if isinstance(value, type):
        return _constructed(value, target, args, kwargs)
    if isinstance(value, Activation):
        return _with_arguments(value, target, args, kwargs) if called else Found(target, value)
    if isinstance(value, nn.Module):
        if called:
            raise TargetError(f"{target} is an instance already: leave out the arguments")
        return Found(target, value)
    if not callable(value):
        raise TargetError(f"{target} is of type {type(value).__name__}; expected a function or an nn.Module")
    needed = _missing(value, kwargs, skip=1 + len(args))
    if args or needed:
        shown = ", ".join(f"{name}=0.5" for name in needed) or "alpha=0.5"
        what = f"needs {', '.join(needed)} besides its input" if needed else "is a function: arguments go by name"
        raise TargetError(f"{target} {what}: write {target.partition('(')[0]}({shown})")
    function: Any = functools.partial(value, **kwargs) if kwargs else value
    return Found(target, function, (f"called with {_shown(args, kwargs)}",) if kwargs else ())


def _constructed(cls: type, target: str, args: Any, kwargs: Any) -> Found:
    if issubclass(cls, torch.autograd.Function):
        return Found(target, cls.apply, ("an autograd.Function, called through .apply",))
    if not issubclass(cls, nn.Module):
        raise TargetError(f"{target} is a class that is neither an nn.Module nor an autograd.Function")
    needed = _missing(cls, kwargs, skip=len(args))
    if needed:
        example = f"{target.partition('(')[0]}({', '.join(f'{name}=…' for name in needed)})"
        raise TargetError(f"{target} needs arguments: {', '.join(needed)}. Give them as literals: {example}")
    try:
        with guarded():
            made = cls(*args, **kwargs)
    except SubjectError as error:
        raise TargetError(f"{target} raises when constructed: {error}") from error
    notes = (f"constructed with {_shown(args, kwargs)}",) if args or kwargs else ()
    return Found(target, made, notes, construction=Construction(cls, tuple(args), kwargs))


def _with_arguments(activation: Activation, target: str, args: Any, kwargs: Any) -> Found:
    try:
        made = activation.module(**dict(zip((p.name for p in activation.parameters), args, strict=False)), **kwargs)
    except (ActiumError, TypeError) as error:
        raise TargetError(f"{target}: {error}") from error
    return Found(target, made, (f"with {_shown(args, kwargs)}",))


def _shown(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    return ", ".join([*map(repr, args), *(f"{k}={v!r}" for k, v in kwargs.items())]) or "no arguments"


def _missing(function: Callable[..., Any], given: dict[str, Any], skip: int) -> list[str]:
    """Names of the arguments without default that are not given, after the first `skip` positional ones."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (ValueError, TypeError):  # written in C: nothing is known
        return []
    positional = [p for p in parameters if p.kind in _POSITIONAL][skip:]
    others = [p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    return [p.name for p in (*positional, *others) if p.default is inspect.Parameter.empty and p.name not in given]


# --- All names --------------------------------------------------------------------------------------------


def _everything(module: ModuleType, place: str) -> Resolved:
    found, skipped = [], {}
    for name, value in _candidates(module):
        target = f"{place}:{name}"
        try:
            if not isinstance(value, type | nn.Module | Activation) and not _takes_input(value):
                raise TargetError("takes no argument, so it is no function of a tensor")
            made = _instance(value, target, (), {}, called=False)
            obstacle = _obstacle(made.value)
        except TargetError as error:
            skipped[target] = str(error).removeprefix(f"{target} ")
            continue
        if obstacle is None:
            found.append(made)
        else:
            skipped[target] = obstacle
    if not found:
        reasons = "".join(f"; {t.rpartition(':')[2]}: {why}" for t, why in list(skipped.items())[:3])
        raise TargetError(f"{place} has no activation that can be checked{reasons}")
    return Resolved(tuple(found), skipped)


def _candidates(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Public classes, functions, modules and activations that the module defines (or lists in `__all__`)."""
    listed = set(getattr(module, "__all__", ()))
    for name, value in vars(module).items():
        own = getattr(value, "__module__", None) == module.__name__ or isinstance(value, nn.Module | Activation)
        if name.startswith("_") or not (name in listed if listed else own):
            continue
        is_class = isinstance(value, type) and issubclass(value, nn.Module | torch.autograd.Function)
        if is_class or isinstance(value, nn.Module | Activation) or inspect.isroutine(value):
            yield name, value


def _takes_input(function: Callable[..., Any]) -> bool:
    try:
        kinds = [p.kind for p in inspect.signature(function).parameters.values()]
    except (ValueError, TypeError):
        return True
    return any(k in (*_POSITIONAL, inspect.Parameter.VAR_POSITIONAL) for k in kinds)


def _obstacle(value: Any) -> str | None:
    """Why a callable is no activation: it runs on no usual shape, changes the shape, or mixes elements."""
    first = None
    training = value.training if isinstance(value, nn.Module) else False
    if isinstance(value, nn.Module):
        value.eval()
    try:
        for shape in ((96,), (12, 8), (2, 8, 3, 2)):
            x = torch.linspace(-4.0, 4.0, 96).reshape(shape)
            try:
                with guarded():
                    output = value(x.clone())
            except SubjectError as error:
                first = first or f"cannot be run on a tensor of shape {shape}: {error}"
                continue
            if isinstance(output, Tensor) and output.shape == shape:
                alone = _is_independent(value, x, output)
                return None if alone else "not elementwise: an element's output depends on others (check it by name)"
            what = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
            first = first or f"not elementwise: gives {what} for an input of shape {shape}"
    finally:
        if isinstance(value, nn.Module):
            value.train(training)
    return first


def _is_independent(function: Callable[[Tensor], Tensor], x: Tensor, output: Tensor) -> bool:
    """Whether half of the input gives half of the output; random functions count as independent."""
    half = x.shape[0] // 2
    try:
        with guarded():
            part, whole = function(x[:half].clone()), function(x.clone())
    except SubjectError:
        return True
    same = part.shape == output[:half].shape and torch.allclose(part, output[:half], 1e-3, 1e-4, equal_nan=True)
    return same or not torch.allclose(whole, output, 1e-3, 1e-4, equal_nan=True)
