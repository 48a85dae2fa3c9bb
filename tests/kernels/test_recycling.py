"""Memory of large results: handed on once it is free, never before, and up to a limit."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from doors import NEEDED, copy_of, warm

from actium.authoring import formula
from actium.gated import glu
from actium.kernels import front

pytestmark = [NEEDED, pytest.mark.usefixtures("door")]
MIB = 1 << 20
LARGE = 3 * MIB // 4 + 5  # elements: 3 MiB and a bit, which is no multiple of anything
SILU = formula("x * sigmoid(x)")


def kept() -> int:
    found = front.memory()
    assert found is not None
    return found[0]


def drain() -> torch.Tensor:
    """Leave nothing idle: a block as large as the limit pushes all else out, and is taken again."""
    limit = front.memory()[1]
    block = front.fresh_like(torch.empty(limit // 4))
    del block
    block = front.fresh_like(torch.empty(limit // 4))
    assert kept() == 0
    return block


@pytest.fixture(autouse=True)
def empty():
    gc.collect()
    held = drain()
    yield
    del held


def test_the_memory_of_a_freed_result_is_the_next_ones():
    activation, x = warm(copy_of(SILU)), torch.randn(LARGE)
    y = activation(x)
    place, right = y.data_ptr(), y.clone()
    del y
    assert LARGE * 4 <= kept() <= LARGE * 4 + 4096
    again = activation(x)
    assert again.data_ptr() == place
    assert torch.equal(again, right)
    assert kept() == 0


def test_two_results_that_live_share_nothing():
    activation, x = warm(copy_of(SILU)), torch.randn(LARGE)
    first, second = activation(x), activation(-x)
    right = first.clone()
    assert first.data_ptr() != second.data_ptr()
    second.fill_(7)
    assert torch.equal(first, right)


@pytest.mark.parametrize(
    "hold", [torch.Tensor.numpy, torch.Tensor.detach, lambda y: y[5:], torch.Tensor.untyped_storage]
)
def test_whoever_holds_the_memory_keeps_it(hold):
    activation, x = warm(copy_of(SILU)), torch.randn(LARGE)
    y = activation(x)
    held = hold(y)
    place = y.data_ptr()
    del y
    assert kept() == 0
    assert activation(x).data_ptr() != place
    del held


def test_gradients_are_recycled_and_right():
    activation, x = warm(copy_of(SILU)), torch.randn(LARGE, requires_grad=True)
    wide = x.detach().double().requires_grad_()
    (right,) = torch.autograd.grad(SILU(wide).sum(), wide)
    grad = torch.ones(LARGE)
    places = set()
    for _ in range(4):
        (gradient,) = torch.autograd.grad(activation(x), x, grad)
        places.add(gradient.data_ptr())
        torch.testing.assert_close(gradient.double(), right, rtol=1e-5, atol=1e-6)
        del gradient
    assert len(places) <= 2


def test_a_tensor_of_another_size_gets_its_own():
    activation = warm(copy_of(SILU))
    y = activation(torch.randn(LARGE))
    del y
    before = kept()
    small, large = activation(torch.randn(LARGE // 2)), activation(torch.randn(LARGE * 2))
    assert kept() == before
    assert small.untyped_storage().nbytes() == LARGE // 2 * 4
    assert large.untyped_storage().nbytes() == LARGE * 2 * 4


def test_small_results_are_left_to_the_heap():
    y = warm(copy_of(SILU))(torch.randn(MIB // 4 - 1))
    del y
    assert kept() == 0


def test_no_more_than_the_limit_is_kept():
    activation, x = warm(copy_of(SILU)), torch.randn(8 * MIB)  # 32 MiB each
    results = [activation(x) for _ in range(6)]
    del results
    assert kept() == front.memory()[1] == 128 * MIB
    del activation


def test_resizing_and_sharing_do_what_they_do_with_any_tensor():
    y = warm(copy_of(SILU))(torch.randn(LARGE))
    right = y.clone()
    y.resize_(2 * LARGE)
    assert torch.equal(y[:LARGE], right)
    y.resize_(0)
    y.untyped_storage().resize_(0)
    z = warm(copy_of(SILU))(torch.randn(LARGE)).share_memory_()
    assert z.is_shared()
    assert not right.is_shared()


def test_strides_and_dtypes_are_those_of_the_input():
    activation = warm(copy_of(SILU), torch.bfloat16)
    x = torch.randn(4, 64, 64, 65).to(memory_format=torch.channels_last)
    assert activation(x).stride() == x.stride()
    half = torch.randn(2 * MIB, dtype=torch.bfloat16)
    y = activation(half)
    assert (y.dtype, y.shape, y.device) == (half.dtype, half.shape, half.device)


@pytest.mark.parametrize("size", [LARGE, 4 * MIB])
def test_the_other_kernels_recycle_too(size):
    leaky = formula("where(x > 0, x, a * x)", a=0.1)
    gated = glu(SILU)
    x = torch.randn(4, size // 4)
    slopes = torch.full((4,), 0.1)
    for make in (lambda: leaky(x, a=slopes, channel_dim=0), lambda: gated(torch.cat((x, x), 1), dim=1)):
        result = make()
        place, right = result.data_ptr(), result.clone()
        del result
        result = make()
        assert result.data_ptr() == place
        assert torch.equal(result, right)


def offered() -> int:
    """Bytes whose pages the system may take (MADV_FREE)."""
    lines = Path("/proc/self/smaps_rollup").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("LazyFree:"))


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="reads what Linux says of its pages")
def test_what_has_been_idle_for_a_second_is_offered_to_the_system():
    size = 4 * MIB  # elements
    block = front.fresh_like(torch.empty(size)).fill_(1.0)
    before = offered()
    del block
    gc.collect()
    assert offered() < before + MIB
    time.sleep(1.2)
    other = front.fresh_like(torch.empty(MIB))  # of another size: the first stays idle
    assert offered() >= before + 3 * size
    again = front.fresh_like(torch.empty(size)).fill_(2.0)
    assert kept() == 0
    assert offered() < before + MIB
    assert torch.equal(again, torch.full((size,), 2.0))
    del other


def test_the_profiler_sees_the_memory():
    activation, x = warm(copy_of(SILU)), torch.randn(LARGE)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        y = activation(x)
        del y
    sizes = [e.cpu_memory_usage for e in profile.events() if e.name == "[memory]"]
    assert any(s >= LARGE * 4 for s in sizes)
    assert any(s <= -LARGE * 4 for s in sizes)


def in_process(body: str, **environment: str) -> str:
    """Run lines in an interpreter of their own, with the compiled front door."""
    head = """
        import torch
        from actium.authoring import formula
        from actium.kernels import front
        torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
        activation, x = formula("x * sigmoid(x)"), torch.randn(1 << 20)
        activation(x[:3])
        y = activation(x)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(body)],
        env={**os.environ, "ACTIUM_FRONT": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("text", "limit"), [("0", 0), ("3", 3), ("-1", 128)])
def test_the_limit_is_read_from_the_environment(text, limit):
    line = "del y; kept, limit = front.memory(); print(kept >> 20, limit >> 20)"
    assert in_process(line, ACTIUM_KEEP_MIB=text).split() == [str(4 if limit >= 4 else 0), str(limit)]


def test_a_forked_child_has_its_own():
    body = """
        import os
        right = y.clone()
        del y
        child = os.fork()
        z = activation(x if child else -x)
        if child == 0:
            z.fill_(3.0)
            os._exit(0)
        os.waitpid(child, 0)
        print(torch.equal(z, right))
    """
    assert in_process(body).strip() == "True"
