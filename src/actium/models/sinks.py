"""Where a monitor's records go: a file, a tracker, TensorBoard, a live table.

Stage: record → [sinks] → file, terminal, tracker. In: a step's number and its record. Out: nothing. Imports no tracker.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from actium.errors import ParameterError

Record = dict[str, dict[str, float]]


class Sink(Protocol):
    """Takes records until it is closed."""

    def write(self, step: int, record: Record) -> None:
        """Take one step's record."""

    def close(self) -> None:
        """Finish."""


def sink_of(target: Any) -> Sink:
    """The sink for a path, "live", a TensorBoard writer, or anything with `.log(dict, step=)`.

    Raises:
        ParameterError: If it is none of them.
    """
    if target == "live":
        return Live()
    if isinstance(target, str | Path):
        return JsonLines(Path(target))
    if callable(getattr(target, "add_scalar", None)):
        return _Scalars(lambda name, value, step: target.add_scalar(name, value, step))
    if callable(getattr(target, "log", None)):
        return _Log(target.log)
    raise ParameterError(
        f"a {type(target).__name__} cannot take records: give a path, 'live', a TensorBoard writer, or an object with "
        ".log(dict, step=…)"
    )


def flat(record: Record) -> dict[str, float]:
    """`actium/LAYER/METRIC` → number, as trackers like it."""
    return {f"actium/{layer}/{metric}": v for layer, values in record.items() for metric, v in values.items()}


class JsonLines:
    """One JSON object a line: {"step": 20, "layers": {"1": {"dead": 0.0, …}}}. Appends, and is flushed line by line."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, record: Record) -> None:
        """Append a line; a number that is not finite is written as a string, since JSON has none."""
        layers = {n: {k: _plain(v) for k, v in values.items()} for n, values in record.items()}
        self._file.write(json.dumps({"step": step, "layers": layers}, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


class _Scalars:
    def __init__(self, add: Callable[[str, float, int], Any]) -> None:
        self._add = add

    def write(self, step: int, record: Record) -> None:
        for name, value in flat(record).items():
            self._add(name, value, step)

    def close(self) -> None:
        pass


class _Log:
    def __init__(self, log: Callable[..., Any]) -> None:
        self._log = log

    def write(self, step: int, record: Record) -> None:
        self._log(flat(record), step=step)

    def close(self) -> None:
        pass


_COLUMNS = ("dead", "saturated", "mean", "std", "grad_rms", "not_finite")


class Live:
    """A table that is redrawn in place; on anything but a terminal it shows nothing."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        console = Console(stderr=True)
        self._live = RichLive(console=console, auto_refresh=False) if console.is_terminal else None
        if self._live is not None:
            self._live.start()

    def write(self, step: int, record: Record) -> None:
        """Redraw."""
        if self._live is not None:
            self._live.update(table(step, record), refresh=True)

    def close(self) -> None:
        """Leave the last table on the terminal."""
        if self._live is not None:
            self._live.stop()


def table(step: int, record: Record) -> Any:
    """A record as a Rich table."""
    from rich.table import Table

    made = Table(title=f"activations, step {step}")
    made.add_column("activation")
    for name in _COLUMNS:
        made.add_column(name, justify="right")
    for layer, values in record.items():
        made.add_row(layer, *(f"{values[c]:.3g}" if c in values else "" for c in _COLUMNS))
    return made
