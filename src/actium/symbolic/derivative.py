"""Formula → the formula of its derivative, of any order, with respect to inputs and parameters.

Stage: formula → [derivative] → stabilize → plan.

Forward mode on the graph, with sharing. Reverse mode would send an adjoint *into* the branches of a `where`
and multiply it there with slopes that may be infinite (0 · inf = NaN); forward mode selects between finished
branch derivatives, so an unselected branch cannot contribute by construction. With one input and a handful of
parameters it costs no more. At a kink the selected branch's slope is taken: a definition chooses by < or <=.
"""

from __future__ import annotations

from actium.errors import DerivativeError
from actium.symbolic.graph import Formula, Node, add, const, div, is_number, mul, neg, walk, where
from actium.symbolic.primitives import PRIMITIVES


def differentiate(root: Node, wrt: Node) -> Node:
    """The graph of ∂root/∂wrt, where `wrt` is an input or parameter node."""
    slopes: dict[Node, Node] = {}
    zero = const(0.0)
    for node in walk(root):
        if node is wrt:
            slopes[node] = const(1.0)
        elif node.is_bool or all(slopes[a] is zero for a in node.args):
            slopes[node] = zero
        elif node.op == "where":
            slopes[node] = where(node.args[0], slopes[node.args[1]], slopes[node.args[2]])
        else:
            slopes[node] = _chain(node, slopes)
    return slopes[root]


def _chain(node: Node, slopes: dict[Node, Node]) -> Node:
    if node.op == "div":
        return _quotient(node, slopes)
    rule = PRIMITIVES[node.op].derivative
    if rule is None:
        raise DerivativeError(f"{node.op} has no derivative: it is made by lowering, after differentiation")
    total = const(0.0)
    for operand, partial in zip(node.args, rule(*node.args, node), strict=True):
        term = _product(partial, slopes[operand])
        total = add(total, term)
    return total


def _product(partial: Node, slope: Node) -> Node:
    """Partial · slope, where a side of a `where` that is 0 is selected and never multiplied.

    In sqrt(clamp(x, 0, 1)) at x = −1 the partial of sqrt is infinite and the slope of clamp 0; in a clamp of an
    infinite slope it is the other way round. The product is 0 both times, not NaN.
    """
    for factor, other in ((partial, slope), (slope, partial)):
        if _selects_zero(factor):
            condition, a, b = factor.args
            return where(condition, _product(a, other), _product(b, other))
    return mul(partial, slope)


def _selects_zero(node: Node) -> bool:
    return node.op == "where" and any(is_number(branch, 0.0) or _selects_zero(branch) for branch in node.args[1:])


def _quotient(node: Node, slopes: dict[Node, Node]) -> Node:
    """(a/b)′ = (a′ − (a/b)·b′)/b; a constant numerator or denominator leaves one term."""
    a, b = node.args
    da, db = slopes[a], slopes[b]
    zero = const(0.0)
    if db is zero:
        return div(da, b)
    lost = mul(node, db)
    return neg(div(lost, b)) if da is zero else div(da - lost, b)


def derivative(formula: Formula, wrt: str | None = None, order: int = 1) -> Formula:
    """The derivative of a formula.

    Args:
        formula: Any formula.
        wrt: Name of an input or parameter; the first input if not given.
        order: How many times to differentiate, at least 1.

    Returns:
        A formula of the same inputs and parameters. At a kink it takes the slope of the branch that
        the formula selects there.

    Raises:
        DerivativeError: If `wrt` names nothing of the formula or `order` is not a positive integer.

    Example:
        >>> from actium.symbolic.graph import Formula, op, variable
        >>> x = variable("x")
        >>> derivative(Formula(x * op("tanh", x))).text
        'tanh(x) + x * sech(x)**2'
    """
    name = formula.inputs[0] if wrt is None else wrt
    kind = "input" if name in formula.inputs else "param" if name in formula.parameters else None
    if kind is None:
        known = ", ".join((*formula.inputs, *formula.parameters))
        raise DerivativeError(f"the formula has no input or parameter {name!r}; it has: {known}")
    if not isinstance(order, int) or isinstance(order, bool) or order < 1:
        raise DerivativeError(f"order must be a positive integer, got {order!r}")
    root, target = formula.root, Node(kind, (), name)
    for _ in range(order):
        root = differentiate(root, target)
    return Formula(root, formula.inputs, formula.parameters)
