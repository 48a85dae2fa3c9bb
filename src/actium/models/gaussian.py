"""Moments of an activation of a standard normal variable, by certified quadrature.

Stage: formula → [moments] → gain → init.
In: a formula and numbers for its parameters. Out: balls of E[f(z)], E[f(z)²], E[z²f(z)²], E[f(z)⁴], E[f′(z)²].
Arb integrates each smooth piece of the formula over the complex plane and bounds its own error; the pieces are found
by bisection in interval arithmetic. Loads no torch. A formula with too many pieces (floor) is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import flint
from flint import acb, arb

from actium.errors import QuadratureError
from actium.symbolic.balls import exclusive
from actium.symbolic.derivative import differentiate
from actium.symbolic.graph import (
    Formula,
    Node,
    const,
    number_of,
    parameter,
    rebuild,
    remake,
    substitute,
    variable,
    walk,
)
from actium.symbolic.primitives import PRIMITIVES

PRECISION = 96
TOLERANCE = 2.0**-60
# P(|z| > 40) is e^-805; what is left out there is bounded by the function's own enclosures up to |z| = 640.
RADIUS = 40
_DOUBLINGS = 4
_SPLITS = 8
_NARROWEST = arb(2) ** -80
_MOST_PIECES = 400
_MOMENTS = ("mean", "square", "square_z2", "fourth", "slope_square")


# --- The analytic continuation of each primitive ------------------------------------------------------------

Analytic = bool


def _log(u: acb, a: Analytic) -> acb:
    return u.log(analytic=a)


def _root(u: acb, a: Analytic) -> acb:
    return u.sqrt(analytic=a)


def _softplus(u: acb, a: Analytic) -> acb:
    return _log(1 + u.exp(), a) if u.real.mid() < 0 else u + _log(1 + (-u).exp(), a)


def _tanh_softplus(u: acb, a: Analytic) -> acb:
    n = u.exp()
    return n * (n + 2) / (n * (n + 2) + 2)


def _tanh_softplus_rate(u: acb, a: Analytic) -> acb:
    n = u.exp()
    return 4 * (n + 1) / ((n + 2) * (n * (n + 2) + 2))


def _sech_softplus(u: acb, a: Analytic) -> acb:
    n = u.exp()
    return 2 * (n + 1) / (n * (n + 2) + 2)


def _atan(u: acb, a: Analytic) -> acb:
    i = acb(0, 1)
    return (_log(1 - i * u, a) - _log(1 + i * u, a)) * i / 2


def _plain(name: str) -> Callable[..., acb]:
    return lambda u, a: getattr(u, name)()


_CONTINUED: dict[str, Callable[..., acb]] = {
    "pi": lambda a: acb.pi(),
    "add": lambda u, v, a: u + v,
    "sub": lambda u, v, a: u - v,
    "mul": lambda u, v, a: u * v,
    "div": lambda u, v, a: u / v,
    "neg": lambda u, a: -u,
    "square": lambda u, a: u * u,
    "reciprocal": lambda u, a: 1 / u,
    "sqrt": _root,
    "rsqrt": lambda u, a: 1 / _root(u, a),
    "pow": lambda u, v, a: u.pow(v, analytic=a),
    **{name: _plain(name) for name in ("exp", "expm1", "sinh", "cosh", "tanh", "sech", "erf", "erfc", "sin", "cos")},
    "exp2": lambda u, a: (u * arb.const_log2()).exp(),
    "log": _log,
    "log2": lambda u, a: _log(u, a) / arb.const_log2(),
    "log1p": lambda u, a: _log(1 + u, a),
    "sigmoid": lambda u, a: 1 / (1 + (-u).exp()),
    "logsigmoid": lambda u, a: -_softplus(-u, a),
    "softplus": _softplus,
    "tanh_softplus": _tanh_softplus,
    "tanh_softplus_rate": _tanh_softplus_rate,
    "sech_softplus": _sech_softplus,
    "tanhshrink": lambda u, a: u - u.tanh(),
    "exp_square": lambda u, c, a: (c * u * u).exp(),
    "atan": _atan,
    "asinh": lambda u, a: _log(u + _root(1 + u * u, a), a),
    "hypot1": lambda u, a: _root(1 + u * u, a),
    "isru": lambda u, a: u / _root(1 + u * u, a),
    "ndtr": lambda u, a: (-u / acb(2).sqrt()).erfc() / 2,
}


def _continued(root: Node, x: Node) -> Callable[[acb, Analytic], acb]:
    """A graph without conditions as a function of a complex ball."""
    nodes = walk(root)
    for node in nodes:
        if node is not x and not node.is_const and node.op not in _CONTINUED:
            raise QuadratureError(f"{node.op} is not analytic; the moments are not certified")

    def run(z: acb, analytic: Analytic) -> acb:
        done: dict[Node, acb] = {}
        for node in nodes:
            if node is x:
                done[node] = z
            elif node.is_const:
                done[node] = acb(number_of(node))
            else:
                done[node] = _CONTINUED[node.op](*(done[a] for a in node.args), analytic)
        return done[root]

    return run


# --- Pieces -------------------------------------------------------------------------------------------------

_ORDER: dict[str, Callable[[Any, Any], bool | None]] = {
    "lt": lambda a, b: True if a < b else False if a >= b else None,
    "le": lambda a, b: True if a <= b else False if a > b else None,
    "gt": lambda a, b: True if a > b else False if a <= b else None,
    "ge": lambda a, b: True if a >= b else False if a < b else None,
    "eq": lambda a, b: False if not a.overlaps(b) else True if a == b else None,
    "ne": lambda a, b: True if not a.overlaps(b) else False if a == b else None,
}


def _simple(root: Node) -> Node:
    """Write what has no continuation (abs, max, clamp, softsign) as the selections that it is."""

    def visit(node: Node, args: tuple[Node, ...]) -> Node:
        row = PRIMITIVES.get(node.op)
        if row is None or node.op in _CONTINUED or node.op in _ORDER or row.expand is None:
            return remake(node, args)
        return _simple(row.expand(*args))

    return rebuild(root, visit)


def _settle(root: Node, x: Node, interval: arb) -> Node | None:
    """The graph with its conditions decided on an interval, or None if one of them changes there."""
    values: dict[Node, Any] = {}
    settled: dict[Node, Node] = {}
    open_: set[Node] = set()
    for node in walk(root):
        args = node.args
        if node.op == "where":
            verdict = values[args[0]]
            chosen = args[1] if verdict else args[2]
            if verdict is None or args[0] in open_:
                open_.add(node)
                values[node] = values[args[1]].union(values[args[2]])
                settled[node] = node
                continue
            values[node], settled[node] = values[chosen], settled[chosen]
            if chosen in open_:
                open_.add(node)
            continue
        if node.op in _ORDER:
            values[node] = _ORDER[node.op](values[args[0]], values[args[1]])
        elif node.op in ("and", "or", "not"):
            values[node] = _logic(node.op, [values[a] for a in args])
        else:
            values[node] = interval if node is x else _ball(node, [values[a] for a in args])
            settled[node] = remake(node, [settled[a] for a in args])
            if any(a in open_ for a in args):
                open_.add(node)
    return None if root in open_ else settled[root]


def _logic(op: str, given: list[bool | None]) -> bool | None:
    if op == "not":
        return None if given[0] is None else not given[0]
    decisive = op == "or"
    if decisive in given:
        return decisive
    return None if None in given else not decisive


def _ball(node: Node, args: list[Any]) -> Any:
    if node.is_const:
        return arb(number_of(node))
    row = PRIMITIVES[node.op]
    if row.ball is None:
        raise QuadratureError(f"{node.op} has no ball form; its moments are not certified")
    return row.ball(*args)


def _hull(low: arb, high: arb) -> arb:
    return arb(low).union(arb(high))


@dataclass
class _Partition:
    """The line cut where a formula changes: smooth pieces, and slivers too narrow to matter."""

    roots: tuple[Node, ...]
    x: Node
    pieces: list[tuple[arb, arb, tuple[Node, ...]]] = field(default_factory=list)
    slivers: list[tuple[arb, arb]] = field(default_factory=list)

    def cut(self) -> None:
        """Bisect [−RADIUS, RADIUS] from left to right."""
        stack = [(arb(-RADIUS), arb(RADIUS))]
        while stack:
            low, high = stack.pop()
            graphs = self._settled(_hull(low, high))
            if graphs is not None:
                self._append(low, high, graphs)
            elif high - low < _NARROWEST:
                self.slivers.append((low, high))
            else:
                # Off the centre, so that a kink at a round number is not an end of two intervals.
                middle = (low + (high - low) * arb(0.484375)).mid()
                stack += [(middle, high), (low, middle)]
            if len(self.pieces) + len(self.slivers) > _MOST_PIECES:
                raise QuadratureError(f"more than {_MOST_PIECES} pieces; the moments are not certified")

    def _settled(self, interval: arb) -> tuple[Node, ...] | None:
        found = tuple(_settle(root, self.x, interval) for root in self.roots)
        return None if None in found else found  # type: ignore[return-value]

    def _append(self, low: arb, high: arb, graphs: tuple[Node, ...]) -> None:
        if self.pieces and self.pieces[-1][2] == graphs and bool(self.pieces[-1][1] == low):
            low = self.pieces.pop()[0]
        self.pieces.append((low, high, graphs))


# --- Integrals ----------------------------------------------------------------------------------------------


def _integrands(f: Any, slope: Any, z: Any) -> dict[str, Any]:
    """What is averaged, without the density."""
    return {
        "mean": f,
        "square": f * f,
        "square_z2": f * f * z * z,
        "fourth": f * f * f * f,
        "slope_square": slope * slope,
    }


def _density(z: Any) -> Any:
    return (-z * z / 2).exp() / (2 * arb.pi()).sqrt()


def _piece(low: arb, high: arb, graphs: tuple[Node, ...], x: Node, name: str) -> arb:
    f, slope = (_continued(g, x) for g in graphs)

    def integrand(z: acb, analytic: Analytic) -> acb:
        value = f(z, analytic) if name != "slope_square" else acb(0)
        rate = slope(z, analytic) if name == "slope_square" else acb(0)
        return _integrands(value, rate, z)[name] * _density(z)

    return acb.integral(integrand, low, high, rel_tol=TOLERANCE, abs_tol=TOLERANCE / 1024).real


def _bound(roots: tuple[Node, ...], x: Node, low: arb, high: arb, weight: arb, splits: int = _SPLITS) -> arb:
    """A bound of what any of the integrals is on an interval of at most a given mass, from interval arithmetic."""
    interval = _hull(low, high)
    sizes = [_enclosure(root, x, interval).abs_upper() for root in roots]
    f, slope = arb(sizes[0]), arb(sizes[1])
    z = arb(interval.abs_upper())
    total = (1 + f * f) * (1 + f * f) * (1 + z * z) + slope * slope
    if total.is_finite():
        return arb(0, float((total * weight).abs_upper()))
    if not splits:
        raise QuadratureError("no finite bound in the tail; the moments are not certified")
    middle = ((low + high) / 2).mid()
    halves = ((low, middle), (middle, high))
    return sum((_bound(roots, x, a, b, weight, splits - 1) for a, b in halves), arb(0))


def _enclosure(root: Node, x: Node, interval: arb) -> arb:
    """A ball of all values on an interval; both branches of a condition that is not decided."""
    done: dict[Node, Any] = {}
    for node in walk(root):
        args = [done[a] for a in node.args]
        if node.op == "where":
            done[node] = args[1].union(args[2]) if args[0] is None else args[1] if args[0] else args[2]
        elif node.op in _ORDER:
            done[node] = _ORDER[node.op](*args)
        elif node.op in ("and", "or", "not"):
            done[node] = _logic(node.op, args)
        else:
            done[node] = interval if node is x else _ball(node, args)
    return done[root]


def _tails(roots: tuple[Node, ...], x: Node) -> arb:
    total = arb(0)
    for k in range(_DOUBLINGS):
        near, far = arb(RADIUS) * 2**k, arb(RADIUS) * 2 ** (k + 1)
        mass = _density(near) * far
        total += _bound(roots, x, near, far, mass) + _bound(roots, x, -far, -near, mass)
    return total


@exclusive
def gaussian_moments(formula: Formula, values: Mapping[str, float]) -> dict[str, arb]:
    """Balls of the moments of f(z), z standard normal.

    The tails are enclosed out to |z| = 640; beyond, f and f′ are taken to grow more slowly than e^(z²/8). A jump of f
    adds nothing to E[f′²], which is that of the derivative almost everywhere.

    Args:
        formula: A function of one input.
        values: A number for each parameter.

    Returns:
        `mean` E[f], `square` E[f²], `square_z2` E[z²f²], `fourth` E[f⁴], `slope_square` E[f′²]; each a ball.

    Raises:
        QuadratureError: If they cannot be enclosed.

    Example:
        >>> from actium.symbolic.parse import parse
        >>> moments = gaussian_moments(parse("relu(x)"), {})
        >>> bool(moments["square"].overlaps(arb(1) / 2)), float(moments["square"].rad()) < 1e-15
        (True, True)
    """
    x = variable(formula.inputs[0])
    fixed = {parameter(n): const(values[n]) for n in formula.parameters}
    root = _simple(substitute(formula.root, fixed))
    roots = (root, _simple(differentiate(root, x)))
    flint.ctx.prec = PRECISION
    partition = _Partition(roots, x)
    partition.cut()
    slack = _tails(roots, x)
    for low, high in partition.slivers:
        slack += _bound(roots, x, low, high, high - low)
    found = {}
    for name in _MOMENTS:
        total = sum((_piece(*p, x, name) for p in partition.pieces), arb(0)) + slack
        if not total.is_finite():
            raise QuadratureError("the integral does not converge; the moments are not certified")
        found[name] = total
    return found
