"""Initialise the linear and convolutional layers of a model for the activations between them.

Stage: model → [init] → training. In: a model, and an input if the order of its layers is to be seen. Out: the same
model with new weights, and a report. Leaves embeddings, norms and activations as they are.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from actium.errors import ParameterError
from actium.models.functional import Call, Interceptor, entry_of_function
from actium.models.gains import Moments, gate_function, moments
from actium.models.making import clean, is_activation

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm)
# A stable bias leaves this slope of the map from one layer's variance to the next's.
_SLOPE = 0.5
# Spread of ln(variance) at the end of a chain of layers from which on "auto" draws biases.
_SPREAD = 0.5


@dataclass(frozen=True)
class Event:
    """One step of a model's forward, as far as initialisation cares."""

    kind: Literal["layer", "activation", "norm"]
    name: str
    what: Any


@dataclass(frozen=True)
class Initialised:
    """One layer and what was done to it.

    Attributes:
        name: Its path.
        activation: The activation that the gain is of; None for none.
        gain: The gain of its weights.
        weight_std: Standard deviation of the weights drawn.
        bias_std: Of the biases; 0 if they are zero, NaN if there are none.
        note: What to know about it.
    """

    name: str
    activation: str | None
    gain: float
    weight_std: float
    bias_std: float
    note: str = ""


@dataclass
class InitReport:
    """What `init_` did.

    Attributes:
        layers: One row for each layer, in the order of the forward.
        order: "observed" (with a sample) or "registered" (as the modules are defined).
        untouched: Paths of modules whose weights were left as they are.
    """

    layers: list[Initialised]
    order: Literal["observed", "registered"]
    untouched: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        rows = [
            f"{r.name}: {r.activation or 'no activation'}, gain {r.gain:.4f}, std {r.weight_std:.4g}"
            + (f", bias std {r.bias_std:.4g}" if r.bias_std > 0 else "")
            + (f" ({r.note})" if r.note else "")
            for r in self.layers
        ]
        left = [f"left as they are: {', '.join(self.untouched)}"] if self.untouched else []
        return "\n".join([f"order of layers: {self.order}", *rows, *left])


def init_(
    model: nn.Module,
    sample: Any = None,
    *,
    mode: Literal["fan_in", "fan_out"] = "fan_in",
    bias: Literal["auto", "zero", "stable"] = "auto",
    calibrate: bool = False,
    generator: torch.Generator | None = None,
) -> InitReport:
    """Draw the weights of Linear and Conv layers so that signals keep their size through the activations.

    In mode "fan_in" a layer's weights have variance g²/fan_in with the gain of the activation that feeds it (1 where
    none does), so that every preactivation has the variance of the input, taken as 1. In mode "fan_out" it is
    g²/fan_out with the backward gain of the activation that follows, which keeps the variance of gradients. For ReLU
    these are He's. The modules of gated units (`actium.nn.GLU` and its kin, `torch.nn.GLU`) count as activations; a
    product that a model writes itself, `F.silu(gate) * up`, cannot be seen. Layers whose weight is computed from other
    parameters (`weight_norm`, `spectral_norm`, pruning) are left as they are.

    An activation that grows more than proportionally at 1 (`moments(act).growth` above 1: GELU, SiLU, Mish) has no
    stable variance with zero biases: what a layer adds to it, the next ones multiply. `bias="stable"` makes the
    weights of such layers smaller and draws biases in exchange, which holds the variance and lets less of the input
    through. `bias="auto"` does so only in chains so long that the variance would run away (for GELU at width 512,
    from about seven layers on without a norm between them); biases are zero otherwise. `calibrate=True` measures: it
    runs the sample and scales every layer to variance 1.

    Args:
        model: Any model; changed in place.
        sample: An input (a tensor, or a tuple of arguments) to run once, without gradients and as at evaluation, to see
            the order of layers and the functional calls. Without it, the order is that in which modules are defined.
        mode: Keep the size of signals, or that of gradients.
        bias: "auto", "zero" or "stable", as above.
        calibrate: Scale by what the sample does; needs `sample` and mode "fan_in".
        generator: Of random numbers.

    Returns:
        What was done, layer by layer.

    Raises:
        ParameterError: If an argument is none of the above, or an activation is 0 for nearly every input.

    Example:
        >>> model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))
        >>> print(init_(model))
        order of layers: registered
        0: no activation, gain 1.0000, std 0.125
        2: Tanh, gain 1.5925, std 0.1991
    """
    _check(sample, mode, bias, calibrate)
    events = _observe(model, sample) if sample is not None else _registered(model)
    rows = []
    for layer, act, length in _plan(events, mode):
        if not _owns_weight(layer.what):
            continue
        rows.append(_draw(layer, act, length, mode, bias, generator))
    if calibrate:
        factors = _calibrate(model, sample)
        rows = [_scaled(r, factors.get(r.name, 1.0)) for r in rows]
    drawn = {r.name for r in rows}
    held = [
        clean(n)
        for n, m in model.named_modules()
        if next(m.parameters(recurse=False), None) is not None and not isinstance(m, _NORMS) and not is_activation(m)
    ]
    return InitReport(rows, "registered" if sample is None else "observed", [n for n in held if n not in drawn])


def _check(sample: Any, mode: str, bias: str, calibrate: bool) -> None:
    if mode not in ("fan_in", "fan_out"):
        raise ParameterError(f"mode {mode!r}: choose 'fan_in' or 'fan_out'")
    if bias not in ("auto", "zero", "stable"):
        raise ParameterError(f"bias {bias!r}: choose 'auto', 'zero' or 'stable'")
    if calibrate and (sample is None or mode != "fan_in"):
        raise ParameterError("calibrate=True needs a sample to run, and mode 'fan_in'")


# --- The order of layers ----------------------------------------------------------------------------------


def _event(name: str, module: nn.Module) -> Event | None:
    for kind, found in (
        ("layer", isinstance(module, _LAYERS)),
        ("activation", is_activation(module) or gate_function(module) is not None),
        ("norm", isinstance(module, _NORMS)),
    ):
        if found:
            return Event(kind, clean(name), module)  # type: ignore[arg-type]
    return None


def _registered(model: nn.Module) -> list[Event]:
    inside: set[int] = set()
    events = []
    for name, module in model.named_modules():
        event = None if id(module) in inside else _event(name, module)
        if event is not None:
            inside.update(id(m) for m in module.modules())
            events.append(event)
    return events


def _observe(model: nn.Module, sample: Any) -> list[Event]:
    """The events of one forward, functional calls included."""
    events: list[Event] = []

    def note(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], call: Call) -> Any:
        events.append(Event("activation", f"{call.module}: {call.function}", entry_of_function()[function]))
        return function(*args, **kwargs)

    handles = []
    leaves = []
    for name, module in model.named_modules():
        event = _event(name, module)
        if event is not None:
            leaves.append(module)
            handles.append(module.register_forward_hook(lambda *_, event=event: events.append(event)))
    interceptor = Interceptor(entry_of_function(), note)
    interceptor.attach(model, skip=leaves)
    try:
        run_sample(model, sample)
    finally:
        interceptor.detach()
        for handle in handles:
            handle.remove()
    return events


def run_sample(model: nn.Module, sample: Any) -> None:
    """One forward as at evaluation, without gradients; the model's modes are as before."""
    with evaluating(model), torch.no_grad():
        arguments = sample if isinstance(sample, tuple) else (sample,)
        model(**sample) if isinstance(sample, dict) else model(*arguments)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """In evaluation mode for a while, each module back in its own mode afterwards."""
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _plan(events: list[Event], mode: str) -> list[tuple[Event, Any, int]]:
    """(layer, the activation that matters, layers in its chain between norms) for each layer, shared ones once."""
    chains = list(itertools.accumulate(event.kind == "norm" for event in events))
    lengths = Counter(chain for chain, event in zip(chains, events, strict=True) if event.kind == "layer")
    seen: set[int] = set()
    planned = []
    for k, event in enumerate(events):
        if event.kind != "layer" or id(event.what) in seen:
            continue
        seen.add(id(event.what))
        around = reversed(events[:k]) if mode == "fan_in" else iter(events[k + 1 :])
        others = itertools.takewhile(lambda other: other.kind != "layer", around)
        act = next((other.what for other in others if other.kind == "activation"), None)
        planned.append((event, act, lengths[chains[k]]))
    return planned


# --- Weights ------------------------------------------------------------------------------------------------


@torch.no_grad()
def _draw(layer: Event, act: Any, length: int, mode: str, bias: str, generator: torch.Generator | None) -> Initialised:
    weight: Tensor = layer.what.weight
    share, note, gain = 1.0, "", 1.0
    fan = _fan(weight, layer.what, mode)
    if act is not None:
        found = moments(act)
        size = found.square if mode == "fan_in" else found.slope_square
        if not size > found.error:
            raise ParameterError(
                f"{layer.name}: {_label(act)} is 0 for nearly every input, no gain keeps a signal's size"
            )
        if mode == "fan_in":
            drift = _spread(found, length, fan)
            share, note = _share(found, drift, bias, layer.what.bias is not None)
        gain = math.sqrt(share / size)
    std = gain / math.sqrt(fan)
    weight.normal_(0.0, std, generator=generator)
    bias_std = math.nan
    if layer.what.bias is not None:
        bias_std = math.sqrt(1.0 - share)
        layer.what.bias.normal_(0.0, bias_std, generator=generator) if bias_std else layer.what.bias.zero_()
    return Initialised(layer.name, _label(act), gain, std, bias_std, note)


def _owns_weight(layer: nn.Module) -> bool:
    """Whether what is drawn into the weight stays: not where it is computed from others (weight_norm, pruning)."""
    return layer._parameters.get("weight") is not None


def _spread(found: Moments, length: int, width: float) -> float:
    """The standard deviation of ln(variance) after a chain of layers with zero biases, from their finite width.

    Each layer adds a relative error of variance κ/width, κ = E[f⁴]/E[f²]² − 1, which every later one multiplies.
    """
    step = (found.fourth / found.square**2 - 1.0) / width
    power = min(length * math.log(max(found.growth, 1e-3)), 300.0)
    ratio = found.growth**2
    terms = length if abs(ratio - 1.0) < 1e-9 else (math.exp(2.0 * power) - 1.0) / (ratio - 1.0)
    return math.sqrt(max(step * terms, 0.0))


def _share(found: Moments, spread: float, bias: str, has_bias: bool) -> tuple[float, str]:
    """How much of a preactivation's variance comes through the weights; the rest is the bias's."""
    if found.growth <= 1.0 + 1e-9 or (bias == "auto" and spread < _SPREAD):
        return 1.0, ""
    unstable = f"variance unstable: a disturbance grows by {found.growth:.3f} a layer"
    if bias == "zero":
        return 1.0, unstable
    return (_SLOPE / found.growth, "") if has_bias else (1.0, f"{unstable}, and there is no bias to hold it")


def _fan(weight: Tensor, layer: nn.Module, mode: str) -> float:
    field_size = weight[0, 0].numel()
    groups = getattr(layer, "groups", 1)
    return weight.shape[1] * field_size if mode == "fan_in" else weight.shape[0] // groups * field_size


def _label(act: Any) -> str | None:
    return None if act is None else act if isinstance(act, str) else act._get_name()


@torch.no_grad()
def _calibrate(model: nn.Module, sample: Any) -> dict[str, float]:
    """Scale every layer so that the sample's preactivations have mean square 1; the factors by name."""
    factors: dict[str, float] = {}

    def hook(name: str, module: nn.Module, output: Tensor) -> Tensor:
        if name in factors:
            return output
        size = float(output.double().square().mean().sqrt())
        if not (size > 0.0 and math.isfinite(size)):
            raise ParameterError(f"{name}: the sample's preactivations have size {size}; check the sample")
        factors[name] = 1.0 / size
        module.weight.mul_(1.0 / size)  # type: ignore[operator]
        if module.bias is not None:
            module.bias.mul_(1.0 / size)  # type: ignore[operator]
        return output / size

    def watch(module: nn.Module, name: str) -> Any:
        return module.register_forward_hook(lambda layer, _, output: hook(name, layer, output))  # pyright: ignore

    layers = [(n, m) for n, m in model.named_modules() if isinstance(m, _LAYERS) and _owns_weight(m)]
    handles = [watch(m, clean(n)) for n, m in layers]
    try:
        run_sample(model, sample)
    finally:
        for handle in handles:
            handle.remove()
    return factors


def _scaled(row: Initialised, factor: float) -> Initialised:
    bias_std = row.bias_std * factor
    return Initialised(row.name, row.activation, row.gain * factor, row.weight_std * factor, bias_std, row.note)
