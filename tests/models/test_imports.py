"""Importing `actium.models` loads neither the compiler nor a library that it works with."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch._dynamo", "transformers", "timm", "onnx", "rich", "sklearn")


def loaded_by(statement):
    code = f"import sys\n{statement}\nprint(*(m for m in {HEAVY!r} if m in sys.modules))"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


def test_models_load_nothing_heavy_and_that_test_would_notice():
    make = "from torch import nn; m = nn.Sequential(nn.ReLU())"
    use = f"{make}; actium.swap(m, nn.ReLU, 'mish'); actium.monitor(m).__enter__()"
    assert loaded_by(f"import actium\n{use}") == []
    assert loaded_by("import rich") == ["rich"]
