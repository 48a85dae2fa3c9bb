"""Requirement document 003: home-made activations, most of them with something to learn."""

import torch
import torch.nn.functional as F
from torch import nn


class NearlyIdentity(nn.Module):
    """x·tanh(√(x² + 1)), a gate that is always almost open: the square overflows in the backward before the root."""

    def forward(self, x):
        return x * torch.tanh(torch.sqrt(x**2 + 1))


class Mixture(nn.Module):
    """A learned mixture of ReLU, tanh and x: at −∞ a weight's gradient is 0·∞."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(3))

    def forward(self, x):
        a, b, c = torch.softmax(self.weights, 0).to(x.dtype)
        return a * torch.relu(x) + b * torch.tanh(x) + c * x


class ChannelSlopes(nn.Module):
    """One slope for each channel, broadcast as it comes, which is from the wrong end; in float32 whatever comes in."""

    def __init__(self, channels=8, slope=0.25):
        super().__init__()
        self.slope = nn.Parameter(torch.full((channels,), slope))

    def forward(self, x):
        return torch.where(x > 0, x, self.slope * x)


class TypedSlope(nn.Module):
    """A slope that has to be typed with its decimal point: 1 is an integer, and integers have no gradient."""

    def __init__(self, slope=0.25):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([slope]))

    def forward(self, x):
        return torch.maximum(x, torch.zeros_like(x)) + self.slope * torch.minimum(x, torch.zeros_like(x))


class SoftClip(nn.Module):
    """s·tanh(x/s), said to let gradients through everywhere: in halves they are 0 from 4.5·s on. Scale 0 is 0/0."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        return self.scale * torch.tanh(x / self.scale)


class Powers(nn.Module):
    """Σ cₖ·xᵏ, said to start like ReLU: it starts as ½x, and the powers overflow before they are multiplied by 0."""

    def __init__(self, degree=3):
        super().__init__()
        start = torch.zeros(degree + 1)
        start[1] = 0.5
        self.coefficients = nn.Parameter(start)

    def forward(self, x):
        return sum(c * x**k for k, c in enumerate(self.coefficients))


class ForgottenSlope(nn.Module):
    """Has a parameter `slope` that forward never reads."""

    def __init__(self, channels=1):
        super().__init__()
        self.slope = nn.Parameter(torch.full((channels,), 0.25))
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        slope = torch.sigmoid(torch.tensor(0.25, dtype=x.dtype))
        return torch.where(x > 0, x, slope * x) * self.scale


class PiecewiseByMasks(nn.Module):
    """Multiplies by (x > 0) and (x < 0): at 0 both are off, and so is the gradient."""

    def __init__(self, slope=1.0):
        super().__init__()
        self.slope = slope

    def forward(self, x):
        return x * (x > 0) + self.slope * x * (x < 0)


class ListedSlopes(nn.Module):
    """Keeps its parameters in a plain list, and a constant in a plain tensor: neither moves nor is saved."""

    def __init__(self):
        super().__init__()
        self.slopes = [nn.Parameter(torch.tensor(0.25)), nn.Parameter(torch.tensor(1.0))]
        self.shift = torch.tensor(0.5)

    def forward(self, x):
        return torch.where(x > 0, self.slopes[1] * x, self.slopes[0] * x) + self.shift.to(x.dtype)


class Capped(nn.Module):
    """x·σ(x) of an x clamped to ±50, said to be robust: the output stops at 50, and so do the gradients."""

    def forward(self, x):
        bounded = torch.clamp(x, -50.0, 50.0)
        return bounded * torch.sigmoid(bounded)


def overwrought(x):
    """Five factors, two of them quotients: x·(x + 1) overflows float16 from 255.5 on."""
    return x * torch.sigmoid(x) * torch.tanh(x) * (x + 1) / (torch.abs(x) + 1)


def relu_the_long_way(x):
    """(x + |x|)/2."""
    return (x + torch.abs(x)) / 2


def well_documented(x):
    """x·tanh(log(1 + eˣ)), said never to go below −0.3: it is Mish, and its minimum is −0.309."""
    return x * torch.tanh(F.softplus(x))
