"""Networks with an activation left open: a perceptron, a convolutional network, a small transformer.

Stage: an activation's maker → [network] → loop. None of them fixes the size of an image or the length of a text.
Weights are drawn from a generator of their own, so that two networks with the same seed differ in the activation alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Make = Callable[[], nn.Module]
HE = math.sqrt(2.0)
_REGIONS = 4


class MLP(nn.Sequential):
    """A perceptron; images are flattened.

    Args:
        make: Makes the activation, once for each hidden layer.
        inputs: Numbers in an example.
        outputs: Classes, or numbers to predict.
        width: Of each hidden layer.
        depth: Hidden layers.

    Shape:
        Input (N, *) with `inputs` numbers in a row, output (N, outputs).

    Example:
        >>> MLP(nn.ReLU, 64, 10)(torch.zeros(3, 8, 8)).shape
        torch.Size([3, 10])
    """

    def __init__(self, make: Make, inputs: int, outputs: int, width: int = 64, depth: int = 2) -> None:
        layers: list[nn.Module] = [nn.Flatten()]
        for k in range(depth):
            layers += [_feeding(nn.Linear(inputs if k == 0 else width, width)), make()]
        super().__init__(*layers, nn.Linear(width, outputs))


class CNN(nn.Module):
    """Convolutions, each but the first halving the image, then means over 4 by 4 regions: any image size fits.

    Args:
        make: Makes the activation, once for each stage.
        channels: Of the input.
        outputs: Classes.
        widths: Channels of each stage.

    Shape:
        Input (N, C, H, W) of any height and width, output (N, outputs).

    Example:
        >>> CNN(nn.ReLU, 1, 10)(torch.zeros(2, 1, 13, 7)).shape
        torch.Size([2, 10])
    """

    def __init__(self, make: Make, channels: int, outputs: int, widths: tuple[int, ...] = (16, 32)) -> None:
        super().__init__()
        sizes = (channels, *widths)
        stages = []
        for k in range(len(widths)):
            stages += [_feeding(nn.Conv2d(sizes[k], sizes[k + 1], 3, stride=2 if k else 1, padding=1)), make()]
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(widths[-1] * _REGIONS**2, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores."""
        return self.head(F.adaptive_avg_pool2d(self.stages(x), _REGIONS).flatten(1))


class Block(nn.Module):
    """Attention, then the activation between two layers four times as wide, both around a residual path."""

    def __init__(self, make: Make, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention_in, self.attention_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(_feeding(nn.Linear(width, 4 * width)), make(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        batch, length, width = x.shape
        parts = self.attention_in(self.before_attention(x)).chunk(3, dim=-1)
        q, k, v = (p.view(batch, length, self.heads, width // self.heads).transpose(1, 2) for p in parts)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attention_out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp(self.before_mlp(x))


class Transformer(nn.Module):
    """A decoder that predicts the next token.

    Positions are sines, so that a text may be of any length.

    Args:
        make: Makes the activation, once for each block.
        tokens: Size of the vocabulary.
        width: Of the residual path.
        depth: Blocks.
        heads: Of the attention.

    Shape:
        Input (N, T) of integers, output (N, T, tokens).

    Example:
        >>> Transformer(nn.GELU, 50)(torch.zeros(2, 9, dtype=torch.long)).shape
        torch.Size([2, 9, 50])
    """

    def __init__(self, make: Make, tokens: int, width: int = 64, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.blocks = nn.Sequential(*(Block(make, width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, tokens)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the next token, at each position."""
        hidden = self.embedding(x)
        return self.head(self.norm(self.blocks(hidden + _positions(x.shape[1], hidden))))


def _positions(length: int, like: Tensor) -> Tensor:
    width = like.shape[-1]
    steps = torch.arange(length, device=like.device, dtype=torch.float32)[:, None]
    scales = torch.exp(torch.arange(0, width, 2, device=like.device) * (-math.log(10_000.0) / width))
    return torch.cat([torch.sin(steps * scales), torch.cos(steps * scales)], dim=1).to(like.dtype)


def _feeding(layer: nn.Module) -> nn.Module:
    """Mark a layer whose outputs an activation takes."""
    layer.feeds_activation = True  # type: ignore[assignment]
    return layer


def draw_weights(network: nn.Module, seed: int, gain: float = HE) -> nn.Module:
    """Draw the weights of every layer anew; the activations' own parameters stay as they are.

    Normal draws with variance gain²/fan_in in layers that feed an activation, 1/fan_in in the others; biases 0. The
    draws do not depend on the gain, nor on what else used torch's generator.

    Args:
        network: Is changed.
        seed: Of the draws.
        gain: √2 keeps the second moment through ReLU (He et al. 2015).

    Returns:
        The network.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in network.modules():
            if not isinstance(layer, nn.Linear | nn.Conv2d | nn.Embedding):
                continue
            weight = layer.weight
            fan_in = 1 if isinstance(layer, nn.Embedding) else weight[0].numel()
            scale = gain if getattr(layer, "feeds_activation", False) else 1.0
            weight.copy_(torch.randn(weight.shape, generator=generator) * (scale / math.sqrt(fan_in)))
            if not isinstance(layer, nn.Embedding) and layer.bias is not None:
                layer.bias.zero_()
    return network
