"""What a `*` stands for.

Stage: module → [names] → a target each.
In: an imported module. Out: the public names in it that may be activations, found without constructing or calling
anything, so that each can be judged by itself; and the modules inside a package that shows nothing itself.
"""

from __future__ import annotations

import functools
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import nn

from actium.define import Activation
from actium.targets.guessing import POSITIONAL
from actium.targets.importing import load

_TENSORS = ("Tensor", "Any", "object", "TypeVar", "_T", "~", "ArrayLike")


@dataclass(frozen=True)
class Members:
    """The content of a file, module or package.

    Attributes:
        targets: A target text for each name, in the order of the source.
        skipped: Target → reason, for public names that cannot be activations.
        places: Modules to look into as well: those of a package whose `__init__` shows nothing.
    """

    targets: tuple[str, ...]
    skipped: dict[str, str] = field(default_factory=dict)
    places: tuple[str, ...] = ()


def members_of(place: str) -> Members:
    """Names in a file (`path.py`) or module that may be activations.

    Raises:
        TargetError: If it cannot be imported.

    Example:
        >>> members_of("torch.nn.modules.activation").targets[:2]
        ('torch.nn.modules.activation:Threshold', 'torch.nn.modules.activation:ReLU')
    """
    module = load(place)
    targets, skipped = [], {}
    for name, value in _candidates(module):
        reason = _unsuitable(value)
        if reason is None:
            targets.append(f"{place}:{name}")
        else:
            skipped[f"{place}:{name}"] = reason
    inside = _submodules(module) if not targets and not skipped else ()
    return Members(tuple(targets), skipped, inside)


def _submodules(module: ModuleType) -> tuple[str, ...]:
    paths = getattr(module, "__path__", None)
    if paths is None:
        return ()
    names = sorted(m.name for m in pkgutil.iter_modules(paths))
    return tuple(f"{module.__name__}.{n}" for n in names if not n.startswith("_"))


def _candidates(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Public classes, functions and callable objects that the module defines, re-exports or lists in `__all__`."""
    listed = getattr(module, "__all__", None)
    names = vars(module) if listed is None else dict.fromkeys(n for n in listed if isinstance(n, str))
    seen: set[int] = set()
    for name in list(names):
        value = getattr(module, name, None)
        if name.startswith("_") or id(value) in seen or not _is_callable_kind(value):
            continue
        if listed is not None or _is_own(value, module):
            seen.add(id(value))
            yield name, value


def _is_callable_kind(value: Any) -> bool:
    if isinstance(value, type):
        return issubclass(value, nn.Module | torch.autograd.Function)
    # The names of types can be called, too: a NewType gives back what it gets.
    return callable(value) and type(value).__module__ not in ("typing", "typing_extensions", "types")


def _is_own(value: Any, module: ModuleType) -> bool:
    """Whether a value comes from the module, or from inside the package that the module is."""
    if isinstance(value, nn.Module | Activation):
        return True
    while isinstance(value, functools.partial):
        value = value.func
    # An object is the module's if its class is, or if it stands for a function of it, as `update_wrapper` leaves it.
    stands = isinstance(value, type | torch.jit.ScriptFunction) or inspect.isroutine(value) or _wraps(value)
    home = getattr(value if stands else type(value), "__module__", None)
    if home is None and isinstance(value, torch.jit.ScriptFunction):
        return True  # A compiled function does not know where it comes from.
    return home == module.__name__ or (hasattr(module, "__path__") and str(home).startswith(f"{module.__name__}."))


def _wraps(value: Any) -> bool:
    try:
        return "__wrapped__" in vars(value)
    except Exception:  # no `__dict__`, or foreign code that answers for it
        return False


def _unsuitable(value: Any) -> str | None:
    """Why a name cannot be an activation, as far as can be told without running it."""
    if isinstance(value, type):
        if issubclass(value, nn.Module) and value.forward is nn.Module.forward:
            return "has no forward of its own"
        return "is abstract" if inspect.isabstract(value) else None
    if isinstance(value, nn.Module | Activation | torch.jit.ScriptFunction):
        return None
    return _takes_no_tensor(value)


def _takes_no_tensor(function: Callable[..., Any]) -> str | None:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except Exception:  # written in C, or foreign code that answers for its own signature: nothing is known
        return None
    takes = [p for p in parameters if p.kind in (*POSITIONAL, inspect.Parameter.VAR_POSITIONAL)]
    if not takes:
        return "takes no argument, so it is no function of a tensor"
    annotation = takes[0].annotation
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    if annotation is not inspect.Parameter.empty and not any(word in text for word in _TENSORS):
        return f"takes {text[:80]}, not a tensor"
    return None
