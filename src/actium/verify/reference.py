"""The truth for functions that are not formulas: the function itself in float64, differentiated numerically.

Stage: subject → [truth] → sweep.
In: a callable that takes float64. Out: the same `Table` as the oracle gives. Weaker than ball arithmetic: where the
code overflows or cancels in float64 too, the reference is as wrong as the code, so non-finite results count as
unknown, and the certificate says `"reference": "float64"`.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from actium.verify.oracle import Floats, Table
from actium.verify.subject import Call, SubjectError, evaluate

# Steps of the central difference relative to max(|x|, 2^-10): h balances the h⁴ truncation of a Richardson pair
# against rounding, 2^-52/h, at about 2^-10 and 2^-42.
_STEP = 2.0**-10
# The two differences must agree this well for the point to be smooth, and then autograd this well with them.
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

    def _values(self, x: Floats) -> Floats:
        return evaluate(self._call, torch.from_numpy(x), gradient=False).output.double().numpy().reshape(-1)

    def _slopes(self, x: Floats) -> Floats:
        result = evaluate(self._call, torch.from_numpy(x))
        if result.gradient is None:
            return np.full(x.shape, math.nan)
        return result.gradient.double().numpy().reshape(-1)

    def differences(self, x: Floats) -> tuple[Floats, Floats]:
        """Slopes by Richardson-extrapolated central differences, and by how much the two step sizes disagree."""
        h = np.maximum(np.abs(x), 2.0**-10) * _STEP
        with np.errstate(invalid="ignore", over="ignore"):
            wide = (self._values(x + h) - self._values(x - h)) / (2 * h)
            narrow = (self._values(x + h / 2) - self._values(x - h / 2)) / h
            better = (4 * narrow - wide) / 3
            quarter = (self._values(x + h / 4) - self._values(x - h / 4)) / (h / 2)
            best = (4 * quarter - narrow) / 3
            return best, np.abs(best - better)

    def table(self, xs: npt.ArrayLike) -> Table:
        """Value and slope. A backward that disagrees with the function's own differences is not believed."""
        x = np.asarray(xs, dtype=np.float64)
        value = self._values(x)
        slope = self._slopes(x)
        beside = np.abs(x) * _BESIDE + 2.0**-200
        left, right = self._slopes(x - beside), self._slopes(x + beside)
        numeric, doubt = self.differences(x)
        with np.errstate(invalid="ignore", over="ignore"):
            scale = np.abs(numeric) + np.nanmean(np.abs(np.where(np.abs(x) < 8, numeric, np.nan)))
            noise = 2.0**-48 * np.abs(value) / (np.maximum(np.abs(x), 2.0**-10) * _STEP)
            smooth = doubt <= _SMOOTH * scale
            wrong = smooth & ~(np.abs(slope - numeric) <= _AGREE * scale + 4 * noise)
        slope = np.where(wrong, numeric, slope)
        low = np.where(wrong, slope, np.fmin(np.fmin(left, right), slope))
        high = np.where(wrong, slope, np.fmax(np.fmax(left, right), slope))
        unknown = ~np.isfinite(value)
        value = np.where(unknown, math.nan, value)
        slope = np.where(np.isfinite(slope), slope, math.nan)
        return Table(x, value, slope, low, high, unknown)

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
