"""What one call costs beside its arithmetic: 64 elements, against `F.silu` in the same run.

The floor is PyTorch's own allocation of the output (`torch.empty_like`), printed beside.
Run: `python benchmarks/overhead.py`.
"""

from __future__ import annotations

import json

import torch
import torch.nn.functional as F
from common import command_line, interleaved, save

import actium


def best(calls: dict, turns: int = 400, repeats: int = 100) -> dict[str, float]:
    """Microseconds a call: the smallest of many short turns."""
    samples = interleaved(calls, 0.0, turns=turns, repeats=repeats)
    return {name: round(samples.least(name) * 1e6, 3) for name in calls}


def main() -> None:
    command_line(__doc__).parse_args()
    x = torch.randn(64)
    leaf, grad = x.clone().requires_grad_(), torch.randn(64)
    silu = actium.silu
    module, reference = actium.nn.SiLU(), torch.nn.SiLU()
    for call in (silu, module):
        call(x)
        call(leaf).backward(grad)
    forward = best({"torch": lambda: F.silu(x), "actium": lambda: silu(x), "empty_like": lambda: torch.empty_like(x)})
    both = best({"torch": lambda: F.silu(leaf).backward(grad), "actium": lambda: silu(leaf).backward(grad)}, 200, 50)
    modules = best({"torch": lambda: reference(x), "actium": lambda: module(x)})
    results = {
        "forward, microseconds": forward | {"ratio": round(forward["actium"] / forward["torch"], 3)},
        "forward and backward, microseconds": both | {"ratio": round(both["actium"] / both["torch"], 3)},
        "module forward, microseconds": modules | {"ratio": round(modules["actium"] / modules["torch"], 3)},
    }
    print(json.dumps(results, indent=1))
    save("overhead", results)


if __name__ == "__main__":
    main()
