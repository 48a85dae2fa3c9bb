"""Modules from whatever names an activation, and which modules of a model are activations.

Stage: activation, class, module or name → [making] → swap, layers, monitor, init.
In: what a user hands over. Out: a fresh `nn.Module`. Changes no model.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

import actium.nn
from actium.catalogue import ENTRIES, find, get
from actium.catalogue.build import CatalogueActivation
from actium.catalogue.entry import Entry
from actium.define import Activation
from actium.errors import ParameterError
from actium.module import ActivationModule

Spec = str | Activation | nn.Module | type[nn.Module] | Callable[[], nn.Module]

# Names given by `actium.register`, with what they stand for.
REGISTERED: dict[str, Spec] = {}


@functools.cache
def torch_classes() -> dict[type[nn.Module], Entry]:
    """The activation classes of `torch.nn` and the entries that equal them."""
    return {getattr(nn, e.class_name): e for e in ENTRIES.values() if e.torch_name}


# Modules of other libraries whose files hold nothing but activations.
_ACTIVATION_FILES = ("transformers.activations", "timm.layers.activations", "timm.layers.activations_me")


def is_activation(module: nn.Module, types: tuple[type[nn.Module], ...] = ()) -> bool:
    """Whether a module is an activation: ours, one of `torch.nn`, transformers or timm, or one of `types`."""
    if isinstance(module, (ActivationModule, actium.nn.AdaptiveMixture, *types)):
        return True
    return type(module) in torch_classes() or type(module).__module__ in _ACTIVATION_FILES


def named_activations(model: nn.Module, types: tuple[type[nn.Module], ...] = ()) -> Iterator[tuple[str, nn.Module]]:
    """(name, module) of each activation of a model, shared ones once, not those inside another activation."""
    inside: set[int] = set()
    for name, module in model.named_modules():
        if id(module) not in inside and is_activation(module, types):
            inside.update(id(m) for m in module.modules())
            yield clean(name), module


def clean(name: str) -> str:
    """A module's path without what `torch.compile` puts into it."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def is_compiled(module: nn.Module) -> bool:
    """Whether `torch.compile` runs this module."""
    return hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None


def maker(spec: Spec) -> Callable[..., nn.Module]:
    """What makes fresh modules of an activation; a class or a function of keyword arguments.

    Raises:
        ParameterError: If it is none of the things that name an activation.
        TargetError: If the catalogue has no such name.
    """
    if isinstance(spec, str):
        registered = REGISTERED.get(spec)
        return maker(registered) if registered is not None else getattr(actium.nn, get(spec).class_name)
    if isinstance(spec, CatalogueActivation):
        known = find(spec.entry.name)
        if known is spec.entry:
            return getattr(actium.nn, spec.entry.class_name)
    if isinstance(spec, Activation):
        return spec.module
    if isinstance(spec, nn.Module):
        return lambda: copy.deepcopy(spec)
    if isinstance(spec, type) and issubclass(spec, nn.Module):
        return spec
    if callable(spec):
        _refuse_function_of_tensors(spec)
        return spec
    raise ParameterError(f"{spec!r} is no activation: {_EXPECTED}")


_EXPECTED = (
    "expected an activation (actium.mish), a name of the catalogue, an nn.Module, its class, or a function without "
    "arguments that makes one"
)


def _refuse_function_of_tensors(function: Callable[..., Any]) -> None:
    arguments = _positional(function)
    if arguments is None or any(a.kind is not a.VAR_POSITIONAL and a.default is a.empty for a in arguments):
        name = getattr(function, "__name__", repr(function))
        raise ParameterError(f"{name} is a function of tensors: make it an activation first, actium.activation({name})")


def _positional(function: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """What a function takes by position; None if it is written in C, such as torch.tanh, and does not say."""
    try:
        arguments = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        return None
    return [a for a in arguments if a.kind not in (a.KEYWORD_ONLY, a.VAR_KEYWORD)]


def makes_modules(spec: Any) -> bool:
    """Whether it is a function that makes modules, and not one of tensors; `lambda *args: …` may be one of tensors."""
    if isinstance(spec, str | type | nn.Module | Activation) or not callable(spec):
        return False
    arguments = _positional(spec)
    return arguments is not None and all(a.default is not a.empty for a in arguments)


def make(spec: Spec, **arguments: Any) -> nn.Module:
    """A fresh module, with those of the arguments that its constructor takes.

    Raises:
        ParameterError: If what was made is not a module.

    Example:
        >>> make("leaky_relu", negative_slope=0.2, inplace=True)
        LeakyReLU(negative_slope=0.2, inplace=True)
    """
    build = maker(spec)
    module = build(**{k: v for k, v in arguments.items() if k in accepted(build)})
    if not isinstance(module, nn.Module):
        raise ParameterError(f"{spec!r} made a {type(module).__name__}, expected an nn.Module")
    return module


def accepted(build: Callable[..., nn.Module]) -> frozenset[str]:
    """Names of a constructor's arguments."""
    try:
        return frozenset(inspect.signature(build).parameters)
    except (ValueError, TypeError):
        return frozenset()


def function_of(spec: Spec) -> Callable[[Tensor], Tensor]:
    """The function of tensors that stands for an activation with its parameters at their defaults.

    Raises:
        ParameterError: If it has parameters to train, which a function has no place for.
    """
    if isinstance(spec, Activation):
        learned = [p.name for p in spec.parameters if p.learnable]
        made: Callable[[Tensor], Tensor] = spec
    else:
        made = make(spec)
        learned = [name for name, _ in made.named_parameters()]
    if learned:
        raise ParameterError(
            f"{name_of(spec)} has parameters to train ({', '.join(learned)}), and a call of a function has no place to "
            "keep them"
        )
    return made


def name_of(spec: Any) -> str:
    """What to call an activation in messages."""
    return str(getattr(spec, "__name__", None) or (spec if isinstance(spec, str) else type(spec).__name__))
