"""Rewrites of products: common factors out of sums, and factors that cancel.

Stage: formula → derivative → [stabilize] → plan. Rules of `stabilize.py`: a node in, an equal one or None out.
"""

from __future__ import annotations

from actium.symbolic.graph import Node, add, const, is_number, mul, neg, remake, sub, walk


def factor_rules(node: Node) -> Node | None:
    """G + x·g·h → g·(1 + x·h) for a factor g with an exponential tail.

    The derivative of a gate x·g(x) has this form. Both terms would be rounded on their own before they cancel.
    """
    if node.op not in ("add", "sub"):
        return None
    for gate, product in (node.args, node.args[::-1]):
        if gate.op not in _TAILED or product.op not in ("mul", "neg", "square"):
            continue
        rest = _without(product, gate)
        if rest is None:
            continue
        if node.op == "add":
            return mul(gate, add(rest, 1.0))
        return mul(gate, sub(1.0, rest) if gate is node.args[0] else sub(rest, 1.0))
    return None


_TAILED = frozenset({"sigmoid", "exp", "sech", "ndtr", "erfc", "tanh_softplus", "sech_softplus"})


def _without(product: Node, factor: Node) -> Node | None:
    """The product with the factor left out once; None if it is not in it."""
    if product is factor:
        return const(1.0)
    if product.op == "neg":
        rest = _without(product.args[0], factor)
        return None if rest is None else neg(rest)
    if product.op == "square" and product.args[0] is factor:
        return factor
    if product.op != "mul":
        return None
    for kept, searched in (product.args[::-1], product.args):
        rest = _without(searched, factor)
        if rest is not None:
            return mul(kept, rest)
    return None


def cancel_rules(node: Node) -> Node | None:
    """p·(t/p) → t for a factor p of parameters alone: the chain rule makes them of θ·f(x/θ)."""
    if node.op not in ("mul", "div"):
        return None
    above: list[Node] = []
    below: list[Node] = []
    _factors(node, above, below)
    for p in above:
        if p in below and not p.is_const and all(n.op != "input" for n in walk(p)):
            once = _dropped(node, p, True)
            return None if once is None else _dropped(once, p, False)
    return None


def _dropped(node: Node, factor: Node, above: bool) -> Node | None:
    """Without one such factor above (or below) the fraction bar; all else stays in its order, which keeps its range."""
    if node is factor and above:
        return const(1.0)
    if node.op not in ("mul", "div"):
        return None
    for k, other in ((0, 1), (1, 0)):
        rest = _dropped(node.args[k], factor, above != (node.op == "div" and k == 1))
        if rest is not None:
            args = {k: rest, other: node.args[other]}
            return remake(node, (args[0], args[1]))
    return None


def _factors(node: Node, above: list[Node], below: list[Node]) -> None:
    if node.op == "mul":
        _factors(node.args[0], above, below)
        _factors(node.args[1], above, below)
    elif node.op == "div":
        _factors(node.args[0], above, below)
        _factors(node.args[1], below, above)
    elif not is_number(node, 1.0):
        above.append(node)
