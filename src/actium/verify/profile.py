"""What a sweep looks like: the error along the whole axis, and the curves, small enough to keep.

Stage: sweep → [profile] → certificate → picture.
In: a case whose sweeps are done. Out: plain data for the certificate's `profile`, a few kilobytes. Judges nothing: what
is not finite or falsely zero is decided in `checks/numerics.py`.

The data are:

    {"formats": {DTYPE: {"axis": [[first, last, parts], …], "significand_bits": p, "budget": ULP,
                         "output": TEXT, "gradient": TEXT}},
     "curves": {"from": x, "to": x, "value": [y, …], "slope": [y, …], "curvature": [y, …]}}

`axis` is described in `axis.py`. A TEXT has one character for each of its bins, from the most negative inputs up, for
the worst in the bin: `a` for at most 0.5 ULP, each further letter for twice as much, `z` for all above 2^23; `0` for a
false zero, `!` for NaN or an infinity that is false, `?` where nothing is known. The points of a curve are evenly
spaced; null is no number, or none that is known. Without a gradient, or without a truth to draw, keys are missing.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from actium.verify.axis import ALPHABET, FALSE_ZERO, LEVELS, NON_FINITE, UNKNOWN, edges, segments
from actium.verify.case import Case, budget
from actium.verify.checks.numerics import is_false_zero, is_non_finite
from actium.verify.encodings import Format
from actium.verify.oracle import Floats, Table
from actium.verify.subject import SubjectError
from actium.verify.sweep import Quantity, Reference, Sweep

_POINTS = 161
_WINDOW, _WIDEST_WINDOW = 6.0, 48.0
_CURVE_DIGITS = 5
# Second differences of slopes that are known to 40 bits: truncation and rounding are both below 2^-18 there.
_STEP = 2.0**-10


def profile(case: Case) -> dict[str, Any]:
    """The error along the axis and the curves of a case; empty if nothing was swept.

    Args:
        case: With its sweeps.

    Returns:
        The data described above, ready for strict JSON.
    """
    if not case.sweeps:
        return {}
    return {"formats": {s.fmt.name: _format(s) for s in case.sweeps.values()}, "curves": _curves(case)}


# --- The axis ---------------------------------------------------------------------------------------------


def _format(swept: Sweep) -> dict[str, Any]:
    fmt = swept.fmt
    facts = {"axis": _segments(fmt), "significand_bits": fmt.significand_bits, "budget": budget(fmt)}
    return facts | {q.name: error_text(q) for q in (swept.output, swept.gradient) if q is not None}


def _segments(fmt: Format) -> list[list[int]]:
    return segments(fmt.min_exponent, fmt.max_exponent)


def bins(x: Floats, fmt: Format) -> tuple[npt.NDArray[np.intp], int]:
    """For each input the number of its bin, and how many bins there are.

    Args:
        x: Finite numbers of the format; −0 belongs to the negative side.
        fmt: The format.
    """
    inner = np.array(edges(_segments(fmt)))
    side = len(inner) - 1
    # Edges are dyadic, so the comparison is exact.
    place = np.clip(np.searchsorted(inner, np.abs(x), side="right") - 1, 0, side - 1)
    return np.where(np.signbit(x), side - 1 - place, side + place), 2 * side


def error_text(q: Quantity) -> str:
    """The worst of each bin, as a character."""
    with np.errstate(divide="ignore", invalid="ignore"):
        octave = np.ceil(np.log2(q.error)) + 1
    # NaN in the error is NaN computed, or no truth; both are overwritten below.
    code = 1 + np.clip(np.nan_to_num(octave, nan=0.0), 0, len(LEVELS) - 1).astype(np.intp)
    code[is_false_zero(q)] = ALPHABET.index(FALSE_ZERO)
    code[is_non_finite(q)] = ALPHABET.index(NON_FINITE)
    code[~q.known] = ALPHABET.index(UNKNOWN)
    place, count = bins(q.x, q.fmt)
    worst = np.zeros(count, dtype=np.intp)
    np.maximum.at(worst, place, code)
    return "".join(ALPHABET[i] for i in worst)


# --- The curves -------------------------------------------------------------------------------------------


def _curves(case: Case) -> dict[str, Any]:
    """Value, slope and curvature at evenly spaced points; empty if the truth cannot be had there."""
    window = _window(case)
    try:
        table, curvature = _with_curvature(case.reference, np.linspace(-window, window, _POINTS))
    except SubjectError:
        return {}
    return {
        "from": -window,
        "to": window,
        "value": _rounded(table.value),
        "slope": _rounded(np.where(table.slope_low == table.slope_high, table.slope, math.nan)),
        "curvature": _rounded(curvature),
    }


def _window(case: Case) -> float:
    """Far enough to show the kinks that were met, and a little of what comes after them."""
    table = next(iter(case.sweeps.values())).slopes
    with np.errstate(invalid="ignore"):
        kinks = np.abs(table.x[table.slope_low < table.slope_high])
    near = kinks[kinks * 1.25 <= _WIDEST_WINDOW]
    return max(_WINDOW, math.ceil(1.25 * float(near.max()))) if near.size else _WINDOW


def _with_curvature(reference: Reference, x: Floats) -> tuple[Table, Floats]:
    """The truth at x, and the second derivative from slopes on both sides; NaN where the sides disagree."""
    beside = np.sort(np.concatenate([x - _STEP, x, x + _STEP]))
    whole = reference.table(beside)
    left, at, right = (np.searchsorted(beside, p) for p in (x - _STEP, x, x + _STEP))
    table = Table(x, *(getattr(whole, n)[at] for n in ("value", "slope", "slope_low", "slope_high", "undecided")))
    with np.errstate(invalid="ignore", over="ignore"):
        before, after = (table.slope - whole.slope[left]) / _STEP, (whole.slope[right] - table.slope) / _STEP
        bend = (before + after) / 2
        scale = np.abs(before) + np.abs(after)
        finite = scale[np.isfinite(scale)]
        usual = float(np.median(finite)) if finite.size else 0.0
        smooth = np.abs(after - before) <= 2.0**-4 * (scale + usual)
    known = smooth & (table.slope_low == table.slope_high)
    return table, np.where(known, bend, math.nan)


def _rounded(values: Floats) -> list[float | None]:
    """With as many digits as a picture can show."""
    return [float(f"{v:.{_CURVE_DIGITS}g}") + 0.0 if math.isfinite(v) else None for v in values.tolist()]
