"""A graph of one branch, evaluated with its slope on anything that has the arithmetic of balls.

Stage: formula → [proof] → claims, report.
In: a graph whose conditions are decided; a derivative may have some of its own (aᵇ at a = 0). Out: value and slope
(dual numbers over the table's `ball` and `slopes` columns, never the derivative rules) on a point, on an interval, or
on a whole ray.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import flint

from actium.symbolic.graph import COMPARISONS, Node, number_of, walk
from actium.symbolic.primitives import PRIMITIVES
from actium.verify.oracle import VERDICTS
from actium.verify.proof.constants import Ball, symbol
from actium.verify.proof.gauges import UNIT
from actium.verify.proof.tails import Ray, Tail, TailError


class _Step(NamedTuple):
    target: int
    op: str
    value: Callable[..., Any]
    slopes: Callable[..., tuple[Any, ...]]
    operands: tuple[int, ...]
    moving: tuple[int, ...]


# Rows whose balls hold a constant that a tail needs exactly, or a partial derivative that it cannot take.
def _ln2(u: Tail) -> Tail:
    return u.ray.constant(symbol("ln2", flint.arb.const_log2()))


def _power(a: Tail, b: Tail) -> Tail:
    return a**b if b.terms.keys() <= {UNIT} else (b * a.log()).exp()


def _power_slopes(a: Tail, b: Tail, y: Tail) -> tuple[Any, ...]:
    return b * _power(a, b - 1), None if b.terms.keys() <= {UNIT} else y * a.log()


_ON_RAYS: dict[str, tuple[Callable[..., Any], Callable[..., tuple[Any, ...]]]] = {
    "exp2": (lambda u: (u * _ln2(u)).exp(), lambda u, y: (y * _ln2(u),)),
    "log2": (lambda u: u.log() / _ln2(u), lambda u, y: (1 / (u * _ln2(u)),)),
    "pow": (_power, _power_slopes),
    "square": (lambda u: u.to(Fraction(2)), lambda u, y: (2 * u,)),
}


class Program:
    """A graph of one variable.

    Args:
        root: The graph; parameters are gone, and so are conditions, but for those of the derivative rules.
        x: The variable's node.
    """

    def __init__(self, root: Node, x: Node) -> None:
        nodes = walk(root)
        place = {node: i for i, node in enumerate(nodes)}
        moves: set[Node] = {x}
        self._size = len(nodes)
        self._root = place[root]
        self._x = place.get(x, -1)
        self._numbers = [(place[n], number_of(n)) for n in nodes if n.is_const]
        self._constant: list[_Step] = []
        self._varying: list[_Step] = []
        self._known: dict[int, list[Any]] = {}
        for node in nodes:
            if not node.args and node.op != "pi":
                continue
            moving = tuple(i for i, a in enumerate(node.args) if a in moves)
            value, slopes = _functions(node.op)
            step = _Step(place[node], node.op, value, slopes, tuple(place[a] for a in node.args), moving)
            if moving:
                moves.add(node)
            (self._varying if moving else self._constant).append(step)

    @property
    def is_constant(self) -> bool:
        """Whether the variable does not occur."""
        return not self._varying and self._root != self._x

    @property
    def cost(self) -> int:
        """Operations in one evaluation."""
        return 1 + len(self._varying)

    def at(self, x: Ball) -> tuple[Ball, Ball]:
        """Value and slope on a ball, at the precision of the moment."""
        precision = flint.ctx.prec
        if precision not in self._known:
            known: list[Any] = [None] * self._size
            for at, number in self._numbers:
                known[at] = flint.arb(number)
            _execute(self._constant, known, [None] * self._size)
            self._known[precision] = known
        return self._run(x, self._known[precision])

    def on(self, ray: Ray) -> tuple[Tail, Tail]:
        """Value and slope on a ray.

        Raises:
            TailError: If the function has no form there that is known to be right.
        """
        known: list[Any] = [None] * self._size
        for at, number in self._numbers:
            known[at] = ray.constant(number) if abs(number) < float("inf") else None
        for step in self._constant:
            if step.op == "pi":
                known[step.target] = ray.constant(symbol("pi", flint.arb.pi()))
        steps = [s for s in self._constant if s.op != "pi"]
        try:
            _execute(_on_rays(steps), known, [None] * self._size)
            value, slope = self._run(ray.x, known, rays=True)
            zero = ray.constant(0)
            return (value if isinstance(value, Tail) else zero + value), (zero if slope is None else zero + slope)
        except (ZeroDivisionError, ValueError, OverflowError, TypeError) as error:
            raise TailError(str(error)) from error

    def _run(self, x: Any, known: list[Any], rays: bool = False) -> tuple[Any, Any]:
        values = known.copy()
        slopes: list[Any] = [None] * self._size
        if self._x >= 0:
            values[self._x], slopes[self._x] = x, 1
        _execute(_on_rays(self._varying) if rays else self._varying, values, slopes)
        slope = slopes[self._root]
        if rays:
            return values[self._root], slope
        return values[self._root], flint.arb(0) if slope is None else flint.arb(slope)


def _functions(name: str) -> tuple[Callable[..., Any], Callable[..., tuple[Any, ...]]]:
    """Value and partial derivatives of an operation."""
    if name in COMPARISONS:
        return (lambda a, b: _verdict(name, a - b)), lambda *_: ()
    if name == "where":
        return _chosen, lambda *_: ()
    row = PRIMITIVES[name]
    assert row.ball is not None, name
    assert row.slopes is not None, name
    return row.ball, row.slopes


def _verdict(name: str, difference: Any) -> bool | None:
    """A comparison's value, from the difference of its sides; None if it is not the same throughout."""
    if isinstance(difference, Tail):
        return VERDICTS[name][difference.sign + 1]
    signs = [s for s, may in ((-1, not difference >= 0), (0, difference.contains(0)), (1, not difference <= 0)) if may]
    verdicts = {VERDICTS[name][s + 1] for s in signs}
    return verdicts.pop() if len(verdicts) == 1 else None


def _chosen(condition: bool | None, a: Any, b: Any) -> Any:
    """The side of a `where` that is in force; NaN if both may be."""
    return flint.arb("nan") if condition is None else a if condition else b


def _on_rays(steps: list[_Step]) -> list[_Step]:
    return [s if s.op not in _ON_RAYS else s._replace(value=_ON_RAYS[s.op][0], slopes=_ON_RAYS[s.op][1]) for s in steps]


def _execute(steps: list[_Step], values: list[Any], slopes: list[Any]) -> None:
    """Run operations in order; None stands for a slope that is exactly 0."""
    for target, name, function, partials_of, operands, moving in steps:
        given = [values[i] for i in operands]
        y = values[target] = function(*given)
        if not moving or name in COMPARISONS:
            continue
        if name == "where":
            slopes[target] = _chosen(given[0], *(slopes[i] for i in operands[1:]))
            continue
        partials = partials_of(*given, y)
        total: Any = None
        for i in moving:
            inner = slopes[operands[i]]
            if inner is not None:
                term = partials[i] * inner
                total = term if total is None else total + term
        slopes[target] = total
