"""Kernels of short rows, whose parameters have a value per element: each channel as if it were alone."""

from __future__ import annotations

import ctypes

import pytest
import torch

import actium
from actium.kernels import toolchain
from actium.kernels.dispatch import ONE_GRADIENT, Library
from samples import identify

pytestmark = pytest.mark.skipif(not toolchain.kernels_enabled(), reason="needs a C compiler")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# One channel short of a vector and one more; many; images of 7 by 7; a period that is repeated; more than one block.
SHAPES = [(1, 3, 1), (9, 15, 1), (5, 17, 1), (40, 100, 1), (3, 33, 1), (300, 3, 7), (4, 24, 49), (2, 1001, 1)]
GUARD = 32


def addresses(*tensors: torch.Tensor) -> list[int]:
    return [t.data_ptr() for t in tensors]


def special(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Random numbers, and a few that are not finite or out of the range of the cheap forms."""
    x = 3.0 * torch.randn(shape)
    x.view(-1)[:: max(1, x.numel() // 7)] = float("nan")
    x.view(-1)[1 :: max(1, x.numel() // 5)] = -300.0
    return x.to(dtype)


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)) and torch.equal(a.isnan(), b.isnan())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=identify)
@pytest.mark.parametrize("name", ["prelu", "swish", "celu"])
def test_short_rows_are_computed_as_one_channel_at_a_time(name, dtype, shape):
    outer, channels, inner = shape
    plan = getattr(actium, name).op.plan
    library = Library(plan, str(dtype).removeprefix("torch."))
    forward, backward = library.rows()
    x, grad = special(shape, dtype), torch.randn(shape).to(dtype)
    values = torch.linspace(0.1, 1.9, channels)
    arrays = (ctypes.c_uint64 * 1)(values.data_ptr())
    guarded = [torch.full((x.numel() + 2 * GUARD,), 7.0).to(dtype) for _ in range(2)]
    y, slope = (g[GUARD:-GUARD].view(shape) for g in guarded)
    sums = torch.zeros(channels, dtype=torch.float64)
    assert forward(*addresses(x, y), outer, channels, inner, arrays, None, 2, 0) == 0
    assert backward(*addresses(x, grad, slope), outer, channels, inner, arrays, sums.data_ptr(), 2, 0) == 0
    assert all((g[:GUARD] == 7.0).all() and (g[-GUARD:] == 7.0).all() for g in guarded)
    for c in range(channels):
        one, up = x[:, c].contiguous(), grad[:, c].contiguous()
        value, alone, total = torch.empty_like(one), torch.empty_like(one), torch.zeros(1, dtype=torch.float64)
        single = (ctypes.c_uint64 * 1)(values[c : c + 1].data_ptr())
        assert forward(*addresses(one, value), 1, 1, one.numel(), single, None, 1, 0) == 0
        assert backward(*addresses(one, up, alone), 1, 1, one.numel(), single, total.data_ptr(), 1, 0) == 0
        assert same(y[:, c], value)
        assert same(slope[:, c], alone)
        # The terms are the same floats; one channel alone adds up some of them in float.
        torch.testing.assert_close(sums[c], total[0], rtol=1e-5, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=identify)
def test_one_gradient_for_all_elements(dtype):
    outer, channels, inner = 6, 20, 9
    backward = Library(actium.prelu.op.plan, str(dtype).removeprefix("torch.")).rows()[1]
    x, one, values = torch.randn(outer, channels, inner).to(dtype), torch.ones(1, dtype=dtype), torch.rand(channels)
    arrays, found = (ctypes.c_uint64 * 1)(values.data_ptr()), []
    for grad, flags in ((one.expand_as(x).contiguous(), 0), (one, ONE_GRADIENT)):
        slope, sums = torch.empty_like(x), torch.zeros(channels, dtype=torch.float64)
        place = sums.data_ptr()
        assert backward(*addresses(x, grad, slope), outer, channels, inner, arrays, place, 1, flags) == 0
        found.append((slope, sums))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_a_parameter_that_is_any_nan_stays_one_in_bfloat16():
    # Rounding adds to the encoding, where the fraction's first sixteen bits are all 1 up to a number.
    odd = torch.tensor([0x7FFFFFFF], dtype=torch.int32).view(torch.float32)
    x = torch.full((4, 3), -1.0, dtype=torch.bfloat16)
    parameter = torch.cat([torch.ones(2), odd])
    y = actium.prelu(x, parameter, channel_dim=1)
    assert y[:, 2].isnan().all()
    assert (y[:, :2] == -1.0).all()


@pytest.mark.parametrize(
    "shape", [*SHAPES, (3, 5, 64), (2, 3, 100), (4, 2, 784), (2, 3, 1100), (1, 1, 40_000)], ids=str
)
@pytest.mark.parametrize("dtype", DTYPES, ids=identify)
def test_sums_are_those_of_all_elements_of_a_channel(dtype, shape):
    outer, channels, inner = shape
    backward = Library(actium.prelu.op.plan, str(dtype).removeprefix("torch.")).rows()[1]
    x, grad = torch.randn(shape).to(dtype), torch.randn(shape).to(dtype)
    values, sums = torch.rand(channels), torch.zeros(channels, dtype=torch.float64)
    arrays, slope = (ctypes.c_uint64 * 1)(values.data_ptr()), torch.empty_like(x)
    assert backward(*addresses(x, grad, slope), outer, channels, inner, arrays, sums.data_ptr(), 2, 0) == 0
    terms = torch.where(x < 0, x, 0).double() * grad.double()
    scale = terms.abs().sum((0, 2))
    assert ((sums - terms.sum((0, 2))).abs() <= 4e-7 * scale).all()
    torch.testing.assert_close(
        slope.double(), torch.where(x < 0, values[:, None], 1).to(dtype) * grad, rtol=1e-2, atol=0, check_dtype=False
    )


@pytest.mark.parametrize("shape", [(9, 15, 1), (7, 100, 1), (3, 33, 1), (5, 3, 7)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=identify)
def test_padding_adds_nothing_where_zero_has_no_slope(dtype, shape):
    logarithm = actium.formula("p * log(abs(x))", p=actium.learnable(1.0))
    x = (1 + torch.rand(shape)).to(dtype).requires_grad_()
    p = torch.ones(shape[1], requires_grad=True)
    logarithm(x, p, channel_dim=1).sum().backward()
    torch.testing.assert_close(p.grad, x.detach().float().log().sum((0, 2)), rtol=1e-2, atol=1e-3)
