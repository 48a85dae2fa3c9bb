"""Generated C: deterministic, deaf to hostile names, right for every layout and number of inputs."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest
import torch

from actium.authoring import formula
from actium.errors import KernelError
from actium.kernels import cpu, toolchain
from actium.kernels.dispatch import Library
from actium.kernels.plan import Plan
from actium.op import Op
from actium.symbolic.graph import Formula, Node, const, op, parameter, variable, where
from samples import GATED, all_halves, bits, identify, silu, two

X, G = variable("x"), variable("g")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
TEXT = "x * tanh(log(1 + exp(b * x))) + where(x < a, exp(x), x)"
PRINT = f"""
from actium.authoring import formula
a = formula("{TEXT}", a=1.0, b=2.0)
print(a.source("c", "bfloat16"), a.source("torch"), end="")
"""


def test_source_is_the_same_in_every_process():
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ran = subprocess.run([sys.executable, "-c", PRINT], capture_output=True, text=True, env=environment, check=True)
    here = formula(TEXT, a=1.0, b=2.0)
    assert ran.stdout == f"{here.source('c', 'bfloat16')} {here.source('torch')}"
    assert "void forward" in ran.stdout


@pytest.mark.parametrize("name", ['x; system("true")', "x)", "", "x\ny", "x y", "9x", "x*/", "é"])
def test_hostile_names_are_refused(name):
    for kind in ("inputs", "parameters"):
        names = {"inputs": ("x",), "parameters": ()} | {kind: (name,)}
        kernel = cpu.Kernel("forward", outputs=(Node("const", (), 1.0),), **names)
        with pytest.raises(KernelError, match="cannot be a name in C"):
            cpu.source((kernel,), "float32")


@pytest.mark.parametrize(
    "name", ["int", "float", "n", "p", "t0", "i", "in_x", "p_x", "flags", "T", "at", "m", "INFINITY"]
)
def test_names_that_mean_something_in_c_are_harmless(name):
    formula = Formula(X * parameter(name) + op("exp", X * parameter(name)), ("x",), (name,))
    op_ = Op(formula, {name: 0.5})
    x = torch.linspace(-2, 2, 50, requires_grad=True)
    value = torch.full((1,), 0.5, requires_grad=True)
    y = op_(x, (value,))
    y.sum().backward()
    torch.testing.assert_close(y, x * 0.5 + torch.exp(0.5 * x), rtol=1e-6, atol=1e-6)


def test_unsupported_dtype_and_unlowered_operator():
    kernel = cpu.Kernel("forward", ("x",), (), (op("softplus", X),))
    with pytest.raises(KernelError, match="no kernel for float64: it has float32, bfloat16, float16"):
        cpu.source((kernel,), "float64")
    with pytest.raises(KernelError, match="softplus has no C form"):
        cpu.source((kernel,), "float32")


@pytest.mark.parametrize("dtype", DTYPES, ids=identify)
def test_constants_and_infinities_reach_the_kernel(dtype):
    values = [0.1, -2.5, 3e38, -1e-30, float("inf"), float("-inf")]
    root: Node = const(7.0)
    for k, value in enumerate(values):
        root = where(op("eq", X, const(float(k))), const(value), root)
    y = Op(Formula(root), {})(torch.arange(7).to(dtype))
    assert torch.equal(y, torch.tensor([*values, 7.0]).to(dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=identify)
def test_two_inputs_with_all_gradients(dtype):
    op_ = Op(GATED, {"beta": 1.0}, "swiglu")
    generator = torch.Generator().manual_seed(0)
    x, gate, grad = (torch.randn(6, 7, 80, generator=generator).to(dtype) for _ in range(3))
    beta = torch.rand(7, generator=generator).add_(0.5)
    leaves = [t.clone().requires_grad_() for t in (x, gate, beta)]
    y = op_.many(tuple(leaves[:2]), (leaves[2],), 1)
    got = torch.autograd.grad(y, leaves, grad)
    exact = [t.double().requires_grad_() for t in (x, gate, beta)]
    ry = exact[0] * exact[1] * torch.sigmoid(exact[2][:, None] * exact[1])
    expected = torch.autograd.grad(ry, exact, grad.double())
    tolerance = torch.finfo(dtype).eps
    torch.testing.assert_close(y.double(), ry, rtol=tolerance, atol=1e-6)
    for a, b in zip(got[:2], expected[:2], strict=True):
        torch.testing.assert_close(a.double(), b, rtol=tolerance, atol=1e-6)
    torch.testing.assert_close(got[2].double(), expected[2], rtol=1e-5, atol=1e-5)


def test_inputs_of_different_strides():
    op_ = Op(GATED, {"beta": 1.0}, "swiglu")
    x, gate = torch.randn(8, 9), torch.randn(9, 8).T
    torch.testing.assert_close(
        op_.many((x, gate), (1.0,), None), op_.many((x, gate.contiguous()), (1.0,), None), rtol=0, atol=0
    )


def pointers(*tensors: torch.Tensor) -> list[int]:
    return [t.data_ptr() for t in tensors]


@pytest.mark.parametrize("dtype", DTYPES, ids=identify)
@pytest.mark.parametrize("count", [1, 511, 512, 513, 4000])
def test_one_gradient_flag_reads_one_number(dtype, count):
    backward = Library(silu.op.plan, str(dtype).removeprefix("torch.")).flat().backward
    x = torch.linspace(-9, 9, count).to(dtype)
    one, many = torch.full((1,), 0.75, dtype=dtype), torch.full((count,), 0.75, dtype=dtype)
    got, expected = torch.empty_like(x), torch.empty_like(x)
    backward(*pointers(x, one, got), count, None, 1, cpu_flag("ACT_ONE_GRADIENT"))
    backward(*pointers(x, many, expected), count, None, 1, 0)
    assert torch.equal(bits(got), bits(expected))


def cpu_flag(name: str) -> int:
    """The value of a flag as the header defines it."""
    library = toolchain.load(f'#include "block.h"\nint flag(void) {{ return {name}; }}\n', cpu.headers())
    return library.flag()


def test_python_and_c_agree_on_the_flags():
    from actium.kernels import dispatch

    assert cpu_flag("ACT_ONE_GRADIENT") == dispatch.ONE_GRADIENT
    assert cpu_flag("ACT_FRESH_OUTPUT") == dispatch.FRESH_OUTPUT


def test_a_kernel_writes_nothing_outside_its_output():
    forward = Library(silu.op.plan, "float32").flat().forward_serial
    for count in (0, 1, 7, 511, 513):
        x, guarded = torch.randn(count), torch.full((count + 64,), 7.0)
        forward(x.data_ptr(), guarded[32:].data_ptr(), count)
        assert (guarded[:32] == 7.0).all()
        assert (guarded[32 + count :] == 7.0).all()


@pytest.mark.parametrize("shape", [(1, 3, 1), (5, 3, 1), (2, 300, 7), (3, 2, 20_000), (70, 3, 64), (3000, 3, 7)])
def test_sums_do_not_depend_on_the_number_of_threads(shape):
    outer, channels, inner = shape
    plan = two.op.plan
    backward = Library(plan, "float32").rows()[1]
    x, grad = torch.randn(shape), torch.randn(shape)
    values = [torch.full((channels,), v) for v in two.values()]
    arrays = (ctypes.c_uint64 * 2)(*pointers(*values))
    results = []
    for threads in (1, 2, 5):
        gradient, sums = torch.empty_like(x), torch.zeros(2, channels, dtype=torch.float64)
        failed = backward(*pointers(x, grad, gradient), outer, channels, inner, arrays, sums.data_ptr(), threads, 0)
        assert failed == 0
        results.append((gradient, sums))
    for gradient, sums in results[1:]:
        assert torch.equal(bits(gradient), bits(results[0][0]))
        assert torch.equal(bits(sums), bits(results[0][1]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=identify)
def test_identity_kernel_keeps_every_encoding(dtype):
    identity = Op(Formula(where(X > 0.0, X, X * 1.0)), {})
    shifted = Op(Formula(op("neg", op("neg", X)) + 0.0), {})
    plain = Plan(Formula(op("add", op("mul", X, const(2.0)), op("neg", X))), {})  # 2x − x, exact in float32
    x = all_halves(dtype)
    x = x[x.abs() < 2.0**126]
    for op_ in (identity, shifted, Op(plain.formula, {})):
        y = op_(x)
        assert torch.equal(y[x != 0].view(torch.int16), x[x != 0].view(torch.int16))
