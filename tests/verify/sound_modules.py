"""Sound modules with parameters, which the checks on parameters must accept."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from parameter_mutants import Swish
from torch import Tensor, nn


class WideSwish(nn.Module):
    """x·σ(βx) in float32, rounded once. β = 0 makes it x/2: linear, but not constant."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        wide = x if x.dtype == torch.float64 else x.float()
        return (wide * torch.sigmoid(self.beta * wide)).to(x.dtype)


class PerChannel(nn.Module):
    """A leaky ReLU with a slope for each channel of dimension 1."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.slope = nn.Parameter(0.1 * torch.arange(1.0, channels + 1))

    def forward(self, x: Tensor) -> Tensor:
        slope = self.slope.view(1, -1, *[1] * (x.dim() - 2))
        return torch.where(x > 0, x, slope * torch.where(x > 0, 0, x)).to(x.dtype)


class BoundedClip(nn.Module):
    """θ·tanh(x/θ) with a θ that cannot reach 0."""

    def __init__(self) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.full((1,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        theta = F.softplus(self.raw) + 1e-6
        return (theta * torch.tanh(x / theta)).to(x.dtype)


class ReZero(nn.Module):
    """x + a·tanh(b·x) from a = 0: b has no effect and no gradient until a has left 0."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.zeros(1))
        self.b = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.a * torch.tanh(self.b * x)).to(x.dtype)


class Noisy(nn.Module):
    """A parameter that is used in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.sigma = nn.Parameter(torch.full((1,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.sigma * torch.randn_like(x) if self.training else x)


class Tied(nn.Module):
    """A second reference to a registered parameter, a buffer, a number, and what forward keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.PReLU()
        self.references = [self.inner.weight]
        self.gain = 1.5
        self.register_buffer("shift", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.last = (self.inner(x) * self.gain + self.shift).to(x.dtype)
        return self.last


class Temperature(nn.Module):
    """A softmax with a temperature: not elementwise."""

    def __init__(self) -> None:
        super().__init__()
        self.log_t = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(x * torch.exp(self.log_t), -1)


SOUND: dict[str, nn.Module] = {
    "torch.nn.PReLU": nn.PReLU(),
    "torch.nn.PReLU(8)": nn.PReLU(8),
    "torch.nn.LeakyReLU": nn.LeakyReLU(0.2),
    "swish with its own backward": Swish(),
    "swish in float32": WideSwish(),
    "slope by channel": PerChannel(),
    "bounded clip": BoundedClip(),
    "re-zero": ReZero(),
    "used in training only": Noisy(),
    "tied": Tied(),
    "temperature": Temperature(),
}
