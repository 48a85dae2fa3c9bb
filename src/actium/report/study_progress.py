"""How far a study is, on a terminal.

Stage: results so far → [bar].
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from actium.report.clean import clean, shortened
from actium.report.progress import Shown
from actium.report.terminal import console, number
from actium.train.plan import Cell


class Bar(Shown):
    """A bar on stderr with the mean of each activation so far; it is gone when the study is over.

    Args:
        cells: What is to be trained.
    """

    def __init__(self, cells: Sequence[Cell]) -> None:
        self._names = list(dict.fromkeys(c.activation for c in cells))
        self._screen = console(stderr=True)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(None), MofNCompleteColumn())
        self._progress = Progress(*columns, TimeElapsedColumn(), console=self._screen, transient=True)
        self._task = self._progress.add_task("starting workers", total=len(cells))

    def show(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        """Show what is finished."""
        means = []
        for name in self._names:
            found = [r["metric"] for r in results.values() if r["activation"] == name and r["metric"] is not None]
            means += [f"{clean(name)} {number(statistics.fmean(found))}"] if found else []
        text = shortened(", ".join(means) or "starting workers", max(self._screen.width - 45, 16))
        self._progress.update(self._task, completed=len(results), description=text)
