"""Write the tables of docs/choosing.md and docs/mixed-precision.md from `benchmarks/results/`.

What stands between `<!-- table NAME -->` and `<!-- end -->` is replaced. Run: `python benchmarks/study_tables.py`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from common import command_line
from tables import ROOT, newest

PAGES = (ROOT / "docs" / "choosing.md", ROOT / "docs" / "mixed-precision.md")


def measured(result: dict) -> str:
    m = result["machine"]
    return f"{m['date']}, {m['cpu']}, torch {m['torch']}, Python {m['python']}"


def studies() -> str:
    """A table for each task, and what it showed."""
    result = newest("studies")
    parts = []
    for task, found in result["results"].items():
        plan, summary = found["plan"], found["summary"]
        head = f"**{task}**: {plan['network']}, {plan['epochs']} epochs, {plan['seeds']} seeds, {plan['dtype']}."
        lines = [head, "", f"| activation | {summary['metric']} | 95 % interval | diverged |", "|---|---|---|---|"]
        for row in summary["activations"]:
            low, high = row["interval"]
            ends = f"{low:.4f} to {high:.4f}"
            lines.append(
                f"| `{row['activation']}` | {row['mean']:.4f} | {ends} | {row['diverged']} of {row['cells']} |"
            )
        lines += ["", f"Shown: {summary['conclusion']}."]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, f"Measured {measured(result)}, by `benchmarks/studies.py`."])


def mixed_precision() -> str:
    """Runs that diverged, as written and in actium's form."""
    result = newest("mixed_precision")
    rows = {(r["formula"], r["pixels"], r["dtype"], r["form"]): r for r in result["results"]}
    lines = ["| formula | pixels | dtype | as written | actium's form |", "|---|---|---|---|---|"]
    for formula, pixels, dtype in dict.fromkeys(key[:3] for key in rows):
        cells = [_ending(rows[formula, pixels, dtype, form]) for form in ("as written", "actium")]
        lines.append(f"| `{formula}` | {pixels} | {dtype} | {' | '.join(cells)} |")
    return "\n".join(lines) + f"\n\nMeasured {measured(result)}, by `benchmarks/mixed_precision.py`."


def _ending(row: dict) -> str:
    if not row["diverged"]:
        return f"{row['accuracy']:.3f}"
    rest = "" if row["accuracy"] is None else f", {row['accuracy']:.3f}"
    return f"**{row['diverged']} of {row['seeds']} diverged**{rest}"


TABLES = {"studies": studies, "mixed-precision": mixed_precision}


def rendered(text: str) -> str:
    """A page with its tables made anew."""

    def replace(match: re.Match[str]) -> str:
        return f"<!-- table {match[1]} -->\n\n{TABLES[match[1]]()}\n\n<!-- end -->"

    return re.sub(r"<!-- table ([\w-]+) -->.*?<!-- end -->", replace, text, flags=re.DOTALL)


def main() -> int:
    options = command_line(__doc__)
    options.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a table is stale")
    check = options.parse_args().check
    old = [page.read_text(encoding="utf-8") for page in PAGES]
    new = [rendered(text) for text in old]
    if check:
        print("the tables are " + ("up to date" if new == old else "not those of benchmarks/results"))
        return int(new != old)
    for page, text in zip(PAGES, new, strict=True):
        Path(page).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
