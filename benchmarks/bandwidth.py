"""Cheap functions on large tensors against the copy: arithmetic costs nothing there, only bytes do.

16 Mi elements, each result in a fresh tensor. The floor is what the bytes that have to be read and written take at the
bandwidth of the fastest copy, measured in the same turns: `memcpy` on all threads into a fresh tensor on huge pages, or
`clone`. 100 % is that floor. Run: `python benchmarks/bandwidth.py [--quick]`.
"""

from __future__ import annotations

from common import command_line, save
from speed import CHEAP, without

from actium.bench.cases import case_of
from actium.bench.cells import measure
from actium.bench.grid import grid_of


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--quick", action="store_true", help="short samples, nothing written")
    parser.add_argument("--size", default="16Mi", help="elements")
    options = parser.parse_args()
    grid = grid_of([options.size], ["float32,bfloat16,float16"], passes=["forward,both"])
    rows = []
    print(f"{'function':12}{'pass':9}{'dtype':10}{'floor ms':>10}{'copy':>8}{'actium':>9}{'torch':>9}{'ratio':>8}")
    for name in CHEAP:
        case = without(case_of(name, compiled=False), "composite")
        for spot in grid:
            cell = measure(case, spot, 0.0 if options.quick else 0.5, memory=False)
            ours, theirs = cell.results["actium"], cell.results["torch"]
            assert theirs.ratio is not None
            row = {"function": name, "pass": spot.which, "dtype": spot.dtype, "elements": spot.elements}
            row |= {"copy": cell.copy, "copy_GB_per_s": round(cell.bandwidth / 1e9, 2), "floor_s": cell.floor}
            row |= {"share_of_copy": round(ours.share, 3), "share_of_copy_torch": round(theirs.share, 3)}
            row |= {"ratio": round(theirs.ratio.median, 3)}
            rows.append(row)
            shares = f"{100 * ours.share:7.0f} %{100 * theirs.share:7.0f} %{row['ratio']:8.2f}"
            print(f"{name:12}{spot.which:9}{spot.dtype:10}{cell.floor * 1e3:10.2f}{cell.copy:>8}{shares}", flush=True)
    worst = min(rows, key=lambda row: row["share_of_copy"])
    summary = {"worst_share_of_copy": worst["share_of_copy"], "worst": f"{worst['function']} {worst['pass']}"}
    summary["worst"] += f" {worst['dtype']}"
    print(summary)
    if not options.quick:
        save("bandwidth", {"summary": summary, "rows": rows})


if __name__ == "__main__":
    main()
