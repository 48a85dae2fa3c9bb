"""Slopes of two values are recognised by their form, and nothing else is taken for one."""

from __future__ import annotations

import re

import pytest

from actium.symbolic.graph import variable
from actium.symbolic.parse import parse
from actium.symbolic.selection import two_values

X = variable("x")


def root_of(text: str):
    used = set(re.findall(r"\w+", text))
    inputs = ("x",) if "x" in used else ()
    return parse(text, inputs=inputs, parameters={n: v for n, v in {"a": 0.5, "b": 2.0}.items() if n in used}).root


def found(text: str):
    return two_values(root_of(text), X)


@pytest.mark.parametrize(
    ("text", "mark", "yes", "no"),
    [
        ("where(x <= 0, 0, 1)", "where(x <= 0, 1, 0)", "0", "1"),
        ("where(x <= 0, 0, where(x >= a, 0, 1))", "where(x <= 0, 1, where(x >= a, 1, 0))", "0", "1"),
        ("b * where(x <= 0, a, 1)", "where(x <= 0, 1, 0)", "b * a", "b"),
        ("where(x <= 0, 0, 1) + 0.25", "where(x <= 0, 1, 0)", "0.25", "1.25"),
        ("-where(x <= 0, 0, 1) / b", "where(x <= 0, 1, 0)", "0", "-1 / b"),
        ("a + b", "where(x == x, 1, 0)", "a + b", "a + b"),
    ],
)
def test_two_values_are_found(text: str, mark: str, yes: str, no: str):
    two = found(text)
    assert two is not None
    assert (two.mark, two.yes, two.no) == (root_of(mark), root_of(yes), root_of(no))


@pytest.mark.parametrize(
    "text",
    [
        "where(x <= 0, 0, x)",
        "where(x <= 0, 0, where(x >= 1, 0.5, 1))",
        "sign(x)",
        "where(a <= 0, x, 1)",
        "where(x <= 0, a, b) * where(x <= 1, a, b)",
        "exp(x)",
    ],
)
def test_other_slopes_are_not(text: str):
    assert found(text) is None
