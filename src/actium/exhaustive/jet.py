"""Taylor series with proven coefficients: a formula over a whole interval at once.

Stage: formula → [series] → pieces → screen → certificate.
In: a formula, an interval or a point. Out: balls that contain the Taylor coefficients of the formula at every point of
it. The ball forms of the primitives' table are evaluated on truncated power series instead of numbers; no derivative
rule of `symbolic/` takes part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flint import arb, arb_series, ctx

from actium.symbolic.balls import exclusive
from actium.symbolic.graph import COMPARISONS, LOGICAL, Formula, Node, number_of, op, rebuild, remake, walk
from actium.symbolic.primitives import PRIMITIVES
from actium.symbolic.stabilize import stabilize

Ball = Any  # flint.arb ships without type information


class Straddle(Exception):
    """An interval on which a condition is neither true nor false.

    Attributes:
        kink: Whether it is a condition of the formula, at which value or slope may jump; a primitive that is only
            computed in two ways is smooth there.
    """

    def __init__(self, kink: bool) -> None:
        super().__init__()
        self.kink = kink


class Jet:
    """A truncated power series whose coefficients are balls, with what the table's ball forms ask of a number.

    A ball forgets its lower end where the upper one is 2^30 times larger, as in e^x for x in [64, 128]; `low` and
    `high` keep both.
    """

    __slots__ = ("high", "low", "series")

    def __init__(self, series: Any, low: Ball = None, high: Ball = None) -> None:
        self.series = series
        self.low = series[0].lower() if low is None else low.lower()
        self.high = series[0].upper() if high is None else high.upper()

    def _sign(self) -> int:
        if self.low > 0:
            return 1
        if self.high < 0:
            return -1
        if self.low == 0 and self.high == 0:
            return 0
        raise Straddle(kink=False)

    def __add__(self, other: Any) -> Jet:
        other = _jet(other)
        return Jet(self.series + other.series, self.low + other.low, self.high + other.high)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Jet:
        return self + -_jet(other)

    def __rsub__(self, other: Any) -> Jet:
        return -self + other

    def __mul__(self, other: Any) -> Jet:
        other = _jet(other)
        series = self.series * other.series
        if self.high < 0:
            return -(-self * other)
        if other.high < 0:
            return -(self * -other)
        if self.low >= 0 and other.low >= 0:
            return Jet(series, self.low * other.low, self.high * other.high)
        return Jet(series)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Jet:
        return Jet(_quotient(self.series, _jet(other).series))

    def __rtruediv__(self, other: Any) -> Jet:
        return Jet(_quotient(_jet(other).series, self.series))

    def __neg__(self) -> Jet:
        return Jet(-self.series, -self.high, -self.low)

    def __abs__(self) -> Jet:
        return self if self._sign() >= 0 else -self

    def __pow__(self, other: Any) -> Jet:
        exponent = other.series[0] if isinstance(other, Jet) else arb(other)
        fixed = not isinstance(other, Jet) or other.series.length() <= 1
        if fixed and exponent.is_exact() and exponent.is_integer() and abs(exponent) <= 64:
            return self._power(int(float(exponent)))
        return (self.log() * other).exp()

    def _power(self, n: int) -> Jet:
        if n < 0:
            return 1 / self._power(-n)
        result = Jet(arb_series([1]))
        for bit in bin(n)[2:]:
            result = result * result
            result = result * self if bit == "1" else result
        return result

    def __gt__(self, other: Any) -> bool:
        return (self - other)._sign() > 0

    def __lt__(self, other: Any) -> bool:
        return (self - other)._sign() < 0

    def __eq__(self, other: object) -> bool:
        return (self - other)._sign() == 0

    __hash__ = None  # type: ignore[assignment]

    def is_exact(self) -> bool:
        """Whether it is one exactly known number: no function of x is."""
        return False

    def exp(self) -> Jet:
        """E^u; 0 within 2^-1000 where it is less than balls can say."""
        if self.high < -1000 * (ctx.cap + 1) and _vanishes(self):
            return Jet(arb_series([arb(0, 2.0**-1000)] * ctx.cap), arb(0))
        return Jet(self.series.exp(), self.low.exp(), self.high.exp())

    def expm1(self) -> Jet:
        """E^u − 1."""
        return self.exp() - 1

    def log(self) -> Jet:
        """The natural logarithm; not finite unless u > 0."""
        return Jet(self.series.log())

    def log1p(self) -> Jet:
        """Of 1 + u."""
        return Jet((self.series + 1).log())

    def sqrt(self) -> Jet:
        """The root; not finite unless u > 0."""
        return Jet(self.series.sqrt())

    def rsqrt(self) -> Jet:
        """1/√u."""
        return Jet(self.series.rsqrt())

    def sin(self) -> Jet:
        """The sine."""
        return Jet(self.series.sin())

    def cos(self) -> Jet:
        """The cosine."""
        return Jet(self.series.cos())

    def atan(self) -> Jet:
        """The arc tangent."""
        return Jet(self.series.atan())

    def erf(self) -> Jet:
        """The error function."""
        return Jet(self.series.erf())

    def erfc(self) -> Jet:
        """1 − erf(u), without the cancellation."""
        return Jet(self.series.erfc())

    def sinh(self) -> Jet:
        """Half of e^u − e^−u."""
        return (self.exp() - (-self).exp()) / 2

    def cosh(self) -> Jet:
        """Half of e^u + e^−u."""
        return (self.exp() + (-self).exp()) / 2

    def tanh(self) -> Jet:
        """In the exponential that falls, so that neither a huge argument nor a wide one matters."""
        above = not self.high < 0
        z = (-2 * self if above else 2 * self).exp()
        return (1 - z) / (1 + z) if above else (z - 1) / (z + 1)

    def asinh(self) -> Jet:
        """The integral of u′/√(1 + u²)."""
        rate = self.series.derivative() * (self.series * self.series + 1).rsqrt()
        return Jet(rate.integral() + self.series[0].asinh())

    def floor(self) -> Jet:
        """The integer below.

        Raises:
            Straddle: If it is not one integer for the whole interval.
        """
        low, high = self.low.floor(), self.high.floor()
        if not low == high:
            raise Straddle(kink=True)
        return Jet(arb_series([low]))


def _jet(value: Any) -> Jet:
    return value if isinstance(value, Jet) else Jet(arb_series([value]))


def _vanishes(u: Jet) -> bool:
    """Whether no coefficient of e^u reaches 2^-1000, though e^u may exceed even the exponents of balls.

    The k-th one is e^u times a polynomial in the further coefficients of u, at most (2 + 2·max|uⱼ|)^k.
    """
    largest = arb(0)
    for k in range(1, u.series.length()):
        largest = largest.max(u.series[k].abs_upper())
    return bool(u.high < -1000 - ctx.cap * (2 + 2 * largest).log())


def _quotient(a: Any, b: Any) -> Any:
    if b[0].contains(0):
        return arb_series([arb("nan")] * ctx.cap)
    return a / b


class Series:
    """Evaluates one formula's Taylor coefficients. Not safe to share between threads: flint's precision is global.

    Args:
        formula: The function, of one input.
        parameters: A number for each parameter.
        wide: Use forms that are narrow over wide intervals: equal functions, in which x occurs once where possible.
    """

    def __init__(self, formula: Formula, parameters: Mapping[str, float], wide: bool = False) -> None:
        root = rebuild(stabilize(formula).root, _narrowed) if wide else formula.root
        plain = Formula(_spelt_out(root), formula.inputs, formula.parameters)
        self._forms = _NARROW if wide else {}
        place = {node: i for i, node in enumerate(plain.nodes)}
        self._steps = [(node, tuple(place[a] for a in node.args)) for node in plain.nodes]
        self._root = place[plain.root]
        self._numbers = dict(parameters)

    def at(self, x: Ball, precision: int, length: int) -> list[Ball]:
        """Taylor coefficients 0 … length − 1 at every point of the ball x.

        Raises:
            Straddle: If a condition is not decided on it.
        """
        return self.jet(x, precision, length)[0]

    @exclusive
    def jet(self, x: Ball, precision: int, length: int) -> tuple[list[Ball], Ball]:
        """The coefficients, and the least size that the value has on x.

        Raises:
            Straddle: If a condition is not decided on it.
        """
        before = ctx.cap
        ctx.prec, ctx.cap = precision, length
        try:
            values: list[Any] = []
            for node, operands in self._steps:
                values.append(self._value(node, [values[i] for i in operands], x))
            if isinstance(values[self._root], Straddle):
                raise values[self._root]
            found = _jet(values[self._root])
            least = found.low if found.low > 0 else -found.high if found.high < 0 else arb(0)
            return [found.series[k] for k in range(length)], least
        finally:
            ctx.cap = before

    def _value(self, node: Node, given: list[Any], x: Ball) -> Any:
        """A value, or the `Straddle` that prevents it: an unselected branch must not matter."""
        if node.op == "input":
            return Jet(arb_series([x, 1]))
        if node.op in ("const", "param"):
            return arb(number_of(node) if node.is_const else self._numbers[str(node.value)])
        if node.op == "where":
            return given[0] if isinstance(given[0], Straddle) else given[1] if given[0] else given[2]
        for operand in given:
            if isinstance(operand, Straddle):
                return operand
        try:
            if node.op in COMPARISONS:
                return _compare(node.op, given[0], given[1])
            if node.op in LOGICAL:
                return _LOGIC[node.op](*given)
            ball = self._forms.get(node.op) or PRIMITIVES[node.op].ball
            assert ball is not None, node.op
            return ball(*given)
        except Straddle as cut:
            return cut


_LOGIC: dict[str, Callable[..., bool]] = {
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
    "not": lambda a: not a,
}
_HOLDS: dict[str, tuple[bool, bool, bool]] = {
    "lt": (True, False, False),
    "le": (True, True, False),
    "gt": (False, False, True),
    "ge": (False, True, True),
    "eq": (False, True, False),
    "ne": (True, False, True),
}


def _compare(name: str, a: Any, b: Any) -> bool:
    """Whether a condition holds on the whole interval. A tie of something that moves is a kink."""
    moves = isinstance(a, Jet) or isinstance(b, Jet)
    a, b = _jet(a), _jet(b)
    if a.high < b.low:
        return _HOLDS[name][0]
    if a.low > b.high:
        return _HOLDS[name][2]
    if not moves and a.low == b.high and a.high == b.low:
        return _HOLDS[name][1]
    raise Straddle(kink=True)


def _narrow_softsign(u: Any) -> Any:
    """±(1 − 1/(1 + |u|))."""
    rest = 1 - 1 / (1 + abs(u))
    return rest if u > 0 else -rest


def _narrow_isru(u: Any) -> Any:
    """±1/√(1 + 1/u²), unless u is small."""
    if not abs(u) > 1:
        return u / (1 + u * u).sqrt()
    v = 1 / u
    rest = (1 + v * v).rsqrt()
    return rest if u > 0 else -rest


_NARROW: dict[str, Callable[..., Any]] = {"softsign": _narrow_softsign, "isru": _narrow_isru}


def _narrowed(node: Node, args: tuple[Node, ...]) -> Node:
    """u/√(1 + (c·u)²) as the one function of u that it is."""
    node = remake(node, args)
    if node.op != "div" or node.args[1].op != "hypot1":
        return node
    a, b = node.args[0], node.args[1].args[0]
    if b.op == "mul" and b.args[1] is a and all(n.op != "input" for n in walk(b.args[0])):
        return op("isru", b) / b.args[0]
    return op("isru", a) if a is b else node


def _spelt_out(root: Node) -> Node:
    """Replace abs, sign, min, max and clamp, which have no ball forms, by the selections that they are."""

    def visit(node: Node, args: tuple[Node, ...]) -> Node:
        row = PRIMITIVES.get(node.op)
        if row is None or row.ball is not None or row.expand is None:
            return remake(node, args)
        return row.expand(*args)

    return rebuild(root, visit)
