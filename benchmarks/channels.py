"""Learnable parameters, one per channel, in a convolutional network's shape: (64, 256, 28, 28).

PReLU, a clip at a learned threshold and Swish with a learned slope; channels first and last in memory; forward and
backward with the parameters' gradients. Compared with the composite of plain operations, torch.compile of it, and
torch.nn.functional.prelu for PReLU. The floor is five tensors at the bandwidth of the fastest copy, measured in the
same turns. Run: `python benchmarks/channels.py [--quick] [--no-compile]`. Ratios above 1 mean that actium is faster.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from common import command_line, save

import actium
from actium.bench import interleaved
from actium.bench.copy import bytes_moved, copies
from actium.bench.records import geometric_mean

SHAPE = (64, 256, 28, 28)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LAYOUTS = {"first": torch.contiguous_format, "last": torch.channels_last}


def spread(p: torch.Tensor) -> torch.Tensor:
    return p.view(1, -1, 1, 1)


COMPOSITES = {
    "prelu": lambda x, p: torch.where(x > 0, x, spread(p) * x),
    "hard_clip": lambda x, p: torch.minimum(torch.maximum(x, -spread(p)), spread(p)),
    "swish": lambda x, p: x * torch.sigmoid(spread(p) * x),
}
INITIAL = {"prelu": 0.25, "hard_clip": 1.0, "swish": 1.0}


def step(function, x, p, grad):
    """One forward and backward; x and the parameter get gradients."""

    def run():
        function(x, p).backward(grad)
        x.grad = p.grad = None

    return run


def calls_of(name: str, x: torch.Tensor, grad: torch.Tensor, compiled: bool) -> dict:
    """What is timed, by name."""
    ours = getattr(actium, name)
    functions = {"actium": lambda x, p: ours(x, p, channel_dim=1), "composite": COMPOSITES[name]}
    if name == "prelu":
        functions["torch"] = F.prelu
    if compiled:
        torch.compiler.reset()
        functions["compile"] = torch.compile(COMPOSITES[name])
    made = {}
    for key, function in functions.items():
        p = torch.full((x.shape[1],), INITIAL[name], dtype=x.dtype).requires_grad_()
        function(x, p).backward(grad)
        assert p.grad is not None, key
        assert p.grad.shape == p.shape, key
        x.grad = p.grad = None
        made[key] = step(function, x, p, grad)
    return made


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--quick", action="store_true", help="short samples, nothing written")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile")
    parser.add_argument("--batch", type=int, default=SHAPE[0], help="images; others than 64 are not written")
    options = parser.parse_args()
    rows = []
    for name in COMPOSITES:
        for layout, memory_format in LAYOUTS.items():
            for dtype_name, dtype in DTYPES.items():
                shape = (options.batch, *SHAPE[1:])
                x, grad = (torch.randn(shape).to(dtype).to(memory_format=memory_format) for _ in range(2))
                x.requires_grad_()
                calls = calls_of(name, x, grad, not options.no_compile)
                copied = copies(x)
                samples = interleaved({**calls, **copied}, 0.0 if options.quick else 2.0)
                copy = min(map(samples.median, copied))
                floor = bytes_moved(x, "both") / (2 * x.numel() * x.element_size()) * copy
                row = {"function": name, "channels": layout, "dtype": dtype_name, "shape": list(shape)}
                row |= {f"{key}_ms": round(samples.median(key) * 1e3, 2) for key in calls}
                ratios = {key: samples.ratio(key, "actium") for key in calls if key != "actium"}
                row |= {f"ratio_to_{key}": round(ratio.median, 3) for key, ratio in ratios.items()}
                row |= {f"ratio_to_{key}_interval": [round(r.low, 3), round(r.high, 3)] for key, r in ratios.items()}
                row["share_of_copy"] = round(floor / samples.median("actium"), 3)
                rows.append(row)
                shown = "  ".join(f"{key} {row[f'{key}_ms']} ms" for key in calls)
                print(
                    f"{name:10} channels {layout:6} {dtype_name:9} {shown}  {100 * row['share_of_copy']:.0f} % of copy"
                )
    summary = {}
    for key in sorted({k for row in rows for k in row if k.startswith("ratio_to_") and not k.endswith("interval")}):
        values = [row[key] for row in rows if key in row]
        summary[key] = {"geometric_mean": round(geometric_mean(values), 3), "worst": min(values)}
    print(summary)
    if not options.quick and options.batch == SHAPE[0]:
        save("channels", {"summary": summary, "rows": rows})


if __name__ == "__main__":
    main()
