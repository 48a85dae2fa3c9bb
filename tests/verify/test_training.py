"""A module that does something else while it is trained is judged as at evaluation, and that is said."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import actium
from actium.checking import check
from actium.verify.training import NOTE


class Trained(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.relu(x)
        if self.kind == "raises":
            raise ValueError("not today")
        ways = {"same": F.relu, "detached": lambda t: F.relu(t).detach(), "in place": lambda t: t.clamp_(min=0)}
        return {**ways, "double": lambda t: F.relu(t).double()}[self.kind](x)


def noted(module: nn.Module) -> bool:
    return NOTE in check(module, dtypes=["bfloat16"], only=["dtype-leak"]).properties.get("notes", ())


@pytest.mark.parametrize("kind", ["detached", "in place", "double", "raises"])
def test_another_function_in_training_is_noted(kind):
    assert noted(Trained(kind))


@pytest.mark.parametrize("module", [Trained("same"), nn.SiLU(), nn.PReLU(8), actium.nn.Mish()], ids=range(4))
def test_the_same_function_in_training_is_not(module):
    assert not noted(module)


def test_drawn_slopes_are_noted_and_the_module_is_left_as_it_is():
    module = nn.RReLU()
    assert noted(module)
    assert module.training
    assert noted(actium.nn.RReLU())
    assert torch.equal(module.eval()(torch.ones(2)), torch.ones(2))
