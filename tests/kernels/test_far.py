"""Outputs that are written around the caches: the same bits, to the end and no further."""

from __future__ import annotations

import ctypes

import pytest
import torch

import actium
from actium.kernels import cpu, toolchain
from actium.kernels.described import rows_kernels
from actium.kernels.dispatch import Library

pytestmark = pytest.mark.skipif(not toolchain.kernels_enabled(), reason="needs a C compiler")

LIMIT, EDGE = "((size_t)16 << 20)", 7
LENGTHS = (1, 31, 512, 513, 5 * 512 + 16, 40_003)


def build(name: str, dtype: torch.dtype, limit: int) -> ctypes.CDLL:
    headers = cpu.headers()
    assert headers["block.h"].count(LIMIT) == 1
    headers["block.h"] = headers["block.h"].replace(LIMIT, f"((size_t){limit})")
    return toolchain.load(Library(getattr(actium, name).op.plan, str(dtype).removeprefix("torch.")).source(), headers)


def run(library: ctypes.CDLL, x: torch.Tensor, grad: torch.Tensor, threads: int, offset: int) -> list[torch.Tensor]:
    """Output and gradient, each with what is around it."""
    made = [torch.full((EDGE + offset + len(x) + EDGE,), 7, dtype=x.dtype) for _ in range(2)]
    size, count = x.element_size(), ctypes.c_int64(len(x))
    numbers = (ctypes.c_float * 4)(0.01, 0.01, 0.01, 0.01)
    places = [ctypes.c_void_p(t.data_ptr() + (EDGE + offset) * size) for t in made]
    given = [ctypes.c_void_p(t.data_ptr()) for t in (x, grad)]
    library.forward(given[0], places[0], count, numbers, threads, 0)
    library.backward(*given, places[1], count, numbers, threads, 0)
    return [torch.cat((t[offset : offset + EDGE], t[offset + EDGE :])) for t in made]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", ["silu", "relu", "leaky_relu"])
def test_the_same_bits_wherever_the_output_lies(name, dtype, monkeypatch):
    monkeypatch.setattr(cpu, "has_long_vectors", lambda: True)  # long loops write this way only there
    far, near = build(name, dtype, 0), build(name, dtype, 1 << 60)
    for length in LENGTHS:
        x, grad = (3 * torch.randn(length)).to(dtype), torch.randn(length).to(dtype)
        x[length // 2] = 100.0
        # EDGE + offset elements from an aligned place: one of them is aligned to 32 bytes in every dtype.
        for offset in (0, 1, 9):
            for threads in (1, 2):
                for a, b in zip(run(far, x, grad, threads, offset), run(near, x, grad, threads, offset), strict=True):
                    assert torch.equal(a.view(torch.uint8), b.view(torch.uint8))
                    assert (a[:EDGE] == 7).all()
                    assert (a[-EDGE:] == 7).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_in_place_and_with_one_gradient_for_all(dtype):
    far, near = build("relu", dtype, 0), build("relu", dtype, 1 << 60)
    x = torch.randn(40_003).to(dtype)
    count, one = ctypes.c_int64(len(x)), torch.tensor(0.5, dtype=dtype)
    found = []
    for library in (far, near):
        y, slope = x.clone(), torch.empty_like(x)
        library.forward(ctypes.c_void_p(y.data_ptr()), ctypes.c_void_p(y.data_ptr()), count, None, 2, 0)
        library.backward(*(ctypes.c_void_p(t.data_ptr()) for t in (x, one, slope)), count, None, 2, 2)
        found.append((y, slope))
    assert all(map(torch.equal, *found))
    assert torch.equal(found[0][0], x.relu())
    assert torch.equal(found[0][1], (x > 0).to(dtype) / 2)


def test_a_large_tensor_takes_this_way_and_is_right():
    x = torch.randn((4 << 20) + 3, requires_grad=True)
    y = actium.hardswish(x)
    (slope,) = torch.autograd.grad(y, x, torch.ones_like(y))
    part = x.detach()[-5000:].clone().requires_grad_()
    expected = actium.hardswish(part)
    assert torch.equal(y[-5000:], expected)
    assert torch.equal(slope[-5000:], torch.autograd.grad(expected.sum(), part)[0])


@pytest.mark.parametrize(("length", "misplaced"), [(784, 0), (64, 0), (66, 0), (40_000, 0), (784, 1)])
def test_rows_of_channels_have_the_same_bits(length, misplaced):
    plan = actium.prelu.op.plan
    source = cpu.source(rows_kernels(plan, plan.mode("float32")), "float32")
    assert "act_write_far" in source
    headers, outer, channels = cpu.headers(), 2, 3
    near = toolchain.load(source, headers)
    far = toolchain.load(source, headers | {"block.h": headers["block.h"].replace(LIMIT, "((size_t)0)")})
    x, grad = (torch.randn(outer * channels * length) for _ in range(2))
    slope = torch.tensor([0.25, -1.0, 3.0])
    found = []
    for library in (far, near):
        made = [torch.full((len(x) + 16,), 7.0) for _ in range(2)]
        places = [t.data_ptr() + (-t.data_ptr() % 32) + 4 * misplaced for t in made]
        starts = [(place - t.data_ptr()) // 4 for t, place in zip(made, places, strict=True)]
        sums, shape = torch.zeros(channels, dtype=torch.float64), [ctypes.c_int64(n) for n in (outer, channels, length)]
        y, gradient, *given = (ctypes.c_void_p(a) for a in (*places, x.data_ptr(), grad.data_ptr()))
        parameters, total = (ctypes.c_uint64 * 1)(slope.data_ptr()), ctypes.c_void_p(sums.data_ptr())
        assert library.forward(given[0], y, *shape, parameters, None, 2, 0) == 0
        assert library.backward(*given, gradient, *shape, parameters, total, 2, 0) == 0
        results = [t[s : s + len(x)] for t, s in zip(made, starts, strict=True)]
        assert all((t[:s] == 7).all() and (t[s + len(x) :] == 7).all() for t, s in zip(made, starts, strict=True))
        found.append([*results, sums])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    expected = torch.where(x > 0, x, x * slope.repeat_interleave(length).repeat(outer))
    assert torch.equal(found[0][0], expected)
