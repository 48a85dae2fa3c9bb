"""Whether a module survives being copied, pickled, saved and loaded.

Stage: subject → [checks] → certificate.
The module that was given is copied, never changed. A plain function is its own copy, and has no state to save.
"""

from __future__ import annotations

import copy
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from actium.verify.case import Case, case_finding
from actium.verify.certificate import Finding
from actium.verify.probe import batch, difference
from actium.verify.subject import Call, Construction, SubjectError, guarded

_STATELESS = "a plain function has no state"


def _output(call: Call, x: Tensor) -> Tensor:
    """What a function or a module in evaluation mode gives."""
    with guarded(), _evaluating(call):
        return call(x.clone()).detach()


@contextmanager
def _evaluating(call: Call) -> Iterator[None]:
    modules = list(call.modules()) if isinstance(call, nn.Module) else []
    before = [m.training for m in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, training in zip(modules, before, strict=True):
            module.training = training


def _registered(module: nn.Module) -> dict[str, Tensor]:
    """The floating-point parameters and buffers by name."""
    named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: tensor for name, tensor in named.items() if tensor.is_floating_point()}


def _moved(tensor: Tensor) -> Tensor:
    """Other numbers, near enough for the function to take them."""
    return torch.where(tensor == 0, 0.0625, 1.125 * tensor.detach())


# --- copy.deepcopy ----------------------------------------------------------------------------------------


def deepcopy(case: Case) -> Iterator[Finding]:
    """`deepcopy`: equal outputs, and parameters that are the copy's own, both ways."""
    original = case.runner.subject.module or case.runner.subject.call
    if isinstance(original, FunctionType | BuiltinFunctionType):
        case.blocked["deepcopy"] = _STATELESS
        return
    x = batch(case)
    try:
        with guarded():
            twin = copy.deepcopy(original)
    except SubjectError as error:
        fix = "keep nothing on self that cannot be copied: no tensors with a graph, no handles, no generators"
        severity = "fail" if case.runner.subject.module is not None else "info"
        yield case_finding(case, "deepcopy", severity, None, [f"raises {error}"], 1, fix)
        return
    wrong = []
    if isinstance(original, nn.Module) and isinstance(twin, nn.Module):
        wrong = _entangled(original, twin, x)
    if not wrong:
        found = difference(x, _output(twin, x), _output(original, x), 0.0)
        wrong = [] if found is None else [f"the copy gives another output: {found}"]
    if wrong:
        fix = "use parameters through self in forward; store no bound method, closure or alias of a tensor on self"
        yield case_finding(case, "deepcopy", "fail", None, wrong, 1, fix)


def _entangled(original: nn.Module, twin: nn.Module, x: Tensor) -> list[str]:
    """How copy and original depend on each other, in words."""
    theirs = {t.untyped_storage().data_ptr() for t in _registered(original).values() if t.numel()}
    shared = [n for n, t in _registered(twin).items() if t.numel() and t.untyped_storage().data_ptr() in theirs]
    if shared:
        return [f"the copy shares {', '.join(shared)} with the original"]
    names = [n for n, p in original.named_parameters() if p.requires_grad]
    with guarded(), _evaluating(twin):
        output = twin(x.clone())
        slopes: tuple[Tensor | None, ...] = ()
        if names and output.requires_grad:
            parameters = [original.get_parameter(n) for n in names]
            slopes = torch.autograd.grad(output, parameters, torch.ones_like(output), allow_unused=True)
    used = [n for n, s in zip(names, slopes, strict=False) if s is not None]
    if used:
        return [f"the copy computes with the original's {', '.join(used)}, and its own gets no gradient"]
    return _deaf(original, twin, x)


def _deaf(original: nn.Module, twin: nn.Module, x: Tensor) -> list[str]:
    """Whether other numbers in the copy do what the same numbers do in the original."""
    numbers = {name: _moved(tensor) for name, tensor in _registered(original).items()}
    if not numbers or numbers.keys() != _registered(twin).keys():
        return [] if not numbers else ["the copy has other parameters and buffers than the original"]
    changed = copy.deepcopy(twin)
    with torch.no_grad():
        for name, tensor in _registered(changed).items():
            tensor.copy_(numbers[name])
    try:
        with guarded(), _evaluating(original):
            expected = torch.func.functional_call(original, numbers, (x.clone(),)).detach()
        got = _output(changed, x)
    except SubjectError:
        return []  # The function does not take these numbers.
    found = difference(x, got, expected, 1e-6)
    return [] if found is None else [f"the copy does not follow its own parameters and buffers: {found}"]


# --- pickle -----------------------------------------------------------------------------------------------


def pickle_(case: Case) -> Iterator[Finding]:
    """`pickle`: `torch.save` and `torch.load` of the whole object, and equal outputs."""
    original = case.runner.subject.module or case.runner.subject.call
    if isinstance(original, FunctionType) and not original.__qualname__.isidentifier():
        case.blocked["pickle"] = "a lambda or local function cannot be pickled, and need not be"
        return
    x = batch(case)
    try:
        with guarded(), _importable(original):
            file = io.BytesIO()
            torch.save(original, file)
            file.seek(0)
            loaded = torch.load(file, weights_only=False)
    except SubjectError as error:
        fix = "keep lambdas, local functions and handles off self, and define the class at the top of its file"
        severity = "warn" if case.runner.subject.module is not None else "info"
        yield case_finding(case, "pickle", severity, None, [f"raises {error}"], 1, fix)
        return
    found = difference(x, _output(loaded, x), _output(original, x), 0.0)
    if found is not None:
        fix = "let __getstate__ and __reduce__ keep everything that forward uses"
        yield case_finding(case, "pickle", "fail", None, [f"the loaded object gives another output: {found}"], 1, fix)


@contextmanager
def _importable(target: Any) -> Iterator[None]:
    """Let pickle find a class in the file that it came from, even if that was imported again since."""
    functions = [target, *vars(type(target)).values()]
    scope = next((f.__globals__ for f in functions if isinstance(f, FunctionType)), {})
    name = str(scope.get("__name__"))
    before = sys.modules.get(name)
    if before is None or vars(before) is scope:
        yield
        return
    stand_in = ModuleType(name)
    vars(stand_in).update(scope)
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        sys.modules[name] = before


# --- state_dict -------------------------------------------------------------------------------------------


def state_dict(case: Case) -> Iterator[Finding]:
    """`state-dict`: changed numbers, saved to a file, loaded into a new module, must give the same outputs."""
    module = case.runner.subject.module
    if module is None:
        case.blocked["state-dict"] = _STATELESS
        return
    x = batch(case)
    with guarded():
        source = copy.deepcopy(module)
        _change(source)
    expected = _output(source, x)
    wrong = []
    for name, used in (("a new module", False), ("a module that was called before", True)):
        try:
            with guarded():
                fresh = _another(module, case.runner.subject.construction)
            if used:
                _output(fresh, x)
            with guarded():
                fresh.load_state_dict(_through_file(source))
            found = difference(x, _output(fresh, x), expected, 0.0)
        except SubjectError as error:
            wrong.append(f"loading into {name} raises {error}")
        else:
            wrong += [] if found is None else [f"{name} that loaded it gives another output: {found}"]
    if wrong:
        fix = "register what is learned (nn.Parameter, register_buffer) in __init__, and derive the rest in forward"
        yield case_finding(case, "state-dict", "fail", None, wrong, 2, fix)
    yield from _unsafe(case, source)


def _unsafe(case: Case, source: nn.Module) -> Iterator[Finding]:
    try:
        with guarded():
            _through_file(source, weights_only=True)
    except SubjectError as error:
        fix = "put tensors and plain containers only into get_extra_state"
        text = [f"torch.load(weights_only=True), the default, refuses it: {error}"]
        yield case_finding(case, "state-dict", "warn", None, text, 1, fix)


def _through_file(module: nn.Module, weights_only: bool = False) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=weights_only)


def _another(module: nn.Module, construction: Construction | None) -> nn.Module:
    """One made as the module was, or a copy of it."""
    if construction is None:
        return copy.deepcopy(module)
    return construction.cls(*construction.args, **construction.kwargs)


def _change(module: nn.Module) -> None:
    """Other numbers in everything that is learned or registered, also in what should be registered and is not."""
    saved = set(module.state_dict(keep_vars=True))
    with torch.no_grad():
        for name, tensor in _registered(module).items():
            if name in saved or tensor.requires_grad:
                tensor.copy_(_moved(tensor))
        for part in module.modules():
            for tensor in _learned(vars(part)):
                tensor.data = _moved(tensor)


def _learned(attributes: Mapping[str, Any]) -> Iterator[Tensor]:
    """Tensors with a gradient among the attributes, which no `state_dict` holds."""
    for name, value in attributes.items():
        if name in ("_parameters", "_buffers", "_modules"):
            continue
        members = value if isinstance(value, list | tuple) else value.values() if isinstance(value, dict) else [value]
        yield from (m for m in members if isinstance(m, Tensor) and m.requires_grad and m.is_leaf)


CHECKS: Mapping[str, Callable[[Case], Iterator[Finding]]] = {
    "deepcopy": deepcopy,
    "pickle": pickle_,
    "state-dict": state_dict,
}
