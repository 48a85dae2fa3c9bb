"""The same function compiled, exported and traced."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from actium.authoring import formula
from samples import REFERENCE, elu, gelu, hardswish, identify, mish, relu, silu, swish, two

X = torch.tensor([-3.1, -1.3, -0.2, 0.4, 1.1, 2.7])

# PyTorch builds its forward-mode decompositions with what it calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")


def inputs(dtype=torch.float64) -> torch.Tensor:
    return X.to(dtype, copy=True).requires_grad_()


def parameters_of(activation, dtype=torch.float64) -> list[torch.Tensor]:
    return [torch.full((1,), v, dtype=dtype, requires_grad=True) for v in activation.values()]


def close(got, expected, rtol=1e-6, atol=1e-7):
    torch.testing.assert_close(got.double(), expected.double(), rtol=rtol, atol=atol)


def fresh(name: str):
    """An activation that nothing has called yet."""
    return formula("x * tanh(beta * log(1 + exp(x)))", name=name, beta=1.0)


@pytest.mark.usefixtures("fresh_dynamo")
def test_first_use_may_be_inside_compile():
    first = fresh("first_use")
    compiled = torch.compile(lambda t: first(t, beta=1.0), fullgraph=True, backend="aot_eager")
    x = inputs(torch.float32)
    y = compiled(x)
    y.sum().backward()
    close(y, REFERENCE["mish"](X.double()))
    again = inputs()
    REFERENCE["mish"](again).sum().backward()
    close(x.grad, again.grad)


@pytest.mark.usefixtures("fresh_dynamo")
@pytest.mark.parametrize("activation", [relu, hardswish, gelu, two], ids=identify)
def test_compile_fullgraph(activation):
    compiled = torch.compile(lambda t, *p: activation(t, *p), fullgraph=True, backend="aot_eager")
    for dtype in (torch.float32, torch.bfloat16):
        x, parameters = inputs(dtype), parameters_of(activation, torch.float32)
        rx, rp = inputs(dtype), parameters_of(activation, torch.float32)
        y, expected = compiled(x, *parameters), activation(rx, *rp)
        assert y.dtype is dtype
        close(y, expected, rtol=1e-2 if dtype is torch.bfloat16 else 1e-6)
        y.sum().backward()
        expected.sum().backward()
        for a, b in zip((x, *parameters), (rx, *rp), strict=True):
            close(a.grad, b.grad, rtol=1e-2 if dtype is torch.bfloat16 else 1e-5)


@pytest.mark.usefixtures("fresh_dynamo")
def test_compile_of_a_module_with_channels_and_dynamic_shapes():
    module = two.module(channels=4, channel_dim=1)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager", dynamic=True)
    for batch in (2, 3, 5):
        x = torch.randn(batch, 4, batch + 1)
        close(compiled(x), module(x))
    compiled(x).sum().backward()
    grads = [p.grad.clone() for p in module.parameters()]
    module.zero_grad()
    module(x).sum().backward()
    for got, p in zip(grads, module.parameters(), strict=True):
        close(got, p.grad, rtol=1e-5)


@pytest.mark.usefixtures("fresh_dynamo")
def test_compile_of_transforms():
    x = X.clone()
    per_sample = torch.func.vmap(torch.func.grad(lambda t: silu(t)))
    compiled = torch.compile(per_sample, fullgraph=True, backend="aot_eager")
    close(compiled(x), per_sample(x))
    tangent = torch.compile(lambda t: torch.func.jvp(mish, (t,), (t,))[1], fullgraph=True, backend="aot_eager")
    close(tangent(x), torch.func.jvp(mish, (x,), (x,))[1])


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_dynamo")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_inductor():
    compiled = torch.compile(lambda t, b: swish(t, b) + elu(t), fullgraph=True)
    x, beta = inputs(torch.float32), torch.ones(1, requires_grad=True)
    y = compiled(x, beta)
    y.sum().backward()
    rx, rb = inputs(), torch.ones(1, dtype=torch.float64, requires_grad=True)
    expected = REFERENCE["swish"](rx, rb) + REFERENCE["elu"](rx)
    expected.sum().backward()
    close(y, expected)
    close(x.grad, rx.grad, rtol=1e-5)
    close(beta.grad, rb.grad, rtol=1e-5)


@pytest.mark.parametrize("strict", [True, False])
def test_export_holds_aten_operators_only(strict):
    model = nn.Sequential(nn.Linear(4, 3), two.module(channels=3, channel_dim=1), mish.module())
    x = torch.randn(5, 4)
    batch = torch.export.Dim("batch")
    program = torch.export.export(model, (x,), strict=strict, dynamic_shapes=({0: batch},))
    called = [n.target for n in program.graph.nodes if n.op == "call_function"]
    assert all(isinstance(t, torch._ops.OpOverload) and t.namespace == "aten" for t in called)
    close(program.module()(x), model(x))
    longer = torch.randn(9, 4)
    close(program.module()(longer), model(longer))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("activation", [mish, gelu, two], ids=identify)
def test_onnx_export(activation):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    from onnx.reference import ReferenceEvaluator

    module, x = activation.module().eval(), X.clone()
    program = torch.onnx.export(module, (x,), dynamo=True, verbose=False)
    model = program.model_proto
    onnx.checker.check_model(model)
    (y,) = ReferenceEvaluator(model).run(None, {model.graph.input[0].name: x.numpy()})
    close(torch.from_numpy(y), module(x).detach(), rtol=1e-5, atol=1e-6)


def test_make_fx_gives_a_right_graph():
    for mode in ("real", "fake", "symbolic"):
        graph = make_fx(lambda t: torch.autograd.grad(mish(t).sum(), t)[0], tracing_mode=mode)(inputs(torch.float32))
        other = torch.tensor([-5.0, 0.0, 1.0, 2.0, 30.0, -0.5], requires_grad=True)
        (expected,) = torch.autograd.grad(mish(other).sum(), other)
        close(graph(other), expected)


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:DeprecationWarning", "ignore:.*TracerWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_jit_trace_gives_a_right_graph():
    traced = torch.jit.trace(mish.module(), X.clone())
    other = torch.randn(3, 5)
    close(traced(other), mish(other))
