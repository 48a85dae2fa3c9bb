"""Single elements of parameters that do nothing: a channel that is left out, a coefficient that is never read.

Stage: trial → [elements] → checks on parameters.
In: a parameter whose gradient as a whole arrives. Out: its elements that get none. What makes an element look idle
though it is not is tried first: inputs between the usual samples (splines, tables), more channels than usual, images,
training mode, and other values of all parameters (the largest of several pieces, a factor of 0).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from actium.verify.subject import SubjectError, guarded
from actium.verify.sweep import Mask
from actium.verify.trial import INVISIBLE, Learnable, Trial, nearby

# Beyond these many elements it is a weight of a network.
_MOST = 1024
# So many are moved one by one.
_MOVED = 32
_BATCH, _SIDE = 4, 9


@dataclass(frozen=True)
class Silent:
    """Elements that get no gradient.

    Attributes:
        name: Of the parameter.
        shape: Of the parameter.
        moving: Those that move the output all the same; positions in the flat tensor.
        idle: Those that do not.
    """

    name: str
    shape: tuple[int, ...]
    moving: tuple[int, ...] = ()
    idle: tuple[int, ...] = ()

    def text(self, elements: tuple[int, ...]) -> str:
        """The elements as one would index them."""
        places = (", ".join(str(int(k)) for k in np.unravel_index(e, self.shape)) for e in elements[:3])
        shown = " and ".join(f"{self.name}[{place}]" for place in places)
        more = f" and {len(elements) - 3} more" if len(elements) > 3 else ""
        return f"{shown}{more} ({len(elements)} of {int(np.prod(self.shape))} elements)"


@functools.lru_cache(maxsize=16)
def silent(trial: Trial, p: Learnable) -> Silent:
    """The elements of a parameter that get no gradient wherever it is tried."""
    nothing = Silent(p.name, tuple(p.tensor.shape))
    gradient = trial.gradients[p]
    if gradient is None or not 2 <= p.tensor.numel() <= _MOST or not _is_judged(trial, p):
        return nothing
    found = ~np.any(gradient != 0, axis=0)
    if found.all():
        return nothing  # It is about the parameter, not about its elements.
    for reached in _reached(trial, p) if found.any() else ():
        found &= ~reached
        if not found.any():
            return nothing
    elements = [int(e) for e in np.flatnonzero(found)]
    moving = tuple(e for e in elements[:_MOVED] if _moves(trial, p, e))
    return Silent(p.name, nothing.shape, moving, tuple(e for e in elements[:_MOVED] if e not in moving))


def _is_judged(trial: Trial, p: Learnable) -> bool:
    """A kernel or a matrix of a layer may have elements that only a larger input reaches."""
    return trial.elementwise or sum(n > 1 for n in p.tensor.shape) == 1


def _moves(trial: Trial, p: Learnable, element: int) -> bool:
    before = trial.outputs()
    for value in nearby(p):
        moved = p.tensor.detach().clone().reshape(-1)
        moved[element] = value.reshape(-1)[element]
        after = trial.outputs_at(p, moved.reshape(p.tensor.shape))
        if trial.differ(before, after, INVISIBLE).any():
            return True
    return False


def _reached(trial: Trial, p: Learnable) -> Iterator[Mask]:
    """Which elements a gradient reaches, for one set of inputs and of parameters after the other."""
    settings = [
        {},
        *(dict(zip(trial.parameters, s, strict=True)) for s in zip(*map(nearby, trial.parameters), strict=True)),
    ]
    for call, x in _inputs(trial, p):
        for setting in settings:
            with trial.moved(setting):
                for training in (False, True):
                    reached = _gradient(trial, call, x, p, training)
                    if reached is not None:
                        yield reached


def _inputs(trial: Trial, p: Learnable) -> Iterator[tuple[Callable[[Tensor], Tensor], Tensor]]:
    """Numbers close together, and shapes in which there are as many channels as elements."""
    dtype = trial.inputs.dtype
    if trial.elementwise:
        fine = torch.linspace(-8, 8, 4096, dtype=torch.float64)
        tails = torch.logspace(0, 4, 256, dtype=torch.float64)
        numbers = torch.cat([fine, torch.arange(-1024.0, 1024.0, dtype=torch.float64), tails, -tails])
        yield trial.call, numbers.reshape(-1, 1).repeat(1, trial.width).reshape(-1).to(dtype)
    generator = torch.Generator().manual_seed(19)
    for count in sorted({trial.width, *p.tensor.shape, p.tensor.numel()} - {1}):
        for shape in (
            (_BATCH, count),
            (_BATCH, _SIDE, count),
            (_BATCH, count, _SIDE),
            (_BATCH, count, _SIDE, _SIDE),
            (_BATCH, _SIDE, _SIDE, count),
        ):
            yield trial.module, 3 * torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def _gradient(trial: Trial, call: Callable[[Tensor], Tensor], x: Tensor, p: Learnable, training: bool) -> Mask | None:
    """Which elements get a gradient; None where the module does not take this input."""
    generator = torch.Generator().manual_seed(23)
    buffers = [(b, b.detach().clone()) for b in trial.module.buffers()]
    try:
        with guarded():
            trial.module.train(training)
            output = call(x.clone())
            if not output.requires_grad:
                return None
            given = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output.dtype)
            (slope,) = torch.autograd.grad(output, [p.tensor], given, allow_unused=True)
            return None if slope is None else (slope.detach().to_dense().reshape(-1) != 0).numpy()
    except SubjectError:
        return None  # Which shapes it takes is the business of `shape-change`.
    finally:
        trial.module.eval()
        for buffer, value in buffers:  # Training mode may have changed them, and all else is compared with before.
            buffer.data.copy_(value)
