"""Layers with activations: shapes, errors that say what to do, statistics, and images that never mix."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import actium
from actium.errors import ParameterError
from actium.models import MLP, ClipCNN, NormActivation, ShapeError, activation_stats

NORMS = [
    (lambda: nn.BatchNorm1d(4), (3, 4)),
    (lambda: nn.BatchNorm1d(4), (3, 4, 5)),
    (lambda: nn.BatchNorm2d(4), (3, 4, 5, 2)),
    (lambda: nn.BatchNorm3d(4), (3, 4, 5, 2, 2)),
    (lambda: nn.LayerNorm(4), (3, 4)),
    (lambda: nn.LayerNorm([4, 5]), (2, 4, 5)),
    (lambda: nn.GroupNorm(2, 4), (3, 4, 5, 2)),
    (lambda: nn.InstanceNorm2d(4), (3, 4, 5, 2)),
]


@pytest.mark.parametrize("activation", ["relu", actium.mish, nn.ELU, nn.Tanh(), actium.nn.PReLU(4)], ids=repr)
@pytest.mark.parametrize(("norm", "shape"), NORMS, ids=lambda v: str(v) if isinstance(v, tuple) else "")
def test_a_norm_and_an_activation_are_their_composition(norm, shape, activation):
    layer, x = NormActivation(norm(), activation), torch.randn(shape)
    assert torch.equal(layer(x), layer.activation(layer.norm(x)))


@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.BatchNorm1d(4), (1, 4)),
        (nn.BatchNorm2d(4), (1, 4, 1, 1)),
        (nn.BatchNorm1d(4, track_running_stats=False), (1, 4)),
    ],
)
def test_a_batch_of_one_in_training_is_answered_with_what_to_do(norm, shape):
    layer = NormActivation(norm, "relu")
    with pytest.raises(ShapeError, match=r"more than one value per channel.*drop_last=True.*eval\(\)"):
        layer(torch.zeros(shape))
    if norm.track_running_stats:
        assert layer.eval()(torch.zeros(shape)).shape == shape


def test_a_batch_of_one_image_has_enough_values():
    assert NormActivation(nn.BatchNorm2d(4), "relu")(torch.zeros(1, 4, 2, 2)).shape == (1, 4, 2, 2)


@pytest.mark.parametrize(
    ("norm", "shape", "says"),
    [
        (nn.BatchNorm1d(4), (4,), r"\(4,\), expected 2 dimensions or 3 dimensions"),
        (nn.BatchNorm2d(4), (2, 4, 3), "expected 4 dimensions"),
        (nn.BatchNorm2d(4), (2, 3, 4, 4), "expected 4 channels in dimension 1"),
        (nn.LayerNorm(4), (2, 3), r"ends in \(4,\)"),
        (nn.GroupNorm(2, 4), (2, 3, 4), "expected 4 channels"),
    ],
)
def test_a_wrong_shape_is_named(norm, shape, says):
    with pytest.raises(ShapeError, match=says):
        NormActivation(norm, "relu")(torch.zeros(shape))


def test_a_norm_that_is_no_module_is_refused():
    with pytest.raises(ParameterError, match="BatchNorm2d"):
        NormActivation(64, "relu")


def test_each_activation_of_an_mlp_learns_for_itself():
    model = MLP([3, 8, 8, 2], "swish")
    first, second = model.layers[1], model.layers[3]
    assert first is not second
    model(torch.randn(5, 3)).sum().backward()
    assert first.beta.grad is not None
    assert model(torch.randn(2, 7, 3)).shape == (2, 7, 2)


def test_statistics_cover_every_learned_parameter_and_one_value_has_no_spread():
    model = MLP([3, 8, 1, 2], "tanh_clip", per_channel=True)
    with torch.no_grad():
        model.layers[1].raw_theta.add_(torch.linspace(-1, 1, 8))
    stats = model.activation_stats()
    theta = model.layers[1].theta.detach()
    assert stats["layers.1"]["theta"] == pytest.approx(
        {
            "mean": theta.mean().item(),
            "std": theta.std(correction=0).item(),
            "min": theta.min().item(),
            "max": theta.max().item(),
        }
    )
    assert stats["layers.3"]["theta"]["std"] == 0.0
    assert all(math.isfinite(v) for layer in stats.values() for p in layer.values() for v in p.values())


def test_statistics_of_pytorchs_own_and_of_fixed_activations():
    stats = activation_stats(nn.Sequential(nn.PReLU(2), nn.ReLU(), actium.nn.AdaptiveMixture("relu", "tanh")))
    assert list(stats) == ["0", "2"]


@pytest.mark.parametrize("sizes", [[3], [3, 0], [3, 2.5], [True, 2]])
def test_sizes_that_are_none_are_refused(sizes):
    with pytest.raises(ParameterError, match="sizes"):
        MLP(sizes)


@pytest.mark.parametrize("size", [(28, 28), (1, 1), (50, 31), (1, 9), (8, 8)])
def test_the_network_takes_images_of_any_size_and_never_mixes_them(size):
    model = ClipCNN([3, 4, 4, 4], 10).eval()
    x = torch.randn(5, 3, *size)
    y = model(x)
    assert y.shape == (5, 10)
    changed = x.clone()
    changed[2] = torch.randn(3, *size)
    z = model(changed)
    same = [0, 1, 3, 4]
    assert torch.equal(y[same], z[same])
    torch.testing.assert_close(model(x[:1]), y[:1])


def test_each_stage_has_its_own_threshold_and_learns_it():
    model = ClipCNN([1, 4, 4], 3, thresholds=[0.5, 2.0], per_channel=True)
    assert [c.theta.tolist() for c in model.clips] == [pytest.approx([0.5] * 4), pytest.approx([2.0] * 4)]
    model(torch.randn(4, 1, 8, 8)).square().sum().backward()
    assert all(c.raw_theta.grad.abs().sum() > 0 for c in model.clips)
    assert len({id(c) for c in model.clips}) == 2


def test_another_clip_can_be_chosen():
    assert type(ClipCNN([1, 2], 3, clip="hard_clip").clips[0]).__name__ == "HardClip"


def test_wrong_arguments_and_images_are_named():
    with pytest.raises(ParameterError, match="2 thresholds for 1 stages"):
        ClipCNN([1, 2], 3, thresholds=[1.0, 2.0])
    with pytest.raises(ParameterError, match="at least one stage"):
        ClipCNN([1], 3)
    with pytest.raises(ParameterError, match="theta"):
        ClipCNN([1, 2], 3, thresholds=-1.0)
    for shape in ((1, 8, 8), (2, 2, 8, 8), (2, 1, 0, 8)):
        with pytest.raises(ShapeError, match="expected"):
            ClipCNN([1, 2], 3)(torch.zeros(shape))
