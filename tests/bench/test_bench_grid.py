"""Sizes, formats and passes as they are typed."""

from __future__ import annotations

import pytest

from actium.bench.grid import Grid, grid_of, size_text
from actium.errors import BenchError


def test_values_are_repeated_or_separated_by_commas():
    grid = grid_of(["1000,64Ki", "1Mi"], ["float16"], ["cpu"], ["forward", "both"])
    assert grid == Grid((1000, 1 << 16, 1 << 20), ("float16",), ("cpu",), ("forward", "both"))
    assert len(grid) == len(list(grid)) == 6


def test_what_is_given_twice_is_measured_once():
    assert len(grid_of(["64Ki,65536"], ["float32,float32"])) == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sizes": ["64k"]}, "--size 64k: expected a number of elements"),
        ({"sizes": ["0"]}, "--size 0"),
        ({"sizes": ["-1"]}, "--size -1"),
        ({"sizes": [","]}, "--size: got nothing"),
        ({"sizes": ["9" * 40]}, "--size 999"),
        ({"sizes": ["999Gi"]}, "choose a smaller one"),
        ({"dtypes": ["float23"]}, "did you mean float32"),
        ({"dtypes": ["int8"]}, "there are: float16"),
        ({"passes": ["forwards"]}, "did you mean forward"),
        ({"passes": [""]}, "--pass: got nothing"),
        ({"devices": [","]}, "--device: got nothing"),
    ],
)
def test_what_cannot_be_measured_is_said(options, says: str):
    with pytest.raises(BenchError) as error:
        grid_of(**options)
    assert says in str(error.value)


@pytest.mark.parametrize("elements", [1, 1000, 1024, 1 << 20, 3 << 29, 1 << 31])
def test_sizes_are_read_as_they_are_written(elements: int):
    assert grid_of([size_text(elements)], ["float16"], ["cuda"]).sizes == (elements,)
