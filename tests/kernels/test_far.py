"""Outputs that are written around the caches: the same bits, to the end and no further."""

from __future__ import annotations

import ctypes

import pytest
import torch

import actium
from actium.kernels import cpu, toolchain
from actium.kernels.dispatch import Library

pytestmark = pytest.mark.skipif(not toolchain.kernels_enabled(), reason="needs a C compiler")

LIMIT, AHEAD, EDGE = "((size_t)16 << 20)", "((size_t)2 << 20)", 7
LENGTHS = (1, 31, 512, 513, 5 * 512 + 16, 40_003)


def build(name: str, dtype: torch.dtype, limit: int) -> ctypes.CDLL:
    headers = cpu.headers()
    assert headers["block.h"].count(LIMIT) == 1
    headers["block.h"] = headers["block.h"].replace(LIMIT, f"((size_t){limit})").replace(AHEAD, f"((size_t){limit})")
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
def test_the_same_bits_wherever_the_output_lies(name, dtype):
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
    y = actium.silu(x)
    (slope,) = torch.autograd.grad(y, x, torch.ones_like(y))
    part = x.detach()[-5000:].clone().requires_grad_()
    expected = actium.silu(part)
    assert torch.equal(y[-5000:], expected)
    assert torch.equal(slope[-5000:], torch.autograd.grad(expected.sum(), part)[0])
