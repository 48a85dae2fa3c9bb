"""Hostile formulas, targets and certificates, in tens of thousands: how many, and how many ended in an exception.

The cases are those of `tests/fuzzing.py`, the same in each run. Seconds are of one process. Exits with status 1 if
there was an exception. Run: `python benchmarks/fuzz.py`.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

from common import RESULTS, command_line, machine

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


def main() -> None:
    command_line(__doc__).parse_args()
    from fuzzing import KINDS

    results: dict[str, dict[str, float]] = {}
    for name, kind in KINDS.items():
        accepted = exceptions = 0
        slowest, begin = 0.0, time.process_time()
        for seed in range(kind.cases):
            case = kind.make(random.Random(seed))
            before = time.process_time()
            try:
                accepted += bool(kind.holds(case))
            except Exception as error:
                exceptions += 1
                print(f"{name}, seed {seed}: {type(error).__name__}: {str(error)[:200]!r}")
            slowest = max(slowest, time.process_time() - before)
        row = {
            "cases": kind.cases,
            "accepted": accepted,
            "exceptions": exceptions,
            "slowest_seconds": round(slowest, 3),
        }
        results[name] = row | {"seconds": round(time.process_time() - begin, 1)}
        print(name, results[name])
    path = RESULTS / "fuzz.json"
    path.write_text(json.dumps({"machine": machine(), "results": results}, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {path}")
    sys.exit(any(row["exceptions"] for row in results.values()))


if __name__ == "__main__":
    main()
