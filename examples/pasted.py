"""Activations as they are pasted into real projects. All but the last are broken on purpose: do not use them.

They are here to be taken apart:

    actium check "examples/pasted.py:*"

Each looks reasonable, trains for a while in float32, and fails a check that a unit test with `torch.randn` never
makes. What to use instead is what `actium eject` prints for the formula.
"""

import torch
from torch import nn


class NaiveMish(nn.Module):
    """x·tanh(log(1 + eˣ)): the exponential overflows, and 1 + eˣ forgets a small eˣ."""

    def forward(self, x):
        return x * torch.tanh(torch.log(1 + torch.exp(x)))


def exp_sigmoid(x):
    """1/(1 + e⁻ˣ): fine forward; backward multiplies an infinity by a zero."""
    return 1 / (1 + torch.exp(-x))


def exp_tanh(x):
    """(eˣ − e⁻ˣ)/(eˣ + e⁻ˣ): infinity by infinity, from |x| = 12 in float16."""
    up, down = torch.exp(x), torch.exp(-x)
    return (up - down) / (up + down)


class WhereELU(nn.Module):
    """ELU by `where`: the branch that was not selected overflows, and its gradient is NaN all the same."""

    def __init__(self, alpha=1.0):
        super().__init__()
        self.alpha = alpha

    def forward(self, x):
        return torch.where(x > 0, x, self.alpha * (torch.exp(x) - 1))


class Float32Inside(nn.Module):
    """Widens to float32 for accuracy, and forgets the way back: the next layer meets another dtype."""

    def forward(self, x):
        wide = x.float()
        return wide * torch.sigmoid(wide)


class LearnableClip(nn.Module):
    """θ·tanh(x/θ) with nothing to keep θ from reaching 0, and a float32 parameter that widens half inputs."""

    def __init__(self, theta=0.01):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([theta]))

    def forward(self, x):
        return self.theta * torch.tanh(x / self.theta)


class Polynomial(nn.Module):
    """c₀ + c₁x + c₂x² + c₃x³ by powers: the cube overflows, and with c₃ = 0 it is 0·∞."""

    def __init__(self):
        super().__init__()
        self.coefficients = nn.Parameter(torch.tensor([0.0, 0.5, 0.0, 0.0]))

    def forward(self, x):
        return sum(c * x**k for k, c in enumerate(self.coefficients))


def inplace_swish(x):
    """Saves a temporary, and destroys its input for everybody else who holds it."""
    gate = torch.sigmoid(x)
    return x.mul_(gate)


class Leak(nn.Module):
    """The sound one: what is selected is computed by itself, in the input's own dtype, and nothing can overflow."""

    def forward(self, x):
        return nn.functional.leaky_relu(x, negative_slope=0.125)
