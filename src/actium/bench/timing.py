"""Times of several calls, taken in turns.

Stage: calls → [timing] → cells. In: calls without arguments. Out: seconds of each, turn by turn.
A machine that slows down for a second slows all of them: what is compared is compared within a turn, and the ratio's
interval comes from those pairs. Knows nothing of tensors.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

# The fewest pairs from which a median's 95 % interval can be told: 1 − 2/2⁶ = 97 %; five give 94 %.
TURNS = 6
# A turn repeats a short call until it takes this long: the clock's own resolution and cost are then below 0.1 %.
_LEAST_SECONDS = 1e-3
# A call this slow is warm after one more; a short one gets three.
_SLOW_SECONDS = 0.05


@dataclass(frozen=True)
class Interval:
    """A number and how far it can be trusted.

    Attributes:
        median: The middle one of all.
        low: The lower end.
        high: The upper end.
    """

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Samples:
    """What was measured: for each call the seconds of one call, turn by turn.

    Attributes:
        seconds: Name → one number for each turn; those of one place belong to one turn.
        repeats: Name → how many calls a number is the mean of.
    """

    seconds: Mapping[str, tuple[float, ...]]
    repeats: Mapping[str, int]

    def median(self, name: str) -> float:
        """The middle time of one call."""
        return statistics.median(self.seconds[name])

    def least(self, name: str) -> float:
        """The shortest time of one call: what it costs when nothing disturbs."""
        return min(self.seconds[name])

    def spread(self, name: str) -> Interval:
        """The middle time, between the quartiles."""
        values = self.seconds[name]
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        return Interval(self.median(name), low, high)

    def ratio(self, name: str, to: str) -> Interval:
        """How many times as long `name` takes as `to`: the median over the turns, with its 95 % interval.

        Example:
            >>> samples = Samples({"a": (2.0,) * 8, "b": (1.0,) * 8}, {"a": 1, "b": 1})
            >>> samples.ratio("a", "b")
            Interval(median=2.0, low=2.0, high=2.0)
        """
        return median_interval([a / b for a, b in zip(self.seconds[name], self.seconds[to], strict=True)])


def median_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """A median with its confidence interval, whatever the distribution.

    Each value is above the true median with chance ½, so the k-th smallest is above it as often as fewer than k of n
    coin tosses show heads.

    Args:
        values: Independent measurements, at least one; below `TURNS`, all of them are inside.
        confidence: How often such an interval holds the true median.

    Example:
        >>> median_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0])
        Interval(median=5.0, low=2.0, high=8.0)
    """
    ordered, count = sorted(values), len(values)
    outside, k = 0.0, 0
    while k < (count - 1) // 2:
        outside += 2 * math.comb(count, k) / 2**count
        if outside > 1 - confidence:
            break
        k += 1
    place = max(k - 1, 0)
    return Interval(statistics.median(ordered), ordered[place], ordered[count - 1 - place])


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    seconds: float = 1.0,
    *,
    turns: int = TURNS,
    repeats: int | None = None,
    synchronise: Callable[[], object] | None = None,
) -> Samples:
    """Time calls in turns, so that all of them see the same machine.

    Args:
        calls: Name → call. Each is called a few times before, so that nothing is built while the clock runs, and once
            in each turn before its time is taken: it does not pay for what the one before it left in the caches.
        seconds: How long, for each of them; turns go on until that has passed.
        turns: The fewest turns.
        repeats: How often to call within a turn; if not given, until a turn takes about a millisecond.
        synchronise: Waits for an accelerator; it is called before the clock is read.

    Returns:
        The seconds of one call each, turn by turn.

    Example:
        >>> samples = interleaved({"sum": lambda: sum(range(100)), "list": lambda: list(range(100))}, 0.01)
        >>> samples.median("sum") > 0, len(samples.seconds["sum"]) >= TURNS
        (True, True)
    """
    wait = synchronise or (lambda: None)
    counts = {name: repeats or _repeats(call, wait) for name, call in calls.items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    end = time.perf_counter() + seconds * len(calls)
    turn = 0
    while turn < turns or time.perf_counter() < end:
        # Forwards and backwards from another place each time, so that none always follows the same one.
        order = names[turn % len(names) :] + names[: turn % len(names)]
        for name in order if turn % 2 == 0 else reversed(order):
            samples[name].append(_turn(calls[name], counts[name], wait))
        turn += 1
    return Samples({name: tuple(values) for name, values in samples.items()}, counts)


def _turn(call: Callable[[], object], count: int, wait: Callable[[], object]) -> float:
    """Seconds of one call after calls of its own kind.

    The first finds the caches full of what the contender before it has read and written, and pays for that. One so slow
    that caches do not matter counts.
    """
    first = _seconds(call, 1, wait)
    return first if first > _SLOW_SECONDS else _seconds(call, count, wait)


def _seconds(call: Callable[[], object], count: int, wait: Callable[[], object]) -> float:
    wait()
    begin = time.perf_counter()
    for _ in range(count):
        call()
    wait()
    return (time.perf_counter() - begin) / count


def _repeats(call: Callable[[], object], wait: Callable[[], object]) -> int:
    """Call it until it is warm; how many calls fill a turn."""
    call()
    first = _seconds(call, 1, wait)
    if first > _SLOW_SECONDS:
        return 1
    call()
    return max(1, math.ceil(_LEAST_SECONDS / max(_seconds(call, 1, wait), 1e-7)))
