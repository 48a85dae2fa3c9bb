"""A study as one HTML page.

Stage: study document → [HTML]. In: what `--json` writes. Out: text without scripts and remote parts, in the style of
the checker's pages. Whatever is printed is cleaned, shortened and escaped on the way.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from actium.report.clean import clean, shortened
from actium.report.html import rendered
from actium.report.study import decimals, head, milliseconds, size, spread, troubles
from actium.report.study_svg import curves, intervals, key
from actium.report.terminal import number

# A picture of more lines than this cannot be read; the tables have all.
_LINES = 16
# With its key: a piece of each line, and what it stands for.
_Picture = tuple[Markup, list[tuple[Markup, str]]]


def page(document: Mapping[str, Any]) -> str:
    """One self-contained page.

    Args:
        document: The JSON object of a study.

    Returns:
        An HTML document.
    """
    summary, cells = document["summary"], document["cells"]
    names = [r["activation"] for r in summary["activations"]]
    own = {name: [c for c in cells if c["activation"] == name] for name in names}
    values: dict[str, Any] = {
        "plan": document["plan"],
        "head": head(document["plan"]),
        "summary": summary,
        "shown": any(p["better"] for p in summary["pairs"]),
        "rows": summary["activations"],
        "learned": [r for r in summary["activations"] if r["learned"]],
        "pictures": _pictures(summary, {name: own[name] for name in names[:_LINES]}),
        "ends": [(c["activation"], c["seed"], why) for c in cells if (why := c.get("error") or c.get("diverged"))][
            :100
        ],
        "environment": document["environment"],
        "spread": spread,
        "troubles": troubles,
        "milliseconds": milliseconds,
        "size": size,
        "decimals": decimals,
        "plain": lambda value: "none" if value is None else number(value),
    }
    return "".join(rendered("study.html.j2", values))


def _pictures(summary: Mapping[str, Any], own: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[_Picture]:
    metric = summary["metric"]
    ends = {r["activation"]: r["interval"] for r in summary["activations"]}
    rows = [
        (shortened(clean(name), 18), [c["metric"] for c in cells if c["metric"] is not None], ends[name])
        for name, cells in own.items()
    ]
    pictures: list[_Picture] = [(intervals(f"{metric}: seeds, mean and 95 % interval", rows), [])]
    for field, title in (("train_loss", "training loss"), ("test_loss", "held-out loss"), ("metric", metric)):
        lines = {name: _middle([c["curve"] for c in cells if c.get("curve")], field) for name, cells in own.items()}
        picture = curves(f"{title} after each epoch, median over seeds", lines, log=field != "metric")
        pictures.append((picture, _keys(lines)))
    parameters = _trajectories(own)
    if parameters:
        picture = curves("learned parameters after each epoch, median over seeds", parameters, low_x=0)
        pictures.append((picture, _keys(parameters)))
    return pictures


def _keys(lines: Iterable[str]) -> list[tuple[Markup, str]]:
    return [(key(k), name) for k, name in enumerate(lines)]


def _middle(curves_: Sequence[Sequence[Mapping[str, Any]]], field: str) -> list[float | None]:
    """The median over seeds after each epoch, as long as there is a run that got there."""
    found: list[float | None] = []
    for epoch in range(max(map(len, curves_), default=0)):
        values = [c[epoch][field] for c in curves_ if epoch < len(c) and c[epoch][field] is not None]
        found.append(statistics.median(values) if values else None)
    return found


def _trajectories(own: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[float | None]]:
    lines: dict[str, list[float | None]] = {}
    for name, cells in own.items():
        runs = [c["learned"] for c in cells if c.get("learned")]
        for parameter in runs[0] if runs else ():
            columns = [r[parameter] for r in runs if parameter in r]
            steps = [[v for v in column if v is not None] for column in zip(*columns, strict=False)]
            lines[f"{name} {parameter}"] = [statistics.median(s) if s else None for s in steps]
    return dict(list(lines.items())[:_LINES])
