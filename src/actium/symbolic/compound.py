"""Functions that expand into primitives, and the one table of every function a formula may call.

Stage: text or function → [call] → Formula. `parse` and `trace` both look names up here, so that a name means
the same in a formula and in a traced function.
In: operand nodes. Out: a node of primitives. PyTorch's functions keep PyTorch's meaning at every kink: a `where`
differentiates the branch it selects, so the comparison (`<=` or `<`) decides the gradient there. The branch that
a NaN falls into (every comparison with it is false) is the one that hands the NaN on.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actium.errors import FormulaError
from actium.symbolic.graph import SIMPLIFYING, Node, Operand, as_node, both, const, neg, number_of, op, power, where
from actium.symbolic.primitives import PRIMITIVES

_INF = math.inf

# The constants of SELU as PyTorch prints them; Klambauer et al. 2017, arXiv:1706.02515, appendix A.4.
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def _is(value: Operand | None, number: float) -> bool:
    """Whether an argument is this number, known now rather than at run time."""
    if isinstance(value, Node):
        return value.is_const and value.value == number
    return value == number


# --- Piecewise linear --------------------------------------------------------------------------------


def relu(x: Node) -> Node:
    """max(x, 0), with gradient 0 at 0."""
    return where(x <= 0.0, 0.0, x)


def hardtanh(x: Node, min_val: Operand = -1.0, max_val: Operand = 1.0) -> Node:
    """Clip to [min_val, max_val], with gradient 0 at both bounds (unlike `clamp`)."""
    return where(x <= min_val, min_val, where(x >= max_val, max_val, x))


def relu6(x: Node) -> Node:
    """Clip to [0, 6], with gradient 0 at both bounds."""
    return hardtanh(x, 0.0, 6.0)


def hardsigmoid(x: Node) -> Node:
    """(x + 3)/6 clipped to [0, 1]. The sum comes first: near −3 it is exact, where x/6 + 1/2 would cancel."""
    return where(x <= -3.0, 0.0, where(x >= 3.0, 1.0, (x + 3.0) / 6.0))


def hardswish(x: Node) -> Node:
    """x·hardsigmoid(x), by pieces: no −inf·0, and no overflow of x² (3e19 in float32)."""
    return where(x <= -3.0, 0.0, where(x >= 3.0, x, x * (x + 3.0) / 6.0))


def leaky_relu(x: Node, negative_slope: Operand = 0.01) -> Node:
    """X above 0, negative_slope·x at and below."""
    return where(x <= 0.0, as_node(negative_slope) * x, x)


def prelu(x: Node, weight: Operand) -> Node:
    """Leaky ReLU with a learned slope."""
    return leaky_relu(x, weight)


def rrelu(x: Node, lower: Operand = 1.0 / 8, upper: Operand = 1.0 / 3) -> Node:
    """Randomised leaky ReLU as it is at evaluation: the mean slope."""
    low, high = as_node(lower), as_node(upper)
    known = low.is_const and high.is_const
    return leaky_relu(x, (number_of(low) + number_of(high)) / 2 if known else (low + high) / 2.0)


def threshold(x: Node, threshold: Operand, value: Operand) -> Node:
    """X above the threshold, `value` at and below."""
    return where(x <= threshold, value, x)


def hardshrink(x: Node, lambd: Operand = 0.5) -> Node:
    """0 in [−lambd, lambd], x outside."""
    return where(both(x >= neg(lambd), x <= lambd), 0.0, x)


def softshrink(x: Node, lambd: Operand = 0.5) -> Node:
    """X drawn towards 0 by lambd, and 0 in [−lambd, lambd]."""
    return where(x > lambd, x - lambd, where(x >= neg(lambd), 0.0, x + lambd))


def clamp(x: Node, min: Operand | None = None, max: Operand | None = None) -> Node:
    """Clip to [min, max], with gradient 1 at the bounds (unlike `hardtanh`)."""
    if min is not None and max is not None:
        return op("clamp", x, min, max)
    if min is not None:
        return where(x < min, min, x)
    if max is not None:
        return where(x > max, max, x)
    raise FormulaError("clamp needs min, max or both")


def clamp_min(x: Node, min: Operand) -> Node:
    """Clip below, with gradient 1 at the bound."""
    return clamp(x, min=min)


def clamp_max(x: Node, max: Operand) -> Node:
    """Clip above, with gradient 1 at the bound."""
    return clamp(x, max=max)


def heaviside(x: Node, values: Operand) -> Node:
    """0 below 0, `values` at 0, 1 above."""
    return where(op("eq", x, 0.0), values, where(x > 0.0, 1.0, 0.0))


def ceil(x: Node) -> Node:
    """The smallest integer not below x."""
    return neg(op("floor", neg(x)))


def trunc(x: Node) -> Node:
    """The integer part, towards 0."""
    return where(x < 0.0, ceil(x), op("floor", x))


def frac(x: Node) -> Node:
    """The fractional part, with the sign of x and slope 1."""
    return x - trunc(x)


# --- Smooth, or smooth by pieces ---------------------------------------------------------------------


def elu(x: Node, alpha: Operand = 1.0) -> Node:
    """X above 0, alpha·(e^x − 1) at and below."""
    return where(x <= 0.0, alpha * op("expm1", x), x)


def celu(x: Node, alpha: Operand = 1.0) -> Node:
    """X above 0, alpha·(e^(x/alpha) − 1) at and below: slope 1 on both sides for every alpha."""
    return where(x <= 0.0, alpha * op("expm1", x / alpha), x)


def selu(x: Node) -> Node:
    """SELU_SCALE·elu(x, SELU_ALPHA)."""
    return where(x <= 0.0, const(SELU_SCALE * SELU_ALPHA) * op("expm1", x), SELU_SCALE * x)


def silu(x: Node) -> Node:
    """x·σ(x)."""
    return x * op("sigmoid", x)


def mish(x: Node) -> Node:
    """x·tanh(softplus(x))."""
    return x * op("tanh_softplus", x)


def gelu(x: Node, approximate: str = "none") -> Node:
    """x·Φ(x), or for approximate="tanh" x·σ(2u) with u = √(2/π)·(x + 0.044715·x³), since (1 + tanh u)/2 = σ(2u)."""
    if approximate == "none":
        return x * op("ndtr", x)
    if approximate != "tanh":
        raise FormulaError(f"gelu: approximate is 'none' or 'tanh', got {approximate!r}")
    u = op("sqrt", 2.0 / Node("pi")) * (x + 0.044715 * power(x, 3.0))
    return x * op("sigmoid", 2.0 * u)


def softplus(x: Node, beta: Operand = 1.0, threshold: Operand = _INF) -> Node:
    """log(1 + e^(beta·x))/beta; the plain x where beta·x exceeds the threshold (PyTorch's default is 20)."""
    scaled = as_node(beta) * x
    smooth = op("softplus", scaled) / as_node(beta)
    return smooth if _is(threshold, _INF) else where(scaled > threshold, x, smooth)


def logit(x: Node, eps: Operand | None = None) -> Node:
    """log(x/(1 − x)), of x clipped to [eps, 1 − eps] if eps is given."""
    if eps is not None:
        x = op("clamp", x, eps, 1.0 - as_node(eps))
    return op("log", x) - op("log1p", neg(x))


def logaddexp(x: Node, other: Node) -> Node:
    """log(e^x + e^other), from the larger one, so that nothing overflows.

    By branches, not by max and abs: both flatten at a tie, where this function is smooth.
    """
    gap = x - other
    return where(gap >= 0.0, x, other) + op("softplus", where(gap >= 0.0, neg(gap), gap))


def tan(x: Node) -> Node:
    """sin(x)/cos(x)."""
    return op("sin", x) / op("cos", x)


def atanh(x: Node) -> Node:
    """½·log((1 + x)/(1 − x)), as two log1p: no cancellation near 0."""
    return 0.5 * (op("log1p", x) - op("log1p", neg(x)))


def log10(x: Node) -> Node:
    """log(x)/log(10)."""
    return op("log", x) / op("log", 10.0)


def addcmul(x: Node, tensor1: Node, tensor2: Node, value: Operand = 1.0) -> Node:
    """X + value·tensor1·tensor2."""
    return x + value * (tensor1 * tensor2)


def addcdiv(x: Node, tensor1: Node, tensor2: Node, value: Operand = 1.0) -> Node:
    """X + value·tensor1/tensor2."""
    return x + value * (tensor1 / tensor2)


def lerp(x: Node, end: Node, weight: Operand) -> Node:
    """X + weight·(end − x)."""
    return x + weight * (end - x)


# --- The table ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Function:
    """A function that a formula may call.

    Attributes:
        name: As it is called.
        build: From operands (and configuration strings) to a node.
        arguments: Argument names in order, with their defaults (`inspect.Parameter.empty` for none).
        conditions: Which arguments are conditions rather than numbers.
    """

    name: str
    build: Callable[..., Node]
    arguments: Mapping[str, Any]
    conditions: frozenset[str] = frozenset()

    @property
    def signature(self) -> str:
        """As people write it: `elu(x, alpha=1.0)`."""
        shown = (a if d is inspect.Parameter.empty else f"{a}={d!r}" for a, d in self.arguments.items())
        return f"{self.name}({', '.join(shown)})"

    def __call__(self, args: Sequence[Any], keywords: Mapping[str, Any] | None = None) -> Node:
        """Bind the arguments, check that conditions and numbers are where they belong, and build the node.

        Raises:
            FormulaError: If an argument is missing, unknown, given twice, or of the wrong kind.
        """
        bound = self._bind(args, keywords or {})
        for name, value in bound.items():
            self._check_kind(name, value)
        # A number or a None argument stays as it is: a builder may have to know it now (softplus's threshold).
        lead = next(iter(self.arguments))
        return self.build(as_node(bound.pop(lead)), *(self._operand(v) for v in bound.values()))

    @staticmethod
    def _operand(value: Any) -> Any:
        return as_node(value) if isinstance(value, int | float) and not isinstance(value, bool) else value

    def _bind(self, args: Sequence[Any], keywords: Mapping[str, Any]) -> dict[str, Any]:
        if len(args) > len(self.arguments):
            raise FormulaError(f"{self.signature} takes at most {len(self.arguments)} arguments, got {len(args)}")
        given = dict(zip(self.arguments, args, strict=False))
        for name, value in keywords.items():
            if name not in self.arguments:
                raise FormulaError(f"{self.signature} has no argument {name!r}")
            if name in given:
                raise FormulaError(f"{self.signature} got {name!r} twice")
            given[name] = value
        bound = {name: given.get(name, default) for name, default in self.arguments.items()}
        missing = [name for name, value in bound.items() if value is inspect.Parameter.empty]
        if missing:
            raise FormulaError(f"{self.signature} needs {', '.join(missing)}")
        return bound

    def _check_kind(self, name: str, value: Any) -> None:
        default = self.arguments[name]
        if isinstance(default, str) or value is None:
            if not isinstance(value, str) and not (value is None and default is None):
                raise FormulaError(f"{self.signature}: {name} cannot be {value!r}")
            return
        is_condition = isinstance(value, Node) and value.is_bool
        if name in self.conditions and not is_condition:
            raise FormulaError(f"{self.signature}: {name} must be a condition such as x > 0")
        if name not in self.conditions and is_condition:
            raise FormulaError(f"{self.signature}: {name} is a condition; make it a number with where(…, 1, 0)")
        if not isinstance(value, Node | int | float) or isinstance(value, bool):
            raise FormulaError(f"{self.signature}: {name} must be a number, got {value!r}")


_ARGUMENTS = {1: ("x",), 2: ("x", "other")}
_SPECIAL_ARGUMENTS = {
    "pow": ("x", "exponent"),
    "where": ("condition", "x", "other"),
    "exp_square": ("x", "factor"),
}
_COMPOUNDS = (
    *(relu, relu6, hardtanh, hardsigmoid, hardswish, leaky_relu, prelu, rrelu, threshold, hardshrink, softshrink),
    *(clamp, clamp_min, clamp_max, heaviside, ceil, trunc, frac, elu, celu, selu, silu, mish, gelu, softplus),
    *(logit, logaddexp, tan, atanh, log10, addcmul, addcdiv, lerp),
)

COMPOUNDS: dict[str, Function] = {
    build.__name__: Function(
        build.__name__, build, {name: p.default for name, p in inspect.signature(build).parameters.items()}
    )
    for build in _COMPOUNDS
}

# Other names for the same functions: those of torch and its `special` module, and the usual ones of mathematics.
ALIASES = {
    "swish": "silu",
    "expit": "sigmoid",
    "log_sigmoid": "logsigmoid",
    "ln": "log",
    "arctan": "atan",
    "arcsinh": "asinh",
    "arctanh": "atanh",
    "absolute": "abs",
    "negative": "neg",
    "sgn": "sign",
    "clip": "clamp",
    "maximum": "max",
    "minimum": "min",
    "multiply": "mul",
    "subtract": "sub",
    "divide": "div",
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "not_equal": "ne",
    "logical_and": "and",
    "logical_or": "or",
    "logical_not": "not",
}


def _primitive(name: str) -> Function:
    arguments = _SPECIAL_ARGUMENTS.get(name) or _ARGUMENTS[PRIMITIVES[name].arity]
    conditions = {"and": arguments, "or": arguments, "not": arguments, "where": ("condition",)}.get(name, ())

    def plain(*args: Operand) -> Node:
        return op(name, *args)

    build = SIMPLIFYING.get(name, plain)
    return Function(name, build, dict.fromkeys(arguments, inspect.Parameter.empty), frozenset(conditions))


def _table() -> dict[str, Function]:
    rows = (row for row in PRIMITIVES.values() if row.arity and not row.internal and row.name not in COMPOUNDS)
    table = {row.name: _primitive(row.name) for row in rows} | COMPOUNDS
    return table | {alias: table[name] for alias, name in ALIASES.items()}


FUNCTIONS: dict[str, Function] = _table()
"""Every function by every name it goes by."""
