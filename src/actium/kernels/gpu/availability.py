"""Whether tensors on a graphics processor run fused kernels, and if not, why.

In: nothing but the environment. Out: answers, each found once per process. Triton is imported only when a tensor on
such a device (or the interpreter) asks for it.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import warnings
from dataclasses import dataclass

import torch

from actium.errors import ActiumError, ActiumWarning
from actium.kernels import toolchain

SWITCH = "ACTIUM_TRITON_INTERPRET"
_ON = ("1", "true", "yes", "on")

# With it, CPU tensors run the Triton kernels through Triton's interpreter, slowly: a way to test them without a GPU.
INTERPRETED = os.environ.get(SWITCH, "").strip().lower() in _ON


def triton_version() -> str | None:
    """The installed version of Triton, or None."""
    if importlib.util.find_spec("triton") is None:
        return None
    try:
        return importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"


def reason_against() -> str | None:
    """Why no tensor can run a Triton kernel, without trying one; None if nothing speaks against it."""
    if toolchain.disabled():
        return f"disabled by ACTIUM_DISABLE_KERNELS={os.environ['ACTIUM_DISABLE_KERNELS']}"
    if triton_version() is None:
        return "Triton is not installed; try: pip install actium[gpu]"
    return None


@functools.cache
def problem_with(index: int) -> str | None:
    """Why the CUDA device with this index cannot run Triton kernels; None if it can. Builds and runs one to see."""
    if (reason := reason_against()) is not None:
        return reason
    from actium.kernels.gpu.loading import load
    from actium.kernels.gpu.printing import HEAD

    try:
        kernel = load(f"{HEAD}\n\n@triton.jit\ndef probe(y):\n    tl.store(y, 7.0)\n", ("probe",), False)["probe"]
        with torch.cuda.device(index):
            y = torch.zeros(1, device="cuda")
            kernel[(1,)](y)
            return None if y.item() == 7.0 else "a kernel gave a wrong number"
    except Exception as problem:  # Triton, its C compiler, the driver: each has errors of its own
        first = (str(problem).splitlines() or [""])[0]
        return f"Triton cannot build a kernel here ({type(problem).__name__}: {first})"


def usable(x: torch.Tensor) -> bool:
    """Whether this tensor runs Triton kernels: it is on a device that can, or the interpreter is switched on."""
    if x.is_cpu:
        return INTERPRETED and reason_against() is None
    if not x.is_cuda:
        return False
    reason = problem_with(x.device.index)
    if reason is not None and not toolchain.disabled():
        _warn_once(reason)
    return reason is None


@functools.cache
def _warn_once(reason: str) -> None:
    warnings.warn(
        f"actium runs without fused kernels on the GPU: {reason}. Results are the same; activations run as separate "
        "PyTorch operations, which is slower. ACTIUM_DISABLE_KERNELS=1 silences this warning.",
        ActiumWarning,
        stacklevel=4,
    )


@dataclass(frozen=True)
class GpuStatus:
    """What `actium doctor` says of graphics processors.

    Attributes:
        triton: The version of Triton, or None.
        devices: Names of the CUDA devices that torch sees.
        path: What a CUDA tensor runs.
        reason: Why it is not Triton kernels, or None.
        interpreted: Whether CPU tensors run the Triton kernels, too.
    """

    triton: str | None
    devices: tuple[str, ...]
    path: str
    reason: str | None
    interpreted: bool


def status() -> GpuStatus:
    """Gather it; where there is a device, a kernel is built and run on the first."""
    devices: tuple[str, ...] = ()
    if torch.cuda.is_available():
        devices = tuple(torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count()))
    try:
        reason = problem_with(0) if devices else (reason_against() or "torch sees no CUDA device")
    except ActiumError as problem:
        reason = str(problem)
    path = "Triton kernels for float32, float16 and bfloat16" if reason is None else "plain torch operations"
    return GpuStatus(triton_version(), devices, path, reason, INTERPRETED)
