"""Activations by hand in float64, output and slope apart: the sound originals into which faults are injected."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from actium import catalogue
from actium.checking import at_values
from actium.symbolic.graph import Formula

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Made:
    """An implementation: what it returns, and what its backward returns for an input and a `grad_output`."""

    output: Map
    gradient: Callable[[Tensor, Tensor], Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        return _Apply.apply(x, self)


class _Apply(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, made: Made) -> Tensor:
        ctx.save_for_backward(x)
        ctx.made = made
        return made.output(x)

    @staticmethod
    def backward(ctx, *grads: Tensor):
        (x,) = ctx.saved_tensors
        return ctx.made.gradient(x, grads[0]), None


def made_of(value: Map, slope: Map) -> Made:
    """Computed in float64 and rounded once."""
    return Made(
        lambda x: value(x.double()).to(x.dtype),
        lambda x, g: (g.double() * slope(x.double())).to(x.dtype),
    )


@dataclass(frozen=True)
class Original:
    """A catalogue entry and the same function by hand.

    Attributes:
        name: The entry's.
        value: The function, in the dtype of its argument.
        slope: Its derivative, likewise.
        arguments: Parameter values, where they are not the entry's own.
        from_output: The slope as it follows from the output, where the usual backward takes it from there.
        unstable: The textbook form of the function that cancels: log for log1p, exp − 1 for expm1.
        sides: The expressions left and right of its kink or joint at `joint`, with their slopes.
        joint: Where they meet.
        swapped: The function with two of its parameters or constants exchanged.
    """

    name: str
    value: Map
    slope: Map
    arguments: Mapping[str, float] = field(default_factory=dict)
    from_output: Map | None = None
    unstable: Map | None = None
    sides: tuple[Map, Map, Map, Map] | None = None
    joint: float = 0.0
    swapped: Map | None = None

    @functools.cached_property
    def formula(self) -> Formula:
        """What it is, for the truth."""
        entry = catalogue.get(self.name)
        return at_values(entry.as_written(), {**entry.defaults, **self.arguments})

    @property
    def made(self) -> Made:
        """The sound implementation."""
        return made_of(self.value, self.slope)

    def op(self) -> Map:
        """The catalogue's."""
        return functools.partial(catalogue.get(self.name).activation(), **self.arguments)


def _sigmoid(x: Tensor) -> Tensor:
    return torch.sigmoid(x)


def _bell(x: Tensor) -> Tensor:
    return torch.sigmoid(x) * torch.sigmoid(-x)


def _sech2(x: Tensor) -> Tensor:
    z = torch.exp(-2 * x.abs())
    return 4 * z / (1 + z) ** 2


def _inner(x: Tensor) -> Tensor:
    """Far out nothing changes any more, and inf·0 is avoided."""
    return x.clamp(-2e3, 2e3)


def _silu(x: Tensor) -> Tensor:
    return torch.where(x < -2e3, 0 * _inner(x), x) * torch.sigmoid(x)


def _silu_slope(x: Tensor) -> Tensor:
    return torch.sigmoid(x) * (1 + _inner(x) * torch.sigmoid(-x))


def _softplus(x: Tensor) -> Tensor:
    return torch.logaddexp(x, torch.zeros_like(x))


def _mish(x: Tensor) -> Tensor:
    return torch.where(x < -2e3, 0 * _inner(x), x) * torch.tanh(_softplus(x))


def _mish_slope(x: Tensor) -> Tensor:
    s = _softplus(x)
    return torch.tanh(s) + _inner(x) * _sech2(s) * torch.sigmoid(x)


def _gelu(x: Tensor) -> Tensor:
    return torch.where(x < -2e3, 0 * _inner(x), x) * 0.5 * torch.erfc(-x / 2**0.5)


def _gelu_slope(x: Tensor) -> Tensor:
    y = _inner(x)
    return 0.5 * torch.erfc(-y / 2**0.5) + y * torch.exp(-y * y / 2) / (2 * torch.pi) ** 0.5


_ROOT = math.sqrt(2 / math.pi)


def _gate(x: Tensor, a: float = 2 * _ROOT, b: float = 0.044715) -> Tensor:
    return a * (x + b * x**3)


def _gelu_tanh(x: Tensor, a: float = 2 * _ROOT, b: float = 0.044715) -> Tensor:
    return torch.where(x < -2e3, 0 * _inner(x), x) * torch.sigmoid(_gate(_inner(x), a, b))


def _gelu_tanh_slope(x: Tensor) -> Tensor:
    y = _inner(x)
    u = _gate(y)
    return torch.sigmoid(u) + y * _bell(u) * 2 * _ROOT * (1 + 3 * 0.044715 * y * y)


_ALPHA, _SCALE = 1.6732632423543772, 1.0507009873554805


def _ones(x: Tensor) -> Tensor:
    return torch.ones_like(x)


def _sided(left: Map, left_slope: Map, right: Map, right_slope: Map, **more) -> dict:
    return {
        "value": lambda x: torch.where(x > 0, right(x), left(x)),
        "slope": lambda x: torch.where(x > 0, right_slope(x), left_slope(x)),
        "sides": (left, left_slope, right, right_slope),
        **more,
    }


def _softsign(x: Tensor) -> Tensor:
    return torch.where(x.isinf(), torch.sign(x), x / (1 + x.abs()))


def _hardswish(x: Tensor, a: float = 3.0, b: float = 6.0) -> Tensor:
    return torch.where(x <= -a, 0 * _inner(x), torch.where(x >= a, x, x * (x + a) / b))


ORIGINALS = (
    Original("silu", _silu, _silu_slope),
    Original("mish", _mish, _mish_slope, unstable=lambda x: x * torch.tanh(torch.log(1 + torch.exp(x)))),
    Original("gelu", _gelu, _gelu_slope, unstable=lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5))),
    Original(
        "gelu_tanh",
        _gelu_tanh,
        _gelu_tanh_slope,
        unstable=lambda x: 0.5 * x * (1 + torch.tanh(_gate(x, _ROOT))),
        swapped=lambda x: _gelu_tanh(x, 2 * 0.044715, _ROOT),
    ),
    Original("sigmoid", _sigmoid, _bell, from_output=lambda y: y * (1 - y), unstable=lambda x: 1 / (1 + torch.exp(-x))),
    Original(
        "tanh",
        torch.tanh,
        _sech2,
        from_output=lambda y: 1 - y * y,
        unstable=lambda x: (torch.exp(2 * x) - 1) / (torch.exp(2 * x) + 1),
    ),
    Original(
        "softplus",
        lambda x: 2 * _softplus(x / 2),
        lambda x: torch.sigmoid(x / 2),
        {"beta": 0.5},
        from_output=lambda y: 1 - torch.exp(-y / 2),
        unstable=lambda x: torch.relu(x) + 2 * torch.log(1 + torch.exp(-x.abs() / 2)),
        swapped=lambda x: _softplus(2 * x) / 2,
    ),
    Original(
        "logsigmoid",
        lambda x: -_softplus(-x),
        lambda x: torch.sigmoid(-x),
        from_output=lambda y: 1 - torch.exp(y),
        unstable=lambda x: -torch.relu(-x) - torch.log(1 + torch.exp(-x.abs())),
    ),
    Original(
        "elu",
        **_sided(lambda x: 1.5 * torch.expm1(x), lambda x: 1.5 * torch.exp(x), lambda x: x, _ones),
        arguments={"alpha": 1.5},
        from_output=lambda y: torch.where(y > 0, 1.0, y + 1.5),
        unstable=lambda x: torch.where(x > 0, x, 1.5 * (torch.exp(x) - 1)),
        swapped=lambda x: torch.where(x > 0, 1.5 * x, torch.expm1(x)),
    ),
    Original(
        "selu",
        **_sided(
            lambda x: _SCALE * _ALPHA * torch.expm1(x),
            lambda x: _SCALE * _ALPHA * torch.exp(x),
            lambda x: _SCALE * x,
            lambda x: _SCALE * _ones(x),
        ),
        from_output=lambda y: torch.where(y > 0, _SCALE, y + _SCALE * _ALPHA),
        unstable=lambda x: _SCALE * torch.where(x > 0, x, _ALPHA * (torch.exp(x) - 1)),
        swapped=lambda x: _ALPHA * torch.where(x > 0, x, _SCALE * torch.expm1(x)),
    ),
    Original("softsign", _softsign, lambda x: 1 / (1 + x.abs()) ** 2, from_output=lambda y: (1 - y.abs()) ** 2),
    Original(
        "hardswish",
        _hardswish,
        lambda x: torch.where(x <= -3, 0.0, torch.where(x >= 3, 1.0, (2 * x + 3) / 6)),
        sides=(lambda x: x * (x + 3) / 6, lambda x: (2 * x + 3) / 6, lambda x: x, _ones),
        joint=3.0,
        swapped=lambda x: _hardswish(x, 6.0, 3.0),
    ),
    Original("square_relu", **_sided(lambda x: 0 * _inner(x), torch.zeros_like, lambda x: x * x, lambda x: 2 * x)),
    Original(
        "leaky_relu",
        **_sided(lambda x: 0.1 * x, lambda x: 0.1 * _ones(x), lambda x: x, _ones),
        arguments={"negative_slope": 0.1},
        swapped=lambda x: torch.where(x > 0, 0.1 * x, x),
    ),
    Original(
        "soft_clip",
        lambda x: 3 * torch.tanh(x / 3),
        lambda x: _sech2(x / 3),
        {"scale": 3.0},
        from_output=lambda y: 1 - (y / 3) ** 2,
        unstable=lambda x: 3 * (1 - torch.exp(-2 * x / 3)) / (1 + torch.exp(-2 * x / 3)),
        swapped=lambda x: torch.tanh(3 * x) / 3,
    ),
)
