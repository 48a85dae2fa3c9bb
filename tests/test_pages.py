"""The code on the pages runs, top to bottom, and the page on claims has every false one."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest
import torch

from actium.models.making import REGISTERED
from test_docs import items

DOCS = Path(__file__).parents[1] / "docs"


def code_of(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch):
    """A module to run a page's code in; what it defines can be pickled, and what it registers is forgotten."""
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    before = dict(REGISTERED)
    yield module
    REGISTERED.clear()
    REGISTERED.update(before)


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("models.md", ()),
        ("deployment.md", ("onnxscript", "onnxruntime", "safetensors")),
        ("writing.md", ()),
        ("in-place.md", ()),
        ("claims.md", ()),
    ],
)
def test_the_code_on_the_page_runs(name, needs, page, threads, capsys):
    threads(1)  # small networks: more only wait for each other
    for extra in needs:
        pytest.importorskip(extra, reason="needs the extras onnx and hf")
    blocks = code_of((DOCS / name).read_text(encoding="utf-8"))
    assert len(blocks) >= 4
    for block in blocks:
        exec(compile(block, str(DOCS / name), "exec"), vars(page))
    assert torch.is_grad_enabled()


# --- The page on claims -----------------------------------------------------------------------------------------


def claims() -> dict[int, str]:
    """The text under each claim's heading, by its number in docs/requirements.md."""
    text = (DOCS / "claims.md").read_text(encoding="utf-8")
    found = re.findall(r"^### (\d+)\. .*?\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    return {int(number): body for number, body in found}


def test_every_claim_that_is_marked_false_has_its_evidence():
    assert sorted(claims()) == [int(row[0]) for row in items() if "✘" in row[1]]


def test_each_claim_says_what_was_said_and_shows_what_is_so():
    for number, body in claims().items():
        assert "**Said** " in body, number
        assert "**So** " in body, number
        shown = [word for block in code_of(body) for word in ("assert ", "pytest.raises") if word in block]
        assert shown or "(`benchmarks/" in body, number
