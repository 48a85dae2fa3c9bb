"""Text → Formula: what is accepted, what is refused, and that nothing else can happen."""

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from actium.errors import FormulaError
from actium.symbolic.compound import FUNCTIONS
from actium.symbolic.graph import Formula, Node, const, op, parameter, variable, where
from actium.symbolic.parse import MAX_CHARACTERS, MAX_DEPTH, MAX_NODES, parse

X = variable("x")


def refuse(text, **options):
    with pytest.raises(FormulaError) as caught:
        parse(text, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x + 1", X + 1),
        ("-x**2", -op("square", X)),
        ("(-x)**2", op("square", -X)),
        ("2**-x", op("pow", 2.0, -X)),
        ("x**3**2", op("pow", X, op("square", 3.0))),
        ("+x", X),
        ("  x * 2\n", 2.0 * X),
        ("(x\n + 1)", X + 1),
        ("e**x", op("exp", X)),
        ("tau * x", 2.0 * Node("pi") * X),
        ("min(x, inf)", op("min", X, math.inf)),
        ("x if x > 0 else 0", where(X > 0, X, 0.0)),
        ("where(0 < x <= 1, x, 0)", where(op("and", op("lt", 0.0, X), X <= 1), X, 0.0)),
        ("where(not x > 0 or x == 3, x, 0)", where(op("or", op("not", X > 0), op("eq", X, 3.0)), X, 0.0)),
        ("pow(x, exponent=2)", op("square", X)),
        ("hardtanh(x, min_val=-2)", where(X <= -2, -2.0, where(X >= 1, 1.0, X))),
        ("silu(x)", X * op("sigmoid", X)),
        ("gelu(x, approximate='none')", X * op("ndtr", X)),
        ("softplus(x)", op("softplus", X)),
        ("softplus(x, beta=2, threshold=20)", where(2.0 * X > 20, X, op("softplus", 2.0 * X) / 2.0)),
    ],
)
def test_parse_reads(text, expected):
    assert parse(text).root is expected


def test_parse_orders_parameters_as_declared_and_lets_them_hide_constants():
    f = parse("b*x + a*e", parameters={"a": 1.0, "e": 2.0, "b": 3.0})
    assert f.parameters == ("a", "e", "b")
    assert parameter("e") in f.nodes


def test_parse_reads_several_inputs():
    assert parse("x*sigmoid(g)", inputs=("x", "g")).inputs == ("x", "g")


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("x * foo", 1, 5, "unknown name 'foo'"),
        ("x +\n tanhh(x)", 1, 4, "invalid syntax"),
        ("(x +\n tanhh(x))", 2, 2, "did you mean tanh?"),
        ("\n\n  (x + bar)", 3, 8, "unknown name 'bar'"),
        ("x.real", 1, 1, "attribute access"),
        ("torch.tanh(x)", 1, 1, "write tanh(x)"),
        ("__import__('os')", 1, 1, "unknown function"),
        ("x[0]", 1, 1, "indexing"),
        ("x^2", 1, 1, "use **"),
        ("x + 2x", 1, 5, "write 2*x"),
        ("2(x)", 1, 1, "write * to multiply"),
        ("x(2)", 1, 1, "x is not a function"),
        ("tanh * x", 1, 1, "tanh is a function"),
        ("x * 1j", 1, 5, "not a real number"),
        ("x * True", 1, 5, "not a real number"),
        ("x * 1e999", 1, 5, "does not fit a double"),
        ("x > 0", 1, 1, "where(…, 1, 0)"),
        ("1 + (x > 0)*x", 1, 5, "is a condition"),
        ("where(x, 1, 2)", 1, 1, "must be a condition"),
        ("x * -1 if x else 2", 1, 1, "must be a condition"),
        ("elu(x, beta=2)", 1, 1, "no argument 'beta'"),
        ("elu(x, 1, 2)", 1, 1, "at most 2"),
        ("min(x)", 1, 1, "needs other"),
        ("gelu(x, 'fast')", 1, 1, "'none' or 'tanh'"),
        ("x * 9**9**9", 1, 8, "exponent"),
        ("x**65", 1, 4, "exponent"),
        ("pow(x, -100)", 1, 1, "exponent"),
        ("x\0", 1, 2, "NUL"),
        ("2×x", 1, 2, "did you mean *?"),
        ("1 + х", 1, 5, "CYRILLIC SMALL LETTER HA"),  # noqa: RUF001
        ("x\N{NO-BREAK SPACE}+ 1", 1, 2, "NO-BREAK SPACE"),
        ("x is 1", 1, 1, "compare numbers"),
        ("(y := x)", 1, 2, "assignment"),
        ("lambda: x", 1, 1, "lambda"),
        ("x, x", 1, 1, "several expressions"),
        ("exp(**x)", 1, 7, "by name"),
        ("[v for v in x]", 1, 1, "not something a formula can hold"),
        ("f'{x}'", 1, 1, "not something a formula can hold"),
    ],
)
def test_parse_names_the_offending_piece_and_its_place(text, line, column, says):
    message = refuse(text)
    assert message.startswith(f"line {line}, column {column}: "), message
    assert says in message
    shown, caret = message.split("\n")[-2:]
    assert caret.index("^") < max(len(shown), 5) + 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("(" * 2000, "deep"),
        ("(" * 10_000 + "x" + ")" * 10_000, "characters"),
        ("-" * 2000 + "x", "deep"),
        ("- " * 1500 + "x", "deep"),
        ("not " * 800 + "x > 0", "deep"),
        ("x**" * 300 + "x", "deep"),
        ("1 if x > 0 else " * 100 + "x", "deep"),
        ("+".join(["x"] * 1500), f"{MAX_NODES} operations"),
        ("x" * (MAX_CHARACTERS + 1), "characters"),
        ("x * " + "1" * 4000, "does not fit a double"),
        ("5", "does not depend on its input 'x'"),
        ("x * 0", "does not depend on its input 'x'"),
    ],
)
def test_parse_refuses_what_is_too_large_or_empty(text, says):
    assert says in refuse(text)


def test_parse_refuses_what_is_not_text():
    assert "bytes" in refuse(b"x")


def test_parse_refuses_unused_and_repeated_names():
    assert "parameter 'b'" in refuse("a*x", parameters=["a", "b"])
    assert "input 'y'" in refuse("x", inputs=("x", "y"))
    assert "declared twice" in refuse("x", parameters=["x"])
    assert "not a name" in refuse("x", inputs=("x y",))


def test_parse_accepts_nesting_and_length_up_to_the_limits():
    deep = "(" * MAX_DEPTH + "x" + ")" * MAX_DEPTH
    assert parse(deep).root is X
    assert parse("+".join(["x"] * 200)).nodes
    assert parse("x**64").root is op("pow", X, 64.0)


TOKENS = (
    *"x y 1 2.5 1e9 0 ( ) ( ) + - * / ** , . ^ < > == != <= and or not if else lambda : [ ] { } =".split(),
    *(":=", "~", "@", "%", "'a'", "#", "\n", "\\", " "),
    *sorted(FUNCTIONS),
)
VALID = (
    "x * tanh(log(1 + exp(x)))",
    "where(x > 0, x, exp(x) - 1)",
    "gelu(x, approximate='tanh') + hardtanh(x, -2, max_val=2)",
    "x if 0 < x < 6 else 6 * (x >= 6 and x == x or not x)",
)


def parses_or_refuses(text):
    try:
        found = parse(text)
    except FormulaError:
        return
    assert isinstance(found, Formula)


@given(st.text(max_size=200))
@example("\ud800")
@example("1if x else 2")
@example("x\r+1")
@example("'\\N{x}'")
@settings(deadline=None, max_examples=300)
def test_parse_gives_a_formula_or_a_formula_error_on_any_text(text):
    parses_or_refuses(text)


@given(st.lists(st.sampled_from(TOKENS), max_size=40).map(" ".join))
@settings(deadline=None, max_examples=500)
def test_parse_gives_a_formula_or_a_formula_error_on_any_tokens(text):
    parses_or_refuses(text)


@given(
    st.sampled_from(VALID),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3), st.sampled_from([*TOKENS, "\0", "é"])), max_size=4),
)
@settings(deadline=None, max_examples=500)
def test_parse_gives_a_formula_or_a_formula_error_on_any_mutation(text, edits):
    for at, length, token in edits:
        text = text[:at] + token + text[at + length :]
    parses_or_refuses(text)


def test_parse_holds_numbers_exactly():
    assert parse("0.1 * x").root is const(0.1) * X
    assert parse("x + 5e-324").root is X + 5e-324
