"""Small questions about a graph, answered in ball arithmetic: a constant's value, whether a point is regular.

In: a graph. Out: a float or a truth value. The checker's oracle (verify/) is a separate, fuller evaluator;
this one serves lowering and asks for values only. Whatever sets flint's precision, here or there, is `exclusive`.
"""

from __future__ import annotations

import functools
import math
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from actium.symbolic.graph import Node, number_of, walk
from actium.symbolic.primitives import PRIMITIVES

_COMPARE = {
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
    "not": lambda a: not a,
}

P = ParamSpec("P")
R = TypeVar("R")


class _Turn:
    """Whose turn it is to set flint's precision, which is one number for the whole process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()


_turn = _Turn()


def _renew_lock() -> None:
    # A child that was forked while another thread held the lock would wait for that thread for ever.
    _turn.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def exclusive(function: Callable[P, R]) -> Callable[P, R]:
    """Let one thread at a time compute with balls, and give the precision back as it was found.

    Of two threads that set flint's precision, one would go on with the other's, and the last might restore the first
    one's for good.

    Args:
        function: Sets the precision. It may call others that do.

    Returns:
        The function, which waits for its turn.
    """

    @functools.wraps(function)
    def alone(*args: P.args, **kwargs: P.kwargs) -> R:
        from flint import ctx

        with _turn.lock:
            before = ctx.prec
            try:
                return function(*args, **kwargs)
            finally:
                ctx.prec = before

    return alone


@exclusive
def evaluate(root: Node, values: Mapping[Node, float], precision: int = 128) -> Any:
    """The ball of a graph at exact values of its leaves (1 for a leaf that is not given)."""
    from flint import arb, ctx

    ctx.prec = precision
    done: dict[Node, Any] = {}
    for node in walk(root):
        done[node] = _ball(node, [done[a] for a in node.args], values, arb, precision)
    return done[root]


def _ball(node: Node, args: list[Any], values: Mapping[Node, Any], arb: Any, precision: int) -> Any:
    if node.is_const:
        return arb(number_of(node))
    if node.op in ("input", "param"):
        return arb(values.get(node, 1.0))
    if node.is_bool:
        return _COMPARE[node.op](*args)
    if node.op == "where":
        return args[1] if args[0] else args[2]
    row = PRIMITIVES[node.op]
    if row.ball is not None:
        return row.ball(*args)
    assert row.expand is not None, node.op
    leaves = [Node("param", (), f"_operand{i}") for i in range(len(args))]
    return evaluate(row.expand(*leaves), dict(zip(leaves, args, strict=True)), precision)


def constant_value(node: Node) -> float:
    """The nearest double of a graph without inputs or parameters."""
    return float(evaluate(node, {}).mid())


def is_regular(root: Node, values: Mapping[Node, float]) -> bool:
    """Whether a graph and its first two derivatives are finite at a point."""
    from actium.symbolic.derivative import differentiate

    roots = [root]
    for leaf in values:
        first = differentiate(root, leaf)
        roots += [first, differentiate(first, leaf)]
    return all(_is_finite(evaluate(r, values)) for r in roots)


def _is_finite(ball: Any) -> bool:
    return bool(ball.is_finite()) and math.isfinite(float(ball.mid()))
