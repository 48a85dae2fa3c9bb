"""The C functions of math.h over all 2^32 float32 encodings: the largest error in ULP, and where.

The reference is the C library's function of a double, itself compared with ball arithmetic by
`tests/kernels/test_math_h.py`, whose budgets these numbers are held to. Run: `python benchmarks/math_functions.py
[--only NAMES] [--step N]`. All take half an hour on two cores.
"""

from __future__ import annotations

import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common import chosen, command_line, save
from tables import newest

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path[:0] = [str(TESTS / "kernels"), str(TESTS)]


def main() -> None:
    options = command_line(__doc__)
    options.add_argument("--step", type=int, default=1, help="try every N-th encoding, and write nothing")
    options.add_argument("--only", default="", help="comma-separated functions; the others' results are kept")
    given = options.parse_args()
    step = given.step
    from harness import Library
    from test_math_h import BUDGET, PARAMETERS

    names = chosen(options, given.only, BUDGET)
    cases = [(name, c) for name in names for c in PARAMETERS.get(name, (0.0,)) if c == c]
    worst: dict[str, tuple[float, float, float]] = {}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        library = Library(Path(folder))
        for (name, c), (ulp, at) in zip(
            cases, pool.map(lambda case: library.worst(*case, step=step), cases), strict=True
        ):
            worst[name] = max(worst.get(name, (-1.0, 0.0, 0.0)), (ulp, at, c))
            print(f"{name:12}{c:8g}{ulp:8.4f} ULP at {at!r}", flush=True)
    rows = [
        {"function": name, "ulp": round(ulp, 4), "at": repr(at), "parameter": c if name in PARAMETERS else None}
        for name, (ulp, at, c) in worst.items()
    ]
    if step == 1:
        known = newest("math_functions")["results"] if given.only else []
        save("math_functions", [row for row in known if row["function"] not in names] + rows)


if __name__ == "__main__":
    main()
