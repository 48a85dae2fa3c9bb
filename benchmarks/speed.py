"""Forward + backward of actium's functions against PyTorch's own, torch.compile and, with --full, the formula as typed.

Run: `python benchmarks/speed.py [--full] [--quick]`. Ratios above 1 mean that actium is faster. Without options it
writes the table of README.md: eight functions, three sizes, two formats. `--full` takes all of torch.nn's, smooth and
cheap ones apart, four sizes and three formats; the composite, too, and the share of the bandwidth of the fastest copy,
measured in the same turns. The floor: forward reads x and writes y, backward reads x and grad and writes the gradient,
so five tensors cross the memory bus where they do not fit the cache. torch.compile takes part at 1 Mi only, because
every compile takes seconds; with --full, as long as `--minutes` lasts.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace

from common import chosen, command_line, save

from actium.bench.cases import Case, case_of
from actium.bench.cells import Cell, measure
from actium.bench.grid import grid_of, size_text
from actium.bench.records import geometric_mean

TABLE = ("silu", "gelu", "mish", "tanh", "elu", "softplus", "softsign", "logsigmoid")
SMOOTH = (*TABLE, "gelu_tanh", "sigmoid", "celu", "selu", "tanhshrink")
CHEAP = (
    "relu",
    "leaky_relu",
    "hardtanh",
    "relu6",
    "hardsigmoid",
    "hardswish",
    "hardshrink",
    "softshrink",
    "threshold",
)
COMPILED = 1 << 20
OTHERS = ("torch", "compile", "composite")
# From here on a call is long beside the clock's noise, and six turns take a second.
LARGE = 1 << 23


def without(case: Case, *names: str) -> Case:
    """The case, with fewer contenders."""
    return replace(case, contenders=tuple(c for c in case.contenders if c.name not in names))


def row_of(cell: Cell, group: str) -> dict[str, object]:
    """Microseconds, ratios and the share of the copy's bandwidth."""
    spot, results = cell.spot, cell.results
    row: dict[str, object] = {"function": cell.target, "group": group}
    row |= {"size": size_text(spot.elements), "dtype": spot.dtype}
    row |= {name: round(r.seconds.median * 1e6, 1) for name, r in results.items()}
    for name, result in results.items():
        if result.ratio is not None:
            key = "ratio" if name == "torch" else f"ratio_to_{name}"
            row[key] = round(result.ratio.median, 3)
            row[f"{key}_interval"] = [round(result.ratio.low, 3), round(result.ratio.high, 3)]
    row["copy"] = round(cell.copy_seconds * 1e6, 1)
    row["share_of_copy"] = round(results["actium"].share, 3)
    row["share_of_copy_torch"] = round(results["torch"].share, 3)
    return row


def line_of(row: dict) -> str:
    """One line on the terminal."""
    text = f"{row['function']:12}{row['size']:>6} {row['dtype']:9}{row['actium']:>11.1f}"
    for name, key in zip(OTHERS, ("ratio", "ratio_to_compile", "ratio_to_composite"), strict=True):
        text += f"{row[name]:11.1f}{row[key]:7.2f}" if name in row else " " * 18
    return f"{text}{100 * row['share_of_copy']:7.0f} %"


def measured(options: argparse.Namespace, names: dict[str, str]) -> Iterator[dict]:
    """A row for every cell."""
    sizes = ["16Ki,256Ki,1Mi,16Mi"] if options.full else ["64Ki,1Mi,8Mi"]
    dtypes = ["float32,bfloat16,float16"] if options.full else ["float32,bfloat16"]
    seconds = (0.05 if options.quick else 0.1) if options.full else (0.15 if options.quick else 0.6)
    end = time.monotonic() + 60 * options.minutes
    for name, group in names.items():
        case = case_of(name)
        for spot in grid_of(sizes, dtypes):
            compiles = spot.elements == COMPILED and not options.no_compile
            left_out = [*([] if options.full else ["composite"])]
            left_out += [] if compiles and (not options.full or time.monotonic() < end) else ["compile"]
            budget = 0.0 if options.full and spot.elements >= LARGE else seconds
            cell = measure(without(case, *left_out), spot, budget, memory=False)
            if cell.failed:
                raise SystemExit(f"{name}, {spot}: {cell.failed}")
            yield row_of(cell, group)


def summary_of(rows: list[dict]) -> dict[str, object]:
    """Geometric means, the worst cells, the share of the copy's bandwidth by size."""
    summary: dict[str, object] = {"cells": len(rows)}
    for name, key in zip(OTHERS, ("ratio", "ratio_to_compile", "ratio_to_composite"), strict=True):
        with_it = [row for row in rows if key in row]
        if with_it:
            end = "" if name == "torch" else f"_to_{name}"
            worst = sorted(with_it, key=lambda row: row[key])
            summary[f"geometric_mean{end}"] = round(geometric_mean([row[key] for row in with_it]), 3)
            summary[f"worst{end}"] = worst[0][key]
            summary[f"slower{end}"] = sum(row[f"{key}_interval"][1] < 1 for row in with_it)
            summary[f"worst_cells{end}"] = [
                f"{row['function']} {row['size']} {row['dtype']} {row[key]}" for row in worst[:5]
            ]
    by_size: dict[str, list[float]] = {}
    for row in rows:
        by_size.setdefault(row["size"], []).append(row["share_of_copy"])
    return summary | {"median_share_of_copy": {size: statistics.median(v) for size, v in by_size.items()}}


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--full", action="store_true", help="all functions of torch.nn, four sizes, three formats")
    parser.add_argument("--quick", action="store_true", help="short samples, nothing written")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile")
    parser.add_argument("--minutes", type=float, default=9.0, help="with --full, start no compile after these")
    parser.add_argument("--only", default="", help="comma-separated functions, nothing written")
    options = parser.parse_args()
    groups = {"smooth": SMOOTH, "cheap": CHEAP} if options.full else {"smooth": TABLE}
    names = {name: group for group, members in groups.items() for name in members}
    groups_of = {name: names[name] for name in chosen(parser, options.only, names)}
    heads = "".join(f"{f'{name} µs':>11}{'ratio':>7}" for name in OTHERS)
    print(f"{'function':12}{'size':>6} {'dtype':9}{'actium µs':>11}{heads}{'of copy':>9}")
    begin, rows = time.monotonic(), []
    for row in measured(options, groups_of):
        print(line_of(row), flush=True)
        rows.append(row)
    summary = {g: summary_of([r for r in rows if r["group"] == g]) for g in groups if g in groups_of.values()}
    for group, found in summary.items():
        print(f"\n{group}")
        for key, value in found.items():
            print(f"  {key}: {value}")
    print(f"{time.monotonic() - begin:.0f} s")
    if options.quick or options.only:
        return
    if options.full:
        save("grid", {"summary": summary, "rows": rows})
    else:
        save("speed", {"summary": summary["smooth"], "rows": rows})


if __name__ == "__main__":
    main()
