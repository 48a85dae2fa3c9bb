"""Forward + backward of actium's functions against PyTorch's own, and against torch.compile at 1 Mi.

The floor: forward reads x and writes y, backward reads x and grad and writes the gradient, so 5 tensors cross the
memory bus where they do not fit the cache. Run: `python benchmarks/speed.py [--quick]`. Ratios above 1 mean faster.
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from common import geometric_mean, interleaved, save

import actium

FUNCTIONS = {
    "silu": F.silu,
    "gelu": F.gelu,
    "mish": F.mish,
    "tanh": torch.tanh,
    "elu": F.elu,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "logsigmoid": F.logsigmoid,
}
SIZES = {"64Ki": 1 << 16, "1Mi": 1 << 20, "8Mi": 1 << 23}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def step(function, x, grad):
    """One forward and backward, gradient released as an optimiser would."""

    def run():
        function(x).backward(grad)
        x.grad = None

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short samples, nothing written")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile")
    parser.add_argument("--only", default="", help="comma-separated functions")
    options = parser.parse_args()
    seconds = 0.15 if options.quick else 0.6
    chosen = {k: v for k, v in FUNCTIONS.items() if not options.only or k in options.only.split(",")}
    rows, ratios, compiled_ratios = [], [], []
    head = f"{'torch µs':>10}{'actium µs':>10}{'ratio':>7}{'compile µs':>12}{'ratio':>7}"
    print(f"{'function':12}{'size':>6} {'dtype':9}{head}")
    for name, reference in chosen.items():
        ours = getattr(actium, name)
        torch.compiler.reset()  # else the eighth function hits the recompile limit and runs uncompiled
        compiled = torch.compile(reference)
        for size_name, size in SIZES.items():
            for dtype_name, dtype in DTYPES.items():
                x = torch.randn(size).to(dtype).requires_grad_()
                grad = torch.randn(size).to(dtype)
                calls = {"torch": step(reference, x, grad), "actium": step(ours, x, grad)}
                if size_name == "1Mi" and not options.no_compile:
                    calls["compile"] = step(compiled, x, grad)
                times = interleaved(calls, seconds)
                row = {"function": name, "size": size_name, "dtype": dtype_name}
                row |= {k: round(v * 1e6, 1) for k, v in times.items()}
                row["ratio"] = round(times["torch"] / times["actium"], 3)
                ratios.append(times["torch"] / times["actium"])
                tail = ""
                if "compile" in times:
                    row["ratio_to_compile"] = round(times["compile"] / times["actium"], 3)
                    compiled_ratios.append(times["compile"] / times["actium"])
                    tail = f"{times['compile'] * 1e6:12.0f}{compiled_ratios[-1]:7.2f}"
                cells = f"{row['torch']:10.0f}{row['actium']:10.0f}{row['ratio']:7.2f}{tail}"
                print(f"{name:12}{size_name:>6} {dtype_name:9}{cells}")
                rows.append(row)
    summary = {"geometric_mean": round(geometric_mean(ratios), 3), "worst": round(min(ratios), 3)}
    if compiled_ratios:
        summary["geometric_mean_to_compile"] = round(geometric_mean(compiled_ratios), 3)
        summary["worst_to_compile"] = round(min(compiled_ratios), 3)
    print(summary)
    if not options.quick and not options.only:
        save("speed", {"summary": summary, "rows": rows})


if __name__ == "__main__":
    main()
