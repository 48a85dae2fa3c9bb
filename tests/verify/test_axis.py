"""The axis: every finite number has one bin, and the bins are where they are said to be."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from actium.verify.axis import Run, edges, place, runs, segments
from actium.verify.encodings import finite_encodings, format_of, stratified
from actium.verify.profile import bins


def ends_of(name: str) -> list[float]:
    fmt = format_of(name)
    return edges(segments(fmt.min_exponent, fmt.max_exponent))


@pytest.mark.parametrize(("name", "count", "smallest"), [("float16", 496, 128), ("bfloat16", 734, 16)])
def test_every_encoding_lies_in_its_bin(name: str, count: int, smallest: int):
    fmt, ends = format_of(name), np.array(ends_of(name))
    x = finite_encodings(fmt.dtype).double().numpy()
    where, total = bins(x, fmt)
    assert total == count
    assert (np.diff(where) >= 0).all()
    side = count // 2
    inner = np.where(where >= side, where - side, side - 1 - where)
    assert ((ends[inner] <= np.abs(x)) & (np.abs(x) < ends[inner + 1])).all()
    assert np.bincount(where, minlength=count).min() == smallest
    assert np.bincount(where, minlength=count).max() == 128


def test_every_bin_of_float32_has_a_sampled_number():
    fmt = format_of("float32")
    where, total = bins(stratified(fmt.dtype).double().numpy(), fmt)
    assert set(where.tolist()) == set(range(total))


def test_zeros_are_on_both_sides():
    where, total = bins(np.array([-0.0, 0.0]), format_of("float16"))
    assert where.tolist() == [total // 2 - 1, total // 2]


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32"])
def test_edges_increase_to_the_end_of_the_format(name: str):
    ends = ends_of(name)
    assert ends[0] == 0.0
    assert all(a < b for a, b in itertools.pairwise(ends))
    assert ends[-1] == math.ldexp(1.0, format_of(name).max_exponent) * 2
    assert {2.0**-8, 1.0, 11.0, 128.0} <= set(ends)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_place_agrees_with_the_bins_and_is_odd(name: str):
    ends = ends_of(name)
    x = finite_encodings(format_of(name).dtype).double().numpy()[::97]
    where, total = bins(x, format_of(name))
    for value, at in zip(x.tolist(), where.tolist(), strict=True):
        spot = place(value, ends)
        assert spot + place(-value, ends) == pytest.approx(total)
        assert at <= spot <= at + 1
    assert place(math.inf, ends) == total


def test_a_run_knows_its_numbers():
    ends = [0.0, 0.5, 1.0, 2.0]
    assert runs("aabbbc") == [Run("a", 0, 2), Run("b", 2, 5), Run("c", 5, 6)]
    assert [r.interval(ends) for r in runs("aabbbc")] == [(-2.0, -0.5), (-0.5, 1.0), (1.0, 2.0)]
    assert runs("") == []
