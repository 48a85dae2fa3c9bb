"""What a target is compared with.

Stage: target text → [cases] → cells. In: a target as `actium check` takes it, other callables. Out: a `Case`: the
target, PyTorch's own function where there is one, torch.compile, the formula as typed, and what the caller names.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actium.as_written import as_written
from actium.catalogue import ENTRIES, Entry
from actium.checking import activation_of, at_values, subject_of
from actium.define import Activation
from actium.errors import ActiumError, BenchError
from actium.module import ActivationModule
from actium.symbolic.graph import Formula, Node
from actium.symbolic.stabilize import stabilize
from actium.targets import resolve
from actium.verify.subject import Subject

Call = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Contender:
    """One implementation.

    Attributes:
        name: What tables call it.
        what: What it is, in words.
        value: The function or module.
        compiled: Whether it runs through torch.compile.
    """

    name: str
    what: str
    value: Call
    compiled: bool = False

    def call(self, dtype: torch.dtype, device: str) -> tuple[Call, tuple[Tensor, ...]]:
        """The function for a dtype and a device, and the parameters that it trains. A module is copied, not changed."""
        call, parameters = self.value, ()
        if isinstance(call, nn.Module):
            call = copy.deepcopy(call).to(device=device, dtype=dtype)
            parameters = tuple(p for p in call.parameters() if p.requires_grad)
        return (_compiled(call) if self.compiled else call), parameters


@dataclass(frozen=True)
class Case:
    """A target and what it is compared with.

    Attributes:
        target: As typed.
        formula: What it computes, if that is known.
        contenders: The target first; the others are compared with it.
    """

    target: str
    formula: str | None
    contenders: tuple[Contender, ...]

    def __getitem__(self, name: str) -> Contender:
        return next(c for c in self.contenders if c.name == name)


def case_of(
    target: str, parameters: Mapping[str, float] | None = None, against: Iterable[str] = (), compiled: bool = True
) -> Case:
    """Find what a target names, and what there is to compare it with.

    Args:
        target: A formula, a catalogue name, `path.py:NAME` or `package.module:NAME`.
        parameters: Values for the names in a formula besides x.
        against: Further targets to compare it with; a formula is then plain PyTorch, as typed.
        compiled: Whether to compare it with torch.compile.

    Returns:
        The case. Formulas and catalogue entries run as actium computes them, other code as it is.

    Raises:
        TargetError: If something named cannot be loaded.
        FormulaError: If the target can only be a formula, and is none.
        BenchError: If a name stands for two contenders.

    Example:
        >>> [c.name for c in case_of("silu").contenders]
        ['actium', 'torch', 'compile', 'composite']
    """
    found = resolve(target, parameters)
    subject = subject_of(found, fused=True)
    ours = isinstance(subject.call, Activation | ActivationModule)
    contenders = [_first(subject, ours)]
    reference = None if _is_torch(found.value) else _torch_function(subject)
    plain = _plain_form(subject) if ours else None
    contenders += [] if ours else _fused(target, parameters)
    contenders += [] if reference is None else [reference]
    if compiled:
        contenders += [_compile_of(reference or plain or contenders[0])] if reference or plain or not ours else []
    contenders += [] if plain is None else [plain]
    contenders += [_other(text) for text in against]
    names = [c.name for c in contenders]
    if (twice := next((n for n in names if names.count(n) > 1), None)) is not None:
        raise BenchError(f"--against {twice}: given twice")
    return Case(target, None if subject.formula is None else subject.formula.text, tuple(contenders))


def _first(subject: Subject, ours: bool) -> Contender:
    if ours:
        return Contender("actium", "the target, as actium computes it", subject.call)
    return Contender("target", "the target, as it is", subject.call)


def _fused(target: str, parameters: Mapping[str, float] | None) -> list[Contender]:
    """What actium makes of somebody's code, if it can be traced."""
    try:
        made = activation_of(target, parameters)
    except ActiumError:
        return []
    learns = any(p.learnable for p in made.parameters)
    return [Contender("actium", "the target's formula, as actium computes it", made.module() if learns else made)]


def _plain_form(subject: Subject) -> Contender | None:
    """The formula in torch operations. A module's trained parameters are numbers there, so it would do less work."""
    if subject.formula is None or _trains(subject.call):
        return None
    call = as_written(at_values(subject.formula, subject.parameters))
    return Contender("composite", f"{subject.formula.text} as plain torch operations", call)


def _compile_of(plain: Contender) -> Contender:
    what = "torch.compile of " + ("the composite" if plain.name == "composite" else plain.what)
    return replace(plain, name="compile", what=what, compiled=True)


def _other(text: str) -> Contender:
    found = resolve(text)
    if isinstance(found.value, Formula):
        return Contender(text, f"{text} as plain torch operations", as_written(found.value))
    return Contender(text, text, found.value)


def _compiled(call: Call) -> Call:
    # Else the eighth function hits the recompile limit and runs uncompiled, and a second size gets a slower kernel.
    torch.compiler.reset()
    return torch.compile(call)


def _trains(call: Any) -> bool:
    return isinstance(call, nn.Module) and any(p.requires_grad for p in call.parameters())


def _is_torch(value: Any) -> bool:
    """Whether it is PyTorch's own: then there is nothing else of PyTorch's to compare it with."""
    while isinstance(value, functools.partial):
        value = value.func
    place = getattr(value, "__module__", None) if callable(value) and not isinstance(value, nn.Module) else None
    return str(place or type(value).__module__).split(".")[0] == "torch"


# --- PyTorch's own function ---------------------------------------------------------------------------------


def _torch_function(subject: Subject) -> Contender | None:
    """PyTorch's function with the same parameters."""
    activation = getattr(subject.call, "activation", subject.call)
    entry: Entry | None = getattr(activation, "entry", None)
    values = dict(subject.parameters)
    if entry is not None and values == entry.defaults and not _needed(entry):
        values = {}  # as users call it; PyTorch's softplus is then a straight line from 20 on
    if entry is None and subject.formula is not None and not _trains(subject.call):
        name = _known().get(_canonical(subject.formula, values))
        entry, values = None if name is None else ENTRIES[name], {}
    if entry is None or entry.torch_target is None:
        return None
    shown = ", ".join(f"{k}={v:g}" for k, v in values.items())
    what = f"{entry.torch_target.replace(':', '.').replace(')', '')}"
    what += f"({shown})" if shown else ")" if entry.torch_form else ""
    return Contender("torch", what, _torch_call(entry, values, _trains(subject.call)))


def _torch_call(entry: Entry, values: Mapping[str, float], trains: bool) -> Call:
    if entry.name == "prelu":  # the one whose parameter is a tensor
        return nn.PReLU(init=values["weight"]) if trains else _prelu(values["weight"])
    assert entry.torch_target is not None
    function: Any = resolve(entry.torch_target).value if entry.torch_form else getattr(F, str(entry.torch_name))
    return functools.partial(function, **values) if values else function


def _needed(entry: Entry) -> bool:
    """Whether PyTorch's function has arguments without default."""
    try:
        arguments = list(inspect.signature(getattr(F, str(entry.torch_name))).parameters.values())
    except (AttributeError, ValueError):  # another form of a function, or one written in C: its arguments have defaults
        return entry.name == "prelu"
    return any(a.default is inspect.Parameter.empty for a in arguments[1:])


def _prelu(weight: float) -> Call:
    @functools.cache
    def tensor(dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.full((1,), weight, dtype=dtype, device=device)

    return lambda x: F.prelu(x, tensor(x.dtype, x.device))


def _canonical(formula: Formula, values: Mapping[str, float]) -> Node:
    return stabilize(at_values(formula, values)).root


@functools.cache
def _known() -> Mapping[Node, str]:
    """Formulas in their stable form → entries that PyTorch has, at their default parameters."""
    entries = [e for e in ENTRIES.values() if e.torch_target is not None and not _needed(e)]
    return {_canonical(e.as_written(), e.defaults): e.name for e in reversed(entries)}
