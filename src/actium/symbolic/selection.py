"""Slopes that take two values: which of the two, as a graph of zeros and ones.

Stage: derivative → [selection] → kernels that keep one bit per element.
In: the graph of a slope. Out: a graph that is 1 where the slope has the one value and 0 where it has the other, and
both values as graphs without the input. Nothing is evaluated: `where(x <= 0, slope, 1)` is recognised by its form, with
operations between selections and constants taken inside.
"""

from __future__ import annotations

from dataclasses import dataclass

from actium.symbolic.graph import Node, const, remake, walk, where

# A sum of selections multiplies their leaves; more than this is nobody's activation.
_MOST_LEAVES = 64


@dataclass(frozen=True)
class TwoValues:
    """A graph with at most two values.

    Attributes:
        mark: 1 where the value is `yes`, 0 where it is `no`.
        yes: The one value, without the input.
        no: The other; the same node if there is only one.
    """

    mark: Node
    yes: Node
    no: Node


def two_values(root: Node, x: Node) -> TwoValues | None:
    """The two values of a graph, or None if it has others or varies within a branch.

    Example:
        >>> from actium.symbolic.graph import const, op, variable
        >>> x = variable("x")
        >>> found = two_values(3.0 * where(x <= 0.0, const(0.25), const(1.0)), x)
        >>> found.mark, found.yes, found.no
        (where(x <= 0, 1, 0), 0.75, 3)
    """
    tree = _Selections(x).of(root)
    if tree is None:
        return None
    leaves = list(dict.fromkeys(_leaves(tree, x)))
    if len(leaves) > 2:
        return None
    yes, no = leaves[0], leaves[-1]
    if yes is no:
        return TwoValues(where(Node("eq", (x, x)), const(1.0), const(0.0)), yes, no)
    return TwoValues(_marked(tree, x, yes), yes, no)


class _Selections:
    """A graph as nested selections whose leaves do not contain x."""

    def __init__(self, x: Node) -> None:
        self.x = x
        self._depends: dict[Node, bool] = {}

    def depends(self, node: Node) -> bool:
        if node not in self._depends:
            self._depends[node] = self.x in walk(node)
        return self._depends[node]

    def of(self, node: Node) -> Node | None:
        if not self.depends(node):
            return node
        if node.op == "where":
            condition, *branches = node.args
            a, b = (self.of(branch) for branch in branches)
            if not self.depends(condition) or a is None or b is None:
                return None
            return self._limited(where(condition, a, b))
        if node is self.x or node.is_bool:
            return None
        trees = [self.of(a) for a in node.args]
        return None if any(t is None for t in trees) else self._inward(node, [t for t in trees if t is not None])

    def _inward(self, node: Node, args: list[Node]) -> Node | None:
        """The operation on every combination of leaves."""
        for k, tree in enumerate(args):
            if self.depends(tree):
                condition, *branches = tree.args
                a, b = (self._inward(node, [*args[:k], branch, *args[k + 1 :]]) for branch in branches)
                return None if a is None or b is None else self._limited(where(condition, a, b))
        return remake(node, args)

    def _limited(self, tree: Node) -> Node | None:
        return tree if len(_leaves(tree, self.x)) <= _MOST_LEAVES else None


def _leaves(tree: Node, x: Node) -> list[Node]:
    if tree.op == "where" and x in walk(tree.args[0]):
        return [*_leaves(tree.args[1], x), *_leaves(tree.args[2], x)]
    return [tree]


def _marked(tree: Node, x: Node, yes: Node) -> Node:
    if tree.op == "where" and x in walk(tree.args[0]):
        return where(tree.args[0], _marked(tree.args[1], x, yes), _marked(tree.args[2], x, yes))
    return const(1.0 if tree is yes else 0.0)
