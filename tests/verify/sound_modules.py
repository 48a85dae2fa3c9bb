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


class Wide(nn.Module):
    """Computes in float32 at least, parameters too, and casts once."""

    def forward(self, x: Tensor) -> Tensor:
        return self.wide(x if x.dtype == torch.float64 else x.float()).to(x.dtype)


class Spline(Wide):
    """Straight lines between 64 knots in [-3, 3]: between the usual samples, many knots are used by none of them."""

    def __init__(self) -> None:
        super().__init__()
        self.heights = nn.Parameter(torch.linspace(-1, 1, 64).tanh())

    def wide(self, x: Tensor) -> Tensor:
        heights = self.heights.to(x.dtype)
        place = ((x.clamp(-3, 3) + 3) * (63 / 6)).clamp(0, 62.999)
        left = place.detach().nan_to_num(0).long()
        return heights[left] * (1 - (place - left)) + heights[left + 1] * (place - left)


class LargestOfLines(Wide):
    """max(aᵢ·x + bᵢ); at the start the third line is the largest nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.slopes = nn.Parameter(torch.tensor([0.25, 1.0, 0.5]))
        self.heights = nn.Parameter(torch.tensor([0.0, 0.0, -0.25]))

    def wide(self, x: Tensor) -> Tensor:
        return (x.unsqueeze(-1) * self.slopes.to(x.dtype) + self.heights.to(x.dtype)).max(-1).values


class ManyChannels(Wide):
    """Slopes for up to 16 channels, of which an input may have fewer."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.full((16,), 0.25))

    def wide(self, x: Tensor) -> Tensor:
        count = x.shape[1] if x.dim() > 1 else 1
        slope = self.slope.to(x.dtype)[:count].reshape(-1, *[1] * max(x.dim() - 2, 0))
        return torch.where(x > 0, x, slope * torch.where(x > 0, 0, x))


class Table(Wide):
    """A gain for each integer in [-100, 100], as an embedding has it."""

    def __init__(self) -> None:
        super().__init__()
        self.gains = nn.Parameter(torch.linspace(0.5, 1.5, 201))

    def wide(self, x: Tensor) -> Tensor:
        index = x.detach().round().clamp(-100, 100).nan_to_num(0).long() + 100
        return x * self.gains.to(x.dtype)[index]


class Mixture(Wide):
    """A mixture with softmax weights, one of them tiny."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([0.0, 1.0, -20.0]))

    def wide(self, x: Tensor) -> Tensor:
        a, b, c = torch.softmax(self.logits.to(x.dtype), 0)
        return a * torch.relu(x) + b * torch.tanh(x) + c * x


class Snake(nn.Module):
    """x + sin²(αx)/α with a frequency for each channel, in float64 and rounded once: far out a step is many periods."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.linspace(0.25, 1.0, channels))

    def forward(self, x: Tensor) -> Tensor:
        alpha = F.softplus(self.raw.double()).view(-1, *[1] * max(x.dim() - 2, 0)) + 1e-6
        wide = x.double()
        return (wide + torch.sin(alpha * wide) ** 2 / alpha).to(x.dtype)


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
    "spline": Spline(),
    "largest of several lines": LargestOfLines(),
    "more channels than the input": ManyChannels(),
    "table": Table(),
    "mixture": Mixture(),
    "snake": Snake(1),
    "snake by channel": Snake(),
}
