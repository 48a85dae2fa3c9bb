"""What activations keep for the backward pass: per function and mode, in a transformer block and in a small CNN.

Counted are the bytes of the distinct storages that autograd saves in the forward pass of a training step, without
those of parameters and buffers, in `torch.autograd.graph.saved_tensors_hooks`; the peak is the most that a whole
training step (forward, backward, an SGD step) allocates at one time beyond what there was before. Times are of forward
and backward together, in turns, as ratios to PyTorch's. `benchmarks/tables.py` writes the tables of `docs/memory.md`.
Run: `python benchmarks/memory.py [--no-compile] [--seconds S]`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from common import command_line, interleaved, save
from torch import nn
from torch.nn import functional as F

import actium
import actium.nn
from actium.bench.memory import peak_bytes

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


def step(model: nn.Module, x: torch.Tensor) -> None:
    """One step of training."""
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
    model(x).float().sum().backward()
    optimiser.step()
    optimiser.zero_grad()
    x.grad = None


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
        for model in found.values():
            step(model, x)  # kernels are built, compilers have compiled
        peaks = {name: peak_bytes(lambda m=model, x=x: step(m, x)) for name, model in found.items()}
        calls = {n: lambda m=m, x=x: m(x).float().sum().backward() for n, m in found.items()}
        samples = interleaved(calls, seconds) if seconds else None
        results[kind] = {
            n: {"kept_bytes": kept[n], "share": kept[n] / kept["torch"], "peak_bytes": peaks[n]} for n in found
        }
        for name, row in results[kind].items():
            row["peak_share"] = row["peak_bytes"] / peaks["torch"]
            if samples is not None:
                row["time_ratio"] = samples.median(name) / samples.median("torch")
            print(line_of(kind, name, row), flush=True)
    halved(results["block"])
    return results


def line_of(kind: str, name: str, row: dict[str, float]) -> str:
    """One line on the terminal."""
    text = f"{kind:6} {name:16} kept {row['kept_bytes']:>12,} bytes {row['share']:6.2f}"
    text += f"  peak {row['peak_bytes']:>12,} bytes {row['peak_share']:6.2f}"
    return text + (f"  time {row['time_ratio']:.2f}" if "time_ratio" in row else "")


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


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile")
    parser.add_argument("--seconds", type=float, default=1.0, help="of timing for each variant; 0: none")
    options = parser.parse_args()
    results = {"functions": functions(), "models": models(options.seconds, not options.no_compile)}
    save("memory", results)


if __name__ == "__main__":
    main()
