"""The axis of a format, cut into bins, and the characters that stand for the error in a bin.

Stage: profile ↔ [axis] ↔ picture: what both must agree on. Loads neither torch nor numpy, so that a certificate can be
read and drawn without them.

The bins of the positive side are runs of binades, `[first, last, parts]`: the binades 2^first ≤ x < 2^(last + 1), each
in `parts` equal parts. The lowest binade is that of 0 and the subnormals. The negative side is the mirror image.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

UNKNOWN, FALSE_ZERO, NON_FINITE = "?", "0", "!"
LEVELS = "abcdefghijklmnopqrstuvwxyz"
# In the order in which one character of a bin wins over another.
ALPHABET = UNKNOWN + LEVELS + FALSE_ZERO + NON_FINITE
_PARTS = 8
# Where activations bend. In formats with hundreds of binades only these are divided: they would be a hair's breadth.
_INNER = (-8, 7)

Segments = Sequence[Sequence[int]]


def segments(min_exponent: int, max_exponent: int) -> list[list[int]]:
    """The bins of a format's positive side.

    Args:
        min_exponent: Exponent of its smallest normal number.
        max_exponent: Exponent of its largest.

    Example:
        >>> segments(-14, 15), segments(-126, 127)
        ([[-15, 15, 8]], [[-127, -9, 1], [-8, 7, 8], [8, 127, 1]])
    """
    first, last = _INNER
    if max_exponent - min_exponent < 4 * (last - first):
        return [[min_exponent - 1, max_exponent, _PARTS]]
    return [[min_exponent - 1, first - 1, 1], [first, last, _PARTS], [last + 1, max_exponent, 1]]


def edges(axis: Segments) -> list[float]:
    """The ends of the bins of the positive side, from 0 to the first power of two beyond the format.

    Example:
        >>> edges([[-1, 1, 2]])
        [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0]
    """
    lowest = axis[0][0]
    found = []
    for exponent, parts in ((e, n) for first, last, n in axis for e in range(first, last + 1)):
        start, end = (0.0 if exponent == lowest else 2.0**exponent), 2.0**exponent * 2
        found += [start + (end - start) * k / parts for k in range(parts)]
    return [*found, 2.0 ** axis[-1][1] * 2]


def place(x: float, ends: Sequence[float]) -> float:
    """Where a number lies on the whole axis, in bins from its left end.

    Example:
        >>> place(3.5, edges([[-1, 1, 2]])), place(-0.25, edges([[-1, 1, 2]]))
        (11.5, 5.5)
    """
    side = len(ends) - 1
    size = min(abs(x), ends[-1])
    at = min(bisect.bisect_right(ends, size) - 1, side - 1)
    return side + math.copysign(at + (size - ends[at]) / (ends[at + 1] - ends[at]), x)


class Run(NamedTuple):
    """Neighbouring bins with the same character (or of the same kind), from `start` up to before `stop`."""

    kind: str
    start: int
    stop: int

    def interval(self, ends: Sequence[float]) -> tuple[float, float]:
        """The numbers in it: both ends in order, on the axis whose positive side ends there."""
        side = len(ends) - 1
        low, high = self.start - side, self.stop - side
        return (math.copysign(ends[abs(low)], low or 1), math.copysign(ends[abs(high)], high or 1))


def runs(kinds: Iterable[str]) -> list[Run]:
    """Equal neighbours together.

    Example:
        >>> runs("aab")
        [Run(kind='a', start=0, stop=2), Run(kind='b', start=2, stop=3)]
    """
    found, at = [], 0
    for kind, members in itertools.groupby(kinds):
        count = sum(1 for _ in members)
        found.append(Run(kind, at, at + count))
        at += count
    return found
