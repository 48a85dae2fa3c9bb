"""A call with a memory mode: forward keeps bits, codes or the output; backward makes the gradient of those.

Stage: op → [lean] → Activation. In: an op, a tensor, parameters, a mode. Out: the tensor that there is without a mode,
bit for bit. A plain dense tensor that needs a gradient takes this way; under a transform of torch (functorch, forward
AD, a subclass, a dispatch mode, compiling, exporting) the op's own way is taken, which is exact and keeps x.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from actium.errors import DtypeError, MemoryModeError
from actium.kernels import dispatch, layout
from actium.kernels.front import fresh_like
from actium.kernels.lean import Kept
from actium.kernels.plain import is_compiling, is_grad_enabled, is_plain
from actium.lean.modes import Lacking, Lean, check_mode, check_name, lean
from actium.op import Op, ParameterValue, refuse_overwriting


def apply(
    op: Op,
    x: Tensor,
    parameters: tuple[ParameterValue, ...] = (),
    channel_dim: int | None = None,
    memory: str = "exact",
    inplace: bool = False,
) -> Tensor:
    """Apply an op of one input, keeping for its backward pass what `memory` says.

    Raises:
        MemoryModeError: If the function does not have the mode, or a parameter needs a gradient, which needs x.
        InplaceError: If x is a leaf that needs a gradient.
    """
    check_name(op.name, memory)
    if (
        memory != "exact"
        and not is_compiling()
        and is_plain(x)
        and all(type(p) is float or is_plain(p) for p in parameters)
    ):
        check_mode(op, memory)
        op.check((x,), parameters, channel_dim)
        if is_grad_enabled():
            _refuse_learning(op, memory, parameters)
            if x.requires_grad:
                try:
                    return _apply(lean(op, memory), x, parameters, channel_dim, inplace)
                except Lacking as error:
                    raise error.explained() from None
    return op.inplace(x, parameters, channel_dim) if inplace else op(x, parameters, channel_dim)


def _refuse_learning(op: Op, memory: str, parameters: tuple[ParameterValue, ...]) -> None:
    for name, p in zip(op.formula.parameters, parameters, strict=True):
        if isinstance(p, Tensor) and p.requires_grad:
            raise MemoryModeError(
                f"{op.name}: memory={memory!r} does not keep the input, which the gradient of {name!r} needs: "
                f"memory='exact', or {name}.requires_grad_(False)"
            )


def _apply(
    mode: Lean, x: Tensor, parameters: tuple[ParameterValue, ...], channel_dim: int | None, inplace: bool
) -> Tensor:
    if inplace:
        refuse_overwriting(mode.op.name, x)
    # As they are now: a frozen parameter may change before the backward pass.
    numbers = dispatch.as_numbers(parameters)
    if numbers is None and mode.kind != "bits":
        raise MemoryModeError(
            f"{mode.op.name}: memory={mode.memory!r} takes one number for each parameter, not one per channel; "
            "use memory='exact'"
        )
    values = parameters if numbers is None else numbers
    return _Keeping.apply(mode, values, channel_dim, inplace, x)  # type: ignore[no-any-return]


def forward(
    mode: Lean, x: Tensor, parameters: tuple[ParameterValue, ...], channel_dim: int | None, out: Tensor | None
) -> tuple[Tensor, Kept]:
    """The output, written to `out` if given, and what to keep beside it."""
    op, first = mode.op, layout.dense(x)
    numbers = dispatch.as_numbers(parameters)
    marked: tuple[Any, ...] = parameters
    if mode.kind == "recall":
        assert numbers is not None
        turn = mode.recall(numbers, x.dtype, x.device).turn
        if turn is None:
            return dispatch.forward(op, (x,), parameters, channel_dim, out=out), Kept(None)
        marked = (*numbers, turn)
    encoder = mode.encoder(numbers, x) if numbers is not None else None
    if numbers is not None and mode.kernels.library(first) is not None:
        y = first if out is first else fresh_like(first)
        kept = mode.kernels.forward(first, y, marked, encoder)
        return (y if out is None or y is out else out.copy_(y)), kept
    kept = mode.kernels.marks_in_torch(first, marked, channel_dim, encoder)
    return dispatch.forward(op, (x,), parameters, channel_dim, out=out), kept


def backward(
    mode: Lean, grad: Tensor, like: Tensor, kept: Kept, parameters: tuple[ParameterValue, ...], channel_dim: int | None
) -> Tensor:
    """The gradient of the input. `like` is the output where that is kept, else has its shape and strides."""
    numbers = dispatch.as_numbers(parameters)
    table = mode.table(numbers, like) if numbers is not None else None
    if numbers is None or not is_plain(grad) or mode.kernels.library(like) is None:
        return mode.kernels.backward_in_torch(grad, like, kept, parameters, channel_dim, table)
    y = like if mode.kind == "recall" else None
    return mode.kernels.backward(layout.like(grad, like), kept, y, numbers, table)


class _Keeping(torch.autograd.Function):
    """Forward keeps what the mode says, backward hands it to a Function that can refuse a second derivative."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, mode: Lean, parameters: tuple[ParameterValue, ...], channel_dim: int | None, inplace: bool, x: Tensor
    ) -> Tensor:
        y, kept = forward(mode, x, parameters, channel_dim, x if inplace else None)
        if inplace:
            ctx.mark_dirty(y)
        ctx.mode, ctx.channel_dim = mode, channel_dim
        ctx.floats = tuple(None if isinstance(p, Tensor) else p for p in parameters)
        first = y if mode.kind == "recall" else None
        ctx.kept = tuple(None if t is None else (t.dtype, t.device, t.shape) for t in (first, kept.marks, kept.nans))
        ctx.place = y.dtype, y.device, y.shape, layout.dense(y).stride()
        ctx.save_for_backward(first, kept.marks, kept.nans, *(p for p in parameters if isinstance(p, Tensor)))
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        y, marks, nans, *tensors = ctx.saved_tensors
        _check_kept(ctx.mode.op.name, (y, marks, nans), ctx.kept)
        rest = iter(tensors)
        parameters = tuple(next(rest) if f is None else f for f in ctx.floats)
        dtype, device, shape, stride = ctx.place
        like = torch.empty_strided(shape, stride, dtype=dtype, device=device) if y is None else y
        arguments = ctx.mode, layout.dense(like), Kept(marks, nans), parameters, ctx.channel_dim
        return None, None, None, None, gradient(grad, arguments)


def _check_kept(name: str, tensors: tuple[Tensor | None, ...], kept: tuple[Any, ...]) -> None:
    """Raise if a hook on saved tensors has given back something else than it got: bits and bytes are no numbers."""
    for t, place in zip(tensors, kept, strict=True):
        if t is not None and (t.dtype, t.device, t.shape) != place:
            was, now = (f"{d} {tuple(shape)} on {device}" for d, device, shape in (place, (t.dtype, t.device, t.shape)))
            raise DtypeError(f"{name}: what was kept for the gradient is {was}, but came back as {now}")


def gradient(grad: Tensor, arguments: tuple[Any, ...]) -> Tensor:
    """Grad · slope, as a function of grad alone if that is to be differentiated."""
    if not is_grad_enabled():
        return backward(arguments[0], grad, *arguments[1:])
    mode: Lean = arguments[0]
    if mode.kind != "bits":
        # At once and not when it is differentiated: x is no longer part of the graph, so that a second derivative
        # would leave it out without a word wherever something else needs a gradient.
        raise MemoryModeError(
            f"{mode.op.name}: create_graph=True is for second derivatives, which need the input, and "
            f"memory={mode.memory!r} has not kept it; use memory='exact'"
        )
    return _Gradient.apply(arguments, grad)  # type: ignore[no-any-return]


class _Gradient(torch.autograd.Function):
    """A backward pass that may be differentiated: the slope of a piecewise linear function does not depend on x."""

    @staticmethod
    def forward(ctx: Any, arguments: tuple[Any, ...], grad: Tensor) -> Tensor:  # type: ignore[override]
        ctx.arguments = arguments
        return backward(arguments[0], grad, *arguments[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:  # type: ignore[override]
        return None, gradient(grad, ctx.arguments)
