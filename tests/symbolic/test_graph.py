"""Nodes are interned and immutable; constructors simplify only by identities of the real numbers."""

from __future__ import annotations

import copy
import gc
import math
import pickle
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actium.errors import FormulaError, ParameterError
from actium.symbolic import graph as g
from actium.symbolic.balls import evaluate
from actium.symbolic.graph import Formula, Node, const, op, parameter, variable, walk, where

X, Y, P = variable("x"), variable("y"), parameter("p")


def test_equal_nodes_are_one_object():
    assert op("exp", X * 2.0) is op("exp", X * 2.0)
    assert variable("p") is not P
    assert const(0.0) is not const(-0.0)
    assert const(1) is const(1.0)


def test_nodes_cannot_be_changed():
    with pytest.raises(AttributeError, match="immutable"):
        X.op = "exp"
    with pytest.raises(TypeError, match="no truth value"):
        bool(X > 0.0)


def test_copies_and_pickles_are_the_same_node():
    node = where(X > 0.0, op("tanh", X), P * X)
    assert pickle.loads(pickle.dumps(node)) is node
    assert copy.deepcopy(node) is node
    assert pickle.loads(pickle.dumps(Formula(node, ("x",), ("p",)))).root is node


def test_unused_nodes_are_forgotten():
    before = len(g._INTERNED)
    node = X
    for k in range(500):
        node = op("sin", node) + 0.5 + k
    assert len(g._INTERNED) >= before + 1000
    del node
    gc.collect()
    assert len(g._INTERNED) <= before + 10


def test_threads_get_one_node():
    seen, ready = [], threading.Barrier(4)

    def build():
        ready.wait()
        node = X
        for k in range(300):
            node = op("cos", node) * (k + 0.25)
        seen.append(node)

    workers = [threading.Thread(target=build) for _ in range(4)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert all(node is seen[0] for node in seen)


def test_deep_graphs_need_no_recursion():
    node = X
    for _ in range(20_000):
        node = op("sin", node)
    assert len(walk(node)) == 20_001
    assert g.substitute(node, {X: Y}) is not node


@pytest.mark.parametrize("name", ["", "1x", "x y", "x;import os", "é", "a" * 65, "x\n", "__class__.x"])
def test_hostile_names(name):
    for build in (variable, parameter):
        with pytest.raises(FormulaError, match="is not a name"):
            build(name)


def test_numbers_that_a_formula_cannot_hold():
    with pytest.raises(FormulaError, match="NaN"):
        const(math.nan)
    with pytest.raises(FormulaError, match="does not fit a double"):
        const(10**400)
    assert const(math.inf).value == math.inf


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (X + 0.0, X),
        (0.0 + X, X),
        (X - 0.0, X),
        (0.0 - X, -X),
        (X * 1.0, X),
        (X * 0.0, const(0.0)),
        (X * -1.0, -X),
        (g.neg(g.neg(X)), X),
        (X - (-Y), X + Y),
        (X + (-Y), X - Y),
        ((-X) * (-Y), X * Y),
        (X * 2.0, const(2.0) * X),
        (2.0 * (3.0 * X), 6.0 * X),
        (X / 1.0, X),
        (X / -1.0, -X),
        (0.0 / X, const(0.0)),
        (X**1.0, X),
        (X**0.0, const(1.0)),
        (X**2.0, op("square", X)),
        (X**0.5, op("sqrt", X)),
        (X**-1.0, op("reciprocal", X)),
        (where(X > 0.0, Y, Y), Y),
        (const(0.5) + const(0.25), const(0.75)),
        (g.negated(X - Y), Y - X),
        (g.negated(2.0 * X), -2.0 * X),
    ],
)
def test_simplifications(built, expected):
    assert built is expected


@pytest.mark.parametrize(
    "node", [const(0.1) + const(0.2), const(1.0) / const(3.0), const(0.1) * const(0.1), const(1.0) / const(0.0)]
)
def test_folding_never_rounds(node):
    assert not node.is_const


def test_infinity_is_not_folded():
    assert not (const(math.inf) - const(math.inf)).is_const
    assert not (const(math.inf) * const(2.0)).is_const


numbers = st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0])
leaves = st.one_of(st.just(X), st.just(Y), numbers.map(const))
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["add", "sub", "mul", "div"]), inner, inner),
        st.tuples(st.just("neg"), inner),
        st.tuples(st.just("where"), inner, inner, inner),
    ),
    max_leaves=12,
)


def plain(tree) -> Node:
    """The tree without any simplification."""
    if isinstance(tree, Node):
        return tree
    name, *args = tree
    built = [plain(a) for a in args]
    return Node("where", (op("gt", built[0], const(0.0)), *built[1:])) if name == "where" else Node(name, tuple(built))


def simplified(tree) -> Node:
    if isinstance(tree, Node):
        return tree
    name, *args = tree
    built = [simplified(a) for a in args]
    if name == "where":
        return where(op("gt", built[0], const(0.0)), *built[1:])
    return g.SIMPLIFYING[name](*built)


@given(trees)
@settings(max_examples=300, deadline=None)
def test_simplified_graphs_have_the_same_value(tree):
    a, b = plain(tree), simplified(tree)
    for x, y in ((0.75, -1.25), (-3.5, 0.375)):
        left, right = evaluate(a, {X: x, Y: y}, 300), evaluate(b, {X: x, Y: y}, 300)
        if left.is_finite():
            assert right.is_finite()
            assert left.overlaps(right) or abs(left - right) < 1e-60


def test_walk_visits_operands_first_and_once():
    shared = op("exp", X)
    order = walk(shared * shared + op("sin", shared), shared)
    assert len(order) == len(set(order))
    for node in order:
        assert all(order.index(a) < order.index(node) for a in node.args)


def test_rebuild_and_substitute():
    assert g.substitute(op("exp", X) * P, {X: Y * 2.0, P: const(1.0)}) is op("exp", 2.0 * Y)
    assert g.substitute(X * P, {P: const(0.0)}) is const(0.0)


def test_a_formula_declares_its_names():
    with pytest.raises(ParameterError, match="'p'; known: none"):
        Formula(X * P)
    with pytest.raises(ParameterError, match="'y'; known: x"):
        Formula(X * Y)
    formula = Formula(X * P, ("x",), ("p", "idle"))
    assert formula.text == str(formula) == "x * p"
    assert formula.nodes[-1] is formula.root
