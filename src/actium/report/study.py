"""A study on a terminal.

Stage: study document → [text]. A row for each activation, a row for each pair, and the conclusion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from actium.report.clean import cleaned, shortened
from actium.report.terminal import number

_INDENT = (0, 0, 0, 2)
# A narrower terminal has no room for what a step costs.
_ALL_COLUMNS = 100


def study_view(document: Mapping[str, Any], width: int) -> RenderableType:
    """The whole study, in the width there is."""
    document = cleaned(document)
    plan, summary = document["plan"], document["summary"]
    rows, pairs = summary["activations"], summary["pairs"]
    parts: list[RenderableType] = [Text(head(plan), style="bold"), Padding(_table(summary, width), _INDENT)]
    learned = [r for r in rows if r["learned"]]
    if learned:
        parts.append(Padding(_learned_table(learned), _INDENT))
    if pairs:
        parts += [Text(), Padding(_pair_table(pairs, width), _INDENT)]
    parts += [Text(), Text(summary["conclusion"], style="bold")]
    return Group(*parts)


def head(plan: Mapping[str, Any]) -> str:
    """What was trained, in a line."""
    runs = "1 seed" if plan["seeds"] == 1 else f"{plan['seeds']} seeds"
    form = ", formulas as written" if plan["plain"] else ""
    return f"{plan['task']}, {plan['network']}, {plan['dtype']}, {plan['epochs']} epochs, {runs}{form}"


def spread(interval: Sequence[float] | None) -> str:
    """An interval, as far as there is one.

    Example:
        >>> spread([0.97, 0.98]), spread(None)
        ('[0.9700, 0.9800]', '')
    """
    return "" if interval is None else f"[{decimals(interval[0])}, {decimals(interval[1])}]"


def decimals(value: float | None) -> str:
    """A metric or a difference of two: enough places for an accuracy, and no more.

    Example:
        >>> decimals(0.97881), decimals(-1.1e-17), decimals(None)
        ('0.9788', '0.0000', 'none')
    """
    return "none" if value is None else f"{round(value, 4) + 0.0:.4f}"


def troubles(row: Mapping[str, Any]) -> str:
    """What did not go to its end, in words."""
    words = ("diverged", "pruned", "failed")
    return ", ".join(f"{row[w]} {w}" for w in words if row[w])


def milliseconds(seconds: float | None) -> str:
    """A step's time."""
    return "" if seconds is None else f"{1000 * seconds:.3g} ms"


def size(count: float | None) -> str:
    """Bytes in binary units.

    Example:
        >>> size(84996), size(None)
        ('83 KiB', '')
    """
    if count is None:
        return ""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} GiB"


def _loss(value: float | None) -> str:
    return "none" if value is None else number(value)


def _plain_table() -> Table:
    return Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)


def _table(summary: Mapping[str, Any], width: int) -> Table:
    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        summary["metric"]: lambda row: decimals(row["mean"]),
        "95 % interval": lambda row: spread(row["interval"]),
        "loss": lambda row: _loss(row.get("train_loss")),
        "held out": lambda row: _loss(row["loss"]),
        "step": lambda row: milliseconds(row["step_seconds"]),
        "kept": lambda row: size(row["kept_bytes"]),
        "dead": lambda row: "" if row["dead"] is None else f"{row['dead']:.0%}",
    }
    if width < _ALL_COLUMNS:
        del columns["step"], columns["kept"]
    table = _plain_table()
    table.add_column("activation", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for row in summary["activations"]:
        name = shortened(row["activation"], max(width - 70, 20))
        table.add_row(name, *(cell(row) for cell in columns.values()), Text(troubles(row), style="bold red"))
    return table


def _learned_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = _plain_table()
    table.add_column("learned", no_wrap=True)
    table.add_column("at place.name, from start to end", overflow="fold")
    for row in rows:
        values = (f"{n} {number(v['start'])} → {number(v['end'])}" for n, v in row["learned"].items())
        table.add_row(shortened(row["activation"], 30), ", ".join(values))
    return table


def _pair_table(pairs: Sequence[Mapping[str, Any]], width: int) -> Table:
    table = _plain_table()
    table.add_column("difference", no_wrap=True)
    for name in ("mean", "95 % interval", "p (Holm)"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    room = max((width - 60) // 2, 10)
    for pair in pairs:
        names = f"{shortened(pair['a'], room)} − {shortened(pair['b'], room)}"
        mean = decimals(pair["difference"])
        p = "none" if pair["p_holm"] is None else f"{pair['p_holm']:.2g}"
        shown = Text("shown", style="bold") if pair["better"] else Text("not shown", style="dim")
        table.add_row(names, mean, spread(pair["interval"]), p, shown)
    return table
