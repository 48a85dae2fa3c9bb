"""Is a function odd or even?

Stage: formula → [proof] → claims, report.
In: pieces. Out: `Parity`: proven from the structure of the branches, refuted by a witness, or bounded by intervals.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import flint

from actium.symbolic.graph import Node, neg, op, substitute
from actium.verify.proof.analysis import Analysis
from actium.verify.proof.curve import Curve, End, is_finite
from actium.verify.proof.forms import form, scaled
from actium.verify.proof.model import Parity

_WITNESSES = (0.3125, 0.75, 1.1875, 2.5, 3.75, 6.25, 11.0)
# Where oddness is neither proven nor refuted, it is bounded on [0, 8], divided this often.
_REACH, _PARTS = 8.0, 256


def parity(analysis: Analysis) -> Parity:
    """Odd, even, both (the function 0) or neither."""
    found = {sign: _witness(analysis, sign) or _witness_between(analysis, sign) for sign in (-1, 1)}
    refuted = {_NAMES[s]: w for s, w in found.items() if w is not None}
    left = [s for s, w in found.items() if w is None]
    if not left:
        return Parity("none", True, "; ".join(f"not {n}: x = ±{w:g}" for n, w in refuted.items()), refuted)
    mirrored = _mirrored(analysis)
    known = all(b.value is not None and b.value.is_finite() for b in analysis.breaks)
    proven = [s for s in left if mirrored and known and all(_matches(a, b, analysis.x, s) for a, b in mirrored)]
    if proven:
        kind = "both" if len(proven) == 2 else _NAMES[proven[0]]
        return Parity(kind, True, "from the structure of the formula", refuted)
    for sign in left:
        bound = _bound(analysis, mirrored, sign)
        if bound is not None:
            text = f"|f(−x) {'+' if sign < 0 else '−'} f(x)| ≤ 2^{bound} on [−{_REACH:g}, {_REACH:g}]"
            return Parity(_NAMES[sign], False, text, refuted)
    return Parity(None, False, "neither proven nor refuted", refuted)


_NAMES: dict[int, Literal["odd", "even"]] = {-1: "odd", 1: "even"}


def _witness(analysis: Analysis, sign: int) -> float | None:
    """A point at which f(−x) is not sign·f(x): another number, or none."""
    for point in _WITNESSES:
        values = [_value(analysis, p) for p in (point, -point)]
        known = [v for v in values if v is not None]
        if len(known) == 1 or (known and not (known[1] - sign * known[0]).contains(0)):
            return point
    return None


def _witness_between(analysis: Analysis, sign: int) -> float | None:
    """The same where pieces meet."""
    for a, b in zip(analysis.breaks, reversed(analysis.breaks), strict=True):
        if a.value is not None and b.value is not None and b.at.overlaps(-a.at):
            if not (a.value - sign * b.value).contains(0):
                return float(b.at.mid())
    return None


def _value(analysis: Analysis, point: float) -> Any:
    ball = flint.arb(point)
    for i, piece in enumerate(analysis.pieces):
        if (not is_finite(piece.low) or piece.low < ball) and (not is_finite(piece.high) or ball < piece.high):
            value = analysis.value(0, i, ball)
            return value if isinstance(value, flint.arb) and value.is_finite() else None
    return None


def _mirrored(analysis: Analysis) -> list[tuple[Node, Node]] | None:
    """(branch on the left, branch on the right) of each two pieces that mirror each other."""
    pieces = analysis.pieces
    pairs = []
    for a, b in zip(pieces, reversed(pieces), strict=True):
        if len(a.branches) != 1 or len(b.branches) != 1 or not _opposite(a.low, b.high) or not _opposite(a.high, b.low):
            return None
        pairs.append((a.branches[0], b.branches[0]))
    return pairs


def _opposite(a: End, b: End) -> bool:
    if not (is_finite(a) and is_finite(b)):
        return not is_finite(a) and not is_finite(b) and a == -b
    return (a.is_exact() and b.is_exact() and a == -b) or bool(a.overlaps(-b) and a.rad() < 2**-60 and not a.is_exact())


def _matches(left: Node, right: Node, x: Node, sign: int) -> bool:
    return form(substitute(left, {x: neg(x)})) == scaled(form(right), sign)


def _bound(analysis: Analysis, mirrored: list[tuple[Node, Node]] | None, sign: int) -> int | None:
    """The exponent k of a bound 2^k of |f(−x) − sign·f(x)|, for functions of one piece on each side."""
    if not mirrored or len(mirrored) > 2:
        return None
    left, right = mirrored[0]
    other = substitute(left, {analysis.x: neg(analysis.x)})
    curve = Curve(op("sub" if sign > 0 else "add", other, right), analysis.x, analysis.work)
    width = _REACH / _PARTS
    balls = [curve.enclosure(0, k * width, (k + 1) * width) for k in range(_PARTS)]
    if not all(b.is_finite() for b in balls):
        return None
    largest = max(float(abs(b).upper()) for b in balls)
    return math.ceil(math.log2(largest)) if 0 < largest < 2.0**-8 else None
