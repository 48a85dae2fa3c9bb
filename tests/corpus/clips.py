"""Requirement document 004: clips that learn where to clip."""

import torch
import torch.nn.functional as F
from torch import nn


class LearnedClip(nn.Module):
    """θ·tanh(x/θ): even in θ, so that an optimiser may cross 0, where it is NaN."""

    def __init__(self, threshold=1.0):
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(threshold))

    def forward(self, x):
        return self.threshold * torch.tanh(x / self.threshold)


class SoftplusClip(nn.Module):
    """Clips by θ·(softplus(u) − log(1 + e^−|u|)), u = x/θ. That difference is max(u, 0): θ only moves the rounding."""

    def __init__(self, threshold=1.0):
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(threshold))

    def forward(self, x):
        u = x / self.threshold
        bound = self.threshold * F.softplus(u) - self.threshold * torch.log(1 + torch.exp(-torch.abs(u)))
        return torch.sign(x) * torch.minimum(torch.abs(x), bound)


def only_below(x):
    """min(x, 1)·[x > 0], said to keep low magnitudes of either sign: every negative becomes 0."""
    return torch.minimum(torch.relu(x), torch.ones_like(x))


class SmallNet(nn.Module):
    """Flattens for a fixed image size: with another size the rows of the batch are mixed."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x):
        return torch.tanh(self.convolution(x)).view(-1, 16)
