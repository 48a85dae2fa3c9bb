"""A graph without conditions, evaluated with its slope on anything that has the arithmetic of balls.

Stage: formula → [proof] → claims, report.
In: a graph whose conditions are decided. Out: value and slope (dual numbers over the table's `ball` and `slopes`
columns, never the derivative rules) on a point, on an interval, or on a whole ray.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import flint

from actium.symbolic.graph import Node, number_of, walk
from actium.symbolic.primitives import PRIMITIVES
from actium.verify.proof.constants import Ball, symbol
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


_ON_RAYS: dict[str, tuple[Callable[..., Any], Callable[..., tuple[Any, ...]]]] = {
    "exp2": (lambda u: (u * _ln2(u)).exp(), lambda u, y: (y * _ln2(u),)),
    "log2": (lambda u: u.log() / _ln2(u), lambda u, y: (1 / (u * _ln2(u)),)),
    "pow": (lambda a, b: a**b, lambda a, b, y: (b * a ** (b - 1), None)),
    "square": (lambda u: u.to(Fraction(2)), lambda u, y: (2 * u,)),
}


class Program:
    """A graph of one variable.

    Args:
        root: The graph; conditions and parameters are gone.
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
            row = PRIMITIVES[node.op]
            assert row.ball is not None, node.op
            assert row.slopes is not None, node.op
            step = _Step(place[node], node.op, row.ball, row.slopes, tuple(place[a] for a in node.args), moving)
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
        except (ZeroDivisionError, ValueError, OverflowError, TypeError) as error:
            raise TailError(str(error)) from error
        zero = ray.constant(0)
        return (value if isinstance(value, Tail) else zero + value), (zero if slope is None else zero + slope)

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


def _on_rays(steps: list[_Step]) -> list[_Step]:
    return [s if s.op not in _ON_RAYS else s._replace(value=_ON_RAYS[s.op][0], slopes=_ON_RAYS[s.op][1]) for s in steps]


def _execute(steps: list[_Step], values: list[Any], slopes: list[Any]) -> None:
    """Run operations in order; None stands for a slope that is exactly 0."""
    for target, _, function, partials_of, operands, moving in steps:
        given = [values[i] for i in operands]
        y = values[target] = function(*given)
        if not moving:
            continue
        partials = partials_of(*given, y)
        total: Any = None
        for i in moving:
            inner = slopes[operands[i]]
            if inner is not None:
                term = partials[i] * inner
                total = term if total is None else total + term
        slopes[target] = total
