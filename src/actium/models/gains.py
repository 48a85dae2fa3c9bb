"""Gains of activations for the initialisation of weights.

Stage: activation → [gain] → init. In: anything that names an activation. Out: numbers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from actium.catalogue.build import CatalogueActivation
from actium.define import Activation
from actium.errors import ParameterError, QuadratureError, TraceError
from actium.gated import GatedActivation
from actium.gated_module import GatedModule
from actium.models.gaussian import gaussian_moments
from actium.models.making import REGISTERED, accepted, make, maker, makes_modules, name_of
from actium.module import ActivationModule
from actium.symbolic.graph import Formula
from actium.symbolic.trace import trace

Convention = Literal["forward", "backward", "torch"]


@dataclass(frozen=True)
class Moments:
    """What an activation does to a standard normal variable z.

    Attributes:
        mean: E[f(z)].
        square: E[f(z)²].
        slope_square: E[f′(z)²]; of a function with jumps, that of the slope between them.
        fourth: E[f(z)⁴].
        growth: d ln E[f(√q z)²] / d ln q at q = 1. With the gain of `square`, a network's variance returns to 1 after a
            disturbance if this is below 1, keeps it at 1 (ReLU), and runs away above 1 (GELU: 1.144).
        error: Bound of the error of the first four, or an estimate where the method is "float64".
        method: "certified" (ball arithmetic), or "float64" (quadrature in double precision, of a function that has no
            formula).
    """

    mean: float
    square: float
    slope_square: float
    fourth: float
    growth: float
    error: float
    method: Literal["certified", "float64"]


def moments(act: Any, **parameters: float) -> Moments:
    """Moments of an activation of a standard normal variable.

    Args:
        act: An activation, a name of the catalogue, a module or its class, a function without arguments that makes one,
            or a function of one tensor. Of a module with one value per channel, the mean of the values counts. Of a
            gated unit (`actium.glu`, `actium.nn.GLU`, `torch.nn.GLU`), f(z) is act(z)·u with another such variable u,
            its slope squared the mean of those by gate and up, and q scales both.
        **parameters: Values of its parameters, otherwise those of the module or the defaults.

    Returns:
        The moments.

    Raises:
        ParameterError: If a parameter is unknown.
        QuadratureError: If they are not finite.

    Example:
        >>> found = moments("relu")
        >>> found.square, found.slope_square, found.method
        (0.5, 0.5, 'certified')
    """
    if makes_modules(act):
        given = {name: value for name, value in parameters.items() if name in accepted(act)}
        act, parameters = make(act, **given), {n: v for n, v in parameters.items() if n not in given}
    gate = gate_function(act)
    if gate is not None:
        return _gated(moments(gate, **parameters))
    described = _described(act, parameters)
    if described is not None:
        try:
            return _certified(*described)
        except QuadratureError:
            pass  # floor has too many pieces; float64 says of itself that it is an estimate
    if isinstance(act, str | type):
        act = maker(act)()
    return _float64(functools.partial(act, **parameters))


def gain(act: Any, convention: Convention = "forward", **parameters: float) -> float:
    """The factor g for which weights of variance g²/fan keep a signal's size through an activation.

    Args:
        act: As for `moments`.
        convention: "forward": 1/√E[f(z)²], which keeps the variance of preactivations (with fan_in). "backward":
            1/√E[f′(z)²], which keeps that of gradients (with fan_out). "torch": what `nn.init.calculate_gain` says.
        **parameters: Values of its parameters.

    Returns:
        The gain. For identity, ReLU and leaky ReLU all three conventions agree (1, √2, √(2/(1+slope²))). Elsewhere
        PyTorch's numbers are other conventions: tanh 5/3 (forward 1.5925, backward 1.4674), sigmoid 1 (1.8462,
        4.7226), SELU 3/4 (1, 0.9660).

    Raises:
        ParameterError: If the function is 0 almost everywhere, or PyTorch has no gain of it.

    Example:
        >>> round(gain("tanh"), 4), round(gain("tanh", "backward"), 4), round(gain("tanh", "torch"), 4)
        (1.5925, 1.4674, 1.6667)
        >>> gain("leaky_relu", negative_slope=0.2) == nn.init.calculate_gain("leaky_relu", 0.2)
        True
    """
    if convention == "torch":
        return _torch_gain(act, parameters)
    if convention not in ("forward", "backward"):
        raise ParameterError(f"convention {convention!r}: choose 'forward', 'backward' or 'torch'")
    found = moments(act, **parameters)
    size = found.square if convention == "forward" else found.slope_square
    if not size > found.error:
        what = "value" if convention == "forward" else "slope"
        raise ParameterError(f"{name_of(act)}: its {what} is 0 for nearly every input, no gain keeps a signal's size")
    return math.sqrt(1.0 / size)


# Names of `nn.init.calculate_gain` that are not the entry's own.
_TORCH_NAMES = {"identity": "linear"}


def _torch_gain(act: Any, parameters: dict[str, float]) -> float:
    module = maker(act)(**parameters)
    entry = getattr(module, "entry", None)
    name = entry.name if entry is not None else name_of(type(module)).lower()
    value = getattr(module, "negative_slope", None)
    try:
        return float(nn.init.calculate_gain(_TORCH_NAMES.get(name, name), value))  # type: ignore[arg-type]
    except ValueError:
        raise ParameterError(
            f"{name}: nn.init.calculate_gain has none; gain({name!r}) is 1/√E[f(z)²], by quadrature"
        ) from None


# --- Gated units ---------------------------------------------------------------------------------------------


def gate_function(act: Any) -> Any:
    """The function of the gate of a gated unit, its module or its class; None of what is none."""
    if isinstance(act, type) and issubclass(act, GatedModule | nn.GLU):
        act = make(act)
    if isinstance(act, GatedModule | GatedActivation):
        return act.activation
    return "sigmoid" if isinstance(act, nn.GLU) else None


def _gated(gate: Moments) -> Moments:
    """Moments of f(z)·u for independent standard normal z and u: E[u] = 0, E[u²] = 1, E[u⁴] = 3."""
    slope_square = (gate.slope_square + gate.square) / 2
    return Moments(0.0, gate.square, slope_square, 3 * gate.fourth, gate.growth + 1, 3 * gate.error, gate.method)


# --- From what a user holds to a formula ---------------------------------------------------------------------


def _described(act: Any, parameters: dict[str, float]) -> tuple[Formula, tuple[float, ...]] | None:
    """A formula and its parameters' values; None for a function that has no formula."""
    if isinstance(act, str) or (isinstance(act, type) and issubclass(act, nn.Module)):
        if isinstance(act, str) and isinstance(REGISTERED.get(act), Activation):
            return _described(REGISTERED[act], parameters)
        return _described(maker(act)(**parameters), {})
    if isinstance(act, ActivationModule):
        own = act.activation
        held = {p.name: _number(getattr(act, p.name)) for p in own.parameters}
        return _of_activation(own, held | parameters)
    if isinstance(act, Activation):
        return _of_activation(act, parameters)
    try:
        traced = trace(act)
    except TraceError:
        return None
    values = {n: sum(v) / len(v) for n, v in traced.values.items()}
    _refuse_unknown(parameters, values, name_of(act))
    return traced.formula, tuple((values | parameters)[n] for n in traced.formula.parameters)


def _of_activation(act: Activation, parameters: dict[str, float]) -> tuple[Formula, tuple[float, ...]]:
    values = act.values(**parameters)
    formula = act.entry.as_written() if isinstance(act, CatalogueActivation) else act.formula
    by_name = {p.name: float(v) for p, v in zip(act.parameters, values, strict=True)}
    return formula, tuple(by_name[n] for n in formula.parameters)


def _number(value: Any) -> float:
    return float(value.detach().double().mean()) if isinstance(value, Tensor) else float(value)


def _refuse_unknown(given: dict[str, float], known: dict[str, float], name: str) -> None:
    for parameter in given:
        if parameter not in known:
            raise ParameterError(f"{name}: no parameter {parameter!r}; it has: {', '.join(known) or 'none'}")


# --- Quadrature -------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=512)
def _certified(formula: Formula, values: tuple[float, ...]) -> Moments:
    found = gaussian_moments(formula, dict(zip(formula.parameters, values, strict=True)))
    square, moved = found["square"], found["square_z2"]
    # Stein: d/dq E[f(√q z)²] at q = 1 is E[(z²−1) f(z)²]/2, which needs no slope of f and so allows jumps.
    growth = float(((moved - square) / (2 * square)).mid()) if float(square.mid()) else math.nan
    mean, size, slope, fourth = (found[n] for n in ("mean", "square", "slope_square", "fourth"))
    error = max(float(b.rad()) + abs(float(b.mid())) * 2.0**-53 for b in (mean, size, slope, fourth))
    middle = [float(b.mid()) for b in (mean, size, slope, fourth)]
    return Moments(middle[0], middle[1], middle[2], middle[3], growth, error, "certified")


_PANELS, _NODES, _REACH = 512, 12, 12.0


def _float64(function: Callable[[Tensor], Tensor]) -> Moments:
    """Gauss-Legendre on panels, which a kink in one of them spoils less than Gauss-Hermite."""
    fine, coarse = _summed(function, _PANELS), _summed(function, _PANELS // 2)
    if not np.isfinite(fine).all():
        raise QuadratureError(f"{name_of(function)}: not finite on [−{_REACH:g}, {_REACH:g}] in float64")
    mean, square, slope, fourth, moved = (float(v) for v in fine)
    error = float(np.abs(fine - coarse).max())
    growth = (moved - square) / (2 * square) if square else math.nan
    return Moments(mean, square, slope, fourth, growth, error, "float64")


def _summed(function: Callable[[Tensor], Tensor], panels: int) -> Any:
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    edges = np.linspace(-_REACH, _REACH, panels + 1)
    half = np.diff(edges)[:, None] / 2
    z = ((edges[:-1, None] + edges[1:, None]) / 2 + half * nodes).ravel()
    mass = (half * weights).ravel() * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    x = torch.from_numpy(z).requires_grad_()
    with torch.enable_grad():
        y = function(x)
        slope = torch.autograd.grad(y.sum(), x)[0].numpy() if y.requires_grad else np.zeros_like(z)
    f = y.detach().double().numpy()
    return np.array([(v * mass).sum() for v in (f, f * f, slope * slope, f**4, f * f * z * z)])
