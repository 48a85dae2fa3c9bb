"""The contract with the network around it: dtype, shape, independence of elements, and hands off the input.

Stage: subject → [checks] → certificate. Needs no truth.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from actium.verify.case import Case, case_finding
from actium.verify.certificate import Finding, Severity
from actium.verify.checks.inplace import asked_in_place
from actium.verify.probe import RANDOM, is_random
from actium.verify.subject import Call, SubjectError, evaluate, guarded

_DTYPES = (torch.float16, torch.bfloat16, torch.float64)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# --- dtype ----------------------------------------------------------------------------------------------


def dtype_leak(case: Case) -> Iterator[Finding]:
    """`dtype-leak`: parameters left in float32, each dtype in; then float32 and bfloat16 under CPU autocast."""
    x = torch.linspace(-3.0, 3.0, 24)
    leaks, promoted, refusals = [], [], []
    for dtype in _DTYPES:
        try:
            output = evaluate(case.runner.as_is(), x.to(dtype), gradient=False).output
        except SubjectError:
            try:
                output = case.runner.run(x.to(dtype), gradient=False).output  # Takes it once converted, or not at all.
            except SubjectError as error:
                refusals.append(f"{_name(dtype)} in: {error}")
                continue
        if output.dtype != dtype:
            text = f"{_name(dtype)} in, {_name(output.dtype)} out"
            (promoted if _kept_once_converted(case, x.to(dtype)) else leaks).append(text)
    if promoted:
        fix = "cast the result back: return y.to(x.dtype); or convert the module together with the network"
        text = [f"{', '.join(promoted)}, until the module is converted with `.to(dtype)`"]
        yield case_finding(case, "dtype-leak", "warn", None, text, len(_DTYPES), fix)
    if leaks:
        fix = "cast the result back: return y.to(x.dtype); keep constants and parameters from promoting it"
        yield case_finding(case, "dtype-leak", "fail", None, leaks, len(_DTYPES), fix)
    if refusals:
        fix = "make it work for every floating dtype: compute in x.float() where the dtype is too narrow, and cast back"
        yield case_finding(case, "dtype-leak", "fail", None, [f"raises: {r}" for r in refusals], len(_DTYPES), fix)
    yield from _refused_as_is(case)
    yield from _autocast_leak(case, x)


def _kept_once_converted(case: Case, x: Tensor) -> bool:
    """Whether only the module's own parameters, still in float32, promote the result: that costs memory, no more."""
    try:
        return evaluate(case.runner.converted(x.dtype), x, gradient=False).output.dtype == x.dtype
    except SubjectError:
        return False


def _refused_as_is(case: Case) -> Iterator[Finding]:
    """A module that takes a dtype only after `.to(dtype)` says so clearly; that is worth knowing, not wrong."""
    refused = [f"{_name(d)} in: {why}" for d, why in case.runner.refused.items()]
    if refused:
        text = [f"takes this dtype only after `.to(dtype)`: {r}" for r in refused]
        fix = "convert the module together with the network, or cast its parameters to the input's dtype in forward"
        yield case_finding(case, "dtype-leak", "info", None, text, len(_DTYPES), fix)


def _autocast_leak(case: Case, x: Tensor) -> Iterator[Finding]:
    leaks = []
    for dtype in (torch.float32, torch.bfloat16):
        try:
            with guarded(), torch.autocast("cpu", dtype=torch.bfloat16):
                output = case.runner.as_is()(x.to(dtype))
        except SubjectError:
            continue  # Refusing a dtype is reported above, with the reason.
        if isinstance(output, Tensor) and output.dtype != dtype:
            leaks.append(f"{_name(dtype)} in under CPU autocast, {_name(output.dtype)} out")
    if leaks:
        fix = "disable autocast inside (torch.autocast(x.device.type, enabled=False)) and cast back to x.dtype"
        yield case_finding(case, "dtype-leak", "warn", None, leaks, 2, fix)


# --- autocast -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Setting:
    """One `with autocast(…)` that was entered: its device and dtype, what it asked for, and why it is deprecated.

    `asked` is None if the object was made before anybody looked, as a decorator is.
    """

    device: str
    dtype: torch.dtype | None
    asked: bool | None
    deprecated: str | None


@contextmanager
def _watched() -> Iterator[list[_Setting]]:
    """Collect every autocast that is entered in the meantime.

    Without a GPU, `autocast("cuda")` turns itself off as it is made, so what was asked for is noted there.
    """
    autocast, seen, asked = torch.autocast, list[_Setting](), dict[int, bool]()
    init, enter = autocast.__init__, autocast.__enter__
    signature = inspect.signature(init)

    @functools.wraps(init)
    def made(self: torch.autocast, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        asked[id(self)] = bool(signature.bind(self, *args, **kwargs).arguments.get("enabled", True))

    @functools.wraps(enter)
    def entered(self: torch.autocast) -> Any:
        on = asked.get(id(self), self._enabled or None)
        seen.append(_Setting(self.device, self.fast_dtype, on, getattr(type(self), "__deprecated__", None)))
        return enter(self)

    autocast.__init__, autocast.__enter__ = made, entered
    try:
        yield seen
    finally:
        autocast.__init__, autocast.__enter__ = init, enter


def autocast_inside(case: Case) -> Iterator[Finding]:
    """`autocast-inside`: run it with autocast off, and on for bfloat16, and note every autocast that it enters.

    To turn autocast off inside, for internals in float32, is sound, and so is to set again what the caller has set.
    """
    x = torch.linspace(-3.0, 3.0, 24)
    bad: dict[str, None] = {}
    unclear: dict[str, None] = {}
    left: list[str] = []
    for on in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=on):
            with _watched() as seen:
                obstacle = _obstacle(case.runner.as_is(), x)
            if obstacle is not None and not on:
                raise obstacle  # Under autocast a refusal is the business of `dtype-leak`.
            if torch.is_autocast_enabled("cpu") != on:
                left.append(
                    f"leaves CPU autocast {'off' if on else 'on'} behind it, where the caller had set the opposite"
                )
        for setting in seen:
            bad.update(dict.fromkeys(_overrides(setting, on)))
            if setting.asked is None and setting.device != "cpu" and not setting.deprecated:
                unclear[f"sets autocast for {setting.device!r} only, whatever the device of its input"] = None
    found: dict[Severity, list[str]] = {"fail": left, "warn": [*bad], "info": [] if bad else [*unclear]}
    for severity, texts in found.items():
        if texts:
            fix = "leave autocast to the caller; for float32 internals write x.float() and cast the result to x.dtype"
            yield case_finding(case, "autocast-inside", severity, None, texts, 2, fix)


def _obstacle(call: Call, x: Tensor) -> SubjectError | None:
    try:
        evaluate(call, x)
    except SubjectError as error:
        return error
    return None


def _overrides(setting: _Setting, on: bool) -> Iterator[str]:
    """What one setting does to a caller's bfloat16 autocast on the CPU (`on`), or to a caller that has it off."""
    if setting.deprecated:
        yield f"uses a deprecated interface: {setting.deprecated.rstrip('.')}"
    if setting.asked is not True:
        return
    dtype = "" if setting.dtype is None else f" ({_name(setting.dtype)})"
    if setting.device != "cpu":
        yield f"turns autocast on for {setting.device!r}{dtype}, whatever its input's device and the caller's setting"
    elif not on:
        yield f"turns autocast on{dtype} where the caller has turned it off"
    elif setting.dtype != torch.bfloat16:
        yield f"sets autocast to {_name(setting.dtype or torch.float32)} where the caller has bfloat16"


# --- shape ----------------------------------------------------------------------------------------------


def shapes(channels: int | None = None) -> dict[str, Tensor]:
    """One input for each rank and each way a tensor can lie in memory; dimension 1, if any, has the channels.

    Sizes differ, so that what swaps two dimensions is seen. Without channels, dimension 1 is tried with size 1 too.
    """
    alone = channels is None
    channels = channels or 4
    flat = torch.linspace(-3.0, 3.0, 30 * channels)
    image = flat.reshape(2, channels, 3, 5)
    volume = torch.linspace(-3.0, 3.0, 180 * channels).reshape(2, channels, 3, 5, 6)
    narrow = {"one number": flat[7:8].clone(), "one column": flat[:5].reshape(5, 1).clone()}
    return {
        "0-d": flat[7].clone(),
        "1-d": flat.clone(),
        "2-d": flat.reshape(30, channels).clone(),
        "3-d": flat.reshape(2, channels, 15).clone(),
        "4-d": image.clone(),
        "5-d": volume,
        "one row": flat[:channels].reshape(1, channels).clone(),
        **(narrow if alone else {}),
        "empty": flat[:0].clone(),
        "empty 2-d": flat[:0].reshape(0, channels).clone(),
        "transposed": flat.reshape(channels, 30).t(),
        "every second": flat[::2],
        "expanded": flat[:channels].expand(4, channels),
        "channels_last": image.contiguous(memory_format=torch.channels_last),
    }


def unusable(case: Case, reason: str) -> Finding:
    """The one finding about a target that cannot be run at all."""
    fix = "give the checker a function of one floating-point tensor, or a module with the arguments that it needs"
    return case_finding(case, "shape-change", "fail", None, [reason], 1, fix)


def shape_change(case: Case) -> Iterator[Finding]:
    """`shape-change`: the output must have the input's shape and, element by element, the flat input's values.

    A function that halves one dimension of every shape does so by design (a gated unit): that is information.
    """
    inputs = shapes(case.runner.channels)
    changed, raised, ratios = [], [], set()
    call = case.runner.plain()
    for name, x in inputs.items():
        try:
            output = evaluate(call, x, gradient=False).output
        except SubjectError as error:
            raised.append(f"{name} {tuple(x.shape)} raises {error}")
            continue
        if output.shape != x.shape:
            changed.append(f"{name}: {tuple(x.shape)} in, {tuple(output.shape)} out")
            ratios.add(x.numel() / output.numel() if output.numel() else 2.0)
        elif not (_matches_flat(call, x, output) or is_random(call, x)):
            changed.append(f"{name}: values differ from those of the same numbers in a flat tensor")
    gated = bool(changed) and ratios == {2.0}
    if changed:
        fix = "use elementwise operations only; index and reshape nothing"
        # A parameter of shape (1,) makes a vector of a number: wrong, but few networks have activations of numbers.
        alone = all(text.startswith("0-d") for text in changed)
        severity: Severity = "info" if gated else "warn" if alone else "fail"
        yield case_finding(case, "shape-change", severity, None, changed, len(inputs), fix)
    if raised:
        only = all(text.startswith("0-d") for text in raised)
        severity = "info" if case.runner.subject.module is not None or gated else "warn" if only else "fail"
        fix = "accept any shape, 0-d and empty included; a layer tied to a rank or channel count should say so"
        yield case_finding(case, "shape-change", severity, None, raised, len(inputs), fix)


def _matches_flat(call: Call, x: Tensor, output: Tensor) -> bool:
    """Whether layout changes values: a function that reads the storage instead of the tensor does."""
    try:
        flat = evaluate(call, x.contiguous().clone(), gradient=False).output
    except SubjectError:
        return True
    # PyTorch's vector and scalar code differ: gelu by 1e-4 of its value at -3. Another element's value differs by more.
    return flat.shape == output.shape and torch.allclose(flat, output, rtol=1e-3, atol=1e-5, equal_nan=True)


# --- independence of elements -------------------------------------------------------------------------------


def coupling(case: Case) -> str | None:
    """Why the function is not elementwise, or None if it is. A sweep says nothing about one that is not."""
    x = torch.linspace(-4.0, 4.0, 96)
    order = torch.randperm(96, generator=torch.Generator().manual_seed(5))
    try:
        first = case.runner.run(x, gradient=False).output
        again = case.runner.run(x, gradient=False).output
        shuffled = case.runner.run(x[order], gradient=False).output
        part = case.runner.run(x[:48], gradient=False).output
        middle = case.runner.run(x[30:70], gradient=False).output  # without the largest and the smallest
    except SubjectError as error:
        return f"it cannot be run on a 1-d float32 tensor: {error}"
    if first.shape != x.shape:
        return f"the output of a {tuple(x.shape)} input has shape {tuple(first.shape)}"
    if not _close(first, again) or is_random(case.runner.as_is(), x):
        return RANDOM
    if not (_close(first[order], shuffled) and _close(first[:48], part) and _close(first[30:70], middle)):
        return "an element's output depends on other elements or on its position"
    return None


def _close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a.float(), b.float(), rtol=1e-4, atol=1e-5, equal_nan=True)


def batch_coupling(case: Case) -> Iterator[Finding]:
    """`batch-coupling`: permuting or dropping rows must do the same to the output's rows, and no more."""
    channels = case.runner.channels or 8
    given = [(6,), (6, channels), (6, channels, 5), (6, channels, 4, 4), (6, channels, 2, 3, 2)]
    given.append((6, 1) if case.runner.channels is None else (6, 5, channels))  # Some layers have their channels last.
    bad, tried = [], 0
    generator = torch.Generator().manual_seed(3)
    for shape in given:
        x = torch.randn(shape, generator=generator)
        try:
            fault = _coupled(case.runner.plain(), x)
        except SubjectError:
            continue  # Which shapes it takes is the business of `shape-change`.
        tried += fault is not None
        bad += [f"shape {shape} {fault}"] if fault else []
    if not tried:
        case.blocked["batch-coupling"] = "it takes no input with more than one dimension, or is random"
    if bad:
        fix = "treat dimension 0 as the batch: index channels on dimension 1, reshape with x.flatten(1)"
        yield case_finding(case, "batch-coupling", "fail", None, bad, len(given), fix)


def _coupled(call: Call, x: Tensor) -> str | None:
    """How rows depend on each other, "" if they do not, None if x cannot tell.

    Raises:
        SubjectError: If the function does not take x.
    """
    order = torch.tensor([5, 2, 0, 4, 1, 3])
    whole, permuted, part, again = (evaluate(call, t, gradient=False).output for t in (x, x[order], x[:3], x))
    if x.dim() == 1 and 2 * whole.numel() == x.numel():
        return None  # A gated unit halves the only dimension there is.
    if whole.shape[:1] != x.shape[:1]:
        return f"gives {tuple(whole.shape)}: rows are lost or mixed"
    if x.dim() == 1 or not _close(whole, again) or is_random(call, x):
        return None
    if _close(whole[order], permuted) and _close(whole[:3], part) and _alone_as_among_others(call, x, whole):
        return ""
    if x.dim() == 3 and _is_one_image(call, x, whole):
        return None
    return "lets a row's output depend on its position or on other rows"


def _alone_as_among_others(call: Call, x: Tensor, whole: Tensor) -> bool:
    """Whether a batch of one row gives that row's output. Its shape is the business of `shape-change`."""
    try:
        alone = evaluate(call, x[:1], gradient=False).output
    except SubjectError:
        return True
    return alone.numel() != whole[:1].numel() or _close(alone.reshape(whole[:1].shape), whole[:1])


def _is_one_image(call: Call, x: Tensor, whole: Tensor) -> bool:
    """Whether three dimensions are one image without a batch, as in softmax over channels, and not a batch."""
    try:
        return _close(evaluate(call, x[None], gradient=False).output, whole[None])
    except SubjectError:
        return False


# --- hands off ------------------------------------------------------------------------------------------------


def input_mutated(case: Case) -> Iterator[Finding]:
    """`input-mutated`: the input tensor is compared before and after. In-place by request is information."""
    # A number of elements that the channels do not divide is padded, and what is padded is a copy.
    x = torch.linspace(-3.0, 3.0, 6 * (case.runner.channels or 4))
    try:
        changed = evaluate(case.runner.as_is(), x, gradient=False).mutated
    except SubjectError as error:
        case.blocked["input-mutated"] = str(error)
        return
    if not changed:
        return
    asked = asked_in_place(case.runner.subject)
    text = ["changes its input tensor" + (", as it was asked to" if asked else "")]
    fix = "use the out-of-place operation; a residual connection or an earlier layer may still need the input"
    yield case_finding(case, "input-mutated", "info" if asked else "fail", None, text, 1, fix)


CHECKS: Mapping[str, Callable[[Case], Iterator[Finding]]] = {
    "dtype-leak": dtype_leak,
    "autocast-inside": autocast_inside,
    "shape-change": shape_change,
    "batch-coupling": batch_coupling,
    "input-mutated": input_mutated,
}
