"""What `actium bench` measured, on a terminal.

Stage: report → [text]. In: a report of cells. Out: Rich renderables; on a narrow terminal, memory and differences are
left to `--json`. Numbers are made text here, for the page, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from actium.bench.cold import ELEMENTS
from actium.bench.grid import size_text
from actium.report.clean import clean, shortened
from actium.report.terminal import number, pairs

if TYPE_CHECKING:
    from actium.bench.cases import Case
    from actium.bench.cells import Cell, Result
    from actium.bench.records import Report
    from actium.bench.timing import Interval

PASSES = {"forward": "forward, without gradients", "backward": "backward", "both": "forward and backward"}
NOTE = (
    "A ratio is the other's time over the target's, pair by pair, with the 95 % interval of its median: above 1 the "
    "target is faster. The floor is what the bytes that have to be read and written take at the bandwidth of the "
    "fastest copy of a tensor of the same size."
)
_WIDE = 98
_NAME_WIDTH = 24
_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


# --- Text of numbers ---------------------------------------------------------------------------------------


def time_text(seconds: float) -> str:
    """A time in three digits.

    Example:
        >>> time_text(0.0004123), time_text(12.0), time_text(2.5e-9)
        ('412 µs', '12.0 s', '2.50 ns')
    """
    size, unit = next((u for u in _UNITS if seconds >= u[0]), _UNITS[-1])
    value = seconds / size
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"


def quartiles_text(seconds: Interval) -> str:
    """How far the middle half of all times is spread.

    Example:
        >>> from actium.bench.timing import Interval
        >>> quartiles_text(Interval(1.0, 0.98, 1.05))
        '−2 % +5 %'
    """
    down, up = (abs(end / seconds.median - 1) for end in (seconds.low, seconds.high))
    return f"−{100 * down:.0f} % +{100 * up:.0f} %"


def ratio_text(value: float) -> str:
    """A ratio of times.

    Example:
        >>> ratio_text(1.8123), ratio_text(31.66), ratio_text(0.0123)
        ('1.81×', '31.7×', '0.012×')
    """
    return f"{value:.{3 if value < 0.1 else 2 if value < 10 else 1 if value < 1000 else 0}f}×"


def interval_text(ratio: Interval) -> str:
    """The interval of a ratio."""
    return f"{ratio_text(ratio.low)[:-1]} to {ratio_text(ratio.high)[:-1]}"


def share_text(share: float) -> str:
    """A share of the copy's bandwidth."""
    return f"{100 * share:.{0 if share >= 0.1 else 1}f} %"


def bytes_text(count: float) -> str:
    """A number of bytes.

    Example:
        >>> bytes_text(20 << 20), bytes_text(500)
        ('20.0 MiB', '500 B')
    """
    for size, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"


def per_element(count: float | None) -> str:
    """Bytes for each element."""
    return "" if count is None else number(round(count, 2))


def floor_text(cell: Cell) -> str:
    """What the floor of a cell is made of."""
    speed = cell.bandwidth / 1e9
    return f"{bytes_text(cell.bytes)} have to move: {time_text(cell.floor)} at {speed:.3g} GB/s ({cell.copy})"


def place_text(cell: Cell) -> str:
    """Where a cell is in the grid."""
    spot = cell.spot
    return f"{PASSES[spot.which]}, {spot.dtype}, {size_text(spot.elements)} elements, {spot.device}"


# --- Views -------------------------------------------------------------------------------------------------


def report_view(report: Report, width: int) -> RenderableType:
    """Everything, target by target."""
    parts: list[RenderableType] = []
    for case in report.cases:
        cells = [c for c in report.cells if c.target == case.target]
        if cells or not report.interrupted:
            parts += [*_target(report, case, cells, width), Text()]
    parts.append(Text(NOTE, style="dim"))
    return Group(*parts)


def _target(report: Report, case: Case, cells: Sequence[Cell], width: int) -> Iterator[RenderableType]:
    yield Text(shortened(clean(case.target), width), style="bold")
    yield pairs((_short(c.name), clean(c.what)) for c in case.contenders)
    for cell in cells:
        yield Text()
        yield Text(f"  {place_text(cell)}")
        if cell.results:
            yield Text(f"  {floor_text(cell)}", style="dim")
            yield Padding(_cell_table(case, cell, width), (0, 0, 0, 2))
        yield from (Text(f"  not measured: {clean(n)}: {clean(why)}", style="yellow") for n, why in cell.failed.items())
    means = report.means(case.target)
    if means and len(cells) > 1:
        shown = ", ".join(f"{clean(name)} {ratio_text(value)}" for name, value in means.items())
        yield Text()
        yield Text(f"  geometric mean of {len(cells)} cells: {shown}", style="bold")
    starts = [c for c in report.cold if c.target == case.target]
    if starts:
        yield Text()
        yield Text(f"  first call in a fresh process, empty caches, forward and backward of {ELEMENTS:,} elements")
        yield pairs(
            (f"{_short(c.contender)}, {c.dtype}", clean(c.reason) if c.seconds is None else time_text(c.seconds))
            for c in starts
        )


def _short(name: str) -> str:
    return shortened(clean(name), _NAME_WIDTH)


def _cell_table(case: Case, cell: Cell, width: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    first = case.contenders[0].name
    wide = width >= _WIDE
    memory = wide and any(r.peak is not None for r in cell.results.values())
    table.add_column("", no_wrap=True)
    heads = ["time", "quartiles", f"× {first}", "95 %", "of copy"]
    for head in [*heads, *(["keeps", "peak B/el"] if memory else []), *(["differs by"] if wide else [])]:
        table.add_column(head, justify="right", no_wrap=True)
    for name, result in cell.results.items():
        row = [time_text(result.seconds.median), quartiles_text(result.seconds), *_ratio_cells(result)]
        row.append(share_text(result.share))
        row += [per_element(result.saved), per_element(result.peak)] if memory else []
        row += ["" if result.difference is None else f"{result.difference:.2g}"] if wide else []
        table.add_row(Text(_short(name), style="bold" if result.ratio is None else ""), *row)
    return table


def _ratio_cells(result: Result) -> tuple[Text | str, str]:
    if result.ratio is None:
        return "", ""
    # Green only where the interval leaves no doubt.
    style = "green" if result.ratio.low > 1 else "red" if result.ratio.high < 1 else ""
    return Text(ratio_text(result.ratio.median), style=style), interval_text(result.ratio)
