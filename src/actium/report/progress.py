"""How far a run is, on a terminal.

Stage: outcomes, or steps → [bar].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from actium.report.clean import clean, shortened
from actium.report.terminal import console
from actium.running.jobs import Outcome
from actium.verify.certificate import Certificate


def _bar(screen: Console) -> Progress:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(None), MofNCompleteColumn())
    return Progress(*columns, TimeElapsedColumn(), console=screen, transient=True)


class Shown:
    """Whatever has a progress that is on the screen while it runs."""

    _progress: Progress

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


class Steps(Shown):
    """A bar on stderr for steps that say themselves what they do.

    Args:
        total: How many there are.
    """

    def __init__(self, total: int) -> None:
        self._screen = console(stderr=True)
        self._progress = _bar(self._screen)
        self._task = self._progress.add_task("", total=total)

    def at(self, done: int, what: str) -> None:
        """So many are done, and this goes on now."""
        text = shortened(clean(what), max(self._screen.width - 40, 20))
        self._progress.update(self._task, completed=done, description=text)


class Bar(Shown):
    """A bar on stderr that is gone when the run is over.

    Args:
        targets: What is to be done.
        show: Prints a certificate above the bar.
    """

    def __init__(self, targets: Sequence[str], show: Callable[[Certificate], None]) -> None:
        self._show = show
        self._screen = console(stderr=True)
        self._progress = _bar(self._screen)
        self._inside: dict[str, TaskID] = {}
        self._task = self._progress.add_task(self._text("checking", targets[0]), total=len(targets))

    def reach(self, target: str, done: int, total: int) -> None:
        """Show how far one target is, in a bar of its own."""
        if target not in self._inside:
            self._inside[target] = self._progress.add_task(self._text("all float32 inputs", target), total=total)
        self._progress.update(self._inside[target], completed=done, total=total)

    def step(self, outcome: Outcome, ready: Sequence[Certificate]) -> None:
        """Move on, and print what can be printed in order."""
        if outcome.target in self._inside:
            self._progress.remove_task(self._inside.pop(outcome.target))
        if ready:
            self._progress.stop()
            for certificate in ready:
                self._show(certificate)
            self._progress.start()
        word = "not checked" if outcome.certificate is None else outcome.certificate.verdict
        self._progress.update(self._task, advance=1, description=self._text(word, outcome.target))

    def _text(self, word: str, target: str) -> str:
        return shortened(f"{word}: {clean(target)}", max(self._screen.width - 50, 20))
