"""An element's bits depend on the element alone, whatever its block is computed with: for random formulas, too."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import actium
from actium.authoring import formula
from samples import bits

FORMULAS = (
    "tanh(x) * sigmoid(x) * x + x * x * sigmoid(x)",
    "x * x * sigmoid(x) + x * atan(x)",
    "x * sigmoid(2 * x) + x * x * tanh(x)",
)


def both(function, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x = x.clone().requires_grad_()
    y = function(x)
    return y.detach(), torch.autograd.grad(y, x, torch.linspace(0.5, 1.5, x.numel()).to(x.dtype))[0]


def assert_alone(function, dtype: torch.dtype) -> None:
    """The results of moderate numbers are the same beside a large one in every block."""
    x = torch.linspace(-6, 6, 1100).to(dtype)
    beside = x.clone()
    beside[100::512] = 200.0
    kept = bits(beside) == bits(x)
    for alone, found in zip(both(function, x), both(function, beside), strict=True):
        assert torch.equal(bits(alone)[kept], bits(found)[kept])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("text", FORMULAS)
def test_what_a_sum_is_fused_with_does_not_depend_on_neighbours(text, dtype):
    assert_alone(formula(text), dtype)


TERMS = st.sampled_from(
    ["x", "x * x", "tanh(x)", "sigmoid(x)", "x * sigmoid(x)", "atan(x)", "exp(-x * x)", "softplus(x)", "1.5"]
)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(TERMS, TERMS), min_size=2, max_size=3))
def test_sums_of_products_do_not_either(pairs):
    assert_alone(formula(" + ".join(f"{a} * {b}" for a, b in pairs)), torch.float32)


def test_gated_units_do_not_either():
    unit = actium.glu(formula(FORMULAS[1]))
    up = torch.linspace(2, 3, 1100)
    assert_alone(lambda x: unit(x, up), torch.float32)
