"""The choice of a cheaper C form changes no bit of the result, and is made only where it is allowed."""

from __future__ import annotations

import math

import pytest
import torch
from test_fission import _run, needs_compiler

from actium.authoring import formula
from actium.kernels import forms


@needs_compiler
@pytest.mark.parametrize("text", ["x * 0.5 * erfc(-x / sqrt(2))", "exp(-x * x)", "erf(x)"])
def test_squares_times_a_power_of_two_take_less_and_keep_every_bit(text, monkeypatch):
    activation = formula(text)
    x = torch.cat([torch.linspace(-10, 10, 400_001), torch.tensor([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-40])])
    grad = torch.linspace(-2, 3, len(x))
    source, *results = _run(activation, x, grad)
    monkeypatch.setattr(forms, "_is_power_of_two", lambda node: False)
    general, *expected = _run(formula(text), x, grad)
    assert "act_expsq2_mid(" in source
    assert "act_expsq2_mid(" not in general
    for a, b in zip(results, expected, strict=True):
        assert torch.equal(a.view(torch.int32), b.view(torch.int32))


@pytest.mark.parametrize("text", ["exp(-3 * x * x)", "exp(-0.3 * x**2)", "exp(-b * x * x)"])
def test_other_squares_do_not(text):
    assert "expsq2" not in formula(text, **({"b": 0.5} if "b" in text else {})).source("c", "float32")


def test_halves_have_no_rounding_error_of_the_exponent_to_carry():
    assert "expsq2" not in formula("exp(-x * x)").source("c", "bfloat16")
