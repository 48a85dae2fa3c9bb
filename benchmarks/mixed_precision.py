"""Custom activations in mixed precision: as typed, and in actium's form, at the same seeds.

Run: `python benchmarks/mixed_precision.py`; about a minute on one core. A perceptron learns scikit-learn's digits, once
with pixels from 0 to 16, as they come, once from 0 to 255. Under `torch.autocast` its activations get float16 or
bfloat16, and exponentials overflow beyond 11.09 in float16, 88.7 in bfloat16 and float32.
"""

from __future__ import annotations

import statistics

import torch
from common import command_line, save

from actium.train.candidates import candidate
from actium.train.data import Data
from actium.train.loop import Run, Settings, fit
from actium.train.networks import MLP, draw_weights
from actium.train.sources import Sources, digits

FORMULAS = {"mish": "x * tanh(log(1 + exp(x)))", "tanh": "(exp(x) - exp(-x)) / (exp(x) + exp(-x))"}
PIXELS, SEEDS, EPOCHS = (16, 255), 5, 5


def trained(formula: str, as_written: bool, dtype: str, pixels: int, seed: int) -> Run:
    """The perceptron of one seed, after a few epochs or until it diverged."""
    found = digits(seed, Sources())
    data = Data(found.train_x * pixels, found.train_y, found.test_x * pixels, found.test_y, found.classes)
    make, _ = candidate(formula, as_written).maker(seed)
    network = draw_weights(MLP(make, 64, 10), seed)
    return fit(network, data, Settings(EPOCHS, dtype=dtype), seed=seed)


def row(name: str, as_written: bool, dtype: str, pixels: int) -> dict[str, object]:
    """One line of the table: how many of the seeds diverged, and what the others reached."""
    runs = [trained(FORMULAS[name], as_written, dtype, pixels, seed) for seed in range(SEEDS)]
    done = [run.metric for run in runs if run.metric is not None]
    return {
        "formula": FORMULAS[name],
        "form": "as written" if as_written else "actium",
        "dtype": dtype,
        "pixels": f"0 to {pixels}",
        "seeds": SEEDS,
        "diverged": sum(run.diverged is not None for run in runs),
        "accuracy": statistics.fmean(done) if done else None,
        "why": next((run.diverged for run in runs if run.diverged), None),
        "steps_left_out": sum(run.skipped for run in runs),
    }


def main() -> None:
    command_line(__doc__).parse_args()
    torch.set_num_threads(1)
    rows = []
    for pixels in PIXELS:
        for dtype in ("float32", "bfloat16", "float16"):
            for name in FORMULAS:
                for as_written in (True, False):
                    rows.append(row(name, as_written, dtype, pixels))
                    print(*rows[-1].values(), flush=True)
    save("mixed_precision", rows)


if __name__ == "__main__":
    main()
