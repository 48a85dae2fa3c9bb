"""From one tensor to the addresses of its halves: runs a formula of two inputs on them without copying either.

Stage: kernel → [halves] → gated units. In: a plain dense tensor, checked, whose size along a dimension is even. Out:
tensors. No autograd here. The output has the memory order of the input; the gradient is one tensor, written in one
pass. What has no kernel (other dtypes, other devices, a parameter per channel) runs as the two tensors that the halves
are.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from actium.kernels import dispatch, paired, toolchain
from actium.kernels.dispatch import C_DTYPES, FRESH_OUTPUT, ONE_GRADIENT
from actium.kernels.front import fresh_like
from actium.kernels.gpu import availability
from actium.kernels.loops import Kernel
from actium.kernels.plan import Plan

if TYPE_CHECKING:
    from actium.op import Op


class Kernels:
    """What a plan of two inputs compiles to, by dtype; each library is built when first needed."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._built: dict[tuple[str, bool], Any] = {}

    def source(self, dtype: str, learning: bool = False) -> str:
        """C text: forward and backward, or backward with the gradients of the parameters."""
        inputs, parameters, mode = self._plan.formula.inputs, self._plan.formula.parameters, self._plan.mode(dtype)
        names = (*inputs, *(parameters if learning else ()))
        gradient, slopes = self._plan.backward(names, mode)
        cheap = self._plan.midrange(names)
        kernels = [Kernel("backward", (*inputs, gradient), parameters, slopes[:2], slopes[2:], midrange=cheap)]
        if not learning:
            value, cheap = self._plan.value(mode), self._plan.midrange()
            kernels.insert(0, Kernel("forward", inputs, parameters, (value,), midrange=cheap))
        return paired.source(tuple(kernels), dtype)

    def library(self, dtype: torch.dtype, learning: bool = False) -> Any | None:
        """The compiled functions for a dtype; None where there are none, or Triton's are to run in their place."""
        if dtype not in C_DTYPES or availability.INTERPRETED:
            return None
        key = C_DTYPES[dtype], learning
        if key not in self._built:
            if not toolchain.kernels_enabled():
                toolchain.warn_once_unavailable()
                return None
            library = toolchain.load(self.source(*key), paired.headers())
            tail = [ctypes.c_int64] * 2 + [ctypes.c_void_p] * 3 + [ctypes.c_int] * 2
            library.backward.argtypes = [ctypes.c_void_p] * 5 + tail
            if not learning:
                library.forward.argtypes = [ctypes.c_void_p] * 3 + tail
            self._built[key] = library
        return self._built[key]


class Halves(NamedTuple):
    """A formula of two inputs, to be applied to the halves of one tensor.

    Attributes:
        op: The formula.
        kernels: What it compiles to.
        dim: The dimension that is halved, not negative.
        gate_first: Whether the first half is the formula's first input; else the second half is.
        channel_dim: The dimension of the output that parameters of shape (C,) belong to.
    """

    op: Op
    kernels: Kernels
    dim: int
    gate_first: bool
    channel_dim: int | None

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(gate, up): the halves of a tensor as views."""
        half = x.shape[self.dim] // 2
        first, second = x.narrow(self.dim, 0, half), x.narrow(self.dim, half, half)
        return (first, second) if self.gate_first else (second, first)

    def join(self, gate: Tensor, up: Tensor) -> Tensor:
        """The tensor whose halves these are."""
        return torch.cat((gate, up) if self.gate_first else (up, gate), self.dim)

    def forward(self, x: Tensor, parameters: tuple[Any, ...]) -> Tensor:
        """The value."""
        numbers = dispatch.as_numbers(parameters) if x.is_cpu else None  # would have another device waited for
        library = self.kernels.library(x.dtype) if numbers is not None else None
        if library is None or numbers is None or x.numel() == 0:
            y = dispatch.forward(self.op, self.split(x), parameters, self.channel_dim)
            like = self._empty_half(dispatch.dense(x))
            return y if y.stride() == like.stride() else like.copy_(y)
        x = dispatch.dense(x)
        y = self._empty_half(x)
        outer, inner = self._rows(x)
        steps = _steps(2 * inner, 2 * inner, inner)
        values, threads = dispatch.float_array(numbers), dispatch.threads_for(y.numel())
        addresses = *self._addresses(x, inner), y.data_ptr()
        dispatch.checked(library.forward(*addresses, outer, inner, steps, values, None, threads, FRESH_OUTPUT))
        return y

    def backward(
        self, x: Tensor, grad: Tensor, parameters: tuple[Any, ...], needed: tuple[bool, ...]
    ) -> list[Tensor | None]:
        """Gradients of x and of the parameters that need one; raises as `dispatch.backward` does."""
        whole = [2 * n if d == self.dim else n for d, n in enumerate(grad.shape)]
        dispatch.check_kept(self.op.name, x, grad, torch.Size(whole))
        numbers = dispatch.as_numbers(parameters) if x.is_cpu else None
        learning = any(needed[1:])
        library = self.kernels.library(x.dtype, learning) if numbers is not None else None
        if library is None or numbers is None or x.numel() == 0:
            return self._backward_of_two(x, grad, parameters, needed)
        x = dispatch.dense(x)
        one = grad.numel() > 1 and not any(grad.stride())  # y.sum().backward() sends one number, expanded
        if not one and grad.stride() != self._strides_of_half(x):
            grad = self._empty_half(x).copy_(grad)
        outer, inner = self._rows(x)
        gradient = fresh_like(x) if needed[0] else None
        places = (None, None) if gradient is None else self._addresses(gradient, inner)
        sums = torch.zeros(len(parameters), dtype=torch.float64)
        steps = _steps(2 * inner, 2 * inner, inner, 2 * inner, 2 * inner)
        flags = FRESH_OUTPUT | (ONE_GRADIENT if one else 0)
        addresses = *self._addresses(x, inner), grad.data_ptr(), *places
        values, threads = dispatch.float_array(numbers), dispatch.threads_for(grad.numel())
        dispatch.checked(library.backward(*addresses, outer, inner, steps, values, sums.data_ptr(), threads, flags))
        totals = zip(parameters, needed[1:], sums, strict=True)
        return [gradient, *(s.reshape(p.shape).to(p.dtype) if wanted else None for p, wanted, s in totals)]

    def _backward_of_two(
        self, x: Tensor, grad: Tensor, parameters: tuple[Any, ...], needed: tuple[bool, ...]
    ) -> list[Tensor | None]:
        both = (needed[0], *needed)
        gate, up, *others = dispatch.backward(self.op, self.split(x), grad, parameters, self.channel_dim, both)
        if gate is None or up is None:
            return [None, *others]
        gradient = fresh_like(dispatch.dense(x))
        for half, value in zip(self.split(gradient), (gate, up), strict=True):
            half.copy_(value)
        return [gradient, *others]

    def _strides_of_half(self, x: Tensor) -> tuple[int, ...]:
        """Of an output with the memory order of the dense tensor x."""
        own = x.stride(self.dim)
        return tuple(s // 2 if s > own else s for s in x.stride())

    def _empty_half(self, x: Tensor) -> Tensor:
        shape = [n // 2 if d == self.dim else n for d, n in enumerate(x.shape)]
        if x.numel() == 0:
            return x.new_empty(shape)
        return fresh_like(x.as_strided(shape, self._strides_of_half(x)))

    def _rows(self, x: Tensor) -> tuple[int, int]:
        """(outer, inner): the dense tensor x is (outer, 2, inner) in memory order."""
        inner = x.stride(self.dim) * (x.shape[self.dim] // 2)
        return x.numel() // (2 * inner), inner

    def _addresses(self, x: Tensor, inner: int) -> tuple[int, int]:
        first = x.data_ptr()
        second = first + inner * x.element_size()
        return (first, second) if self.gate_first else (second, first)


def _steps(*steps: int) -> Any:
    return (ctypes.c_int64 * len(steps))(*steps)
