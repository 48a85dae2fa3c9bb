"""The code on the pages about models runs, top to bottom."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from actium.models.making import REGISTERED

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("page", "needs"), [("models.md", ()), ("deployment.md", ("onnxscript", "onnxruntime", "safetensors"))]
)
def test_the_code_on_the_page_runs(page, needs, capsys):
    for name in needs:
        pytest.importorskip(name, reason="needs the extras onnx and hf")
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 4
    before, names = dict(REGISTERED), {"__name__": "page"}
    try:
        for block in blocks:
            exec(compile(block, str(DOCS / page), "exec"), names)
    finally:
        REGISTERED.clear()
        REGISTERED.update(before)
    assert torch.is_grad_enabled()
