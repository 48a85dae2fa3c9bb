"""What a formula tends to at ±infinity, and whether IEEE arithmetic would say so by itself.

In: a graph and default parameter values. Out: a graph that returns the limit at infinite inputs and NaN at NaN.
Most graphs need nothing; x/(1+|x|) is inf/inf = NaN there and gets one extra selection.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from actium.symbolic.balls import evaluate
from actium.symbolic.graph import Node, const, op, substitute, walk, where

# Exponents k of the arguments ±√s·2^k at which growth is judged; for each s the last finite two decide.
# A periodic function looks constant at multiples of its period, which all large 2^k are of 1. So what can be periodic
# has to tend to the same along √2·2^k and √3·2^k. These are numbers of 1300 bits: every large double is an integer.
_PROBES = (40, 80, 160, 1000)
_SQUARES = (1, 2, 3)
_PERIODIC = frozenset({"sin", "cos", "floor"})
_BITS = 1300
# Where a finite stand-in replaces an infinite input: 1/x is below an ulp of 1 there, and x² does not overflow.
FAR = 2.0**60


def limit(root: Node, x: Node, sign: float, values: Mapping[Node, float]) -> float | None:
    """The limit of a graph for x → sign·inf, ±inf included; None if there is none or it cannot be told."""
    first: float | None = None
    for square in _SQUARES if _may_be_periodic(root) else _SQUARES[:1]:
        found = _tendency(root, x, sign, square, values)
        if found is None or (first is not None and not _same(found, first)):
            return None
        first = found if first is None else first
    return first


def _may_be_periodic(root: Node) -> bool:
    """Whether it may oscillate for ever; (−2)^x is a number at integers only."""
    return any(n.op in _PERIODIC or (n.op == "pow" and not n.args[1].is_const) for n in walk(root))


def _tendency(root: Node, x: Node, sign: float, square: int, values: Mapping[Node, float]) -> float | None:
    """What a graph tends to along the arguments sign·√square·2^k; None if that cannot be told."""
    seen = [v for k in _PROBES if (v := _probe(root, x, sign, square, k, values)) is not None]
    if len(seen) < 2:
        return None
    before, last = seen[-2], seen[-1]
    if _same(last, before):
        return 0.0 if abs(last) < 1e-11 else float(last)
    if abs(last) > 1.4 * abs(before) and abs(last) > 20 and (last > 0) == (before > 0):
        return math.inf if last > 0 else -math.inf
    return None


def _same(a: Any, b: Any) -> bool:
    size = abs(b)
    return a == b or bool(abs(a - b) <= 1e-9 * (size if size > 1 else 1))


def _probe(root: Node, x: Node, sign: float, square: int, k: int, values: Mapping[Node, float]) -> Any | None:
    """The value as an exact number, which may lie far beyond a double: e^(2^160) has to be told from e^(2^80)."""
    ball = evaluate(root, {**values, x: _argument(sign, square, k)}, precision=2200)
    if not ball.is_finite() or ball.rad() > abs(ball.mid()) * 1e-6 + 1e-12:
        return None
    return ball.mid()


@functools.cache
def _argument(sign: float, square: int, k: int) -> Any:
    """Sign·√square·2^k, the root cut off, as an exact ball."""
    from flint import arb

    return arb((int(sign) * math.isqrt(square << 2 * _BITS), k - _BITS))  # a significand and an exponent


def guard(root: Node, exact: Node, x: Node, values: Mapping[Node, float]) -> Node:
    """The lowered graph, made to return the limit of `exact` at x = ±inf, and NaN at x = NaN.

    Where IEEE arithmetic does not give the limit by itself, the whole graph is evaluated at a far finite point in
    place of infinity: evaluating it at both would double the kernel. Infinite limits are then selected.
    """
    wanted = {sign: limit(exact, x, sign, values) for sign in (1.0, -1.0)}
    wrong = {
        sign: value
        for sign, value in wanted.items()
        if value is not None and not _agrees(float(in_float64(root, {**values, x: sign * math.inf})), value)
    }
    if wrong:
        infinite = op("eq", op("abs", x), const(math.inf))
        far = where(infinite, where(op("gt", x, const(0.0)), const(FAR), const(-FAR)), x)
        at_infinity = {sign: float(in_float64(root, {**values, x: sign * math.inf})) for sign in wanted}
        root = substitute(root, {x: far})
        sides = {op("eq", x, const(sign * math.inf)): (sign, value) for sign, value in wanted.items()}
        if all(value is not None and math.isinf(value) for value in wanted.values()):
            sides = {infinite: (1.0, math.inf)}  # one selection for both
        for side, (sign, value) in sides.items():
            if value is None and math.isnan(at_infinity[sign]):
                root = where(side, x - x, root)
            elif value is not None and math.isinf(value):
                # Its sign may depend on a parameter, and with one of 0 it may stay 0. A factor and not a branch:
                # autodiff would multiply the infinity of an unselected branch by 0.
                grows = op("and", side, op("ne", root, const(0.0)))
                root = op("mul", root, where(grows, const(math.inf), const(1.0)))
    return root if x in nan_sources(root) else where(op("eq", x, x), root, x)


def _agrees(got: float, wanted: float) -> bool:
    return got == wanted or abs(got - wanted) <= 1e-6 * abs(wanted)


def nan_sources(root: Node) -> frozenset[Node]:
    """The leaves whose NaN surely reaches the value."""
    sources: dict[Node, frozenset[Node]] = {}
    for node in walk(root):
        args = [sources[a] for a in node.args]
        if node.op in ("input", "param"):
            sources[node] = frozenset((node,))
        elif node.op == "where":
            # A NaN that makes the condition false selects the last operand; one that makes x != … true, the first.
            sources[node] = (args[1] & args[2]) | (args[0] & args[2])
            if node.args[0].op == "ne":
                sources[node] |= args[1] & frozenset().union(*(sources[a] for a in node.args[0].args))
        elif node.op == "or":  # for a condition: the leaves whose NaN makes it false
            sources[node] = args[0] & args[1]
        elif node.op in ("ne", "not"):
            sources[node] = frozenset()
        else:
            sources[node] = frozenset().union(*args)
    return sources[root]


def in_float64(root: Node, values: Mapping[Node, Any]) -> Any:
    """The graph in float64 arithmetic, overflow and NaN included: a number, or an array where values are arrays.

    What is not listed is 1. The scaled tail of the normal distribution is 0.4, which is its size.

    Example:
        >>> from actium.symbolic.graph import variable
        >>> x = variable("x")
        >>> float(in_float64(x * x + 1.0, {x: 3.0}))
        10.0
    """
    done: dict[Node, Any] = {}
    with np.errstate(all="ignore"):
        for node in walk(root):
            if node.is_const:
                done[node] = np.float64(node.value)  # type: ignore[arg-type]
            elif node.op in ("input", "param"):
                done[node] = np.asarray(values.get(node, 1.0), np.float64)
            else:
                done[node] = _IEEE[node.op](*(done[a] for a in node.args))
    return done[root]


def _expsq(u: Any, c: Any) -> Any:
    return np.exp(c * u * u)


def _mills(u: Any) -> Any:
    return np.where(np.isnan(u), math.nan, np.where(np.isinf(u), 0.0, 0.4))


def _lo(y: Any) -> Any:
    return np.where(y < -174.67, 0.0, 1.0)


_IEEE: dict[str, Callable[..., Any]] = {
    "pi": lambda: np.float64(math.pi),
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "neg": np.negative,
    "abs": np.abs,
    "sign": np.sign,
    "square": np.square,
    "sqrt": np.sqrt,
    "rsqrt": lambda u: 1 / np.sqrt(u),
    "reciprocal": lambda u: 1 / u,
    "pow": np.power,
    "min": np.minimum,
    "max": np.maximum,
    "floor": np.floor,
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log2": np.log2,
    "log1p": np.log1p,
    "sigmoid": lambda u: 1 / (1 + np.exp(-u)),
    "tanh": np.tanh,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanhshrink": lambda u: u - np.tanh(u),
    "exp_square": _expsq,
    "sin": np.sin,
    "cos": np.cos,
    "atan": np.arctan,
    "asinh": np.arcsinh,
    "hypot1": lambda u: np.hypot(1.0, u),
    "erf": np.vectorize(math.erf),
    "erfc": np.vectorize(math.erfc),
    "ndtr": np.vectorize(lambda u: 0.5 * math.erfc(-u / 2**0.5)),
    "exp_hi": np.exp,
    "exp_lo": _lo,
    "expsq_hi": _expsq,
    "exp_mid": np.exp,
    "expsq_mid": _expsq,
    "expsq_lo": lambda u, c: _lo(c * u * u),
    "mills": _mills,
    "mills_mid": _mills,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "and": np.logical_and,
    "or": np.logical_or,
    "not": np.logical_not,
    "where": np.where,
}
