"""What autodiff must not see: the branches that a selection does not take.

Stage: lowering → [masking] → plan. In: a lowered graph for torch. Out: an equal one in which an unselected branch reads
a harmless value, so that torch's own autodiff of it cannot make NaN of 0 · inf.
"""

from __future__ import annotations

import math

from actium.symbolic.balls import is_regular
from actium.symbolic.graph import Node, const, neg, number_of, rebuild, remake, walk, where

# Operators whose value and derivative are finite for every finite operand.
_TAME = frozenset({"add", "sub", "neg", "abs", "sign", "floor", "tanh", "sigmoid", "erf", "ndtr", "atan", "sin", "cos"})
_SAFE_VALUES = (0.0, 1.0, -1.0, 0.5, 2.0)


def mask_branches(root: Node) -> Node:
    """Replace what an unselected branch reads by a harmless value, so that autodiff cannot make NaN of it.

    `where(x > 0, x, expm1(x))` has a NaN gradient at x = 100 in torch: the unselected e^100 is infinite and
    0 · inf = NaN. With `expm1(where(x > 0, 0, x))` the unselected branch sees 0.
    """

    def visit(node: Node, args: tuple[Node, ...]) -> Node:
        if node.op != "where":
            return remake(node, args)
        condition, a, b = args
        return where(condition, _masked(a, condition, True), _masked(b, condition, False))

    return rebuild(root, visit)


def _masked(branch: Node, condition: Node, selected: bool) -> Node:
    if _is_tame(branch):
        return branch
    leaves = [n for n in walk(branch) if n.op in ("input", "param")]
    involved = set(walk(condition))
    # A condition on the inputs alone cannot be cured by moving a parameter, and the other way round.
    movable = [n for n in leaves if n in involved]
    safe = _safe_value(branch, movable)
    if safe is None:
        return branch
    swap = {n: where(condition, n, safe) if selected else where(condition, safe, n) for n in movable}
    return rebuild(branch, lambda n, args: swap[n] if n in swap else remake(n, args))


def _is_tame(branch: Node) -> bool:
    """Whether no finite operand can make the branch or its slope infinite."""
    return all(_is_tame_step(node) for node in walk(branch))


def _is_tame_step(node: Node) -> bool:
    if not node.args or node.op in _TAME or node.op == "where" or node.is_bool:
        return True
    if node.op == "mul":
        return node.args[0].is_const or all(is_bounded(a) for a in node.args)
    return is_bounded(node)


def is_bounded(node: Node) -> bool:
    """Whether a node stays within a moderate range by its form: made of e^(−|u|), constants and 1/(1 + …)."""
    if node.is_const:
        return True
    if node.op == "exp":
        return _is_negative_abs(node.args[0])
    if node.op == "where":
        return all(is_bounded(a) for a in node.args[1:])
    if node.op == "div":
        return is_bounded(node.args[0]) and is_bounded(node.args[1]) and _is_above_zero(node.args[1])
    if node.op == "log1p":
        return is_bounded(node.args[0]) and _is_above_zero(1.0 + node.args[0])
    return node.op in ("add", "sub", "mul", "square", "neg", "tanh") and all(is_bounded(a) for a in node.args)


def _is_negative_abs(node: Node) -> bool:
    if node.op == "mul" and node.args[0].is_const and number_of(node.args[0]) > 0:
        return _is_negative_abs(node.args[1])
    return node.op == "where" and node.args[0].op == "ge" and node.args[1] is neg(node.args[2])


def _is_above_zero(node: Node) -> bool:
    """A sum or product of e^…, positive constants and selections of them, with a positive constant in it."""
    if node.is_const:
        return number_of(node) > 0
    if node.op == "add":
        return any(_is_above_zero(a) for a in node.args) and all(
            _is_above_zero(a) or _is_nonnegative(a) for a in node.args
        )
    if node.op in ("mul", "square"):
        return all(_is_above_zero(a) for a in node.args)
    return node.op == "where" and all(_is_above_zero(a) for a in node.args[1:])


def _is_nonnegative(node: Node) -> bool:
    if node.op in ("exp", "square", "abs"):
        return True
    if node.op in ("mul", "add"):
        return all(_is_nonnegative(a) or _is_above_zero(a) for a in node.args)
    return False


def _safe_value(branch: Node, movable: list[Node]) -> Node | None:
    """A value at which the branch and its slopes are finite, tried in ball arithmetic."""
    bounds = [number_of(n) for n in walk(branch) if n.is_const and math.isfinite(number_of(n))]
    for value in (*_SAFE_VALUES, *(b + step for b in bounds for step in (1.0, -1.0))):
        if movable and is_regular(branch, dict.fromkeys(movable, value)):
            return const(value)
    return None
