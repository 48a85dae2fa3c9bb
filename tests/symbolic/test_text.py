"""Formula → text → the same formula."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actium.symbolic.compound import FUNCTIONS
from actium.symbolic.graph import (
    Formula,
    Node,
    add,
    const,
    div,
    mul,
    neg,
    op,
    parameter,
    power,
    sub,
    variable,
    walk,
    where,
)
from actium.symbolic.latex import to_latex
from actium.symbolic.parse import parse
from actium.symbolic.primitives import PRIMITIVES
from actium.symbolic.text import MOST_CHARACTERS, to_text

X, A = variable("x"), parameter("a")


def back(node):
    used = {n.value for n in walk(node) if n.op == "param"}
    return parse(to_text(node), parameters=["a"] if used else []).root


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (neg(op("square", X)), "-x**2"),
        (op("square", neg(X)), "(-x)**2"),
        (power(-2.0, X), "(-2)**x"),
        (power(X, -3.0), "x**(-3)"),
        (power(power(X, 3.0), 4.0), "(x**3)**4"),
        (power(X, power(3.0, X)), "x**3**x"),
        (sub(X, sub(X, const(1.0))), "x - (x - 1)"),
        (div(X, mul(X, A)), "x / (x * a)"),
        (mul(X, neg(A)), "x * -a"),
        (neg(mul(X, A)), "-(x * a)"),
        (add(X, const(-0.5)), "x + -0.5"),
        (op("exp", 1.0) * X, "exp(1) * x"),
        (Node("pi") * X, "pi * x"),
        (mul(X, const(float("inf"))), "inf * x"),
        (where(op("and", X > 0, op("and", X < 1, X < 2)), X, 0.0), "where(x > 0 and (x < 1 and x < 2), x, 0)"),
        (where(op("not", op("or", X > 0, X < 1)), X, 0.0), "where(not (x > 0 or x < 1), x, 0)"),
        (op("exp_square", X, -0.5), "exp_square(x, -0.5)"),
        (op("sech_softplus", X), "sech_softplus(x)"),
    ],
)
def test_text_reads_back_as_the_same_node(node, text):
    assert to_text(node) == text
    assert back(node) is node


@pytest.mark.parametrize("row", [r for r in PRIMITIVES.values() if not r.internal and r.arity], ids=lambda r: r.name)
def test_text_of_every_primitive_reads_back(row):
    conditional = FUNCTIONS[row.name].conditions
    operands = [X > 0 if a in conditional else op("tanh", X) for a in FUNCTIONS[row.name].arguments][: row.arity]
    operands[-1:] = [X < 2] if len(conditional) == row.arity else [X + 3]
    node = op(row.name, *operands)
    whole = where(node, X, 0.0) if node.is_bool else node
    assert back(whole) is whole


NUMBERS = st.one_of(
    st.integers(-9, 9).map(float), st.floats(allow_nan=False), st.sampled_from([0.1, -0.0, 1e16, 5e-324, 1e-5])
)
LEAVES = st.one_of(st.just(X), st.just(X), st.just(A), st.just(Node("pi")), NUMBERS.map(const))
EXPONENTS = st.sampled_from(
    [const(v) for v in (2.0, 3.0, -2.0, 0.5, -1.0, 1 / 3, 64.0)] + [X, neg(X), X + A, op("exp", X)]
)
UNARY = ("exp", "tanh", "sqrt", "log1p", "abs", "square", "softplus", "ndtr", "reciprocal", "tanh_softplus")
BINARY = {"add": add, "sub": sub, "div": div, "max": lambda a, b: op("max", a, b)}
COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")


@st.composite
def conditions(draw, depth):
    kind = draw(st.sampled_from(["compare", "compare", "not", "and", "or"] if depth else ["compare"]))
    if kind == "compare":
        return op(draw(st.sampled_from(COMPARISONS)), draw(graphs(depth - 1)), draw(graphs(depth - 1)))
    return op(kind, *(draw(conditions(depth - 1)) for _ in range(1 if kind == "not" else 2)))


@st.composite
def graphs(draw, depth):
    kind = draw(st.sampled_from([*BINARY, "mul", "neg", "pow", "call", "where", "leaf"])) if depth > 0 else "leaf"
    if kind == "leaf":
        return draw(LEAVES)
    a = draw(graphs(depth - 1))
    if kind == "neg":
        return neg(a)
    if kind == "pow":
        return power(a, draw(EXPONENTS))
    if kind == "call":
        return op(draw(st.sampled_from(UNARY)), a)
    b = draw(graphs(depth - 1))
    if kind == "mul":
        # Two constants that do not fold exactly have no canonical order in a product.
        return mul(a, X if a.is_const else b)
    return where(draw(conditions(1)), a, b) if kind == "where" else BINARY[kind](a, b)


@given(graphs(4))
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_text_of_any_graph_reads_back_as_the_same_node(node):
    whole = add(op("tanh", X), op("tanh", node))  # so that it depends on x and is not a condition
    assert back(whole) is whole


def test_formula_text_is_that_of_its_root():
    assert str(Formula(X + 1)) == "x + 1"


def test_the_text_of_shared_nodes_does_not_grow_without_bound():
    node = variable("x")
    for _ in range(60):
        node = where(node > 0, node, 0.25 * node)
    assert len(Formula(node).text) <= 3 * MOST_CHARACTERS
    assert "…" in Formula(node).text
    assert len(to_latex(Formula(node))) <= 3 * MOST_CHARACTERS
