"""The studies that docs/choosing.md quotes: a handful of activations on four tasks.

Run: `python benchmarks/studies.py [--out DIR] [--tasks digits,moons] [--jobs N] [--data-dir DIR]`. About 15 minutes on
two cores. With --out, an interrupted run goes on where it stopped. The numbers are metrics, not times: how busy the
machine is does not change them. Fashion-MNIST is left out where its files are not at hand.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common import save

from actium.errors import DataError
from actium.train.cells import plan_of
from actium.train.sources import Sources
from actium.train.study import compare
from actium.train.summary import summarize

KEPT = ("activation", "seed", "metric", "loss", "diverged")
STUDIES = {
    "digits": (("relu", "leaky_relu", "silu", "gelu", "mish", "tanh", "torch.nn:PReLU"), 10),
    "moons": (("relu", "leaky_relu", "silu", "gelu", "mish", "tanh", "torch.nn:PReLU"), 10),
    "fashion-mnist": (("relu", "silu", "gelu", "mish", "tanh"), 8),
    "charlm": (("relu", "silu", "gelu", "square_relu"), 5),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--tasks", default=",".join(STUDIES))
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--data-dir", type=Path)
    options = parser.parse_args()
    sources, results = Sources(data_dir=options.data_dir), {}
    for task in options.tasks.split(","):
        activations, seeds = STUDIES[task]
        try:
            plan = plan_of(activations, task, seeds, sources)
        except DataError as error:
            print(f"{task} is left out: {error}")
            continue
        cells = compare(plan, sources, jobs=options.jobs, out=options.out).cells
        summary = summarize(plan, cells)
        print(f"{task}: {summary['conclusion']}", flush=True)
        kept = [
            {name: cell.get(name) for name in ("activation", "seed", "metric", "loss", "diverged")} for cell in cells
        ]
        results[task] = {"plan": without_software(plan.to_json()), "summary": without_times(summary), "cells": kept}
    save("studies", results)


def without_software(plan: dict) -> dict:
    """Without the content hash of this package, which the next commit changes."""
    return plan | {"software": {name: v for name, v in plan["software"].items() if name != "files"}}


def without_times(summary: dict) -> dict:
    """Without times: several cells were trained at once, on a machine that did other things as well."""
    rows = [{name: v for name, v in row.items() if name != "step_seconds"} for row in summary["activations"]]
    return summary | {"activations": rows}


if __name__ == "__main__":
    main()
