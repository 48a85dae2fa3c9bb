"""Derive every polynomial coefficient of `src/actium/kernels/math.h`.

Each table is a weighted minimax polynomial, found by Remez exchange in ball arithmetic. The weight turns
the polynomial's error into the relative error of the function that uses it. Coefficients are rounded to
their storage format from the lowest power up, and the rest is fitted again after each rounding, so that
later coefficients absorb the rounding of earlier ones.

Run it to print the tables and the error that each leaves in exact arithmetic; with `--check` it fails if
the header holds other digits. It does not measure the rounding of the evaluation: the tests do.
"""

from __future__ import annotations

import argparse
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from flint import acb, arb, arb_mat, ctx

ctx.prec = 256
HEADER = Path(__file__).resolve().parent.parent / "src" / "actium" / "kernels" / "math.h"
GRID = 400
ROUNDS = 12
Function = Callable[[arb], arb]


@dataclass(frozen=True)
class Fit:
    """One table: approximate `target` on [low, high] so that weight * error is smallest."""

    name: str
    target: Function
    weight: Function
    low: arb
    high: arb
    degree: int
    double: bool = False
    fixed: tuple[float, ...] = field(default=())


def _nodes(low: arb, high: arb, count: int) -> list[arb]:
    middle, half = (low + high) / 2, (high - low) / 2
    return [middle - half * ((2 * arb(k) + 1) * arb.pi() / (2 * count)).cos() for k in range(count)]


def _horner(coefficients: list[arb], x: arb) -> arb:
    total = arb(0)
    for c in reversed(coefficients):
        total = (total * x + c).mid()
    return total


def _alternating(error: list[arb], count: int) -> list[int]:
    """Indices of `count` extrema of alternating sign, the largest run of them."""
    peaks: list[int] = []
    for i, e in enumerate(error):
        if not peaks or (e > 0) != (error[peaks[-1]] > 0):
            peaks.append(i)
        elif abs(e) > abs(error[peaks[-1]]):
            peaks[-1] = i
    while len(peaks) > count:
        peaks.pop(0 if abs(error[peaks[0]]) < abs(error[peaks[-1]]) else -1)
    return peaks


def minimax(values: list[arb], weights: list[arb], xs: list[arb], powers: range) -> list[arb]:
    """Coefficients of the given powers that make max |w (p - f)| over the grid smallest."""
    count = len(powers) + 1
    chosen = [round(i * (len(xs) - 1) / (count - 1)) for i in range(count)]
    best: list[arb] = []
    for _ in range(ROUNDS):
        system = arb_mat([[xs[i] ** p for p in powers] + [(-1) ** k / weights[i]] for k, i in enumerate(chosen)])
        solution = system.solve(arb_mat([[values[i]] for i in chosen]), nonstop=True)
        best = [solution[r, 0].mid() for r in range(count - 1)]
        error = []
        for x, f, w in zip(xs, values, weights, strict=True):
            error.append((w * (_horner(best, x) * x ** powers.start - f)).mid())
        peaks = _alternating(error, count)
        if len(peaks) < count or peaks == chosen:
            break
        chosen = peaks
    return best


def rounded(value: arb, double: bool) -> Fraction:
    """The nearest binary32 or binary64 number, as an exact fraction."""
    near = float(value)
    return Fraction(near if double else struct.unpack("<f", struct.pack("<f", near))[0])


def exact(value: Fraction) -> arb:
    return arb(value.numerator) / arb(value.denominator)


def solve(fit: Fit) -> tuple[list[Fraction], float]:
    """Rounded coefficients, lowest power first, and the largest weighted error they leave."""
    xs = [x for x in _nodes(fit.low, fit.high, GRID) if abs(x) > 1e-9]
    values, weights = [fit.target(x).mid() for x in xs], [abs(fit.weight(x)).mid() for x in xs]
    done = [Fraction(c) for c in fit.fixed]
    for power in range(len(done), fit.degree + 1):
        rest = [(f - _horner([exact(c) for c in done], x)).mid() for x, f in zip(xs, values, strict=True)]
        done.append(rounded(minimax(rest, weights, xs, range(power, fit.degree + 1))[0], fit.double))
    final = [exact(c) for c in done]
    worst = max(float(abs(w * (_horner(final, x) - f))) for x, f, w in zip(xs, values, weights, strict=True))
    return done, worst


def split(value: arb, bits: int) -> tuple[Fraction, Fraction]:
    """A constant as a head of `bits` significant bits and the binary32 number nearest to the rest."""
    exponent = bits - len(bin(int(float(value)))) + 2 if abs(value) >= 1 else bits
    head = Fraction(round(float(value) * 2**exponent), 2**exponent)
    return head, rounded(value - exact(head), double=False)
