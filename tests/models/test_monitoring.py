"""The monitor sees what happens in a training, and nothing that it does changes the training."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import actium
from actium.errors import ParameterError
from actium.models import hf_callback, lightning_callback
from actium.models.sinks import Live, table


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 4, 3),
        actium.nn.PReLU(4),
        nn.Flatten(1),
    )


def train(model, steps=4, x=None):
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    torch.manual_seed(1)
    for _ in range(steps):
        batch = torch.randn(8, 1, 6, 6) if x is None else x
        loss = model(batch).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


def test_watching_changes_no_bit_of_a_training():
    wanted = train(network())
    model = network()
    with actium.monitor(model, every=1):
        got = train(model)
    assert all(torch.equal(a, b) for a, b in zip(wanted, got, strict=True))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_random_activations_draw_what_they_would_have_drawn():
    def build():
        return nn.Sequential(nn.Linear(36, 8), nn.RReLU(), actium.nn.RReLU(), nn.Linear(8, 1))

    torch.manual_seed(0)
    wanted = train(build(), x=torch.ones(4, 36))
    torch.manual_seed(0)
    model = build()
    with actium.monitor(model, every=1):
        got = train(model, x=torch.ones(4, 36))
    assert all(torch.equal(a, b) for a, b in zip(wanted, got, strict=True))


def test_moments_and_gradients_are_those_of_the_whole_batch_when_it_is_small():
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))
    x = torch.randn(16, 3)
    with actium.monitor(model, every=1) as m:
        y = model[1](model[0](x)).detach()
        model(x).sum().backward()
    seen = m.latest()["1"]
    assert seen["mean"] == pytest.approx(y.mean().item(), abs=1e-6)
    assert seen["std"] == pytest.approx(y.std(correction=0).item(), rel=1e-5)
    assert seen["saturated"] == pytest.approx(((1 - y * y) < 0.05).float().mean().item())
    assert seen["grad_rms"] == pytest.approx(model[2].weight.detach().square().mean().sqrt().item(), rel=1e-5)


def test_dead_units_are_those_that_no_sample_of_the_window_moves():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    with torch.no_grad():
        model[0].bias.copy_(torch.tensor([-1e3] * 2 + [1e3] * 6))
    with actium.monitor(model, every=1, window=3) as m:
        for _ in range(3):
            model(torch.randn(8, 4)).sum().backward()
    assert m.latest()["1"]["dead"] == 0.25
    assert m.latest()["1"]["saturated"] == 0.25


def test_a_unit_that_wakes_up_within_the_window_is_not_dead():
    model = nn.Sequential(nn.ReLU())
    with actium.monitor(model, every=1, window=2) as m:
        for value in (1.0, -1.0, -1.0, -1.0):
            model(torch.full((4, 2), value, requires_grad=True)).sum().backward()
    assert [r["0"]["dead"] for _, r in m.records] == [0.0, 0.0, 1.0, 1.0]


def test_dead_channels_of_images_are_counted_in_dimension_1():
    x = torch.ones(2, 4, 3, 5, requires_grad=True) * torch.tensor([1.0, -1.0, -1.0, -1.0]).reshape(4, 1, 1)
    model = nn.Sequential(nn.ReLU())
    with actium.monitor(model, every=1) as m:
        model(x).sum().backward()
    assert m.latest()["0"]["dead"] == 0.75


def test_one_step_in_so_many_is_looked_at():
    model = network()
    with actium.monitor(model, every=3) as m:
        train(model, 7)
    assert [step for step, _ in m.records] == [0, 3, 6]


def test_drift_of_learned_parameters_is_relative_to_the_start():
    model = network()
    with actium.monitor(model, every=1) as m:
        train(model, 3)
        with torch.no_grad():
            model[4].weight.copy_(torch.tensor([0.25, 0.25, 0.25, 0.75]))
        train(model, 1)
    before = m.records[0][1]["4"]
    assert 0 < before["weight.drift"] < 0.1
    assert m.latest()["4"]["weight.drift"] == pytest.approx(1.0, abs=0.2)
    assert m.latest()["4"]["weight.max"] == pytest.approx(0.75, abs=0.1)


def test_parameters_in_a_range_are_shown_in_it():
    model = nn.Sequential(nn.Linear(36, 4), actium.nn.TanhClip(2.0))
    with actium.monitor(model, every=1) as m:
        train(model, 1, torch.randn(2, 36))
    assert m.latest()["1"]["theta.mean"] == pytest.approx(2.0, abs=0.2)
    assert m.latest()["1"]["theta.std"] == 0.0


def test_nan_is_counted_and_not_fatal():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    x = torch.tensor([[1.0, 1.0], [math.nan, 1.0]])
    with actium.monitor(model, every=1) as m:
        model(x).sum().backward()
    seen = m.latest()["1"]
    assert seen["not_finite"] == 2.0
    assert math.isfinite(seen["mean"])


def test_an_empty_batch_is_skipped():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    with actium.monitor(model, every=1) as m:
        train(model, 1, torch.zeros(0, 2))
        train(model, 1, torch.ones(1, 2))
    assert (m.skipped, len(m.records)) == (1, 1)


def test_evaluation_is_not_looked_at():
    model = network()
    with actium.monitor(model, every=1) as m, torch.no_grad():
        model(torch.randn(2, 1, 6, 6))
    assert not m.records


def test_an_exception_inside_passes_and_everything_is_put_away(tmp_path):
    model = network()

    def fail():
        with actium.monitor(model, tmp_path / "log.jsonl", every=1):
            train(model, 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 1


def test_monitors_nest_and_one_cannot_be_entered_twice():
    model = network()
    with actium.monitor(model, every=1) as outer, actium.monitor(model, every=2) as inner:
        train(model, 4)
        with pytest.raises(ParameterError, match="already watching"):
            outer.__enter__()
    assert (len(outer.records), len(inner.records)) == (4, 2)
    assert outer.records[2][1] == inner.records[1][1]


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_parts_are_counted_once(reentrant):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = nn.Sequential(nn.Linear(2, 2), nn.ReLU())

        def forward(self, x):
            return checkpoint(self.part, x, use_reentrant=reentrant)

    model = Model()
    x = torch.randn(4, 2, requires_grad=True)
    with actium.monitor(model, every=1) as m:
        model(x).sum().backward()
    if reentrant:  # its first run is without gradients; what it does in the backward is not looked at
        assert "grad_rms" not in m.latest()["part.1"]
    else:
        assert m.latest()["part.1"]["grad_rms"] == 1.0
    assert len(m.records) == 1


def test_a_compiled_model_says_what_is_not_seen():
    model = torch.compile(network(), backend="eager")
    with actium.monitor(model, every=1) as m:
        train(model, 1)
    assert m.blind[0].startswith("2, 4: inside a compiled model")
    assert "weight.drift" in m.latest()["4"]
    torch.compiler.reset()


def test_a_model_without_known_activations_says_so():
    with actium.monitor(nn.Linear(2, 2)) as m:
        pass
    assert "F.relu" in m.blind[0]


def test_half_precision_and_autocast():
    model = network()
    with actium.monitor(model, every=1) as m, torch.autocast("cpu", torch.bfloat16):
        model(torch.randn(2, 1, 6, 6)).float().sum().backward()
    assert math.isfinite(m.latest()["2"]["mean"])


# --- Where records go --------------------------------------------------------------------------------------------


class Tracker:
    def __init__(self):
        self.got = []

    def log(self, values, step=None):
        self.got.append((step, values))


class Writer:
    def __init__(self):
        self.got = {}

    def add_scalar(self, name, value, step):
        self.got[name, step] = value


def test_records_reach_files_trackers_and_tensorboard(tmp_path):
    model, tracker, writer = network(), Tracker(), Writer()
    path = tmp_path / "new" / "log.jsonl"
    with actium.monitor(model, path, tracker, writer, "live", every=2) as m:
        train(model, 3)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(d["step"], d["layers"]) for d in lines] == m.records
    assert [s for s, _ in tracker.got] == [0, 2]
    assert tracker.got[1][1]["actium/2/dead"] == m.latest()["2"]["dead"] == writer.got["actium/2/dead", 2]


def test_json_has_no_nan(tmp_path):
    model = nn.Sequential(nn.Linear(2, 2), actium.nn.PReLU())
    with torch.no_grad():
        model[1].weight.fill_(math.nan)
    with actium.monitor(model, tmp_path / "log.jsonl", every=1):
        train(model, 1, torch.ones(1, 2))
    assert json.loads((tmp_path / "log.jsonl").read_text())["layers"]["1"]["weight.mean"] == "nan"


def test_the_live_table_shows_nothing_off_a_terminal(capsys):
    live = Live()
    live.write(0, {"1": {"dead": 0.5}})
    live.close()
    assert capsys.readouterr() == ("", "")
    assert table(3, {"1": {"dead": 0.5}}).row_count == 1


@pytest.mark.parametrize(("sinks", "options"), [((3,), {}), ((), {"every": 0}), ((), {"window": 1.5})])
def test_wrong_arguments_are_named_and_leave_no_hooks(sinks, options):
    model = network()
    with pytest.raises(ParameterError), actium.monitor(model, *sinks, **options):
        pass
    assert not any(m._forward_hooks for m in model.modules())


# --- Callbacks ---------------------------------------------------------------------------------------------------


def test_the_transformers_callback_runs_in_its_handler():
    transformers = pytest.importorskip("transformers", reason="needs the extra hf")
    handler = pytest.importorskip("transformers.trainer_callback").CallbackHandler
    callback, model = hf_callback(every=1), network()
    assert isinstance(callback, transformers.TrainerCallback)
    args, state, control = None, transformers.TrainerState(), transformers.TrainerControl()
    events = handler([callback], model, None, None, None)
    events.on_train_begin(args, state, control)
    for _ in range(2):
        train(model, 1)
        events.on_step_end(args, state, control)
    assert len(callback.watching.monitor.records) == 2
    events.on_train_end(args, state, control)
    assert not callback.watching.monitor.active


def test_the_lightning_callback_follows_the_trainers_events():
    callback, model = lightning_callback(every=1), network()
    callback.on_train_start(None, model)
    train(model, 1)
    callback.on_train_batch_end(None, model, None, None, 0)
    callback.on_exception(None, model, RuntimeError())
    callback.on_train_end(None, model)
    assert len(callback.watching.monitor.records) == 1
    assert not any(m._forward_hooks for m in model.modules())


# --- Gated units -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("two", [False, True], ids=["halves", "two tensors"])
@pytest.mark.parametrize("first", [False, True], ids=["second", "first"])
def test_the_activation_of_a_gated_unit_is_seen_on_the_gate(two, first):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 12), nn.Linear(6, 1)
            self.unit = actium.nn.SwiGLU(gate="first" if first else "second")

        def forward(self, x):
            gate, up = self.a(x).chunk(2, -1)
            return self.b(self.unit(gate, up=up) if two else self.unit(self.a(x)))

    model, x = Block(), torch.randn(16, 4)
    with actium.monitor(model, every=1) as m:
        y = nn.functional.silu(model.a(x).chunk(2, -1)[0 if two or first else 1].detach())
        model(x).sum().backward()
    seen = m.latest()["unit.activation"]
    assert m.blind == []
    assert seen["mean"] == pytest.approx(y.mean().item(), abs=1e-6)
    assert seen["std"] == pytest.approx(y.std(correction=0).item(), rel=1e-4)
    assert seen["grad_rms"] == pytest.approx(model.b.weight.detach().square().mean().sqrt().item(), rel=1e-5)
    assert not any(module._forward_hooks for module in model.modules())


def test_dead_gates_and_drift_of_gated_units_are_recorded():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), actium.nn.ReGLU(), nn.Linear(4, 8), actium.nn.GLU("swish", learn=("beta",)))
    with torch.no_grad():
        model[0].weight[6:].zero_()
        model[0].bias[6:] = -1.0
    with actium.monitor(model, every=1) as m:
        for _ in range(2):
            model(torch.randn(64, 4)).sum().backward()
            with torch.no_grad():
                model[3].activation.beta.mul_(1.5)
    assert m.latest()["1.activation"]["dead"] == 0.5
    assert [r["3.activation"]["beta.drift"] for _, r in m.records] == pytest.approx([0.5, 1.25])


def test_watching_gated_units_changes_no_bit_of_a_training():
    def build():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(36, 16), actium.nn.GLU("swish", gate="first", learn=("beta",)), nn.Linear(8, 1))

    x = torch.randn(4, 36)
    wanted, model = train(build(), x=x), build()
    with actium.monitor(model, every=1):
        got = train(model, x=x)
    assert all(torch.equal(a, b) for a, b in zip(wanted, got, strict=True))
