"""Triton kernels, run by Triton's interpreter: the bits of the C kernels, and exact parameter gradients."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from actium.authoring import formula
from actium.catalogue import ENTRIES, get
from actium.errors import KernelError
from actium.kernels import dispatch, toolchain
from actium.kernels.cpu import Kernel
from actium.kernels.dispatch import C_DTYPES
from actium.kernels.gpu import availability, printing
from actium.kernels.gpu.geometry import geometry
from actium.kernels.gpu.launching import TritonLibrary
from actium.op import Op
from actium.symbolic.graph import Formula, Node, const, op, parameter, variable, where
from actium.verify.oracle import Oracle
from actium.verify.subject import Runner, Subject
from actium.verify.sweep import Truths, sweep
from samples import GATED, all_halves, assert_same_bits, bits, identify, sample, silu, soft_clip, swish, two

pytest.importorskip("triton", reason="the kernels are run by Triton's interpreter")

X = variable("x")
HALVES = (torch.bfloat16, torch.float16)
gated = Op(GATED, {"beta": 1.0}, "swiglu")


@pytest.fixture
def interpreted(monkeypatch):
    """CPU tensors run Triton kernels, as under ACTIUM_TRITON_INTERPRET=1."""
    monkeypatch.setattr(availability, "INTERPRETED", True)


def library(op_: Op, dtype: torch.dtype) -> TritonLibrary:
    return TritonLibrary(op_.plan, C_DTYPES[dtype], interpreted=True)


def general(op_: Op) -> Op:
    """The op whose C kernels have the general form alone, as Triton kernels have."""
    if op_.plan.midrange() is None and op_.plan.midrange(op_.formula.inputs) is None:
        return op_
    made = Op(op_.formula, op_.defaults)
    made.plan.midrange = lambda names=(): None
    return made


def needs_compiler() -> None:
    if not toolchain.kernels_enabled() or not {"fma", "neon"} & set(toolchain.status().cpu_features):
        pytest.skip("needs C kernels with fused multiply-add to compare with")


def assert_as_in_c(op_, inputs, grad, parameters=(), channel_dim=None):
    """Value and input gradients have the bits of the C kernels, NaN aside; parameter gradients are those in float64."""
    triton = library(op_, inputs[0].dtype)
    needed = (*(True for _ in inputs), *(isinstance(p, torch.Tensor) for p in parameters))
    y = triton.forward(inputs, parameters, channel_dim)
    grads = triton.backward(inputs, grad, parameters, channel_dim, needed)
    in_c = general(op_)
    expected = [dispatch.forward(in_c, inputs, parameters, channel_dim)]
    expected += dispatch.backward(in_c, inputs, grad, parameters, channel_dim, needed)
    for got, want in zip([y, *grads[: len(inputs)]], expected, strict=False):
        assert got.stride() == want.stride()
        nan = got.isnan() & want.isnan()
        assert_same_bits(torch.where(nan, 0, got), torch.where(nan, 0, want))
    for got, want, p in zip(grads[len(inputs) :], expected[1 + len(inputs) :], parameters, strict=True):
        assert (got is None) == (want is None)
        if got is not None:
            assert got.dtype is p.dtype
            assert got.shape == p.shape
            torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


# --- Accuracy ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", HALVES, ids=identify)
@pytest.mark.parametrize("name", ENTRIES)
def test_every_half_has_the_bits_of_the_c_kernel(name, dtype):
    needs_compiler()
    op_ = get(name).activation().op
    x = all_halves(dtype)
    assert_as_in_c(op_, (x,), torch.ones_like(x), tuple(op_.defaults.values()))


@pytest.mark.parametrize("name", ["silu", "mish", "gelu", "softplus", "tanh_exp", "elu", "isru", "softsign"])
def test_float32_has_the_bits_of_the_c_kernel(name):
    needs_compiler()
    op_ = get(name).activation().op
    x = torch.arange(-(2**31), 2**31, 262_147, dtype=torch.int64).to(torch.int32).view(torch.float32)
    assert_as_in_c(op_, (x,), torch.full_like(x, 0.75), tuple(op_.defaults.values()))


@pytest.mark.parametrize("dtype", HALVES, ids=identify)
@pytest.mark.usefixtures("interpreted")
def test_silu_is_within_one_ulp_of_the_truth(dtype):
    entry = get("silu")
    activation = formula(entry.formula, name="fresh_silu")
    result = sweep(Runner(Subject("silu", activation)), Truths(Oracle(entry.as_written(), {}), (dtype,)), dtype)
    for quantity in (result.output, result.gradient):
        assert not np.isnan(quantity.computed).any()
        assert np.nanmax(quantity.error) <= 1.0


# --- Shapes -----------------------------------------------------------------------------------------------------

SHAPES = {
    "0-d": torch.full((), 0.7),
    "empty": torch.zeros(0, 3),
    "one": torch.full((1, 1), -2.0),
    "odd": sample(7, 11, 13),
    "transposed": sample(6, 9).T,
    "channels_last": sample(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
    "strided": sample(6, 20)[:, ::3],
    "sliced": sample(9, 8)[2:7, 1:6],
    "expanded": sample(4, 1).expand(4, 6),
    "overlapping": sample(20).as_strided((5, 8), (2, 1)),
}


@pytest.mark.parametrize("layout", SHAPES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=identify)
def test_every_layout(layout, dtype):
    needs_compiler()
    x = SHAPES[layout] if dtype is torch.float32 else SHAPES[layout].to(dtype)
    assert_as_in_c(silu.op, (x,), torch.ones_like(x))


@pytest.mark.parametrize("count", [1, 15, 1023, 1024, 1025, 70_001])
def test_nothing_is_written_outside_the_output(count):
    x, guarded = sample(count), torch.full((count + 64,), 7.0)
    out = guarded[32 : 32 + count]
    x = out.copy_(x)
    y = library(silu.op, torch.float32).forward((x,), (), None, out=x)
    assert y is x
    assert (guarded[:32] == 7.0).all()
    assert (guarded[32 + count :] == 7.0).all()


def test_an_expanded_gradient_is_read_once():
    x = sample(300, seed=1)
    triton = library(silu.op, torch.float32)
    (one,) = triton.backward((x,), torch.full((), 0.75).expand(300), (), None, (True,))
    (many,) = triton.backward((x,), torch.full((300,), 0.75), (), None, (True,))
    assert_same_bits(one, many)


def test_gradients_that_nobody_needs_are_not_computed():
    x, gate = sample(2, 40, seed=1).unbind()
    triton = library(gated, torch.float32)
    full = triton.backward((x, gate), torch.ones(40), (1.5,), None, (True, True, False))
    half = triton.backward((x, gate), torch.ones(40), (1.5,), None, (False, True, False))
    assert half[0] is None
    assert half[2] is None
    assert_same_bits(half[1], full[1])
    assert triton.backward((x, gate), torch.ones(40), (1.5,), None, (False, False, False)) == [None, None, None]


# --- Parameters and channels ------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-40, 2.5, -1e30, float("inf"), float("nan")])
def test_a_parameter_reaches_the_kernel_as_float32(value):
    y = Op(Formula(where(op("eq", X, const(0.0)), parameter("p"), X), ("x",), ("p",)), {"p": 1.0})
    got = library(y, torch.float32).forward((torch.tensor([0.0, 1.0]),), (value,), None)
    torch.testing.assert_close(got, torch.tensor([value, 1.0]), rtol=0, atol=0, equal_nan=True)
    assert bool(torch.signbit(got[0])) == (str(value).startswith("-"))


@pytest.mark.parametrize(
    ("shape", "channel_dim"),
    [((6, 4, 50), 1), ((5, 3, 1), 1), ((500, 7), 1), ((1, 2, 5000), 1), ((3,), 0), ((2, 3, 2, 4), -1), ((4099,), None)],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("op_", [gated, two.op], ids=["swiglu", "two"])
def test_channels_and_parameter_gradients(op_, shape, channel_dim):
    count, channels = len(op_.formula.inputs), 1 if channel_dim is None else shape[channel_dim]
    *inputs, grad = (sample(*shape, seed=k) for k in range(count + 1))
    values = [torch.rand(channels, generator=torch.Generator().manual_seed(k)) + 0.5 for k in range(len(op_.defaults))]
    needs_compiler()
    assert_as_in_c(op_, tuple(inputs), grad, tuple(values), channel_dim)
    if len(values) > 1:  # one value for all channels beside one for each
        assert_as_in_c(op_, tuple(inputs), grad, (values[0][:1], *values[1:]), channel_dim)


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32], ids=identify)
def test_a_parameter_gradient_is_the_sum_of_its_terms_in_double(dtype):
    x, grad = sample(30_000, dtype=dtype, seed=1), sample(30_000, dtype=dtype, seed=2)
    theta = torch.tensor([0.75])
    *_, got = library(soft_clip.op, dtype).backward((x,), grad, (theta,), None, (True, True))
    wide, p = x.double(), theta.double().requires_grad_()
    (exact,) = torch.autograd.grad(p * torch.tanh(wide / p), p, grad.double())
    scale = (grad.double().abs()).sum()
    assert abs(float(got - exact)) <= 2.0**-24 * float(scale)


def test_parameter_gradients_do_not_depend_on_the_layout():
    x, grad = sample(8, 3, 40, seed=1), sample(8, 3, 40, seed=2)
    beta = torch.rand(3)
    triton = library(swish.op, torch.float32)
    first = triton.backward((x,), grad, (beta,), 1, (True, True))
    again = triton.backward((x,), grad, (beta,), 1, (True, True))
    assert_same_bits(first[1], again[1])
    moved = triton.backward((x.mT.contiguous().mT,), grad, (beta,), 1, (True, True))
    assert_same_bits(first[0].contiguous(), moved[0].contiguous())
    torch.testing.assert_close(first[1], moved[1], rtol=1e-6, atol=1e-6)


def test_sums_are_added_in_one_order():
    from actium.kernels.gpu.sums import add_up

    rows, channels = 40, 3
    partials = sample(2, rows * 1024 // 8, channels, 8, dtype=torch.float64)
    sums = torch.zeros(2, channels, dtype=torch.float64)
    add_up(partials, (2, rows * 1024 // 8, channels, 8), sums, True)
    expected = []
    for k, c in itertools.product(range(2), range(channels)):
        chunks = partials[k, :, c].reshape(-1, 1024).split(16)
        totals = torch.stack([_neighbours(_in_turn(chunk)) for chunk in chunks])
        expected.append(_neighbours(torch.nn.functional.pad(totals, (0, 1024 - len(totals)))))
    assert_same_bits(sums.flatten(), torch.stack(expected))


def _in_turn(rows: torch.Tensor) -> torch.Tensor:
    total = torch.zeros_like(rows[0])
    for row in rows:
        total = total + row
    return total


def _neighbours(x: torch.Tensor) -> torch.Tensor:
    while x.numel() > 1:
        x = x[0::2] + x[1::2]
    return x.reshape(())


@pytest.mark.parametrize(
    ("outer", "channels", "inner"),
    [(1, 1, 1), (1, 1, 10**10), (32, 256, 3136), (10**5, 256, 1), (8, 3, 49), (1, 64, 10**6), (7, 5000, 1),
     (2, 2**30, 1)],
)  # fmt: skip
def test_geometry_covers_every_element(outer, channels, inner):
    for summed in (False, True):
        g = geometry(outer, channels, inner, summed)
        assert g.groups * g.steps >= g.items
        assert g.tiles * g.groups < 2**31
        if g.by_channel:
            assert g.items * printing.LANES >= outer * inner
            assert (g.tiles, g.pieces * printing.LANES >= inner) == (channels, True)
            assert g.partials == g.groups * channels * printing.LANES
        else:
            assert g.period % (channels * inner) == 0
            assert g.items * g.period >= g.total
            assert g.tiles * printing.LANES >= g.period
            assert g.partials == g.groups * g.period
        if summed and g.total >= 10**6:
            assert g.partials < 0.3 * g.total or g.partials == channels * inner


# --- Through the front door ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("interpreted")
def test_everything_that_autograd_does():
    beta = torch.tensor([1.25], requires_grad=True)
    x = sample(40, seed=3).requires_grad_()
    fresh = formula("x * sigmoid(beta * x)", name="fresh", beta=swish.parameters[0])
    exact_x, exact_beta = (t.detach().double().requires_grad_() for t in (x, beta))
    y, exact = fresh(x, beta=beta), exact_x * torch.sigmoid(exact_beta * exact_x)
    got = torch.autograd.grad(y.square().sum(), (x, beta), create_graph=True)
    want = torch.autograd.grad(exact.square().sum(), (exact_x, exact_beta), create_graph=True)
    second = torch.autograd.grad(sum(g.sum() for g in got), (x, beta))
    exact_second = torch.autograd.grad(sum(g.sum() for g in want), (exact_x, exact_beta))
    for a, b in zip((y, *got, *second), (exact, *want, *exact_second), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-5)
    assert fresh.op.kernels._triton
    assert not fresh.op.kernels._libraries


@pytest.mark.usefixtures("interpreted")
def test_in_place_and_float64():
    fresh = formula("where(x > 0, x, 0.25 * x)", name="fresh")
    x = sample(33)
    expected = torch.where(x > 0, x, 0.25 * x)
    assert fresh(x, inplace=True) is x
    assert_same_bits(x, expected)
    wide = fresh(x.double())
    assert wide.dtype is torch.float64
    assert list(fresh.op.kernels._triton) == [torch.float32]


def test_the_environment_switches_the_interpreter_on():
    code = """
import torch, actium
from actium.kernels.gpu import availability
assert availability.INTERPRETED and availability.status().interpreted
y = actium.silu(torch.linspace(-3, 3, 50, dtype=torch.bfloat16, requires_grad=True))
y.sum().backward()
assert list(actium.silu.op.kernels._triton) == [torch.bfloat16] and not actium.silu.op.kernels._libraries
print(y.sum().item())
"""
    environment = {**os.environ, availability.SWITCH: "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr
    x = torch.linspace(-3, 3, 50, dtype=torch.bfloat16)
    assert float(ran.stdout) == pytest.approx(silu(x).sum().item(), rel=0.01)


def test_importing_actium_loads_no_triton():
    code = "import sys, actium, torch; actium.silu(torch.ones(3)); assert 'triton' not in sys.modules"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment, check=True)


def test_why_there_are_no_kernels(monkeypatch):
    assert availability.reason_against() is None
    assert availability.usable(torch.ones(1)) is False
    monkeypatch.setenv("ACTIUM_DISABLE_KERNELS", "1")
    assert availability.reason_against() == "disabled by ACTIUM_DISABLE_KERNELS=1"
    monkeypatch.delenv("ACTIUM_DISABLE_KERNELS")
    monkeypatch.setattr(availability, "triton_version", lambda: None)
    assert "pip install actium[gpu]" in availability.reason_against()
    assert availability.status().path == "plain torch operations"


# --- Text ---------------------------------------------------------------------------------------------------------


def test_source_stands_by_itself_and_is_the_same_everywhere():
    text = silu.source("triton", "bfloat16")
    assert text == TritonLibrary(silu.op.plan, "bfloat16").source()
    assert text.count("@triton.jit") == text.count("\ndef ")
    assert "actium" not in text.replace('"""Written by actium."""', "")
    compile(text, "silu", "exec")


@pytest.mark.parametrize("name", ["x)", "", "x\ny", "9x", "é"])
def test_hostile_names_are_refused(name):
    kernel = Kernel("forward", (name,), (), (const(1.0),))
    with pytest.raises(KernelError, match="cannot be a name in Triton"):
        printing.source((kernel,), "float32")


@pytest.mark.parametrize(
    "name", ["tl", "lane", "start", "n", "t0", "in_x", "triton", "BLOCK", "lambda", "sum0", "step"]
)
def test_names_that_mean_something_in_triton_are_harmless(name):
    op_ = Op(Formula(X * parameter(name) + op("exp", X), ("x",), (name,)), {name: 0.5})
    x = torch.linspace(-2, 2, 50)
    y = library(op_, torch.float32).forward((x,), (0.5,), None)
    torch.testing.assert_close(y, x * 0.5 + torch.exp(x), rtol=1e-6, atol=1e-6)
    *_, slope = library(op_, torch.float32).backward((x,), torch.ones(50), (torch.tensor(0.5),), None, (True, True))
    torch.testing.assert_close(slope, x.sum(), rtol=1e-5, atol=1e-5)


def test_unsupported_dtype():
    with pytest.raises(KernelError, match="no kernel for float64: it has float32, bfloat16, float16"):
        silu.source("triton", "float64")


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES], ids=identify)
def test_constants_reach_the_kernel(dtype):
    values = [0.1, -2.5, 3e38, -1e-30, 1e-40, float("inf"), float("-inf")]
    root: Node = const(7.0)
    for k, value in enumerate(values):
        root = where(op("eq", X, const(float(k))), const(value), root)
    y = library(Op(Formula(root), {}), dtype).forward((torch.arange(8).to(dtype),), (), None)
    assert torch.equal(bits(y), bits(torch.tensor([*values, 7.0]).to(dtype)))


def test_a_constant_function():
    y = library(Op(Formula(const(2.5)), {}), torch.float32).forward((torch.zeros(5),), (), None)
    assert y.tolist() == [2.5] * 5
