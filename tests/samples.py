"""Activations of every shape that the op can take, each with the plain float64 torch function it must equal."""

from __future__ import annotations

from collections.abc import Callable

import torch

from actium.authoring import formula
from actium.define import Activation
from actium.symbolic.graph import Formula, const, op, parameter, variable, where
from actium.symbolic.parameters import learnable

X = variable("x")
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
HALVES = (torch.float16, torch.bfloat16)
# Of one rounding: half a unit in the last place, and the same again for the kernel's own few operations.
UNIT = {torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7, torch.float32: 2.0**-21, torch.float64: 2.0**-46}

SILU_TEXT = "x * sigmoid(x)"
silu = formula(SILU_TEXT, name="silu")
mish = formula("x * tanh(log(1 + exp(x)))", name="mish")
gelu = formula("0.5 * x * (1 + erf(x / sqrt(2)))", name="gelu")
elu = formula("where(x > 0, x, exp(x) - 1)", name="elu")
softsign = formula("x / (1 + abs(x))", name="softsign")
hardswish = formula("where(x <= -3, 0, where(x >= 3, x, x * (x + 3) / 6))", name="hardswish")
relu = Activation(
    Formula(where(X <= 0.0, 0.0, X)),
    name="relu",
    output_slope=Formula(where(variable("y") > 0.0, const(1.0), const(0.0)), ("y",)),
)
swish = formula("x * sigmoid(beta * x)", name="swish", beta=learnable(1.0))
soft_clip = formula("theta * tanh(x / theta)", name="soft_clip", theta=learnable(1.0, positive=True))
leaky = formula("where(x > 0, x, slope * x)", name="leaky", slope=0.25)
two = formula("a * tanh(b * x) + where(x < a, 0, x - a)", name="two", a=learnable(1.5), b=learnable(0.5, min=0, max=4))

PLAIN = (silu, mish, gelu, elu, softsign, hardswish, relu)
WITH_PARAMETERS = (swish, soft_clip, leaky, two)
ALL = (*PLAIN, *WITH_PARAMETERS)

REFERENCE: dict[str, Callable[..., torch.Tensor]] = {
    "silu": lambda x: x * torch.sigmoid(x),
    "mish": lambda x: x * torch.tanh(torch.nn.functional.softplus(x, threshold=700.0)),
    "gelu": lambda x: 0.5 * x * torch.erfc(-x / 2**0.5),
    "elu": lambda x: torch.where(x > 0, x, torch.expm1(x.clamp(max=0.0))),
    "softsign": lambda x: x / (1 + x.abs()),
    "hardswish": lambda x: torch.where(x <= -3, 0.0 * x, torch.where(x >= 3, x, x * (x + 3) / 6)),
    "relu": lambda x: torch.relu(x),
    "swish": lambda x, beta: x * torch.sigmoid(beta * x),
    "soft_clip": lambda x, theta: theta * torch.tanh(x / theta),
    "leaky": lambda x, slope: torch.where(x > 0, x, slope * x),
    "two": lambda x, a, b: a * torch.tanh(b * x) + torch.where(x < a, torch.zeros_like(x * a), x - a),
}


def _sech2(u: torch.Tensor) -> torch.Tensor:
    z = torch.exp(-2 * u.abs())
    return 4 * z / (1 + z) ** 2


# Slopes by hand where float64 autograd of the reference would cancel.
SLOPE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "silu": lambda x: torch.sigmoid(x) * (1 + x * torch.sigmoid(-x)),
    "mish": lambda x: torch.tanh(torch.logaddexp(0 * x, x)) + x * _sech2(torch.logaddexp(0 * x, x)) * torch.sigmoid(x),
    "gelu": lambda x: 0.5 * torch.erfc(-x / 2**0.5) + x * torch.exp(-x * x / 2) / (2 * torch.pi) ** 0.5,
    "elu": lambda x: torch.exp(x.clamp(max=0.0)),
    "softsign": lambda x: (1 / (1 + x.abs())) ** 2,
    "hardswish": lambda x: torch.where(x < 3, torch.where(x > -3, (2 * x + 3) / 6, 0.0), 1.0),
    "relu": lambda x: (x > 0).double(),
}

# Two inputs of one shape, as in gated units: swiglu(x, gate).
GATED = Formula(X * (variable("gate") * op("sigmoid", parameter("beta") * variable("gate"))), ("x", "gate"), ("beta",))


def identify(value: object) -> str | None:
    """A readable parametrize id."""
    if isinstance(value, Activation):
        return value.name
    return str(value).removeprefix("torch.") if isinstance(value, torch.dtype) else None


def bits(t: torch.Tensor) -> torch.Tensor:
    """The encodings, so that NaN equals NaN and −0 differs from 0."""
    integers = {2: torch.int16, 4: torch.int32, 8: torch.int64}[t.element_size()]
    return t.detach().contiguous().view(integers)


def assert_same_bits(got: torch.Tensor, expected: torch.Tensor) -> None:
    """Bit for bit equal, with the same shape and dtype."""
    assert got.dtype is expected.dtype
    assert got.shape == expected.shape
    assert torch.equal(bits(got), bits(expected))


def all_halves(dtype: torch.dtype) -> torch.Tensor:
    """All 65,536 encodings of a half-precision format."""
    return torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)


def sample(*shape: int, dtype=torch.float32, scale: float = 3.0, seed: int = 0) -> torch.Tensor:
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale).to(dtype)


def gradients(activation, x, grad, **parameters):
    """Output and gradients of the input and of the parameters that are tensors."""
    x = x.detach().requires_grad_()
    leaves = [x, *(p for p in parameters.values() if isinstance(p, torch.Tensor))]
    y = activation(x, **parameters)
    return y.detach(), *torch.autograd.grad(y, leaves, grad)
