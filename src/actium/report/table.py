"""What a run found, by check id.

Stage: certificates → [table].
In: certificates, and what was not checked. Out: for each check id, on how many targets it found something, by the worst
severity there, on how many it found nothing, and on how many it did not run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from actium.verify.checks import REGISTRY

if TYPE_CHECKING:
    from actium.verify.certificate import Certificate

_SEVERITIES = ("fail", "warn", "info")
_STYLE = {"fail": "bold red", "warn": "bold yellow", "info": "cyan"}


@dataclass
class Counts:
    """Numbers of targets for one check id.

    Attributes:
        fail: With a `fail`.
        warn: With a `warn` at worst.
        info: With an `info` at worst.
        nothing: Where it ran and found nothing.
        not_run: Where it did not run.
    """

    fail: int = 0
    warn: int = 0
    info: int = 0
    nothing: int = 0
    not_run: int = 0


def counts(certificates: Sequence[Certificate]) -> dict[str, Counts]:
    """The numbers for each check id, in the order of the registry.

    Example:
        >>> from actium.verify.certificate import Certificate
        >>> counts([Certificate("f", None, "float64", checks_run=("dtype-leak",))])["dtype-leak"]
        Counts(fail=0, warn=0, info=0, nothing=1, not_run=0)
    """
    table = {i: Counts() for i in REGISTRY}
    for certificate in certificates:
        for check, row in table.items():
            found = {f.severity for f in certificate.of(check)}
            worst = next((s for s in _SEVERITIES if s in found), None)
            name = worst or ("nothing" if check in certificate.checks_run else "not_run")
            setattr(row, name, getattr(row, name) + 1)
    return table


def table_view(certificates: Sequence[Certificate], not_checked: Mapping[str, str]) -> RenderableType:
    """The table; checks that ran nowhere are named below it, with nothing to count."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("targets by check", no_wrap=True)
    for name in (*_SEVERITIES, "nothing", "not run"):
        table.add_column(name, justify="right")
    idle = []
    for check, row in counts(certificates).items():
        if row.not_run == len(certificates):
            idle.append(check)
            continue
        cells = [
            Text(str(n or "·"), style=_STYLE[s] if n else "dim") for s in _SEVERITIES if (n := getattr(row, s)) >= 0
        ]
        table.add_row(check, *cells, *(Text(str(n or "·"), style="dim") for n in (row.nothing, row.not_run)))
    parts: list[RenderableType] = [Padding(table, (0, 0, 0, 2))] if certificates else []
    if idle and certificates:
        parts.append(Padding(Text(f"ran nowhere: {', '.join(idle)}", style="dim"), (0, 0, 0, 2)))
    if not_checked:
        targets = "1 target" if len(not_checked) == 1 else f"{len(not_checked)} targets"
        parts.append(Padding(Text(f"not checked: {targets}", style="bold"), (0, 0, 0, 2)))
    return Group(*parts)


def _cell(count: int, style: str) -> Text:
    return Text(str(count), style=style) if count else Text("·", style="dim")
