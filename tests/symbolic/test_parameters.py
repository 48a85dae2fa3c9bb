"""Declarations of parameters: what they accept and what they say."""

from __future__ import annotations

import math

import pytest

from actium.errors import ParameterError
from actium.symbolic.parameters import Parameter, learnable


def test_learnable_declares():
    p = learnable(1, positive=True).named("theta")
    assert p == Parameter("theta", 1.0, learnable=True, positive=True)
    assert p.constrained
    assert not learnable(1.0).constrained
    assert isinstance(p.init, float)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "(-inf, inf)"),
        ({"positive": True}, "(0, inf)"),
        ({"min": 0.0}, "[0, inf)"),
        ({"max": 2.0}, "(-inf, 2]"),
        ({"min": -1.0, "max": 2.0}, "[-1, 2]"),
        ({"positive": True, "min": 0.5}, "[0.5, inf)"),
        ({"positive": True, "min": -1.0, "max": 4}, "(0, 4]"),
    ],
)
def test_range_text(arguments, text):
    assert learnable(1.0, **arguments).range_text == text


@pytest.mark.parametrize("value", [0.5, 1, 2.0])
def test_values_inside_are_returned_as_floats(value):
    checked = learnable(1.0, min=0.5, max=2.0).check(value)
    assert checked == value
    assert type(checked) is float


@pytest.mark.parametrize("value", [0.4999, 2.001, math.inf, -math.inf, math.nan])
def test_values_outside_are_named(value):
    with pytest.raises(ParameterError, match=r"parameter 'p': .* is outside \[0.5, 2\]; choose a value inside it"):
        learnable(1.0, min=0.5, max=2.0).named("p").check(value)


@pytest.mark.parametrize("value", ["1", None, True, [1.0], 1j])
def test_what_is_not_a_number(value):
    with pytest.raises(ParameterError, match="expected a number, got"):
        learnable(1.0).check(value)
    with pytest.raises(ParameterError, match="init must be a number"):
        learnable(value)


@pytest.mark.parametrize(
    ("init", "arguments", "message"),
    [
        (0.0, {"positive": True}, r"0.0 is outside \(0, inf\)"),
        (math.nan, {}, "init is NaN"),
        (1.0, {"min": math.nan}, "min is NaN"),
        (1.0, {"min": 2.0, "max": 2.0}, "min=2.0 is not below max=2.0"),
        (1.0, {"min": 3.0, "max": 2.0}, "min=3.0 is not below max=2.0"),
        (5.0, {"max": 2.0}, r"5.0 is outside \(-inf, 2\]"),
        (1.0, {"min": True}, "min must be a number, got True"),
        (1.0, {"max": "2"}, "max must be a number, got '2'"),
    ],
)
def test_impossible_declarations(init, arguments, message):
    with pytest.raises(ParameterError, match=message):
        learnable(init, **arguments)


def test_declarations_cannot_be_changed():
    with pytest.raises(AttributeError):
        learnable(1.0).init = 2.0
