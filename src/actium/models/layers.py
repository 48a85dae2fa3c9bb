"""Layers with activations in them: norm + activation, an MLP, a convolutional network with learned clips.

Stage: activation → [layers] → models. In: sizes and anything that names an activation. Out: modules.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from actium.errors import ParameterError, ShapeError
from actium.models.making import Spec, make, named_activations
from actium.models.measuring import parameter_values, summary

_BATCH = {nn.BatchNorm1d: (2, 3), nn.BatchNorm2d: (4,), nn.BatchNorm3d: (5,)}


class NormActivation(nn.Module):
    """A normalisation followed by an activation.

    Args:
        norm: The normalisation: `nn.BatchNorm1d/2d/3d`, `nn.LayerNorm`, `nn.GroupNorm`, or any module.
        activation: A name of the catalogue, an activation, a module or its class.

    Shape:
        What the normalisation takes; the output has the same shape.

    Example:
        >>> layer = NormActivation(nn.BatchNorm1d(3), "relu")
        >>> layer(torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]])).shape
        torch.Size([2, 3])
    """

    def __init__(self, norm: nn.Module, activation: Spec) -> None:
        super().__init__()
        if not isinstance(norm, nn.Module):
            raise ParameterError(f"norm must be a module such as nn.BatchNorm2d(64), got {norm!r}")
        self.norm = norm
        self.activation = make(activation)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise, then activate.

        Raises:
            ShapeError: If the input has another number of dimensions than the normalisation needs, another number of
                channels, or, in training with batch statistics, one value per channel.
        """
        if not torch.compiler.is_compiling():
            self._check(input)
        return self.activation(self.norm(input))

    def _check(self, x: Tensor) -> None:
        norm = self.norm
        name, shape = type(norm).__name__, tuple(x.shape)
        if isinstance(norm, nn.LayerNorm):
            size = tuple(norm.normalized_shape)
            if shape[-len(size) :] != size:
                raise ShapeError(f"{name}: got an input of shape {shape}, expected one that ends in {size}")
            return
        ranks = next((r for c, r in _BATCH.items() if isinstance(norm, c)), None)
        if ranks is not None and x.dim() not in ranks:
            wanted = " or ".join(f"{r} dimensions" for r in ranks)
            raise ShapeError(
                f"{name}: got an input of shape {shape}, expected {wanted}: (N, C{', …' * (ranks[-1] > 2)})"
            )
        channels = getattr(norm, "num_features", getattr(norm, "num_channels", None))
        if channels is None:
            return
        if x.dim() < 2 or shape[1] != channels:
            raise ShapeError(f"{name}: got an input of shape {shape}, expected {channels} channels in dimension 1")
        uses_batch = ranks is not None and (norm.training or not norm.track_running_stats)  # type: ignore[union-attr]
        if uses_batch and x.numel() == channels:
            raise ShapeError(
                f"{name}: in training a batch needs more than one value per channel, got shape {shape}; use a larger "
                "batch (drop_last=True in the loader), model.eval(), or a GroupNorm or LayerNorm"
            )


class MLP(nn.Module):
    """Linear layers with an activation between them, each with parameters of its own.

    Args:
        sizes: Features of the input, of each hidden layer, and of the output.
        activation: A name of the catalogue, an activation, a module (each layer gets a copy) or its class.
        per_channel: Give each hidden unit its own value of every learnable parameter.
        norm: A class of normalisation to put before each activation, such as `nn.LayerNorm`.
        **parameters: Arguments of each activation, such as `learn=("alpha",)`.

    Shape:
        Input (…, sizes[0]), output (…, sizes[-1]).

    Raises:
        ParameterError: If there are fewer than two sizes or one is not positive.

    Example:
        >>> model = MLP([4, 8, 2], "prelu", per_channel=True)
        >>> model.activation_stats()["layers.1"]["weight"]
        {'mean': 0.25, 'std': 0.0, 'min': 0.25, 'max': 0.25}
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: Spec = "relu",
        *,
        per_channel: bool = False,
        norm: type[nn.Module] | None = None,
        **parameters: Any,
    ) -> None:
        super().__init__()
        if len(sizes) < 2 or any(isinstance(s, bool) or not isinstance(s, int) or s < 1 for s in sizes):
            raise ParameterError(f"an MLP needs two or more positive sizes, got {list(sizes)!r}")
        layers: list[nn.Module] = []
        for k in range(1, len(sizes)):
            layers.append(nn.Linear(sizes[k - 1], sizes[k]))
            if k == len(sizes) - 1:
                break
            place = {"channels": sizes[k], "channel_dim": -1, "num_parameters": sizes[k]} if per_channel else {}
            made = make(activation, **place, **parameters)
            layers.append(made if norm is None else NormActivation(norm(sizes[k]), made))
        self.layers = nn.Sequential(*layers)

    def forward(self, input: Tensor) -> Tensor:
        """Apply it."""
        return self.layers(input)

    def activation_stats(self) -> dict[str, dict[str, dict[str, float]]]:
        """As the function `activation_stats`."""
        return activation_stats(self)


def activation_stats(model: nn.Module) -> dict[str, dict[str, dict[str, float]]]:
    """Statistics of every learned parameter of every activation in a model.

    Args:
        model: Any model.

    Returns:
        {activation: {parameter: {"mean", "std", "min", "max"}}}, as the activation reads them (in their ranges); the
        std of a parameter with one value is 0. Activations without learned parameters are left out.

    Example:
        >>> import actium.nn
        >>> activation_stats(nn.Sequential(actium.nn.PReLU(), nn.ReLU()))
        {'0': {'weight': {'mean': 0.25, 'std': 0.0, 'min': 0.25, 'max': 0.25}}}
    """
    found = {n: {k: summary(v) for k, v in parameter_values(m).items()} for n, m in named_activations(model)}
    return {name: values for name, values in found.items() if values}


class ClipCNN(nn.Module):
    """A convolutional network for images of any size, with a learned clip θ·tanh(x/θ) after each stage.

    Each stage is a 3×3 convolution, a batch norm, the clip with its own threshold, and a halving of height and width
    where they are above 1. What is left is averaged over, image by image, so that no size of image can mix images.

    Args:
        channels: Channels of the image, then of each stage.
        classes: Outputs.
        thresholds: The initial θ of each stage; one number, or one for each.
        per_channel: Learn one θ for each channel.
        clip: The clip: any activation with a parameter `theta`.

    Shape:
        Input (N, channels[0], H, W) with H and W of 1 or more, output (N, classes).

    Raises:
        ParameterError: If the number of thresholds is not that of the stages, or one is not positive.

    Example:
        >>> model = ClipCNN([1, 8, 16], 10, thresholds=[2.0, 1.0])
        >>> model(torch.zeros(4, 1, 28, 28)).shape, model(torch.zeros(4, 1, 50, 31)).shape
        (torch.Size([4, 10]), torch.Size([4, 10]))
        >>> [round(c.theta.item(), 4) for c in model.clips]
        [2.0, 1.0]
    """

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        *,
        thresholds: float | Sequence[float] = 1.0,
        per_channel: bool = False,
        clip: Spec = "tanh_clip",
    ) -> None:
        super().__init__()
        stages = len(channels) - 1
        if stages < 1:
            raise ParameterError(f"a network needs the image's channels and at least one stage, got {list(channels)!r}")
        given = [float(thresholds)] * stages if isinstance(thresholds, int | float) else list(thresholds)
        if len(given) != stages:
            raise ParameterError(f"got {len(given)} thresholds for {stages} stages; give one for each, or one number")
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(channels))
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in channels[1:])
        place = [{"channels": c, "channel_dim": 1} if per_channel else {} for c in channels[1:]]
        self.clips = nn.ModuleList(make(clip, theta=t, **p) for t, p in zip(given, place, strict=True))
        self.head = nn.Linear(channels[-1], classes)

    def forward(self, input: Tensor) -> Tensor:
        """Apply it.

        Raises:
            ShapeError: If the input is not (N, C, H, W) with the right C.
        """
        wanted = self.convolutions[0].in_channels
        if input.dim() != 4 or input.shape[1] != wanted or 0 in input.shape[2:]:
            raise ShapeError(f"ClipCNN: got an input of shape {tuple(input.shape)}, expected (N, {wanted}, H, W)")
        x = input
        for convolve, norm, clip in zip(self.convolutions, self.norms, self.clips, strict=True):
            x = clip(norm(convolve(x)))
            x = nn.functional.max_pool2d(x, [min(2, s) for s in x.shape[2:]])
        return self.head(x.mean(dim=(2, 3)))
