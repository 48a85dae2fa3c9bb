"""Formula → text that `parse` reads back as the same graph.

In: a node. Out: a string. Purely presentational; nothing is computed from it. `latex.py` shares the binding strengths.
"""

from __future__ import annotations

from actium.symbolic.graph import Node, number_of, walk
from actium.symbolic.primitives import PRIMITIVES

# How tightly an operator binds; an operand that binds less tightly than its place gets parentheses.
BINDING = {"or": 1, "and": 2, "not": 3, "lt": 4, "le": 4, "gt": 4, "ge": 4, "eq": 4, "ne": 4}
BINDING |= {"add": 5, "sub": 5, "mul": 6, "div": 6, "neg": 7, "square": 8, "pow": 8}
ATOM = 9
MOST_CHARACTERS = 20_000


def number_text(value: float) -> str:
    """A number as short as it can be and still read back as the same double."""
    if value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "-inf"
    if value == int(value) and abs(value) < 1e15:
        return str(int(value)) if value or str(value) == "0.0" else "-0.0"
    return repr(value)


def binding(node: Node) -> int:
    """How tightly a node's text holds together; a negative number is a negation."""
    if node.is_const and (number_of(node) < 0 or str(node.value).startswith("-")):
        return BINDING["neg"]
    return BINDING.get(node.op, ATOM)


def to_text(root: Node) -> str:
    """Text of a graph. Shared nodes are printed again at each use.

    Ten layers of `where(u > 0, u, 0.25 * u)` would be a million characters: a part beyond `MOST_CHARACTERS` is
    written as an ellipsis, and such a text cannot be read back.
    """
    done: dict[Node, str] = {}
    for node in walk(root):
        text = _text_of(node, done)
        done[node] = text if len(text) <= MOST_CHARACTERS else "…"
    return done[root]


def _text_of(node: Node, done: dict[Node, str]) -> str:
    if node.is_const:
        return number_text(number_of(node))
    if node.op in ("input", "param"):
        return str(node.value)
    row = PRIMITIVES[node.op]
    if row.arity == 0:
        return node.op
    if node.op == "square":
        return f"{_wrapped(node.args[0], done, ATOM)}**2"
    if row.infix is None:
        return f"{node.op}({', '.join(done[a] for a in node.args)})"
    mine = BINDING[node.op]
    if row.arity == 1:
        gap = " " if row.infix.isalpha() else ""
        return f"{row.infix}{gap}{_wrapped(node.args[0], done, mine)}"
    left, right = node.args
    # ** is right-associative, everything else left-associative; a chain of comparisons would mean something else.
    right_needs = mine + (node.op != "pow")
    left_needs = mine + (node.op == "pow" or mine == BINDING["lt"])
    gap = "" if node.op == "pow" else " "
    return f"{_wrapped(left, done, left_needs)}{gap}{row.infix}{gap}{_wrapped(right, done, right_needs)}"


def _wrapped(node: Node, done: dict[Node, str], needs: int) -> str:
    return done[node] if binding(node) >= needs else f"({done[node]})"
