"""Tasks that are shared out among threads are each done once, by whoever has time."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
import torch

from actium.authoring import formula
from actium.kernels import cpu, toolchain

pytestmark = pytest.mark.skipif(not toolchain.kernels_enabled(), reason="needs a C compiler")

SOURCE = f"""
#include "block.h"
static void done(int *counts, int *by, int64_t from, int64_t to, int thread) {{
  for (int64_t k = from; k < to; k++) {{
    __atomic_fetch_add(&counts[k], 1, __ATOMIC_RELAXED);
    by[k] = thread;
  }}
}}
void parallel(int *counts, int *by, int64_t tasks, int64_t size, int threads) {{
  {cpu.share_out("tasks", "done(counts, by, piece.from, piece.to, t);", "size")}
}}
/* As if `first` ran before any other thread came to its share. */
void one_after_another(int *counts, int *by, int64_t tasks, int64_t size, int threads, int first) {{
  act_share shares[threads];
  act_share_out(shares, tasks, threads);
  for (int k = 0; k < threads; k++) {{
    act_piece piece = {{.thread = (first + k) % threads}};
    while (act_take(shares, threads, size, &piece)) done(counts, by, piece.from, piece.to, piece.thread);
  }}
}}
"""


@pytest.fixture(scope="module")
def library():
    return toolchain.load(SOURCE, cpu.headers())


def run(function, tasks: int, *numbers: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each task was done, and by whom."""
    counts, by = np.zeros(tasks, dtype=np.int32), np.full(tasks, -1, dtype=np.int32)
    addresses = (ctypes.c_void_p(a.ctypes.data) for a in (counts, by))
    size, *rest = numbers
    function(*addresses, ctypes.c_int64(tasks), ctypes.c_int64(size), *map(ctypes.c_int, rest))
    return counts, by


@pytest.mark.parametrize("threads", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("size", [1, 5, 16])
@pytest.mark.parametrize("tasks", [0, 1, 2, 15, 16, 17, 1000])
def test_every_task_is_done_once(library, tasks, size, threads):
    assert (run(library.parallel, tasks, size, threads)[0] == 1).all()
    assert (run(library.one_after_another, tasks, size, threads, threads // 2)[0] == 1).all()


def test_who_is_done_helps_the_next_few_only(library):
    _, by = run(library.one_after_another, 1000, 4, 20, 15)
    helped = sorted(set(np.flatnonzero(by == 15) // 50))
    assert helped == [0, 1, 2, 3, *range(15, 20)]


@pytest.mark.parametrize("shape", [(40_000,), (3, 7, 5000), (50, 4, 9), (64, 256, 2), (900, 50)])
def test_results_and_sums_do_not_depend_on_the_number_of_threads(shape, threads):
    leaky = formula("where(x > 0, x, a * x)", a=0.25)
    x = torch.randn(shape, requires_grad=True)
    a = torch.full((shape[1] if len(shape) > 1 else 1,), 0.25, requires_grad=True)
    found = []
    for count in (1, 2, 5):
        threads(count)
        y = leaky(x, a=a, channel_dim=1 if len(shape) > 1 else None)
        found.append((y, *torch.autograd.grad(y, (x, a), y.detach())))
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))
