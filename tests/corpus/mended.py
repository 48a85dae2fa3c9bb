"""The same activations after the advice was taken: what a check suggested, and nothing else, has been changed."""

import torch
import torch.nn.functional as F
from torch import nn


class WideInside(nn.Module):
    """Cast back once."""

    def forward(self, x):
        wide = x.float()
        return (1 / (1 + torch.exp(torch.abs(wide)))).to(x.dtype)


class OwnAutocast(nn.Module):
    """The caller's setting stands."""

    def forward(self, x):
        return torch.relu(x) * torch.sigmoid(x)


def literal_elu(x):
    """A safe `where`, in which the unselected branch gets a harmless argument; in float32, cast back once."""
    wide = x.float()
    below = wide < 0
    return torch.where(below, torch.expm1(torch.where(below, wide, 0)), wide).to(x.dtype)


def literal_tanh(x):
    """In float32, by the function that exists."""
    return torch.tanh(x.float()).to(x.dtype)


def literal_swish(x):
    """In float32, cast back once."""
    wide = x.float()
    return (wide * torch.sigmoid(wide)).to(x.dtype)


def squared_by_accident(x):
    """Out of place."""
    return x * torch.sigmoid(x)


class ChannelSlopes(nn.Module):
    """Dimension 1 holds the channels, and the parameter takes the input's dtype."""

    def __init__(self, channels=8, slope=0.25):
        super().__init__()
        self.slope = nn.Parameter(torch.full((channels,), slope))

    def forward(self, x):
        slope = self.slope.to(x.dtype).reshape(-1, *(1,) * (x.dim() - 2))
        return torch.where(x > 0, x, slope * x)


class TypedSlope(nn.Module):
    """Any number will do."""

    def __init__(self, slope=0.25):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(float(slope)))

    def forward(self, x):
        return torch.where(x > 0, x, self.slope.to(x.dtype) * x)


class ForgottenSlope(nn.Module):
    """What forward does not read is gone."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return torch.where(x > 0, x, 0.5625 * x) * self.scale


class ListedSlopes(nn.Module):
    """A `ParameterList` and a buffer."""

    def __init__(self):
        super().__init__()
        self.slopes = nn.ParameterList([nn.Parameter(torch.tensor(0.25)), nn.Parameter(torch.tensor(1.0))])
        self.register_buffer("shift", torch.tensor(0.5))

    def forward(self, x):
        down, up = (slope.to(x.dtype) for slope in self.slopes)
        return torch.where(x > 0, up * x, down * x) + self.shift.to(x.dtype)


class LearnedClip(nn.Module):
    """θ = softplus(ρ) + ε cannot reach 0, nor change its sign."""

    def __init__(self, threshold=1.0):
        super().__init__()
        self.raw = nn.Parameter(torch.log(torch.expm1(torch.tensor(float(threshold)))))

    def forward(self, x):
        wide = x.float()
        threshold = F.softplus(self.raw.float()) + 1e-3
        return (threshold * torch.tanh(wide / threshold)).to(x.dtype)


def bipolar_by_channel(x):
    """Dimension 1 holds the channels."""
    up = torch.arange(x.shape[1], device=x.device).reshape(-1, *(1,) * (x.dim() - 2)) % 2 == 0
    return torch.where(up, x.clamp(min=0), x.clamp(max=0))
