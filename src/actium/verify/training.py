"""Whether a module does something else while it is trained: it is judged as at evaluation.

Stage: target → [subject] → sweep → certificate. In: a runner that has found a layout. Out: a note, or nothing.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from actium.verify.subject import Result, Runner, SubjectError, evaluate, guarded

NOTE = "judged as at evaluation, `module.eval()`; in training mode it gives something else"


def training_note(runner: Runner) -> str | None:
    """What to say of such a module."""
    module = runner.subject.module
    if module is None:
        return None
    before, after = (_result(runner, module, training) for training in (False, True))
    return None if before is None or (after is not None and _alike(before, after)) else NOTE


def _result(runner: Runner, module: nn.Module, training: bool) -> Result | None:
    x = torch.linspace(-2.0, 2.0, 48)
    try:
        with guarded():
            twin = copy.deepcopy(module)
            twin.train(training)  # one of somebody's own may return nothing
        return evaluate(runner.laid_out(twin), x)
    except SubjectError:
        return None


def _alike(a: Result, b: Result) -> bool:
    same = (a.mutated, a.gradient_error) == (b.mutated, b.gradient_error)
    return same and _equal(a.output, b.output) and _equal(a.gradient, b.gradient)


def _equal(a: Any, b: Any) -> bool:
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return a is b
    return a.dtype == b.dtype and a.shape == b.shape and torch.allclose(a, b, equal_nan=True)
