"""Importing `actium.models` loads neither the compiler nor a library that it works with; its names are one."""

from __future__ import annotations

import subprocess
import sys

import pytest

import actium.errors
import actium.models
from actium.models import functional, gaussian, layers

HEAVY = ("torch._dynamo", "transformers", "timm", "onnx", "rich", "sklearn")


def loaded_by(statement):
    code = f"import sys\n{statement}\nprint(*(m for m in {HEAVY!r} if m in sys.modules))"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


def test_models_load_nothing_heavy_and_that_test_would_notice():
    make = "from torch import nn; m = nn.Sequential(nn.ReLU())"
    use = f"{make}; actium.swap(m, nn.ReLU, 'mish'); actium.monitor(m).__enter__()"
    assert loaded_by(f"import actium\n{use}") == []
    assert loaded_by("import rich") == ["rich"]


@pytest.mark.parametrize(
    ("name", "place"), [("ShapeError", layers), ("SwapError", functional), ("QuadratureError", gaussian)]
)
def test_each_exception_is_one_class_under_every_name(name, place):
    assert getattr(actium.errors, name) is getattr(actium.models, name) is getattr(place, name)
