"""A formula with conditions → smooth branches side by side, and the points where they meet.

Stage: formula → [proof] → claims, report.
In: a graph with `where`, abs, min, max, clamp, sign, floor. Out: `Piece`s in order, each with the branch that is in
force there, and a `Break` between two. The points are roots of the conditions' differences, isolated with proof; where
a condition cannot be decided, a piece has both branches, and everything said of it holds for both.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import flint

from actium.symbolic.graph import (
    COMPARISONS,
    LOGICAL,
    Formula,
    Node,
    const,
    op,
    parameter,
    rebuild,
    remake,
    substitute,
    walk,
)
from actium.symbolic.primitives import PRIMITIVES
from actium.verify.oracle import VERDICTS
from actium.verify.proof.constants import Ball
from actium.verify.proof.curve import Curve, End, Work, above, below, is_finite

MOST_PIECES = 96
_TRUE, _FALSE = op("eq", 0.0, 0.0), op("ne", 0.0, 0.0)


class EndlessError(Exception):
    """The function has no finite description on an unbounded interval: it oscillates, or steps for ever."""


@dataclass(frozen=True)
class Piece:
    """Where the function is one smooth branch.

    Attributes:
        low: Left end.
        high: Right end.
        branches: The branch in force; several where a condition is undecided.
    """

    low: End
    high: End
    branches: tuple[Node, ...]


@dataclass(frozen=True)
class Break:
    """Where two pieces meet.

    Attributes:
        at: The place.
        branch: The branch in force there, or None if it is not known.
        value: The function's value there, likewise.
    """

    at: Ball
    branch: Node | None
    value: Ball | None


def plain(formula: Formula, parameters: Mapping[str, float]) -> tuple[Node, Node]:
    """The graph over smooth operations and `where`, with numbers for the parameters; and its variable."""
    numbers = {parameter(name): const(parameters[name]) for name in formula.parameters}

    def visit(node: Node, args: tuple[Node, ...]) -> Node:
        row = PRIMITIVES.get(node.op)
        # softsign has a ball, but its derivative has |u| in it: only its branches are smooth.
        bent = row is not None and row.expand is not None and (row.ball is None or node.op == "softsign")
        return row.expand(*args) if bent and row is not None and row.expand is not None else remake(node, args)

    root = substitute(formula.root, numbers)
    while (expanded := rebuild(root, visit)) is not root:
        root = expanded
    return root, Node("input", (), formula.inputs[0])


class Splitter:
    """Splits one function.

    Args:
        root: As `plain` gives it.
        x: The variable.
        work: What may be spent.
    """

    def __init__(self, root: Node, x: Node, work: Work) -> None:
        self.root = root
        self.x = x
        self.work = work
        self._conditions: dict[Node, Curve] = {}

    def pieces(self, low: End, high: End) -> list[Piece]:
        """The pieces of (low, high), in order.

        Raises:
            EndlessError: If there is no end to them.
        """
        result: list[Piece] = []
        for piece in self._split(low, high, self.root):
            same = bool(result) and result[-1].branches == piece.branches
            if same and (len(piece.branches) > 1 or (self._branch(piece.low),) == piece.branches):
                result[-1] = Piece(result[-1].low, piece.high, piece.branches)
            else:
                result.append(piece)
        return result

    def breaks(self, pieces: list[Piece]) -> list[Break]:
        """The points between the pieces."""
        found = []
        for piece in pieces[:-1]:
            branch = self._branch(piece.high)
            value = None if branch is None else Curve(branch, self.x, self.work).at(0, piece.high)[0]
            found.append(Break(piece.high, branch, value))
        return found

    def _branch(self, at: Ball) -> Node | None:
        """The branch in force at a point where pieces meet: the condition that changes there is a tie."""
        root, ties = self.root, 0
        while (node := _first_condition(root)) is not None:
            if node.op == "floor":
                step = Curve(node.args[0], self.x, self.work).at(0, at)[0].floor()
                if not step.is_exact():
                    return None
                root = _decide(root, node, const(float(step)))
                continue
            sign = _sign_of(self._difference(node), at)
            ties += sign == 0
            if sign is None or (ties > 1 and not at.is_exact()):
                return None  # two conditions that change at about the same place need not change at the same
            root = _decide(root, node, _TRUE if VERDICTS[node.op][sign + 1] else _FALSE)
        return root

    def _difference(self, condition: Node) -> Curve:
        if condition not in self._conditions:
            a, b = condition.args
            # a − inf has the sign of −inf for every finite a.
            for side, other, flip in ((b, a, -1.0), (a, b, 1.0)):
                if side.is_const and side.value in (math.inf, -math.inf) and not other.is_const:
                    a, b = const(math.copysign(1.0, float(side.value)) * flip), const(0.0)
            self._conditions[condition] = Curve(op("sub", a, b), self.x, self.work)
        return self._conditions[condition]

    def _split(self, low: End, high: End, root: Node) -> list[Piece]:
        node = _first_condition(root)
        if node is None:
            return [Piece(low, high, (root,))]
        if node.op == "floor":
            return self._steps(low, high, root, node)
        curve = self._difference(node)
        found: list[Piece] = []
        for part in curve.segments(0, low, high, touching=True):
            truths = {VERDICTS[node.op][s + 1] for s in ((-1, 0, 1) if part.sign is None else (part.sign,))}
            if part.sign is None and not (is_finite(part.low) and is_finite(part.high)):
                raise EndlessError
            branches = [_decide(root, node, _TRUE if t else _FALSE) for t in sorted(truths)]
            parts = [self._split(part.low, part.high, b) for b in dict.fromkeys(branches)]
            if len(parts) == 1:
                found += parts[0]
            else:
                either = dict.fromkeys(b for pieces in parts for p in pieces for b in p.branches)
                found.append(Piece(part.low, part.high, tuple(either)))
            if len(found) > MOST_PIECES:
                raise EndlessError
        return found

    def _steps(self, low: End, high: End, root: Node, node: Node) -> list[Piece]:
        """One piece for each integer that the operand of a floor passes."""
        if not (is_finite(low) and is_finite(high)):
            raise EndlessError
        inner = Curve(node.args[0], self.x, self.work)
        hull = inner.enclosure(0, below(low), above(high))
        if not hull.is_finite() or above(hull) - below(hull) > MOST_PIECES:
            raise EndlessError
        cuts = [low]
        for n in range(math.floor(below(hull)), math.ceil(above(hull)) + 1):
            passing = Curve(op("sub", node.args[0], const(float(n))), self.x, self.work)
            parts = passing.segments(0, low, high, touching=True)
            if any(p.sign is None for p in parts):
                raise EndlessError
            cuts += [p.high for p in parts[:-1]]
        cuts = [*sorted(cuts, key=lambda e: float(e.mid())), high]
        found: list[Piece] = []
        for a, b in itertools.pairwise(cuts):
            middle = flint.arb(float(((a + b) / 2).mid()))
            step = inner.at(0, middle)[0].floor()
            found += self._split(a, b, _decide(root, node, const(float(step.mid()))))
        return found


def _first_condition(root: Node) -> Node | None:
    """The first comparison or floor that nothing undecided stands below."""
    for node in walk(root):
        if node.op in COMPARISONS and node is not _TRUE and node is not _FALSE:
            return node
        if node.op == "floor":
            return node
    return None


def _decide(root: Node, condition: Node, outcome: Node) -> Node:
    """The graph in which a condition is decided, or a step is a number."""

    def visit(node: Node, args: tuple[Node, ...]) -> Node:
        if node is condition:
            return outcome
        if node.op in LOGICAL:
            return _logic(node, args)
        if node.op == "where" and args[0] in (_TRUE, _FALSE):
            return args[1] if args[0] is _TRUE else args[2]
        return remake(node, args)

    return rebuild(root, visit)


def _logic(node: Node, args: tuple[Node, ...]) -> Node:
    if node.op == "not":
        return {_TRUE: _FALSE, _FALSE: _TRUE}.get(args[0]) or op("not", args[0])
    strong, weak = (_FALSE, _TRUE) if node.op == "and" else (_TRUE, _FALSE)
    if strong in args:
        return strong
    rest = [a for a in args if a is not weak]
    return weak if not rest else rest[0] if len(rest) == 1 else op(node.op, *rest)


def _sign_of(curve: Curve, at: Ball) -> int | None:
    value = curve.at(0, at)[0]
    if value > 0 or value < 0:
        return 1 if value > 0 else -1
    return 0 if value.is_finite() else None
