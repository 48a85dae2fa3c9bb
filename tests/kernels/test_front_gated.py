"""The compiled front door of gated units: two tensors or halves of one, the same bits and gradients as without it."""

from __future__ import annotations

import functools

import pytest
import torch
from doors import NEEDED, assert_freed_when_nobody_holds_it, copy_of

import actium
from actium.errors import ShapeError
from actium.gated import GatedActivation
from actium.kernels import front
from samples import all_halves, assert_same_bits, sample, silu, swish

pytestmark = NEEDED
KERNEL_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# Short rows, rows longer than a block, enough elements for two threads, a dimension in the middle.
SHAPES = ((1, 6), (3, 2048), (300, 260), (3, 4, 10))


@pytest.fixture
def compiled(door):
    """A unit of silu that has opened its doors."""
    return opened(silu)


def opened(activation) -> GatedActivation:
    unit = GatedActivation(copy_of(activation))
    for dtype in KERNEL_DTYPES:
        x = torch.zeros(2, 4, dtype=dtype)
        unit(x)
        unit(x, x)
    assert {kind for kind, _ in unit._doors} == {"two", "halves"}
    return unit


def closed(activation, monkeypatch) -> GatedActivation:
    unit = GatedActivation(copy_of(activation))
    monkeypatch.setattr(unit, "_remember", lambda *about: None)
    return unit


def run(call, *inputs, grad=None):
    """The value, and the gradients of all inputs."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    y = call(*leaves)
    return y, *torch.autograd.grad(y, leaves, torch.ones_like(y) if grad is None else grad)


def assert_same(found, expected):
    assert type(found[0].grad_fn).__name__ == "CppFunction"
    for one, other in zip(found, expected, strict=True):
        assert one.stride() == other.stride()
        assert_same_bits(one.detach(), other.detach())


@pytest.mark.parametrize("dtype", KERNEL_DTYPES, ids=str)
@pytest.mark.parametrize("activation", [silu, swish], ids=["silu", "swish"])
def test_halves_along_every_dimension_have_the_bits_of_the_python_path(door, activation, dtype, monkeypatch):
    plain, unit = closed(activation, monkeypatch), opened(activation)
    for shape in SHAPES:
        x = sample(*shape, dtype=dtype)
        for dim in (d for d in (-1, *range(len(shape))) if shape[d] % 2 == 0):
            grad = sample(*x.chunk(2, dim)[0].shape, dtype=dtype, seed=1)
            for gate in ("first", "second"):
                calls = [functools.partial(u, dim=dim, gate=gate) for u in (unit, plain)]
                assert_same(*(run(call, x, grad=grad) for call in calls))


@pytest.mark.parametrize("dtype", KERNEL_DTYPES, ids=str)
def test_two_tensors_have_the_bits_of_the_python_path(compiled, dtype, monkeypatch):
    plain = closed(silu, monkeypatch)
    for shape in (*SHAPES, (), (0, 3)):
        gate, up, grad = (sample(*shape, dtype=dtype, seed=seed) for seed in range(3))
        assert_same(run(compiled, gate, up, grad=grad), run(plain, gate, up, grad=grad))


def test_every_half_as_a_gate(compiled, monkeypatch):
    plain = closed(silu, monkeypatch)
    for dtype in (torch.float16, torch.bfloat16):
        gate = all_halves(dtype)
        assert_same(run(compiled, gate, gate.flip(0)), run(plain, gate, gate.flip(0)))


def test_only_the_gradient_that_is_wanted_is_computed(compiled):
    gate, up = sample(5, 7), sample(5, 7, seed=1)
    both = run(compiled, gate, up)
    for k in (0, 1):
        leaves = [gate.clone().requires_grad_(k == 0), up.clone().requires_grad_(k == 1)]
        assert_same_bits(torch.autograd.grad(compiled(*leaves).sum(), leaves[k])[0], both[1 + k])
    leaves = [gate.clone().requires_grad_(), up.clone().requires_grad_()]
    assert_same_bits(torch.autograd.grad(compiled(*leaves), leaves[1], torch.ones(5, 7))[0], both[2])
    same = gate.clone().requires_grad_()
    torch.testing.assert_close(torch.autograd.grad(compiled(same, same).sum(), same)[0], run(compiled, gate, gate)[1]
                               + run(compiled, gate, gate)[2])  # fmt: skip


def test_what_is_not_plain_goes_the_general_way(compiled):
    x = sample(4, 6)
    door, whole = compiled._doors["two", ()], compiled._doors["halves", ()]
    strange = {
        "transposed": x.t(),
        "float64": x.double(),
        "meta": x.to("meta"),
        "subclass": x.as_subclass(type("Sub", (torch.Tensor,), {})),
        "no tensor": 3.0,
    }
    for name, t in strange.items():
        assert door(t, t) is None, name
        assert whole(t, 1, True) is None, name
    for other in (sample(4, 5), sample(6, 4), x.bfloat16(), x.t()):
        assert door(x, other) is None
    for dim in (2, -3, 1 << 80, 1.0, True):
        assert whole(x, dim, True) is None
    assert whole(sample(3, 5), 1, True) is None
    assert whole(torch.zeros(0, 4), 1, True) is None
    with pytest.raises(TypeError, match="takes 2 arguments"):
        door(x)
    with pytest.raises(ShapeError, match="odd"):
        compiled(sample(4, 5))
    with pytest.raises(ShapeError, match="one shape"):
        compiled(x, sample(4, 5))
    torch.testing.assert_close(compiled(x.t(), x.t()), compiled(x, x).t())
    rows = torch.func.vmap(lambda t: compiled(t, t))(x)
    torch.testing.assert_close(rows, compiled(x, x))


def test_second_derivatives_and_batched_and_expanded_gradients(compiled):
    x = sample(3, 8).requires_grad_()
    for call in (lambda t: compiled(t, gate="first"), lambda t: compiled(t, t)):
        y = call(x)
        expanded = torch.autograd.grad(y.sum(), x, retain_graph=True)[0]
        assert_same_bits(expanded, torch.autograd.grad(y, x, torch.ones_like(y), retain_graph=True)[0])
        (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        assert first.grad_fn is not None
        exact = x.detach().double().requires_grad_()
        (wide,) = torch.autograd.grad(call(exact).sum(), exact, create_graph=True)
        seconds = [torch.autograd.grad(g.sum(), t)[0].double() for g, t in ((first, x), (wide, exact))]
        torch.testing.assert_close(*seconds, rtol=1e-4, atol=1e-5)
        y = call(x)
        rows = torch.eye(y.numel()).reshape(-1, *y.shape)
        (batched,) = torch.autograd.grad(y, x, rows, is_grads_batched=True)
        torch.testing.assert_close(batched.sum(0), expanded)


def test_autograd_sees_an_ordinary_node_that_keeps_the_inputs(compiled):
    x = sample(4, 6).requires_grad_()
    packed = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: packed.append(tuple(t.shape)) or t, lambda t: t):
        compiled(x)
        compiled(x, x)
    assert packed == [(4, 6)] * 3
    y = compiled(x)
    y.sum().backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.sum().backward()
    changed = x.detach().clone().requires_grad_().clone()
    y = compiled(changed, x)
    changed.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    with torch.no_grad():
        assert compiled(x).grad_fn is None


def test_each_value_of_a_parameter_has_a_door_and_minus_zero_none(door):
    unit = opened(swish)
    x = sample(3, 6)
    for _ in range(2):
        torch.testing.assert_close(unit(x, x, beta=2.0), x * x * torch.sigmoid(2 * x))
    assert unit._doors.keys() >= {("two", (1.0,)), ("two", (2.0,))}
    unit(x, x, beta=-0.0)
    assert all(0.0 not in numbers for _, numbers in unit._doors)
    beta = torch.tensor(1.0, requires_grad=True)
    assert torch.autograd.grad(unit(x, x, beta=beta).sum(), beta)[0].item() != 0


def test_a_unit_that_nobody_holds_is_freed(door):
    assert_freed_when_nobody_holds_it(lambda: opened(silu), sample(3, 6).requires_grad_())


def test_a_door_is_opened_once_for_each_format(compiled, monkeypatch):
    added = []
    monkeypatch.setattr(front, "add", lambda *about: added.append(about))
    x = sample(4, 6)
    for _ in range(2):
        compiled(x.t())  # the general way
        compiled(x.t(), x.t())
    assert added == []


def test_modules_use_it_and_are_compiled_without_it(door, fresh_dynamo):
    module, x = actium.nn.SwiGLU(gate="first"), sample(3, 8)
    for _ in range(2):
        y = module(x)
    gate, up = x.chunk(2, -1)
    torch.testing.assert_close(y, torch.nn.functional.silu(gate) * up)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), y)
