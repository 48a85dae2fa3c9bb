"""What torch does with 8-bit floats on a CPU, and that the form in docs/mixed-precision.md works there."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

import actium
from actium.errors import DtypeError

E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
BOTH = pytest.mark.parametrize("dtype", [E4M3, E5M2])


@BOTH
def test_torch_converts_but_does_not_compute(dtype: torch.dtype):
    x = torch.tensor([-2.0, 0.5, 3.0])
    assert torch.equal(x.to(dtype).float(), x)
    for function in (torch.exp, F.relu, F.silu, lambda t: t + t, lambda t: t * 2):
        with pytest.raises(NotImplementedError, match="not implemented for 'Float8"):
            function(x.to(dtype))


@BOTH
def test_autocast_does_not_take_them(dtype: torch.dtype):
    with pytest.warns(UserWarning, match="target dtype is not supported"), torch.autocast("cpu", dtype=dtype):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.float32


@BOTH
def test_actium_refuses_them_and_says_what_to_do(dtype: torch.dtype):
    with pytest.raises(DtypeError, match=r"convert it with \.float\(\)"):
        actium.mish(torch.ones(2).to(dtype))


def test_the_thresholds_in_the_page():
    assert (torch.finfo(E4M3).max, torch.finfo(E5M2).max) == (448.0, 57344.0)
    assert (torch.finfo(E4M3).tiny, torch.finfo(E5M2).tiny) == (2.0**-6, 2.0**-14)
    assert math.log(448.0) == pytest.approx(6.10, abs=0.005)
    assert math.log(57344.0) == pytest.approx(10.96, abs=0.005)


def test_e4m3_hides_an_overflow_and_e5m2_does_not():
    too_large = torch.tensor([1e6, -torch.inf])
    assert too_large.to(E4M3).float().tolist() == [448.0, -448.0]
    assert too_large.to(E5M2).float().tolist() == [torch.inf, -torch.inf]


def scaled(x: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """The 8-bit numbers and their scale, such that the largest one just fits."""
    scale = x.abs().amax() / torch.finfo(dtype).max
    return (x / scale).to(dtype), scale


@BOTH
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e4])
def test_the_scaled_form_keeps_what_the_format_can_hold(dtype: torch.dtype, size: float):
    x = size * torch.randn(4096, generator=torch.Generator().manual_seed(0))
    stored, scale = scaled(x, dtype)
    wide = stored.float() * scale
    # Half a unit of 4 or 3 bits of significand, and for what is small the spacing of the subnormals.
    half = 2.0**-4 if dtype is E4M3 else 2.0**-3
    assert bool(((wide - x).abs() <= half * x.abs() + torch.finfo(dtype).tiny * scale).all())
    y = actium.mish(wide)
    again, other = scaled(y, dtype)
    back = again.float() * other
    assert bool(((back - y).abs() <= half * y.abs() + torch.finfo(dtype).tiny * other).all())


def test_without_a_scale_small_activations_vanish():
    small = torch.full((4,), 2.0**-11)
    assert torch.equal(small.to(E4M3).float(), torch.zeros(4))
    stored, scale = scaled(small, E4M3)
    torch.testing.assert_close(stored.float() * scale, small)
