"""Requirement document 001, the usual functions: formulas taken literally, and in-place habits."""

import torch
import torch.nn.functional as F
from torch import nn


def literal_sigmoid(x):
    """1/(1 + e⁻ˣ)."""
    return 1 / (1 + torch.exp(-x))


def literal_tanh(x):
    """(eˣ − e⁻ˣ)/(eˣ + e⁻ˣ)."""
    return (torch.exp(x) - torch.exp(-x)) / (torch.exp(x) + torch.exp(-x))


def max_leaky(x, slope=2.0):
    """max(αx, x), the leaky ReLU of textbooks: with α > 1 the maximum takes the wrong side."""
    return torch.maximum(slope * x, x)


def literal_elu(x):
    """x, or eˣ − 1 where x is negative."""
    return torch.where(x > 0, x, torch.exp(x) - 1)


def relu_over_input(x):
    """ReLU written over its input."""
    return F.relu_(x)


class OverwritingReLU(nn.Module):
    """Writes over its input whether asked or not, and past autograd's notice."""

    def __init__(self, inplace=True):
        super().__init__()
        self.inplace = inplace

    def forward(self, x):
        x.data.clamp_(min=0)
        return x


def gated_relu(x):
    """relu(x)·σ(x), said to be smooth and to keep units alive: the slope is 0 below 0 and jumps to ½."""
    return torch.relu(x) * torch.sigmoid(x)


def literal_swish(x):
    """x·σ(x) in the input's own precision: every operation rounds."""
    return x * torch.sigmoid(x)


def squared_by_accident(x):
    """Meant as x·σ(x) that saves memory: σ is written over x first, so the result is σ²."""
    return x * torch.sigmoid_(x)
