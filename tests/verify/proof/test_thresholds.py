"""Overflow and underflow against the numbers of the half formats."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from actium.symbolic.parse import parse
from actium.verify.encodings import FORMATS, finite_encodings, format_of
from actium.verify.oracle import Oracle
from actium.verify.proof import Threshold, prove
from actium.verify.proof.thresholds import index_below, largest_index, number_at

FUNCTIONS = ["silu(x)", "gelu(x)", "tanh(x)", "exp(x)", "where(x <= 0, 0, x**2)", "x**3", "softsign(x)"]
FUNCTIONS += ["relu(x)", "x*x*sigmoid(x)", "softplus(x)", "sigmoid(-abs(x))", "1e-3*x", "where(x > 300, 70000*x, x)"]


def rounded(values: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    return torch.from_numpy(values).to(dtype).double().numpy()


def some_numbers(dtype: torch.dtype, edges: set[float]) -> np.ndarray:
    """One number in 41, and all the neighbours of the edges: an edge that is off by one number is seen."""
    x = finite_encodings(dtype).double().numpy()
    chosen = set(range(0, len(x), 41)) | {len(x) - 1}
    for edge in edges:
        at = int(np.searchsorted(x, edge))
        chosen |= set(range(max(at - 3, 0), min(at + 4, len(x))))
    return x[sorted(chosen)]


def outermost(x: np.ndarray, hit: np.ndarray) -> float | None:
    """The number with the smallest magnitude from which on, outwards, all are hit."""
    order = np.argsort(np.abs(x))
    missed = np.flatnonzero(~hit[order])
    first = int(missed[-1]) + 1 if missed.size else 0
    return float(x[order][first]) if first < len(x) else None


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("text", FUNCTIONS)
def test_thresholds_are_those_of_a_sweep(text: str, dtype: str) -> None:
    fmt = format_of(dtype)
    found = {(t.quantity, t.becomes, t.x > 0): t.x for t in prove(parse(text)).thresholds if t.dtype == dtype}
    x = some_numbers(fmt.dtype, set(found.values()))
    table = Oracle(parse(text)).table(x)
    for quantity, exact in (("output", table.value), ("gradient", table.slope)):
        got = rounded(exact, fmt.dtype)
        for right in (False, True):
            side = (x > 0) == right if right else x < 0
            near = int(np.argmin(np.abs(np.abs(x[side]) - 20.0)))
            zero_everywhere = exact[side][near] == 0  # not by underflow
            for becomes, hit in (
                ("inf", np.isinf(got)),
                ("subnormal", np.abs(got) < fmt.smallest_normal),
                ("0", got == 0),
            ):
                expected = outermost(x[side], hit[side]) if not zero_everywhere else None
                assert found.get((quantity, becomes, right)) == expected, (quantity, becomes, right)


def test_float32_thresholds_are_exact_to_the_neighbour() -> None:
    (x,) = [
        t.x
        for t in prove(parse("exp(x)")).thresholds
        if (t.dtype, t.quantity, t.becomes) == ("float32", "output", "inf")
    ]
    inside = float(np.nextafter(np.float32(x), np.float32(0)))
    limit = math.log(float(np.finfo(np.float32).max) + 2.0**103)
    assert inside < limit <= x


def test_squared_relu_overflows_float16_beyond_255_9() -> None:
    found = prove(parse("where(x <= 0, 0, x**2)")).thresholds
    assert Threshold("float16", "output", "inf", 256.0) in found
    assert not [t for t in found if t.x < 0]


def test_a_function_that_is_0_does_not_underflow() -> None:
    assert prove(parse("relu(x)")).thresholds == ()


@pytest.mark.parametrize("fmt", list(FORMATS.values())[:3], ids=lambda f: f.name)
def test_places_in_the_order_of_a_format(fmt) -> None:
    assert number_at(fmt, 0) == 0
    assert number_at(fmt, 1) == math.ldexp(1.0, fmt.min_exponent - fmt.significand_bits + 1)
    assert number_at(fmt, largest_index(fmt)) == fmt.largest
    for value in (1.0, 1.37, 3e-5, 60000.0):
        below = number_at(fmt, index_below(fmt, value))
        assert below <= value < number_at(fmt, index_below(fmt, value) + 1)
        assert float(torch.tensor(below, dtype=fmt.dtype)) == below
