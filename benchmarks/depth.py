"""What 50 random layers do to a signal's variance, for every activation: `init_` on an MLP of width 512.

The variance of the output over that of the input, at five seeds, with `init_`'s defaults and, where those draw biases,
with zero biases. Deterministic but for the last bits of a matrix product. Run: `python benchmarks/depth.py`.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence

import torch
from common import RESULTS, command_line
from torch import nn

from actium.catalogue import ENTRIES
from actium.models import init_, moments
from actium.models.making import make

LAYERS, WIDTH, BATCH, SEEDS = 50, 512, 128, 5
LOW, HIGH = 0.3, 3.0


def stack(linears: Sequence[nn.Module], name: str) -> nn.Sequential:
    """Linear layers with an activation between them."""
    parts: list[nn.Module] = [linears[0]]
    for linear in linears[1:]:
        parts += [make(name), linear]
    return nn.Sequential(*parts).eval()


@torch.no_grad()
def ratio(model: nn.Module, seed: int, bias: str) -> float:
    """The output's variance over the input's."""
    generator = torch.Generator().manual_seed(seed)
    init_(model, bias=bias, generator=generator)
    x = torch.randn(BATCH, WIDTH, generator=generator)
    return float(model(x).double().var() / x.double().var())


def row(linears: Sequence[nn.Module], name: str, seeds: int = SEEDS) -> dict[str, object]:
    """One activation's numbers."""
    model, found = stack(linears, name), moments(name)
    ratios = [ratio(model, seed, "auto") for seed in range(seeds)]
    made: dict[str, object] = {"growth": round(found.growth, 4), "ratios": [float(f"{r:.3g}") for r in ratios]}
    made["median"] = float(f"{statistics.median(ratios):.3g}")
    made["within"] = all(LOW <= r <= HIGH for r in ratios)
    if found.growth > 1.0 + 1e-9:
        made["zero bias"] = [f"{ratio(model, seed, 'zero'):.3g}" for seed in range(seeds)]
    return made


def main() -> None:
    options = command_line(__doc__)
    options.add_argument("names", nargs="*", metavar="NAME", help="these only, nothing written")
    names: Sequence[str] = options.parse_args().names
    torch.set_num_threads(1)  # so that a loaded machine gives the same numbers as an idle one, and soon
    linears = [nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)]
    rows = {}
    for name in names or list(ENTRIES):
        rows[name] = row(linears, name)
        print(name, json.dumps(rows[name]), flush=True)
    outside = [n for n, r in rows.items() if not r["within"]]
    print(f"every seed within [{LOW}, {HIGH}]: {len(rows) - len(outside)} of {len(rows)}; not: {', '.join(outside)}")
    if not names:
        setting = {"layers": LAYERS, "width": WIDTH, "batch": BATCH, "seeds": SEEDS, "torch": torch.__version__}
        result = {"setting": setting, "rows": rows}
        (RESULTS / "depth.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
