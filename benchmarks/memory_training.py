"""Does a slope in eight bits change training? A small character model, trained with and without, three seeds each.

The text is Python's own `pydoc_data/topics.py`. A pair of runs with one seed sees the same batches from the same
weights; what differs is `memory=` of its GELUs. Compared are the losses on text that was not trained on: their
difference within a seed against their spread between seeds. Run: `python benchmarks/memory_training.py [--steps N]`.
"""

from __future__ import annotations

import pydoc_data.topics
import statistics
from pathlib import Path

import torch
from common import command_line, save
from torch import nn
from torch.nn import functional as F

import actium.nn

CONTEXT, WIDTH, HEADS, BATCH = 48, 64, 4, 16
MODES = ("exact", "uint8", "output")


class Block(nn.Module):
    """Attention and a GELU network, each added to what it reads."""

    def __init__(self, memory: str) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)])
        self.mixed, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        gelu = actium.nn.GELU(memory=memory)
        self.network = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), gelu, nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, _ = x.shape
        q, k, v = self.mixed(self.norms[0](x)).view(b, t, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(b, t, WIDTH))
        return x + self.network(self.norms[1](x))


class Model(nn.Module):
    """Characters in, logits of the next one out."""

    def __init__(self, symbols: int, memory: str) -> None:
        super().__init__()
        self.symbol, self.place = nn.Embedding(symbols, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(Block(memory), Block(memory))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, symbols)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.blocks(self.symbol(x) + self.place.weight[: x.shape[1]])))


def text() -> tuple[torch.Tensor, int]:
    """The characters as numbers, and how many different ones there are."""
    characters = Path(pydoc_data.topics.__file__).read_text(encoding="utf-8")
    known = {c: k for k, c in enumerate(sorted(set(characters)))}
    return torch.tensor([known[c] for c in characters]), len(known)


def batch(data: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    at = torch.randint(len(data) - CONTEXT - 1, (BATCH,), generator=generator)
    rows = torch.stack([data[a : a + CONTEXT + 1] for a in at.tolist()])
    return rows[:, :-1], rows[:, 1:]


def loss_of(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Under autocast: GELU's input is bfloat16."""
    with torch.autocast("cpu", torch.bfloat16):
        return F.cross_entropy(model(x).flatten(0, 1).float(), y.flatten())


def train(memory: str, seed: int, steps: int, data: torch.Tensor, symbols: int) -> tuple[list[float], float]:
    """The training loss at every tenth step, and the loss on the held-out end of the text."""
    torch.manual_seed(seed)
    model = Model(symbols, memory)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(seed)
    train_part, rest = data[: len(data) * 9 // 10], data[len(data) * 9 // 10 :]
    curve = []
    for step in range(steps):
        loss = loss_of(model, *batch(train_part, generator))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 10 == 0 or step == steps - 1:
            curve.append(round(loss.item(), 4))
    held_out = torch.Generator().manual_seed(1234)
    with torch.no_grad():
        final = statistics.mean(loss_of(model, *batch(rest, held_out)).item() for _ in range(min(40, steps)))
    return curve, final


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    data, symbols = text()
    runs: dict[str, list[dict[str, object]]] = {memory: [] for memory in MODES}
    finals: dict[str, list[float]] = {memory: [] for memory in MODES}
    for seed in range(options.seeds):
        for memory in MODES:
            curve, final = train(memory, seed, options.steps, data, symbols)
            runs[memory].append({"seed": seed, "held_out": round(final, 5), "curve": curve})
            finals[memory].append(final)
            print(
                f"seed {seed}, {memory:6}: first {curve[0]:.3f}, last {curve[-1]:.3f}, held out {final:.4f}", flush=True
            )
    spread = max(finals["exact"]) - min(finals["exact"])
    summary = {"spread of exact between seeds": spread, "steps": options.steps}
    for memory in MODES[1:]:
        differences = [a - b for a, b in zip(finals[memory], finals["exact"], strict=True)]
        summary[f"{memory} − exact, mean"] = statistics.mean(differences)
        summary[f"{memory} − exact, largest"] = max(differences, key=abs)
    for what, value in summary.items():
        print(f"{what}: {value:.5g}")
    save("memory_training", {"summary": summary, "runs": runs})


if __name__ == "__main__":
    main()
