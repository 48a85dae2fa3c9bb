"""The same function under every transform of PyTorch: autograd's, functorch's, the compiler's, the exporter's."""

from __future__ import annotations

import copy
import io
import multiprocessing
import pickle

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

from actium.op import Op
from samples import (
    ALL,
    GATED,
    REFERENCE,
    WITH_PARAMETERS,
    assert_same_bits,
    elu,
    gelu,
    identify,
    mish,
    relu,
    silu,
    swish,
    two,
)

SMOOTH = (silu, mish, gelu, elu, swish, two)
X = torch.tensor([-3.1, -1.3, -0.2, 0.4, 1.1, 2.7])

# PyTorch builds its forward-mode decompositions with what it calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")


def inputs(dtype=torch.float64) -> torch.Tensor:
    return X.to(dtype, copy=True).requires_grad_()


def parameters_of(activation, dtype=torch.float64) -> list[torch.Tensor]:
    return [torch.full((1,), v, dtype=dtype, requires_grad=True) for v in activation.values()]


def close(got, expected, rtol=1e-6, atol=1e-7):
    torch.testing.assert_close(got.double(), expected.double(), rtol=rtol, atol=atol)


# --- autograd ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ALL, ids=identify)
def test_gradcheck(activation):
    arguments = (inputs(), *parameters_of(activation))
    assert torch.autograd.gradcheck(activation, arguments, check_batched_grad=True, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(activation, arguments)


def test_gradcheck_with_channels_and_two_inputs():
    op = Op(GATED, {"beta": 1.0}, "swiglu")
    x, gate = (torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    beta = torch.rand(4, dtype=torch.float64, requires_grad=True)

    def call(x, gate, beta):
        return op.many((x, gate), (beta,), 1)

    assert torch.autograd.gradcheck(call, (x, gate, beta), check_batched_grad=True)
    assert torch.autograd.gradgradcheck(call, (x, gate, beta))


@pytest.mark.parametrize("activation", ALL, ids=identify)
def test_second_derivative_of_the_kernels_equals_the_reference(activation):
    x, parameters = inputs(torch.float32), parameters_of(activation, torch.float32)
    (g,) = torch.autograd.grad(activation(x, *parameters).sum(), x, create_graph=True)
    second = torch.autograd.grad((g * g).sum(), [x, *parameters], allow_unused=True, materialize_grads=True)
    rx, rp = inputs(), parameters_of(activation)
    (rg,) = torch.autograd.grad(REFERENCE[activation.name](rx, *rp).sum(), rx, create_graph=True)
    close(g, rg)
    if rg.requires_grad:
        expected = torch.autograd.grad((rg * rg).sum(), [rx, *rp], allow_unused=True, materialize_grads=True)
        for a, b in zip(second, expected, strict=True):
            close(a, b, rtol=1e-5)


def test_third_derivative_of_the_kernel():
    x = inputs(torch.float32)
    y = silu(x).sum()
    for _ in range(2):
        (g,) = torch.autograd.grad(y, x, create_graph=True)
        y = g.sum()
    (third,) = torch.autograd.grad(y, x)
    s = torch.sigmoid(X.double())
    d = s * (1 - s)
    close(third, 3 * d * (1 - 2 * s) + X.double() * d * ((1 - 2 * s) ** 2 - 2 * d), rtol=1e-5)


@pytest.mark.parametrize("activation", ALL, ids=identify)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=identify)
def test_is_grads_batched(activation, dtype):
    x, parameters = inputs(dtype), parameters_of(activation, torch.float32)
    y = activation(x, *parameters)
    vectors = torch.eye(len(X), dtype=dtype)
    leaves = (x, *parameters)
    batched = torch.autograd.grad(y, leaves, vectors, is_grads_batched=True, retain_graph=True)
    for k, v in enumerate(vectors):
        for got, want in zip(batched, torch.autograd.grad(y, leaves, v, retain_graph=True), strict=True):
            close(got[k], want, rtol=2e-2 if dtype is torch.bfloat16 else 1e-6)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoint_gives_the_same_bits(reentrant):
    plain, kept = inputs(torch.float32), inputs(torch.float32)
    p, q = parameters_of(two, torch.float32), parameters_of(two, torch.float32)
    two(plain, *p).sum().backward()
    checkpoint(two, kept, *q, use_reentrant=reentrant).sum().backward()
    for a, b in zip((plain, *p), (kept, *q), strict=True):
        assert_same_bits(a.grad, b.grad)


# --- functorch and forward mode ------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ALL, ids=identify)
def test_functorch_transforms_agree_with_autograd(activation):
    values = activation.values()
    x, v = inputs(torch.float32), torch.linspace(-1, 2, len(X))
    y = activation(x)
    (expected,) = torch.autograd.grad(y.sum(), x)
    x = x.detach()
    close(torch.func.grad(lambda t: activation(t).sum())(x), expected)
    close(torch.func.vmap(torch.func.grad(lambda t: activation(t)))(x), expected)
    out, tangent = torch.func.jvp(activation, (x,), (v,))
    close(out, y)
    close(tangent, v * expected)
    out, pull = torch.func.vjp(activation, x)
    close(pull(v)[0], v * expected)
    close(torch.func.jacfwd(activation)(x), expected.diag())
    close(torch.func.jacrev(activation)(x), expected.diag())
    second = torch.func.vmap(torch.func.grad(torch.func.grad(lambda t: REFERENCE[activation.name](t, *values))))
    close(torch.func.hessian(lambda t: activation(t).sum())(x), second(x.double()).diag(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("activation", WITH_PARAMETERS, ids=identify)
def test_vmap_and_grad_over_parameters(activation):
    x = X.clone()
    values = activation.values()
    rows = [torch.tensor([[v], [v + 0.5], [v + 1.0]]) for v in values]
    batched = torch.func.vmap(activation, in_dims=(None, *(0 for _ in rows)))(x, *rows)
    for k in range(3):
        close(batched[k], activation(x, *(r[k] for r in rows)))

    def loss(*p):
        return activation(x, *p).sum()

    arguments = tuple(range(len(rows)))
    per_row = torch.func.vmap(torch.func.grad(loss, argnums=arguments))(*rows)
    for k in range(3):
        leaves = [r[k].double().requires_grad_() for r in rows]
        expected = torch.autograd.grad(REFERENCE[activation.name](x.double(), *leaves).sum(), leaves)
        for got, want in zip(per_row, expected, strict=True):
            close(got[k], want)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=identify)
def test_dual_numbers_and_forward_over_reverse(dtype):
    x, v = X.to(dtype), torch.linspace(-1, 2, len(X)).to(dtype)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x.clone().requires_grad_(), v)
        y = mish(dual)
        tangent = forward_ad.unpack_dual(y).tangent
        (g,) = torch.autograd.grad(y.sum(), dual)
        second = forward_ad.unpack_dual(g).tangent
    assert y.dtype is tangent.dtype is dtype
    t = x.double().requires_grad_()
    (first,) = torch.autograd.grad(REFERENCE["mish"](t).sum(), t, create_graph=True)
    (curve,) = torch.autograd.grad(first.sum(), t)
    tolerance = 1e-2 if dtype is torch.bfloat16 else 1e-5
    close(tangent, v.double() * first, rtol=tolerance)
    close(second, v.double() * curve, rtol=tolerance, atol=tolerance)


def test_tangent_of_a_parameter():
    x = X.clone()
    _, tangent = torch.func.jvp(lambda b: swish(x, b), (torch.ones(1),), (torch.ones(1),))
    s = torch.sigmoid(x.double())
    close(tangent, x.double() ** 2 * s * (1 - s))


# --- tensors that are not plain ------------------------------------------------------------------------


def test_meta_and_fake_tensors():
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.empty(2, 3, 4, 5, device="meta", dtype=dtype).contiguous(memory_format=torch.channels_last)
        y = mish(x.requires_grad_())
        assert (y.shape, y.dtype, y.device.type, y.stride()) == (x.shape, dtype, "meta", x.stride())
        y.sum().backward()
        assert x.grad.shape == x.shape
    with torch._subclasses.FakeTensorMode():
        y = two(torch.empty(4, 6, dtype=torch.float16), torch.ones(6), 0.5, channel_dim=1)
        assert (tuple(y.shape), y.dtype) == ((4, 6), torch.float16)


class Tagged(torch.Tensor):
    """A subclass that only rides along."""


def test_subclass_survives():
    y = mish(X.clone().as_subclass(Tagged))
    assert type(y) is Tagged
    close(y.as_subclass(torch.Tensor), mish(X.clone()))


def test_lazily_negated_tensor():
    z = torch.complex(torch.zeros(6), X).conj().imag
    assert z.is_neg()
    close(silu(z), silu(-X))


def test_inference_mode():
    with torch.inference_mode():
        made_inside = mish(X.clone())
        assert made_inside.is_inference()
    x = X.clone()
    with torch.inference_mode():
        assert_same_bits(mish(x), made_inside)
    assert_same_bits(mish(x), made_inside.clone())


def test_function_mode_sees_the_call():
    seen = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(func)
            return func(*args, **(kwargs or {}))

    with Watch():
        y = mish(X.clone())
    assert len(seen) > 3
    close(y, mish(X.clone()))


def test_functional_call():
    module = swish.module()
    y = torch.func.functional_call(module, {"beta": torch.tensor([2.0])}, (X,))
    close(y, REFERENCE["swish"](X.double(), 2.0))


# --- copies and processes ------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", [mish, two, relu], ids=identify)
def test_pickle_and_deepcopy(activation):
    for twin in (pickle.loads(pickle.dumps(activation)), copy.deepcopy(activation), copy.copy(activation)):
        assert (twin.name, twin.formula, twin.parameters) == (
            activation.name,
            activation.formula,
            activation.parameters,
        )
        x, y = inputs(torch.float32), inputs(torch.float32)
        twin(x).sum().backward()
        activation(y).sum().backward()
        assert_same_bits(x.grad, y.grad)
    model = nn.Sequential(nn.Linear(2, 2), activation.module())
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_same_bits(twin(torch.ones(3, 2)), model(torch.ones(3, 2)))
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    assert_same_bits(torch.load(buffer, weights_only=False)(torch.ones(3, 2)), model(torch.ones(3, 2)))


def test_pickled_op_computes_the_same():
    twin = pickle.loads(pickle.dumps(two.op))
    assert_same_bits(twin(X, two.values(), None), two(X))


def _forward_in_child(queue) -> None:
    queue.put(mish(torch.ones(1 << 18)).sum().item())


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_forked_child_does_not_hang_after_the_parent_used_threads(threads):
    threads(2)
    expected = mish(torch.ones(1 << 18)).sum().item()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child_with_one_thread, args=(queue,))
    child.start()
    try:
        assert queue.get(timeout=30) == pytest.approx(expected)
    finally:
        child.kill()
        child.join(10)


def _child_with_one_thread(queue) -> None:
    torch.set_num_threads(1)  # as DataLoader's workers do
    _forward_in_child(queue)
