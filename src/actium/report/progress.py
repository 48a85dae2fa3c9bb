"""How far a run is, on a terminal.

Stage: outcomes → [bar].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from actium.report.clean import clean, shortened
from actium.report.terminal import console
from actium.running.jobs import Outcome
from actium.verify.certificate import Certificate


class Bar:
    """A bar on stderr that is gone when the run is over.

    Args:
        targets: What is to be done.
        show: Prints a certificate above the bar.
    """

    def __init__(self, targets: Sequence[str], show: Callable[[Certificate], None]) -> None:
        self._show = show
        self._screen = console(stderr=True)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(None), MofNCompleteColumn())
        self._progress = Progress(*columns, TimeElapsedColumn(), console=self._screen, transient=True)
        self._task = self._progress.add_task(self._text("checking", targets[0]), total=len(targets))

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def step(self, outcome: Outcome, ready: Sequence[Certificate]) -> None:
        """Move on, and print what can be printed in order."""
        if ready:
            self._progress.stop()
            for certificate in ready:
                self._show(certificate)
            self._progress.start()
        word = "not checked" if outcome.certificate is None else outcome.certificate.verdict
        self._progress.update(self._task, advance=1, description=self._text(word, outcome.target))

    def _text(self, word: str, target: str) -> str:
        return shortened(f"{word}: {clean(target)}", max(self._screen.width - 50, 20))
