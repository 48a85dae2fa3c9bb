"""Write the measured tables of README.md and docs/gated.md from `benchmarks/results/`.

The text between `<!-- table NAME -->` and `<!-- end -->` is replaced. Run: `python benchmarks/tables.py [--check]`.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (ROOT / "README.md", ROOT / "docs" / "gated.md")


def newest(topic: str) -> dict:
    """The latest result file of a topic."""
    return json.loads(sorted(RESULTS.glob(f"{topic}_*.json"))[-1].read_text(encoding="utf-8"))


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
    result = newest("speed")
    sizes = ("64Ki", "1Mi", "8Mi")
    cells: dict[str, dict[tuple[str, str], dict]] = {}
    for row in result["results"]["rows"]:
        cells.setdefault(row["function"], {})[row["size"], row["dtype"]] = row
    lines = [
        f"| function | {' | '.join(f'{d} {s}' for d in ('fp32', 'bf16') for s in sizes)} | to torch.compile, 1Mi |",
        "|---|" + "---|" * 7,
    ]
    for name, by_cell in cells.items():
        ratios = [f"{by_cell[s, d]['ratio']:.1f}×" for d in ("float32", "bfloat16") for s in sizes]
        compiled = [by_cell["1Mi", d]["ratio_to_compile"] for d in ("float32", "bfloat16")]
        lines.append(f"| {name} | {' | '.join(ratios)} | {compiled[0]:.1f}×, {compiled[1]:.1f}× |")
    s = result["results"]["summary"]
    note = (
        f"Geometric mean {s['geometric_mean']:.2f}×, worst {s['worst']:.2f}×; against torch.compile at 1Mi "
        f"{s['geometric_mean_to_compile']:.2f}×."
    )
    return "\n".join(lines) + f"\n\n{note} Measured {measured_on(result)}, by `benchmarks/speed.py`."


def grid() -> str:
    """All of torch.nn's functions, smooth and cheap: `speed.py --full`."""
    result = newest("grid")
    lines = [
        "| functions | cells | to torch | slower | to torch.compile, 1Mi | to the composite | worst cells |",
        "|---|" + "---|" * 6,
    ]
    for group, s in result["results"]["summary"].items():
        means = [s.get(f"geometric_mean{end}") for end in ("", "_to_compile", "_to_composite")]
        torch, compiled, composite = ("" if m is None else f"{m:.2f}×" for m in means)
        worst = "; ".join(s["worst_cells"][:3])
        lines.append(f"| {group} | {s['cells']} | {torch} | {s['slower']} | {compiled} | {composite} | {worst} |")
    note = "Geometric means; a cell is slower where the whole 95 % interval of its ratio to PyTorch is below 1."
    return "\n".join(lines) + f"\n\n{note} Measured {measured_on(result)}, by `benchmarks/speed.py --full`."


def bandwidth() -> str:
    """Cheap functions on large tensors, forward and backward, as shares of the copy's bandwidth."""
    result = newest("bandwidth")
    dtypes = ("float32", "bfloat16", "float16")
    lines = [f"| function | {' | '.join(dtypes)} |", "|---|---|---|---|"]
    cells: dict[str, dict[str, dict]] = {}
    for row in result["results"]["rows"]:
        if row["pass"] == "both":
            cells.setdefault(row["function"], {})[row["dtype"]] = row
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
    lines = ["| unit | shape | fp32 halves | fp32 two | bf16 halves | bf16 two |", "|---" * 6 + "|"]
    cells: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    for row in result["results"]["rows"]:
        text = f"{row['ratio']:.2f}×"
        if "ratio_to_compile" in row:
            text += f" ({row['ratio_to_compile']:.2f}×)"
        cells.setdefault((row["unit"], row["shape"]), {})[row["dtype"], row["form"]] = text
    for (unit, shape), found in cells.items():
        parts = [found[d, form] for d in ("float32", "bfloat16") for form in ("halves", "two")]
        lines.append(f"| {unit} | {shape} | {' | '.join(parts)} |")
    compiled = any("ratio_to_compile" in row for row in result["results"]["rows"])
    note = "In brackets: to torch.compile." if compiled else "torch.compile was not run."
    return "\n".join(lines) + f"\n\n{note} Measured {measured_on(result)}, by `benchmarks/gated.py`."


def startup() -> str:
    start, call = newest("startup"), newest("overhead")
    lines = ["| what | seconds |", "|---|---|"]
    lines += [f"| {name} | {seconds:.3f} |" for name, seconds in start["results"].items()]
    ratios = [f"{what.split(',')[0]} {values['ratio']:.2f}×" for what, values in call["results"].items()]
    note = f"One call at 64 elements, against PyTorch's: {', '.join(ratios)}."
    scripts = "`benchmarks/startup.py` and `benchmarks/overhead.py`"
    return "\n".join(lines) + f"\n\n{note} Measured {measured_on(start)}, by {scripts}."


TABLES = {
    "accuracy": accuracy,
    "speed": speed,
    "grid": grid,
    "bandwidth": bandwidth,
    "channels": channels,
    "gated": gated,
    "startup": startup,
}


def rendered(text: str) -> str:
    """A page with its tables made anew."""

    def replace(match: re.Match[str]) -> str:
        table = TABLES[match[1]]()
        return f"<!-- table {match[1]} -->\n\n{table}\n\n<!-- end -->"

    return re.sub(r"<!-- table (\w+) -->.*?<!-- end -->", replace, text, flags=re.DOTALL)


def main() -> int:
    stale = []
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        new = rendered(text)
        if new != text:
            stale.append(path.name)
            if "--check" not in sys.argv:
                path.write_text(new, encoding="utf-8")
    if "--check" in sys.argv:
        print(f"not those of benchmarks/results: the tables of {', '.join(stale)}" if stale else "up to date")
        return int(bool(stale))
    return 0


if __name__ == "__main__":
    sys.exit(main())
