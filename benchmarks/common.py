"""Shared by the benchmark scripts: the machine's description and result files. The clock is that of `actium.bench`."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path

import torch

from actium import bench

RESULTS = Path(__file__).parent / "results"
interleaved = bench.interleaved


def command_line(text: str | None) -> argparse.ArgumentParser:
    """A command line that describes itself with a script's docstring; without options it still answers --help."""
    return argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)


def chosen(options: argparse.ArgumentParser, text: str, known: Iterable[str]) -> list[str]:
    """The names in a comma-separated text, all that are known if it is empty; ends the program if one is not."""
    names, given = list(known), [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in given if name not in names]:
        options.error(f"no such name: {', '.join(unknown)}; there are {', '.join(names)}")
    return [name for name in names if not given or name in given]


def machine() -> dict[str, object]:
    """What the numbers were measured on."""
    model = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        known = dict(reversed([(k.strip(), v.strip()) for k, _, v in (line.partition(":") for line in lines)]))
        model = processor(known["model name"], known["cpu family"], known["model"], known["flags"])
    except (OSError, KeyError):
        pass
    return {
        "date": datetime.date.today().isoformat(),
        "time": f"{datetime.datetime.now(datetime.UTC):%H:%M} UTC",
        "cpu": model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
    }


def processor(name: str, family: str, number: str, flags: str) -> str:
    """A name that tells processors apart. A virtual machine's may not: "AMD EPYC" is any of several generations."""
    name += "" if any(map(str.isdigit, name)) else f", family {family} model {number}"
    return name + (f" ({known})" if (known := vectors(flags)) else "")


def vectors(flags: str) -> str:
    """The widest vectors that a processor of these flags has, as far as they make a difference here."""
    return "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else ""


def _slug(text: object) -> str:
    return re.sub(r"[^a-z0-9]+", "-", str(text).lower()).strip("-")


def save(topic: str, results: object, hardware: dict[str, object] | None = None) -> Path:
    """Write `results/<topic>_<hardware>_<yyyymm>.json`; `hardware` describes an accelerator, named by its "gpu"."""
    RESULTS.mkdir(exist_ok=True)
    about = {**machine(), **(hardware or {})}
    name = _slug(hardware["gpu"] if hardware is not None else f"{about['cpu']} {about['cores']} cores")
    path = RESULTS / f"{topic}_{name}_{datetime.date.today():%Y%m}.json"
    document = {"machine": about, "results": results}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    return path
