"""The contract of an op on plain tensors: dtype, shape, strides, parameters, limits, reproducibility."""

from __future__ import annotations

import gc
import math
import weakref

import pytest
import torch

import actium
from actium.authoring import formula
from actium.define import Activation
from actium.errors import DtypeError, InplaceError, ShapeError
from actium.kernels import front
from actium.symbolic.graph import Formula, const, parameter, variable, where
from actium.symbolic.parameters import Parameter
from samples import (
    ALL,
    DTYPES,
    HALVES,
    PLAIN,
    REFERENCE,
    SILU_TEXT,
    SLOPE,
    UNIT,
    X,
    all_halves,
    assert_same_bits,
    gradients,
    identify,
    mish,
    relu,
    sample,
    silu,
    swish,
    two,
)

# --- dtype ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=identify)
@pytest.mark.parametrize("activation", ALL, ids=identify)
def test_value_and_gradient_equal_the_float64_reference(activation, dtype):
    x = sample(513, dtype=dtype)
    grad = sample(513, dtype=dtype, seed=1)
    y, gx = gradients(activation, x, grad)
    exact_x = x.double().requires_grad_()
    exact = REFERENCE[activation.name](exact_x, *activation.values())
    (exact_gx,) = torch.autograd.grad(exact, exact_x, grad.double())
    assert y.dtype is gx.dtype is dtype
    assert torch.allclose(y.double(), exact, rtol=UNIT[dtype], atol=1e-6 if dtype in HALVES else UNIT[dtype])
    assert torch.allclose(gx.double(), exact_gx, rtol=UNIT[dtype], atol=1e-6 if dtype in HALVES else UNIT[dtype])


@pytest.mark.parametrize("dtype", DTYPES, ids=identify)
@pytest.mark.parametrize("parameter_dtype", DTYPES, ids=identify)
def test_output_dtype_is_the_inputs_whatever_the_parameters(dtype, parameter_dtype):
    x, beta = sample(7, dtype=dtype), torch.tensor([1.5], dtype=parameter_dtype, requires_grad=True)
    y, gx, gbeta = gradients(swish, x, torch.ones_like(x), beta=beta)
    assert y.dtype is gx.dtype is dtype
    assert gbeta.dtype is parameter_dtype


@pytest.mark.parametrize("dtype", DTYPES, ids=identify)
@pytest.mark.parametrize("autocast_dtype", HALVES, ids=identify)
def test_autocast_changes_nothing(dtype, autocast_dtype):
    x, beta = sample(100, dtype=dtype), torch.full((1,), 1.5, requires_grad=True)
    outside = gradients(swish, x, torch.ones_like(x), beta=beta)
    with torch.autocast("cpu", dtype=autocast_dtype):
        inside = gradients(swish, x, torch.ones_like(x), beta=beta)
    for a, b in zip(inside, outside, strict=True):
        assert_same_bits(a, b)


@pytest.mark.parametrize("dtype", HALVES, ids=identify)
@pytest.mark.parametrize("activation", PLAIN, ids=identify)
def test_every_half_is_rounded_once(activation, dtype):
    x = all_halves(dtype)
    x = x[x.isfinite()]
    y, gx = gradients(activation, x, torch.ones_like(x))
    wide = x.double()
    for got, exact in ((y, REFERENCE[activation.name](wide)), (gx, SLOPE[activation.name](wide))):
        size = exact.abs().clamp(min=torch.finfo(dtype).smallest_normal)
        ulp = torch.exp2(torch.floor(torch.log2(size))) * torch.finfo(dtype).eps
        # Half a unit is the rounding to the half, a sixteenth the computation in float32 before it; two roundings to
        # the half would reach a whole unit. The roots of these functions and slopes lie within 2, and there float32
        # (whose rounding of x alone shifts the value by 2^-24·x·f′) cannot know the last bits.
        slack = torch.where(wide.abs() < 2, 2.0**-19 * wide.abs(), 0.0)
        assert ((got.double() - exact).abs() <= ulp * 0.5625 + slack).all()


# --- shape ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=identify)
@pytest.mark.parametrize("activation", [silu, two], ids=identify)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (1, 1, 1), (2, 3, 4, 5, 6)])
def test_shape_is_kept(activation, shape, dtype):
    x = sample(*shape, dtype=dtype).requires_grad_()
    y = activation(x)
    assert y.shape == x.shape
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert x.grad.dtype is dtype


def layouts() -> dict[str, torch.Tensor]:
    x = sample(4, 6, 8, 10)
    return {
        "channels_last": x.contiguous(memory_format=torch.channels_last),
        "permuted": x.permute(3, 1, 0, 2),
        "transposed": x.transpose(0, 3),
        "every other": x[:, ::2],
        "reversed pair": x.movedim(0, 2)[..., 1::3],
        "expanded": x[:1, :, :, :1].expand(4, 6, 8, 10),
        "overlapping": x.reshape(-1).as_strided((20, 30), (3, 1)),
        "size one with odd stride": x.reshape(-1).as_strided((1, 40, 1), (7, 1, 999)),
    }


DENSE = ("channels_last", "permuted", "transposed")


@pytest.mark.parametrize("dtype", DTYPES, ids=identify)
@pytest.mark.parametrize("layout", layouts())
def test_layout_changes_no_bit_and_dense_strides_are_kept(layout, dtype):
    base = layouts()[layout]
    x = torch.as_strided(sample(2000, dtype=dtype, seed=7), base.shape, base.stride())
    grad = sample(*x.shape, dtype=dtype, seed=2)
    for activation in (mish, two):
        y, gx = gradients(activation, x, grad)
        flat_y, flat_gx = gradients(activation, x.contiguous(), grad.contiguous())
        assert_same_bits(y, flat_y)
        assert_same_bits(gx, flat_gx)
        if layout in DENSE:
            assert y.stride() == gx.stride() == x.stride()


@pytest.mark.parametrize("dtype", DTYPES, ids=identify)
def test_any_grad_output_layout_gives_the_same_bits(dtype):
    x = sample(6, 8, dtype=dtype)
    wide = sample(16, 6, dtype=dtype, seed=3)
    for grad in (wide[::2].T, wide[:8, :1].T.expand(6, 8), wide[:1, :1].expand(6, 8)):
        expected = gradients(mish, x, grad.contiguous())[1]
        assert_same_bits(gradients(mish, x, grad)[1], expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=identify)
@pytest.mark.parametrize("activation", [silu, two], ids=identify)
@pytest.mark.parametrize("shape", [(1000,), (1,), (1, 1), ()])
def test_one_expanded_gradient_equals_many_equal_ones(activation, shape, dtype):
    x = sample(*shape, dtype=dtype).requires_grad_()
    (gx,) = torch.autograd.grad((activation(x) * 3).sum(), x)
    one = torch.full((1,) * len(shape), 3, dtype=dtype)
    (expanded,) = torch.autograd.grad(activation(x), x, one.expand(shape))
    assert_same_bits(expanded, gx)
    strided = torch.full((1,), 3, dtype=dtype).as_strided(shape, (0,) * len(shape))
    assert_same_bits(torch.autograd.grad(activation(x), x, strided)[0], gx)


# --- reproducibility -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=identify)
@pytest.mark.parametrize("activation", ALL, ids=identify)
def test_alignment_and_position_change_no_bit(activation, dtype):
    count = 1100
    x, grad = sample(count, dtype=dtype, scale=20), sample(count, dtype=dtype, seed=1)
    expected = gradients(activation, x, grad)
    for offset in range(17):
        shifted_x = torch.cat([torch.zeros(offset, dtype=dtype), x])[offset:]
        shifted_grad = torch.cat([torch.zeros(16 - offset, dtype=dtype), grad])[16 - offset :]
        for got, want in zip(gradients(activation, shifted_x, shifted_grad), expected, strict=True):
            assert_same_bits(got, want)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(5))
    for got, want in zip(gradients(activation, x[order], grad[order]), expected, strict=True):
        assert_same_bits(got, want[order])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=identify)
@pytest.mark.parametrize("activation", [mish, two], ids=identify)
def test_batch_split_changes_no_bit(activation, dtype):
    x, grad = sample(1537, dtype=dtype), sample(1537, dtype=dtype, seed=1)
    whole = gradients(activation, x, grad)
    for size in (1, 15, 512, 600):
        parts = [gradients(activation, a, g) for a, g in zip(x.split(size), grad.split(size), strict=True)]
        for got, want in zip(zip(*parts, strict=True), whole, strict=True):
            assert_same_bits(torch.cat(got), want)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=identify)
def test_number_of_threads_changes_no_bit(dtype, threads):
    x, grad = sample(3, 64, 1100, dtype=dtype), sample(3, 64, 1100, dtype=dtype, seed=1)
    per_channel = sample(64, scale=1.0, seed=4).requires_grad_()
    cases = [(mish, {}), (swish, {"beta": torch.ones(1, requires_grad=True)})]
    cases += [(swish, {"beta": per_channel, "channel_dim": 1})]
    for activation, parameters in cases:
        results = []
        for count in (1, 2, 3, 5):
            threads(count)
            results.append(gradients(activation, x, grad, **parameters))
        for other in results[1:]:
            for got, want in zip(other, results[0], strict=True):
                assert_same_bits(got, want)


def test_serial_and_threaded_kernels_agree_on_every_bit(threads):
    threads(2)
    x = sample(1 << 17)
    whole = gradients(silu, x, torch.ones_like(x))
    parts = [gradients(silu, part, torch.ones_like(part)) for part in x.split(1 << 12)]
    for got, want in zip(zip(*parts, strict=True), whole, strict=True):
        assert_same_bits(torch.cat(got), want)


def test_number_scalar_tensor_and_equal_channels_give_the_same_bits():
    x, grad = sample(5, 7, 9), sample(5, 7, 9, seed=1)
    expected = gradients(swish, x, grad, beta=0.75)
    for beta, dim in ((torch.full((1,), 0.75), None), (torch.full((7,), 0.75), 1), (torch.full((9,), 0.75), -1)):
        got = gradients(swish, x, grad, beta=beta.requires_grad_(), channel_dim=dim)
        assert_same_bits(got[0], expected[0])
        assert_same_bits(got[1], expected[1])


# --- limits, NaN, range --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=identify)
@pytest.mark.parametrize("activation", ALL, ids=identify)
def test_nan_comes_out_of_output_and_gradient(activation, dtype):
    for count in (1, 33):
        x = torch.full((count,), math.nan, dtype=dtype)
        for result in gradients(activation, x, torch.ones_like(x)):
            assert result.isnan().all()
        x = sample(count, dtype=dtype)
        assert gradients(activation, x, torch.full_like(x, math.nan))[1].isnan().all()


LIMITS = {  # f(−inf), f(inf), f′(−inf), f′(inf)
    "silu": (0, math.inf, 0, 1),
    "mish": (0, math.inf, 0, 1),
    "gelu": (0, math.inf, 0, 1),
    "elu": (-1, math.inf, 0, 1),
    "softsign": (-1, 1, 0, 0),
    "hardswish": (0, math.inf, 0, 1),
    "relu": (0, math.inf, 0, 1),
    "swish": (0, math.inf, 0, 1),
    "soft_clip": (-1, 1, 0, 0),
    "leaky": (-math.inf, math.inf, 0.25, 1),
    "two": (-1.5, math.inf, 0, 1),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=identify)
@pytest.mark.parametrize("activation", ALL, ids=identify)
def test_limits_at_infinity(activation, dtype):
    x = torch.tensor([-math.inf, math.inf], dtype=dtype)
    y, gx = gradients(activation, x, torch.ones_like(x))
    assert [*y.tolist(), *gx.tolist()] == list(LIMITS[activation.name])


def test_no_limit_is_nan():
    sine = formula("sin(x)", name="sine")
    assert sine(torch.tensor([-math.inf, math.inf])).isnan().all()


def test_tail_of_silu_is_normal_where_the_sigmoid_is_subnormal():
    x = torch.tensor([-89.0, -95.0], requires_grad=True)
    y = silu(x)
    y.sum().backward()
    exact = [-89.0 / (1 + math.exp(89.0)), -95.0 / (1 + math.exp(95.0))]
    assert y.tolist() == pytest.approx(exact, rel=1e-6)
    s = [1 / (1 + math.exp(-v)) for v in x.tolist()]
    assert x.grad.tolist() == pytest.approx(
        [p * (1 + v * (1 - p)) for p, v in zip(s, x.tolist(), strict=True)], rel=1e-6
    )


# --- the rest ------------------------------------------------------------------------------------------


def test_at_most_one_tensor_of_the_inputs_dtype_is_saved():
    for activation in (silu, mish, relu, two):
        saved = []
        x = sample(100, dtype=torch.bfloat16).requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):  # noqa: B023
            activation(x)
        assert [t.dtype for t in saved] == [torch.bfloat16]
        assert saved[0].data_ptr() == x.data_ptr()


@pytest.mark.parametrize("compiled", [True, False])
def test_hooks_may_give_what_was_kept_back_in_another_order(monkeypatch, compiled):
    if not compiled:
        monkeypatch.setattr(front, "make", lambda *_: None)
    activation = formula(SILU_TEXT)
    x = sample(3, 50).requires_grad_()
    grad = sample(3, 50, seed=1)
    (want,) = torch.autograd.grad(activation(x), x, grad)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.t().contiguous(), lambda t: t.t()):
        y = activation(x)
    (got,) = torch.autograd.grad(y, x, grad)
    assert torch.equal(got, want)


@pytest.mark.parametrize("compiled", [True, False])
def test_hooks_must_not_change_the_dtype(monkeypatch, compiled):
    if not compiled:
        monkeypatch.setattr(front, "make", lambda *_: None)
    x = sample(3, 50).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.bfloat16(), lambda t: t):
        y = formula(SILU_TEXT)(x)
    with pytest.raises(DtypeError, match=r"float32.*bfloat16"):
        y.sum().backward()


@pytest.mark.parametrize("compiled", [True, False])
def test_hooks_must_not_change_the_shape(monkeypatch, compiled):
    if not compiled:
        monkeypatch.setattr(front, "make", lambda *_: None)
    x = sample(3, 50).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t[:1], lambda t: t):
        y = formula(SILU_TEXT)(x)
    with pytest.raises(ShapeError, match=r"\(3, 50\).*\(1, 50\)"):
        y.sum().backward()


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("warm", [True, False])
def test_gradients_without_memory_of_their_own(monkeypatch, compiled, warm):
    # The backward of `abs` in a second derivative, and that of `sgn`, send a tensor of zeros that has no address.
    if not compiled:
        monkeypatch.setattr(front, "make", lambda *_: None)
    activation, x = formula(SILU_TEXT), sample(8).requires_grad_()
    if warm:
        activation(x).sum().backward()
        activation(x.detach())
    second = [
        torch.autograd.functional.hessian(lambda t: f(t).abs().sum(), x.detach())  # noqa: B023
        for f in (activation, torch.nn.functional.silu)
    ]
    torch.testing.assert_close(*second)
    for function in (activation, actium.relu, lambda t: actium.gelu(t, memory="uint8"), actium.glu("silu")):
        (slope,) = torch.autograd.grad(torch.sgn(function(x)).sum(), x)
        assert (slope == 0).all()
    zero = torch._efficientzerotensor((8,))
    assert (activation(zero) == 0).all()
    assert (activation(zero.requires_grad_()) == 0).all()


@pytest.mark.filterwarnings("ignore:.*(beta|prototype)")
def test_what_outlives_its_transform_and_what_is_not_dense_meets_the_same_answer_cold_and_warm():
    activation, kept = formula(SILU_TEXT), []
    for _ in range(2):
        torch.func.grad(lambda t: kept.append(t * 1) or (t * t).sum())(sample(3))
        torch.testing.assert_close(activation(kept[-1]).sum(), torch.nn.functional.silu(kept[-1]).sum())
        for strange in (torch.eye(3).to_sparse(), torch.eye(3).to_sparse_csr(), nested()):
            with pytest.raises(DtypeError, match=r"dense"):
                activation(strange)
        activation(sample(3))
        activation(sample(3).requires_grad_()).sum().backward()


def nested() -> torch.Tensor:
    return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])


@pytest.mark.parametrize("slope", [0.25, torch.tensor(0.25), torch.tensor([0.25, 0.5, 0.75, 1.0])], ids=str)
def test_an_in_place_call_keeps_the_parameters_that_its_backward_needs(slope):
    y, s = variable("y"), parameter("slope")
    leaky = Activation(
        Formula(where(X <= 0.0, s * X, X), ("x",), ("slope",)),
        (Parameter("slope", 0.25),),
        name="leaky",
        output_slope=Formula(where(y > 0.0, const(1.0), s), ("y",), ("slope",)),
    )
    leaf = sample(5, 4).requires_grad_()
    grad = sample(5, 4, seed=1)
    got = torch.autograd.grad(leaky(leaf * 1.0, slope, inplace=True, channel_dim=1), leaf, grad)
    want = torch.autograd.grad(leaky(leaf * 1.0, slope, channel_dim=1), leaf, grad)
    assert torch.equal(got[0], want[0])


def test_a_plan_dies_with_its_activation():
    activation = formula(f"{SILU_TEXT} + 0.123")
    x = sample(8).requires_grad_()
    activation(x).sum().backward()
    plan = weakref.ref(activation.op.plan)
    del activation
    gc.collect()
    assert plan() is None


def test_without_kernels_the_result_is_the_same(monkeypatch):
    monkeypatch.setenv("ACTIUM_DISABLE_KERNELS", "1")
    eager = formula("x * tanh(log(1 + exp(x)))", name="eager_mish")
    x = sample(1000)
    grad = sample(1000, seed=1)
    for got, want in zip(gradients(eager, x, grad), gradients(mish, x, grad), strict=True):
        assert torch.allclose(got, want, rtol=2e-6, atol=1e-7)


def test_what_autograd_does_not_let_overwrite_is_left_as_it_is():
    leaf = sample(4, 3).requires_grad_()
    with torch.inference_mode():
        inferred = sample(3)
    for x, why in (
        (leaf, "leaf"),
        (leaf[1], "view of a leaf"),
        ((leaf * 1).chunk(2)[0], "several views"),
        (inferred, "inference mode"),
    ):
        before = x.detach().clone()
        for memory in ("exact", "bits"):
            if x is inferred and memory == "bits":
                continue
            with pytest.raises(InplaceError, match=why):
                actium.relu(x, inplace=True, memory=memory)
            layer = actium.nn.ReLU(inplace=True, memory=memory)
            assert torch.equal(layer(x), before.clamp(min=0))
        assert torch.equal(x, before)
    within = leaf * 1
    assert torch.equal(actium.relu(within[1:], inplace=True), within[1:])


@pytest.mark.parametrize("name", ["LeakyReLU", "Hardtanh", "Hardshrink", "ReLU", "RReLU"])
def test_in_place_modules_compile_whole(name):
    layer = getattr(actium.nn, name)(**({} if name == "Hardshrink" else {"inplace": True})).eval()
    x = sample(7).requires_grad_()
    torch.compiler.reset()
    got = torch.compile(lambda t: layer(t * 1), fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(got, layer(x))
    torch.compiler.reset()
    function = getattr(actium, layer.entry.name)
    if name in ("LeakyReLU", "Hardtanh"):
        got = torch.compile(lambda t: function(t * 1, inplace=True), fullgraph=True, backend="aot_eager")(x)
        torch.testing.assert_close(got, layer(x))


def test_slopes_are_drawn_within_a_compiled_graph():
    x = -torch.ones(500)
    torch.compiler.reset()
    got = torch.compile(actium.nn.RReLU(0.2, 0.3), fullgraph=True, backend="aot_eager")(x)
    assert ((got <= -0.2) & (got >= -0.3)).all()
    assert got.unique().numel() > 100
