"""The floor: how fast this machine copies memory.

Stage: tensor → [copy] → timing. In: a tensor. Out: calls that copy it, each into a fresh tensor, as an activation
writes into one. An elementwise function has to read and write its tensors as well, and a copy does nothing else.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from actium.errors import KernelError
from actium.kernels import toolchain
from actium.kernels.dispatch import threads_for

# What each copy is, by its name.
COPIES = {
    "C copy": "memcpy on all threads into a fresh tensor, on huge pages from 4 MiB on",
    "clone": "torch.Tensor.clone",
}
# Tensors that cross the memory bus where they do not fit the cache: forward reads x and writes y; backward reads x and
# the output's gradient and writes the input's.
TENSORS = {"forward": 2, "backward": 3, "both": 5}

_SOURCE = """
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

void copy_bytes(const char *from, char *to, int64_t bytes, int threads) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  /* A fresh 64 MiB output costs 16,384 page faults with pages of 4 KiB, and 32 with huge ones. */
  if (bytes >= (int64_t)4 << 20) {
    const uintptr_t page = 4096, first = ((uintptr_t)to + page - 1) & ~(page - 1);
    madvise((void *)first, (((uintptr_t)to + (size_t)bytes) & ~(page - 1)) - first, MADV_HUGEPAGE);
  }
#endif
  if (threads <= 1) {
    memcpy(to, from, (size_t)bytes);
    return;
  }
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int t = 0; t < threads; t++) {
    const int64_t begin = bytes * t / threads, end = bytes * (t + 1) / threads;
    memcpy(to + begin, from + begin, (size_t)(end - begin));
  }
}
"""


def copies(x: Tensor) -> Mapping[str, Callable[[], Tensor]]:
    """Ways to copy a contiguous tensor into a fresh one; the fastest of them is the machine's copy.

    Args:
        x: On any device. In C where it is on a CPU that has a compiler, else by torch alone.

    Returns:
        Name → call; the names are keys of `COPIES`.

    Example:
        >>> x = torch.arange(5.0)
        >>> [torch.equal(call(), x) for call in copies(x).values()]
        [True, True]
    """
    x = x.detach()
    found = {"clone": x.clone}
    if x.is_cpu and toolchain.kernels_enabled():
        try:
            found = {"C copy": _in_c(x), **found}
        except KernelError:
            pass  # torch's copy is then the measure, and the result says so
    return found


def _in_c(x: Tensor) -> Callable[[], Tensor]:
    run = toolchain.load(_SOURCE).copy_bytes
    run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int]
    run.restype = None
    size, count, address = x.numel() * x.element_size(), x.numel(), x.data_ptr()

    def call() -> Tensor:
        y = torch.empty_like(x)
        run(address, y.data_ptr(), size, threads_for(count))
        return y

    return call


def bytes_moved(x: Tensor, which: str) -> int:
    """The bytes that an elementwise function of x has to read and write.

    Example:
        >>> bytes_moved(torch.zeros(10), "both")
        200
    """
    return TENSORS[which] * x.numel() * x.element_size()
