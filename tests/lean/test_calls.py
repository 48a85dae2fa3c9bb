"""Calls with a memory mode: what is kept, in place, twice differentiated, transformed, copied, without a compiler."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch.utils.checkpoint import checkpoint

import actium
import actium.nn
from actium.errors import DtypeError, InplaceError, MemoryModeError
from actium.kernels import toolchain
from actium.lean import apply
from samples import assert_same_bits, gradients, sample

CASES = [("relu", "bits"), ("leaky_relu", "bits"), ("gelu", "uint8"), ("silu", "uint8"), ("silu", "output")]
# Of torch's own forward AD, when it is first used.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
BY_CASE = pytest.mark.parametrize(("name", "memory"), CASES)
HALF = torch.bfloat16


def kept_bytes(call, *skip):
    """Bytes that autograd keeps for a call: each storage once, without those of the given tensors."""
    kept = {}

    def note(t):
        kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        y = call()
    for t in (y, *skip):
        kept.pop(t.untyped_storage().data_ptr(), None)
    return sum(kept.values())


@pytest.mark.parametrize("dtype", [torch.float32, HALF])
@pytest.mark.parametrize("numel", [800, 801])
def test_the_announced_bytes_are_those_that_autograd_keeps(numel, dtype):
    for name in ("relu", "silu"):
        activation = getattr(actium, name)
        for mode in activation.memory_modes(dtype):
            x = sample(numel, dtype=dtype).requires_grad_()
            kept = kept_bytes(lambda: activation(x, memory=mode.name))  # noqa: B023
            assert kept == -(-numel * mode.bytes_per_element // 1), (name, mode)


def test_a_nan_costs_a_second_bit_and_only_where_there_is_one():
    x = sample(801)
    x[700] = float("nan")
    x.requires_grad_()
    assert kept_bytes(lambda: actium.relu(x, memory="bits")) == 2 * 101
    (grad,) = torch.autograd.grad(actium.relu(x, memory="bits").sum(), x)
    assert grad.isnan().nonzero().tolist() == [[700]]


@BY_CASE
def test_every_layout_has_the_same_gradient(name, memory):
    activation = getattr(actium, name)
    x = sample(2, 3, 5, 7, dtype=HALF)
    grad = sample(2, 3, 5, 7, dtype=HALF, seed=1)
    expected = gradients(activation, x, grad, memory=memory)
    for change in (
        lambda t: t.to(memory_format=torch.channels_last),
        lambda t: t.transpose(1, 3).contiguous().transpose(1, 3),
        lambda t: torch.stack([t, t], -1)[..., 0],
    ):
        for other in (grad, change(grad)):
            got = gradients(activation, change(x), other, memory=memory)
            assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
    for shape in ((), (0, 3)):
        y, g = gradients(activation, sample(*shape, dtype=HALF), sample(*shape, dtype=HALF), memory=memory)
        assert y.shape == g.shape == shape


@BY_CASE
def test_neither_threads_nor_size_change_a_bit(name, memory, threads):
    activation = getattr(actium, name)
    x, grad = sample(100_003, dtype=HALF), sample(100_003, dtype=HALF, seed=1)
    results = []
    for count in (1, 2):
        threads(count)
        results.append(gradients(activation, x, grad, memory=memory))
    part = gradients(activation, x[:1000], grad[:1000], memory=memory)
    for a, b, c in zip(*results, part, strict=True):
        assert_same_bits(a, b)
        assert_same_bits(a[:1000], c)


@BY_CASE
@pytest.mark.parametrize("dtype", [HALF, torch.float64])
def test_in_place_training_works_for_any_function(name, memory, dtype):
    if memory == "output" and dtype is torch.float64:
        pytest.skip("only for halves")
    activation = getattr(actium, name)
    x, grad = sample(3, 50, dtype=dtype), sample(3, 50, dtype=dtype, seed=1)
    expected = gradients(activation, x, grad, memory=memory)
    leaf = x.clone().requires_grad_()
    hidden = leaf.clone()
    version, place = hidden._version, hidden.data_ptr()
    y = activation(hidden, inplace=True, memory=memory)
    assert y is hidden
    assert (y.data_ptr(), y._version > version) == (place, True)
    assert_same_bits(y, expected[0])
    assert_same_bits(torch.autograd.grad(y, leaf, grad)[0], expected[1])
    with pytest.raises(InplaceError, match="leaf"):
        activation(leaf, inplace=True, memory=memory)
    strided = torch.stack([leaf, leaf], -1)[..., 0]
    # Equal, but for the sign of zeros, which autograd adds to zeros.
    assert torch.equal(
        torch.autograd.grad(activation(strided, inplace=True, memory=memory), leaf, grad)[0], expected[1]
    )


def test_in_place_honours_the_version_counter():
    x = sample(100).requires_grad_()
    hidden = x.exp()  # keeps its result
    actium.gelu(hidden, inplace=True, memory="uint8")
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        hidden.sum().backward()
    with pytest.raises(InplaceError, match="the backward pass needs the input"):
        actium.gelu(x * 1, inplace=True)


@BY_CASE
def test_modules_keep_their_mode_when_copied_and_are_in_place_where_they_may(name, memory):
    module = getattr(actium.nn, {"relu": "ReLU", "leaky_relu": "LeakyReLU", "gelu": "GELU", "silu": "SiLU"}[name])
    layer = module(memory=memory, inplace=True)
    assert f"memory='{memory}'" in repr(layer)
    assert ("slope within" in repr(layer)) == (memory != "bits")
    for other in (layer, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert (other.memory, repr(other)) == (memory, repr(layer))
        x = sample(4, 4, dtype=HALF).requires_grad_()
        hidden = x * 1
        assert other(hidden) is hidden
        assert other(x) is not x
        hidden.sum().backward()
        assert_same_bits(x.grad, gradients(getattr(actium, name), x, torch.ones_like(x), memory=memory)[1])


def test_a_second_derivative_is_exact_with_bits_and_refused_where_x_is_needed():
    x, w = sample(50).requires_grad_(), sample(50, seed=1).requires_grad_()
    results = []
    for memory in ("exact", "bits"):
        (first,) = torch.autograd.grad((actium.leaky_relu(x, memory=memory) * w**2).sum(), x, create_graph=True)
        results.append(torch.autograd.grad((first**2).sum(), w)[0])
    assert_same_bits(*results)
    with pytest.raises(MemoryModeError, match="second derivatives, which need the input"):
        torch.autograd.grad(actium.gelu(x, memory="uint8").sum(), x, create_graph=True)


def test_transforms_take_the_exact_way():
    x = sample(20)
    exact = torch.func.grad(lambda t: actium.gelu(t).sum())(x)
    assert_same_bits(torch.func.grad(lambda t: actium.gelu(t, memory="uint8").sum())(x), exact)
    second = torch.func.hessian(lambda t: actium.gelu(t, memory="uint8").sum())(x[:3])
    torch.testing.assert_close(second, torch.func.hessian(lambda t: actium.gelu(t).sum())(x[:3]))
    tangent = torch.func.jvp(lambda t: actium.gelu(t, memory="uint8"), (x,), (torch.ones_like(x),))[1]
    torch.testing.assert_close(tangent, exact)
    assert torch.equal(torch.vmap(lambda t: actium.relu(t, memory="bits"))(x), actium.relu(x))
    layer = actium.nn.GELU(memory="uint8", inplace=True)
    torch.testing.assert_close(torch.func.grad(lambda t: layer(t * 1).sum())(x), exact)


def test_batched_gradients_and_checkpoints_and_hooks():
    x = sample(30, dtype=HALF).requires_grad_()
    batch = torch.stack([sample(30, dtype=HALF, seed=k) for k in range(3)])
    for name, memory in CASES:
        activation = getattr(actium, name)
        y = activation(x, memory=memory)
        (got,) = torch.autograd.grad(y, x, batch, is_grads_batched=True)
        for grad, row in zip(batch, got, strict=True):
            assert_same_bits(row, gradients(activation, x, grad, memory=memory)[1])
        z = checkpoint(lambda t: activation(t, memory=memory), x, use_reentrant=False)  # noqa: B023
        assert_same_bits(torch.autograd.grad(z, x, batch[0])[0], got[0])
        with torch.autograd.graph.save_on_cpu():
            z = activation(x, memory=memory)
        assert_same_bits(torch.autograd.grad(z, x, batch[0])[0], got[0])


@BY_CASE
def test_torch_operations_give_the_same_without_a_compiler(name, memory, monkeypatch):
    activation = getattr(actium, name)
    x, grad = sample(3, 5, 7, dtype=HALF).transpose(0, 2), sample(7, 5, 3, dtype=HALF, seed=1)
    x[0, 0, 0] = float("nan")
    expected = gradients(activation, x, grad, memory=memory)
    monkeypatch.setattr(toolchain, "kernels_enabled", lambda: False)
    monkeypatch.setattr(toolchain, "warn_once_unavailable", lambda: None)
    got = gradients(lambda t: apply(activation.op, t, activation.values(), memory=memory), x, grad)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, equal_nan=True)


def test_parameters_that_learn_need_the_input_and_frozen_ones_do_not():
    x = sample(4, 3, 5).requires_grad_()
    layer = actium.nn.PReLU(3, memory="bits")
    with pytest.raises(MemoryModeError, match="'weight' needs"):
        layer(x)
    layer.requires_grad_(False)
    torch.nn.init.uniform_(layer.weight, 0.1, 0.9)
    exact = torch.autograd.grad(actium.prelu(x, layer.weight).sum(), x)[0]
    y = layer(x)
    assert_same_bits(torch.autograd.grad(y.sum(), x)[0], exact)
    with pytest.raises(MemoryModeError, match="one number for each parameter"):
        actium.prelu(x, layer.weight, memory="uint8")
    signs = torch.autograd.grad(actium.brelu(x, memory="bits").sum(), x)[0]
    assert_same_bits(signs, torch.autograd.grad(actium.brelu(x).sum(), x)[0])


def test_a_frozen_parameter_counts_as_it_was_in_the_forward_pass():
    x, slope = sample(100).requires_grad_(), torch.tensor([0.25])
    y = actium.leaky_relu(x, slope, memory="bits")
    slope.fill_(7.0)
    assert_same_bits(
        torch.autograd.grad(y.sum(), x)[0], gradients(actium.leaky_relu, x, torch.ones(100), negative_slope=0.25)[1]
    )


@BY_CASE
def test_hooks_must_give_back_what_was_kept(name, memory):
    x = sample(4, 100, dtype=HALF).requires_grad_()
    lossy = torch.autograd.graph.saved_tensors_hooks(lambda t: t.float(), lambda t: t)
    with lossy:
        y = getattr(actium, name)(x, memory=memory)
    with pytest.raises(DtypeError, match="came back"):
        y.sum().backward()
