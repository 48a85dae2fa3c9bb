"""What one activation does to one batch: moments, dead units, saturation.

Stage: tensors seen by hooks → [measuring] → monitor. In: an activation's input and output gradient. Out: numbers.
Measures a sample of the batch, so that its cost does not grow with the batch; keeps nothing of the graph.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

# A slope smaller than this passes on nothing to speak of.
SATURATED = 0.05


@dataclass
class Seen:
    """One activation in one step.

    Attributes:
        values: Numbers by name.
        alive: For each unit, whether any of the sample's slopes was not 0; None if there was no sample.
        calls: How often it was called.
    """

    values: dict[str, float] = field(default_factory=dict)
    alive: Tensor | None = None
    calls: int = 0


def unit_dim(x: Tensor, module: nn.Module) -> int:
    """The dimension of units: the module's own, else 1 for images, else the last."""
    own = getattr(module, "channel_dim", None)
    if isinstance(own, int) and -x.dim() <= own < x.dim():
        return own % x.dim()
    return 1 if x.dim() >= 4 else max(x.dim() - 1, 0)


def subset(x: Tensor, limit: int) -> Tensor:
    """A copy of every so-many-th row, with about `limit` numbers: all units of a few samples."""
    rows = x.shape[0] if x.dim() else 1
    keep = max(1, limit * rows // max(x.numel(), 1))
    return x.detach()[:: max(1, math.ceil(rows / keep))].clone() if x.dim() else x.detach().clone()


def slopes(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor] | None:
    """The module's output and slope on a sample; None if it cannot be run by itself."""
    # RReLU draws numbers: what is drawn afterwards must be what would have been drawn anyway.
    draws = module.training and "RReLU" in type(module).__name__
    generators = torch.random.fork_rng([x.device] if x.is_cuda else [], enabled=draws)
    # Checkpointing counts the tensors that are saved; hooks of our own keep ours from being among them.
    saving = torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t)
    with torch.enable_grad(), generators, saving:
        leaf = x.detach().requires_grad_()
        # Not a leaf, so that a module may work in place.
        y = module.forward(leaf * 1)
        if not isinstance(y, Tensor) or y.shape != leaf.shape or not y.requires_grad:
            return None
        (slope,) = torch.autograd.grad(y.sum(), leaf)
    return y.detach(), slope


def measure_output(seen: Seen, module: nn.Module, x: Tensor) -> None:
    """Add what a sample of the input tells."""
    found = slopes(module, x)
    if found is None:
        return
    y, slope = found
    finite = torch.isfinite(y)
    count = int(finite.sum())
    kept = torch.where(finite, y, 0).float()
    mean = float(kept.sum()) / max(count, 1)
    square = float(kept.square().sum()) / max(count, 1)
    dims = [d for d in range(slope.dim()) if d != unit_dim(slope, module)]
    moving = slope.ne(0) & torch.isfinite(slope)
    alive = moving.any(dim=tuple(dims)) if dims else moving
    seen.alive = alive if seen.alive is None or seen.alive.shape != alive.shape else seen.alive | alive
    seen.values |= {
        "mean": mean,
        "std": math.sqrt(max(square - mean * mean, 0.0)),
        "max_abs": float(kept.abs().max()),
        "zero": float(y.eq(0).float().mean()),
        "saturated": float((slope.abs() < SATURATED).float().mean()),
        "not_finite": float(y.numel() - count),
    }


def measure_gradient(seen: Seen, grad: Tensor) -> None:
    """Add the size of the gradient that comes back into the output."""
    grad = grad.detach()
    finite = torch.isfinite(grad)
    count = int(finite.sum())
    size = math.sqrt(float(torch.where(finite, grad, 0).float().square().sum()) / max(count, 1))
    seen.values["grad_rms"] = size
    seen.values["grad_not_finite"] = float(grad.numel() - count)


def parameter_values(module: nn.Module) -> dict[str, Tensor]:
    """A copy of what a module learns, by name as it is read (in its range)."""
    learned: dict[str, Any] = getattr(module, "_learned", {})
    with torch.no_grad():
        if learned:
            return {n: getattr(module, n).detach().float().clone() for n in learned}
        return {n: p.detach().float().clone() for n, p in module.named_parameters()}


def summary(values: Tensor) -> dict[str, float]:
    """Mean, std, min and max; the std of one value is 0."""
    flat = values.detach().float().flatten()
    return {
        "mean": float(flat.mean()),
        "std": float(flat.std(correction=0)),
        "min": float(flat.min()),
        "max": float(flat.max()),
    }
