"""A normal form in which equal graphs are equal objects, for many of the ways to write one function.

Stage: formula → [proof] → claims, report.
In: a graph without conditions. Out: a polynomial with rational coefficients over functions of such polynomials, where
odd and even functions give up the sign of their operand, and 1 − σ(u) is σ(−u).
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction
from typing import Any

from actium.symbolic.graph import Node, number_of, op, walk

_ODD = frozenset("sinh tanh asinh atan sin erf tanhshrink isru softsign sign".split())
_EVEN = frozenset("cosh sech cos hypot1 abs".split())
# f(−u) = c − f(u).
_REFLECTED = {"sigmoid": 1, "ndtr": 1, "erfc": 2}
_MOST_TERMS, _MOST_FACTORS, _LARGE = 32, 6, 400

Atom = tuple[Any, ...]
Form = frozenset[tuple[frozenset[tuple[Atom, int]], Fraction]]


def form(root: Node) -> Form:
    """A polynomial over functions of polynomials: graphs with equal forms are equal functions, where defined."""
    done: dict[Node, Form] = {}
    for node in walk(root):
        done[node] = _form(node, [done[a] for a in node.args])
    return done[root]


def _form(node: Node, args: list[Form]) -> Form:
    if node.is_const and math.isfinite(number_of(node)):
        return _number(Fraction(number_of(node)))
    if not node.args:
        return _atom((node.op, node.value))
    if node.op in ("add", "sub"):
        return _sum(args[0], args[1] if node.op == "add" else scaled(args[1], -1))
    if node.op == "neg":
        return scaled(args[0], -1)
    if node.op in ("mul", "square"):
        return _product(args[0], args[-1])
    if node.op in ("div", "reciprocal"):
        return _product(args[0] if node.op == "div" else _number(Fraction(1)), _inverse(args[-1]))
    if node.op == "pow" and node.args[1].is_const and number_of(node.args[1]) in (3.0, 4.0):
        return functools.reduce(_product, [args[0]] * int(number_of(node.args[1])))
    return _function(node, args)


def _function(node: Node, args: list[Form]) -> Form:
    """A function with the sign of its operand drawn out, where it is odd or even, or has a reflection."""
    name, flipped = node.op, _is_negative(args[0])
    inner = scaled(args[0], -1) if flipped else args[0]
    if name == "logsigmoid":
        return scaled(_function(op("softplus", node.args[0]), [scaled(args[0], -1)]), -1)
    direct = _atom((name, inner, *args[1:]))
    if not flipped or name in _EVEN or name == "exp_square":
        return direct
    if name in _ODD:
        return scaled(direct, -1)
    if name in _REFLECTED:
        return _sum(_number(Fraction(_REFLECTED[name])), scaled(direct, -1))
    if name == "softplus":  # softplus(−u) = softplus(u) − u
        return _sum(direct, scaled(inner, -1))
    return _atom((name, *args))


def constant_of(root: Node) -> float | None:
    """The number that a graph is everywhere, if it is a double and the form shows it."""
    if len(walk(root)) > _LARGE:
        return None
    shape = form(root)
    if any(monomial for monomial, _ in shape):
        return None
    value = next((c for _, c in shape), Fraction(0))
    try:
        return float(value) if Fraction(float(value)) == value else None
    except OverflowError:
        return None


def _number(value: Fraction) -> Form:
    return frozenset([(frozenset(), value)]) if value else frozenset()


def _atom(atom: Atom) -> Form:
    return frozenset([(frozenset([(atom, 1)]), Fraction(1))])


def scaled(a: Form, factor: int) -> Form:
    """A form times a number."""
    return frozenset((m, c * factor) for m, c in a)


def _sum(a: Form, b: Form) -> Form:
    total: dict[Any, Fraction] = dict(a)
    for monomial, c in b:
        total[monomial] = total.get(monomial, Fraction(0)) + c
    return frozenset((m, c) for m, c in total.items() if c)


def _product(a: Form, b: Form) -> Form:
    if len(a) * len(b) > _MOST_TERMS or max((len(m) for m, _ in (*a, *b)), default=0) > _MOST_FACTORS:
        flip = -1 if _is_negative(a) != _is_negative(b) else 1
        return scaled(_atom(("product", frozenset([_positive(a), _positive(b)]), a == b)), flip)
    total: dict[Any, Fraction] = {}
    for m, c in a:
        for n, d in b:
            powers = dict(m)
            for atom, k in n:
                powers[atom] = powers.get(atom, 0) + k
            monomial = frozenset((atom, k) for atom, k in powers.items() if k)
            total[monomial] = total.get(monomial, Fraction(0)) + c * d
    return frozenset((m, c) for m, c in total.items() if c)


def _inverse(a: Form) -> Form:
    if len(a) == 1:
        ((monomial, c),) = a
        return frozenset([(frozenset((atom, -k) for atom, k in monomial), 1 / c)])
    flip = -1 if _is_negative(a) else 1
    return scaled(frozenset([(frozenset([(("sum", _positive(a)), -1)]), Fraction(1))]), flip)


def _positive(a: Form) -> Form:
    return scaled(a, -1) if _is_negative(a) else a


def _is_negative(a: Form) -> bool:
    """A sign such that exactly one of a and −a has it: that of the first term in an order of monomials."""
    return bool(a) and min(a, key=lambda term: hash(term[0]))[1] < 0
