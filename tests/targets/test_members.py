"""A `*` finds what may be an activation, and constructs and calls nothing for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from actium.targets import members_of

CODE = """
import torch
from torch import nn

class Gate(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)

class NeedsTwo(nn.Module):
    def __init__(self, low, high):
        raise RuntimeError("constructed")
    def forward(self, x):
        raise RuntimeError("called")

class Bare(nn.Module):
    pass

class Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clamp(min=0)

class Record:
    pass

def leak(x, slope=0.1):
    raise RuntimeError("called")

def settings():
    return 3

def _private(x):
    return x

shifted = nn.Sequential(nn.Tanh())
number = 3
"""


@pytest.fixture
def place(tmp_path: Path) -> str:
    (tmp_path / "listed_here.py").write_text(CODE)
    return f"{tmp_path}/listed_here.py"


def names(targets):
    return [t.rpartition(":")[2] for t in targets]


def test_everything_in_a_file_is_listed_without_being_made_or_called(place: str):
    found = members_of(place)
    assert names(found.targets) == ["Gate", "NeedsTwo", "Step", "leak", "shifted"]
    assert names(found.skipped) == ["Bare", "settings"]
    assert found.skipped[f"{place}:Bare"] == "has no forward of its own"
    assert "takes no argument" in found.skipped[f"{place}:settings"]
    assert found.places == ()


def test_a_module_shows_what_its_public_list_says():
    found = names(members_of("torch.nn.modules.activation").targets)
    assert {"ReLU", "SiLU", "GELU", "Softmax", "MultiheadAttention"} <= set(found)
    assert "Module" not in found


def test_a_package_shows_what_it_gathers_from_its_own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "gathers_here"
    package.mkdir()
    (package / "inside.py").write_text(
        "from torch import nn\nclass A(nn.Module):\n    def forward(self, x):\n        return x\nB = A\n"
        "def f(x):\n    return x\ndef g(path: str):\n    return path\nclass Base(nn.Module):\n    pass\n"
    )
    (package / "__init__.py").write_text("from torch.nn import ReLU\nfrom .inside import *\n")
    monkeypatch.chdir(tmp_path)
    found = members_of("gathers_here")
    assert names(found.targets) == ["A", "f"]  # Neither torch's nor the second name of the same class.
    assert names(found.skipped) == ["g", "Base"]
    assert found.skipped["gathers_here:g"] == "takes str, not a tensor"


def test_a_package_that_shows_nothing_names_the_modules_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "hides_here"
    package.mkdir()
    for name in ("__init__", "b", "a", "_private"):
        (package / f"{name}.py").write_text("")
    monkeypatch.chdir(tmp_path)
    found = members_of("hides_here")
    assert (found.targets, found.places) == ((), ("hides_here.a", "hides_here.b"))


CALLABLE = """
import functools, typing
import torch
from torch import nn

class Act:
    def __call__(self, x):
        raise RuntimeError("called")

class Registry:
    def __call__(self, name: str):
        raise RuntimeError("called")

class Later:
    def __call__(self):
        raise RuntimeError("called")

class Odd:
    def __getattr__(self, name):
        raise RuntimeError("asked")
    def __call__(self, x):
        return x

def _plain(x):
    return x

act, same, register, later, odd = Act(), Act(), Registry(), Later(), Odd()
again = act
cached = functools.cache(_plain)
Size = typing.NewType("Size", int)
Alias = typing.Callable[[int], int]
"""


@pytest.mark.parametrize(
    "listed", ["", '__all__ = ["act", "same", "register", "later", "odd", "again", "cached", "Size", "Alias"]']
)
def test_an_object_with_a_call_of_its_own_is_listed_or_refused_with_the_reason(tmp_path: Path, listed: str):
    place = f"{tmp_path}/objects_here.py"
    Path(place).write_text(CALLABLE + listed)
    found = members_of(place)
    assert names(found.targets) == ["act", "same", "odd", "cached"]
    assert found.skipped == {
        f"{place}:register": "takes str, not a tensor",
        f"{place}:later": "takes no argument, so it is no function of a tensor",
    }
