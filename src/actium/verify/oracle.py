"""What a formula and its slope really are, in ball arithmetic.

Stage: formula → [truth] → sweep → checks → certificate.
In: a `Formula` and numbers for its parameters. Out: values and slopes, each within 2^-40 of the real number, or
a statement that there is none. Slopes come from dual numbers over the table's `ball` and `slopes` columns, never
from the graph derivative, which is one of the things to be judged. Loads neither torch nor any kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import flint
import numpy as np
import numpy.typing as npt

from actium.errors import ParameterError
from actium.symbolic.balls import exclusive
from actium.symbolic.graph import COMPARISONS, LOGICAL, Formula, Node, number_of, rebuild, remake
from actium.symbolic.primitives import PRIMITIVES
from actium.verify.straight import BALL, COMPARE, LOGIC, WHERE, Step, straight

Floats = npt.NDArray[np.float64]
Ball = Any  # flint.arb ships without type information
_Row = tuple[float, float, float, float, bool]

ACCURACY_BITS = 40
# Below 2^-200 nothing is told apart from 0: the smallest positive number of the formats judged here is 2^-149.
FLOOR_EXPONENT = -200
# Precisions to try. The ratio is large because a naive tail (log(1 + e^x), x = -1e30) fails at all the low ones.
LEVELS = (64, 192, 576, 1536, 4096)
# A ball that is no number here (log of a negative, 1/0) is none at higher precision either, except by coincidence.
_LAST_LEVEL_FOR_NAN = 2
# Distance from a kink at which its one-sided slopes are taken: relative, and absolute at x = 0.
_SIDE_RELATIVE, _SIDE_ABSOLUTE = -256, -456
# The first precision that tells a point from those beside it.
_SIDE_LEVEL = 2
_STEEPEST = 2.0**100
# Doubling exponents, so that even log(x) doubles from one to the next.
_LIMIT_EXPONENTS = (7, 15, 30, 60, 120, 240, 480, 960)

# A comparison's value for a − b negative, zero, positive.
VERDICTS: dict[str, tuple[bool, bool, bool]] = {
    "lt": (True, False, False),
    "le": (True, True, False),
    "gt": (False, False, True),
    "ge": (False, True, True),
    "eq": (False, True, False),
    "ne": (True, False, True),
}
_LOGICAL: dict[str, Callable[..., bool]] = {
    "and": lambda a, b: bool(a and b),
    "or": lambda a, b: bool(a or b),
    "not": lambda a: not a,
}


@dataclass(frozen=True)
class Truth:
    """The function at one point.

    Attributes:
        value: The value rounded to a double; ±inf if beyond its range, NaN if undefined or undecided.
        slope: The derivative, likewise. At a kink, the one of the branch that floating-point comparison takes.
        slope_range: Smallest and largest one-sided derivative; both are `slope` away from kinks.
        undecided: Whether even the highest precision did not settle the value or slope.
    """

    value: float
    slope: float
    slope_range: tuple[float, float]
    undecided: bool = False


@dataclass(frozen=True)
class Table:
    """Truth at many points, as parallel arrays."""

    x: Floats
    value: Floats
    slope: Floats
    slope_low: Floats
    slope_high: Floats
    undecided: npt.NDArray[np.bool_]


@dataclass
class _State:
    """What one pass over the program found, besides numbers."""

    tie: bool = False
    unsure: bool = False


def _without_rows_lacking_balls(root: Node) -> Node:
    """Replace abs, sign, min, max and clamp by the selections that they are."""

    def visit(node: Node, args: tuple[Node, ...]) -> Node:
        row = PRIMITIVES.get(node.op)
        if row is None or row.ball is not None or row.expand is None:
            return remake(node, args)
        return row.expand(*args)

    return rebuild(root, visit)


class Oracle:
    """Evaluates one formula. Threads take turns, because the precision of flint is global.

    Args:
        formula: The function, with exactly one input.
        parameters: A number for each of the formula's parameters.
        wrt: Name of the input or parameter that slopes are taken with respect to; the input by default.

    Raises:
        ParameterError: If the formula has several inputs, or a parameter has no number.
    """

    def __init__(self, formula: Formula, parameters: Mapping[str, float] | None = None, wrt: str | None = None) -> None:
        given = dict(parameters or {})
        if len(formula.inputs) != 1:
            raise ParameterError(f"the oracle judges functions of one input, this one has {len(formula.inputs)}")
        missing = [p for p in formula.parameters if p not in given]
        if missing:
            raise ParameterError(f"no value for parameter {', '.join(missing)}; give one in `parameters`")
        self.formula = formula
        self._numbers = given
        self._seed = wrt if wrt is not None else formula.inputs[0]
        self._static: dict[int, list[Any]] = {}
        self._compile(Formula(_without_rows_lacking_balls(formula.root), formula.inputs, formula.parameters))

    def _compile(self, plain: Formula) -> None:
        place = {node: i for i, node in enumerate(plain.nodes)}
        varies: set[Node] = set()
        moves: set[Node] = set()
        self._leaves: list[tuple[int, float]] = []
        self._input = self._seed_place = -1
        self._steps: list[Step] = []
        self._constant_steps: list[Step] = []
        for node in plain.nodes:
            if node.op in ("input", "param", "const"):
                self._add_leaf(node, place[node], varies, moves)
                continue
            step = self._step(node, place, moves)
            if any(a in varies for a in node.args):
                varies.add(node)
            if step.moving and not node.is_bool:
                moves.add(node)
            (self._steps if node in varies or node in moves else self._constant_steps).append(step)
        self._size = len(place)
        self._root = place[plain.root]
        self._run = straight(self._steps, self._root, self._input, self._seed_place)

    def _add_leaf(self, node: Node, at: int, varies: set[Node], moves: set[Node]) -> None:
        if node.op == "input":
            self._input = at
            varies.add(node)
        else:
            number = number_of(node) if node.is_const else self._numbers[str(node.value)]
            self._leaves.append((at, float(number)))
        if node.op != "const" and node.value == self._seed:
            self._seed_place = at
            moves.add(node)

    def _step(self, node: Node, place: Mapping[Node, int], moves: set[Node]) -> Step:
        operands = tuple(place[a] for a in node.args)
        moving = tuple(i for i, a in enumerate(node.args) if a in moves)
        nothing: Callable[..., tuple[Any, ...]] = lambda *_: ()  # noqa: E731 - a table cell, not a function
        if node.op in COMPARISONS:
            return Step(place[node], COMPARE, bool, nothing, operands, moving, VERDICTS[node.op])
        if node.op in LOGICAL:
            return Step(place[node], LOGIC, _LOGICAL[node.op], nothing, operands, moving)
        if node.op == "where":
            return Step(place[node], WHERE, bool, nothing, operands, moving)
        row = PRIMITIVES[node.op]
        assert row.ball is not None, f"{node.op} has neither a ball form nor an expansion"
        assert row.slopes is not None, f"{node.op} has no slopes"
        return Step(place[node], BALL, row.ball, row.slopes, operands, moving)

    # --- One pass at one precision ------------------------------------------------------------------

    def _constants(self, precision: int) -> list[Any]:
        if precision not in self._static:
            known: list[Any] = [None] * self._size
            for at, number in self._leaves:
                known[at] = flint.arb(number)
            slopes: list[Any] = [None] * self._size
            _execute(self._constant_steps, known, slopes, _State())
            self._static[precision] = known
        return self._static[precision]

    def _pass(self, x: Ball, precision: int) -> tuple[Ball, Ball, _State]:
        flint.ctx.prec = precision
        values = self._constants(precision).copy()
        slopes: list[Any] = [None] * self._size
        if self._input >= 0:
            values[self._input] = x
        if self._seed_place >= 0:
            slopes[self._seed_place] = 1
        state = _State()
        _execute(self._steps, values, slopes, state)
        return values[self._root], slopes[self._root], state

    def _decide(self, x: Ball, start: int = 0, stop: int = len(LEVELS)) -> tuple[Ball, Ball, _State, int]:
        """Raise the precision from level `start` until value and slope are accurate; the level reached, or `stop`."""
        value, slope, state = None, None, _State()
        for level in range(start, stop):
            value, slope, state = self._pass(x, LEVELS[level])
            quality = min(_quality(value), _quality(slope))
            if quality == _ACCURATE and not state.unsure:
                return value, slope, state, level
            if quality == _NO_NUMBER and not state.unsure and level >= _LAST_LEVEL_FOR_NAN:
                return value, slope, state, level
        return value, slope, state, stop

    # --- Public -------------------------------------------------------------------------------------

    def evaluate(self, x: float) -> Truth:
        """Value and slope at a finite number."""
        return self._at(x, 0, len(LEVELS))[0]

    @exclusive
    def _at(self, x: float, start: int, stop: int) -> tuple[Truth, int]:
        value, slope, state, level = self._decide(flint.arb(x), start, stop)
        own = _to_float(slope)
        low = high = own
        if state.tie:
            # A side as steep as sqrt|x| beside 0 has no slope.
            last = stop if stop > _SIDE_LEVEL else len(LEVELS)
            sides = [s for s in (self._side(x, sign, last) for sign in (-1, 1)) if abs(s) < _STEEPEST]
            low, high = (min(sides), max(sides)) if sides else (own, own)
            own = low if low == high else own
        qualities = (_quality(value), _quality(slope))
        return Truth(_to_float(value), own, (low, high), _VAGUE in qualities), level

    def _side(self, x: float, sign: int, stop: int) -> float:
        flint.ctx.prec = LEVELS[_SIDE_LEVEL]
        size = flint.arb(abs(x)) * flint.arb(2) ** _SIDE_RELATIVE if x else flint.arb(2) ** _SIDE_ABSOLUTE
        _, slope, _, _ = self._decide(flint.arb(x) + sign * size, _SIDE_LEVEL, stop)
        return _to_float(slope)

    @exclusive
    def table(self, xs: npt.ArrayLike) -> Table:
        """Truth at many finite numbers; fastest when they are sorted.

        Neighbours mostly need the same precision, so each point starts where the last one succeeded, and a
        region that no precision decides, or where two sides of a comparison are equal and none proves it, is not
        tried to the end at every point of it.
        """
        x = np.asarray(xs, dtype=np.float64)
        rows: list[_Row] = []
        start, failures, ties = 0, 0, 0
        precision, known = 0, []
        for i, point in enumerate(x.tolist()):
            if i % 16 == 0:
                start = max(start - 1, 0)
            if precision != LEVELS[start]:  # To set it takes as long as an exponential.
                precision = flint.ctx.prec = LEVELS[start]
                known = self._constants(precision)
            row = _plain_row(self._run(flint.arb(point), known))
            if row is not None:
                failures = ties = 0
                rows.append(row)
                continue
            stop = 2 if failures >= 4 else _SIDE_LEVEL + 1 if ties >= 4 else len(LEVELS)
            stop = stop if i % 256 else len(LEVELS)
            truth, level = self._at(point, min(start, stop - 1), stop)
            rows.append((truth.value, truth.slope, *truth.slope_range, truth.undecided))
            failures = failures + 1 if truth.undecided else 0
            tied = level == stop > _SIDE_LEVEL and not truth.undecided
            ties = ties + 1 if tied else 0
            # Only success says where to start: a lone kink or pole must not slow its neighbours down.
            start = level if level < len(LEVELS) - 1 and not tied and not math.isnan(truth.value) else start
        columns = np.array(rows, dtype=np.float64).reshape(-1, 5).T.copy()
        return Table(x, columns[0], columns[1], columns[2], columns[3], columns[4] != 0)

    @exclusive
    def limit(self, sign: int) -> tuple[float | None, float | None]:
        """Limits of value and slope for x → +inf or −inf: a number, ±inf, or None where there is none to be seen."""
        found = [self._decide(sign * flint.arb(2) ** k)[:2] for k in _LIMIT_EXPONENTS]
        return _limit_of([v for v, _ in found]), _limit_of([s for _, s in found])


def _execute(steps: Iterable[Step], values: list[Any], slopes: list[Any], state: _State) -> None:
    """Run operations in order. None stands for a slope that is exactly 0, so that 0·inf never arises."""
    for target, kind, function, partials_of, operands, moving, verdict in steps:
        given = [values[i] for i in operands]
        if kind == BALL:
            y = values[target] = function(*given)
            if moving:
                # Σ ∂y/∂uᵢ · uᵢ′ over the operands that depend on the input.
                partials = partials_of(*given, y)
                total: Any = None
                for i in moving:
                    inner = slopes[operands[i]]
                    if inner is not None:
                        term = partials[i] * inner
                        total = term if total is None else total + term
                slopes[target] = total
        elif kind == COMPARE:
            values[target] = _compare(verdict, given[0], given[1], state)
        elif kind == WHERE:
            chosen = operands[1] if given[0] else operands[2]
            values[target], slopes[target] = values[chosen], slopes[chosen]
        else:
            values[target] = function(*given)


def _compare(verdict: tuple[bool, bool, bool], a: Any, b: Any, state: _State) -> bool:
    if a < b:
        return verdict[0]
    if a > b:
        return verdict[2]
    if a == b:
        state.tie = True
        return verdict[1]
    if not (_is_number(a) and _is_number(b)):
        return False
    # The balls overlap: more precision may tell; if none does, it is as good as a tie.
    state.tie = state.unsure = True
    return verdict[1]


def _is_number(a: Any) -> bool:
    return not isinstance(a, flint.arb) or not a.is_nan()


_NO_NUMBER, _VAGUE, _ACCURATE = range(3)
_BALL = flint.arb


def _plain_row(found: tuple[Any, Any] | None) -> _Row | None:
    """The usual case in one pass: accurate at this precision, and no kink. Else None."""
    if found is None:
        return None
    for ball in found:
        # The usual answer of `_quality`, without the call.
        if ball.__class__ is _BALL and ball.is_finite() and ball.rel_accuracy_bits() >= ACCURACY_BITS:
            continue
        if _quality(ball) != _ACCURATE:
            return None
    v, s = float(found[0]), float(found[1] or 0.0)  # Of a ball, its middle.
    return v, s, s, s, False


def _quality(ball: Any) -> int:
    if not isinstance(ball, flint.arb):
        return _ACCURATE
    if not ball.is_finite():
        return _NO_NUMBER
    if ball.rel_accuracy_bits() >= ACCURACY_BITS:
        return _ACCURATE
    return _ACCURATE if ball.abs_upper() < _FLOOR else _VAGUE


_FLOOR = flint.arb(2) ** FLOOR_EXPONENT


def _to_float(ball: Any) -> float:
    """The nearest double of an accurate ball, NaN for any other."""
    if ball is None:
        return 0.0
    if not isinstance(ball, flint.arb):
        return float(ball)
    if _quality(ball) != _ACCURATE:
        return math.nan
    return float(ball.mid())


def _limit_of(balls: list[Any]) -> float | None:
    """The limit of a function from its values at ±2^7 … ±2^960.

    e^(2^240) exceeds even the exponent range of balls, so the values count up to the first that is no number.
    """
    exact: list[Any] = []
    for b in balls:
        if _quality(b) != _ACCURATE:
            break
        exact.append(flint.arb(0) if b is None else flint.arb(b))
    if len(exact) < 3:
        return None
    last, before, middle = exact[-1], exact[-2], exact[-3]
    scale = abs(last) + 1
    if abs(last - before) < scale * 2**-30 and abs(last - middle) < scale * 2**-30:
        return 0.0 if abs(last) < 2**-100 else float(last.mid())
    # Bounded functions settle; even log(x) doubles.
    if abs(last) > 1.5 * abs(before) and abs(before) > 1.5 * abs(middle) and (last > 0) == (before > 0):
        return math.inf if last > 0 else -math.inf
    return None
