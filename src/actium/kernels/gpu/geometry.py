"""How the elements of (outer, channels, inner) are shared out among the programs of a rows kernel.

Stage: launching. In: a shape. Out: the numbers that the kernel takes. They depend on the shape alone, because the order
in which parameter gradients are added up follows from them.
"""

from __future__ import annotations

from dataclasses import dataclass

from actium.kernels.gpu.printing import LANES

# Enough programs to fill every processor of today's devices.
PROGRAMS = 1024
# A program that sums handles so many blocks at least: it writes a double for each of its lanes.
SUMMED = 8
# From so long a row on, a program keeps to one channel: at most a fifth of its lanes is idle.
LONG = 4 * LANES


@dataclass(frozen=True)
class Geometry:
    """The numbers of a launch.

    Attributes:
        by_channel: A program handles pieces of one channel; else each of its lanes keeps a column, and so a channel.
        period: After how many elements the channels repeat; for columns, several times over.
        pieces: How many blocks one row of one channel has.
        tiles: How many programs share a period.
        items: How many blocks each tile has.
        steps: How many of these one program handles.
        partial_rows: How many partial sums one place of a period has.
        partial_inner: How many places of a period belong to one channel.
    """

    total: int
    channels: int
    inner: int
    by_channel: bool
    period: int
    pieces: int
    tiles: int
    items: int
    steps: int
    partial_rows: int
    partial_inner: int

    @property
    def groups(self) -> int:
        """How many programs share the items of a tile."""
        return _ceil(self.items, self.steps)

    @property
    def partials(self) -> int:
        """How many partial sums there are for each parameter."""
        return self.partial_rows * self.channels * self.partial_inner


def geometry(outer: int, channels: int, inner: int, summed: bool) -> Geometry:
    """The geometry of a shape with at least one element, with or without sums for each channel."""
    total, once = outer * channels * inner, channels * inner
    if channels == 1 or inner >= LONG:
        pieces = _ceil(inner, LANES)
        items = outer * pieces
        steps = _steps(items, channels, summed)
        groups = _ceil(items, steps)
        return Geometry(total, channels, inner, True, once, pieces, channels, items, steps, groups, LANES)
    copies = _copies(outer, once)
    period = once * copies
    tiles, items = _ceil(period, LANES), _ceil(total, period)
    steps = _steps(items, tiles, summed)
    rows = _ceil(items, steps) * copies
    return Geometry(total, channels, inner, False, period, 1, tiles, items, steps, rows, inner)


def _steps(items: int, tiles: int, summed: bool) -> int:
    return min(items, max(SUMMED if summed else 1, _ceil(items * tiles, PROGRAMS)))


def _copies(outer: int, once: int) -> int:
    """So many that rows begin at multiples of 16 and hardly a lane is idle, but not so many that few rows are left."""
    wanted = 16 * _ceil(8 * LANES, 16 * once) if once % 16 or once < 8 * LANES else 1
    return max(1, min(wanted, outer // SUMMED))


def _ceil(a: int, b: int) -> int:
    return -(-a // b)
