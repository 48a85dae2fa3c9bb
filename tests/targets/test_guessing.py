"""Arguments that nobody gave are guessed by name and annotation, and the notes say so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from actium.errors import TargetError
from actium.targets import resolve

GUESSABLE = """
from typing import Literal
import torch
from torch import nn
class Channels(nn.Module):
    def __init__(self, num_features, act_layer, *, inplace: bool, mode: Literal["soft", "hard"]):
        super().__init__()
        self.act = act_layer()
    def forward(self, x):
        return self.act(x)
class Bounds(nn.Module):
    def __init__(self, min_value, max_value: float, order: int):
        super().__init__()
    def forward(self, x):
        return x
class NeedsTensor(nn.Module):
    def __init__(self, table: torch.Tensor):
        super().__init__()
    def forward(self, x):
        return x
class Axis(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim
    def forward(self, x):
        return x.softmax(self.dim)
class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, alpha):
        return x * alpha
    @staticmethod
    def backward(ctx, grad):
        return grad, None
def leak(x, slope, /, *, floor):
    return x
def leaky(x, slope):
    return x * slope
"""


@pytest.fixture
def guessable(tmp_path: Path) -> str:
    (tmp_path / "guess_here.py").write_text(GUESSABLE)
    return f"{tmp_path}/guess_here.py"


def guessed(text: str) -> dict[str, object]:
    made = resolve(text, guess=True).construction
    assert made is not None
    assert made.guessed == tuple(made.kwargs)
    return dict(made.kwargs)


def test_arguments_that_a_class_needs_are_guessed_by_name_and_annotation(guessable: str):
    channels = guessed(f"{guessable}:Channels")
    # The instance of ReLU that is tried first cannot be called without input, its class can.
    assert channels == {"num_features": 8, "act_layer": nn.ReLU, "inplace": False, "mode": "hard"}
    assert guessed(f"{guessable}:Bounds") == {"min_value": -1.0, "max_value": 1.0, "order": 2}
    assert guessed(f"{guessable}:Axis") == {"dim": -1}
    assert guessed("torch.nn:Threshold") == {"threshold": 0.5, "value": 0.5}


def test_the_notes_say_what_was_guessed(guessable: str):
    (note,) = resolve(f"{guessable}:leaky", guess=True).notes
    assert note == "called with slope=0.5: guessed, since it needs slope"
    assert resolve(f"{guessable}:leaky", guess=True).value(torch.ones(1)).item() == 0.5
    twice = resolve(f"{guessable}:Twice", guess=True)
    assert twice.value(torch.ones(1)).item() == 0.5
    assert "alpha=0.5: guessed" in twice.notes[-1]


def test_what_cannot_be_guessed_or_was_given_wrongly_is_an_error(guessable: str):
    for text, reason in {
        "NeedsTensor": "nothing sensible is known for table",
        "leak": "nothing sensible is known for slope",
        "leaky()": "write .*leaky\\(slope=0.5\\)",
        "Bounds()": "needs arguments: min_value, max_value, order",
    }.items():
        with pytest.raises(TargetError, match=reason):
            resolve(f"{guessable}:{text}", guess=True)
