"""From tensors to addresses: what counts as dense, how many threads, what a parameter becomes."""

from __future__ import annotations

import pytest
import torch

from actium.authoring import formula
from actium.kernels import dispatch, toolchain
from actium.kernels.dispatch import as_operand, dense, safe_name, threads_for


@pytest.mark.parametrize(
    ("x", "is_dense"),
    [
        (torch.zeros(4, 5), True),
        (torch.zeros(4, 5).T, True),
        (torch.zeros(2, 3, 4, 5).contiguous(memory_format=torch.channels_last), True),
        (torch.zeros(3, 4, 5).permute(2, 0, 1), True),
        (torch.zeros(()), True),
        (torch.zeros(0, 3).T, True),
        (torch.zeros(8).as_strided((1, 8, 1), (3, 1, 99)), True),
        (torch.zeros(4, 6)[:, ::2], False),
        (torch.zeros(4, 6)[:, :5], False),
        (torch.zeros(1).expand(5), False),
        (torch.zeros(9).as_strided((4, 4), (1, 1)), False),
    ],
)
def test_dense(x, is_dense):
    assert (dense(x) is x) is is_dense
    assert torch.equal(dense(x), x)


def test_threads_depend_on_the_amount_of_work(threads):
    threads(2)
    assert threads_for(0) == threads_for(dispatch.SERIAL - 1) == 1
    assert threads_for(1 << 24) == 2
    threads(1)
    assert threads_for(1 << 24) == 1
    threads(64)
    assert 1 < threads_for(dispatch.SERIAL) <= 4


@pytest.mark.parametrize(
    ("name", "safe"), [("silu", "silu"), ("a b", "a_b"), ("2x", "f_2x"), ("", "f_"), ("x;y", "x_y")]
)
def test_safe_names(name, safe):
    assert safe_name(name) == safe
    assert safe_name(name).isidentifier()


def test_parameters_broadcast_along_their_channel():
    like = torch.zeros(2, 3, 4, dtype=torch.float64)
    assert as_operand(0.5, like, None).shape == ()
    assert as_operand(torch.ones(1), like, None).shape == ()
    assert as_operand(torch.ones(3), like, 1).shape == (1, 3, 1)
    assert as_operand(torch.ones(4), like, -1).shape == (1, 1, 4)
    assert all(as_operand(p, like, 1).dtype is torch.float64 for p in (0.5, torch.ones(1), torch.ones(3).half()))


def test_kernels_are_built_on_first_use_only(monkeypatch):
    loads, load = [], toolchain.load
    monkeypatch.setattr(toolchain, "load", lambda *a, **k: loads.append(a) or load(*a, **k))
    once = formula("x * tanh(x) / (c + x * x)", name="once", c=3.5)
    assert loads == []
    x = torch.randn(100, requires_grad=True)
    once(x).sum().backward()
    assert len(loads) == 1
    for c in (0.5, 7.0):
        once(x, c=c).sum().backward()
        with torch.no_grad():
            once(x, c=c)
    assert len(loads) == 1
    once(x.detach().half())
    assert len(loads) == 2
    once(x, c=torch.ones(1, requires_grad=True)).sum().backward()
    assert len(loads) == 3
    once(torch.ones(2, 9), c=torch.rand(9), channel_dim=1)
    once(torch.ones(9, 2), c=torch.rand(9), channel_dim=0)
    assert len(loads) == 3


def test_float64_needs_no_compiler(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("built a kernel")

    monkeypatch.setattr(toolchain, "load", refuse)
    wide = formula("x * atan(x)", name="wide")
    x = torch.randn(10, dtype=torch.float64, requires_grad=True)
    wide(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.atan(x) + x / (1 + x * x))


def test_disabled_kernels_are_never_built(monkeypatch):
    monkeypatch.setenv("ACTIUM_DISABLE_KERNELS", "1")
    monkeypatch.setattr(toolchain, "load", lambda *a, **k: pytest.fail("built a kernel"))
    disabled = formula("x * cos(x)", name="disabled")
    x = torch.randn(10, requires_grad=True)
    disabled(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.cos(x) - x * torch.sin(x))
