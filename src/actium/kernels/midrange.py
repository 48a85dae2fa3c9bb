"""The cheap form of a graph, and the condition under which it holds.

Stage: derivative → stabilize → [lowering, midrange] → plan → kernel source.
In: stabilized graphs. Out: lowered graphs that are right where all exponents are of moderate size, and that condition,
or nothing where there is no such form. A kernel computes a block with it and looks whether the condition held all over;
only where it did not is the block computed again, each element by the form that is right for it. So an element's result
depends on the element alone, not on its neighbours.

Infinite and NaN inputs never meet the condition: what is selected for them (`limits.guard`) is left out here.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from actium.kernels.lower import Lowering, is_constant
from actium.symbolic import midrange as mid
from actium.symbolic.graph import (
    Node,
    both,
    const,
    div,
    is_number,
    mul,
    neg,
    number_of,
    op,
    rebuild,
    remake,
    variable,
    walk,
)
from actium.symbolic.limits import in_float64
from actium.symbolic.primitives import PRIMITIVES

# Of an input or a parameter that no exponent bounds.
_LARGEST = 2.0**16
_OVERFLOWS = 1e38
# Of an input that a function is multiplied with: two of them, three of the function's own and what is left are below
# 2^127 together.
_LARGEST_FACTOR = 2.0**32
_MOST_INPUTS, _STEEP = 3, 8.0
_EXPONENTIALS = frozenset({"exp", "exp2", "expm1", "exp_mid", "expsq_mid", "exp_square"})


@dataclass(frozen=True)
class Midrange:
    """The cheap form.

    Attributes:
        bounds: It holds where none of these nodes is larger than the number, in absolute value, nor NaN.
        roots: Lowered graphs.
    """

    bounds: tuple[tuple[Node, float], ...]
    roots: tuple[Node, ...]

    @functools.cached_property
    def condition(self) -> Node:
        """True where the form holds; false for NaN."""
        return functools.reduce(both, (op("le", op("abs", node), const(most)) for node, most in self.bounds))

    @functools.cached_property
    def decided_by(self) -> Node | None:
        """The input of which the largest element alone is to be asked, as no node falls while its absolute value grows.

        Rounding keeps that order, so that the answer is exact.
        """
        inputs = {leaf for node, _ in self.bounds for leaf in walk(node) if leaf.op == "input"}
        return inputs.pop() if len(inputs) == 1 and all(_grows(node) for node, _ in self.bounds) else None


def _grows(node: Node) -> bool:
    """Whether |node| is a nondecreasing function of the input's absolute value, for any parameters."""
    if not _moves(node) or _parity(node) is not None:
        return True
    if node.op in ("neg", "abs"):
        return _grows(node.args[0])
    if node.op == "mul" and not all(map(_moves, node.args)):
        return all(map(_grows, node.args))
    return node.op == "div" and not _moves(node.args[1]) and _grows(node.args[0])


def _parity(node: Node) -> int | None:
    """0 for an even function of the input, 1 for an odd one, that is not negative and does not fall above 0."""
    if node.op == "input":
        return 1
    if node.is_const:
        return 0 if number_of(node) >= 0 else None
    found = [_parity(a) for a in node.args]
    if None in found:
        return None
    if node.op in ("abs", "square", "hypot1"):
        return 0
    if node.op == "mul":
        return sum(p for p in found if p is not None) % 2
    return found[0] if node.op == "add" and found[0] == found[1] else None


class _Lowering(Lowering):
    """Lowers for moderate arguments and notes what has to be moderate."""

    def __init__(self) -> None:
        super().__init__("c")
        self.bounds: dict[Node, float] = {}

    def _order_products(self, node: Node, args: tuple[Node, ...]) -> Node:
        if not _moves(node):
            return super()._order_products(node, args)
        if node.op == "square" and args[0].op == "sech":
            return mid.sech_square(args[0].args[0])
        if node.op == "mul" and args[0].op == "input" and args[1].op == "mul" and is_constant(args[1].args[0]):
            # x·(c·e) as (c·x)·e: e is often in a sum with another multiple of it, and so rounded once less.
            return mul(mul(args[1].args[0], args[0]), args[1].args[1])
        return remake(node, args)

    def _expand(self, node: Node, args: tuple[Node, ...]) -> Node:
        row = PRIMITIVES.get(node.op)
        if not any(map(_moves, args)):  # once a call, and of parameters that may be infinite
            return super()._expand(node, args)
        self._note(node.op, args)
        if row is None or row.midrange is None:
            return super()._expand(node, args)
        memo = {n: n for n in walk(*args)}
        return rebuild(row.midrange(*args), self._expand, memo)

    def _note(self, name: str, args: tuple[Node, ...]) -> None:
        """Exponentials bound what they are of, wherever they come from."""
        if name == "exp_mid":
            self._bound(args[0], mid.EXPONENT)
        elif name == "expsq_mid" and args[1].is_const:
            self._bound(args[0], math.floor(64 * math.sqrt(mid.EXPONENT / abs(number_of(args[1])))) / 64)
        elif name in ("tanh_softplus", "mish_slope"):
            self._bound(args[0], mid.FOURTH_POWER)

    def _bound(self, node: Node, most: float) -> None:
        node = _without_sign(node)
        self.bounds[node] = min(most, self.bounds.get(node, math.inf))


def _moves(node: Node) -> bool:
    """Whether the node depends on an input."""
    return any(n.op == "input" for n in walk(node))


def _without_sign(node: Node) -> Node:
    """A node of the same absolute value, where one is written inside."""
    if node.op in ("neg", "abs"):
        return _without_sign(node.args[0])
    if node.op == "where" and node.args[1].op == "neg" and node.args[1].args[0] is node.args[2]:  # −|u|
        return _without_sign(node.args[2])
    if node.op == "mul" and is_number(node.args[0], -1.0):
        return _without_sign(node.args[1])
    return node


def midrange(roots: tuple[Node, ...], inputs: tuple[str, ...]) -> Midrange | None:
    """The cheap form of the roots, which are functions of the inputs, if they have exponentials."""
    lowering = _Lowering()
    lowered = tuple(lowering.lower(root) for root in roots)
    bounds = lowering.bounds
    # e^(e^x): half of an ordinary block would be outside.
    if not bounds or any(n.op in _EXPONENTIALS for n in walk(*bounds)):
        return None
    leaves = [variable(name) for name in inputs] + [n for n in _values(lowered) if n.op == "param"]
    for leaf in leaves:
        if not any(_is_multiple(node, leaf) for node in bounds):
            bounds[leaf] = _LARGEST
    fractions = _Fractions(bounds)
    return Midrange(tuple(bounds.items()), tuple(fractions.simplified(root) for root in lowered))


def multiplied(form: Midrange, factors: Sequence[tuple[Node, ...]], typical: Mapping[Node, float]) -> Midrange | None:
    """The cheap form of each root times other inputs, if there is one.

    Inputs meet each other before they meet the rest: what underflows then does so in the whole, too, as the rest is not
    large. In another order, e^-30·u would be a subnormal of 7 bits at u = 1e-30, and e^-30·u·1e10 as inexact.

    Args:
        form: Of functions of one input.
        factors: One or two inputs that belong to each root.
        typical: Values of the parameters at which to ask how large the rest is.
    """
    parts = [_apart(root) for root in form.roots]
    if not all(len(own) <= _MOST_INPUTS and _size(rest, form, typical) <= _STEEP for own, rest in parts):  # nor NaN
        return None
    bounds = dict(form.bounds)
    for leaves, (own, _) in zip(factors, parts, strict=True):
        bounds |= dict.fromkeys(leaves, _LARGEST_FACTOR)
        bounds = dict.fromkeys(own, _LARGEST) | bounds
    roots = (_joined([*leaves, *own], rest) for leaves, (own, rest) in zip(factors, parts, strict=True))
    return Midrange(tuple(bounds.items()), tuple(roots))


def _apart(node: Node) -> tuple[list[Node], Node]:
    """The inputs among the factors of a node, and the rest."""
    if node.op == "input":
        return [node], const(1.0)
    if node.op == "mul":
        (first, a), (second, b) = map(_apart, node.args)
        return [*first, *second], mul(a, b)
    if node.op == "div":
        inputs, above = _apart(node.args[0])
        return inputs, div(above, node.args[1])
    return [], node


def _joined(inputs: Sequence[Node], rest: Node) -> Node:
    product = functools.reduce(mul, inputs)
    if rest.op == "div" and is_number(rest.args[0], 1.0):
        return div(product, rest.args[1])
    return mul(product, rest)


def _size(node: Node, form: Midrange, typical: Mapping[Node, float]) -> float:
    """About the largest absolute value of a function of one input where the form holds."""
    powers = np.exp2(np.arange(-8.0, 16.0, 0.25))
    points = np.concatenate([-powers, powers])
    values = {**typical, **{leaf: points for leaf in walk(node, form.condition) if leaf.op == "input"}}
    sizes = np.abs(in_float64(node, values))
    return float(np.max(np.where(in_float64(form.condition, values), sizes, 0.0)))


def _values(roots: tuple[Node, ...]) -> list[Node]:
    """All nodes but those that are only compared: a threshold may well be infinite."""
    found: dict[Node, None] = {}
    left = list(roots)
    while left:
        node = left.pop()
        if node not in found and not node.is_bool:
            found[node] = None
            left.extend(node.args)
    return list(found)


def _is_multiple(node: Node, x: Node) -> bool:
    """Whether x is bounded where the node is: parameters are."""
    if node.op == "div" and node.args[1].op == "param":
        return node.args[0] is x
    return node is x or (node.op == "mul" and node.args[0].is_const and node.args[1] is x)


@dataclass(frozen=True)
class _Fraction:
    """top / (1+E)^power, with E an exponential; a power of 0 has no `below`."""

    top: Node
    below: Node | None = None
    power: int = 0


class _Fractions:
    """Brings sums and products over the same 1+E to one fraction: σ(x)(1 + xσ(−x)) becomes (1+E+xE) / (1+E)².

    One division in place of two, and fewer roundings. Only where the numerator cannot overflow.

    Args:
        bounds: Nodes whose absolute value is known to be at most so much.
    """

    def __init__(self, bounds: Mapping[Node, float]) -> None:
        self._bounds = bounds
        self._found: dict[Node, _Fraction] = {}
        self._largest: dict[Node, float] = {}

    def simplified(self, root: Node) -> Node:
        """The same value with fewer divisions."""
        for node in walk(root):
            if node not in self._found:
                self._found[node] = self._fraction(node)
        return _divided(self._found[root])

    def _fraction(self, node: Node) -> _Fraction:
        args = [self._found[a] for a in node.args]
        merged: _Fraction | None = None
        if node.op == "div" and args[1].below is None:
            merged = self._quotient(args[0], args[1].top)
        elif node.op in ("mul", "square"):
            merged = self._product(args[0], args[-1])
        elif node.op in ("add", "sub"):
            merged = self._sum(node, *args)
        elif node.op == "neg" and args[0].below is not None:
            merged = _Fraction(neg(args[0].top), args[0].below, args[0].power)
        if merged is not None and (merged.below is None or self._at_most(merged.top) < _OVERFLOWS):
            return merged
        return _Fraction(remake(node, [_divided(a) for a in args]))

    @staticmethod
    def _quotient(a: _Fraction, below: Node) -> _Fraction | None:
        if not _is_one_plus_exponential(below) or a.below not in (None, below) or a.power == 2:
            return None
        return _Fraction(a.top, below, a.power + 1)

    @staticmethod
    def _product(a: _Fraction, b: _Fraction) -> _Fraction | None:
        shared, below = _common(a, b)
        if not shared or a.power + b.power > 2:
            return None
        return _Fraction(mul(a.top, b.top), below, a.power + b.power)

    @staticmethod
    def _sum(node: Node, a: _Fraction, b: _Fraction) -> _Fraction | None:
        shared, below = _common(a, b)
        if not shared or below is None:
            return None
        power = max(a.power, b.power)
        tops = [functools.reduce(mul, [below] * (power - f.power), f.top) for f in (a, b)]
        return _Fraction(remake(node, tops), below, power)

    def _at_most(self, node: Node) -> float:
        """An upper bound of |node|, infinite if none is known."""
        if node not in self._largest:
            self._largest[node] = min(self._bounds.get(node, math.inf), self._by_form(node))
        return self._largest[node]

    def _by_form(self, node: Node) -> float:
        if node.is_const:
            return abs(number_of(node))
        if node.op in ("exp_mid", "tanh", "sin", "cos"):
            return math.exp(mid.EXPONENT) if node.op == "exp_mid" else 1.0
        parts = [self._at_most(a) for a in node.args if not a.is_bool]
        if node.op in ("add", "sub"):
            return sum(parts)
        if node.op in ("mul", "square"):
            return math.prod(parts) if node.op == "mul" else parts[0] ** 2
        return max(parts) if node.op in ("where", "neg", "abs") else math.inf


def _common(a: _Fraction, b: _Fraction) -> tuple[bool, Node | None]:
    """Whether two fractions have the same denominator, where they have one; and that."""
    if a.below is None or b.below is None:
        return True, b.below if a.below is None else a.below
    return a.below is b.below, a.below


def _is_one_plus_exponential(node: Node) -> bool:
    return node.op == "add" and any(is_number(a, 1.0) for a in node.args) and any(a.op == "exp_mid" for a in node.args)


def _divided(f: _Fraction) -> Node:
    if f.below is None:
        return f.top
    return div(f.top, f.below if f.power == 1 else mul(f.below, f.below))
