"""Shared by the benchmark scripts: the machine's description and result files. The clock is that of `actium.bench`."""

from __future__ import annotations

import datetime
import json
import os
import platform
from pathlib import Path

import torch

from actium import bench

RESULTS = Path(__file__).parent / "results"
interleaved = bench.interleaved


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
