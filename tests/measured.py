"""A report made by hand, for what shows it."""

from __future__ import annotations

from actium.bench.cases import Case, Contender
from actium.bench.cells import Cell, Result
from actium.bench.cold import Cold
from actium.bench.grid import Spot
from actium.bench.records import Report
from actium.bench.timing import Interval


def result(seconds: float, ratio: float | None = None, **more) -> Result:
    around = Interval(seconds, 0.98 * seconds, 1.05 * seconds)
    interval = None if ratio is None else Interval(ratio, 0.9 * ratio, 1.1 * ratio)
    given = {"saved": 4.0, "peak": 8.0, "difference": None if ratio is None else 2.4e-7} | more
    return Result(around, 20, 3, interval, 1e-4 / seconds, **given)


def cell(target: str, elements: int, which: str = "both", scale: float = 1.0, **ratios: float) -> Cell:
    results = {"actium": result(2e-4 * scale)} | {n: result(2e-4 * r * scale, r) for n, r in ratios.items()}
    spot = Spot(elements, "float32", "cpu", which)
    return Cell(target, spot, "C copy", 4e-5 * scale, 20 * elements, results, {"compile": "no compiler"})


def report() -> Report:
    contenders = [("actium", "as actium computes it"), ("torch", "torch.nn.functional.silu"), ("compile", "compiled")]
    made = tuple(Contender(n, what, lambda x: x) for n, what in contenders)
    return Report(
        [Case("silu", "x * sigmoid(x)", made)],
        {"actium": "0.1.0", "cpu": "a CPU", "kernels": None},
        0.5,
        [cell("silu", 1 << 16, torch=2.0), cell("silu", 1 << 20, scale=16.0, torch=0.5)],
        [Cold("silu", "actium", "float32", 0.25, 3), Cold("silu", "compile", "float32", None, 0, "no compiler")],
    )
