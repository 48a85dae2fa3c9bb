"""Triton kernels on a CUDA device: first whether they are right, then how near they come to the memory's speed.

1. Every float16 and bfloat16 number through every catalogue entry, value and gradient: the bits of the C kernels; for
   some entries the error against ball arithmetic, too.
2. Bandwidth: a forward moves 2 tensors, a forward and backward 5, a gated unit 3 and 8. GB/s of these bytes, beside
   that of a device-to-device copy measured in the same run, PyTorch's own function, torch.compile, and liger-kernel
   where installed.
3. Per-channel parameters with their gradients, against the same formula in PyTorch.

Run: `python benchmarks/gpu.py`; it writes results/gpu_<device>_<yyyymm>.json. Without a CUDA device it says so and
exits with status 2; `--interpret` runs its logic on small CPU tensors through Triton's interpreter, and writes nothing.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from common import command_line, save

from actium.bench.records import geometric_mean
from actium.catalogue import ENTRIES, get
from actium.kernels import dispatch, toolchain
from actium.kernels.gpu import availability
from actium.kernels.gpu.launching import TritonLibrary
from actium.op import Op
from actium.symbolic.parse import parse

FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "mish": F.mish,
    "tanh": torch.tanh,
    "elu": F.elu,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "hardswish": F.hardswish,
}
COMPILED = ("silu", "gelu", "mish")  # torch.compile takes seconds for each
JUDGED = ("silu", "gelu", "mish", "softplus")  # ball arithmetic takes seconds for each
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Machine:
    """Where the kernels run, and how time is taken there."""

    def __init__(self, interpret: bool, limit: float) -> None:
        self.interpret = interpret
        self.device = "cpu" if interpret else "cuda"
        self.sizes = {"4Ki": 1 << 12} if interpret else {"1Mi": 1 << 20, "64Mi": 1 << 26}
        self.rounds = 1 if interpret else 15
        self.deadline = time.perf_counter() + limit
        self.left_out: list[str] = []

    def in_time(self, what: str) -> bool:
        """Whether there is time for another measurement; else it is noted as not run."""
        if time.perf_counter() < self.deadline:
            return True
        self.left_out.append(what)
        print(f"not run, out of time: {what}")
        return False

    def seconds(self, call: Callable[[], object], repeats: int) -> float:
        """Of one call, from the device's own clock."""
        if self.interpret:
            begin = time.perf_counter()
            call()
            return time.perf_counter() - begin
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(repeats):
            call()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) * 1e-3 / repeats

    def interleaved(self, calls: dict[str, Callable[[], object]]) -> dict[str, float]:
        """Median seconds of each, measured in turns."""
        repeats = {}
        for name, call in calls.items():
            for _ in range(1 if self.interpret else 3):
                call()
            repeats[name] = max(1, int(2e-3 / max(self.seconds(call, 1), 1e-6)))
        samples: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(self.rounds):
            for name, call in calls.items():
                samples[name].append(self.seconds(call, repeats[name]))
        return {name: statistics.median(values) for name, values in samples.items()}


def all_halves(dtype: torch.dtype) -> torch.Tensor:
    return torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)


def value_and_slope(kernels: TritonLibrary | Op, x: torch.Tensor, values: tuple[float, ...]) -> list[torch.Tensor]:
    """By Triton kernels, or by the C kernels of an op."""
    needed = (True, *(False for _ in values))
    if isinstance(kernels, Op):
        y = dispatch.forward(kernels, (x,), values, None)
        slope = dispatch.backward(kernels, (x,), torch.ones_like(x), values, None, needed)[0]
    else:
        y = kernels.forward((x,), values, None)
        slope = kernels.backward((x,), torch.ones_like(x), values, None, needed)[0]
    assert slope is not None
    return [y, slope]


def general(op: Op) -> Op:
    """The op whose C kernels have the general form alone, as Triton kernels have."""
    made = Op(op.formula, op.defaults)
    made.plan.midrange = lambda names=(): None  # type: ignore[method-assign]
    return made


def differing(got: torch.Tensor, want: torch.Tensor) -> int:
    """How many encodings differ; NaN is NaN."""
    same = (got.view(torch.int16) == want.view(torch.int16)) | (got.isnan() & want.isnan())
    return int((~same).sum())


def correctness(machine: Machine, names: list[str]) -> dict[str, object]:
    """Part 1."""
    compared, different, worst = 0, {}, {}
    for name in names:
        op = get(name).activation().op
        values, in_c = tuple(op.defaults.values()), general(op)
        for dtype_name, dtype in HALVES.items():
            if not machine.in_time(f"correctness of {name} in {dtype_name}"):
                continue
            x = all_halves(dtype)
            triton = TritonLibrary(op.plan, dtype_name, machine.interpret)
            got = [t.cpu() for t in value_and_slope(triton, x.to(machine.device), values)]
            counts = [differing(g, w) for g, w in zip(got, value_and_slope(in_c, x, values), strict=True)]
            compared += 2 * x.numel()
            if any(counts):
                different[f"{name} {dtype_name}"] = counts
            if name in JUDGED:
                worst[f"{name} {dtype_name}"] = [errors(name, x, g, dtype, k) for k, g in enumerate(got)]
    return {"compared with C": compared, "different": different, "max ULP (value, gradient)": worst}


def errors(name: str, x: torch.Tensor, got: torch.Tensor, dtype: torch.dtype, which: int) -> float:
    """The largest error in ULP against ball arithmetic, over the finite numbers."""
    from actium.verify.encodings import format_of
    from actium.verify.oracle import Oracle
    from actium.verify.ulp import ulp_error

    finite = x.isfinite()
    truth = Oracle(get(name).as_written(), get(name).defaults).table(x[finite].double().numpy())
    exact = truth.slope if which else truth.value
    error = ulp_error(got[finite].double().numpy(), exact, format_of(str(dtype).removeprefix("torch.")))
    return round(float(np.nanmax(np.where(np.isnan(exact), 0.0, error))), 4)


def copy_speed(machine: Machine) -> float:
    """GB/s of a device-to-device copy of the largest size, read and written."""
    x = torch.randn(max(machine.sizes.values()), device=machine.device)
    y = torch.empty_like(x)
    (seconds,) = machine.interleaved({"copy": lambda: y.copy_(x)}).values()
    return 2 * x.numel() * x.element_size() / seconds / 1e9


def training(function: Callable[..., torch.Tensor], inputs: tuple[torch.Tensor, ...], grad: torch.Tensor):
    def run() -> None:
        function(*inputs).backward(grad)
        for x in inputs:
            x.grad = None

    return run


def measured(machine: Machine, what: str, calls: dict[str, Callable[[], object]], moved: int, copy: float):
    """One row: GB/s by each way, and the share of a copy's speed that actium reaches."""
    times = machine.interleaved(calls)
    row = {"what": what, **{f"{k} GB/s": round(moved / t / 1e9, 1) for k, t in times.items()}}
    row["of copy"] = round(row["actium GB/s"] / copy, 3)
    row |= {f"speedup over {k}": round(t / times["actium"], 3) for k, t in times.items() if k != "actium"}
    print(", ".join(f"{k} {v}" for k, v in row.items()))
    return row


def bandwidth(machine: Machine, copy: float) -> list[dict[str, object]]:
    """Part 2, functions of one input."""
    rows = []
    for name, reference in FUNCTIONS.items():
        ours = get(name).activation()
        torch.compiler.reset()
        compiled = torch.compile(reference) if name in COMPILED and not machine.interpret else None
        for size_name, size in machine.sizes.items():
            for dtype_name, dtype in DTYPES.items():
                what = f"{name} {size_name} {dtype_name}"
                if not machine.in_time(what):
                    continue
                x, grad = (torch.randn(size, device=machine.device).to(dtype) for _ in range(2))
                ways = {"torch": reference, "actium": ours} | ({"compile": compiled} if compiled else {})
                one = size * x.element_size()
                with torch.no_grad():
                    calls = {k: (lambda f=f, x=x: f(x)) for k, f in ways.items()}
                    rows.append(measured(machine, f"{what} forward", calls, 2 * one, copy))
                x.requires_grad_()
                calls = {k: training(f, (x,), grad) for k, f in ways.items()}
                rows.append(measured(machine, f"{what} forward and backward", calls, 5 * one, copy))
    return rows


def gated(machine: Machine, copy: float) -> list[dict[str, object]]:
    """Part 2, a gated unit: silu(gate)·up of two tensors."""
    op = Op(parse("gate * sigmoid(gate) * up", inputs=("gate", "up")), {}, "swiglu")
    ways: dict[str, Callable[..., torch.Tensor]] = {
        "torch": lambda gate, up: F.silu(gate) * up,
        "actium": lambda gate, up: op.many((gate, up), (), None),
    }
    if not machine.interpret:
        ways["compile"] = torch.compile(ways["torch"])
        if importlib.util.find_spec("liger_kernel") is not None:
            from liger_kernel.ops.swiglu import LigerSiLUMulFunction  # type: ignore[import-not-found]

            ways["liger"] = LigerSiLUMulFunction.apply
    rows, columns = (4, 1 << 10) if machine.interpret else (4096, 14336)
    found = []
    for dtype_name, dtype in DTYPES.items():
        if not machine.in_time(f"gated {dtype_name}"):
            continue
        gate, up, grad = (torch.randn(rows, columns, device=machine.device).to(dtype) for _ in range(3))
        one = gate.numel() * gate.element_size()
        with torch.no_grad():
            calls = {k: (lambda f=f, gate=gate, up=up: f(gate, up)) for k, f in ways.items()}
            found.append(measured(machine, f"swiglu {dtype_name} forward", calls, 3 * one, copy))
        inputs = (gate.requires_grad_(), up.requires_grad_())
        # liger overwrites gate and up in its backward, and so computes with other numbers, at the same speed.
        calls = {k: training(f, inputs, grad) for k, f in ways.items()}
        found.append(measured(machine, f"swiglu {dtype_name} forward and backward", calls, 8 * one, copy))
    return found


def channels(machine: Machine, copy: float) -> list[dict[str, object]]:
    """Part 3."""
    shapes = (
        {"2x3x40": (2, 3, 40)}
        if machine.interpret
        else {"64x256x56x56": (64, 256, 56, 56), "65536x1024": (65536, 1024)}
    )
    ours = get("swish").activation()
    rows = []
    for shape_name, shape in shapes.items():
        if not machine.in_time(f"channels {shape_name}"):
            continue
        x, grad = (torch.randn(shape, device=machine.device).bfloat16() for _ in range(2))
        x.requires_grad_()
        beta = torch.ones(shape[1], device=machine.device, requires_grad=True)
        spread = (-1, *(1 for _ in shape[2:]))

        def in_torch(x: torch.Tensor, beta: torch.Tensor, spread=spread) -> torch.Tensor:
            return (x * torch.sigmoid(beta.view(spread) * x)).to(x.dtype)

        ways = {"torch": in_torch, "actium": lambda x, beta: ours(x, beta=beta, channel_dim=1)}
        calls = {k: training(f, (x, beta), grad) for k, f in ways.items()}
        moved = 5 * x.numel() * x.element_size()
        rows.append(measured(machine, f"swish per channel {shape_name} bfloat16", calls, moved, copy))
    return rows


def main() -> int:
    parser = command_line(__doc__)
    parser.add_argument("--interpret", action="store_true", help="small CPU tensors, through Triton's interpreter")
    parser.add_argument("--limit", type=float, default=330.0, help="seconds after which nothing new is begun")
    options = parser.parse_args()
    status = availability.status()
    reason = availability.reason_against() if options.interpret else status.reason
    if reason is not None:
        print(f"nothing measured: {reason}", file=sys.stderr)
        return 2
    machine = Machine(options.interpret, options.limit)
    names = ["silu", "swish"] if options.interpret else list(ENTRIES)
    results: dict[str, object] = {"path": "interpreter" if options.interpret else status.path}
    if toolchain.kernels_enabled():
        results["correctness"] = correctness(machine, names)
        print(results["correctness"])
    availability.INTERPRETED = options.interpret  # from here on, so that the comparison above had C kernels
    copy = copy_speed(machine)
    print(f"device-to-device copy: {copy:.1f} GB/s")
    rows = [*gated(machine, copy), *channels(machine, copy), *bandwidth(machine, copy)]
    speedups = [row["speedup over torch"] for row in rows]
    results |= {"copy GB/s": round(copy, 1), "rows": rows, "not run": machine.left_out}
    results["geometric mean over torch"] = round(geometric_mean(speedups), 3) if rows else None  # type: ignore[arg-type]
    if options.interpret:
        print("the logic ran; these are no measurements, and nothing was written")
        return 0
    properties = torch.cuda.get_device_properties(0)
    save("gpu", results, {"gpu": properties.name, "memory": properties.total_memory, "triton": status.triton})
    wrong = results.get("correctness", {}).get("different")  # type: ignore[attr-defined]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
