"""A summary: what did not finish is never called better, and the losses are those of the last epoch."""

from __future__ import annotations

from typing import Any

import pytest

from actium.train.loop import Run, print_loss
from actium.train.plan import Plan
from actium.train.summary import summarize

AHEAD, BEHIND = [0.9, 0.91, 0.92, 0.9, 0.91, 0.9], [0.8, 0.82, 0.81, 0.8, 0.82, 0.8]
DIVERGED, PRUNED, FAILED = {"diverged": "the loss is nan"}, {"metric": 0.99, "pruned": 2}, {"error": "ValueError: no"}


def summary(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> dict[str, Any]:
    cells = [
        {"activation": n, "seed": s, "metric": None, **c} for n, own in (("a", a), ("b", b)) for s, c in enumerate(own)
    ]
    return summarize(Plan("digits", "mlp", ("a", "b"), len(a), 1, 1, 1.0), cells)


def runs(metrics: list[float], *unfinished: dict[str, Any]) -> list[dict[str, Any]]:
    """Runs of these metrics, the last of them replaced."""
    return [*({"metric": m} for m in metrics[: len(metrics) - len(unfinished)]), *unfinished]


@pytest.mark.parametrize(
    "unfinished", [(DIVERGED, DIVERGED), (PRUNED,), (FAILED,)], ids=["diverged", "pruned", "failed"]
)
def test_what_did_not_finish_all_its_runs_is_never_called_better(unfinished: tuple[dict[str, Any], ...]):
    found = summary(runs(AHEAD, *unfinished), runs(BEHIND))
    (pair,) = found["pairs"]
    assert pair["p_holm"] < 0.05
    assert pair["better"] is None
    assert found["conclusion"] == f"no difference shown by 6 seeds; a finished {6 - len(unfinished)} of 6 runs"


def test_what_finished_is_better_than_what_did_not():
    found = summary(runs(AHEAD), runs(BEHIND, DIVERGED))
    assert found["pairs"][0]["better"] == "a"
    assert found["conclusion"].startswith("a is better than b (p = ")
    assert found["conclusion"].endswith("; b finished 5 of 6 runs")


def test_losses_are_the_middle_over_seeds_after_the_last_epoch():
    ends = [(1.0, 1.5), (2.0, 2.5), (4.0, 4.5)]
    own = [{"metric": 0.5, "loss": b, "curve": [{"train_loss": 9.0}, {"train_loss": a}]} for a, b in ends]
    row = summary(own, runs([0.5, 0.5, 0.5]))["activations"][0]
    assert (row["train_loss"], row["loss"]) == (2.0, 2.5)
    none = summary(own, [DIVERGED] * 3)["activations"][1]
    assert (none["train_loss"], none["loss"]) == (None, None)


def test_the_training_function_prints_the_loss_and_that_of_held_out_data(capsys: pytest.CaptureFixture[str]):
    run = Run(curve=[{"epoch": 1, "train_loss": 0.25, "test_loss": 0.5}])
    print_loss(1, run)
    run.curve.append({"epoch": 2, "train_loss": 0.125, "test_loss": None})
    print_loss(2, run)
    assert capsys.readouterr().out == "epoch 1: loss 0.25, held out 0.5\nepoch 2: loss 0.125, held out none\n"
