"""How a tensor lies in memory, as kernels see it: runs of elements, and rows of channels.

Used by dispatch, for every device. In: strided tensors. Out: dense ones, and the numbers that say where a channel is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_empty_like = torch.empty_like


def dense(x: Tensor) -> Tensor:
    """The tensor itself if its elements fill their memory without gaps or overlaps, else a contiguous copy."""
    if x.is_contiguous() or _fills_memory(x):
        return x
    return x.contiguous()


def _fills_memory(x: Tensor) -> bool:
    expected = 1
    for stride, size in sorted((s, n) for n, s in zip(x.shape, x.stride(), strict=True) if n != 1):
        if stride != expected:
            return False
        expected *= size
    return True


def like(t: Tensor, x: Tensor) -> Tensor:
    """`t` with the strides of the dense tensor x."""
    if t.stride() == x.stride() and t.shape == x.shape:
        return t
    return _empty_like(x).copy_(t)


def rows_of(x: Tensor, channels: int, channel_dim: int | None) -> tuple[int, int, int]:
    """(outer, channels, inner) of a dense tensor in memory order."""
    if channels == 1 or channel_dim is None:
        return 1, 1, x.numel()
    if x.numel() == 0:
        return 0, channels, 1
    inner = x.stride(channel_dim)
    return x.numel() // (channels * inner), channels, inner


def channels_of(parameters: tuple[Any, ...]) -> int:
    """How many values the parameters have per channel: the largest of them."""
    return max((p.numel() for p in parameters if isinstance(p, Tensor)), default=1)
