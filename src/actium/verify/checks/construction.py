"""How a module is made: constructor arguments that are accepted and break later.

Stage: subject → [checks] → certificate. Needs no truth.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from actium.verify.case import Case, case_finding
from actium.verify.certificate import Finding, Severity
from actium.verify.subject import Construction, Runner, Subject, SubjectError, guarded

# Names of arguments: a number of channels (dimension 1), a number of features (the last one, as `nn.Linear` counts
# them), and which dimension it is.
CHANNELS = ("num_parameters", "num_channels", "channels", "n_channels", "in_channels", "num_features", "n_features")
FEATURES = ("in_features", "features", "hidden_size", "hidden_dim", "d_model", "embed_dim", "normalized_shape")
DIMENSIONS = ("channel_dim", "channel_axis", "channels_dim", "feature_dim", "dim", "axis")
_COUNT = re.compile(
    r"(n|num|k|dim|size|degree|order|terms|steps|heads|groups|bins|knots|layers|units)|(n|num)_.*|.*_size"
)
_FLOATS = (0.0, -1.0, 70_000.0, math.nan, math.inf)
_FIX = (
    "check each argument in __init__ and raise a ValueError that names it; write float(value) where a number is meant"
)

Trouble = tuple[Severity, str]


def arguments_of(made: Construction) -> dict[str, Any]:
    """Every constructor argument that has a value, given or default, by name.

    Raises:
        SubjectError: If the constructor does not say what it takes, or takes arguments that have no name.
    """
    with guarded():
        signature = inspect.signature(made.cls)
        bound = signature.bind(*made.args, **made.kwargs)
    nameless = [p.name for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL)]
    if any(bound.arguments.pop(name, None) for name in nameless):
        raise SubjectError("its constructor takes arguments without a name")
    bound.apply_defaults()
    others = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD), "")
    named = {n: v for n, v in bound.arguments.items() if n not in nameless}
    return named | named.pop(others, {})


def make(made: Construction, arguments: Mapping[str, Any]) -> nn.Module:
    """The module with other arguments, in evaluation mode.

    Raises:
        SubjectError: If its constructor raises.
    """
    with guarded():
        return made.cls(**arguments).eval()


@dataclass(frozen=True)
class _Behaviour:
    """What a module does that was made with certain arguments.

    Attributes:
        stage: Where it raised: construction, forward, backward or float16; empty if nowhere.
        error: What it raised.
        cause: The exception, if there was one.
        output: Of 33 inputs in [-8, 8], in float32.
        gradient: There.
    """

    stage: str = ""
    error: str = ""
    cause: BaseException | None = None
    output: Tensor | None = None
    gradient: Tensor | None = None

    @property
    def refused(self) -> bool:
        """Whether the constructor raised."""
        return self.stage == "construction"

    def late(self, usual: _Behaviour) -> bool:
        """Whether the constructor accepted what then raises, where the usual arguments do not."""
        return bool(self.stage) and not self.refused and self.stage != usual.stage


def constructor(case: Case) -> Iterator[Finding]:
    """`constructor`: the module is made again, one argument at a time at 0, −1, an int, 70,000, NaN and infinity.

    A constructor that raises has done its work, unless it takes a float and not the int of the same value.
    """
    made = case.runner.subject.construction
    if made is None:
        case.blocked["constructor"] = "it was not made from a class"
        return
    arguments = arguments_of(made)
    numbers = {n: v for n, v in arguments.items() if type(v) in (int, float) and n not in DIMENSIONS}
    usual = _behaviour(made, arguments) if numbers else _Behaviour(error="it has no numeric argument")
    if usual.output is None:
        case.blocked["constructor"] = usual.error
        return
    bad: dict[Severity, list[str]] = {"warn": [], "info": []}
    tried = 0
    for name, value in numbers.items():
        for probe in _probes(made, arguments, name, value):
            tried += 1
            found = _trouble(made, arguments, usual, name, probe)
            if found is not None:
                bad[found[0]].append(f"{name}={probe!r} {found[1]}")
    for severity, texts in bad.items():
        if texts:
            yield case_finding(case, "constructor", severity, None, texts, tried, _FIX)


def _probes(made: Construction, arguments: Mapping[str, Any], name: str, value: float) -> tuple[float, ...]:
    """Values to try. A count gets no large ones, which might be a loop or an allocation."""
    if isinstance(value, float):
        whole = int(value) if value and value.is_integer() else 1
        return (whole, True, *_FLOATS)
    is_count = name in (*CHANNELS, *FEATURES) or _COUNT.fullmatch(name) is not None
    if is_count or _behaviour(made, {**arguments, name: value + 0.5}).stage:
        return (0, -1)
    return _FLOATS


def _behaviour(made: Construction, arguments: Mapping[str, Any]) -> _Behaviour:
    """Make the module and run it: forward and backward in float32, then in float16."""
    x = torch.linspace(-8.0, 8.0, 33)
    try:
        module = make(made, arguments)
    except SubjectError as error:
        return _Behaviour("construction", str(error), error.__cause__)
    runner = Runner(Subject("", module, module=module))
    try:
        refusal = runner.find_layout()
        if refusal is not None:
            return _Behaviour("forward", refusal)
        result = runner.run(x)
    except SubjectError as error:
        return _Behaviour("forward", str(error), error.__cause__)
    if result.gradient_error is not None:
        return _Behaviour("backward", result.gradient_error)
    try:
        runner.run(x.half())
    except SubjectError as error:
        return _Behaviour("float16", str(error), error.__cause__, result.output, result.gradient)
    return _Behaviour(output=result.output, gradient=result.gradient)


def _trouble(
    made: Construction, arguments: Mapping[str, Any], usual: _Behaviour, name: str, probe: float
) -> Trouble | None:
    got = _behaviour(made, {**arguments, name: probe})
    if type(arguments[name]) is float and isinstance(probe, int):
        return _unlike_float(got, probe, _behaviour(made, {**arguments, name: float(probe)}))
    if got.refused:
        return None
    ordinary = probe in (0, -1)
    if got.late(usual):
        return "warn" if math.isfinite(probe) else "info", f"is accepted, then {got.stage} raises {got.error}"
    # NaN in, NaN out is as it should be.
    what = None if math.isnan(probe) else _non_finite(got, usual, ordinary)
    if what is None and ordinary and _is_constant(got.output) and not _is_constant(usual.output):
        # A scale of 0 does what it says.
        return "warn" if probe else "info", "is accepted, and gives a constant"
    return None if what is None else ("warn" if ordinary else "info", f"is accepted, and gives {what}")


def _unlike_float(got: _Behaviour, probe: int, same: _Behaviour) -> Trouble | None:
    """What an int or a bool does that the float of the same value does not."""
    clear = isinstance(got.cause, TypeError | ValueError) or isinstance(probe, bool)
    if same.stage or (got.refused and clear):
        return None
    if got.stage:
        when = "raises" if got.refused else f"is accepted, then {got.stage} raises"
        return "warn", f"{when} {got.error}, while {float(probe)!r} works"
    alike = got.output is not None and same.output is not None and _equal(got.output, same.output)
    return None if alike else ("warn", f"gives other values than {float(probe)!r}")


def _non_finite(got: _Behaviour, usual: _Behaviour, ordinary: bool) -> str | None:
    """What is NaN or infinite that was not so with the usual arguments."""
    for quantity in ("output", "gradient"):
        now, before = getattr(got, quantity), getattr(usual, quantity)
        if now is None or before is None or not before.isfinite().all():
            continue
        # At a huge value an infinity may well be the exact result, rounded.
        lost = ~now.isfinite() if ordinary else now.isnan()
        if lost.any():
            return f"NaN or an infinity in the {quantity}, on {int(lost.sum())} of {lost.numel()} inputs in [-8, 8]"
    return None


def _is_constant(output: Tensor | None) -> bool:
    return output is not None and _equal(output.reshape(-1), output.reshape(-1)[:1].expand(output.numel()))


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a.float(), b.float(), rtol=1e-4, atol=1e-6, equal_nan=True)


CHECKS: Mapping[str, Callable[[Case], Iterator[Finding]]] = {"constructor": constructor}
