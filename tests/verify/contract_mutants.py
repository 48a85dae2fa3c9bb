"""Faulty functions for the contract checks, each of which must be rejected, and sound ones that must be accepted."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from mutants import Specimen
from torch import Tensor, nn

from actium.verify.subject import Construction

# --- autocast-inside ------------------------------------------------------------------------------------------


class CudaAutocast(nn.Module):
    """A clipped ReLU that sets autocast as an old tutorial does."""

    def __init__(self, max_value: float = 6.0) -> None:
        super().__init__()
        self.max_value = max_value

    def forward(self, x: Tensor) -> Tensor:
        with torch.cuda.amp.autocast():
            return torch.clamp(torch.relu(x), 0, self.max_value)


def decorated() -> Callable[[Tensor], Tensor]:
    """A function under the old decorator, made where its warnings are not errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.cuda.amp.autocast()(torch.tanh)


def always_on(x: Tensor) -> Tensor:
    """Turns autocast on for a caller who has turned it off."""
    with torch.autocast(x.device.type, dtype=torch.bfloat16):
        return torch.relu(x)


def never_restored(x: Tensor) -> Tensor:
    """Turns autocast off for its own sake, and for that of everything behind it."""
    torch.set_autocast_enabled("cpu", False)
    return torch.relu(x)


def off_inside(x: Tensor) -> Tensor:
    """The sound use: autocast off for internals in float32, and a cast back."""
    with torch.autocast(x.device.type, enabled=False):
        return torch.tanh(x.float()).to(x.dtype)


def inherits(x: Tensor) -> Tensor:
    """Sets what the caller has set."""
    with torch.autocast(x.device.type, enabled=torch.is_autocast_enabled(x.device.type)):
        return torch.relu(x)


# --- in-place -------------------------------------------------------------------------------------------------


def relu_by_data_(x: Tensor) -> Tensor:
    """Writes where autograd cannot see it."""
    x.data.clamp_(min=0)
    return x


def sigmoid_of_itself_(x: Tensor) -> Tensor:
    """Meant to be SiLU: multiplies by an x that is the sigmoid already."""
    return x * x.detach().sigmoid_()


def clip_without_grad_(x: Tensor) -> Tensor:
    """Overwrites a trained leaf where autograd would have refused."""
    with torch.no_grad():
        x.clamp_(-1, 1)
    return x


class TwoPaths(nn.Module):
    """Leaky ReLU whose in-place path has another slope."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu_(x, 0.2) if self.inplace else F.leaky_relu(x, 0.1)


class NeverTrains(nn.Module):
    """A leaky ReLU with a negative slope: in place, backward raises, which is honest."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, -0.1, self.inplace)


# --- input-mutated --------------------------------------------------------------------------------------------


class Scale(nn.Module):
    """A gain for each channel; with `overwrite` it scales the very tensor that it was given."""

    def __init__(self, channels: int = 16, overwrite: bool = False) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.linspace(0.5, 1.5, channels))
        self.overwrite = overwrite

    def forward(self, x: Tensor) -> Tensor:
        gain = self.gain.view(1, -1, *[1] * (x.dim() - 2))
        return x.mul_(gain) if self.overwrite else x * gain


# --- shape-change, batch-coupling -----------------------------------------------------------------------------


class Squeezed(nn.Module):
    """ReLU that drops dimensions of size 1."""

    def __init__(self, *dims: int) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x.squeeze(*self.dims) if x.dim() else x)


def of_rank(rank: int, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """ReLU, and for tensors of one rank something else first."""
    return lambda x: torch.relu(function(x) if x.dim() == rank else x)


def swapped(x: Tensor) -> Tensor:
    return x.transpose(-1, -2)


def by_batch_mean(x: Tensor) -> Tensor:
    return x / x.abs().mean(0, keepdim=True)


def twice_alone(x: Tensor) -> Tensor:
    """Doubles a batch of one row."""
    return torch.relu(x) * (2 if x.dim() > 1 and x.shape[0] == 1 else 1)


# --- channel-axis -----------------------------------------------------------------------------------------------


class LastAxis(nn.Module):
    """PReLU that leaves the place of its slopes to broadcasting."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((num_parameters,), init))

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, self.weight * x)


class ByRow(nn.Module):
    """Right for (N, C); takes the batch of anything longer for the channels."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale.view(-1, *[1] * (x.dim() - 1 if x.dim() > 2 else 0))


class ByFeature(LastAxis):
    """The same, but its argument counts features, as that of a linear layer does."""

    def __init__(self, in_features: int = 8) -> None:
        super().__init__(in_features)


class ChannelsLast(LastAxis):
    """A slope for each channel of a channels-last input, shape (N, …, C)."""


class Images(nn.Module):
    """Slopes of shape (C, 1, 1), for images with and without a batch."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels, 1, 1), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, self.weight * x)


class Mixture(nn.Module):
    """Weights that belong to no channel."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        share = torch.softmax(self.weights, 0)
        return share[0] * torch.relu(x) + share[1] * torch.tanh(x) + share[2] * x


# --- constructor ----------------------------------------------------------------------------------------------


class NeedsFloat(nn.Module):
    """A learnable clip that takes 1.0 and not 1, and 0 for NaN."""

    def __init__(self, theta: float = 1.0) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(theta))

    def forward(self, x: Tensor) -> Tensor:
        return self.theta * torch.tanh(x / self.theta)


class Clipped(nn.Module):
    """A clipped ReLU that is constant for a negative bound, and raises in float16 for a large one."""

    def __init__(self, max_value: float = 6.0) -> None:
        super().__init__()
        self.max_value = max_value

    def forward(self, x: Tensor) -> Tensor:
        return torch.clamp(torch.relu(x), max=self.max_value)


class Checked(nn.Module):
    """The same clip, and a constructor that says what it takes."""

    def __init__(self, max_value: float = 6.0) -> None:
        super().__init__()
        if not 0 < max_value <= 1e4:
            raise ValueError(f"max_value must be in (0, 10000], got {max_value}")
        self.max_value = float(max_value)

    def forward(self, x: Tensor) -> Tensor:
        return torch.clamp(x, 0, self.max_value)


class Powers(nn.Module):
    """c₀ + c₁x + …: degree 0 is accepted, and fails when it is used."""

    def __init__(self, degree: int = 3) -> None:
        super().__init__()
        self.coefficients = nn.Parameter(torch.linspace(0.0, 0.5, degree + 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.coefficients[0] + self.coefficients[1] * x + sum(c * x**2 for c in self.coefficients[2:])


HOW: dict[nn.Module, Construction] = {}


def made(cls: type[nn.Module], *args: Any, **kwargs: Any) -> nn.Module:
    """A module, and in `HOW` how it was made."""
    module = cls(*args, **kwargs)
    HOW[module] = Construction(cls, args, kwargs)
    return module


MUTANTS: dict[str, Specimen] = {
    "deprecated autocast": Specimen("autocast-inside", made(CudaAutocast), None, "warn"),
    "deprecated autocast as a decorator": Specimen("autocast-inside", decorated(), None, "warn"),
    "autocast over the caller's": Specimen("autocast-inside", always_on, None, "warn"),
    "autocast left off": Specimen("autocast-inside", never_restored, None),
    "relu_ by .data": Specimen("in-place", relu_by_data_, None),
    "sigmoid of itself": Specimen("in-place", sigmoid_of_itself_, None),
    "clip of a leaf": Specimen("in-place", clip_without_grad_, None),
    "two slopes": Specimen("in-place", made(TwoPaths), None),
    "two slopes, made in place": Specimen("in-place", TwoPaths(inplace=True), None),
    "in place for evaluation only": Specimen("in-place", made(NeverTrains), None, "warn"),
    "mul_ of 16 channels": Specimen("input-mutated", Scale(16, overwrite=True), None),
    "mul_ of 64 channels": Specimen("input-mutated", Scale(64, overwrite=True), None),
    "squeeze": Specimen("shape-change", lambda x: torch.relu(x.squeeze()), None),
    "squeeze in a module": Specimen("shape-change", Squeezed(), None),
    "squeeze of the batch": Specimen("shape-change", Squeezed(0), None),
    "squeeze of the channels": Specimen("shape-change", Squeezed(-1), None),
    "3-d transposed": Specimen("shape-change", of_rank(3, swapped), None),
    "5-d transposed": Specimen("shape-change", of_rank(5, swapped), None),
    "3-d by batch mean": Specimen("batch-coupling", of_rank(3, by_batch_mean), None),
    "5-d by batch mean": Specimen("batch-coupling", of_rank(5, by_batch_mean), None),
    "doubled alone": Specimen("batch-coupling", twice_alone, None),
    "slopes on the last axis": Specimen("channel-axis", LastAxis(4), None),
    "slopes on the last axis, one by default": Specimen("channel-axis", made(LastAxis), None),
    "scale by row": Specimen("channel-axis", ByRow(), None),
    "slopes by feature": Specimen("channel-axis", made(ByFeature), None, "warn"),
    "int theta": Specimen("constructor", made(NeedsFloat), None, "warn"),
    "bound of any size": Specimen("constructor", made(Clipped), None, "warn"),
    "degree 0": Specimen("constructor", made(Powers), None, "warn"),
}

# Check id → what it must accept.
SOUND: dict[str, list[Callable[[Tensor], Tensor]]] = {
    "autocast-inside": [nn.SiLU(), off_inside, inherits, made(Checked)],
    "in-place": [nn.ReLU(inplace=True), made(nn.SiLU), made(nn.ELU, 0.5, True), F.relu_, F.leaky_relu, torch.tanh],
    "input-mutated": [Scale(16), Scale(64)],
    "shape-change": [nn.PReLU(8), nn.Softmax(-1), nn.GLU(), nn.BatchNorm2d(8)],
    "batch-coupling": [
        *(nn.PReLU(8), Scale(16), ChannelsLast(8), nn.BatchNorm1d(8), nn.InstanceNorm2d(8), nn.LayerNorm(8)),
        *(nn.GLU(), nn.Softmax(-1), nn.Softmax(1), nn.Softmax(), nn.Softmax2d()),
    ],
    "channel-axis": [nn.PReLU(8), made(nn.PReLU), ChannelsLast(8), Images()],
    "constructor": [made(nn.LeakyReLU), made(nn.Dropout, 0.1), made(Checked), made(nn.ELU, 0.5)],
}
