"""A function of one tensor, made of whatever a name stands for.

Stage: object and arguments → [found] → subject.
In: a class, function, module or `Activation`, and literals for its arguments. Out: something that can be called with a
tensor, with notes on how it was made, or a `TargetError` that says what it needs. Arguments are never evaluated.
"""

from __future__ import annotations

import ast
import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from actium.define import Activation
from actium.errors import ActiumError, TargetError
from actium.symbolic.graph import Formula
from actium.targets.guessing import POSITIONAL, guesses
from actium.verify.subject import Construction, Runner, Subject, SubjectError, guarded


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
class Arguments:
    """The arguments in a target's text.

    Attributes:
        args: By position.
        kwargs: By name.
        written: Whether the text has parentheses at all.
        guess: Whether arguments that are needed may be guessed, if the text has none.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    written: bool = False
    guess: bool = False

    def __str__(self) -> str:
        return ", ".join([*map(repr, self.args), *(f"{k}={v!r}" for k, v in self.kwargs.items())]) or "no arguments"


def literals(target: str, text: str | None, guess: bool = False) -> Arguments:
    """Arguments of a call, such as `(0.2, inplace=True)`, or None for a name alone.

    Raises:
        TargetError: If they are not literals.
    """
    if text is None:
        return Arguments(guess=guess)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as "invalid decimal literal" for `1if x else 2`
            call = ast.parse(f"f{text}", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise ValueError("not one call")
        kwargs = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords if k.arg is not None}
        if len(kwargs) < len(call.keywords):
            raise ValueError("** is not a literal")
        made = Arguments(tuple(ast.literal_eval(a) for a in call.args), kwargs, written=True)
        str(made)  # Python writes no integer of more than 4300 digits, and the notes show the arguments.
        return made
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise TargetError(
            f"{target}: arguments must be literals, such as (0.2), (alpha=0.2) or (inplace=True); got {text}"
        ) from error


def instance(value: Any, target: str, given: Arguments) -> Found:
    """A callable of one tensor, and notes on how it was made.

    Raises:
        TargetError: If the value is no such thing, or needs other arguments.
    """
    if isinstance(value, type):
        return _of_class(value, target, given)
    if isinstance(value, Activation):
        return with_arguments(value, target, given) if given.written else Found(target, value)
    if isinstance(value, nn.Module):
        if given.written:
            raise TargetError(f"{target} is an instance already: leave out the arguments")
        return Found(target, value)
    if not callable(value):
        raise TargetError(f"{target} is of type {type(value).__name__}; expected a function or an nn.Module")
    return _of_function(value, target, given)


def with_arguments(activation: Activation, target: str, given: Arguments) -> Found:
    """The module of an activation with other values of its parameters.

    Raises:
        TargetError: If it has no such parameter.
    """
    names = (p.name for p in activation.parameters)
    try:
        made = activation.module(**dict(zip(names, given.args, strict=False)), **given.kwargs)
    except (ActiumError, TypeError) as error:
        raise TargetError(f"{target}: {error}") from error
    return Found(target, made, (f"with {given}",))


def _of_function(function: Callable[..., Any], target: str, given: Arguments) -> Found:
    needed = _missing(function, given.kwargs, skip=1 + len(given.args))
    if needed and given.guess and not given.written:
        return _guessed(needed, target, functools.partial(_call_with, function, target))
    if given.args or needed:
        names = [p.name for p in needed]
        shown = ", ".join(f"{name}=0.5" for name in names) or "alpha=0.5"
        what = f"needs {', '.join(names)} besides its input" if names else "is a function: arguments go by name"
        raise TargetError(f"{target} {what}: write {target.partition('(')[0]}({shown})")
    return _call_with(function, target, given.kwargs) if given.kwargs else Found(target, function)


def _call_with(function: Callable[..., Any], target: str, kwargs: Mapping[str, Any]) -> Found:
    return Found(target, functools.partial(function, **kwargs), (f"called with {Arguments(kwargs=kwargs)}",))


def _of_class(cls: type, target: str, given: Arguments) -> Found:
    if issubclass(cls, torch.autograd.Function):
        return _of_autograd_function(cls, target, given)
    if not issubclass(cls, nn.Module):
        raise TargetError(f"{target} is a class that is neither an nn.Module nor an autograd.Function")
    needed = _missing(cls, given.kwargs, skip=len(given.args))
    if needed and given.guess and not given.written:
        return _guessed(needed, target, lambda kwargs: _construct(cls, target, Arguments(kwargs=kwargs), tuple(kwargs)))
    if needed:
        names = [p.name for p in needed]
        example = f"{target.partition('(')[0]}({', '.join(f'{name}=…' for name in names)})"
        raise TargetError(f"{target} needs arguments: {', '.join(names)}. Give them as literals: {example}")
    return _construct(cls, target, given)


def _of_autograd_function(cls: type[torch.autograd.Function], target: str, given: Arguments) -> Found:
    """`apply` takes its arguments by position only, so what is needed besides ctx and x is given in order."""
    note = "an autograd.Function, called through .apply"
    separate = cls.setup_context is not torch.autograd.Function.setup_context  # Then forward takes no ctx.
    needed = _missing(cls.forward, {}, skip=(1 if separate else 2) + len(given.args))
    if given.kwargs or (needed and (given.written or not given.guess)):
        names = ", ".join(p.name for p in needed)
        raise TargetError(
            f"{target} is an autograd.Function: its arguments go by position{names and f'; needs {names}'}"
        )

    def made(kwargs: Mapping[str, Any]) -> Found:
        extra = (*given.args, *kwargs.values())
        notes = (note, f"called with {Arguments(kwargs=kwargs) if kwargs else Arguments(given.args)}")
        return Found(target, lambda x: cls.apply(x, *extra), notes)

    if needed:
        return _guessed(needed, target, made)
    return made({}) if given.args else Found(target, cls.apply, (note,))


def _construct(cls: type[nn.Module], target: str, given: Arguments, guessed: tuple[str, ...] = ()) -> Found:
    try:
        with guarded():
            made = cls(*given.args, **given.kwargs)
    except SubjectError as error:
        raise TargetError(f"{target} raises when constructed: {error}") from error
    if "_modules" not in vars(made):
        raise TargetError(f"{target} does not call super().__init__(), so it is no working nn.Module")
    notes = (f"constructed with {given}",) if given.args or given.kwargs else ()
    return Found(target, made, notes, construction=Construction(cls, given.args, given.kwargs, guessed))


def _guessed(needed: list[inspect.Parameter], target: str, make: Callable[[Mapping[str, Any]], Found]) -> Found:
    """The first guess that gives something which can be called with a tensor, else the first that can be made."""
    names = ", ".join(p.name for p in needed)
    usable, refusal = None, None
    for kwargs in guesses(needed, target):
        try:
            found = make(kwargs)
        except TargetError as error:
            refusal = refusal or str(error).removeprefix(f"{target} ")
            continue
        note = (*found.notes[:-1], f"{found.notes[-1]}: guessed, since it needs {names}")
        found = Found(target, found.value, note, construction=found.construction)
        usable = usable or found
        module = found.value if isinstance(found.value, nn.Module) else None
        call: Any = found.value
        if Runner(Subject(target, call, module=module)).find_layout() is None:
            return found
    if usable is None:
        example = ", ".join(f"{p.name}=…" for p in needed)
        raise TargetError(f"{target} needs arguments: {names}. Give them as literals: {target}({example}) ({refusal})")
    return usable


def _missing(function: Callable[..., Any], given: Mapping[str, Any], skip: int) -> list[inspect.Parameter]:
    """The arguments without default that are not given, after the first `skip` positional ones."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (ValueError, TypeError):  # written in C: nothing is known
        return []
    positional = [p for p in parameters if p.kind in POSITIONAL][skip:]
    others = [p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    return [p for p in (*positional, *others) if p.default is inspect.Parameter.empty and p.name not in given]
