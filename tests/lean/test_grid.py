"""The grid of slopes: it covers the range with 255 points, and 0 and the limits are points if they can be."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from actium.lean.grid import LAST, make_grid

SLOPES = st.integers(-(2**20), 2**20).map(lambda k: k / 2**14)


@settings(max_examples=200, deadline=None)
@given(SLOPES, SLOPES, SLOPES, SLOPES)
def test_every_slope_is_within_half_a_step_of_a_point(a: float, b: float, limit: float, slope: float):
    low, high = min(a, b), max(a, b)
    grid = make_grid(low, high, (limit,))
    *points, last = grid.table()
    assert (len(points), math.isnan(last)) == (LAST + 1, True)
    slope = min(max(slope, low), high)
    origin, inverse, zero = grid.encoder
    code = int(min(max((slope - origin) * inverse + zero, 0.0), LAST) + 0.5)
    tolerance = 1e-9 * max(abs(low), abs(high))
    assert abs(points[code] - slope) <= grid.step / 2 * (1 + 1e-6) + tolerance
    assert min(abs(p - slope) for p in points) >= abs(points[code] - slope) - grid.step * 1e-6 - tolerance
    # A grid that is aligned is hardly wider than one that is not.
    assert grid.step <= (high - low) / LAST * 1.04 + tolerance
    assert not low <= 0 <= high or 0.0 in points


def test_the_limits_of_the_usual_functions_are_points():
    for low, high in ((-0.129, 1.129), (-0.0998, 1.0998), (0.0, 1.0), (-0.5, 1.5)):
        points = make_grid(low, high, (0.0, 1.0)).table()
        assert 0.0 in points
        assert 1.0 in points


def test_one_slope_is_one_point():
    grid = make_grid(1.0, 1.0, (1.0, 1.0))
    assert (grid.step, set(grid.table()[:-1])) == (0.0, {1.0})
