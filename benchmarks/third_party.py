"""Check collections of activations from the package registry, and count what is found.

Run: `python benchmarks/third_party.py [--site DIR] [--out DIR] [NAME ...]`. Collections that cannot be imported are
left out. With `--out` a run that was stopped is taken up again. Writes `benchmarks/results/collections.json` and
`docs/collections.md`: of other people's code only names of classes and counts.

To get the collections: pip install --no-deps --target DIR torch-activation nonlinear torchlab-pytorch actix echoAI
torchact activations-plus genal-activation monai, and the parts of matplotlib, which nonlinear imports.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import re
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from common import RESULTS, machine

from actium.report.table import counts
from actium.running import Judging, Limits, Outcome, Pool
from actium.running.store import Store

DOCS = Path(__file__).resolve().parent.parent / "docs" / "collections.md"
# Name in the registry → what of it is checked.
COLLECTIONS = {
    "torch-activation": ["torch_activation:*"],
    "nonlinear": ["nonlinear:*"],
    "torchlab-pytorch": ["torchlab.activations:*"],
    "actix": ["actix:*"],
    "echoAI": ["echoAI.Activation.Torch:*"],
    "torchact": ["torchact:*"],
    "activations-plus": ["activations_plus:*"],
    "genal-activation": ["genal_activation:*"],
    "monai": ["monai.networks.blocks.activation:*"],
    "torch": ["torch.nn.modules.activation:*"],
}
SEVERITIES = ("fail", "warn", "info", "nothing", "not_run")


def kind(reason: str) -> str:
    """A reason for not checking something, without what is particular to one target."""
    short = re.split(r"[:;(.]", reason)[0].strip()
    return "takes no tensor" if re.fullmatch(r"takes .*(not a tensor|tensor of any tried shape)", short) else short[:60]


def name(target: str) -> str:
    return target.rpartition(":")[2]


def check(targets: list[str], out: Path) -> dict[str, object]:
    """Everything that is counted of one collection."""
    judging, limits = Judging(), Limits()
    store = Store(out, judging, limits)
    begin = time.perf_counter()
    with Pool(limits=limits) as pool:
        expanded = pool.expand(targets)
        environment = pool.environment()
        known = {t.target: store.load(t.target) for t in expanded.tasks}
        outcomes = {t: o for t, o in known.items() if o is not None}
        for outcome in pool.judge([t for t in expanded.tasks if known[t.target] is None], judging):
            store.save(outcome, environment)
            outcomes[outcome.target] = outcome
            progress(len(outcomes), len(expanded.tasks), outcome)
    reasons = {t: o.reason or "" for t, o in (outcomes | expanded.refused).items() if o.certificate is None}
    certificates = [o.certificate for o in outcomes.values() if o.certificate is not None]
    skipped = reasons | expanded.skipped
    table = {i: asdict(row) for i, row in counts(certificates).items()}
    failing = {
        i: sorted(name(c.target) for c in certificates if any(f.severity == "fail" for f in c.of(i))) for i in table
    }
    return {
        "found": len(expanded.tasks) + len(expanded.skipped),
        "checked": len(certificates),
        "traced": sum(c.reference == "ball" for c in certificates),
        "not_checked": dict(Counter(map(kind, skipped.values())).most_common()),
        "verdicts": {v: sum(c.verdict == v for c in certificates) for v in ("pass", "warn", "fail")},
        "checks": table,
        "failing": {i: names for i, names in failing.items() if names},
        "seconds": round(sum(o.seconds for o in outcomes.values()), 1),
        "wall_seconds": round(time.perf_counter() - begin, 1) if not any(known.values()) else None,
    }


def progress(done: int, total: int, outcome: Outcome) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {total}: {name(outcome.target)[:40]:40}", end="", file=sys.stderr)


def version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def importable(targets: list[str]) -> bool:
    return all(importlib.util.find_spec(t.partition(".")[0].partition(":")[0]) is not None for t in targets)


# --- The page -----------------------------------------------------------------------------------------------


INTRODUCTION = """# Collections of activations, checked

What `actium check` says about collections of PyTorch activations that are in the package registry, as they are
installed. Counts and class names only; a finding's message, with the worst input and what to do, comes with the
command: `actium check torch_activation:Sine`.

Every class and function that a package shows was tried, each in a process of its own with {limits}. Arguments that a
constructor needs were guessed by name, and the certificates say which. What takes no tensor (losses, registries) or
does not keep its input's shape was not checked, and is counted as such.

A `fail` is judged by what a user of half precision would meet; `docs/checks.md` says what each check looks for and what
its severities mean. PyTorch's own activations are judged by the same rules, in the last row.

Measured {date}, {cpu}, {threads} threads, torch {torch}, by `benchmarks/third_party.py`.
"""


def rows(results: dict[str, dict]) -> list[str]:
    lines = [
        "| collection | version | found | checked | pass | warn | fail | not checked |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for collection, r in results.items():
        v = r["verdicts"]
        not_checked = ", ".join(f"{n} {why}" for why, n in r["not_checked"].items()) or "none"
        cells = (collection, r["version"], r["found"], r["checked"], v["pass"], v["warn"], v["fail"], not_checked)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def by_check(results: dict[str, dict]) -> list[str]:
    lines = ["| check | fail | warn | info | nothing | not run |", "|---|---|---|---|---|---|"]
    checks = next(iter(results.values()))["checks"]
    for check_id in checks:
        total = {s: sum(r["checks"][check_id][s] for r in results.values()) for s in SEVERITIES}
        if any(total[s] for s in SEVERITIES[:4]):
            lines.append(f"| `{check_id}` | {' | '.join(str(total[s]) for s in SEVERITIES)} |")
    return lines


def failing(results: dict[str, dict]) -> list[str]:
    lines = []
    for collection, r in results.items():
        if r["failing"]:
            lines += [f"### {collection} {r['version']}", ""]
            lines += [f"* `{check_id}`: {', '.join(names)}" for check_id, names in r["failing"].items()]
            lines.append("")
    return lines


def page(document: dict) -> str:
    results = document["collections"]
    head = INTRODUCTION.format(limits=document["limits"], **document["machine"])
    tables = [
        *rows(results),
        "",
        "## By check",
        "",
        "Targets of all collections, by the worst severity that the check found.",
        "",
    ]
    return "\n".join([head, *tables, *by_check(results), "", "## What fails", "", *failing(results)]).rstrip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="collections, all by default")
    parser.add_argument("--site", type=Path, help="a folder of packages, put on the path")
    parser.add_argument("--out", type=Path, help="keep certificates here, and do not repeat finished ones")
    options = parser.parse_args()
    if options.site is not None:
        sys.path.append(str(options.site.resolve()))
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        for distribution in options.names or COLLECTIONS:
            targets = COLLECTIONS[distribution]
            if not importable(targets):
                print(f"{distribution}: not installed")
                continue
            result = check(targets, (options.out or Path(temporary)) / distribution)
            results[distribution] = {"version": version(distribution), "targets": targets, **result}
            print(f"\r{distribution}: {result['checked']} of {result['found']} checked, {result['verdicts']}")
    document = {"machine": machine(), "limits": str(Limits()), "collections": results}
    (RESULTS / "collections.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    DOCS.write_text(page(document), encoding="utf-8")


if __name__ == "__main__":
    main()
