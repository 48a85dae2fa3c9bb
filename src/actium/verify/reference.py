"""The truth for functions that are not formulas: the function itself in float64, differentiated numerically.

Stage: subject → [truth] → sweep.
In: a callable that takes float64. Out: the same `Table` as the oracle gives. Weaker than ball arithmetic: where the
code overflows or cancels in float64 too, the reference is as wrong as the code, so non-finite results count as
unknown, and the certificate says `"reference": "float64"`.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt
import torch

from actium.verify.oracle import Floats, Table
from actium.verify.subject import Call, SubjectError, evaluate
from actium.verify.sweep import usual

# Steps of the central difference relative to max(|x|, 2^-10): h balances the h⁴ truncation of a Richardson pair
# against rounding, 2^-52/h, at about 2^-10 and 2^-42.
_STEP = 2.0**-10
# Two differences must agree this well for the point to be smooth, and then autograd this well with them.
_SMOOTH, _AGREE = 2.0**-20, 2.0**-19
# One-sided slopes are read this far (relative) from the point.
_BESIDE = 2.0**-40


class Float64Reference:
    """Evaluates a callable in float64, in pieces.

    Args:
        call: The function; its parameters, if any, in float64 already.
    """

    def __init__(self, call: Call) -> None:
        self._call = call

    @functools.cached_property
    def is_narrow(self) -> bool:
        """Whether the function rounds to float32 inside, whatever it is given."""
        value = self._values(np.linspace(-3.0, 3.0, 257))
        with np.errstate(over="ignore"):
            single = value.astype(np.float32).astype(np.float64)
        # A function with few distinct values (a step) says nothing of its precision.
        return bool(np.array_equal(value, single, equal_nan=True)) and len(np.unique(value)) > 64

    def _values(self, x: Floats) -> Floats:
        return evaluate(self._call, torch.from_numpy(x), gradient=False).output.double().numpy().reshape(-1)

    def _slopes(self, x: Floats) -> Floats:
        result = evaluate(self._call, torch.from_numpy(x))
        if result.gradient is None:
            return np.full(x.shape, math.nan)
        return result.gradient.double().numpy().reshape(-1)

    def differences(self, x: Floats) -> tuple[Floats, Floats]:
        """Slopes by Richardson-extrapolated central differences, NaN where x is not clearly a smooth point."""
        h = np.maximum(np.abs(x), 2.0**-10) * _STEP
        centre = self._values(x)
        with np.errstate(invalid="ignore", over="ignore"):
            central, bends = [], []
            for step in (h, h / 2, h / 4):
                right, left = self._values(x + step), self._values(x - step)
                central.append((right - left) / (2 * step))
                bends.append(np.abs((right - centre) - (centre - left)) / step)
            first, best = (4 * central[1] - central[0]) / 3, (4 * central[2] - central[1]) / 3
            scale = np.abs(best) + usual(x, best)
            # (f(x+h) − 2f(x) + f(x−h))/h shrinks with h where f is smooth, and does not at a kink.
            kink = bends[2] > 0.5 * bends[0] + _SMOOTH * scale
            return np.where(kink | ~(np.abs(best - first) <= _SMOOTH * scale), math.nan, best), scale

    def table(self, xs: npt.ArrayLike) -> Table:
        """Value and slope. A backward that disagrees with the function's own differences is not believed."""
        x = np.asarray(xs, dtype=np.float64)
        value, slope = self._values(x), self._slopes(x)
        beside = np.abs(x) * _BESIDE + 2.0**-200
        left, right = self._slopes(x - beside), self._slopes(x + beside)
        numeric, scale = self.differences(x)
        with np.errstate(invalid="ignore", over="ignore"):
            noise = (
                (2.0**-18 if self.is_narrow else 2.0**-46) * np.abs(value) / (np.maximum(np.abs(x), 2.0**-10) * _STEP)
            )
            wrong = ~np.isnan(numeric) & ~(np.abs(slope - numeric) <= _AGREE * scale + noise)
            size = np.maximum(np.abs(left), np.abs(right))
            kink = ~wrong & (np.abs(left - right) > _SMOOTH * (size + usual(x, slope)))
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
