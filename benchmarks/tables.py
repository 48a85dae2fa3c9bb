"""Write the measured tables of README.md and of pages in docs/ from `benchmarks/results/`.

The text between `<!-- table NAME -->` and `<!-- end -->` is replaced. Run: `python benchmarks/tables.py [--check]`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from common import command_line

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("accuracy", "gated", "memory", "speed")))


def by_processor(topic: str) -> list[dict]:
    """The latest result of a topic on each processor, the newest first."""
    found: dict[str, dict] = {}
    for path in sorted(RESULTS.glob(f"{topic}_*_20*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        cpu = result["machine"]["cpu"]
        if re.fullmatch(rf"{topic}_[a-z0-9-]+_\d{{6}}\.json", path.name):
            found[cpu] = max(found.get(cpu, result), result, key=_when)
    return sorted(found.values(), key=_when, reverse=True)


def _when(result: dict) -> tuple[str, str]:
    return result["machine"]["date"], result["machine"].get("time", "")


def newest(topic: str) -> dict:
    """The latest result of a topic."""
    return by_processor(topic)[0]


def by_function(rows: Iterable[dict], key: Callable[[dict], Any]) -> dict[str, dict[Any, dict]]:
    """Rows by function and, within it, by what tells its cells apart."""
    cells: dict[str, dict[Any, dict]] = {}
    for row in rows:
        cells.setdefault(row["function"], {})[key(row)] = row
    return cells


def measured_on(result: dict) -> str:
    m = result["machine"]
    return f"{m['date']}, {m['cpu']}, {m['threads']} threads, torch {m['torch']}, Python {m['python']}"


def ulp(value: float | str) -> str:
    if isinstance(value, str):
        return value
    if value < 99.5:
        return f"{value:.2f}"
    return f"{value:,.0f}" if value < 1e5 else f"{value:.0e}".replace("e+0", "e")


def accuracy() -> str:
    """Both columns of each function in one row: torch → actium."""
    result = newest("accuracy")
    rows = {row["target"]: row for row in result["results"]}
    pairs = [(t, rows[a]) for (t, a) in zip(list(rows)[::2], list(rows)[1::2], strict=True)]
    lines = [
        "| function | fp16 output | fp16 gradient | bf16 output | bf16 gradient | bf16 zeros and non-finite values |",
        "|---|---|---|---|---|---|",
    ]
    for target, ours in pairs:
        theirs = rows[target]
        cells = [
            f"{ulp(theirs[key])} → **{ulp(ours[key])}**"
            for key in (f"{d} {s} ulp" for d in ("float16", "bfloat16") for s in ("output", "gradient"))
        ]
        wrong = [sum(v for k, v in row.items() if re.match(r"bfloat16 (false|non)", k)) for row in (theirs, ours)]
        lines.append(f"| {ours['target']} | {' | '.join(cells)} | {wrong[0]:,} → **{wrong[1]}** |")
    sides = ([rows[t] for t, _ in pairs], [ours for _, ours in pairs])
    worst = [ulp(max(r[f"float32 {s} ulp"] for r in side for s in ("output", "gradient"))) for side in sides]
    note = f"float32, on a sample over all exponents: {worst[0]} → **{worst[1]}** at worst, output or gradient."
    return "\n".join(lines) + f"\n\n{note} Measured {measured_on(result)}, by `benchmarks/accuracy.py`."


def speed() -> str:
    result, *others = by_processor("speed")
    sizes = ("64Ki", "1Mi", "8Mi")
    cells = by_function(result["results"]["rows"], lambda row: (row["size"], row["dtype"]))
    lines = [
        f"| function | {' | '.join(f'{d} {s}' for d in ('fp32', 'bf16') for s in sizes)} | to torch.compile, 1Mi |",
        "|---|" + "---|" * 7,
    ]
    for name, by_cell in cells.items():
        ratios = [f"{by_cell[s, d]['ratio']:.1f}×" for d in ("float32", "bfloat16") for s in sizes]
        compiled = [by_cell["1Mi", d]["ratio_to_compile"] for d in ("float32", "bfloat16")]
        lines.append(f"| {name} | {' | '.join(ratios)} | {compiled[0]:.1f}×, {compiled[1]:.1f}× |")
    notes = []
    for found in (result, *others):
        s = found["results"]["summary"]
        note = f"Geometric mean {s['geometric_mean']:.2f}×, worst {s['worst']:.2f}×; against torch.compile at 1Mi "
        notes.append(f"{note}{s['geometric_mean_to_compile']:.2f}×. Measured {measured_on(found)}.")
    return "\n".join([*lines, "", "\n\n".join(notes), "", "By `benchmarks/speed.py`."])


def grid() -> str:
    """All of torch.nn's functions, smooth and cheap: `speed.py --full`."""
    lines = [
        "| functions | processor | cells | to torch | slower | to torch.compile, 1Mi | to the composite | worst |",
        "|---" * 8 + "|",
    ]
    found = by_processor("grid")
    for group in found[0]["results"]["summary"]:
        for result in found:
            s = result["results"]["summary"][group]
            means = [s.get(f"geometric_mean{end}") for end in ("", "_to_compile", "_to_composite")]
            torch, compiled, composite = ("" if m is None else f"{m:.2f}×" for m in means)
            cells = [group, result["machine"]["cpu"], s["cells"], torch, s["slower"], compiled, composite]
            lines.append(f"| {' | '.join(map(str, cells))} | {'; '.join(s['worst_cells'][:3])} |")
    note = "Geometric means; a cell is slower where the whole 95 % interval of its ratio to PyTorch is below 1."
    measured = "; ".join(measured_on(result) for result in found)
    return "\n".join(lines) + f"\n\n{note} Measured {measured}, by `benchmarks/speed.py --full`."


def bandwidth() -> str:
    """Cheap functions on large tensors, forward and backward, as shares of the copy's bandwidth."""
    result = newest("bandwidth")
    dtypes = ("float32", "bfloat16", "float16")
    lines = [f"| function | {' | '.join(dtypes)} |", "|---|---|---|---|"]
    whole = (row for row in result["results"]["rows"] if row["pass"] == "both")
    cells = by_function(whole, lambda row: row["dtype"])
    for name, found in cells.items():
        both = [(100 * found[d]["share_of_copy_torch"], 100 * found[d]["share_of_copy"]) for d in dtypes]
        lines.append(f"| {name} | {' | '.join(f'{theirs:.0f} % → **{ours:.0f} %**' for theirs, ours in both)} |")
    return "\n".join(lines) + f"\n\nMeasured {measured_on(result)}, by `benchmarks/bandwidth.py`."


def channels() -> str:
    """Parameters per channel."""
    result = newest("channels")
    others = ("torch", "compile", "composite")
    lines = ["| function | channels | format | to torch | to torch.compile | to the composite |", "|---|" + "---|" * 5]
    for row in result["results"]["rows"]:
        ratios = [f"{row[k]:.1f}×" if (k := f"ratio_to_{name}") in row else "" for name in others]
        lines.append(f"| {row['function']} | {row['channels']} | {row['dtype']} | {' | '.join(ratios)} |")
    return "\n".join(lines) + f"\n\nMeasured {measured_on(result)}, by `benchmarks/channels.py`."


def gated() -> str:
    """Gated units, a line for each unit and shape: halves of one tensor and two tensors in each format."""
    result = newest("gated")
    formats = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
    heads = [f"{short} {form}" for short in formats.values() for form in ("halves", "two")]
    lines = [f"| unit | shape | {' | '.join(heads)} |", "|---" * 8 + "|"]
    cells: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    for row in result["results"]["rows"]:
        text = f"{row['ratio']:.2f}×"
        if "ratio_to_compile" in row:
            text += f" ({row['ratio_to_compile']:.2f}×)"
        cells.setdefault((row["unit"], row["shape"]), {})[row["dtype"], row["form"]] = text
    for (unit, shape), found in cells.items():
        parts = [found[d, form] for d in formats for form in ("halves", "two")]
        lines.append(f"| {unit} | {shape} | {' | '.join(parts)} |")
    compiled = any("ratio_to_compile" in row for row in result["results"]["rows"])
    note = "In brackets: to torch.compile." if compiled else "torch.compile was not run."
    return "\n".join(lines) + f"\n\n{note} Measured {measured_on(result)}, by `benchmarks/gated.py`."


def startup() -> str:
    start, call = newest("startup"), newest("overhead")
    lines = ["| what | seconds |", "|---|---|"]
    lines += [f"| {name} | {seconds:.3f} |" for name, seconds in start["results"].items()]
    ratios = [f"{what.split(',')[0]} {1 / values['ratio']:.2f}×" for what, values in call["results"].items()]
    note = f"One call at 64 elements, PyTorch's time divided by ours: {', '.join(ratios)}."
    scripts = "`benchmarks/startup.py` and `benchmarks/overhead.py`"
    return "\n".join(lines) + f"\n\n{note} Measured {measured_on(start)}, by {scripts}."


def bounds() -> str:
    """How far the slopes of the memory modes are off."""
    lines = ["| function | bits | uint8 | output, bfloat16 | output, float16 |", "|---|---|---|---|---|"]
    for name, by_dtype in newest("memory")["results"]["functions"].items():
        known = {d: {mode["name"]: mode for mode in found} for d, found in by_dtype.items()}
        cells = ["exact" if "bits" in known["float32"] else "—"]
        modes = (("bfloat16", "uint8"), ("bfloat16", "output"), ("float16", "output"))
        cells += [_slope_error(known[d].get(mode)) for d, mode in modes]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _slope_error(mode: dict | None) -> str:
    if mode is None:
        return "—"
    bit = " + 1 bit" if mode["name"] == "output" and mode["bytes_per_element"] else ""
    return f"{mode['slope_error']:.2g}{bit}" if mode["slope_error"] > 1e-5 else "exact but for float32's rounding"


def models() -> str:
    """What whole models keep and allocate in a training step."""
    result = newest("memory")
    lines = ["| model | activation | bytes kept | of PyTorch's | peak | of PyTorch's | time |", "|---" * 7 + "|"]
    for kind, title in (("block", "transformer block, bfloat16, GELU"), ("cnn", "CNN, float32, leaky ReLU")):
        for name, row in result["results"]["models"][kind].items():
            cells = [title, name, f"{row['kept_bytes']:,}", f"{row['share']:.2f}"]
            cells += [f"{row['peak_bytes']:,}", f"{row['peak_share']:.2f}", f"{row['time_ratio']:.2f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + f"\n\nMeasured {measured_on(result)}, by `benchmarks/memory.py`."


def training() -> str:
    """A small language model trained in each memory mode."""
    result = newest("memory_training")
    runs, summary = result["results"]["runs"], result["results"]["summary"]
    seeds = [run["seed"] for run in runs["exact"]]
    lines = [f"| memory | {' | '.join(f'seed {s}' for s in seeds)} | mean difference from exact |"]
    lines.append("|---" * (len(seeds) + 2) + "|")
    for memory, found in runs.items():
        mean = summary.get(f"{memory} − exact, mean")
        cells = [f"{run['held_out']:.4f}" for run in found] + ["" if mean is None else f"{mean:+.4f}"]
        lines.append(f"| {memory} | {' | '.join(cells)} |")
    spread = summary["spread of exact between seeds"]
    note = f"Held-out loss after {summary['steps']} steps; between seeds, that of `exact` differs by {spread:.4f}."
    return "\n".join(lines) + f"\n\n{note} Measured {measured_on(result)}, by `benchmarks/memory_training.py`."


def floor() -> str:
    """Operations over measured peaks, and what kernels in the caches take."""
    result = newest("floor")
    dtypes = ("float32", "bfloat16", "float16")
    lines = [f"| function | {' | '.join(dtypes)} |", "|---|---|---|---|"]
    cells = by_function(result["results"]["rows"], lambda row: row["dtype"])
    for name, found in cells.items():
        texts = [
            f"{found[d]['floor']:.2f}, {found[d]['measured']:.2f} ({100 * found[d]['share']:.0f} %)" for d in dtypes
        ]
        lines.append(f"| {name} | {' | '.join(texts)} |")
    note = "Forward and backward in the caches on one core, nanoseconds an element: the floor, measured (its share)."
    return "\n".join(
        [*lines, "", f"{note} {reachable(result)} Measured {measured_on(result)}, by `benchmarks/floor.py`."]
    )


def reachable(result: dict) -> str:
    """What the grid's mean would be if every cell took its floor."""
    grid = result["results"]["grid"]
    if not grid:
        return ""
    order = sorted(grid, key=lambda size: size == "all")
    means = "; ".join(f"{size} {grid[size]['measured']:.2f}× of {grid[size]['at the floor']:.2f}×" for size in order)
    call = result["results"]["autograd_microseconds"]
    return f"Autograd's own work is {call:.1f} µs a call. Of the smooth grid against PyTorch, geometric means: {means}."


def math_functions() -> str:
    """The C functions over all encodings."""
    result = newest("math_functions")
    rows = sorted(result["results"], key=lambda row: row["ulp"], reverse=True)
    lines = ["| function | largest error, ULP | at |", "|---|---|---|"]
    for row in rows:
        with_parameter = "" if row["parameter"] is None else f", parameter {row['parameter']:g}"
        lines.append(f"| {row['function']} | {row['ulp']:.2f} | {row['at']}{with_parameter} |")
    return "\n".join(lines) + f"\n\nMeasured {measured_on(result)}, by `benchmarks/math_functions.py`."


TABLES = {
    "accuracy": accuracy,
    "speed": speed,
    "grid": grid,
    "bandwidth": bandwidth,
    "channels": channels,
    "gated": gated,
    "startup": startup,
    "bounds": bounds,
    "models": models,
    "training": training,
    "floor": floor,
    "math_functions": math_functions,
}


def rendered(text: str) -> str:
    """A page with its tables made anew."""

    def replace(match: re.Match[str]) -> str:
        table = TABLES[match[1]]()
        return f"<!-- table {match[1]} -->\n\n{table}\n\n<!-- end -->"

    return re.sub(r"<!-- table (\w+) -->.*?<!-- end -->", replace, text, flags=re.DOTALL)


def main() -> int:
    options = command_line(__doc__)
    options.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a table is stale")
    check = options.parse_args().check
    stale = []
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        new = rendered(text)
        if new != text:
            stale.append(path.name)
            if not check:
                path.write_text(new, encoding="utf-8")
    if check:
        print(f"not those of benchmarks/results: the tables of {', '.join(stale)}" if stale else "up to date")
        return int(bool(stale))
    return 0


if __name__ == "__main__":
    sys.exit(main())
