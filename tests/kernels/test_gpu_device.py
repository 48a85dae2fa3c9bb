"""Triton kernels on a real device: the bits of the C kernels, whatever the launch, and beyond 2^31 elements."""

from __future__ import annotations

import pytest
import torch

from actium.authoring import formula
from actium.catalogue import ENTRIES, get
from actium.kernels import dispatch, toolchain
from actium.kernels.gpu import availability, tuning
from actium.op import Op
from samples import GATED, all_halves, assert_same_bits, identify, sample, silu, swish

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
HALVES = (torch.bfloat16, torch.float16)


@pytest.fixture(autouse=True)
def kernels():
    reason = availability.problem_with(0)
    if reason is not None:
        pytest.skip(reason)


def general(op: Op) -> Op:
    """The op whose C kernels have the general form alone, as Triton kernels have."""
    made = Op(op.formula, op.defaults)
    made.plan.midrange = lambda names=(): None
    return made


def on_both(op, x, grad, parameters=(), channel_dim=None):
    """Value and gradients by the device's kernels, moved to the CPU, and by those of the CPU."""
    needed = (True, *(isinstance(p, torch.Tensor) for p in parameters))
    results, op = [], general(op)
    for device in ("cuda", "cpu"):
        moved = tuple(p.to(device) if isinstance(p, torch.Tensor) else p for p in parameters)
        inputs = (x.to(device),)
        y = dispatch.forward(op, inputs, moved, channel_dim)
        grads = dispatch.backward(op, inputs, grad.to(device), moved, channel_dim, needed)
        results.append([t.cpu() for t in (y, *grads) if t is not None])
    assert op.kernels._triton, "the CUDA tensor did not run a Triton kernel"
    return results


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32], ids=identify)
@pytest.mark.parametrize("name", ENTRIES)
def test_the_device_gives_the_bits_of_the_c_kernels(name, dtype):
    if not toolchain.kernels_enabled():
        pytest.skip("needs C kernels to compare with")
    op = get(name).activation().op
    if dtype is torch.float32:
        x = torch.arange(-(2**31), 2**31, 4093, dtype=torch.int64).to(torch.int32).view(torch.float32)
    else:
        x = all_halves(dtype)
    for got, want in zip(*on_both(op, x, torch.ones_like(x), tuple(op.defaults.values())), strict=True):
        nan = got.isnan() & want.isnan()
        assert_same_bits(torch.where(nan, 0, got), torch.where(nan, 0, want))


@pytest.mark.parametrize(
    ("shape", "dim"), [((32, 64, 56, 56), 1), ((4096, 256), 1), ((3, 5, 7), 1), ((1 << 20,), None)]
)
def test_parameter_gradients(shape, dim):
    beta = torch.rand(1 if dim is None else shape[dim]) + 0.5
    got, want = on_both(swish.op, sample(*shape, seed=1), sample(*shape, seed=2), (beta,), dim)
    assert_same_bits(got[1], want[1])
    scale = float(want[2].abs().max())
    torch.testing.assert_close(got[2] / scale, want[2] / scale, rtol=1e-5, atol=1e-6)


def test_the_launch_changes_no_bit(monkeypatch):
    x = sample(1 << 21).cuda()
    results = []
    for launch in tuning.CANDIDATES:
        monkeypatch.setattr(tuning, "choose", lambda *_, launch=launch: launch)
        results.append(silu(x))
    for other in results[1:]:
        assert_same_bits(other, results[0])


@pytest.mark.parametrize("dtype", HALVES, ids=identify)
def test_two_inputs(dtype):
    op = general(Op(GATED, {"beta": 1.0}, "swiglu"))
    x, gate = (sample(64, 333, dtype=dtype, seed=k) for k in range(2))
    assert_same_bits(op.many((x.cuda(), gate.cuda()), (1.5,), None).cpu(), op.many((x, gate), (1.5,), None))


def test_more_than_two_to_the_31_elements():
    if torch.cuda.get_device_properties(0).total_memory < 16 << 30:
        pytest.skip("needs 16 GiB of memory on the device")
    x = torch.full((2**31 + 5,), 1.5, dtype=torch.bfloat16, device="cuda")
    x[-1] = -2.0
    y = silu(x)
    assert y[-1] == silu(x[-1:]).item()
    assert y[0] == y[2**31] == silu(x[:1]).item()


def test_no_call_waits_for_the_device():
    fresh = formula("x * sigmoid(beta * x)", name="fresh", beta=swish.parameters[0])
    x = sample(1000).cuda().requires_grad_()
    beta = torch.ones(1, device="cuda", requires_grad=True)
    fresh(x, beta=beta).sum().backward()  # builds the kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        fresh(x, beta=beta).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_cuda_graph_records_the_kernels():
    x = sample(1 << 21).cuda()
    silu(x)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = silu(x)
    x.copy_(-x)
    graph.replay()
    assert_same_bits(y, silu(x))
