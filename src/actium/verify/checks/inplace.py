"""In-place variants: what they overwrite, and what that does to gradients.

Stage: subject → [checks] → certificate. Needs no truth: the same function on a copy of its input is the reference.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from actium.verify.case import Case, case_finding
from actium.verify.certificate import Finding, Severity
from actium.verify.checks.construction import arguments_of, make
from actium.verify.subject import Call, Runner, Subject, SubjectError, evaluate, guarded

_FIX = {
    "fail": "write with PyTorch's in-place operations on the input itself (never through .data or NumPy), give the "
    "values of the out-of-place form, and return the input; or drop the in-place variant",
    "warn": "where training cannot work in place, work out of place if the input requires a gradient",
    "info": "use it only where nothing else holds the input; PyTorch's own in-place functions do the same",
}
# Autograd saves the output of each of these, so what comes behind must not overwrite it unnoticed.
_SAVES_OUTPUT: Mapping[str, Callable[[Tensor], Tensor]] = {
    "exp": torch.exp,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


def asked_in_place(subject: Subject) -> bool:
    """Whether working in place is what the target was asked to do: `inplace=True`, or a name such as `relu_`."""
    if subject.module is not None:
        return any(getattr(m, "inplace", False) is True for m in subject.module.modules())
    function: Any = subject.call
    given: dict[str, Any] = {}
    while isinstance(function, functools.partial):
        given = {**function.keywords, **given}
        function = function.func
    name = str(getattr(function, "__name__", ""))
    return given.get("inplace") is True or (name.endswith("_") and not name.startswith("_"))


@dataclass(frozen=True)
class _Variant:
    """What is tried: how to run it, what to call it, its out-of-place form, and whether in-place is its purpose."""

    runner: Runner
    name: str
    plain: Runner | None
    declared: bool


def _runner(case: Case, call: Call) -> Runner:
    module = call if isinstance(call, nn.Module) else None
    runner = Runner(Subject(case.target, call, module=module))
    refusal = runner.find_layout()
    if refusal is not None:
        raise SubjectError(refusal)
    return runner


def _with_inplace(module: nn.Module, value: bool) -> nn.Module:
    with guarded():
        twin = copy.deepcopy(module)
    for part in twin.modules():
        if isinstance(getattr(part, "inplace", None), bool):
            part.__dict__["inplace"] = value
    return twin


def _takes_inplace(function: Callable[..., Any]) -> bool:
    try:
        return "inplace" in inspect.signature(function).parameters
    except (ValueError, TypeError):  # written in C: nothing is known
        return False


def _variant(case: Case) -> _Variant:
    """The in-place form if there is one, else the target itself, which may write without saying so."""
    runner, module = case.runner, case.runner.subject.module
    if asked_in_place(runner.subject):
        return _Variant(runner, "it", None if module is None else _out_of_place(case, module), True)
    made = _made_in_place(runner.subject)
    if made is None:
        return _Variant(runner, "it", None, False)
    return _Variant(_runner(case, made), "with inplace=True it", runner, True)


def _out_of_place(case: Case, module: nn.Module) -> Runner | None:
    try:
        return _runner(case, _with_inplace(module, False))
    except SubjectError:
        return None  # It cannot be copied; the form that was asked for is judged by itself.


def _made_in_place(subject: Subject) -> Call | None:
    made, module = subject.construction, subject.module
    if module is None:
        function: Callable[..., Tensor] = subject.call
        return functools.partial(function, inplace=True) if _takes_inplace(function) else None
    if made is not None and _takes_inplace(made.cls):
        return make(made, arguments_of(made) | {"inplace": True})
    return _with_inplace(module, True) if isinstance(getattr(module, "inplace", None), bool) else None


@dataclass(frozen=True)
class _Write:
    """What one run without gradients did to its input."""

    x: Tensor
    left: Tensor
    output: Tensor
    announced: bool
    same_storage: bool

    @property
    def changed(self) -> bool:
        return not _equal(self.x, self.left)


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=1e-4, atol=1e-5, equal_nan=True)


def _write(call: Call, x: Tensor) -> _Write:
    given = x.clone()
    version = given._version
    with guarded(), torch.no_grad():
        output = call(given)
        if not isinstance(output, Tensor):
            raise SubjectError(f"returned {type(output).__name__}, not a tensor")
        same = output.data_ptr() == given.data_ptr()
        return _Write(x, given.clone(), output.clone(), given._version != version, same)


def in_place(case: Case) -> Iterator[Finding]:
    """`in-place`: the in-place form is run on a tensor that is needed elsewhere, and compared with a run on a copy.

    A backward that raises is honest: autograd noticed. A gradient that is silently another one is not.
    """
    x = torch.linspace(-3.0, 3.0, 6 * (case.runner.channels or 4))
    bad: dict[Severity, list[str]] = {"fail": [], "warn": [], "info": []}
    variant: _Variant | None = None
    try:
        variant = _variant(case)
        write = _write(variant.runner.as_is(), x)
    except SubjectError as error:
        if variant is not None and not variant.declared:
            raise
        refused = str(error).startswith("NotImplementedError")
        bad["info" if refused else "warn"].append(f"its in-place form raises {error}")
    else:
        _judge(variant, write, bad)
    for severity, texts in bad.items():
        if texts:
            yield case_finding(case, "in-place", severity, None, texts, len(_SAVES_OUTPUT) + 3, _FIX[severity])


def _judge(variant: _Variant, write: _Write, bad: dict[Severity, list[str]]) -> None:
    call, name = variant.runner.as_is(), variant.name
    if variant.plain is not None and not _equal(write.output, _write(variant.plain.as_is(), write.x).output):
        bad["fail"].append(f"{name} gives other values than out of place")
    if not write.changed:
        return
    if not write.announced:
        bad["fail"].append(f"{name} writes into its input behind autograd's back: the tensor's version stays the same")
    if variant.declared:
        _judge_return(name, write, bad)
        _judge_backward(variant, write.x, bad)
    silent = [how for how, function in _SAVES_OUTPUT.items() if _is_silently_wrong(call, function, write.x)]
    if silent:
        where = ", ".join(silent)
        bad["fail"].append(f"{name} silently gives a wrong gradient behind {where}, whose saved output it overwrites")
    if _overwrites_leaf(call, write.x):
        bad["fail"].append(f"{name} overwrites a leaf that requires a gradient, where autograd would have refused")
    if variant.declared and name == "it" and not bad["fail"]:
        bad["info"].append("it works in place, as asked: a residual h + f(h) becomes f(h) + f(h)")


def _judge_return(name: str, write: _Write, bad: dict[Severity, list[str]]) -> None:
    if not _equal(write.left, write.output):
        bad["fail"].append(f"{name} leaves values in its input that are neither the old ones nor the result")
    elif not write.same_storage:
        bad["warn"].append(f"{name} changes its input, and returns a copy of it")


def _judge_backward(variant: _Variant, x: Tensor, bad: dict[Severity, list[str]]) -> None:
    """The gradient where nothing else holds the input: it must be there, and be that of the out-of-place form."""
    result = evaluate(variant.runner.as_is(), x)
    if result.gradient_error is not None:
        bad["warn"].append(f"{variant.name} cannot be trained: backward raises {result.gradient_error}")
    elif variant.plain is not None and result.gradient is not None:
        expected = evaluate(variant.plain.as_is(), x).gradient
        if expected is not None and not _equal(result.gradient, expected):
            bad["fail"].append(f"{variant.name} gives another gradient than out of place")


def _is_silently_wrong(call: Call, before: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """Whether the gradient through `call(before(x))` changes when `before`'s own output is overwritten."""
    try:
        expected = _gradient(lambda h: call(h.clone()), before, x)
        got = _gradient(call, before, x)
    except SubjectError:
        return False
    return not _equal(expected, got)


def _overwrites_leaf(call: Call, x: Tensor) -> bool:
    """Whether a trained leaf is changed. PyTorch's operations raise instead, and so may the function."""
    leaf = x.clone().requires_grad_()
    try:
        with guarded():
            call(leaf)
    except SubjectError:
        return False
    return not _equal(leaf.detach(), x)


def _gradient(call: Call, before: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with guarded():
        leaf = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(call(before(leaf)).sum(), leaf)
        return slope


CHECKS: Mapping[str, Callable[[Case], Iterator[Finding]]] = {"in-place": in_place}
