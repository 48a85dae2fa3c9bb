"""Which conditions change at the same points: `u > 0` and `u < 0` do, and so do `a > b` and `b > a`.

Stage: formula → [proof] → claims, report.
In: the two sides of a condition. Out: a key for the zeros of their difference, equal for differences that are multiples
of each other.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from fractions import Fraction

from actium.symbolic.graph import Node, number_of, op, walk
from actium.verify.proof.forms import Form, form

Key = Hashable
# Operations with a value for all numbers. Forms cancel terms, which elsewhere may hide a NaN.
_TOTAL = frozenset("input const add sub mul neg square exp tanh sigmoid erf ndtr atan sin cos softplus".split())
_LARGE = 200


def key_of(a: Node, b: Node) -> tuple[Key, int]:
    """A key for the zeros of a − b, and the sign by which a − b differs from what the key stands for."""
    nodes = walk(op("sub", a, b))
    if len(nodes) <= _LARGE and all(_is_total(node) for node in nodes):
        shape, factor = _monic(form(op("sub", a, b)))
        return shape, 1 if factor > 0 else -1
    swapped = hash(b) < hash(a)
    return ((b, a), -1) if swapped else ((a, b), 1)


def vanish_together(key: Key, branches: tuple[Node, ...]) -> bool:
    """Whether all branches have one value wherever the difference of a key is 0."""
    if not isinstance(key, frozenset) or any(len(walk(b)) > _LARGE for b in branches):
        return False
    gaps = [form(op("sub", a, b)) for a, b in itertools.combinations(branches, 2)]
    return all(not gap or _monic(gap)[0] == key for gap in gaps)


def _is_total(node: Node) -> bool:
    if node.is_const:
        return abs(number_of(node)) < float("inf")
    return node.op in _TOTAL


def _monic(shape: Form) -> tuple[Form, Fraction]:
    """A form divided by the factor of one of its terms, the same one for every multiple; and that factor."""
    if not shape:
        return shape, Fraction(1)
    factor = min(shape, key=lambda term: hash(term[0]))[1]
    return frozenset((m, c / factor) for m, c in shape), factor
