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
from actium.verify.sweep import Mask, usual


class _Ruler(NamedTuple):
    """How slopes are measured on code of some precision, and what of the result is believed.

    Attributes:
        step: Of the central difference, relative to max(|x|, 2^-10): it balances the h⁴ truncation of a Richardson
            pair against rounding, which is divided by h.
        smooth: Two differences must agree this well for the point to count as smooth.
        agree: Then autograd must agree this well with them.
        noise: How far a value may be rounded, relative to it.
        near: A much smaller step, relative likewise, that sees an oscillation of which `step` is whole periods.
    """

    step: float
    smooth: float
    agree: float
    noise: float
    near: float


_WIDE = _Ruler(2.0**-12, 2.0**-22, 2.0**-21, 2.0**-50, 2.0**-26)
_NARROW = _Ruler(2.0**-5, 2.0**-13, 2.0**-12, 2.0**-22, 2.0**-14)
_SMALLEST = 2.0**-10
# One-sided slopes are read this far (relative) from the point.
_BESIDE = 2.0**-40
# One-sided slopes that differ by more than this are a kink.
_KINK = 2.0**-20
# Slopes on one side of a kink, there and at these parts of the distance, differ by less than this part of the jump.
# There are two, since one may be a whole period away.
_SETTLED, _CLOSER = 2.0**-12, (math.sqrt(2) - 1, math.sqrt(3) - 1)
# Differences over a much smaller step have lost many bits: they agree with others to this.
_COARSE = 2.0**-8
# Slopes within a step that no parabola meets this well, scatter. They are read at these parts of it: not in the middle,
# where a gradient may be wrong at one point only, and at no two that are both whole periods away, or mirror images.
_SCATTER = 2.0**-10
_PARTS = np.array([-1, -1, -1, 1, 1, 1]) * np.sqrt([0.94, 0.33, 0.02, 0.013, 0.23, 0.83])
_PARABOLAS = np.vander(_PARTS, 3)
_BEYOND_PARABOLAS = np.eye(len(_PARTS)) - _PARABOLAS @ np.linalg.pinv(_PARABOLAS)


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
        h = _size(x) * ruler.step
        slope, scale = extrapolated(lambda t: self._values(x + t * h), h, lambda slope: usual(x, slope), ruler.smooth)
        if self.is_narrow:
            return slope, scale
        # A step of whole periods of an oscillation sees a constant; a much smaller one does not.
        near, noise = self._near(x)
        with np.errstate(invalid="ignore", over="ignore"):
            aliased = np.abs(near - slope) > _COARSE * scale + noise
        return np.where(aliased, math.nan, slope), scale

    def _near(self, x: Floats) -> tuple[Floats, Floats]:
        """Slopes by differences over a much smaller step, and what rounding makes of them."""
        ruler = self._ruler
        step = _size(x) * ruler.near
        right, left = self._values(x + step), self._values(x - step)
        with np.errstate(invalid="ignore", over="ignore"):
            return (right - left) / (2 * step), ruler.noise * np.maximum(np.abs(right), np.abs(left)) / step

    def table(self, xs: npt.ArrayLike) -> Table:
        """Value and slope.

        A backward that disagrees with the function's own differences is not believed, where those can see its slopes.
        """
        x = np.asarray(xs, dtype=np.float64)
        value, slope = self._values(x), self._slopes(x)
        wrong, numeric = self._wrong(x, value, slope)
        kink, left, right = self._kinks(x, slope)
        kink &= ~wrong
        slope = np.where(wrong, numeric, slope)
        slope = np.where(np.isfinite(slope), slope, math.nan)
        low = np.where(kink, np.fmin(left, right), slope)
        high = np.where(kink, np.fmax(left, right), slope)
        unknown = ~np.isfinite(value)
        return Table(x, np.where(unknown, math.nan, value), slope, low, high, unknown)

    def _wrong(self, x: Floats, value: Floats, slope: Floats) -> tuple[Mask, Floats]:
        """Where autograd's slopes are not the function's, and the slopes by differences."""
        ruler = self._ruler
        numeric, scale = self.differences(x)
        with np.errstate(invalid="ignore", over="ignore"):
            noise = ruler.noise * np.abs(value) / (_size(x) * ruler.step)
            wrong = ~np.isnan(numeric) & ~(np.abs(slope - numeric) <= ruler.agree * scale + noise)
        return (wrong & ~self._unresolved(x, slope, scale) if wrong.any() else wrong), numeric

    def _unresolved(self, x: Floats, slope: Floats, scale: Floats) -> Mask:
        """Where the differences see only the mean of slopes that swing within the step, and so refute none of them.

        Of x + sin(x) at 1e14 they say 1: the sine is rounding noise beside x, and both steps are many periods. That the
        slopes swing, autograd itself says. Where the small step still sees them, it has to be their mean.
        """
        swinging = _scattered(self._slopes_within(x, _size(x) * self._ruler.step), scale)
        near, noise = self._near(x)
        slopes = self._slopes_within(x, _size(x) * self._ruler.near)
        with np.errstate(invalid="ignore", over="ignore"):
            slack = _COARSE * scale + noise
            low, high = slopes.min(0) - slack, slopes.max(0) + slack
            among = (low <= near) & (near <= high) & (low <= slope) & (slope <= high)
        return swinging & (among | _scattered(slopes, scale))

    def _slopes_within(self, x: Floats, step: Floats) -> Floats:
        """Autograd's slopes at some places within a step of x, one row for each."""
        return np.stack([self._slopes(x + part * step) for part in _PARTS])

    def _kinks(self, x: Floats, slope: Floats) -> tuple[Mask, Floats, Floats]:
        """Where the slope jumps, and the slopes on both sides."""
        beside = np.abs(x) * _BESIDE + 2.0**-200
        left, right = self._slopes(x - beside), self._slopes(x + beside)
        with np.errstate(invalid="ignore", over="ignore"):
            jump = np.abs(left - right)
            kink = jump > _KINK * (np.maximum(np.abs(left), np.abs(right)) + usual(x, slope))
            if kink.any():
                # Slopes that move within one side, too, are those of an oscillation, or of a cusp if x has no slope.
                for part in _CLOSER:
                    moved = np.abs(left - self._slopes(x - beside * part))
                    moved += np.abs(right - self._slopes(x + beside * part))
                    kink &= ~(np.isfinite(slope) & (moved > jump * _SETTLED))
        return kink, left, right

    def limit(self, sign: int) -> tuple[float | None, float | None]:
        """Limits for x → ±inf as seen at ±2^20 … ±2^60; None where nothing settles."""
        x = sign * np.ldexp(1.0, np.array([20, 40, 60]))
        try:
            value, slope = self._values(x), self._slopes(x)
        except SubjectError:
            return None, None
        return _settled(value), _settled(slope)


def _size(x: Floats) -> Floats:
    """What steps are relative to."""
    return np.maximum(np.abs(x), _SMALLEST)


def _scattered(slopes: Floats, scale: Floats) -> Mask:
    """Where slopes at `_PARTS` of a step follow no parabola; not where one of them is infinite or NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.abs(_BEYOND_PARABOLAS @ slopes).max(0)
        return np.isfinite(slopes).all(0) & (off > _SCATTER * scale)


def _settled(v: Floats) -> float | None:
    if not np.isfinite(v).all():
        return None
    if np.ptp(v) <= 2.0**-30 * (1 + abs(v[-1])):
        return 0.0 if abs(v[-1]) < 2.0**-30 else float(v[-1])
    if abs(v[2]) > 1.5 * abs(v[1]) > 2.25 * abs(v[0]):
        return math.copysign(math.inf, v[2])
    return None
