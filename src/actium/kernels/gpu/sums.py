"""Partial sums → sums, in one order that does not depend on how a kernel was launched.

Stage: launching. In: doubles of shape (sums, rows, channels, inner). Out: those of shape (sums, channels). Each of
1,024 lanes adds up what is its own, in turn; the lanes are added neighbour to neighbour. The kernel is the same for
every activation, so it is compiled once.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from actium.kernels.gpu.loading import load
from actium.kernels.gpu.printing import HEAD, LANES, OPTIONS

# How many elements a lane adds up before another program takes over.
STEPS = 16

FINISH = """@triton.jit
def finish(partials, sums, rows, channels, inner, steps, LANES: tl.constexpr):
    channel = tl.program_id(0)
    which = tl.program_id(1).to(tl.int64)
    chunk = tl.program_id(2)
    lane = tl.arange(0, LANES)
    total = tl.full((LANES,), 0.0, tl.float64)
    for step in range(steps):
        at = (chunk * steps + step) * LANES + lane
        place = ((which * rows + at // inner) * channels + channel) * inner + at % inner
        total += tl.load(partials + place, mask=at < rows * inner, other=0.0)
    tl.store(sums + (which * tl.num_programs(2) + chunk) * channels + channel, tree_sum(total, LANES))
"""


def tree_sum() -> str:
    """Text of the sum of LANES numbers: neighbours first."""
    lines = ["@triton.jit", "def tree_sum(x, LANES: tl.constexpr):", f"    tl.static_assert(LANES == {LANES})"]
    width = LANES
    while width > 1:
        width //= 2
        pairs = f"({width}, 2)" if width > 1 else "(2,)"
        lines += [f"    a{width}, b{width} = tl.split(tl.reshape(x, {pairs}))", f"    x = a{width} + b{width}"]
    return "\n".join([*lines, "    return x"]) + "\n"


def source() -> str:
    """Text of the module."""
    return "\n\n".join([HEAD, tree_sum(), FINISH])


@functools.cache
def _kernel(interpreted: bool) -> Any:
    return load(source(), ("finish",), interpreted)["finish"]


def add_up(partials: Tensor, shape: tuple[int, int, int, int], sums: Tensor, interpreted: bool) -> None:
    """Write the sums of partials of shape (sums, rows, channels, inner) to `sums`."""
    count, rows, channels, inner = shape
    blocks = -(-rows * inner // LANES)
    steps = min(blocks, STEPS)
    chunks = -(-blocks // steps)
    out = sums if chunks == 1 else torch.empty(count * chunks * channels, dtype=torch.float64, device=sums.device)
    grid = (channels, count, chunks)
    _kernel(interpreted)[grid](partials, out, rows, channels, inner, steps, LANES=LANES, num_warps=4, **OPTIONS)
    if chunks > 1:
        add_up(out, (count, chunks, channels, 1), sums, interpreted)
