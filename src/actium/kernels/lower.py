"""Formula graph → a graph that a machine evaluates well: every operation has a C or a torch form.

Stage: derivative → stabilize → [lowering] → plan → kernel source.
In: stabilized graphs. Out: graphs of rows that have the target's form. What happens here:

* products with an exponentially small factor are ordered so that nothing underflows on the way
  (x·σ(x) at x = −89 is −1.98e-37, although σ(−89) is subnormal in float32), and are 0, not 0·inf, beyond;
* primitives without a machine form are expanded; constants are folded once, in ball arithmetic;
* for autodiff (`soft`), the arguments of an unselected branch are replaced by a harmless value.

Nothing here knows dtypes, shapes or devices.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from actium.kernels.masking import is_bounded, mask_branches
from actium.symbolic.balls import constant_value, evaluate
from actium.symbolic.expansions import Decay, exp_decay
from actium.symbolic.graph import (
    Node,
    const,
    div,
    is_number,
    mul,
    neg,
    negated,
    number_of,
    op,
    rebuild,
    remake,
    sub,
    walk,
    where,
)
from actium.symbolic.primitives import PRIMITIVES

Target = Literal["c", "torch"]
ONE = const(1.0)


@dataclass
class _Product:
    """A flattened product: sign and constants apart, factors above and below the fraction bar."""

    above: list[Node] = field(default_factory=list)
    below: list[Node] = field(default_factory=list)
    constant: Node = field(default_factory=lambda: const(1.0))
    decays: list[Decay] = field(default_factory=list)

    def split(self) -> tuple[list[Node], Node]:
        """The factors above, and the product of those that share no input with what decays.

        gate·σ(gate)·up: gate·up is infinite at gate = −80, up = 1e37, where the whole is −1.4e4. So gate meets σ first.
        """
        here = _inputs(*(d.hi for d in self.decays))
        foreign = [a for a in self.above if (found := _inputs(a)) and not found & here]
        return [a for a in self.above if a not in foreign], _times(foreign)


class Lowering:
    """Lowers several roots together, so that what they share is computed once.

    Args:
        target: Whose forms the result may use.
        soft: Make torch's own autodiff of the result stable and obey the branch rule.
        narrow: Results are rounded to a half: a product may go through subnormal floats, which still have
            ten bits to spare wherever it is a normal number.
    """

    def __init__(self, target: Target, soft: bool = False, narrow: bool = False) -> None:
        self.target = target
        self.soft = soft
        self.narrow = narrow
        self._done: dict[Node, Node] = {}
        self._products: dict[Node, Node] = {}

    def lower(self, root: Node) -> Node:
        """The lowered graph of one root."""
        root = rebuild(root, _bound_exponents) if self.soft else root
        root = rebuild(root, self._order_products, self._products)
        root = rebuild(root, self._expand, self._done)
        return rebuild(root, _fold_constants)

    def finish(self, root: Node) -> Node:
        """The last step, after whatever was selected at infinity."""
        return mask_branches(root) if self.soft else root

    # -- products ----------------------------------------------------------------------------------

    def _order_products(self, node: Node, _args: tuple[Node, ...]) -> Node:
        plain = remake(node, [self._products[a] for a in node.args])
        if node.op not in ("mul", "div", "neg", "square", "reciprocal") and not _falls_itself(node):
            return plain
        product = _Product()
        self._gather(node, product, above=True)
        alone = len(product.decays) == 1 and not product.above and not product.below
        if not product.decays or (alone and self._computes(node)):
            return plain
        return self._emit(product)

    def _computes(self, node: Node) -> bool:
        """Whether the target can compute the primitive by itself, or by an expansion."""
        if node.op in ("mul", "div", "neg", "square", "reciprocal"):
            return False
        row = PRIMITIVES[node.op]
        return row.expand is not None or (row.torch if self.target == "torch" else row.c) is not None

    def _gather(self, node: Node, product: _Product, above: bool) -> None:
        if is_constant(node):
            product.constant = mul(product.constant, node) if above else div(product.constant, node)
        elif node.op == "neg":
            product.constant = neg(product.constant)
            self._gather(node.args[0], product, above)
        elif node.op == "mul":
            for a in node.args:
                self._gather(a, product, above)
        elif node.op == "div":
            self._gather(node.args[0], product, above)
            self._gather(node.args[1], product, not above)
        elif node.op == "reciprocal":
            self._gather(node.args[0], product, not above)
        elif node.op == "square" and above and _squared(node.args[0]) is not None:
            decay = _squared(node.args[0])
            assert decay is not None
            product.decays.append(decay(*(self._products[a] for a in node.args[0].args)))
        elif node.op == "square" and _falls(node.args[0]):
            self._gather(node.args[0], product, above)
            self._gather(node.args[0], product, above)
        else:
            self._take(node, product, above)

    def _take(self, node: Node, product: _Product, above: bool) -> None:
        lowered = [self._products[a] for a in node.args]
        if not above and node.op == "exp":  # 1/e^t is e^−t
            decay = exp_decay(negated(lowered[0]))
        else:
            decay = PRIMITIVES[node.op].decay(*lowered) if above and _falls_itself(node) else None  # type: ignore[misc]
        row = PRIMITIVES[node.op] if node.args else None
        if decay is not None and self.target == "torch" and row and row.torch is not None and row.expand is None:
            # torch computes it in one piece
            whole = remake(node, lowered) if above else op("exp", negated(lowered[0]))
            decay = Decay(whole, whole, whole, decay.gone)
        if decay is None:
            ordered = self._products[node] if node in self._products else remake(node, lowered)
            (product.above if above else product.below).append(ordered)
        else:
            product.decays.append(decay)

    def _emit(self, product: _Product) -> Node:
        own, foreign = product.split()
        value = _times(own)
        below = list(product.below)
        for decay in product.decays:
            if decay.cofactor is not None and decay.cofactor.op == "div":
                # σ(x)·σ(−x) as z/(1+z)²: one division for both cofactors, and one rounding.
                value = mul(value, decay.cofactor.args[0])
                below.append(decay.cofactor.args[1])
            elif decay.cofactor is not None:
                value = mul(value, decay.cofactor)
        if below:
            value = div(value, _times(below))
        value = mul(_fold_constants_of(product.constant), value)
        if self.target == "torch" or self.narrow:
            gone = _any_gone([d.whole for d in product.decays])
            return _zero_if(gone, value, mul(value, _times(d.whole for d in product.decays)), foreign)
        for decay in product.decays:
            value = mul(value, decay.hi)
        gone = functools.reduce(functools.partial(op, "or"), dict.fromkeys(d.gone for d in product.decays))
        # The powers of two are exact; two of them together are 0 only where the whole is.
        return _zero_if(gone, value, value, foreign, _times(d.lo for d in product.decays))

    # -- expansion ---------------------------------------------------------------------------------

    def _expand(self, node: Node, args: tuple[Node, ...]) -> Node:
        node = remake(node, args)
        row = PRIMITIVES.get(node.op)
        if row is None:
            return node
        if node.op == "pow" and node.args[1].is_const:
            return _integer_power(node, self.soft)
        form = row.c if self.target == "c" else row.torch
        rule = row.soft if self.soft and row.soft is not None else None if form is not None else row.expand
        if rule is None:
            return node
        expanded = rule(*node.args)
        return rebuild(
            expanded, lambda n, a: remake(n, a) if n.op == node.op else self._expand(n, a), dict(self._leaves(node))
        )

    @staticmethod
    def _leaves(node: Node) -> Iterable[tuple[Node, Node]]:
        """The operands of an expanded node are lowered already and must not be walked again."""
        return ((n, n) for n in walk(*node.args))


# Functions that have reached their limit, slope included, at |u| >= e^7 = 1097, in float64 too.
_SATURATING = frozenset({"tanh", "sigmoid", "erf", "ndtr", "sech"})


def _bound_exponents(node: Node, args: tuple[Node, ...]) -> Node:
    """tanh(e^t) with t kept below 7, from where on it is 1: autodiff would multiply tanh′ = 0 with e^t = inf.

    Also e^(−e^t), erfc(e^t), and with a factor of at least 1 before e^t.
    """
    node = remake(node, args)
    if node.op not in _SATURATING and node.op not in ("exp", "erfc"):
        return node
    inner = node.args[0].args[0] if node.args[0].op == "neg" else node.args[0]
    factor = -1.0 if inner is not node.args[0] else 1.0
    if inner.op == "mul" and inner.args[0].is_const:
        factor, inner = factor * number_of(inner.args[0]), inner.args[1]
    rises = {"exp": factor > 0, "erfc": factor < 0}
    if inner.op != "exp" or abs(factor) < 1.0 or rises.get(node.op, False):
        return node
    t = inner.args[0]
    bounded = op("exp", where(t > 7.0, const(7.0), t))
    return remake(node, [const(factor) * bounded])


def _falls_itself(node: Node) -> bool:
    row = PRIMITIVES.get(node.op)
    return row is not None and row.decay is not None and row.decay(*node.args) is not None


def _squared(node: Node) -> Callable[..., Decay] | None:
    row = PRIMITIVES.get(node.op)
    return None if row is None else row.square_decay


def _falls(node: Node) -> bool:
    """Whether a factor of this node has an exponential tail."""
    if node.op in ("mul", "div", "neg", "square"):
        return any(_falls(a) for a in node.args)
    return _falls_itself(node)


def spread(node: Node) -> Node:
    """r·(s + t) as r·s + r·t where s and t have exponential tails: each then meets r before it underflows.

    The slope of GELU at −14.4 is −2.3e-44, a subnormal of 4 bits; times 1e10 it is a normal float32. Selections too.
    """
    if node.op != "mul":
        return node
    a, b = (spread(n) for n in node.args)
    for factor, total in ((a, b), (b, a)):
        if total.op in ("add", "sub") and all(_falls(t) for t in total.args):
            return remake(total, [spread(mul(factor, t)) for t in total.args])
        if total.op == "where" and any(_falls(t) for t in total.args[1:]):
            return where(total.args[0], *(spread(mul(factor, t)) for t in total.args[1:]))
    return mul(a, b)


def _any_gone(wholes: Iterable[Node]) -> Node:
    """Whether any of these is 0.

    Of c ? 1 : z and c ? z : 1, as in σ(x)·σ(−x), one is 0 where z is: asked of both, gcc would not vectorise the loop.
    """
    left = dict.fromkeys(wholes)
    for w in list(left):
        if w.op == "where" and is_number(w.args[1], 1.0) and where(w.args[0], w.args[2], w.args[1]) in left:
            del left[w], left[where(w.args[0], w.args[2], w.args[1])]
            left[w.args[2]] = None
    return functools.reduce(functools.partial(op, "or"), (op("eq", w, const(0.0)) for w in left))


def _zero_if(gone: Node, value: Node, result: Node, foreign: Node, lo: Node = ONE) -> Node:
    """0 where a factor has underflowed: `value` may be infinite there, and 0·inf is not the limit.

    An infinite factor that has nothing to do with the one that underflowed makes it NaN.
    """
    result = mul(mul(result, foreign), lo)
    if foreign is ONE and (is_constant(value) or is_bounded(value)):
        return result
    return where(gone, const(0.0) if foreign is ONE else sub(foreign, foreign), result)


def _times(nodes: Iterable[Node]) -> Node:
    total = const(1.0)
    for node in nodes:
        total = mul(total, node)
    return total


def _inputs(*nodes: Node) -> set[Node]:
    return {n for n in walk(*nodes) if n.op == "input"}


def is_constant(node: Node) -> bool:
    """Whether neither an input nor a parameter is in it. Asked of every factor, so it stops at the first."""
    stack, seen = [node], set[Node]()
    while stack:
        one = stack.pop()
        if one.op in ("input", "param"):
            return False
        if one not in seen:
            seen.add(one)
            stack.extend(one.args)
    return True


# A condition that always, or never, holds. They stay in no graph: every operation that takes conditions is replaced.
_ALWAYS, _NEVER = op("eq", const(0.0), const(0.0)), op("ne", const(0.0), const(0.0))


def _fold_constants(node: Node, args: tuple[Node, ...]) -> Node:
    if node.op == "where" and args[0] in (_ALWAYS, _NEVER):
        return args[1] if args[0] is _ALWAYS else args[2]
    node = remake(node, args)
    if node.is_bool:
        return _fold_condition(node)
    if node.is_const or node.op in ("input", "param") or not all(a.is_const for a in node.args):
        return node
    return _fold_constants_of(node)


def _fold_condition(node: Node) -> Node:
    """A condition between numbers is decided here: torch compares two to a Python bool, which `torch.where` refuses."""
    if all(a.is_const for a in node.args):
        return _ALWAYS if evaluate(node, {}) else _NEVER
    if node.op == "not" and node.args[0] in (_ALWAYS, _NEVER):
        return _NEVER if node.args[0] is _ALWAYS else _ALWAYS
    if node.op not in ("and", "or"):
        return node
    neutral, decisive = (_ALWAYS, _NEVER) if node.op == "and" else (_NEVER, _ALWAYS)
    if decisive in node.args:
        return decisive
    left = [a for a in node.args if a is not neutral]
    return node if len(left) == len(node.args) else left[0] if left else neutral


def _fold_constants_of(node: Node) -> Node:
    """The nearest double of a constant expression; conditions and non-finite values stay as they are."""
    if node.is_const or node.is_bool or any(n.is_bool or n.op == "where" for n in walk(node)):
        return node
    value = constant_value(node)
    return const(value) if math.isfinite(value) else node


def _integer_power(node: Node, soft: bool = False) -> Node:
    """x^n by squaring, for integer n up to 64; other powers stay.

    Of 1/x where autodiff follows: the derivative of 1/x^n is formed with x^2n, which overflows long before it.
    """
    base, exponent = node.args[0], number_of(node.args[1])
    if exponent != int(exponent) or not 2 <= abs(exponent) <= 64:
        return node
    first = soft and exponent < 0
    result, square, left = const(1.0), div(const(1.0), base) if first else base, int(abs(exponent))
    while left:
        if left & 1:
            result = mul(result, square)
        left >>= 1
        if left:
            square = mul(square, square)
    return result if exponent > 0 or first else div(const(1.0), result)
