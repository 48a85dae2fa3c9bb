"""Tensors that a module holds without registering them: `.to()`, `state_dict` and the optimiser never see those.

Stage: subject → [checks] → certificate. Needs no truth.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from actium.verify.case import Case, case_finding
from actium.verify.certificate import Finding
from actium.verify.subject import SubjectError, guarded

_DEPTH = 4
_OWN = frozenset(vars(nn.Module()))


def _attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Attributes of a module and of the classes that somebody wrote for it, the registered ones aside."""
    yield from ((name, value) for name, value in vars(module).items() if name not in _OWN)
    for cls in type(module).__mro__:
        if cls.__module__.partition(".")[0] not in ("torch", "builtins"):
            yield from ((name, value) for name, value in vars(cls).items() if not name.startswith("__"))


def _inside(value: Any, path: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    """Tensors in a value: itself, in containers, behind a function's closure or arguments, in a module."""
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, nn.Module):
        for name, tensor in (*value.named_parameters(), *value.named_buffers()):
            yield f"{path}.{name}", tensor
    elif depth < _DEPTH:
        for name, part in _parts(value):
            yield from _inside(part, f"{path}{name}", depth + 1)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((f"[{key!r}]", part) for key, part in value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((f"[{i}]", part) for i, part in enumerate(value))
    elif isinstance(value, functools.partial):
        yield from ((f".args[{i}]", part) for i, part in enumerate(value.args))
        yield from ((f".keywords[{name!r}]", part) for name, part in value.keywords.items())
    elif isinstance(value, FunctionType):
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=False):
            try:
                yield f" (closure: {name})", cell.cell_contents
            except ValueError:  # a cell that is filled later
                continue
        yield from ((f" (default {i})", part) for i, part in enumerate(value.__defaults__ or ()))


def unregistered(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Tensors that a module or its submodules hold, and that are neither its parameters nor its buffers."""
    seen = {id(t) for t in (*module.parameters(), *module.buffers())}
    registered = {id(m) for m in module.modules()}
    for prefix, owner in module.named_modules():
        for name, value in _attributes(owner):
            if id(value) in registered:
                continue
            path = f"{prefix}.{name}" if prefix else name
            for place, tensor in _inside(value, path, 0):
                if id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield place, tensor


def _leaves(output: Tensor) -> Iterator[Tensor]:
    """The tensors at which a backward pass from an output would end."""
    seen: set[object] = set()
    stack: list[Any] = [output.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if isinstance(variable, Tensor):
            yield variable
        stack.extend(following for following, _ in node.next_functions)


def _used_leaves(case: Case) -> list[Tensor]:
    x = torch.linspace(-3.0, 3.0, 24)
    try:
        with guarded():
            output = case.runner.as_is()(x)
    except SubjectError:
        return []
    return list(_leaves(output)) if isinstance(output, Tensor) else []


def unregistered_parameter(case: Case) -> Iterator[Finding]:
    """`unregistered-parameter`: looks through attributes, containers and closures, and along the graph of an output."""
    module = case.runner.plain()
    if not isinstance(module, nn.Module):
        case.blocked["unregistered-parameter"] = "not a module"
        return
    with guarded():
        hidden = [(place, t) for place, t in unregistered(module) if t.requires_grad and t.is_leaf]
    known = {id(t) for t in module.parameters()} | {id(t) for _, t in hidden}
    places = [f"{place} {tuple(t.shape)}" for place, t in hidden]
    nameless = {id(t): t for t in _used_leaves(case) if id(t) not in known}
    places += [f"a tensor {tuple(t.shape)} that no attribute holds" for t in nameless.values()]
    if places:
        bad = [f"{place} requires a gradient but is not among parameters()" for place in places]
        fix = (
            "assign an nn.Parameter to an attribute of the module, or use nn.ParameterList, nn.ParameterDict or "
            "nn.ModuleList in place of the plain container"
        )
        yield case_finding(case, "unregistered-parameter", "fail", None, bad, len(known) + len(nameless), fix)


def unregistered_constant(case: Case) -> Iterator[Finding]:
    """`unregistered-constant`: tensors without gradient, held as they were when the module was made."""
    module = case.runner.subject.module
    if module is None:
        case.blocked["unregistered-constant"] = "not a module"
        return
    with guarded():
        held = list(unregistered(module))
    places = [f"{place} {tuple(t.shape)}" for place, t in held if not t.requires_grad]
    if places:
        bad = [f"{place} is a tensor, but no buffer: .to() and state_dict leave it out" for place in places]
        fix = "self.register_buffer(name, tensor), persistent=False if it need not be saved; or a plain number"
        yield case_finding(case, "unregistered-constant", "warn", None, bad, len(held), fix)


CHECKS: Mapping[str, Callable[[Case], Iterator[Finding]]] = {
    "unregistered-parameter": unregistered_parameter,
    "unregistered-constant": unregistered_constant,
}
