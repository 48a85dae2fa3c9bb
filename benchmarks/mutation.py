"""Which check rejects which fault: every kind of `tests/verify/faults.py` in every function of `by_hand.py`.

The result is function → fault → the ids, among those that describe the fault, with a finding of `warn` or worse. The
originals are counted too: a finding on one of them would be a false alarm. Run: `python benchmarks/mutation.py`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from common import RESULTS, command_line, machine

from actium.verify import Subject, check

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "verify"))


def main() -> None:
    command_line(__doc__).parse_args()
    from by_hand import ORIGINALS
    from faults import mutants_of

    torch.set_num_threads(1)
    results: dict[str, dict[str, list[str]]] = {}
    survivors, alarms = 0, 0
    for original in ORIGINALS:
        row = results[original.name] = {}
        for name, mutant, ids in mutants_of(original):
            found = check(Subject(original.name, mutant, original.formula), only=ids).findings
            row[name] = sorted({f.check for f in found if f.severity != "info"} & ids)
            survivors += not row[name]
        for sound in (original.made, original.op()):
            families = {i for _, _, ids in mutants_of(original) for i in ids}
            found = check(Subject(original.name, sound, original.formula), only=families).findings
            alarms += any(f.severity != "info" for f in found)
        print(f"{original.name:12} {len(row)} faults, {sum(not ids for ids in row.values())} survived")
    total = sum(map(len, results.values()))
    print(f"{len(results)} functions, {total} mutants, {survivors} survived; {alarms} originals rejected")
    path = RESULTS / "mutation.json"
    path.write_text(json.dumps({"machine": machine(), "results": results}, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
