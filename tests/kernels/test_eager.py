"""Generated torch code: right values, shared work, any dtype, no text of a user's."""

from __future__ import annotations

import inspect
import linecache
import math

import pytest
import torch

from actium.errors import KernelError
from actium.kernels.eager import body, compile_function, function_source
from actium.symbolic.graph import const, op, parameter, variable, where

X, P = variable("x"), parameter("p")


def run(root, x, dtype=torch.float64):
    return compile_function("f", ("x",), (root,))(torch.tensor(x, dtype=dtype))


def test_shared_work_is_done_once():
    shared = op("exp", op("sin", X))
    lines, (result,) = body((shared * shared + shared,))
    assert sum("torch.exp" in line for line in lines) == 1
    assert "torch.exp" not in result


def test_several_roots_come_back_as_a_tuple():
    function = compile_function("f", ("x", "p"), (X * P, X + P))
    assert [t.item() for t in function(torch.tensor(2.0), torch.tensor(3.0))] == [6.0, 5.0]


@pytest.mark.parametrize("value", [1.5, -1.5, 0.0, -0.0, 1e-300, -1e300, math.inf, -math.inf, 0.1])
def test_literals_survive(value):
    got = run(op("add", X, const(value)), 0.0).item()
    assert (got, math.copysign(1.0, run(op("mul", X, const(value)), 1.0).item())) == (value, math.copysign(1.0, value))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_no_operation_promotes(dtype):
    step = where(X > 0.0, const(1.0), const(-1.0))
    for root in (step, step * X, op("exp_square", X, const(-0.5)), op("pow", X, const(2.5)), op("tanh", X) / 3.0):
        assert run(root, [0.5, 2.0], dtype).dtype is dtype


def test_constant_branches_follow_the_inputs_device_and_dtype():
    text = function_source("f", ("x",), (where(X > 0.0, const(1.0), const(2.0)),))
    assert "_like = x" in text
    assert "dtype=_like.dtype, device=_like.device" in text
    x = torch.empty(3, device="meta", dtype=torch.bfloat16)
    assert compile_function("f", ("x",), (where(X > 0.0, const(1.0), const(2.0)),))(x).is_meta


def test_exponential_of_a_square_is_compensated():
    x = torch.linspace(-13, 13, 4001, dtype=torch.float32)
    got = compile_function("f", ("x",), (op("exp_square", X, const(-0.5)),))(x).double()
    exact = torch.exp(-0.5 * x.double() ** 2)
    assert ((got - exact).abs() / exact).max() < 2.0**-22
    naive = torch.exp(-0.5 * x * x).double()
    assert ((naive - exact).abs() / exact).max() > 2.0**-20  # the test can tell


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("c", [-1.0, -0.5])
def test_exponential_of_a_square_far_out(dtype, c):
    x = torch.tensor([-math.inf, -1e38, -1024.0, 1024.0, 1e300, math.inf], dtype=dtype, requires_grad=True)
    y = compile_function("f", ("x",), (op("exp_square", X, const(c)),))(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert y.tolist() == slope.tolist() == [0.0] * 6
    assert run(op("exp_square", X, const(c)), math.nan, dtype).isnan()


def test_slope_of_the_exponential_of_a_square():
    x = torch.tensor([-3.3, -0.01, 0.0, 0.4, 7.7], dtype=torch.float64, requires_grad=True)
    function = compile_function("f", ("x",), (op("exp_square", X, const(-0.5)),))
    assert torch.autograd.gradcheck(function, x)
    assert torch.autograd.gradgradcheck(function, x)


def test_source_can_be_read_in_a_traceback():
    function = compile_function("readable", ("x",), (op("tanh", X) * 2.0,))
    assert "torch.tanh(x)" in inspect.getsource(function)


def test_the_source_of_a_function_goes_with_it():
    node = op("exp_square", X, const(-0.5))  # with a helper function
    first, second = (compile_function("gone", ("x",), (node,)) for _ in range(2))
    names = [f.__code__.co_filename for f in (first, second)]
    assert all(n in linecache.cache for n in names)
    del first
    assert [n in linecache.cache for n in names] == [False, True]
    assert "torch.exp" in inspect.getsource(second.__globals__["_exp_square"])
    assert second(torch.tensor(1.0)).item() == pytest.approx(math.exp(-0.5))


def test_operators_without_a_torch_form_are_named():
    with pytest.raises(KernelError, match="softplus has no torch form"):
        function_source("f", ("x",), (op("softplus", X),))


def test_conditions_combine():
    inside = op("and", X > -1.0, op("not", op("or", X > 1.0, op("eq", X, const(0.0)))))
    got = run(where(inside, const(1.0), const(0.0)), [-2.0, -0.5, 0.0, 0.5, 2.0])
    assert got.tolist() == [0.0, 1.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (op("div", const(1.0), const(0.0)), math.inf),
        (op("exp", const(1000.0)), math.inf),
        (where(op("gt", const(2.0), const(1.0)), X, -X), 0.5),
        (where(op("not", op("gt", const(2.0), const(1.0))), const(3.0), const(4.0)), 4.0),
    ],
    ids=str,
)
def test_an_operation_on_numbers_alone_is_one_on_tensors(node, expected, dtype):
    got = run(node, [0.5], dtype)
    assert got.dtype is dtype
    assert set(got.flatten().tolist()) == {expected}
