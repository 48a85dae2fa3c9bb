"""Computed results beside the truth, for every tested input of one format.

Stage: subject + truth → [sweep] → checks.
In: a runner, a source of truth, a format. Out: for output and gradient, what was computed, the interval in which
the exact result lies, and the error in ULP. Judges nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from actium.verify.aside import table_aside
from actium.verify.encodings import HALVES, Format, format_of, sample
from actium.verify.oracle import Floats, Oracle, Table
from actium.verify.subject import Result, Runner, SubjectError
from actium.verify.ulp import judged_error, rounds_to_finite

Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]

# Every sample is a multiple of 32 long, so a loop over vectors has no rest to do. These inputs once more at the end
# are one vector and a rest of 13, in which a scalar loop or a mask computes them. They are also run in small tensors.
_MAGNITUDES = [2.0**k * m for k in range(-10, 8) for m in (1.0, 1.34)]
_AGAIN = [*_MAGNITUDES[:16], *(-m for m in _MAGNITUDES[:16]), -20.0, 9.5, -6.1, 0.01, -1e3, 30.0, -0.1, 0.25]
_AGAIN += [-8.7, -1.5, -0.3, 0.7, 3.0]
_PIECES = (1, 3, 7, 13, 21)


class Reference(Protocol):
    """A source of truth."""

    def table(self, xs: npt.ArrayLike) -> Table:
        """Value and slope at many points."""
        ...

    def limit(self, sign: int) -> tuple[float | None, float | None]:
        """Limits of value and slope towards ±inf."""
        ...


@dataclass(frozen=True)
class Quantity:
    """The output or the gradient over all inputs of a sweep.

    Attributes:
        name: Which of both.
        fmt: The format it was computed in.
        x: The inputs, in order of value.
        computed: What came out.
        low: Lower end of what is right: the exact value, except at kinks and jumps.
        high: Upper end.
        sensitivity: |x · derivative of the quantity|: how much a relative change of x moves it.
    """

    name: Literal["output", "gradient"]
    fmt: Format
    x: Floats
    computed: Floats
    low: Floats
    high: Floats
    sensitivity: Floats

    @functools.cached_property
    def exact(self) -> Floats:
        """The right value nearest to the computed one; NaN where it is unknown."""
        return np.where(np.isnan(self.computed), self.low, np.clip(self.computed, self.low, self.high))

    @functools.cached_property
    def known(self) -> Mask:
        """Where there is a truth to compare with."""
        return ~np.isnan(self.exact)

    @functools.cached_property
    def fits(self) -> Mask:
        """Where the exact value rounds to a finite number of the format."""
        return rounds_to_finite(self.exact, self.fmt)

    @functools.cached_property
    def error(self) -> Floats:
        """ULP, conditioned near roots. NaN where the truth is unknown or NaN was computed."""
        return judged_error(self.computed, self.exact, self.sensitivity, self.fmt)


@dataclass(frozen=True)
class Sweep:
    """One format, all tested inputs.

    Attributes:
        fmt: The format.
        result: What the run gave.
        output: The output beside its truth.
        gradient: The gradient beside its truth, or None if there is none.
        slopes: The exact slopes, for when there is no gradient.
    """

    fmt: Format
    result: Result
    output: Quantity
    gradient: Quantity | None
    slopes: Table


class Truths:
    """Truth for several formats at once: points that they share are evaluated once.

    Args:
        reference: Where it comes from.
        dtypes: The formats that will be asked for.
    """

    def __init__(self, reference: Reference, dtypes: Iterable[torch.dtype]) -> None:
        self.reference = reference
        parts = [sample(d).double().numpy() for d in dtypes]
        self._x = np.unique(np.concatenate([*parts, np.zeros(1)]))

        self._aside: Callable[[], Table] | None = None

    def start_aside(self) -> None:
        """Begin to evaluate the reference in a process beside this one, if it is an oracle and not done already."""
        if isinstance(self.reference, Oracle) and self._aside is None and "_all" not in vars(self):
            self._aside = table_aside(self.reference, self._x)

    @functools.cached_property
    def _all(self) -> Table:
        return self.reference.table(self._x) if self._aside is None else self._aside()

    def at(self, x: Floats) -> Table:
        """Rows for inputs that belong to one of the formats."""
        row = np.searchsorted(self._x, x)
        t = self._all
        return Table(x, t.value[row], t.slope[row], t.slope_low[row], t.slope_high[row], t.undecided[row])


def sweep(runner: Runner, truths: Truths, dtype: torch.dtype) -> Sweep:
    """Run the subject on every tested input of a format.

    Raises:
        SubjectError: If it cannot be run on them.
    """
    fmt = format_of(dtype)
    inputs = sample(dtype)
    x = inputs.double().numpy()
    again = np.searchsorted(x, _AGAIN)
    repeated = inputs[torch.from_numpy(again)]
    result = runner.run(torch.cat([inputs, repeated]))
    count = len(x)
    table = truths.at(x)
    output = _output(fmt, x, result.output[:count], table)
    for other in (result.output[count:], *_otherwise(runner, repeated)):
        output = _with_worse(output, again, other)
    gradient = None
    if result.gradient is not None:
        gradient = _with_worse(_gradient(fmt, x, result.gradient[:count], table), again, result.gradient[count:])
    return Sweep(fmt, result, output, gradient, table)


def _otherwise(runner: Runner, x: Tensor) -> Iterator[Tensor]:
    """The outputs in small tensors, for which libraries have paths of their own, and where no gradient is wanted."""
    # What drops dimensions of size 1 makes a number of one element: its values are right, and its shape is judged
    # by `shape-change`.
    outputs = [torch.cat([runner.run(piece).output.reshape(-1) for piece in x.split(_PIECES)])]
    outputs.append(runner.run(x, gradient=False).output)
    for output in outputs:
        if output.numel() != x.numel():
            raise SubjectError(f"in small tensors {x.numel()} numbers in, {output.numel()} out")
    yield from outputs


def _with_worse(q: Quantity, at: Places, computed: Tensor) -> Quantity:
    """The quantity with the worse of both results where an input was computed twice."""
    parts = {name: getattr(q, name)[at] for name in ("x", "computed", "low", "high", "sensitivity")}
    first = Quantity(q.name, q.fmt, **parts)
    second = replace(first, computed=_as_array(computed))
    with np.errstate(invalid="ignore"):
        worse = ~np.isnan(first.computed) & (np.isnan(second.computed) | (second.error > first.error))
    if not worse.any():
        return q
    merged = q.computed.copy()
    merged[at[worse]] = second.computed[worse]
    return replace(q, computed=merged)


def _as_array(tensor: Tensor) -> Floats:
    return tensor.detach().double().reshape(-1).numpy()


def _output(fmt: Format, x: Floats, computed: Tensor, table: Table) -> Quantity:
    slope = np.fmax(np.abs(table.slope_low), np.abs(table.slope_high))
    with np.errstate(invalid="ignore", over="ignore"):
        sensitivity = np.nan_to_num(np.abs(x * slope), nan=0.0, posinf=0.0)
    low, high = table.value, table.value
    if fmt.dtype in HALVES:
        low, high = _across(low, high, _jumps(x, table.value, np.nan_to_num(slope)))
    return Quantity("output", fmt, x, _as_array(computed), low, high, sensitivity)


def _gradient(fmt: Format, x: Floats, computed: Tensor, table: Table) -> Quantity:
    low, high = table.slope_low, table.slope_high
    known = ~np.isnan(table.slope) | (low != high)
    low, high = np.where(known, low, np.nan), np.where(known, high, np.nan)
    if fmt.dtype in HALVES:
        low, high = _across(low, high, _kinks(x, low, high))
    return Quantity("gradient", fmt, x, _as_array(computed), low, high, curvature(x, table.slope))


def curvature(x: Floats, slope: Floats) -> Floats:
    """|x · f″| from neighbouring slopes; of both sides the smaller, so that a kink makes nobody lenient."""
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        quotient = np.abs(np.diff(slope) / np.diff(x))
        left, right = np.append(np.nan, quotient), np.append(quotient, np.nan)
        return np.nan_to_num(np.abs(x) * np.fmin(left, right), nan=0.0, posinf=0.0)


def _jumps(x: Floats, value: Floats, slope: Floats) -> Mask:
    """Where the function jumps between two neighbouring inputs: far more than its slopes explain."""
    with np.errstate(invalid="ignore", over="ignore"):
        step = np.abs(np.diff(value))
        explained = 4 * np.diff(x) * np.maximum(slope[:-1], slope[1:])
        return step > explained + 2.0**-6 * np.maximum(np.abs(value[:-1]), np.abs(value[1:]))


def usual(x: Floats, values: Floats) -> float:
    """The mean size of a quantity where activations bend; 0 if it is known nowhere there."""
    inner = np.abs(values[(np.abs(x) <= 4) & np.isfinite(values)])
    return float(inner.mean()) if inner.size else 0.0


def _kinks(x: Floats, low: Floats, high: Floats) -> Mask:
    """Where the slope jumps between two neighbouring inputs, neither of which is the kink itself."""
    floor = 2.0**-20 * usual(x, low)  # In the tails of a float64 reference the slopes are rounding noise.
    with np.errstate(invalid="ignore", over="ignore"):
        step = np.abs(np.diff(low))
        around = np.maximum(np.append(0.0, step[:-1]), np.append(step[1:], 0.0))
        size = np.maximum(np.abs(low[:-1]), np.abs(low[1:]))
        at_kink = low != high
        return (step > 16 * around + 2.0**-6 * size + floor) & ~at_kink[:-1] & ~at_kink[1:]


def _across(low: Floats, high: Floats, jumps: Mask) -> tuple[Floats, Floats]:
    """Let both neighbours of a jump take either side's value.

    A threshold such as 0.1 is no half-precision number, and torch compares with its rounded value: the neighbour
    that it rounds to is then on the other side, or on the threshold.
    """
    low, high = low.copy(), high.copy()
    for i in np.flatnonzero(jumps):
        ends = np.array([low[i], low[i + 1], high[i], high[i + 1]])
        if not np.isnan(ends).any():
            low[i : i + 2], high[i : i + 2] = ends.min(), ends.max()
    return low, high
