"""Gated units under every transform of PyTorch: autograd's, functorch's, the compiler's, the exporter's."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint

import actium
import actium.nn
from samples import assert_same_bits, identify, sample

swish = actium.glu("swish")
X = sample(3, 4, scale=1.5)

# PyTorch builds its forward-mode decompositions with what it calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")


def reference(x, beta=1.0, dim=-1):
    up, gate = x.chunk(2, dim)
    return up * gate * torch.sigmoid(beta * gate)


def close(got, expected, rtol=1e-5, atol=1e-6):
    torch.testing.assert_close(got.double(), expected.double(), rtol=rtol, atol=atol)


def leaf(dtype=torch.float64):
    return X.to(dtype, copy=True).requires_grad_()


def test_gradcheck_of_both_forms():
    x, beta = leaf(), torch.full((1,), 1.3, dtype=torch.float64, requires_grad=True)
    gate, up = (h.detach().clone().requires_grad_() for h in x.chunk(2, 1))

    def halves(x, beta):
        return swish(x, dim=0 if x.shape[0] == 4 else 1, gate="first", beta=beta)

    def two(gate, up, beta):
        return swish(gate, up, beta=beta)

    for call, arguments in (
        (halves, (x, beta)),
        (halves, (x.detach().t().requires_grad_(), beta)),
        (two, (gate, up, beta)),
    ):
        assert torch.autograd.gradcheck(call, arguments, check_batched_grad=True, check_forward_ad=True)
        assert torch.autograd.gradgradcheck(call, arguments)


def test_second_derivative_of_the_kernel_equals_the_reference():
    for dtype in (torch.float32, torch.float64):
        x, beta = leaf(dtype), torch.full((1,), 1.3, dtype=dtype, requires_grad=True)
        (g,) = torch.autograd.grad(
            (swish(x, beta=beta) if dtype is torch.float32 else reference(x, beta)).sum(), x, create_graph=True
        )
        second = torch.autograd.grad((g * g).sum(), (x, beta))
        if dtype is torch.float32:
            ours = (g, *second)
    for a, b in zip(ours, (g, *second), strict=True):
        close(a, b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=identify)
def test_is_grads_batched(dtype):
    x = leaf(dtype)
    y = swish(x)
    vectors = sample(5, *y.shape, dtype=dtype)
    (batched,) = torch.autograd.grad(y, x, vectors, is_grads_batched=True, retain_graph=True)
    for got, v in zip(batched, vectors, strict=True):
        close(got, torch.autograd.grad(y, x, v, retain_graph=True)[0], rtol=2e-2 if dtype is torch.bfloat16 else 1e-6)


def test_functorch_transforms_agree_with_autograd():
    x, v = X.clone(), sample(3, 4, seed=2)
    (expected,) = torch.autograd.grad(reference(t := leaf()).sum(), t)

    def total(t):
        return swish(t).sum()

    close(torch.func.grad(total)(x), expected)
    close(torch.func.vmap(torch.func.grad(total))(x), expected)
    close(torch.func.vmap(swish)(x), reference(x))
    close(torch.func.vmap(lambda t: swish(t, dim=0), in_dims=1, out_dims=1)(X.t()), reference(X).t())
    out, tangent = torch.func.jvp(swish, (x,), (v,))
    close(out, reference(x))
    close(tangent, torch.func.jvp(reference, (x.double(),), (v.double(),))[1])
    close(torch.func.jacfwd(swish)(x), torch.func.jacrev(reference)(x.double()))
    close(torch.func.jacrev(swish)(x), torch.func.jacrev(reference)(x.double()))
    close(torch.func.hessian(total)(x), torch.func.hessian(lambda t: reference(t).sum())(x.double()))
    per_beta = torch.func.vmap(torch.func.grad(lambda b: swish(x, beta=b).sum()))(torch.tensor([[0.5], [2.0]]))
    for got, b in zip(per_beta, (0.5, 2.0), strict=True):
        p = torch.full((1,), b, dtype=torch.float64, requires_grad=True)
        close(got, torch.autograd.grad(reference(x.double(), p).sum(), p)[0])


def test_dual_numbers_and_forward_over_reverse():
    v = sample(3, 4, seed=2)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(X.clone().requires_grad_(), v)
        y = swish(dual)
        tangent = forward_ad.unpack_dual(y).tangent
        second = forward_ad.unpack_dual(torch.autograd.grad(y.sum(), dual)[0]).tangent
    close(tangent, torch.func.jvp(reference, (X.double(),), (v.double(),))[1])
    gradient = torch.func.grad(lambda t: reference(t).sum())
    close(second, torch.func.jvp(gradient, (X.double(),), (v.double(),))[1])


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoint_gives_the_same_bits(reentrant):
    plain, kept = leaf(torch.float32), leaf(torch.float32)
    swish(plain).sum().backward()
    checkpoint(swish, kept, use_reentrant=reentrant).sum().backward()
    assert_same_bits(plain.grad, kept.grad)


def test_meta_and_fake_tensors_have_the_layout_of_the_real_ones():
    for dim in range(4):
        x = sample(2, 4, 6, 8, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
        real, meta = swish(x, dim=dim), x.to("meta").requires_grad_()
        y = swish(meta, dim=dim)
        assert (y.shape, y.dtype, y.device.type, y.stride()) == (real.shape, real.dtype, "meta", real.stride())
        y.sum().backward()
        assert meta.grad.shape == x.shape
    with torch._subclasses.FakeTensorMode():
        y = swish(torch.empty(4, 6, dtype=torch.float16), beta=torch.ones(3), channel_dim=1)
        assert (tuple(y.shape), y.dtype) == ((4, 3), torch.float16)


class Tagged(torch.Tensor):
    """A subclass that only rides along."""


def test_subclasses_and_lazily_negated_tensors():
    y = swish(X.clone().as_subclass(Tagged))
    assert type(y) is Tagged
    close(y.as_subclass(torch.Tensor), reference(X))
    z = torch.complex(torch.zeros(3, 4), X).conj().imag
    assert z.is_neg()
    close(swish(z), reference(-X))


@pytest.mark.usefixtures("fresh_dynamo")
def test_compile_fullgraph():
    module = actium.nn.GLU("swish", gate="first")
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    x, twin = (X.bfloat16().requires_grad_() for _ in range(2))
    y, expected = compiled(x), module(twin)
    assert y.dtype is torch.bfloat16
    close(y, expected, rtol=1e-2)
    y.sum().backward()
    expected.sum().backward()
    close(x.grad, twin.grad, rtol=2e-2)
    pair = torch.compile(lambda g, u: swish(g, u), fullgraph=True, backend="aot_eager")
    close(pair(X, X + 1), swish(X, X + 1))


@pytest.mark.usefixtures("fresh_dynamo")
def test_the_first_use_may_be_inside_compile_and_refusals_come_through():
    unit = actium.glu(actium.formula("x * tanh(exp(x))", name="first_use"))
    compiled = torch.compile(unit, fullgraph=True, backend="aot_eager")
    close(compiled(X), unit(X))
    with pytest.raises(Exception, match="which is odd"):
        compiled(torch.ones(2, 5))


@pytest.mark.parametrize("strict", [True, False])
def test_export_holds_aten_operators_only(strict):
    model = nn.Sequential(nn.Linear(4, 6), actium.nn.GLU("swish", learn=("beta",), channels=3, channel_dim=1))
    program = torch.export.export(model, (X,), strict=strict, dynamic_shapes=({0: torch.export.Dim("batch")},))
    called = [n.target for n in program.graph.nodes if n.op == "call_function"]
    assert all(isinstance(t, torch._ops.OpOverload) and t.namespace == "aten" for t in called)
    longer = sample(9, 4)
    close(program.module()(longer), model(longer))


def test_make_fx_gives_a_right_graph():
    other = sample(3, 4, seed=5).requires_grad_()
    (expected,) = torch.autograd.grad(swish(other).sum(), other)
    for mode in ("real", "fake", "symbolic"):
        graph = make_fx(lambda t: torch.autograd.grad(swish(t).sum(), t)[0], tracing_mode=mode)(leaf(torch.float32))
        close(graph(other), expected)


def test_pickle_and_deepcopy():
    own = actium.glu(actium.formula("x * tanh(beta * x)", name="own", beta=actium.learnable(1.0)))
    for unit in (swish, own):
        for twin in (pickle.loads(pickle.dumps(unit)), copy.deepcopy(unit), copy.copy(unit)):
            assert (twin.name, twin.formula, twin.parameters) == (unit.name, unit.formula, unit.parameters)
            assert_same_bits(twin(X), unit(X))
    model = nn.Sequential(nn.Linear(4, 4), own.module(gate="first"), actium.nn.SwiGLU())
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    twins = pickle.loads(pickle.dumps(model)), copy.deepcopy(model), torch.load(buffer, weights_only=False)
    for twin in twins:
        assert_same_bits(twin(X), model(X))
        twin.load_state_dict(model.state_dict())
