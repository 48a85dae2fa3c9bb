"""Shared by the benchmark scripts: interleaved timing, the machine's description, result files."""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


def interleaved(calls: dict[str, Callable[[], object]], seconds: float = 1.0) -> dict[str, float]:
    """Median seconds of one call of each, measured in turns so that all see the same machine.

    Each turn repeats a short call until it takes about a millisecond.
    """
    repeats = {}
    for name, call in calls.items():
        for _ in range(3):
            call()
        begin = time.perf_counter()
        call()
        repeats[name] = max(1, math.ceil(1e-3 / max(time.perf_counter() - begin, 1e-7)))
    samples: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds * len(calls)
    while time.perf_counter() < end or len(samples[next(iter(calls))]) < 5:
        for name, call in calls.items():
            begin = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            samples[name].append((time.perf_counter() - begin) / repeats[name])
    return {name: statistics.median(values) for name, values in samples.items()}


def geometric_mean(values: list[float]) -> float:
    """The mean of ratios."""
    return math.exp(sum(map(math.log, values)) / len(values))


def machine() -> dict[str, object]:
    """What the numbers were measured on."""
    model = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
        flags = next(line for line in lines if line.startswith("flags"))
        model += " (AVX-512)" if "avx512f" in flags else " (AVX2)" if "avx2" in flags else ""
    except (OSError, StopIteration):
        pass
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
    }


def save(topic: str, results: object) -> Path:
    """Write `results/<topic>_<hardware>_<yyyymm>.json`."""
    RESULTS.mkdir(exist_ok=True)
    cores = f"{platform.machine()}-{os.cpu_count()}core"
    path = RESULTS / f"{topic}_{cores}_{datetime.date.today():%Y%m}.json"
    path.write_text(json.dumps({"machine": machine(), "results": results}, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    return path
