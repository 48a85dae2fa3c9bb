"""Polynomials with learnable coefficients, which start as the best fit of ReLU.

In: a degree. Out: an `Entry` whose formula is Horner's scheme.
"""

from __future__ import annotations

from actium.catalogue.entry import Entry
from actium.errors import ParameterError
from actium.symbolic.parameters import Parameter

# Half-width of the interval on which the initial coefficients fit ReLU: three standard deviations of a
# normalised preactivation.
INTERVAL = 3.0
MAX_DEGREE = 16


def relu_fit(degree: int, interval: float = INTERVAL) -> tuple[float, ...]:
    """Coefficients c₀ … c_n of the polynomial that fits max(x, 0) best on [−interval, interval].

    Least squares with the weight 1/√(interval² − x²), taken at 512 Chebyshev nodes, so that the ends are fitted as
    well as the middle. max(x, 0) = x/2 + |x|/2, so only |x| is fitted, by even powers; odd ones beyond x are exactly 0.

    Example:
        >>> [round(c, 4) for c in relu_fit(2, 1.0)]
        [0.1061, 0.5, 0.4244]
    """
    import numpy as np

    nodes = np.cos((np.arange(512) + 0.5) * (np.pi / 512))
    even = np.arange(0, degree + 1, 2)
    basis = nodes[:, None] ** even
    fitted = np.linalg.lstsq(basis, np.abs(nodes) / 2, rcond=None)[0]
    coefficients = [0.0] * (degree + 1)
    for power, c in zip(even.tolist(), fitted.tolist(), strict=True):
        # A module keeps its coefficients in float32, so the function starts with the same numbers.
        coefficients[power] = float(np.float32(c * interval ** (1 - power)))
    coefficients[1] = 0.5
    return tuple(coefficients)


def polynomial_entry(degree: int, interval: float = INTERVAL) -> Entry:
    """The entry of a degree.

    Args:
        degree: From 1 to 16.
        interval: Where the initial coefficients fit ReLU: [−interval, interval].

    Raises:
        ParameterError: If the degree or the interval is outside its range.
    """
    if isinstance(degree, bool) or not isinstance(degree, int) or not 1 <= degree <= MAX_DEGREE:
        raise ParameterError(f"polynomial: degree must be an integer from 1 to {MAX_DEGREE}, got {degree!r}")
    if not 0 < interval < float("inf"):
        raise ParameterError(f"polynomial: interval must be positive and finite, got {interval!r}")
    names = [f"coeff_{k}" for k in range(degree + 1)]
    formula = f"{names[-2]} + x * {names[-1]}"
    for name in reversed(names[:-2]):
        formula = f"{name} + x * ({formula})"
    return Entry(
        name="polynomial" if (degree, interval) == (3, INTERVAL) else f"polynomial_{degree}",
        class_name="Polynomial",
        summary=f"A polynomial of degree {degree} with learned coefficients.",
        formula=formula,
        range="[coeff_0 - coeff_1**2 / (4 * coeff_2), inf)" if degree in (2, 3) else "(-inf, inf)",
        source="requirement 003, PolynomialActivation",
        parameters=tuple(
            Parameter(n, c, learnable=True) for n, c in zip(names, relu_fit(degree, interval), strict=True)
        ),
        monotone=degree == 1,
        note=(
            f"Starts as the best fit of ReLU on [−{interval:g}, {interval:g}] (least squares at Chebyshev nodes), not "
            "as the line x/2 that is often given as one. A sum of powers is NaN (0·inf) when one overflows; Horner's "
            "scheme is not. It still grows like x^degree: stacked without normalisation, it overflows within a few "
            "layers. The range is that of the initial coefficients."
        ),
    )
