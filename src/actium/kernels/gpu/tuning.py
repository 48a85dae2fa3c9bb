"""How many elements a program of a flat kernel handles, and with how many threads: measured where it is worth it.

Stage: launching. The choice changes no result. It is made once per kernel, device and size (to a factor of four), on
the call's own tensors; small tensors, in-place calls and calls that a CUDA graph records take the default.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Hashable
from typing import NamedTuple

import torch


class Launch(NamedTuple):
    """Elements per program, and warps of 32 threads."""

    block: int
    warps: int


DEFAULT = Launch(1024, 4)
# Eight to sixteen elements per thread: one or two loads of 16 bytes for halves, two to four for float32.
CANDIDATES = (DEFAULT, Launch(512, 2), Launch(2048, 4), Launch(4096, 8))
# Below, a kernel takes about as long as its launch, whatever its blocks.
WORTH_IT = 1 << 20
ROUNDS = 7

_chosen: dict[Hashable, Launch] = {}


def choose(key: Hashable, count: int, run: Callable[[Launch], object] | None) -> Launch:
    """The launch for a kernel over `count` elements.

    Args:
        key: What the choice depends on besides the size.
        count: How many elements.
        run: Runs the kernel, as often as asked, with the same result; None where it must run once only.
    """
    if count < WORTH_IT:
        return DEFAULT
    key = (key, count.bit_length() // 2)
    found = _chosen.get(key)
    if found is None:
        if run is None or not _may_measure():
            return DEFAULT
        found = _chosen[key] = fastest(CANDIDATES, run, seconds_on_device)
    return found


def _may_measure() -> bool:
    if os.environ.get("ACTIUM_TRITON_TUNE", "1") == "0":
        return False
    return torch.cuda.is_available() and not torch.cuda.is_current_stream_capturing()


def fastest(
    candidates: tuple[Launch, ...], run: Callable[[Launch], object], seconds: Callable[[Callable[[], object]], float]
) -> Launch:
    """The candidate with the smallest median time, measured in turns; the first of equals."""
    times: dict[Launch, list[float]] = {launch: [] for launch in candidates}
    for launch in candidates:
        run(launch)  # compiles it
    for _ in range(ROUNDS):
        for launch in candidates:
            times[launch].append(seconds(lambda launch=launch: run(launch)))
    return min(candidates, key=lambda launch: statistics.median(times[launch]))


def seconds_on_device(call: Callable[[], object]) -> float:
    """What one call takes on the present CUDA device."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) * 1e-3
