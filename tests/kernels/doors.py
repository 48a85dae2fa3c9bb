"""The compiled front door, for the tests that need it."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

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
