"""What watching costs: a training step of a small CNN with `actium.monitor` against the same without, in turns.

Prints the ratio of processor times on one thread over a whole cycle of `every` steps, one of which is looked at. It is
a ratio of one run on one machine: nothing is written. Run: `python benchmarks/monitor.py`.
"""

from __future__ import annotations

import statistics
import time

import torch
from common import command_line
from torch import nn

import actium

EVERY, BATCH, ROUNDS = 20, 32, 7


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for a, b in ((3, 32), (32, 64), (64, 64)):
        layers += [nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 10))


def cycle(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> float:
    """Processor seconds of one cycle."""
    begin = time.process_time()
    for _ in range(EVERY):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return time.process_time() - begin


def main() -> None:
    command_line(__doc__).parse_args()
    torch.set_num_threads(1)  # waiting threads would count as working ones
    x, y = torch.randn(BATCH, 3, 32, 32), torch.randint(10, (BATCH,))
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    cycle(model, optimizer, x, y)
    ratios = []
    for k in range(ROUNDS):
        plain = cycle(model, optimizer, x, y)
        with actium.monitor(model, every=EVERY):
            watched = cycle(model, optimizer, x, y)
        ratios.append(watched / plain)
        print(f"round {k + 1}: {ratios[-1]:.4f}", flush=True)
    print(f"time with the monitor, every={EVERY}, over time without: median {statistics.median(ratios):.4f}")


if __name__ == "__main__":
    main()
