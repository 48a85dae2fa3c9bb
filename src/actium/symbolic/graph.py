"""The expression graph: immutable, hash-consed nodes, and the `Formula` that owns a root.

Stage: text or function → [Formula] → derivative → stabilize → plan → kernel.
In: operator names and operands. Out: nodes. Knows nothing of what an operator means
(that is `primitives.py`) beyond the few algebraic identities that hold for every real number.
"""

from __future__ import annotations

import functools
import math
import re
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Union

from actium.errors import FormulaError, ParameterError

Operand = Union["Node", float, int]

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")

# Operators whose value is true or false; everything else is a real number.
COMPARISONS = frozenset({"lt", "le", "gt", "ge", "eq", "ne"})
LOGICAL = frozenset({"and", "or", "not"})


class Node:
    """One operation of a graph. Equal nodes are the same object, so `is` compares formulas.

    Attributes:
        op: The primitive's name, or `input`, `param`, `const`.
        args: The operands.
        value: The name of an `input` or `param`, the number of a `const`, else None.
    """

    # Hashed as any object, by identity: with a __hash__ in Python every set and dict of nodes is three times as slow.
    __slots__ = ("__weakref__", "args", "op", "value")
    op: str
    args: tuple[Node, ...]
    value: float | str | None

    def __new__(cls, op: str, args: tuple[Node, ...] = (), value: float | str | None = None) -> Node:
        """Return the one node with this operator, operands and value."""
        # -0.0 == 0.0 as a key, so the sign is part of it; a NaN constant has no meaning in a formula.
        key = (op, args, value, math.copysign(1.0, value) if isinstance(value, float) else None)
        found = _INTERNED.get(key)
        if found is not None:
            return found
        with _LOCK:  # looking and storing are two steps
            found = _INTERNED.get(key)
            if found is None:
                found = object.__new__(cls)
                for name, part in (("op", op), ("args", args), ("value", value)):
                    object.__setattr__(found, name, part)
                _INTERNED[key] = found
        return found

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Node is immutable")

    def __reduce__(self) -> tuple[Callable[..., Node], tuple[object, ...]]:
        return (Node, (self.op, self.args, self.value))

    def __repr__(self) -> str:
        from actium.symbolic.text import to_text

        return to_text(self)

    def __bool__(self) -> bool:
        raise TypeError("a Node has no truth value: use `is`, or build a `where`")

    @property
    def is_const(self) -> bool:
        """Whether this is a number."""
        return self.op == "const"

    @property
    def is_bool(self) -> bool:
        """Whether this is a condition."""
        return self.op in COMPARISONS or self.op in LOGICAL

    def __add__(self, other: Operand) -> Node:
        return add(self, other)

    def __radd__(self, other: Operand) -> Node:
        return add(other, self)

    def __sub__(self, other: Operand) -> Node:
        return sub(self, other)

    def __rsub__(self, other: Operand) -> Node:
        return sub(other, self)

    def __mul__(self, other: Operand) -> Node:
        return mul(self, other)

    def __rmul__(self, other: Operand) -> Node:
        return mul(other, self)

    def __truediv__(self, other: Operand) -> Node:
        return div(self, other)

    def __rtruediv__(self, other: Operand) -> Node:
        return div(other, self)

    def __neg__(self) -> Node:
        return neg(self)

    def __pow__(self, other: Operand) -> Node:
        return power(self, other)

    def __lt__(self, other: Operand) -> Node:
        return op("lt", self, other)

    def __le__(self, other: Operand) -> Node:
        return op("le", self, other)

    def __gt__(self, other: Operand) -> Node:
        return op("gt", self, other)

    def __ge__(self, other: Operand) -> Node:
        return op("ge", self, other)


_LOCK = threading.RLock()  # a collected node's callback may come in between
_INTERNED: weakref.WeakValueDictionary[object, Node] = weakref.WeakValueDictionary()


def const(value: float) -> Node:
    """The node of a number (infinities are allowed, NaN is not)."""
    try:
        number = float(value)
    except OverflowError:
        raise FormulaError(f"the number {hex(int(value))[:20]}… does not fit a double: use a smaller one") from None
    if math.isnan(number):
        raise FormulaError("NaN is not a number that a formula can hold")
    return Node("const", (), number)


def as_node(value: Operand) -> Node:
    """A node for a node or a number."""
    return value if isinstance(value, Node) else const(value)


def variable(name: str) -> Node:
    """The node of an input tensor."""
    return Node("input", (), _identifier(name))


def parameter(name: str) -> Node:
    """The node of a parameter: one number, or one per channel."""
    return Node("param", (), _identifier(name))


def _identifier(name: str) -> str:
    if not IDENTIFIER.match(name):
        raise FormulaError(f"{name!r} is not a name: letters, digits and _, at most 64, not starting with a digit")
    return name


def op(name: str, *args: Operand) -> Node:
    """The node of a primitive, without any simplification."""
    return Node(name, tuple(as_node(a) for a in args))


# --- Constructors that keep graphs small. Each identity holds for all real operands. ---------------


def _fold(a: Node, b: Node, combine: Callable[[Fraction, Fraction], Fraction]) -> Node | None:
    """The constant of two constants, if it is a double: folding must never round."""
    if not (a.is_const and b.is_const and math.isfinite(number_of(a)) and math.isfinite(number_of(b))):
        return None
    value = combine(Fraction(number_of(a)), Fraction(number_of(b)))
    try:
        number = float(value)
    except OverflowError:
        return None
    return const(number) if math.isfinite(number) and Fraction(number) == value else None


def number_of(node: Node) -> float:
    """The number of a `const` node."""
    assert isinstance(node.value, float)
    return node.value


def is_number(node: Node, value: float) -> bool:
    """Whether the node is this number (either zero counts as 0)."""
    return node.is_const and node.value == value


def add(a: Operand, b: Operand) -> Node:
    """A + b."""
    a, b = as_node(a), as_node(b)
    if is_number(a, 0.0):
        return b
    if is_number(b, 0.0):
        return a
    if b.op == "neg":
        return sub(a, b.args[0])
    folded = _fold(a, b, lambda p, q: p + q)
    return op("add", a, b) if folded is None else folded


def sub(a: Operand, b: Operand) -> Node:
    """A − b."""
    a, b = as_node(a), as_node(b)
    if is_number(b, 0.0):
        return a
    if is_number(a, 0.0):
        return neg(b)
    if b.op == "neg":
        return add(a, b.args[0])
    folded = _fold(a, b, lambda p, q: p - q)
    return op("sub", a, b) if folded is None else folded


def neg(a: Operand) -> Node:
    """−a."""
    a = as_node(a)
    if a.is_const:
        return const(-number_of(a))
    return a.args[0] if a.op == "neg" else op("neg", a)


def mul(a: Operand, b: Operand) -> Node:
    """A · b. A product with the constant 0 is 0: the factor is a real number, not a float."""
    a, b = as_node(a), as_node(b)
    for p, q in ((a, b), (b, a)):
        if is_number(p, 0.0):
            return const(0.0)
        if is_number(p, 1.0):
            return q
        if is_number(p, -1.0):
            return neg(q)
    if a.op == "neg" and b.op == "neg":
        return mul(a.args[0], b.args[0])
    if b.is_const and not a.is_const:
        a, b = b, a
    folded = _fold(a, b, lambda p, q: p * q)
    if folded is None and a.is_const and b.op == "mul" and b.args[0].is_const:
        inner = _fold(a, b.args[0], lambda p, q: p * q)
        if inner is not None:
            return mul(inner, b.args[1])
    return op("mul", a, b) if folded is None else folded


def div(a: Operand, b: Operand) -> Node:
    """A / b."""
    a, b = as_node(a), as_node(b)
    if is_number(b, 1.0):
        return a
    if is_number(b, -1.0):
        return neg(a)
    if is_number(a, 0.0) and not is_number(b, 0.0):
        return const(0.0)
    if is_number(b, 0.0):
        return op("div", a, b)
    folded = _fold(a, b, lambda p, q: p / q)
    return op("div", a, b) if folded is None else folded


def power(a: Operand, b: Operand) -> Node:
    """A ** b, with the small integer powers in their own form."""
    a, b = as_node(a), as_node(b)
    if b.is_const:
        simple = {0.0: lambda: const(1.0), 1.0: lambda: a, 2.0: lambda: op("square", a)}
        simple |= {-1.0: lambda: op("reciprocal", a), 0.5: lambda: op("sqrt", a), -0.5: lambda: op("rsqrt", a)}
        build = simple.get(number_of(b))
        if build is not None:
            return build()
    return op("pow", a, b)


def where(condition: Node, a: Operand, b: Operand) -> Node:
    """A where the condition holds, else b."""
    a, b = as_node(a), as_node(b)
    return a if a is b else op("where", condition, a, b)


def both(a: Node, b: Node) -> Node:
    """A and b."""
    return op("and", a, b)


def negated(node: Node) -> Node:
    """−t, with the sign taken into the constant where there is one."""
    if node.op == "sub":
        return sub(node.args[1], node.args[0])
    if node.op == "mul" and node.args[0].is_const:
        return mul(const(-number_of(node.args[0])), node.args[1])
    if node.op == "div" and node.args[0].op == "neg":
        return div(node.args[0].args[0], node.args[1])
    return neg(node)


def is_negative(node: Node) -> bool:
    """Whether the node is written with a minus sign: −t, or a negative constant times t."""
    return node.op == "neg" or (node.op == "mul" and node.args[0].is_const and number_of(node.args[0]) < 0)


# --- Traversal ------------------------------------------------------------------------------------


def walk(*roots: Node) -> list[Node]:
    """Every node below the roots, operands before their users, each once. Iterative: depth is not limited."""
    order: list[Node] = []
    done: set[Node] = set()
    stack = [*reversed(roots)]
    while stack:
        node = stack[-1]
        waiting = [a for a in node.args if a not in done] if node not in done else None
        if waiting:
            stack += reversed(waiting)
            continue
        stack.pop()
        if waiting is not None:
            done.add(node)
            order.append(node)
    return order


def rebuild(root: Node, visit: Callable[[Node, tuple[Node, ...]], Node], memo: dict[Node, Node] | None = None) -> Node:
    """Map a graph from the leaves up: `visit(node, new_args)` gives the replacement of each node."""
    done: dict[Node, Node] = {} if memo is None else memo
    for node in walk(root):
        if node not in done:
            done[node] = visit(node, tuple(done[a] for a in node.args))
    return done[root]


# Constructors by operator, so that a rebuilt graph is simplified again.
SIMPLIFYING: dict[str, Callable[..., Node]] = {
    "add": add,
    "sub": sub,
    "neg": neg,
    "mul": mul,
    "div": div,
    "pow": power,
    "where": where,
}


def remake(node: Node, args: Sequence[Node]) -> Node:
    """The same operation on other operands, simplified."""
    if not node.args:
        return node
    build = SIMPLIFYING.get(node.op)
    return build(*args) if build is not None else Node(node.op, tuple(args))


def substitute(root: Node, replacements: Mapping[Node, Node]) -> Node:
    """Replace nodes (usually inputs or parameters) throughout a graph."""
    return rebuild(root, lambda node, args: replacements[node] if node in replacements else remake(node, args))


@dataclass(frozen=True)
class Formula:
    """A function of one or more inputs and some parameters, as a graph.

    Attributes:
        root: The graph of the value.
        inputs: Names of the elementwise inputs, in call order.
        parameters: Names of the parameters, in call order.
    """

    root: Node
    inputs: tuple[str, ...] = ("x",)
    parameters: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        for node in walk(self.root):
            known = {"input": self.inputs, "param": self.parameters}.get(node.op)
            if known is not None and node.value not in known:
                raise ParameterError(f"the formula uses {node.value!r}; known: {', '.join(known) or 'none'}")

    @functools.cached_property
    def nodes(self) -> list[Node]:
        """Every node once, operands first."""
        return walk(self.root)

    @functools.cached_property
    def text(self) -> str:
        """The formula as text that `parse` reads back."""
        from actium.symbolic.text import to_text

        return to_text(self.root)

    def __str__(self) -> str:
        return self.text
