"""The truth for functions that are not formulas: the function itself in float64, differentiated numerically.

Stage: subject → [truth] → sweep.
In: a callable that takes float64. Out: the same `Table` as the oracle gives. Weaker than ball arithmetic: where the
code overflows or cancels in float64 too, the reference is as wrong as the code, so non-finite results count as
unknown, and the certificate says `"reference": "float64"`.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from actium.verify.oracle import Floats, Table
from actium.verify.subject import Call, SubjectError, evaluate
from actium.verify.sweep import usual


class _Ruler(NamedTuple):
    """How slopes are measured on code of some precision, and what of the result is believed.

    Attributes:
        step: Of the central difference, relative to max(|x|, 2^-10): it balances the h⁴ truncation of a Richardson
            pair against rounding, which is divided by h.
        smooth: Two differences must agree this well for the point to count as smooth.
        agree: Then autograd must agree this well with them.
        noise: How far a value may be rounded, relative to it.
    """

    step: float
    smooth: float
    agree: float
    noise: float


_WIDE = _Ruler(2.0**-12, 2.0**-22, 2.0**-21, 2.0**-50)
_NARROW = _Ruler(2.0**-5, 2.0**-13, 2.0**-12, 2.0**-22)
_SMALLEST = 2.0**-10
# One-sided slopes are read this far (relative) from the point.
_BESIDE = 2.0**-40
# One-sided slopes that differ by more than this are a kink.
_KINK = 2.0**-20


def extrapolated(
    at: Callable[[float], Floats], step: Floats | float, usual_size: Callable[[Floats], float], smooth: float = 2.0**-20
) -> tuple[Floats, Floats]:
    """Derivatives by Richardson-extrapolated central differences.

    Args:
        at: The function, at so many steps from the point.
        step: The step.
        usual_size: Gives the size that derivatives usually have, such that a small one is not held to its own.
        smooth: How well two estimates must agree, relative to the derivative and its usual size.

    Returns:
        The derivatives, NaN where the function is not clearly smooth, and the sizes that they were held to.
    """
    centre = at(0.0)
    with np.errstate(invalid="ignore", over="ignore"):
        central, bends = [], []
        for part in (1.0, 0.5, 0.25):
            right, left = at(part), at(-part)
            central.append((right - left) / (2 * part * step))
            bends.append(np.abs((right - centre) - (centre - left)) / (part * step))
        first, best = (4 * central[1] - central[0]) / 3, (4 * central[2] - central[1]) / 3
        scale = np.abs(best) + usual_size(best)
        # |f(x+h) − 2f(x) + f(x−h)|/h halves with h where f is smooth. A kink within h breaks that for one of the pairs.
        kink = np.zeros_like(scale, dtype=np.bool_)
        for wide, half in itertools.pairwise(bends):
            kink |= np.abs(half - wide / 2) > wide / 8 + smooth * scale
        return np.where(kink | ~(np.abs(best - first) <= smooth * scale), math.nan, best), scale


def is_narrow(values: Floats) -> bool:
    """Whether results, of float64 inputs, are all float32 numbers, and enough of them to say so."""
    with np.errstate(over="ignore"):
        single = values.astype(np.float32).astype(np.float64)
    # A function with few distinct values (a step) says nothing of its precision.
    return bool(np.array_equal(values, single, equal_nan=True)) and len(np.unique(values)) > 64


class Float64Reference:
    """Evaluates a callable in float64, in pieces.

    Args:
        call: The function; its parameters, if any, in float64 already.
    """

    def __init__(self, call: Call) -> None:
        self._call = call

    @functools.cached_property
    def is_narrow(self) -> bool:
        """Whether the function rounds to float32 inside, whatever it is given; False if it does not run at all."""
        try:
            return is_narrow(self._values(np.linspace(-3.0, 3.0, 257) * (1 + 2.0**-30)))  # none is a float32 number
        except SubjectError:
            return False

    @property
    def _ruler(self) -> _Ruler:
        return _NARROW if self.is_narrow else _WIDE

    def _values(self, x: Floats) -> Floats:
        return evaluate(self._call, torch.from_numpy(x), gradient=False).output.double().numpy().reshape(-1)

    def _slopes(self, x: Floats) -> Floats:
        result = evaluate(self._call, torch.from_numpy(x))
        if result.gradient is None:
            return np.full(x.shape, math.nan)
        return result.gradient.double().numpy().reshape(-1)

    def differences(self, x: Floats) -> tuple[Floats, Floats]:
        """Slopes by Richardson-extrapolated central differences, NaN where x is not clearly a smooth point."""
        ruler = self._ruler
        h = np.maximum(np.abs(x), _SMALLEST) * ruler.step
        slope, scale = extrapolated(lambda t: self._values(x + t * h), h, lambda slope: usual(x, slope), ruler.smooth)
        if self.is_narrow:
            return slope, scale
        # A step of whole periods of an oscillation sees a constant; a much smaller one does not.
        near = np.maximum(np.abs(x), _SMALLEST) * 2.0**-26
        right, left = self._values(x + near), self._values(x - near)
        with np.errstate(invalid="ignore", over="ignore"):
            noise = ruler.noise * np.maximum(np.abs(right), np.abs(left)) / near
            aliased = np.abs((right - left) / (2 * near) - slope) > 2.0**-8 * scale + noise
        return np.where(aliased, math.nan, slope), scale

    def table(self, xs: npt.ArrayLike) -> Table:
        """Value and slope. A backward that disagrees with the function's own differences is not believed."""
        x = np.asarray(xs, dtype=np.float64)
        value, slope = self._values(x), self._slopes(x)
        beside = np.abs(x) * _BESIDE + 2.0**-200
        left, right = self._slopes(x - beside), self._slopes(x + beside)
        numeric, scale = self.differences(x)
        ruler = self._ruler
        with np.errstate(invalid="ignore", over="ignore"):
            noise = ruler.noise * np.abs(value) / (np.maximum(np.abs(x), _SMALLEST) * ruler.step)
            wrong = ~np.isnan(numeric) & ~(np.abs(slope - numeric) <= ruler.agree * scale + noise)
            size = np.maximum(np.abs(left), np.abs(right))
            kink = ~wrong & (np.abs(left - right) > _KINK * (size + usual(x, slope)))
        slope = np.where(wrong, numeric, slope)
        slope = np.where(np.isfinite(slope), slope, math.nan)
        low = np.where(kink, np.fmin(left, right), slope)
        high = np.where(kink, np.fmax(left, right), slope)
        unknown = ~np.isfinite(value)
        return Table(x, np.where(unknown, math.nan, value), slope, low, high, unknown)

    def limit(self, sign: int) -> tuple[float | None, float | None]:
        """Limits for x → ±inf as seen at ±2^20 … ±2^60; None where nothing settles."""
        x = sign * np.ldexp(1.0, np.array([20, 40, 60]))
        try:
            value, slope = self._values(x), self._slopes(x)
        except SubjectError:
            return None, None
        return _settled(value), _settled(slope)


def _settled(v: Floats) -> float | None:
    if not np.isfinite(v).all():
        return None
    if np.ptp(v) <= 2.0**-30 * (1 + abs(v[-1])):
        return 0.0 if abs(v[-1]) < 2.0**-30 else float(v[-1])
    if abs(v[2]) > 1.5 * abs(v[1]) > 2.25 * abs(v[0]):
        return math.copysign(math.inf, v[2])
    return None
