"""A run: only the activation differs, a divergence is recorded, and every dtype trains."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from actium.errors import DataError, DtypeError
from actium.train.candidates import candidate
from actium.train.data import Data
from actium.train.loop import Settings, fit
from actium.train.networks import CNN, MLP, Transformer, draw_weights
from actium.train.record import dead_share
from actium.train.sources import Sources, digits, moons

NAIVE_MISH, NAIVE_TANH = "x * tanh(log(1 + exp(x)))", "(exp(x) - exp(-x)) / (exp(x) + exp(-x))"


def small(rows: int = 64) -> Data:
    x = torch.randn(rows, 3, generator=torch.Generator().manual_seed(0))
    y = (x.sum(dim=1) > 0).long()
    return Data(x, y, x, y, 2)


def network(target: str = "relu", seed: int = 0) -> tuple[nn.Module, list[nn.Module]]:
    make, made = candidate(target).maker(seed)
    return draw_weights(MLP(make, 3, 2, width=8), seed), made


def test_activations_of_a_seed_start_from_the_same_weights():
    targets = ("relu", "torch.nn:PReLU", "rrelu", "x * sigmoid(x)")
    weights = [[p for n, p in network(t)[0].named_parameters() if p.dim() == 2] for t in targets]
    for other in weights[1:]:
        assert all(torch.equal(a, b) for a, b in zip(weights[0], other, strict=True))
    assert not torch.equal(weights[0][0], network("relu", 1)[0][1].weight)


def test_every_place_has_a_fresh_module():
    _, made = network("torch.nn:PReLU")
    assert len({id(m) for m in made}) == 2
    assert made[0].weight is not made[1].weight


def test_a_run_repeats_itself_and_leaves_the_generator_alone():
    networks = [network("rrelu")[0] for _ in range(2)]
    before = torch.get_rng_state()
    first, second = (fit(net, small(), Settings(3)) for net in networks)
    assert first.curve == second.curve
    assert torch.equal(before, torch.get_rng_state())


def test_the_seed_decides_the_order():
    first, second = (fit(network()[0], small(), Settings(3, batch=8), seed=s) for s in (0, 1))
    assert first.curve != second.curve


def test_a_batch_of_one():
    run = fit(network()[0], small(rows=3), Settings(2, batch=1))
    assert run.steps == 6
    assert run.metric is not None


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_every_dtype_trains_and_parameters_stay_in_float32(dtype: str):
    net, made = network("torch.nn:PReLU")
    run = fit(net, small(), Settings(20, batch=16, dtype=dtype), activations=made)
    assert run.diverged is None
    assert run.metric is not None
    assert run.metric > 0.8
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert len(run.learned["1.weight"]) == 21
    assert run.learned["1.weight"][0] != run.learned["1.weight"][-1]


@pytest.mark.parametrize(
    ("formula", "dtype", "scale"),
    [
        (NAIVE_TANH, "float16", 1.0),
        (NAIVE_MISH, "float16", 1.0),
        (NAIVE_TANH, "bfloat16", 16.0),
        (NAIVE_MISH, "bfloat16", 16.0),
    ],
)
def test_a_naive_activation_diverges_where_the_same_formula_in_our_form_trains(formula: str, dtype: str, scale: float):
    # Pixels from 0 to 16, as scikit-learn has them, reach 11; from 0 to 255 they reach 89.
    found = digits(0, Sources())
    data = Data(
        *(t * 16 * scale if t.is_floating_point() else t for t in vars(found).values() if torch.is_tensor(t)), 10
    )
    ends = []
    for plain in (True, False):
        make, made = candidate(formula, plain).maker(0)
        net = draw_weights(MLP(make, 64, 10), 0)
        ends.append(fit(net, data, Settings(2, dtype=dtype), activations=made))
    assert ends[0].diverged is not None
    assert ends[0].metric is None
    assert ends[1].diverged is None
    assert ends[1].metric is not None
    assert ends[1].metric > 0.7


def test_a_diverging_run_says_where_and_stops():
    run = fit(MLP(lambda: Grows(), 3, 2), small(), Settings(50, batch=8))
    assert run.diverged is not None
    assert "at step" in run.diverged
    assert run.metric is None
    assert run.steps < 400


class Grows(nn.Module):
    """Fine at first, and NaN from the third call on."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return torch.relu(x) * (float("nan") if self.calls > 3 else 1.0)


def test_settings_are_checked():
    with pytest.raises(DtypeError, match="cannot train in 'float8'"):
        Settings(dtype="float8")
    with pytest.raises(DataError, match="epochs is 0"):
        Settings(epochs=0)


def test_dead_units_are_those_that_are_constant():
    assert dead_share([torch.zeros(4, 3), torch.zeros(2, 3)], -1) == 1.0
    images = torch.zeros(2, 3, 2, 2)
    images[0, 1, 0, 0] = 1
    assert dead_share([images], 1) == pytest.approx(2 / 3)
    net, made = network("relu")
    with torch.no_grad():
        net[1].bias.fill_(-100.0)
    assert fit(net, small(), Settings(1, learning_rate=1e-9), activations=made).dead[0] == 1.0


def test_networks_fit_any_size():
    for size in ((8, 8), (28, 28), (9, 5)):
        assert CNN(nn.ReLU, 1, 10)(torch.zeros(2, 1, *size)).shape == (2, 10)
    for length in (1, 5, 64):
        assert Transformer(nn.ReLU, 7)(torch.zeros(2, length, dtype=torch.long)).shape == (2, length, 7)


def test_the_transformer_does_not_look_ahead():
    torch.manual_seed(0)
    net = Transformer(nn.GELU, 7).eval()
    x = torch.randint(0, 7, (1, 10))
    other = x.clone()
    other[0, 6:] = 0
    torch.testing.assert_close(net(x)[:, :6], net(other)[:, :6])


def test_a_gain_scales_the_layers_before_an_activation_only():
    one, two = (draw_weights(MLP(nn.ReLU, 3, 2, width=8), 0, gain) for gain in (1.0, 2.0))
    torch.testing.assert_close(two[1].weight, 2 * one[1].weight)
    assert torch.equal(two[-1].weight, one[-1].weight)


def test_moons_are_learned_by_a_perceptron():
    make, _ = candidate("silu").maker(0)
    run = fit(draw_weights(MLP(make, 2, 2, width=32), 0), moons(0, Sources()), Settings(15, 50, 1e-2))
    assert run.metric is not None
    assert run.metric >= 0.97
