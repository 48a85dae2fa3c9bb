"""The compiled front door, for the tests that need it."""

from __future__ import annotations

import gc
import shutil
import sysconfig
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from actium.define import Activation

MISSING = [
    *([] if any(map(shutil.which, ("g++", "clang++", "c++"))) else ["no C++ compiler"]),
    *([] if (Path(sysconfig.get_path("include")) / "Python.h").is_file() else ["no Python.h"]),
]
NEEDED = pytest.mark.skipif(bool(MISSING), reason=", ".join(MISSING))


def copy_of(activation: Activation) -> Activation:
    """Another object of the same function, that has not been called yet."""
    return Activation(activation.formula, activation.parameters, name=activation.name)


def warm(activation: Activation, *dtypes: torch.dtype) -> Activation:
    for dtype in dtypes or (torch.float32,):
        activation(torch.zeros(3, dtype=dtype))
    assert activation._front(torch.ones(2, dtype=dtypes[0] if dtypes else torch.float32)) is not None
    return activation


def assert_freed_when_nobody_holds_it(make: Callable[[], Any], x: torch.Tensor) -> None:
    """Its op goes with the last tensor whose node needs it."""
    made = make()
    y = made(x)
    gone = weakref.ref(made.op)
    del made
    gc.collect()
    (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)  # the node still has what it needs
    assert first.grad_fn is not None
    del y, first
    gc.collect()
    assert gone() is None
