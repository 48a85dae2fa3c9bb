"""Large outputs written around the caches against the same kernels with ordinary stores.

Run: `python benchmarks/far.py [--quick]`. The two are built from the same text with another ACT_FAR_BYTES, and take
turns. Ratios above 1 mean that writing around the caches is faster. The memory is recycled, as an activation's is.
"""

from __future__ import annotations

import ctypes
import statistics
import time

import torch
from common import command_line, save

import actium
from actium.kernels import cpu, front, toolchain
from actium.kernels.dispatch import Library

FUNCTIONS = ("silu", "gelu", "relu")
LIMIT = "((size_t)16 << 20)"
SIZES = (1 << 22, 1 << 23, 1 << 24)


def build(name: str, dtype: torch.dtype, limit: str) -> ctypes.CDLL:
    """The kernels with another limit, in bytes, from which outputs are far."""
    headers = cpu.headers()
    assert LIMIT in headers["block.h"]
    headers["block.h"] = headers["block.h"].replace(LIMIT, limit)
    text = Library(getattr(actium, name).op.plan, str(dtype).removeprefix("torch.")).source()
    return toolchain.load(text, headers)


def seconds(library: ctypes.CDLL, tensors: list[torch.Tensor]) -> float:
    """Forward and backward, once."""
    x, grad, y, slope = (ctypes.c_void_p(t.data_ptr()) for t in tensors)
    count, threads = ctypes.c_int64(tensors[0].numel()), ctypes.c_int(torch.get_num_threads())
    began = time.perf_counter()
    library.forward(x, y, count, None, threads, 0)
    library.backward(x, grad, slope, count, None, threads, 0)
    return time.perf_counter() - began


def row(name: str, dtype: torch.dtype, elements: int, turns: int) -> dict[str, object]:
    """Milliseconds of both, and the ratio."""
    x, grad = torch.randn(elements).to(dtype), torch.randn(elements).to(dtype)
    tensors = [x, grad, front.fresh_like(x).zero_(), front.fresh_like(x).zero_()]
    far, near = build(name, dtype, LIMIT.replace("16", "1")), build(name, dtype, "((size_t)1 << 60)")
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(turns):
        for library, found in zip((near, far), times, strict=True):
            seconds(library, tensors)
            found.append(seconds(library, tensors))
    ratios = [a / b for a, b in zip(*times, strict=True)]
    milliseconds = [round(statistics.median(t) * 1e3, 2) for t in times]
    made = {"function": name, "dtype": str(dtype).removeprefix("torch."), "elements": elements}
    return made | {"near": milliseconds[0], "far": milliseconds[1], "ratio": round(statistics.median(ratios), 3)}


def main() -> None:
    options = command_line(__doc__)
    options.add_argument("--quick", action="store_true", help="few turns, nothing written")
    given = options.parse_args()
    rows = []
    for name in FUNCTIONS:
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            for elements in SIZES:
                rows.append(row(name, dtype, elements, 5 if given.quick else 40))
                print("{function:8}{dtype:10}{elements:>10}{near:>9} ms{far:>9} ms{ratio:>7}".format(**rows[-1]))
    if not given.quick:
        save("far", {"rows": rows})


if __name__ == "__main__":
    main()
