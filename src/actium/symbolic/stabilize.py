"""Rewrites that keep a formula's value and lose its overflow and cancellation.

Stage: formula → derivative → [stabilize] → plan.
In: a graph. Out: an equal graph. Each rule is an identity over the reals (tests prove it by ball arithmetic on
the kernels' inputs), applied bottom-up until nothing changes. What no rule knows is left as it was written.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from actium.symbolic.balls import constant_value
from actium.symbolic.graph import (
    Formula,
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
    walk,
    where,
)
from actium.symbolic.products import cancel_rules, factor_rules

Rule = Callable[[Node], "Node | None"]


def _is_one(node: Node) -> bool:
    return is_number(node, 1.0)


def _split_one(node: Node) -> tuple[Node, bool] | None:
    """(t, minus) for 1 + t and 1 − t, in either order."""
    if node.op == "add" and _is_one(node.args[0]):
        return node.args[1], False
    if node.op == "add" and _is_one(node.args[1]):
        return node.args[0], False
    if node.op == "sub" and _is_one(node.args[0]):
        return node.args[1], True
    return None


def _coefficient(node: Node) -> tuple[float, Node]:
    """C · t as (c, t); also −t and t/c."""
    if node.op == "neg":
        c, t = _coefficient(node.args[0])
        return -c, t
    if node.op == "mul" and node.args[0].is_const:
        return number_of(node.args[0]), node.args[1]
    if node.op == "div" and node.args[1].is_const and 0.0 < abs(number_of(node.args[1])) < math.inf:
        quotient = 1 / Fraction(number_of(node.args[1]))
        if Fraction(float(quotient)) == quotient:
            c, t = _coefficient(node.args[0])
            return c * float(quotient), t
    return 1.0, node


def _exp_of(node: Node) -> Node | None:
    """T for e^t, and for 1/e^t and (e^t)², which the rules below then see as one exponential."""
    if node.op == "exp":
        return node.args[0]
    if node.op == "reciprocal" or (node.op == "div" and _is_one(node.args[0])):
        inner = _exp_of(node.args[-1])
        return None if inner is None else negated(inner)
    if node.op == "square":
        inner = _exp_of(node.args[0])
        return None if inner is None else mul(2.0, inner)
    return None


def _log_rules(node: Node) -> Node | None:
    """log(1+e^t) → softplus(t); log σ(t) → logsigmoid(t); log(1+t) → log1p(t)."""
    if node.op == "log1p":
        t = _exp_of(node.args[0])
        return op("softplus", t) if t is not None else None
    if node.op != "log":
        return None
    inner = node.args[0]
    if inner.op == "sigmoid":
        return op("logsigmoid", inner.args[0])
    if inner.op == "exp":
        return inner.args[0]
    split = _split_one(inner)
    if split is None:
        return None
    t, minus = split
    exponent = _exp_of(t)
    if exponent is not None and not minus:
        return op("softplus", exponent)
    return op("log1p", neg(t) if minus else t)


def _minus_one_rules(node: Node) -> Node | None:
    """e^t − 1 → expm1(t), and 1 − e^t."""
    if node.op == "sub" and _is_one(node.args[1]) and node.args[0].op == "exp":
        return op("expm1", node.args[0].args[0])
    if node.op == "sub" and _is_one(node.args[0]) and node.args[1].op == "exp":
        return neg(op("expm1", node.args[1].args[0]))
    if node.op == "add" and is_number(node.args[0], -1.0) and node.args[1].op == "exp":
        return op("expm1", node.args[1].args[0])
    if node.op == "add" and is_number(node.args[1], -1.0) and node.args[0].op == "exp":
        return op("expm1", node.args[0].args[0])
    return None


def _one_plus_rules(node: Node) -> Node | None:
    """1 ± tanh → 2σ(±2t), 1 ± erf → erfc(∓t), 1 − σ(t) → σ(−t), 1 − tanh² → sech²."""
    split = _split_one(node)
    if split is None:
        return None
    t, minus = split
    if t.op == "neg":
        t, minus = t.args[0], not minus
    if t.op == "tanh":
        return mul(2.0, op("sigmoid", mul(-2.0 if minus else 2.0, t.args[0])))
    if t.op == "erf":
        return op("erfc", t.args[0] if minus else negated(t.args[0]))
    if t.op == "sigmoid" and minus:
        return op("sigmoid", negated(t.args[0]))
    if t.op == "square" and t.args[0].op == "tanh" and minus:
        return op("square", op("sech", t.args[0].args[0]))
    return None


def _quotient_rules(node: Node) -> Node | None:
    """1/(1+e^−t) → σ(t), e^t/(1+e^t) → σ(t), 1/cosh → sech, sinh/cosh and its exponential form → tanh."""
    if node.op == "reciprocal":
        return div(const(1.0), node.args[0])
    if node.op != "div":
        return None
    a, b = node.args
    if b.op == "cosh":
        return op("tanh", b.args[0]) if a is op("sinh", b.args[0]) else mul(a, op("sech", b.args[0]))
    split = _split_one(b)
    t = _exp_of(split[0]) if split is not None and not split[1] else None
    if t is not None:
        if _exp_of(a) is t:
            return op("sigmoid", t)
        return mul(a, op("sigmoid", negated(t)))
    return _tanh_from_exponentials(a, b)


def _tanh_from_exponentials(a: Node, b: Node) -> Node | None:
    """(e^t − e^−t)/(e^t + e^−t), and (1 − e^−2t)/(1 + e^−2t) in the forms the other rules leave."""
    if a.op == "sub" and b.op == "add" and a.args == b.args:
        t, s = _exp_of(a.args[0]), _exp_of(a.args[1])
        if t is not None and s is not None and negated(s) is t:
            return op("tanh", t)
        if t is not None and s is not None and negated(t) is s:
            return op("tanh", t)
    return None


def _ratio_rules(node: Node) -> Node | None:
    """t/(1+|t|) → softsign, t/sqrt(1+t²) → isru: their slopes cancel when written as a quotient's."""
    if node.op != "div":
        return None
    a, b = node.args
    if b.op == "hypot1" and b.args[0] is a:
        return op("isru", a)
    split = _split_one(b)
    if split is not None and not split[1] and split[0].op == "abs" and split[0].args[0] is a:
        return op("softsign", a)
    return None


def _gate_rules(node: Node) -> Node | None:
    """tanh(softplus t) → the gate of Mish; u − tanh u → tanhshrink; (e^t−1)·σ(−t) → tanh(t/2)."""
    if node.op == "tanh" and node.args[0].op == "softplus":
        return op("tanh_softplus", node.args[0].args[0])
    if node.op == "sech" and node.args[0].op == "softplus":
        return op("sech_softplus", node.args[0].args[0])
    if node.op == "sub" and node.args[1].op == "tanh" and node.args[1].args[0] is node.args[0]:
        return op("tanhshrink", node.args[0])
    if node.op == "mul":
        for a, b in (node.args, node.args[::-1]):
            if a.op == "expm1" and b.op == "sigmoid" and b.args[0] is negated(a.args[0]):
                return op("tanh", mul(0.5, a.args[0]))
    return None


def _mish_rules(node: Node) -> Node | None:
    """gate(u)·(1 + u·gate′(u)/gate(u)), what the product rule makes of Mish, is one quotient."""
    if node.op != "mul":
        return None
    for gate, rest in (node.args, node.args[::-1]):
        if gate.op != "tanh_softplus" or rest.op != "add" or not _is_one(rest.args[1]):
            continue
        u = gate.args[0]
        if rest.args[0].op == "mul" and set(rest.args[0].args) == {u, op("tanh_softplus_rate", u)}:
            return op("mish_slope", u)
    return None


_RECIPROCAL_SQRT2 = 2**-0.5


def _normal_rules(node: Node) -> Node | None:
    """½·erfc(−t/√2) → Φ(t), for √2 spelled as a square root or as its double; e^(c·t²) → exp_square."""
    if node.op == "exp":
        c, t = _coefficient(node.args[0])
        if t.op == "square":
            return op("exp_square", t.args[0], const(c))
        if t.op == "mul":
            (p, u), (q, v) = map(_coefficient, t.args)
            if u is v and 1e-30 < abs(c * p * q) < 1e30:  # beyond, the product is no constant of a kernel
                return op("exp_square", u, const(c * p * q))
    if node.op == "erfc":
        t = _over_sqrt2(node.args[0])
        if t is not None:
            return mul(2.0, op("ndtr", negated(t)))
    return None


def _over_sqrt2(node: Node) -> Node | None:
    """T for t/√2 and t·0.7071067811865476, with a sign or not."""
    if node.op == "neg":
        t = _over_sqrt2(node.args[0])
        return None if t is None else negated(t)
    root2 = op("sqrt", const(2.0))
    if node.op == "div":
        if node.args[1] is root2:
            return node.args[0]
        if node.args[1].is_const and abs(number_of(node.args[1]) / 2**0.5 - 1) < 4e-16:
            return node.args[0]
    if node.op == "mul":
        for a, b in (node.args, node.args[::-1]):
            if a.is_const and abs(abs(number_of(a)) / _RECIPROCAL_SQRT2 - 1) < 4e-16:
                return b if number_of(a) > 0 else negated(b)
            if a in (div(1.0, root2), op("sqrt", const(0.5)), op("rsqrt", const(2.0))):
                return b
    return None


def _root_rules(node: Node) -> Node | None:
    """sqrt(1+t²) → hypot1(t), whose square cannot overflow; also under a quotient."""
    if node.op == "rsqrt":
        return div(const(1.0), op("sqrt", node.args[0]))
    if node.op == "div" and node.args[1].op == "where" and node.args[1].args[1].op == "hypot1":
        condition, a, b = node.args[1].args  # outside, each quotient can be rewritten further
        return where(condition, div(node.args[0], a), div(node.args[0], b))
    if node.op != "sqrt":
        return None
    split = _split_one(node.args[0])
    if split is None or split[1]:
        return None
    t = split[0]
    if t.op == "square":
        return op("hypot1", t.args[0])
    if t.op == "mul":
        for a, b in (t.args, t.args[::-1]):
            better = _root_of_scaled(a, b.args[0]) if b.op == "square" else None
            if better is not None:
                return better
    return None


def _root_of_scaled(a: Node, t: Node) -> Node | None:
    """sqrt(1+a·t²) as hypot1(√a·t) where a is positive. √a of any other factor is NaN, or its slope at 0 infinite."""
    if a.op == "square":
        return op("hypot1", a.args[0] * t)
    if a.op == "exp":
        return op("hypot1", op("exp", 0.5 * a.args[0]) * t)
    leaves = {n.op for n in walk(a)} & {"input", "param"}
    if not leaves:
        positive = (number_of(a) if a.is_const else constant_value(a)) > 0
        return op("hypot1", op("sqrt", a) * t) if positive else None
    if leaves == {"param"}:
        # Not a·t², which is 0·inf at a = 0.
        return where(op("gt", a, const(0.0)), op("hypot1", op("sqrt", a) * t), op("sqrt", 1.0 + a * t * t))
    return None


def _isru_rules(node: Node) -> Node | None:
    """(isru′(u)·x·q − f·q)/r → −q·r·f³ for u = r·x and f = isru(u)/r: two terms that nearly cancel where u is small.

    This is the slope of f in a parameter of r, and q that of r.
    """
    if node.op != "div" or node.args[0].op != "sub":
        return None
    (first, second), r = node.args[0].args, node.args[1]
    pairs = (second.args, second.args[::-1]) if second.op == "mul" else ()
    for f, q in (*pairs, (second, const(1.0))):
        u = f.args[0].args[0] if f.op == "div" and f.args[1] is r and f.args[0].op == "isru" else None
        if u is None or u.op != "mul" or r not in u.args:
            continue
        x = u.args[0] if u.args[1] is r else u.args[1]
        slope = (1.0 / op("hypot1", u)) / (1.0 + op("square", u))
        if first is mul(slope, mul(x, q)):
            return neg(mul(mul(mul(q, r), f), op("square", f)))
    return None


def _parity_rules(node: Node) -> Node | None:
    """Signs out of odd and even functions, squares out of absolute values: more terms become equal."""
    if node.op in _EVEN and node.args[0].op in ("neg", "abs"):
        return remake(node, node.args[0].args)
    if node.op in _ODD and node.args[0].op == "neg":
        return neg(remake(node, node.args[0].args))
    if node.op == "mul" and node.args[0] is node.args[1]:
        return op("square", node.args[0])
    if node.op == "pow" and is_number(node.args[1], 2.0):
        return op("square", node.args[0])
    return None


_EVEN = frozenset({"cosh", "sech", "square", "cos", "hypot1"})
_ODD = frozenset({"tanh", "sinh", "atan", "asinh", "erf", "sin", "tanhshrink", "softsign", "isru"})


def _where_rules(node: Node) -> Node | None:
    """A `where` inside a branch under the same condition is decided already."""
    if node.op != "where":
        return None
    condition, a, b = node.args
    if a.op == "where" and a.args[0] is condition:
        return where(condition, a.args[1], b)
    if b.op == "where" and b.args[0] is condition:
        return where(condition, a, b.args[2])
    return None


RULES: tuple[Rule, ...] = (
    _parity_rules,
    _log_rules,
    _minus_one_rules,
    _one_plus_rules,
    _quotient_rules,
    _ratio_rules,
    _gate_rules,
    _normal_rules,
    _root_rules,
    _isru_rules,
    _where_rules,
    cancel_rules,
    factor_rules,
    _mish_rules,
)


def _rewrite(node: Node, args: tuple[Node, ...]) -> Node:
    node = remake(node, args)
    for rule in RULES:
        better = rule(node)
        if better is not None and better is not node:
            return better
    return node


def stabilize_node(root: Node, rounds: int = 16) -> Node:
    """Apply the rules until nothing changes. Each rule shrinks the graph or its hazards, so this ends."""
    for _ in range(rounds):
        new = rebuild(root, _rewrite)
        if new is root:
            return root
        root = new
    return root


def stabilize(formula: Formula) -> Formula:
    """The same function in a form that neither overflows nor cancels, as far as the rules know.

    Example:
        >>> from actium.symbolic.graph import Formula, op, variable
        >>> x = variable("x")
        >>> stabilize(Formula(x * op("tanh", op("log", 1 + op("exp", x))))).text
        'x * tanh_softplus(x)'
    """
    return Formula(stabilize_node(formula.root), formula.inputs, formula.parameters)
