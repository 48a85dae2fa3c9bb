"""Requirement document 000, mixed precision: what its examples get wrong, in our own words."""

import torch
from torch import nn


class CappedReLU(nn.Module):
    """ReLU with a cap that nobody checks: a negative one makes it constant, a large one is no float16."""

    def __init__(self, cap=6.0):
        super().__init__()
        self.cap = cap

    def forward(self, x):
        return torch.clamp(torch.relu(x), min=0.0, max=self.cap)


class SteepSigmoid(nn.Module):
    """Said to become steeper with `scale`; its slope at 0 is a quarter for every scale, and scale 0 is 0/0."""

    def __init__(self, scale=10.0):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        return self.scale * torch.sigmoid(x / self.scale)


def bump(x):
    """σ(−|x|), said to be smooth: the slope jumps from ¼ to −¼ at 0."""
    return torch.sigmoid(-torch.abs(x))


class WideInside(nn.Module):
    """Computes in float32 for safety, and returns float32 whatever came in."""

    def forward(self, x):
        wide = x.float()
        return 1 / (1 + torch.exp(torch.abs(wide)))


class OwnAutocast(nn.Module):
    """Switches autocast on inside, over the head of the caller."""

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return torch.relu(x) * torch.sigmoid(x)
