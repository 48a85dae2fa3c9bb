"""Optimizer groups: every parameter once, and no weight decay for activations."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import actium
from actium.errors import ParameterError


def by_name(groups):
    return {g["name"]: g for g in groups}


def test_activations_norms_and_biases_are_not_decayed():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.PReLU(8),
        nn.Conv2d(8, 4, 3),
        actium.nn.TanhClip(channels=4, channel_dim=1),
    )
    groups = by_name(actium.param_groups(model, 0.1))
    assert groups["weights"]["param_names"] == ["0.weight", "3.weight"]
    assert groups["activations"]["param_names"] == ["2.weight", "4.raw_theta"]
    assert {n: g["weight_decay"] for n, g in groups.items()} == {
        "weights": 0.1,
        "norms and biases": 0.0,
        "activations": 0.0,
    }


def test_every_trainable_parameter_is_in_one_group_once():
    model = nn.ModuleDict(
        {"a": nn.Linear(4, 4), "b": nn.Linear(4, 4), "act": actium.nn.SReLU(), "frozen": nn.Linear(2, 2)}
    )
    model["b"].weight = model["a"].weight
    model["frozen"].requires_grad_(False)
    model["again"] = model["act"]
    groups = actium.param_groups(model, 0.1)
    ids = [id(p) for g in groups for p in g["params"]]
    assert sorted(ids) == sorted({id(p) for p in model.parameters() if p.requires_grad})
    assert not any("frozen" in n for g in groups for n in g["param_names"])


def test_a_parameter_shared_with_an_activation_is_the_activations():
    act, linear = nn.PReLU(1), nn.Linear(1, 1)
    linear.weight2d = nn.Parameter(torch.ones(2, 2))
    act.weight = linear.weight2d
    groups = by_name(actium.param_groups(nn.Sequential(linear, act), 0.1))
    assert groups["activations"]["param_names"] == ["0.weight2d"]


def test_activation_parameters_of_any_shape_are_kept_out():
    mixture = actium.nn.AdaptiveMixture("relu", "tanh", channels=3, channel_dim=1)
    assert by_name(actium.param_groups(mixture, 0.1)).keys() == {"activations"}


def test_classes_of_ones_own_can_be_named():
    class Mine(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.ones(2, 2))

    assert by_name(actium.param_groups(Mine(), 0.1)).keys() == {"weights"}
    assert by_name(actium.param_groups(Mine(), 0.1, activations=(Mine,))).keys() == {"activations"}


def test_adamw_leaves_a_slope_without_gradient_alone():
    model = nn.Sequential(nn.Linear(2, 2), nn.PReLU())
    optimizer = torch.optim.AdamW(actium.param_groups(model, 0.1, activation_lr=0.5), lr=0.01)
    assert optimizer.param_groups[2]["lr"] == 0.5
    weight = model[0].weight.detach().clone()
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    for _ in range(100):
        optimizer.step()
    assert model[1].weight.item() == 0.25
    torch.testing.assert_close(model[0].weight.detach(), weight * (1 - 0.001) ** 100)


@pytest.mark.parametrize("decay", [-0.1, float("nan"), "0.1", True])
def test_a_decay_that_is_none_is_refused(decay):
    with pytest.raises(ParameterError, match="weight_decay"):
        actium.param_groups(nn.Linear(2, 2), decay)
