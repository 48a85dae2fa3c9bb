"""Initialisation: the right gain for each layer, and variance that survives 50 of them."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import actium
from actium.catalogue import ENTRIES
from actium.errors import ParameterError

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import depth  # noqa: E402


@pytest.fixture(scope="module")
def linears():
    return [nn.Linear(depth.WIDTH, depth.WIDTH) for _ in range(depth.LAYERS)]


# One stable, one neutral, one unstable.
@pytest.mark.parametrize("name", ["tanh", "relu", "gelu"])
def test_fifty_layers_keep_the_variance(linears, name):
    torch.manual_seed(0)
    assert depth.row(linears, name, seeds=1)["within"]


def test_that_test_would_notice_zero_biases_for_an_unstable_activation(linears):
    ratio = depth.ratio(depth.stack(linears, "hardswish"), 0, "zero")
    assert not depth.LOW <= ratio <= depth.HIGH


def test_the_committed_numbers_are_of_the_whole_catalogue_and_within_but_for_the_documented():
    rows = json.loads((ROOT / "benchmarks" / "results" / "depth.json").read_text())["rows"]
    assert set(rows) == set(ENTRIES)
    outside = {n for n, r in rows.items() if not r["within"]}
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert all(f"`{n}`" in text.split("every seed")[1].split("\n\n")[0] for n in outside)
    assert all(depth.LOW <= r["median"] <= depth.HIGH for r in rows.values())


def test_each_layer_has_the_gain_of_the_activation_that_feeds_it():
    model = nn.Sequential(
        nn.Conv2d(3, 64, 3),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, groups=4),
        nn.Tanh(),
        nn.Flatten(),
        nn.LazyLinear(10),
    )
    model(torch.zeros(1, 3, 8, 8))
    report = actium.init_(model, generator=torch.Generator().manual_seed(0))
    assert [r.activation for r in report.layers] == [None, "ReLU", "Tanh"]
    assert [r.gain for r in report.layers] == pytest.approx([1.0, math.sqrt(2), actium.gain("tanh")])
    for row, layer, fan in zip(report.layers, (model[0], model[3], model[6]), (27, 144, 1024), strict=True):
        assert row.weight_std == pytest.approx(row.gain / math.sqrt(fan))
        assert layer.weight.std().item() == pytest.approx(row.weight_std, rel=0.1)
        assert not layer.bias.any()


def test_fan_out_takes_the_backward_gain_of_the_activation_that_follows():
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 4))
    report = actium.init_(model, mode="fan_out")
    assert [r.activation for r in report.layers] == ["Tanh", None]
    assert report.layers[0].weight_std == pytest.approx(actium.gain("tanh", "backward") / math.sqrt(32))


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.last, self.first = nn.Linear(8, 2), nn.Linear(4, 8)
        self.embed, self.norm = nn.Embedding(3, 4), nn.LayerNorm(4)

    def forward(self, x):
        return self.last(torch.tanh(self.first(self.norm(x)) * 2))


def test_a_sample_shows_the_order_and_the_calls_of_functions():
    model = Functional().train()
    report = actium.init_(model, torch.randn(2, 4))
    assert [(r.name, r.activation) for r in report.layers] == [("first", None), ("last", "tanh")]
    assert report.order == "observed"
    assert report.untouched == ["embed"]
    assert model.training
    assert not model._forward_hooks
    assert [r.activation for r in actium.init_(model).layers] == [None, None]


def test_shallow_networks_get_zero_biases_even_where_deep_ones_do_not():
    shallow = actium.init_(actium.models.MLP([512, 512, 512], "gelu"))
    deep = actium.init_(actium.models.MLP([512] * 30, "gelu"))
    normed = actium.init_(actium.models.MLP([512] * 30, "gelu", norm=nn.LayerNorm))
    assert not any(r.bias_std for r in shallow.layers)
    assert not any(r.bias_std for r in normed.layers)
    assert all(r.bias_std > 0 for r in deep.layers[1:])
    assert "unstable" in actium.init_(actium.models.MLP([512] * 30, "gelu"), bias="zero").layers[-1].note


def test_calibration_gives_every_layer_variance_one_on_the_sample():
    x = torch.randn(64, 32) * 7
    model = actium.models.MLP([32, 32, 32, 32], "relu")
    report = actium.init_(model, x, calibrate=True)
    assert model.layers[0](x).square().mean().item() == pytest.approx(1.0, rel=1e-5)
    assert model(x).square().mean().item() == pytest.approx(1.0, rel=1e-5)
    assert report.layers[0].weight_std == pytest.approx(1 / 7 / math.sqrt(32), rel=0.1)


def test_the_same_generator_gives_the_same_weights():
    model = nn.Linear(4, 4)
    actium.init_(model, generator=torch.Generator().manual_seed(3))
    first = model.weight.detach().clone()
    actium.init_(model, generator=torch.Generator().manual_seed(3))
    assert torch.equal(first, model.weight)


@pytest.mark.parametrize("wrong", [{"mode": "fan"}, {"bias": "big"}, {"calibrate": True}])
def test_wrong_arguments_are_named(wrong):
    with pytest.raises(ParameterError):
        actium.init_(nn.Linear(2, 2), **wrong)


def test_a_sample_without_variance_cannot_calibrate():
    with pytest.raises(ParameterError, match="check the sample"):
        actium.init_(nn.Linear(2, 2), torch.zeros(3, 2), calibrate=True)


def test_a_failing_forward_leaves_no_hooks():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    with pytest.raises(RuntimeError):
        actium.init_(model, torch.zeros(3, 5))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert F.relu(torch.tensor(-1.0)) == 0


@pytest.mark.parametrize("unit", [actium.nn.SwiGLU, actium.nn.GeGLU, nn.GLU])
@pytest.mark.parametrize("given", [False, True])
def test_blocks_of_gated_units_keep_the_variance(unit, given):
    torch.manual_seed(0)
    x = torch.randn(256, 256)
    blocks = [nn.Sequential(nn.Linear(256, 1024), unit(), nn.Linear(512, 256)) for _ in range(3)]
    report = actium.init_(nn.Sequential(*blocks), x if given else None)
    assert [row.activation for row in report.layers] == [None, unit.__name__] * 3
    for block in blocks:
        x = block(x).detach()
        assert 0.3 < float(x.var()) < 3


def test_gradients_keep_their_size_through_a_gated_unit():
    torch.manual_seed(0)
    first, unit, last = nn.Linear(512, 2048), actium.nn.SwiGLU(), nn.Linear(1024, 512)
    actium.init_(nn.Sequential(first, unit, last), mode="fan_out")
    gate_up = torch.randn(512, 2048, requires_grad=True)
    last(unit(gate_up)).backward(torch.randn(512, 512))
    assert float((gate_up.grad @ first.weight.detach()).var()) == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize("wrap", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm])
def test_weights_that_are_computed_from_others_are_left_and_listed(wrap):
    model = nn.Sequential(wrap(nn.Linear(8, 8)), nn.ReLU(), nn.Linear(8, 4))
    before = {name: p.clone() for name, p in model[0].named_parameters()}
    report = actium.init_(model, torch.randn(64, 8), calibrate=True)
    assert [row.name for row in report.layers] == ["2"]
    assert report.layers[0].activation == "ReLU"
    assert any(name.startswith("0") for name in report.untouched)
    assert all(torch.equal(p, before[name]) for name, p in model[0].named_parameters())
