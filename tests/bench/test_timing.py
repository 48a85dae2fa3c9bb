"""The clock: everything takes its turn, and an interval holds what it says it holds."""

from __future__ import annotations

import functools
import random
import statistics
import time
from itertools import pairwise

import pytest

from actium.bench import Samples, interleaved
from actium.bench.timing import TURNS, median_interval


def calls_of(names: str, **options):
    order: list[str] = []
    calls = {name: lambda name=name: order.append(name) for name in names}
    return interleaved(calls, 0.0, repeats=1, **options), order


def test_every_turn_has_every_call_once_and_once_before_the_clock_starts():
    samples, order = calls_of("abc", turns=6)
    turns = [order[k : k + 6] for k in range(0, len(order), 6)]
    assert len(turns) == 6
    assert all(turn[::2] == turn[1::2] and sorted(turn[::2]) == ["a", "b", "c"] for turn in turns)
    assert {len(v) for v in samples.seconds.values()} == {6}


def test_no_call_always_follows_the_same_one():
    _, order = calls_of("abc", turns=6)
    before = {b for b, a in pairwise(order) if a == "a"}
    assert {"b", "c"} <= before


def test_short_calls_are_repeated_and_long_ones_are_not():
    samples = interleaved({"short": lambda: None, "long": lambda: sum(range(3_000_000))}, 0.0, turns=1)
    assert samples.repeats["short"] > 100
    assert samples.repeats["long"] <= 2


def test_turns_go_on_until_the_time_has_passed():
    few = interleaved({"sum": lambda: sum(range(1000))}, 0.0)
    many = interleaved({"sum": lambda: sum(range(1000))}, 0.1)
    assert len(few.seconds["sum"]) == TURNS < len(many.seconds["sum"])


def test_an_accelerator_is_waited_for_before_and_after():
    log: list[str] = []
    interleaved({"call": lambda: log.append("call")}, 0.0, turns=1, repeats=2, synchronise=lambda: log.append("wait"))
    assert log == ["wait", "call", "wait", "wait", "call", "call", "wait"]


def test_a_call_does_not_pay_for_what_the_one_before_it_left():
    left: list[str] = []

    def call(name: str, seconds: float) -> None:
        """The first call after another one's takes a hundred times as long."""
        time.sleep(seconds if left and left[-1] == name else 100 * seconds)
        left.append(name)

    samples = interleaved({n: functools.partial(call, n, 1e-4) for n in "ab"}, 0.0, turns=3, repeats=1)
    assert max(min(seconds) for seconds in samples.seconds.values()) < 5e-3


def test_a_slow_call_is_not_made_twice_for_one_time():
    made: list[int] = []
    interleaved({"slow": lambda: (time.sleep(0.06), made.append(1))}, 0.0, turns=2, repeats=1)
    assert len(made) == 2


def test_a_ratio_is_that_of_pairs():
    # The machine is ten times as slow in the second half: the medians' ratio would depend on where it starts.
    slow = [1.0] * 5 + [10.0] * 6
    samples = Samples({"a": tuple(2.0 * s for s in slow), "b": tuple(slow)}, {"a": 1, "b": 1})
    ratio = samples.ratio("a", "b")
    assert (ratio.low, ratio.median, ratio.high) == (2.0, 2.0, 2.0)


def test_spread_is_between_the_quartiles():
    samples = Samples({"a": (1.0, 2.0, 3.0, 4.0, 100.0)}, {"a": 1})
    spread = samples.spread("a")
    assert (spread.low, spread.median, spread.high) == (2.0, 3.0, 4.0)
    assert samples.least("a") == 1.0


@pytest.mark.parametrize("count", [6, 7, 12, 25, 60])
def test_the_interval_holds_the_median_at_least_as_often_as_it_says(count: int):
    source = random.Random(count)
    held = []
    for _ in range(2000):
        interval = median_interval([source.lognormvariate(0.0, 1.0) for _ in range(count)])
        held.append(interval.low <= 1.0 <= interval.high)
    # 2,000 trials: the standard error is half a per cent.
    assert 0.935 < statistics.mean(held) <= 1.0


@pytest.mark.parametrize("count", [25, 60])
def test_the_interval_is_not_wider_than_need_be(count: int):
    source = random.Random(count)
    held = []
    for _ in range(2000):
        interval = median_interval([source.gauss(0.0, 1.0) for _ in range(count)])
        held.append(interval.low <= 0.0 <= interval.high)
    assert statistics.mean(held) < 0.985


def test_few_values_are_all_inside():
    interval = median_interval([3.0, 1.0, 2.0])
    assert (interval.low, interval.median, interval.high) == (1.0, 2.0, 3.0)
    assert median_interval([5.0]).low == 5.0
