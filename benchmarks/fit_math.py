"""Derive every polynomial coefficient of `math.h` and `hot.h` in `src/actium/kernels`.

Each table is a weighted minimax polynomial: Lawson's reweighted least squares on Chebyshev nodes, with the
target in ball arithmetic. The weight turns the polynomial's error into the relative error of the function
that uses it. Coefficients are rounded to their storage format from the lowest power up and the rest is
fitted again after each rounding, so that later coefficients absorb the rounding of earlier ones. Of a quotient of two
polynomials, what is below the line is found and rounded first, and what is above fitted to it.

Run it to print the tables and the error that each leaves in exact arithmetic; with `--check` it fails if
the headers hold other digits. It does not measure the rounding of the evaluation: the tests do.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from flint import arb, ctx

ctx.prec = 256
KERNELS = Path(__file__).resolve().parent.parent / "src" / "actium" / "kernels"
HEADERS = (KERNELS / "math.h", KERNELS / "hot.h")
NODES = 600
ROUNDS = 60
Function = Callable[[arb], arb]


@dataclass(frozen=True)
class Fit:
    """One table: a polynomial near `target` on [low, high] that makes max |weight * error| small."""

    name: str
    target: Function
    weight: Function
    low: float
    high: float
    degree: int
    fixed: tuple[float, ...] = ()
    double: bool = False


def nodes(low: float, high: float) -> list[arb]:
    """Chebyshev nodes, without the few so near to 0 that the target would be 0/0."""
    middle, half = (arb(low) + arb(high)) / 2, (arb(high) - arb(low)) / 2
    xs = [middle - half * (arb.pi() * (2 * k + 1) / (2 * NODES)).cos() for k in range(NODES)]
    return [x.mid() for x in xs if abs(float(x)) > 1e-9]


def horner(coefficients: list[float], x: arb) -> arb:
    total = arb(0)
    for c in reversed(coefficients):
        total = (total * x + arb(c)).mid()
    return total


def lawson(basis: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Coefficients that make max |basis @ c - values| small (both already weighted)."""
    emphasis = np.full(len(values), 1.0 / len(values))
    best, best_error = np.zeros(basis.shape[1]), np.inf
    for _ in range(ROUNDS):
        root = np.sqrt(emphasis)
        found = np.linalg.lstsq(basis * root[:, None], values * root, rcond=None)[0]
        error = np.abs(basis @ found - values)
        if error.max() < best_error:
            best, best_error = found, error.max()
        emphasis *= error + 1e-3 * error.max()
        emphasis /= emphasis.sum()
    return best


def solve(fit: Fit) -> tuple[list[float], float]:
    """Rounded coefficients, lowest power first, and the largest weighted error they leave."""
    xs = nodes(fit.low, fit.high)
    target = [fit.target(x).mid() for x in xs]
    weight = np.array([abs(float(fit.weight(x))) for x in xs])
    points = np.array([float(x) for x in xs])
    done = list(fit.fixed)
    for power in range(len(done), fit.degree + 1):
        rest = np.array([float(f - horner(done, x)) for x, f in zip(xs, target, strict=True)])
        basis = weight[:, None] * points[:, None] ** np.arange(power, fit.degree + 1)
        scale = np.abs(basis).max(axis=0)
        lowest = (lawson(basis / scale, rest * weight) / scale)[0]
        done.append(float(lowest if fit.double else np.float32(lowest)))
    return done, largest_error(fit, done)


def largest_error(fit: Fit, coefficients: list[float]) -> float:
    """The largest weighted error that these coefficients leave at the nodes."""
    xs = nodes(fit.low, fit.high)
    return max(float(abs(fit.weight(x)) * abs(fit.target(x).mid() - horner(coefficients, x))) for x in xs)


@dataclass(frozen=True)
class Ratio:
    """Two tables: above / below near a function, in relative error; the highest coefficient below is 1 and left out."""

    name: str
    function: Function
    high: float
    above: int
    below: int

    def fit(self, below: list[float]) -> Fit:
        """What is above the line, for a given denominator."""

        def target(x: arb) -> arb:
            return self.function(x) * horner([*below, 1.0], x)

        return Fit(f"{self.name}_ABOVE", target, lambda x: 1 / target(x), 0.0, self.high, self.above)


def denominator(ratio: Ratio) -> list[float]:
    """The rounded coefficients below the line but the highest, lowest power first.

    Multiplied out, above = function · below is linear; the errors are weighted by the denominator of the round before.
    """
    xs = nodes(0.0, ratio.high)
    points = np.array([float(x) for x in xs])
    values = np.array([float(ratio.function(x)) for x in xs])
    above, below = points[:, None] ** np.arange(ratio.above + 1), points[:, None] ** np.arange(1, ratio.below + 1)
    scale, found = np.ones(len(points)), np.zeros(ratio.below)
    for _ in range(ROUNDS // 4):
        basis = np.hstack([above, -values[:, None] * below]) / (values * scale)[:, None]
        size = np.abs(basis).max(axis=0)
        found = (lawson(basis / size, 1 / scale) / size)[ratio.above + 1 :]
        scale = 1 + below @ found
    return [float(np.float32(c / found[-1])) for c in (1.0, *found[:-1])]


def stated(name: str, headers: str) -> list[float] | None:
    """A table of the headers, lowest power first."""
    found = re.search(rf"#define ACT_C_{name} ((?:-?[0-9.e+-]+f?(?:, |\b))+)", headers)
    if not found:
        return None
    return [float(np.float32(c[:-1])) if c.endswith("f") else float(c) for c in reversed(found[1].split(", "))]


def holds(fit: Fit, headers: str, coefficients: list[float], error: float) -> bool:
    """Whether the headers have these coefficients, or others that are as good.

    The last digits depend on the machine's linear algebra, which those of float tables hide by rounding.
    """
    if re.search(re.escape(line(fit.name, coefficients, "" if fit.double else "f")) + r"(?! ?,)", headers):
        return True
    others = stated(fit.name, headers)
    return (
        fit.double
        and others is not None
        and len(others) == len(coefficients)
        and largest_error(fit, others) <= 1.05 * error
    )


def mills(t: arb) -> arb:
    """The scaled normal tail Phi(-t) exp(t^2/2), through Tricomi's U where erfc would underflow."""
    square = t * t / 2
    if t > 30:
        return square.hypgeom_u(arb(0.5), arb(0.5)) / arb.pi().sqrt() / 2
    return (t / arb(2).sqrt()).erfc() * square.exp() / 2


def mills_ratio(k: float, v: arb) -> arb:
    """mills(a) (a + k) with v = (a - k) / (a + k), which maps [0, inf) to [-1, 1)."""
    a = k * (1 + v) / (1 - v)
    return mills(a) * (a + k)


def erfcx(x: arb) -> arb:
    """The scaled error function erfc(x) exp(x^2)."""
    return x.erfc() * (x * x).exp()


def tail_series(z: arb) -> arb:
    """R in mills(t) = (1 + z R(z)) / (t sqrt(2 pi)), z = 1 / t^2."""
    return (mills(1 / z.sqrt()) * (2 * arb.pi() / z).sqrt() - 1) / z


def shrink_series(z: arb) -> arb:
    """R in x - tanh(x) = x^3 (1/3 + z R(z)), z = x^2."""
    x = z.sqrt()
    return ((x - x.tanh()) / (x * z) - arb(1) / 3) / z


def shrink_ratio(z: arb) -> arb:
    """(x - tanh x) / x^3, z = x^2."""
    return arb(1) / 3 + z * shrink_series(z)


def odd(name: str, f: Function, high: float, degree: int) -> Fit:
    """(f(x) - x) / x^3 as a polynomial in z = x^2, in relative error of f."""
    return Fit(
        name,
        lambda z: (f(z.sqrt()) - z.sqrt()) / z.sqrt() ** 3,
        lambda z: z.sqrt() ** 3 / f(z.sqrt()),
        0.0,
        high,
        degree,
    )


def log2_series(z: arb) -> arb:
    """log2((1+s)/(1-s)) / s with z = s^2."""
    s = z.sqrt()
    return ((1 + s) / (1 - s)).log() / (s * arb(2).log())


def exp_rest(r: arb) -> arb:
    """(exp(r) - 1 - r) / r^2."""
    return (r.expm1() - r) / r**2


def log1p_rest(z: arb) -> arb:
    """(log1p(z) - z) / z^2."""
    return (z.log1p() - z) / z**2


FITS = (
    Fit("EXPM1", exp_rest, lambda r: r**2 / r.expm1(), -0.29, 0.41, 4),
    Fit("EXP2", lambda r: (arb(2) ** r - 1) / r, lambda r: r / arb(2) ** r, -0.501, 0.501, 5),
    Fit("LOG", log1p_rest, lambda f: f**2 / f.log1p(), -0.3334, 0.3334, 8, fixed=(-0.5,)),
    odd("TANH", lambda x: x.tanh(), 0.49, 5),
    Fit("TANHSHRINK", shrink_series, lambda z: z / shrink_ratio(z), 0.0, 1.45, 7),
    odd("SINH", lambda x: x.sinh(), 1.0, 3),
    Fit("ERF", lambda z: z.sqrt().erf() / z.sqrt() - 1, lambda z: z.sqrt() / z.sqrt().erf(), 0.0, 0.91, 6),
    Fit("ERFCX", lambda v: erfcx(v + 1.34375), lambda v: 1 / erfcx(v + 1.34375), -0.59375, 0.6563, 9),
    Fit("TAIL", tail_series, lambda z: z / (1 + z * tail_series(z)), 0.0, 0.1251, 7),
    odd("ATAN", lambda x: x.atan(), 1.0, 8),
    odd("SIN", lambda x: x.sin(), 0.618, 3),
    Fit("COS", lambda z: z.sqrt().cos(), lambda z: 1 / z.sqrt().cos(), 0.0, 0.618, 4, fixed=(1.0, -0.5)),
    Fit("DLOG2", log2_series, lambda z: 1 / log2_series(z), 0.0, 0.0401, 6, double=True),
    Fit("DEXP2", lambda r: (arb(2) ** r - 1) / r, lambda r: r / arb(2) ** r, -0.501, 0.501, 6, double=True),
    Fit("EXPN", exp_rest, lambda r: r**2 / r.exp(), -0.3475, 0.3475, 4),
    Fit("EXPN_H", exp_rest, lambda r: r**2 / r.exp(), -0.3475, 0.3475, 2),
    Fit("EXPM1_H", exp_rest, lambda r: r**2 / r.expm1(), -0.3475, 0.3475, 3),
    Fit("LOG1P_UNIT", log1p_rest, lambda z: z**2 / z.log1p(), 0.0, 1.0, 8),
    Fit("TANHSHRINK_H", shrink_ratio, lambda z: 1 / shrink_ratio(z), 0.0, 1.001, 4),
    Fit("LOG1P_UNIT_H", log1p_rest, lambda z: z**2 / z.log1p(), 0.0, 1.0, 4),
    Fit("MILLS_V", lambda v: mills_ratio(3.75, v), lambda v: 1 / mills_ratio(3.75, v), -1.0, 0.9999, 10),
    Fit("MILLS_V_H", lambda v: mills_ratio(2.5, v), lambda v: 1 / mills_ratio(2.5, v), -1.0, 0.9999, 6),
)
RATIOS = (
    # Up to where kernels/midrange.py leaves the cheap form: sqrt(2) * 5.66 and 8.
    Ratio("MILLS", mills, 8.001, 4, 5),
    Ratio("MILLS_H", mills, 8.001, 3, 3),
)


def line(name: str, coefficients: list[float], suffix: str) -> str:
    """The header's form of a table: highest power first, as Horner's scheme takes them."""
    digits = ".17g" if not suffix else ".9g"
    texts = [f"{c:{digits}}" for c in reversed(coefficients)]
    texts = [t + ("" if "." in t or "e" in t else ".0") + suffix for t in texts]
    return f"#define ACT_C_{name} " + ", ".join(texts)


def main() -> int:
    """Print the tables, or compare them with the header."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail if the headers hold other coefficients")
    check = parser.parse_args().check
    headers = " ".join("".join(header.read_text() for header in HEADERS).replace("\\\n", " ").split())
    stale = []

    def show(name: str, coefficients: list[float], error: float, suffix: str) -> None:
        if not check:
            print(f"/* {name}: relative error {error * 2**24:.3g} * 2^-24 before rounding */")
            print(line(name, coefficients, suffix))

    for ratio in RATIOS:
        below = denominator(ratio)
        coefficients, error = solve(ratio.fit(below))
        others = [stated(f"{ratio.name}_{part}", headers) for part in ("BELOW", "ABOVE")]
        if not all(others) or largest_error(ratio.fit(others[0]), others[1]) > 1.05 * error:
            stale.append(ratio.name)
        show(f"{ratio.name}_BELOW", below, error, "f")
        show(f"{ratio.name}_ABOVE", coefficients, error, "f")
    for fit in FITS:
        coefficients, error = solve(fit)
        if not holds(fit, headers, coefficients, error):
            stale.append(fit.name)
        show(fit.name, coefficients, error, "" if fit.double else "f")
    if check and stale:
        print("not in the headers:", ", ".join(stale))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
