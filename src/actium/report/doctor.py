"""What `actium doctor` finds out: which compiler and which path are in use, and whether a kernel gives right numbers.

Stage: toolchain + one real activation → [diagnosis]. Out: plain data for JSON, and text of it.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from actium.errors import ActiumError
from actium.report.clean import clean
from actium.report.terminal import pairs


def diagnose() -> dict[str, Any]:
    """Ask the toolchain, then build and run one kernel."""
    import torch

    from actium.kernels import front, toolchain
    from actium.kernels.gpu import availability
    from actium.verify.certificate import environment

    status, gpu = toolchain.status(), availability.status()
    compiler = status.compiler
    versions = environment("C" if status.enabled else None)
    return {
        "path": "C kernels for float32, float16 and bfloat16 on the CPU"
        if status.enabled
        else "plain torch operations",
        "reason": status.reason,
        "front": front.status(),
        "compiler": {"path": compiler.path, "kind": compiler.kind, "version": compiler.version} if compiler else None,
        "flags": list(status.flags),
        "cache": {"directory": status.cache_dir, "kernels": status.entries, "bytes": status.total_bytes},
        "processor": {"model": status.cpu_model, "features": list(status.cpu_features), "count": versions["cpus"]},
        "threads": torch.get_num_threads(),
        "openmp": status.openmp,
        "huge_pages": status.huge_pages,
        "gpu": {
            "path": gpu.path,
            "reason": gpu.reason,
            "triton": gpu.triton,
            "devices": list(gpu.devices),
            "interpreted": gpu.interpreted,
        },
        "versions": {name: versions[name] for name in ("actium", "python", "torch", "platform")},
        "self_test": self_test(),
    }


def self_test() -> dict[str, Any]:
    """Run x·tanh(x) forward and backward in each dtype, and compare with torch in float64."""
    import torch

    from actium import authoring
    from actium.kernels import toolchain

    # Not a catalogue entry: nothing else may have built or altered it.
    activation = authoring.formula("x * tanh(x)", name="doctor")
    began = time.perf_counter()
    worst: dict[str, float] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the reason for a missing compiler is in the diagnosis already
            for dtype in (torch.float32, torch.float16, torch.bfloat16):
                x = torch.linspace(-6.0, 6.0, 4099, dtype=dtype, requires_grad=True)
                y = activation(x)
                (slope,) = torch.autograd.grad(y, x, torch.ones_like(y))
                wide = x.detach().double().requires_grad_()
                exact = wide * wide.tanh()
                (exact_slope,) = torch.autograd.grad(exact, wide, torch.ones_like(exact))
                error = max(_error(y, exact), _error(slope, exact_slope)) / torch.finfo(dtype).eps
                worst[str(dtype).removeprefix("torch.")] = round(error, 3)
    except ActiumError as problem:
        return {"passed": False, "problem": str(problem)}
    seconds = round(time.perf_counter() - began, 3)
    passed = all(error <= 4.0 for error in worst.values())
    return {"passed": passed, "kernel": toolchain.kernels_enabled(), "seconds": seconds, "error_in_eps": worst}


def _error(got: Any, exact: Any) -> float:
    """The largest error relative to max(|exact|, 1); infinite for NaN."""
    import torch

    error = ((got.double() - exact).abs() / exact.abs().clamp(min=1.0)).max()
    return float("inf") if bool(torch.isnan(error)) else float(error)


def _triton(gpu: dict[str, Any]) -> str:
    devices = ", ".join(gpu["devices"]) or "no CUDA device"
    interpreted = "; CPU tensors run its interpreter" if gpu["interpreted"] else ""
    return f"{gpu['triton'] or 'not installed'}, {devices}{interpreted}"


def diagnosis_view(d: dict[str, Any]) -> RenderableType:
    """The diagnosis as lines; the self-test's result first."""
    test = d["self_test"]
    if test["passed"]:
        errors = ", ".join(f"{name} {error:g} eps" for name, error in test["error_in_eps"].items())
        how = "a kernel was built and run" if test["kernel"] else "without kernels"
        head = Text("✓ works", style="bold green").append(
            f"  {how} in {test['seconds']:g} s; largest error: {errors}", style="default"
        )
    else:
        why = test.get("problem") or f"errors of {test['error_in_eps']} eps"
        head = Text("✗ broken", style="bold red").append(f"  self-test: {clean(why)}", style="default")
    compiler, cache, processor = d["compiler"], d["cache"], d["processor"]
    size = f"{cache['kernels']} kernels, {cache['bytes'] / 2**20:.1f} MiB"
    rows = [
        ("path", d["path"] + (f": {d['reason']}" if d["reason"] else "")),
        ("front door", d["front"]),
        ("compiler", f"{compiler['path']}, {compiler['version']}" if compiler else "none"),
        ("flags", " ".join(d["flags"]) or "none"),
        ("cache", f"{cache['directory'] or 'none'} ({size})"),
        ("processor", f"{processor['model']}, {processor['count']} CPUs, {' '.join(processor['features'])}"),
        ("threads", f"{d['threads']} (torch.get_num_threads), OpenMP: {d['openmp'] or 'none, one thread'}"),
        ("huge pages", d["huge_pages"] or "unknown"),
        ("CUDA tensors", d["gpu"]["path"] + (f": {d['gpu']['reason']}" if d["gpu"]["reason"] else "")),
        ("triton", _triton(d["gpu"])),
        *((name, str(text)) for name, text in d["versions"].items()),
    ]
    return Group(head, pairs((name, clean(text)) for name, text in rows))
