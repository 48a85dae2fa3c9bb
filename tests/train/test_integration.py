"""The test in a network: sound activations pass it, and what the published one let through does not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import actium
from actium.errors import TargetError
from actium.train.integration import trains_in_network


class Detached(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x).detach()


class NanAtOnce(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * float("nan")


MUTANTS = {
    "NaN": (NanAtOnce, "diverged: the loss is nan"),
    "zero": (lambda x: 0 * x, "no gradient reaches"),
    "detached": (Detached, "no gradient reaches"),
    "identity": (nn.Identity, "better than the identity"),
    "affine": (lambda x: 0.5 * x + 1, "better than the identity"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_what_the_published_test_lets_through_fails(name: str):
    mutant, says = MUTANTS[name]
    verdict = trains_in_network(mutant, seeds=1)
    assert not verdict
    assert any(says in reason for reason in verdict.reasons)


@pytest.mark.parametrize("sound", [nn.ReLU, nn.Tanh(), actium.mish, nn.PReLU, torch.sin])
def test_sound_activations_pass(sound: object):
    verdict = trains_in_network(sound, seeds=1)
    assert verdict.passed, verdict.reasons
    assert verdict.accuracies[0] >= 0.97


def test_what_is_no_activation_is_refused():
    with pytest.raises(TargetError, match="got int"):
        trains_in_network(3)
