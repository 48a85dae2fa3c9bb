"""Faulty modules for the checks on parameters, each of which must be rejected by the check that it names."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mutants import Specimen
from torch import Tensor, nn


class _Swish(torch.autograd.Function):
    """x·σ(βx) with a backward of its own; faults are in its subclasses."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, beta: Tensor) -> Tensor:
        ctx.save_for_backward(x, beta)
        return x * torch.sigmoid(beta * x)

    @staticmethod
    def slopes(ctx: Any) -> tuple[Tensor, Tensor]:
        x, beta = ctx.saved_tensors
        s = torch.sigmoid(beta * x)
        in_beta = torch.where(s * (1 - s) == 0, 0, x * (x * s * (1 - s)))
        return s + beta * x * s * (1 - s), in_beta

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        slope, in_beta = _Swish.slopes(ctx)
        return grads[0] * slope, (grads[0] * in_beta).sum().reshape(ctx.saved_tensors[1].shape)


class _OffSwish(_Swish):
    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        to_x, to_beta = _Swish.backward(ctx, *grads)
        return to_x, 1.0005 * to_beta


class _MeanSwish(_Swish):
    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        to_x, to_beta = _Swish.backward(ctx, *grads)
        return to_x, to_beta / to_x.numel()


class _DeafSwish(_Swish):
    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        slope, in_beta = _Swish.slopes(ctx)
        return grads[0] * slope, in_beta.sum().reshape(ctx.saved_tensors[1].shape)


class _ScaledSumSwish(_Swish):
    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        slope, in_beta = _Swish.slopes(ctx)
        return grads[0] * slope, (64 * grads[0] * in_beta).sum().reshape(ctx.saved_tensors[1].shape) / 64


class _FirstImageSwish(_Swish):
    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        slope, in_beta = _Swish.slopes(ctx)
        to_beta = grads[0] * in_beta
        if to_beta.dim() == 4:
            to_beta = to_beta[0]
        return grads[0] * slope, to_beta.sum().reshape(ctx.saved_tensors[1].shape)


class _SpreadSlope(torch.autograd.Function):
    """A leaky ReLU with a slope for each channel, and the same gradient for all of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return torch.where(x > 0, x, slope * x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = ctx.saved_tensors
        to_slope = torch.where(x > 0, 0, grads[0] * x).mean(1, keepdim=True).expand_as(x).sum(0)
        return torch.where(x > 0, grads[0], grads[0] * slope), to_slope


class Swish(nn.Module):
    """x·σ(βx) in float32 at least, with the backward of `function`."""

    function: type[_Swish] = _Swish

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.full((1,), beta))

    def forward(self, x: Tensor) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)
        return self.function.apply(x.to(wide), self.beta.to(wide)).to(x.dtype)


class OffSwish(Swish):
    """The gradient of β is 5e-4 too large."""

    function = _OffSwish


class MeanSwish(Swish):
    """The gradient of β is the mean over the tensor, not the sum."""

    function = _MeanSwish


class DeafSwish(Swish):
    """The gradient of β ignores `grad_output`."""

    function = _DeafSwish


class FirstImageSwish(Swish):
    """The gradient of β is summed over the first image of a batch only."""

    function = _FirstImageSwish


class ScaledSumSwish(Swish):
    """The sum is scaled up by 64 on the way, beyond what a float16 holds."""

    def forward(self, x: Tensor) -> Tensor:
        return _ScaledSumSwish.apply(x, self.beta.to(x.dtype))


class SpreadSlope(nn.Module):
    """Every channel's slope gets the mean gradient of all."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.full((6,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 2:
            raise ValueError("expected (N, 6)")
        return _SpreadSlope.apply(x, self.slope.to(x.dtype))


class HalfDetached(nn.Module):
    """θ·tanh(θx) that forgets one of its two θ in the gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.theta * torch.tanh(self.theta.detach() * x)


class Frozen(nn.Module):
    """Swish whose β is read as a number, so that no gradient reaches it."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.beta.item() * x)


class HardThreshold(nn.Module):
    """A learnable threshold in a comparison, which has no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > self.threshold, x, torch.zeros_like(x))


class SoftExponential(nn.Module):
    """As published: x at α = 0, where it starts, and a logarithm without a domain below."""

    def __init__(self, alpha: float = 0.0) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(alpha))

    def forward(self, x: Tensor) -> Tensor:
        if self.alpha == 0:
            return x
        if self.alpha < 0:
            return -torch.log(1 - self.alpha * (x + self.alpha)) / self.alpha
        return torch.expm1(self.alpha * x) / self.alpha + self.alpha


class OutOfRange(nn.Module):
    """A slope that is clamped to [0, 1], and starts at 2."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.full((1,), 2.0))

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, self.slope.clamp(0, 1).to(x.dtype) * x)


class Unused(nn.Module):
    """SiLU with a parameter that forward never mentions."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x)


class LeavesOutTheFirst(nn.Module):
    """A leaky ReLU with a slope for each channel, by a loop that starts at 1."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.full((channels,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() < 2 or x.shape[1] != len(self.slope):
            raise ValueError(f"expected {len(self.slope)} channels")
        rest = [torch.where(x[:, c] > 0, x[:, c], self.slope[c].to(x.dtype) * x[:, c]) for c in range(1, x.shape[1])]
        return torch.stack([torch.relu(x[:, 0]), *rest], 1)


class UnusedCoefficient(nn.Module):
    """A cubic whose last coefficient is never read."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.5, 1.0, 0.25, 0.125]))

    def forward(self, x: Tensor) -> Tensor:
        a, b, c, _ = self.weight.to(x.dtype)
        return torch.tanh(a + x * (b + x * c))


class OneCoefficientAsANumber(nn.Module):
    """A leaky ReLU with two slopes, of which one gets no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.slopes = nn.Parameter(torch.tensor([0.25, 1.5]))

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, self.slopes[1].item() * x, self.slopes[0].to(x.dtype) * x)


class SoftplusClipping(nn.Module):
    """Meant to clip softly at θ. θ·(softplus(x/θ) − log(1 + e^−|x/θ|)) is max(x, 0), whatever θ is."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        u = x / self.theta
        return self.theta * F.softplus(u) - self.theta * torch.log(1 + torch.exp(-u.abs()))


class LearnableClipping(nn.Module):
    """θ·tanh(x/θ): even in θ, and NaN at 0."""

    def __init__(self, theta: float = 1.0) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(theta))

    def forward(self, x: Tensor) -> Tensor:
        return self.theta * torch.tanh(x / self.theta)


class ReluGate(nn.Module):
    """x·relu(g): below 0 the gate is shut for good."""

    def __init__(self) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.relu(self.g).to(x.dtype)


class AbsGain(nn.Module):
    """tanh(|k|·x): even in k, and sound all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.k = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x.float() * self.k.abs()).to(x.dtype)


class RootScale(nn.Module):
    """√s·tanh(x), with nothing that keeps s positive."""

    def __init__(self) -> None:
        super().__init__()
        self.s = nn.Parameter(torch.full((1,), 0.3))

    def forward(self, x: Tensor) -> Tensor:
        return (torch.sqrt(self.s) * torch.tanh(x.float())).to(x.dtype)


class WhereELU(nn.Module):
    """ELU by `where`: where x was selected, the gradient of α is 0·inf once eˣ overflows."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, self.alpha.to(x.dtype) * (torch.exp(x) - 1))


class WhereLog(nn.Module):
    """a·log(x + 1.3) right of 0: left of −1.3, 0·NaN is the gradient of a in every format, and that of x is right."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.ones(1))
        self.b = nn.Parameter(torch.full((1,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a.to(x.dtype), self.b.to(x.dtype)
        return torch.where(x > 0, a * torch.log(x + 1.3), b * x)


class WhereFloatELU(WhereELU):
    """The same in float32 whatever it is given, so that every format loses the gradient at the same inputs."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()).to(x.dtype)


class CastSlope(nn.Module):
    """A leaky ReLU whose float32 slope is cast to the input's dtype, so that its gradient is summed there."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.full((1,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, self.slope.to(x.dtype) * x)


class PlainAttribute(nn.Module):
    """A tensor that requires a gradient, and is no nn.Parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.ones(1, requires_grad=True)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x) * self.scale.to(x.dtype)


class PlainList(nn.Module):
    """Parameters in a list instead of an nn.ParameterList."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = [nn.Parameter(torch.full((1,), 0.5)) for _ in range(2)]

    def forward(self, x: Tensor) -> Tensor:
        linear, curved = (w.to(x.dtype) for w in self.weights)
        return linear * x + curved * torch.tanh(x)


class Closure(nn.Module):
    """A learnable scale that only a lambda knows."""

    def __init__(self) -> None:
        super().__init__()
        scale = torch.ones(1, requires_grad=True)
        self.function = lambda x: torch.tanh(x) * scale.to(x.dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class PlainModules(nn.Module):
    """Activations in a dict instead of an nn.ModuleDict."""

    def __init__(self) -> None:
        super().__init__()
        self.sides = {"left": nn.PReLU(), "right": nn.PReLU()}

    def forward(self, x: Tensor) -> Tensor:
        return self.sides["left"](x) - self.sides["right"](-x)


_SHARED = torch.ones(1, requires_grad=True)


class Global(nn.Module):
    """A learnable scale outside the module."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x) * _SHARED.to(x.dtype)


class PlainConstant(nn.Module):
    """Coefficients in a tensor that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.coefficients = torch.tensor([0.5, 0.25])

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.coefficients.to(x.dtype)
        return a * x + b * torch.tanh(x)


class ClassConstant(nn.Module):
    """Coefficients in a tensor of the class."""

    coefficients = torch.tensor([0.5, 0.25])

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.coefficients.to(x.dtype)
        return a * x + b * torch.tanh(x)


MUTANTS = {
    "parameter gradient off by 5e-4": Specimen("wrong-parameter-gradient", OffSwish(), None),
    "parameter gradient off by 5e-4, with a formula": Specimen("wrong-parameter-gradient", OffSwish(), "silu(x)"),
    "mean for a sum": Specimen("wrong-parameter-gradient", MeanSwish(), None),
    "sum over the first image": Specimen("wrong-parameter-gradient", FirstImageSwish(), None),
    "grad_output ignored": Specimen("wrong-parameter-gradient", DeafSwish(), None),
    "channels share their gradient": Specimen("wrong-parameter-gradient", SpreadSlope(), None),
    "half of it detached": Specimen("wrong-parameter-gradient", HalfDetached(), None),
    "NaN of the other branch, in every format": Specimen("wrong-parameter-gradient", WhereLog(), None),
    "NaN of the other branch, in float32": Specimen("wrong-parameter-gradient", WhereFloatELU(), None),
    "read as a number": Specimen("dead-parameter", Frozen(), None),
    "threshold in a comparison": Specimen("dead-parameter", HardThreshold(), None),
    "not used at its initial value": Specimen("dead-parameter", SoftExponential(), None),
    "clamped where it starts": Specimen("dead-parameter", OutOfRange(), None),
    "never used, so without gradient": Specimen("dead-parameter", Unused(), None, "warn"),
    "never used": Specimen("ineffective-parameter", Unused(), None, "warn"),
    "cancels": Specimen("ineffective-parameter", SoftplusClipping(), None, "warn"),
    "one element read as a number": Specimen("dead-parameter", OneCoefficientAsANumber(), None),
    "one channel left out": Specimen("ineffective-parameter", LeavesOutTheFirst(), None, "warn"),
    "one coefficient not used": Specimen("ineffective-parameter", UnusedCoefficient(), None, "warn"),
    "even, and NaN at 0": Specimen("degenerate-parameter", LearnableClipping(), None, "warn"),
    "no way back from below 0": Specimen("degenerate-parameter", ReluGate(), None, "warn"),
    "even, and sound": Specimen("degenerate-parameter", AbsGain(), None, "info"),
    "logarithm without a domain": Specimen("domain-violation", SoftExponential(0.5), None),
    "root of a parameter": Specimen("domain-violation", RootScale(), None),
    "masked branch": Specimen("parameter-gradient-overflow", WhereELU(), None),
    "quotient by a small parameter": Specimen("parameter-gradient-overflow", LearnableClipping(0.01), None),
    "sum scaled up": Specimen("parameter-gradient-overflow", ScaledSumSwish(), None),
    "sum in the input's dtype": Specimen("parameter-gradient-overflow", CastSlope(), None, "warn"),
    "plain attribute": Specimen("unregistered-parameter", PlainAttribute(), None),
    "parameters in a list": Specimen("unregistered-parameter", PlainList(), None),
    "closure": Specimen("unregistered-parameter", Closure(), None),
    "modules in a dict": Specimen("unregistered-parameter", PlainModules(), None),
    "global": Specimen("unregistered-parameter", Global(), None),
    "plain tensor": Specimen("unregistered-constant", PlainConstant(), None, "warn"),
    "tensor of the class": Specimen("unregistered-constant", ClassConstant(), None, "warn"),
}
