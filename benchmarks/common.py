"""Shared by the benchmark scripts: the machine's description and result files. The clock is that of `actium.bench`."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
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


def save(topic: str, results: object, hardware: dict[str, object] | None = None) -> Path:
    """Write `results/<topic>_<hardware>_<yyyymm>.json`; `hardware` describes an accelerator, named by its "gpu"."""
    RESULTS.mkdir(exist_ok=True)
    name = f"{platform.machine()}-{os.cpu_count()}core"
    if hardware is not None:
        name = re.sub(r"[^a-z0-9]+", "-", str(hardware["gpu"]).lower()).strip("-")
    path = RESULTS / f"{topic}_{name}_{datetime.date.today():%Y%m}.json"
    document = {"machine": {**machine(), **(hardware or {})}, "results": results}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    return path
