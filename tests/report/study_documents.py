"""Studies to show, made by hand."""

from __future__ import annotations

from typing import Any

from actium.train.plan import Plan
from actium.train.summary import document

HOSTILE = "<script>alert(1)</script>\x1b[31m"


def cell(activation: str, seed: int, metric: float | None) -> dict[str, Any]:
    curve = [{"epoch": e, "train_loss": 1 / e, "test_loss": 1.5 / e, "metric": metric} for e in (1, 2, 3)]
    return {
        "activation": activation,
        "seed": seed,
        "metric": metric,
        "loss": 0.5,
        "curve": curve if metric is not None else curve[:1],
        "learned": {"1.alpha": [0.25, 0.3, 0.35, 0.4]},
        "dead": [0.0, 0.25],
        "step_seconds": 0.001,
        "kept_bytes": 2048,
        "diverged": None if metric is not None else "the loss is nan at step 7 of 90",
    }


def study(*names: str, diverging: str = "") -> dict[str, Any]:
    plan = Plan("digits", "mlp", names, 3, 3, 64, 1e-3)
    cells = [
        cell(name, seed, None if name == diverging and seed == 1 else 0.9 + 0.01 * seed + 0.02 * place)
        for place, name in enumerate(names)
        for seed in range(3)
    ]
    return document(plan, cells, {"torch": "2.13.0"})
