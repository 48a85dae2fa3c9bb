"""How far a computed number is from the real one, in units that mean something.

Stage: truth + computed → [rulers] → checks.
In: float64 arrays of computed and real numbers, and the format they were computed in. Out: float64 arrays.
Judges nothing: what is too far is decided in `checks/`.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from actium.verify.encodings import Format

Floats = npt.NDArray[np.float64]


def ulp_of(exact: Floats, fmt: Format) -> Floats:
    """One unit in the last place at the exact value's binade, floored at the smallest normal one.

    Args:
        exact: Real numbers; ±inf stands for one beyond the format.
        fmt: The format.

    Returns:
        The spacing, 2^(e − p + 1) for 2^e ≤ |exact| < 2^(e+1).
    """
    _, exponent = np.frexp(np.where(np.isfinite(exact), exact, fmt.largest))
    # frexp gives 0 the exponent 0, as if it were of size 1.
    binade = np.where(exact == 0, fmt.min_exponent, np.clip(exponent - 1, fmt.min_exponent, fmt.max_exponent))
    return np.ldexp(1.0, binade - fmt.significand_bits + 1)


def saturate(values: Floats, fmt: Format) -> Floats:
    """Put everything beyond the format at 2^(max_exponent+1), where the next number would be.

    So an infinity is one ULP from the largest finite number, and two results that overflow agree.
    """
    bound = math.ldexp(1.0, fmt.max_exponent) * 2.0 if fmt.max_exponent < 1023 else fmt.largest
    return np.clip(values, -bound, bound)


def ulp_error(computed: Floats, exact: Floats, fmt: Format) -> Floats:
    """|computed − exact| / ulp(exact). NaN if either is NaN.

    Example:
        >>> from actium.verify.encodings import FORMATS
        >>> import torch
        >>> float(ulp_error(np.array([1.0]), np.array([1.0 + 2**-8]), FORMATS[torch.bfloat16])[0])
        0.5
    """
    with np.errstate(over="ignore"):
        return np.abs(saturate(computed, fmt) - saturate(exact, fmt)) / ulp_of(exact, fmt)


def conditioned_error(computed: Floats, exact: Floats, sensitivity: Floats, fmt: Format) -> Floats:
    """|computed − exact| / (u·(|exact| + sensitivity)), where sensitivity is |x·f′(x)|.

    Near a root no finite precision of x determines f to a small *relative* error; this ruler allows for that:
    1 is what one rounding of the input and one of the output explain.
    """
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        far = np.abs(saturate(computed, fmt) - saturate(exact, fmt))
        error = far / (fmt.unit * (np.abs(saturate(exact, fmt)) + sensitivity))
    return np.where(far == 0, 0.0, error)


def judged_error(computed: Floats, exact: Floats, sensitivity: Floats, fmt: Format) -> Floats:
    """The smaller of both errors: the plain one away from roots, the conditioned one near them."""
    plain = ulp_error(computed, exact, fmt)
    return np.fmin(plain, conditioned_error(computed, exact, sensitivity, fmt))


def rounds_to_finite(exact: Floats, fmt: Format) -> npt.NDArray[np.bool_]:
    """Whether the exact value rounds (to nearest) to a finite number of the format. False for NaN."""
    half = np.ldexp(1.0, fmt.max_exponent - fmt.significand_bits)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.abs(exact) < fmt.largest + half
