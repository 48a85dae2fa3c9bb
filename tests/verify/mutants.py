"""Faulty functions that a check must reject, and sound ones that it must accept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Specimen:
    """A function, what it claims to be, and the check that knows it."""

    check: str
    call: Callable[[Tensor], Tensor]
    formula: str | None
    severity: str = "fail"
    dtype: str = "float16"


def naive_tanh(x: Tensor) -> Tensor:
    return (torch.exp(x) - torch.exp(-x)) / (torch.exp(x) + torch.exp(-x))


def naive_sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def naive_elu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.exp(x) - 1)


def swallows_nan(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.zeros_like(x))


class _SlightlyOff(torch.autograd.Function):
    """SiLU whose backward is 5e-4 too large."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return F.silu(x)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x.double())
        return (grads[0].double() * s * (1 + x.double() * (1 - s)) * 1.0005).to(x.dtype)


def slightly_off(x: Tensor) -> Tensor:
    return _SlightlyOff.apply(x)


class _ReLU(torch.autograd.Function):
    """ReLU with a backward of its own; faults are in its subclasses."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)


class _ForgetsToClone(_ReLU):
    @staticmethod
    def backward(ctx, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        grad = grads[0]
        grad[x <= 0] = 0
        return grad


class _InPlace(_ReLU):
    @staticmethod
    def backward(ctx, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grads[0].mul_((x > 0).to(x.dtype))


class _RootOfGrad(_ReLU):
    @staticmethod
    def backward(ctx, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.where(x > 0, grads[0].sqrt() ** 2, 0)


class _ByAddress(_ReLU):
    @staticmethod
    def backward(ctx, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        if x.dim() != 4:
            return torch.where(x > 0, grads[0], 0)
        strides = x.stride()
        if not x.is_contiguous(memory_format=torch.channels_last):
            strides = x.contiguous().stride()
        grad = torch.as_strided(grads[0], x.shape, strides)
        return torch.where(x > 0, grad, 0)


def walks_by_address(x: Tensor) -> Tensor:
    """ReLU whose backward walks input and grad_output side by side in memory, which are not always laid out alike."""
    return _ByAddress.apply(x)


class _ChannelsByAddress(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return F.prelu(x, slope)

    @staticmethod
    def backward(ctx, *grads: Tensor):
        x, slope = ctx.saved_tensors
        per_channel = slope.reshape(1, -1, *[1] * (x.dim() - 2))
        by_address = torch.as_strided(grads[0], x.shape, x.stride()) if x.dim() == 4 else grads[0]
        terms = torch.where(x > 0, 0, x) * grads[0]
        return by_address * torch.where(x > 0, 1, per_channel), terms.sum([d for d in range(x.dim()) if d != 1])


class PReLUByAddress(nn.Module):
    """PReLU of 8 channels whose gradient by the input, of images, walks grad_output as the input lies in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((8,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        return _ChannelsByAddress.apply(x, self.weight)


def forgets_to_clone(x: Tensor) -> Tensor:
    """ReLU whose backward sets elements of grad_output to 0."""
    return _ForgetsToClone.apply(x)


def multiplies_in_place(x: Tensor) -> Tensor:
    """ReLU whose backward multiplies grad_output in place, which raises for `y.sum().backward()`."""
    return _InPlace.apply(x)


def root_of_grad(x: Tensor) -> Tensor:
    """ReLU whose backward is NaN where grad_output is negative."""
    return _RootOfGrad.apply(x)


class _IgnoresGrad(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        ctx.save_for_backward(x > 0)
        return x.clamp_(min=0)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> Tensor:
        (above,) = ctx.saved_tensors
        return above.to(grads[0].dtype)


def ignores_grad_in_place(x: Tensor) -> Tensor:
    """In-place ReLU whose backward takes grad_output for 1."""
    return _IgnoresGrad.apply(x)


class _Stale(torch.autograd.Function):
    last: Tensor

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        _Stale.last = x.detach()
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> Tensor:
        return torch.where(_Stale.last > 0, grads[0], 0)


class _Clips(_ReLU):
    @staticmethod
    def backward(ctx, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.where(x > 0, grads[0].clamp(-5, 5), 0)


def remembers_the_last(x: Tensor) -> Tensor:
    """ReLU whose backward takes the input of the latest call."""
    return _Stale.apply(x)


def clips_gradients(x: Tensor) -> Tensor:
    """ReLU whose backward clips grad_output, which a GradScaler makes large."""
    return _Clips.apply(x)


def swapped_gate(x: Tensor) -> Tensor:
    """SiLU whose gate gets no gradient."""
    return x * torch.sigmoid(x.detach())


def detached(x: Tensor) -> Tensor:
    return torch.tanh(x.detach())


def not_the_formula(x: Tensor) -> Tensor:
    """SiLU with a constant that is off by 1e-4."""
    return x * torch.sigmoid(1.0001 * x)


def signed_identity(x: Tensor) -> Tensor:
    """The identity, with gradient 0 at 0."""
    return torch.sign(x) * torch.abs(x)


def never_casts_back(x: Tensor) -> Tensor:
    return torch.relu(x.float())


def loses_zero_dim(x: Tensor) -> Tensor:
    return torch.relu(torch.atleast_1d(x))


def reads_storage(x: Tensor) -> Tensor:
    """Ignores strides, as a kernel that was handed a bare pointer does."""
    flat = torch.as_strided(x, (x.numel(),), (1,), x.storage_offset())
    return torch.tanh(flat).reshape(x.shape)


def mutates(x: Tensor) -> Tensor:
    return x.clamp_(min=0)


def alternates_by_row(x: Tensor) -> Tensor:
    """ReLU and its mirror image by row: the batch taken for the channels."""
    if x.dim() < 2:
        return torch.relu(x)
    sign = torch.ones(x.shape[0], dtype=x.dtype)
    sign[1::2] = -1
    sign = sign.reshape(-1, *[1] * (x.dim() - 1))
    return sign * torch.relu(sign * x)


def mish_in_disguise(x: Tensor) -> Tensor:
    return x * torch.tanh(F.softplus(x))


def in_double(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The soundest form there is: computed in float64, rounded once."""
    return lambda x: function(x.double()).to(x.dtype)


class Gate(nn.Module):
    """SiLU with a float32 parameter and a proper cast."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        y = x.double()
        return (y * torch.sigmoid(y * self.beta.double())).to(x.dtype)


MUTANTS = {
    "naive tanh": Specimen("non-finite-output", naive_tanh, "tanh(x)"),
    "naive sigmoid": Specimen("non-finite-gradient", naive_sigmoid, "sigmoid(x)"),
    "naive elu": Specimen("masked-branch", naive_elu, "elu(x)"),
    "naive elu without a formula": Specimen("masked-branch", naive_elu, None),
    "exp minus one": Specimen("false-zero", lambda x: torch.exp(x) - 1, "expm1(x)", "warn"),
    "composite silu": Specimen("precision-loss", lambda x: x * torch.sigmoid(x), "silu(x)", "warn"),
    "constant off by 1e-4": Specimen("precision-loss", not_the_formula, "silu(x)"),
    "where swallows NaN": Specimen("nan-policy", swallows_nan, "relu(x)", "warn"),
    "torch tanh": Specimen("false-zero-gradient", torch.tanh, "tanh(x)", "warn"),
    "backward off by 5e-4": Specimen("wrong-gradient", slightly_off, "silu(x)"),
    "backward off by 5e-4, without a formula": Specimen("wrong-gradient", slightly_off, None),
    "grad_output overwritten": Specimen("wrong-gradient", forgets_to_clone, "relu(x)"),
    "grad_output multiplied in place": Specimen("wrong-gradient", multiplies_in_place, "relu(x)"),
    "grad_output ignored in place": Specimen("wrong-gradient", ignores_grad_in_place, "relu(x)"),
    "the latest call's gradient": Specimen("wrong-gradient", remembers_the_last, "relu(x)"),
    "grad_output clipped": Specimen("wrong-gradient", clips_gradients, "relu(x)"),
    "NaN for negative grad_output": Specimen("wrong-gradient", root_of_grad, "relu(x)"),
    "grad_output by address": Specimen("wrong-gradient", walks_by_address, "relu(x)"),
    "grad_output of 8 channels by address": Specimen("wrong-gradient", PReLUByAddress(), None),
    "gate without gradient": Specimen("wrong-gradient", swapped_gate, "silu(x)"),
    "gate without gradient or formula": Specimen("wrong-gradient", swapped_gate, None),
    "detached": Specimen("wrong-gradient", detached, "tanh(x)"),
    "sign times abs": Specimen("invalid-subgradient", signed_identity, "x", "warn"),
    "float32 out": Specimen("dtype-leak", never_casts_back, "relu(x)"),
    "0-d becomes 1-d": Specimen("shape-change", loses_zero_dim, "relu(x)", "warn"),
    "strides ignored": Specimen("shape-change", reads_storage, "tanh(x)"),
    "clamp_": Specimen("input-mutated", mutates, "relu(x)"),
    "rows for channels": Specimen("batch-coupling", alternates_by_row, None),
    "mish in disguise": Specimen("duplicate", mish_in_disguise, "x * tanh(log(1 + exp(x)))", "info"),
}

# Each check must accept the functions here, on every half-precision number and a sample of float32.
SOUND: dict[str, tuple[Callable[[Tensor], Tensor], str | None]] = {
    "tanh": (in_double(lambda x: torch.tanh(x)), None),
    "relu": (torch.relu, "relu(x)"),
    "leaky_relu": (F.leaky_relu, "where(x > 0, x, 0.01*x)"),
    "gated by a parameter": (Gate(), "silu(x)"),
    "elu": (F.elu, "elu(x)"),
    "softplus": (F.softplus, "log(1 + exp(x))"),
    "hardshrink": (F.hardshrink, "where(abs(x) > 0.5, x, 0)"),
    "threshold at 0.1, no half-precision number": (lambda x: F.threshold(x, 0.1, 20.0), "where(x > 0.1, x, 20)"),
}
