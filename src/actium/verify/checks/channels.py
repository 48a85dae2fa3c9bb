"""Channels: whether parameters with one value per channel lie on the channels' dimension.

Stage: subject → [checks] → certificate. Needs no truth. Modules are made again or copied, never changed.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from actium.verify.case import Case, case_finding
from actium.verify.certificate import Finding, Severity
from actium.verify.checks.construction import CHANNELS, DIMENSIONS, FEATURES, arguments_of, make
from actium.verify.subject import SubjectError, evaluate, guarded

_WITH = 8
_MOST_CHANNELS = 1024
_LEVELS = (-6.0, -2.0, -0.75, 0.75, 2.0, 6.0)
_LAST = re.compile(r"channels?[-_ ]last|last (dim|axis|dimension)|NHWC|H,\s*W,\s*C\b|[*…],\s*C\b", re.IGNORECASE)


def channel_axis(case: Case) -> Iterator[Finding]:
    """`channel-axis`: unequal values per channel, a constant input, and the axis along which the output varies.

    Dimension 1 is where PyTorch has channels, unless the module says otherwise. Sizes that coincide show what
    broadcasting does silently; sizes that differ, what it refuses.
    """
    module, arguments, note = _with_channels(case)
    per_channel = [(name, p) for name, p in module.named_parameters() if _channels(p) > 1]
    if per_channel and _mixes(module, max(_channels(p) for _, p in per_channel)):
        case.blocked["channel-axis"] = "an element's output depends on other elements"
        return
    acting = 0
    bad: list[str] = []
    for name, parameter in per_channel:
        with _unequal(parameter):
            axes = _Axes(module, _channels(parameter), _declared(module, arguments))
            wrong = axes.wrong()
        acting += axes.acting
        bad += [f"{name}, {axes.channels} values: {wrong}"] if wrong else []
    if not acting:
        case.blocked["channel-axis"] = "it has no per-channel parameter"
    if bad:
        severity: Severity = "warn" if set(arguments) & set(FEATURES) else "fail"
        fix = "view the parameter as (1, C, 1, …): p.view(1, -1, *[1] * (x.dim() - 2)), or take the axis as an argument"
        yield case_finding(
            case, "channel-axis", severity, None, ["; ".join([text, *note]) for text in bad], len(per_channel), fix
        )


def _channels(parameter: Tensor) -> int:
    """How many values a parameter has along its only dimension that is longer than 1; 0 if it is not of that kind."""
    long = [n for n in parameter.shape if n > 1]
    return long[0] if len(long) == 1 and long[0] <= _MOST_CHANNELS and parameter.is_floating_point() else 0


def _with_channels(case: Case) -> tuple[nn.Module, Mapping[str, Any], list[str]]:
    """A copy of the module, or one made with 8 channels where it has 1; its arguments, and a note that says so."""
    module, made = case.runner.plain(), case.runner.subject.construction
    if not isinstance(module, nn.Module):
        raise SubjectError("it is not a module")
    arguments: Mapping[str, Any] = {}
    if made is not None:
        try:
            arguments = arguments_of(made)
            for name in (n for n in (*CHANNELS, *FEATURES) if arguments.get(n, 0) in (1, None)):
                dimension = {n: 1 for n in DIMENSIONS if arguments.get(n, 0) is None}
                given = {name: _WITH, **dimension}
                shown = ", ".join(f"{n}={v}" for n, v in given.items())
                return make(made, {**arguments, **given}), {**arguments, **given}, [f"constructed with {shown}"]
        except SubjectError:
            pass  # What it cannot be made with is judged by `constructor`; here it is taken as it is.
    with guarded():
        return copy.deepcopy(module), arguments, []


def _mixes(module: nn.Module, channels: int) -> bool:
    """Whether one element of the input reaches the output of others, as in a layer norm or a linear map."""
    for shape in ((3, channels), (3, channels, channels), (3, channels, 2, channels)):
        x = torch.linspace(-2.0, 2.0, math.prod(shape)).reshape(shape)
        moved = x.clone().flatten()
        moved[0] += 0.5
        try:
            a = evaluate(module, x, gradient=False).output
            b = evaluate(module, moved.reshape(shape), gradient=False).output
        except SubjectError:
            continue
        if a.shape == x.shape:
            return not torch.allclose(a.flatten()[1:], b.flatten()[1:], rtol=1e-4, atol=1e-5, equal_nan=True)
    return False


def _declared(module: nn.Module, arguments: Mapping[str, Any]) -> int:
    """The axis that the module says its channels lie on: an attribute, a word in its documentation, else 1."""
    sizes = {_channels(p) for p in module.parameters()}
    for name in DIMENSIONS:
        value = getattr(module, name, arguments.get(name))
        # `dim` may be a size as well.
        if isinstance(value, int) and not isinstance(value, bool) and -4 <= value <= 3 and value not in sizes:
            return value
    last = getattr(module, "channels_last", getattr(module, "data_format", None))
    if isinstance(last, bool | str):
        return -1 if last is True or "last" in str(last) else 1
    return -1 if _LAST.search(type(module).__doc__ or "") else 1


@contextmanager
def _unequal(parameter: Tensor) -> Iterator[None]:
    """Another value in each channel, for a while."""
    before = parameter.detach().clone()
    spread = torch.linspace(0.0, 0.5, before.numel(), dtype=before.dtype, device=before.device)
    with torch.no_grad():
        parameter.copy_(before + spread.reshape(before.shape))
        try:
            yield
        finally:
            parameter.copy_(before)


class _Axes:
    """Along which dimensions a parameter with unequal values makes the output of a constant input vary."""

    def __init__(self, module: nn.Module, channels: int, declared: int) -> None:
        self.module, self.channels, self.declared = module, channels, declared
        self.acting = False
        self._others = [n for n in (2, 3, 5, 7, 11, 13) if n != channels]

    def shape(self, rank: int, *with_channels: int) -> tuple[int, ...]:
        """A shape whose sizes differ, apart from the dimensions that have the channels."""
        return tuple(self.channels if d in with_channels else self._others[d] for d in range(rank))

    def of(self, shape: tuple[int, ...]) -> set[int] | None:
        """The dimensions along which the output varies; None if this shape is refused or changed."""
        found: set[int] = set()
        try:
            with guarded(), torch.no_grad():
                outputs = [self.module(torch.full(shape, level)) for level in _LEVELS]
        except SubjectError:
            return None
        for output in outputs:
            if not isinstance(output, Tensor) or output.shape != shape:
                return None
            found |= {d for d in range(len(shape)) if not _same(output, output.narrow(d, 0, 1))}
        self.acting |= bool(found)
        return found

    def wrong(self) -> str | None:
        """Where the channels are on another dimension than the expected one, in words."""
        for rank in (4, 3, 2):
            if not -rank <= self.declared < rank:
                continue
            expected = self.declared % rank
            for other in range(rank - 1, -1, -1):
                shape = self.shape(rank, expected, other)
                found = self.of(shape)
                if other == expected or not found or expected in found or self._is_unbatched(rank, expected, found):
                    continue
                usual = self.shape(rank, expected)
                refused = f"; {usual} is refused" if self.of(usual) is None else ""
                where = ", ".join(map(str, sorted(found)))
                return f"on an input of shape {shape} they lie on dimension {where} and not on {expected}{refused}"
        return None

    def _is_unbatched(self, rank: int, expected: int, found: set[int]) -> bool:
        """Whether dimension 0 is right, because the module reads the input as one sample without a batch."""
        return expected == 1 and found == {0} and self.of(self.shape(rank + 1, 1)) == {1}


def _same(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a.float(), b.float().expand_as(a), rtol=1e-5, atol=1e-6, equal_nan=True)


CHECKS: Mapping[str, Callable[[Case], Iterator[Finding]]] = {"channel-axis": channel_axis}
