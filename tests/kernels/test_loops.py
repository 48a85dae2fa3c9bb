"""The inner loops: the same results whether they convert halves themselves or torch does, for every length."""

import ctypes

import pytest
import torch

import actium
from actium.catalogue import ENTRIES
from actium.kernels import cpu, toolchain
from actium.kernels.described import flat_kernels
from actium.kernels.dispatch import Library
from actium.kernels.loops import compute
from samples import all_halves

HALVES = (torch.bfloat16, torch.float16)
needs_compiler = pytest.mark.skipif(not toolchain.kernels_enabled(), reason="needs a C compiler")


def kernels(name: str, dtype: torch.dtype):
    """The loaded library, and its source."""
    source = Library(getattr(actium, name).op.plan, str(dtype).removeprefix("torch.")).source()
    return toolchain.load(source, cpu.headers()), source


def kernels_over_floats(name: str, dtype: torch.dtype):
    """The same for kernels that compute as those of halves do, from floats to floats."""
    plan = getattr(actium, name).op.plan
    described = flat_kernels(plan, plan.mode(str(dtype).removeprefix("torch.")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "compute", lambda kernel, narrow, convert: compute(kernel, True, convert))
        source = cpu.source(described, "float32")
    return toolchain.load(source, cpu.headers()), source


def run(name: str, x: torch.Tensor, grad: torch.Tensor, built=None) -> tuple[torch.Tensor, torch.Tensor, str]:
    library, source = built or kernels(name, x.dtype)
    y, slope = (torch.full_like(x, 77.0) for _ in range(2))
    pointers = [ctypes.c_void_p(t.data_ptr()) for t in (x, grad, y, slope)]
    numbers = (ctypes.c_float * 8)(*(p.init for p in getattr(actium, name).parameters))
    library.forward(pointers[0], pointers[2], ctypes.c_int64(len(x)), numbers, 1, 0)
    library.backward(pointers[0], pointers[1], pointers[3], ctypes.c_int64(len(x)), numbers, 1, 0)
    return y, slope, source


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    nan = a.isnan() & b.isnan()
    return bool((nan | (a.view(torch.int16) == b.view(torch.int16))).all())


@needs_compiler
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", ["relu", "hardswish", "softsign", "gelu", "mish"])
def test_loops_convert_as_torch_does(name, dtype):
    x = all_halves(dtype)
    grad = x.flip(0)
    found = run(name, x, grad)
    assert "act_narrow_" in found[2]
    floats = run(name, x.float(), grad.float(), kernels_over_floats(name, dtype))
    assert "act_narrow_" not in floats[2]
    assert same(found[0], floats[0].to(dtype))
    assert same(found[1], floats[1].to(dtype))


@needs_compiler
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", ["relu", "silu"])
@pytest.mark.parametrize("count", [0, 1, 7, 15, 16, 17, 31, 32, 33, 511, 512, 513, 1040])
def test_every_length_is_written_to_its_end_and_no_further(count, name, dtype):
    room = torch.linspace(-4, 5, 2048).to(dtype)
    x, grad = room[:count], room[-1 - count : -1]
    y, slope, _ = run(name, room, room.flip(0))
    got, gradient, _ = run(name, x.clone(), room.flip(0)[:count].clone())
    assert same(got, y[:count])
    assert same(gradient, slope[:count])
    library, _ = kernels(name, dtype)
    target = torch.full((count + 64,), 77.0, dtype=dtype)
    library.forward(*(ctypes.c_void_p(t.data_ptr()) for t in (x, target)), ctypes.c_int64(count), None, 1, 0)
    assert (target[count:] == 77.0).all()
    in_place = x.clone()
    address = ctypes.c_void_p(in_place.data_ptr())
    library.forward(address, address, ctypes.c_int64(count), None, 1, 0)
    assert same(in_place, y[:count])
    one = grad[:1].clone() if count else room[:1].clone()
    library.backward(*(ctypes.c_void_p(t.data_ptr()) for t in (x, one, target)), ctypes.c_int64(count), None, 1, 2)
    expected = run(name, x.clone(), one.expand(count).clone())[1]
    assert same(target[:count], expected)


@needs_compiler
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_nan_stays_nan_whatever_its_bits_are(name, dtype):
    """bfloat16 is rounded by an addition that could make a number of some of them."""
    activation = ENTRIES[name].activation()
    x = all_halves(dtype)
    nans = x[x.isnan()]
    assert activation(nans).isnan().all()
    leaf = torch.linspace(-3, 3, len(nans)).to(dtype).requires_grad_()
    y = activation(leaf)
    (slope,) = torch.autograd.grad(y, leaf, torch.ones_like(y), retain_graph=True)
    (gradient,) = torch.autograd.grad(y, leaf, nans)
    assert gradient[slope != 0].isnan().all()


@needs_compiler
@pytest.mark.parametrize("bits", [0x7FFFFFFF, -1, 0x7F800001, -0x7FFFFF])
@pytest.mark.parametrize("shape", [(), (1,), (3,)])
def test_a_parameter_may_be_any_nan(bits, shape):
    alpha = torch.tensor(bits, dtype=torch.int32).view(torch.float32).expand(shape).clone()
    x = torch.linspace(-4, -1, 6 * 640).reshape(2, 3, 640).bfloat16()
    where = {"channel_dim": 1} if shape == (3,) else {}
    assert actium.leaky_relu(x, alpha, **where).isnan().all()


@needs_compiler
@pytest.mark.parametrize("dtype", [*HALVES, torch.float32])
@pytest.mark.parametrize("length", [1, 15, 17, 64, 77, 530])
def test_sums_leave_out_what_a_block_was_padded_with(length, dtype):
    x = torch.linspace(-3, 2, 6 * length).reshape(2, 3, length).to(dtype)
    grad = torch.linspace(-1, 2, 6 * length).reshape(x.shape).to(dtype)
    slope = torch.full((3,), 0.25, requires_grad=True)
    actium.prelu(x, slope).backward(grad)
    terms = torch.where(x > 0, torch.zeros((), dtype=torch.float64), x.double() * grad.double())
    torch.testing.assert_close(slope.grad.double(), terms.sum((0, 2)), rtol=1e-5, atol=1e-5)


@needs_compiler
@pytest.mark.parametrize("dtype", [*HALVES, torch.float32])
@pytest.mark.parametrize("inner", [5, 100])
def test_a_parameters_sign_is_asked_once_or_of_each_element_with_the_same_result(inner, dtype):
    """In CELU's loop e^u - 1 takes fewer operations where alpha is not negative."""
    alphas = (1.0, -0.5, 0.0, -0.0, 3.0, float("nan"), float("inf"))
    x = torch.linspace(-40, 3, 14 * inner).reshape(2, 7, inner).to(dtype)
    x[0, :, 0], x[1, :, 0] = -0.0, float("-inf")
    together = actium.celu(x, torch.tensor(alphas), channel_dim=1)
    for channel, alpha in enumerate(alphas):
        alone = actium.celu(x[:, channel].contiguous(), torch.tensor(alpha))
        bits = torch.int32 if dtype == torch.float32 else torch.int16
        nan = alone.isnan() & together[:, channel].isnan()
        assert (nan | (alone.view(bits) == together[:, channel].contiguous().view(bits))).all(), alpha
    expected = torch.where(x[:, 1] <= 0, -0.5 * torch.expm1(x[:, 1].double() / -0.5), x[:, 1].double())
    tolerance = 2 * torch.finfo(dtype).eps
    torch.testing.assert_close(together[:, 1].double(), expected.to(dtype).double(), rtol=tolerance, atol=0.0)
    assert "_falling" in kernels("celu", dtype)[1]
