"""What activations keep for the backward pass: per function and mode, in a transformer block and in a small CNN.

Counted are the bytes of the distinct storages that autograd saves in the forward pass of a training step, without
those of parameters and buffers, in `torch.autograd.graph.saved_tensors_hooks`. Times are of forward and backward
together, in turns, as ratios to PyTorch's. Run: `python benchmarks/memory.py [--no-compile] [--seconds S]`.
The tables of `docs/memory.md` are written by `python benchmarks/memory.py --page` from the newest result.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path

import torch
from common import RESULTS, interleaved, save
from torch import nn
from torch.nn import functional as F

import actium
import actium.nn

PAGE = Path(__file__).resolve().parent.parent / "docs" / "memory.md"
FUNCTIONS = (
    "relu",
    "leaky_relu",
    "hardtanh",
    "hardswish",
    "sigmoid",
    "tanh",
    "elu",
    "softplus",
    "silu",
    "gelu",
    "mish",
)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
WIDTH, HEADS = 256, 4


class Naive(nn.Module):
    """A function written out of torch operations, as it is found in many a repository."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class Block(nn.Module):
    """A transformer block: attention and a network of four times its width."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)])
        self.mixed, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.network = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), act, nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, _ = x.shape
        q, k, v = self.mixed(self.norms[0](x)).view(b, t, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, WIDTH))
        return x + self.network(self.norms[1](x))


def cnn(make: Callable[[], nn.Module]) -> nn.Module:
    """Three convolutions with batch norm, an activation after each."""
    layers: list[nn.Module] = []
    for before, after in ((3, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), make()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def kept_bytes(model: nn.Module, x: torch.Tensor) -> int:
    """Bytes of the storages that a forward pass keeps, each once, without parameters, buffers and the input."""
    kept: dict[int, int] = {}

    def note(t: torch.Tensor) -> torch.Tensor:
        kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        y = model(x)
    for t in (*model.parameters(), *model.buffers(), x):
        kept.pop(t.untyped_storage().data_ptr(), None)
    del y
    return sum(kept.values())


def gelu_naive(x: torch.Tensor) -> torch.Tensor:
    return 0.5 * x * (1.0 + torch.erf(x / 2**0.5))


def variants(kind: str, compiled: bool) -> dict[str, nn.Module]:
    """The same model with each way to compute its activation."""
    if kind == "block":
        acts = {"torch": nn.GELU(), "written out": Naive(gelu_naive)}
        acts |= {memory: actium.nn.GELU(memory=memory) for memory in ("exact", "uint8", "output")}
        made: dict[str, nn.Module] = {name: Block(act).bfloat16() for name, act in acts.items()}
    else:
        makes: dict[str, Callable[[], nn.Module]] = {
            "torch": lambda: nn.LeakyReLU(0.1),
            "written out": lambda: Naive(lambda x: torch.where(x > 0, x, 0.1 * x)),
            "exact": lambda: actium.nn.LeakyReLU(0.1),
            "bits": lambda: actium.nn.LeakyReLU(0.1, memory="bits"),
            "bits, in place": lambda: actium.nn.LeakyReLU(0.1, inplace=True, memory="bits"),
            "uint8": lambda: actium.nn.LeakyReLU(0.1, memory="uint8"),
        }
        made = {name: cnn(make) for name, make in makes.items()}
    if compiled:
        made["torch.compile"] = torch.compile(Block(nn.GELU()).bfloat16() if kind == "block" else cnn(makes["torch"]))  # type: ignore[assignment]
    return made


def models(seconds: float, compiled: bool) -> dict[str, dict[str, dict[str, float]]]:
    results: dict[str, dict[str, dict[str, float]]] = {}
    shapes = {"block": torch.randn(8, 128, WIDTH).bfloat16(), "cnn": torch.randn(16, 3, 32, 32)}
    for kind, x in shapes.items():
        x.requires_grad_()
        found = variants(kind, compiled)
        kept = {name: kept_bytes(model, x) for name, model in found.items()}
        steps = {n: lambda m=m, x=x: m(x).float().sum().backward() for n, m in found.items()}
        samples = interleaved(steps, seconds) if seconds else None
        results[kind] = {n: {"kept_bytes": kept[n], "share": kept[n] / kept["torch"]} for n in found}
        if samples is not None:
            for name, row in results[kind].items():
                row["time_ratio"] = samples.median(name) / samples.median("torch")
        for name, row in results[kind].items():
            time = f"  time {row['time_ratio']:.2f}" if seconds else ""
            print(f"{kind:6} {name:16} {row['kept_bytes']:>12,} bytes {row['share']:6.2f}{time}", flush=True)
    halved(results["block"])
    return results


def halved(block: dict[str, dict[str, float]]) -> None:
    """With a byte in place of a bfloat16, the bytes that GELU's own input takes are halved."""
    elements = 8 * 128 * 4 * WIDTH
    saved = block["torch"]["kept_bytes"] - block["uint8"]["kept_bytes"]
    print(f"GELU's input in bfloat16: {2 * elements:,} bytes; uint8 saves {saved:,}")
    assert saved == elements, saved


def functions() -> dict[str, dict[str, list[dict[str, object]]]]:
    return {
        name: {
            d: [vars(m) for m in getattr(actium, name).memory_modes(dtype)] for d, dtype in DTYPES.items()
        }
        for name in FUNCTIONS
    }  # fmt: skip


def page_tables(result: dict) -> dict[str, str]:
    m = result["machine"]
    note = f"Measured {m['date']}, {m['cpu']}, {m['threads']} threads, torch {m['torch']}, by `benchmarks/memory.py`."
    lines = ["| function | bits | uint8 | output, bfloat16 | output, float16 |", "|---|---|---|---|---|"]
    for name, by_dtype in result["results"]["functions"].items():
        known = {d: {mode["name"]: mode for mode in found} for d, found in by_dtype.items()}
        cells = ["exact" if "bits" in known["float32"] else "—"]
        cells += [_cell(known[d].get(mode)) for d, mode in
                  (("bfloat16", "uint8"), ("bfloat16", "output"), ("float16", "output"))]  # fmt: skip
        lines.append(f"| {name} | {' | '.join(cells)} |")
    modelled = ["| model | activation | bytes kept | of PyTorch's |", "|---|---|---|---|"]
    for kind, title in (("block", "transformer block, bfloat16, GELU"), ("cnn", "CNN, float32, leaky ReLU")):
        for name, row in result["results"]["models"][kind].items():
            cells = [title, name, f"{row['kept_bytes']:,}", f"{row['share']:.2f}"]
            modelled.append(f"| {' | '.join(cells)} |")
    return {"bounds": "\n".join(lines), "models": "\n".join([*modelled, "", note])}


def _cell(mode: dict | None) -> str:
    if mode is None:
        return "—"
    bit = " + 1 bit" if mode["name"] == "output" and mode["bytes_per_element"] else ""
    return f"{mode['slope_error']:.2g}{bit}" if mode["slope_error"] > 1e-5 else "exact but for float32's rounding"


def write_page() -> None:
    tables = page_tables(json.loads(sorted(RESULTS.glob("memory_x86*.json"))[-1].read_text(encoding="utf-8")))
    text = PAGE.read_text(encoding="utf-8")

    def replaced(match: re.Match[str]) -> str:
        return f"<!-- table {match[1]} -->\n\n{tables[match[1]]}\n\n<!-- end -->"

    PAGE.write_text(re.sub(r"<!-- table (\w+) -->.*?<!-- end -->", replaced, text, flags=re.DOTALL), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile")
    parser.add_argument("--seconds", type=float, default=1.0, help="of timing for each variant; 0: none")
    parser.add_argument("--page", action="store_true", help="only write the tables of docs/memory.md")
    options = parser.parse_args()
    if options.page:
        return write_page()
    results = {"functions": functions(), "models": models(options.seconds, not options.no_compile)}
    save("memory", results)
    return write_page()


if __name__ == "__main__":
    main()
