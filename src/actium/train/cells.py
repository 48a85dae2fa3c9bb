"""One cell of a study: the same data, weights and order as the other activations of its seed.

Stage: plan and cell → [cell] → result, as JSON has it.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from actium.train.candidates import candidate, code_of
from actium.train.loop import Run, Settings, fit
from actium.train.networks import HE, draw_weights
from actium.train.plan import Cell, Plan, software
from actium.train.queue import Report
from actium.train.sources import Sources
from actium.train.tasks import task_of


def plan_of(
    activations: tuple[str, ...],
    task: str,
    seeds: int,
    sources: Sources | None = None,
    *,
    network: str | None = None,
    epochs: int | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    plain: bool = False,
    gains: dict[str, float] | None = None,
) -> Plan:
    """The plan of a study; what it needs is looked at, so that a mistake shows before anything is trained.

    Args:
        activations: Target texts.
        task: Name of a task.
        seeds: How many.
        sources: Where the user's own data is.
        network: Name of a network of the task; the usual one if not given.
        epochs: Instead of the task's own.
        dtype: float32, bfloat16 or float16.
        device: Such as cpu or cuda.
        plain: Train formulas as plain PyTorch computes them.
        gains: Activation → gain of the layers before it.

    Returns:
        The plan.

    Raises:
        ActiumError: If an activation, the task or its data cannot be used.
    """
    chosen, network = task_of(task, network)
    for target in activations:
        candidate(target, plain)
    settings = Settings(epochs or chosen.epochs, chosen.batch, chosen.learning_rate, dtype, device)
    return Plan(
        task,
        network,
        tuple(activations),
        seeds,
        settings.epochs,
        settings.batch,
        settings.learning_rate,
        dtype,
        device,
        plain,
        dict(gains or {}),
        chosen.load(0, sources or Sources()).fingerprint,
        {target: code for target in activations if (code := code_of(target))},
        software(),
    )


def train_cell(plan: Plan, cell: Cell, sources: Sources, report: Report | None = None) -> dict[str, Any]:
    """Train a cell.

    Args:
        plan: How.
        cell: What.
        sources: Where the user's own data is.
        report: Called with the epoch and the metric; true ends the run.

    Returns:
        The result: what the schema of `--json` calls a cell.
    """
    task, network = task_of(plan.task, plan.network)
    data = task.load(cell.seed, sources)
    make, made = candidate(cell.activation, plan.plain).maker(cell.seed)
    model = draw_weights(task.networks[network](make, data), cell.seed, plan.gains.get(cell.activation, HE))
    settings = Settings(plan.epochs, plan.batch, plan.learning_rate, plan.dtype, plan.device)

    def after(epoch: int, run: Run) -> bool:
        return report is not None and run.metric is not None and report(epoch, run.metric)

    run = fit(model, data, settings, seed=cell.seed, score=task.score, activations=made, report=after)
    return {"key": cell.key, "activation": cell.activation, "seed": cell.seed, **asdict(run)}
