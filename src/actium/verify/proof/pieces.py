"""A formula with conditions → smooth branches side by side, and the points where they meet.

Stage: formula → [proof] → claims, report.
In: a graph with `where`, abs, min, max, clamp, sign, floor. Out: `Piece`s in order, each with the branch that is in
force there, and a `Break` between two. The points are roots of the conditions' differences, isolated with proof; where
a condition cannot be decided, a piece has both branches, and everything said of it holds for both.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

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
from actium.verify.proof.curve import Curve, End, Segment, Work, above, below, is_finite
from actium.verify.proof.ties import Key, key_of, vanish_together

MOST_PIECES = 96
# Of so many differences that may all vanish within one ball, every combination of signs is looked at.
_MOST_TIES = 3
_TRUE, _FALSE = op("eq", 0.0, 0.0), op("ne", 0.0, 0.0)
_ANY_SIGN = (-1, 0, 1)
_Signs = dict[Key, int]


class EndlessError(Exception):
    """The function has no finite description on an unbounded interval: it oscillates, or steps for ever."""


@dataclass(frozen=True)
class Piece:
    """Where the function is one smooth branch.

    Attributes:
        low: Left end.
        high: Right end.
        branches: The branch in force; several where a condition is undecided.
        continuous: Whether the function is known to be continuous there, whichever branch is in force where.
    """

    low: End
    high: End
    branches: tuple[Node, ...]
    continuous: bool = True


@dataclass(frozen=True)
class Break:
    """Where two pieces meet.

    Attributes:
        at: The place.
        branches: The branch in force there; several if conditions change there and it is not known which one first;
            none if nothing is known, as where a condition has no value.
        value: An enclosure of the function's value there; None without a branch.
    """

    at: Ball
    branches: tuple[Node, ...]
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
        self._cuts: list[tuple[Ball, Key]] = []  # which difference changes its sign where

    def pieces(self, low: End, high: End) -> list[Piece]:
        """The pieces of (low, high), in order.

        Raises:
            EndlessError: If there is no end to them.
        """
        result: list[Piece] = []
        for piece in _with_room(self._split(low, high, self.root, {})):
            same = bool(result) and result[-1].branches == piece.branches
            if same and (len(piece.branches) > 1 or self._branches(piece.low) == piece.branches):
                continuous = result[-1].continuous and piece.continuous
                result[-1] = Piece(result[-1].low, piece.high, piece.branches, continuous)
            else:
                result.append(piece)
        return result

    def breaks(self, pieces: list[Piece]) -> list[Break]:
        """The points between the pieces."""
        found = []
        for piece in pieces[:-1]:
            branches = self._branches(piece.high)
            values = [Curve(branch, self.x, self.work).at(0, piece.high)[0] for branch in branches]
            value = functools.reduce(lambda a, b: a.union(b), values) if values else None
            found.append(Break(piece.high, branches, value))
        return found

    def _branches(self, at: Ball) -> tuple[Node, ...]:
        """The branch in force at a point where pieces meet: the one difference that changes its sign there is 0.

        Several that change at about the same place need not change at the same: then every order is possible.
        """
        zeros = {key for place, key in self._cuts if place.overlaps(at)}
        found: dict[Node, None] = {}
        todo: list[tuple[Node, _Signs]] = [(self.root, dict.fromkeys(zeros, 0) if len(zeros) == 1 else {})]
        while todo:
            root, signs = todo.pop()
            node = _first_condition(root)
            if node is None:
                found[root] = None
                continue
            outcomes = self._outcomes(node, at, signs)
            if outcomes is None or len(signs) > _MOST_TIES:
                return ()
            todo += [(_decide(root, node, outcome), supposed) for outcome, supposed in outcomes]
        return tuple(found)

    def _outcomes(self, node: Node, at: Ball, signs: _Signs) -> list[tuple[Node, _Signs]] | None:
        """What a condition or a floor may be at a point, each with the signs that this supposes."""
        if node.op == "floor":
            inner = Curve(node.args[0], self.x, self.work).at(0, at)[0]
            if inner.floor().is_exact():
                return [(const(float(inner.floor())), signs)]
            number = inner.unique_fmpz()
            if number is None:
                return None
            n = float(number)
            return [(const(n - 1 if s < 0 else n), more) for s, more in _signs(node.args[0], const(n), signs)]
        value = self._difference(node).at(0, at)[0]
        verdicts = [_TRUE if v else _FALSE for v in VERDICTS[node.op]]
        if value > 0 or value < 0 or value == 0:
            return [(verdicts[1 + (value > 0) - (value < 0)], signs)]
        if not value.is_finite():
            return None
        return [(verdicts[s + 1], more) for s, more in _signs(node.args[0], node.args[1], signs)]

    def _difference(self, condition: Node) -> Curve:
        if condition not in self._conditions:
            a, b = condition.args
            # a − inf has the sign of −inf for every finite a.
            for side, other, flip in ((b, a, -1.0), (a, b, 1.0)):
                if side.is_const and side.value in (math.inf, -math.inf) and not other.is_const:
                    a, b = const(math.copysign(1.0, float(side.value)) * flip), const(0.0)
            self._conditions[condition] = Curve(op("sub", a, b), self.x, self.work)
        return self._conditions[condition]

    def _split(self, low: End, high: End, root: Node, signs: _Signs) -> list[Piece]:
        """The pieces of (low, high), on which some differences have known signs."""
        node = _first_condition(root)
        if node is None:
            return [Piece(low, high, (root,))]
        if node.op == "floor":
            return self._steps(low, high, root, node, signs)
        key, flip = key_of(*node.args)
        verdicts = [_decide(root, node, _TRUE if v else _FALSE) for v in VERDICTS[node.op]]
        if key in signs:
            return self._split(low, high, verdicts[1 + flip * signs[key]], signs)
        parts = self._difference(node).segments(0, low, high, touching=True)
        self._note(parts, key)
        found: list[Piece] = []
        for part in parts:
            if part.sign is not None:
                known = {**signs, key: flip * part.sign}
                found += self._split(part.low, part.high, verdicts[1 + part.sign], known)
            elif not (is_finite(part.low) and is_finite(part.high)):
                raise EndlessError
            else:
                roots = [(verdicts[1 + s], {**signs, key: flip * s}) for s in _ANY_SIGN]
                found += self._either(part.low, part.high, roots, key)
            if len(found) > MOST_PIECES:
                raise EndlessError
        return found

    def _either(self, low: End, high: End, roots: list[tuple[Node, _Signs]], key: Key) -> list[Piece]:
        """One piece with the branches of several graphs; the pieces of the graph, if there is only one."""
        parts = [self._split(low, high, *either) for either in roots]
        if all(p == parts[0] for p in parts):
            return parts[0]
        branches = tuple(dict.fromkeys(b for pieces in parts for p in pieces for b in p.branches))
        single = all(len(pieces) == 1 and len(pieces[0].branches) == 1 for pieces in parts)
        return [Piece(low, high, branches, single and vanish_together(key, branches))]

    def _note(self, parts: list[Segment], key: Key) -> None:
        """Keep the places where a difference changes its sign: it is 0 there."""
        self._cuts += [(a.high, key) for a, b in itertools.pairwise(parts) if a.sign and b.sign and a.sign != b.sign]

    def _steps(self, low: End, high: End, root: Node, node: Node, signs: _Signs) -> list[Piece]:
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
            self._note(parts, key_of(node.args[0], const(float(n)))[0])
            cuts += [p.high for p in parts[:-1]]
        cuts = [*sorted(cuts, key=lambda e: float(e.mid())), high]
        found: list[Piece] = []
        for a, b in itertools.pairwise(cuts):
            middle = flint.arb(float(((a + b) / 2).mid()))
            step = inner.at(0, middle)[0].floor()
            found += self._split(a, b, _decide(root, node, const(float(step.mid()))), signs)
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
        decided = {_TRUE: _FALSE, _FALSE: _TRUE}.get(args[0])
        return op("not", args[0]) if decided is None else decided
    strong, weak = (_FALSE, _TRUE) if node.op == "and" else (_TRUE, _FALSE)
    if strong in args:
        return strong
    rest = [a for a in args if a is not weak]
    return weak if not rest else rest[0] if len(rest) == 1 else op(node.op, *rest)


def _signs(a: Node, b: Node, signs: _Signs) -> list[tuple[int, _Signs]]:
    """Signs that a − b may have at a point near its zeros, each with what is known then."""
    key, flip = key_of(a, b)
    if key in signs:
        return [(flip * signs[key], signs)]
    return [(s, {**signs, key: flip * s}) for s in _ANY_SIGN]


def _with_room(pieces: list[Piece]) -> list[Piece]:
    """The pieces without those whose ends may be one point, as between two conditions that change at √2.

    What is said of that point then holds for everything within the ball around it.
    """
    result: list[Piece] = []
    start = None
    for i, piece in enumerate(pieces):
        low = piece.low if start is None else start
        start = None
        if is_finite(low) and is_finite(piece.high) and low.overlaps(piece.high):
            last = i == len(pieces) - 1
            start = low.union(piece.high) if result else low
            if result:
                result[-1] = replace(result[-1], high=piece.high if last else start)
        else:
            result.append(replace(piece, low=low))
    return result or pieces
