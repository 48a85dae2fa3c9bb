"""Ball arithmetic for tests: graphs compared as real functions, and the error of a lowered graph in float32."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from flint import arb, ctx

from actium.kernels.eager import compile_function
from actium.kernels.lower import Lowering
from actium.symbolic.balls import evaluate
from actium.symbolic.graph import Node, parameter, variable

X, BETA = variable("x"), parameter("beta")
FAR_BELOW = arb(2) ** -300  # nothing that a float can hold is as small


def fp16_points(step: int = 64) -> list[float]:
    """Every `step`-th finite float16 encoding."""
    encodings = np.arange(0, 2**16, step, dtype=np.uint16).view(np.float16)
    return encodings[np.isfinite(encodings)].astype(float).tolist()


def ball(root: Node, x: object, beta: object = 1.0, precision: int = 1000) -> arb:
    return evaluate(root, {X: x, BETA: beta}, precision)  # type: ignore[dict-item]


def agree(a: arb, b: arb, bits: int) -> bool:
    """Whether two finite balls enclose one number, each known to so many bits or far below every float."""
    before, ctx.prec = ctx.prec, 2200
    try:
        gap = abs(a - b)
        return bool(gap <= abs(a) * arb(2) ** -bits or (abs(a) < FAR_BELOW and abs(b) < FAR_BELOW))
    finally:
        ctx.prec = before


def disagreements(left: Node, right: Node, points: Iterable[float], bits: int = 200, beta: float = 1.0) -> list[float]:
    """Points where both are finite and differ, or where only one is a number; raises if hardly any point counts."""
    wrong, counted = [], 0
    for x in points:
        a, b = ball(left, x, beta), ball(right, x, beta)
        if a.is_finite() and b.is_finite():
            counted += 1
            if not agree(a, b, bits):
                wrong.append(x)
        elif a.is_finite():
            wrong.append(x)
    assert counted >= 90, f"only {counted} points lie in the domain"
    return wrong


def central_difference(root: Node, x: float, beta: float = 1.0) -> arb:
    """The slope, within 2^-500 or so, from two values of the function alone."""
    before, ctx.prec = ctx.prec, 3000
    try:
        h = arb(2) ** -600
        return (ball(root, arb(x) + h, beta, 3000) - ball(root, arb(x) - h, beta, 3000)) / (2 * h)
    finally:
        ctx.prec = before


def worst_error(root: Node, x: np.ndarray, exact: np.ndarray) -> float:
    """Of the lowered graph in float32, in ULP; below the smallest normal, in units of that. Not finite is inf.

    Where the graph has a beta, it is 0.3.
    """
    lowering = Lowering("torch")
    function = compile_function("lowered", ("x", "beta"), (lowering.finish(lowering.lower(root)),))
    y = function(torch.from_numpy(x.astype(np.float32)), torch.tensor(0.3)).double().numpy()
    known = np.isfinite(exact) & (np.abs(exact) < 3e38)
    size = np.abs(exact[known])
    ulp = np.where(size < 2.0**-126, 2.0**-126, 2.0 ** (np.floor(np.log2(np.maximum(size, 2.0**-126))) - 23))
    error = np.abs(y[known] - exact[known]) / ulp
    return float(np.max(np.where(np.isfinite(error), error, np.inf)))
