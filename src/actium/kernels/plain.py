"""Whether a tensor is plain: dense memory that a kernel may read, with no transform of torch watching.

Used by the front door, `op.py` and `define.py`. The names below are torch's own functions, looked up once; the shortest
paths of a forward call them one by one, because a call into a helper costs there as much as the kernel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._C import _autograd as autograd  # pyright: ignore[reportAttributeAccessIssue]
from torch._C import _functorch as functorch  # pyright: ignore[reportAttributeAccessIssue]
from torch.autograd import forward_ad

is_compiling = torch.compiler.is_compiling
is_dynamo_compiling = torch.compiler.is_dynamo_compiling
is_grad_enabled = torch.is_grad_enabled
functorch_level = functorch.peek_interpreter_stack
dispatch_modes = torch._C._len_torch_dispatch_stack
tracing_state = torch._C._get_tracing_state
is_legacy_batched = functorch.is_legacy_batchedtensor  # autograd.grad(is_grads_batched=True)
is_wrapped = functorch.is_functorch_wrapped_tensor  # also where it has outlived its transform

_PLAIN_TYPES = frozenset({Tensor, torch.nn.Parameter})


def is_plain(x: Any) -> bool:
    """Whether a kernel may read this tensor's memory and no transform is watching."""
    return (
        type(x) in _PLAIN_TYPES
        and not is_compiling()
        and forward_ad._current_level < 0
        and functorch_level() is None
        and not dispatch_modes()
        and tracing_state() is None
        and x.layout is torch.strided
        and not x.is_nested
        and not x.is_meta
        and not x.is_neg()
        and not x._is_zerotensor()
        and not is_legacy_batched(x)
        and not is_wrapped(x)
    )


def address_of_gradient(grad: Tensor) -> int | None:
    """Where a plain, contiguous gradient is: what `is_plain` asks, less what one from autograd cannot be."""
    if (
        is_dynamo_compiling()
        or is_grad_enabled()
        or type(grad) is not Tensor
        or forward_ad._current_level >= 0
        or functorch_level() is not None
        or dispatch_modes()
        or grad.layout is not torch.strided
        or not grad.is_contiguous()
        or grad.is_neg()
    ):
        return None
    try:
        return grad.data_ptr() or None  # a ZeroTensor, which the backward of `abs` may send, has none
    except RuntimeError:  # a batched gradient has no memory of its own
        return None


def why_not_overwritten(x: Tensor) -> str | None:
    """What autograd has against an in-place operation on x; it says so itself only after the kernel has written."""
    if x.is_inference() and not torch.is_inference_mode_enabled():
        return "x was made in inference mode"
    if not (is_grad_enabled() and x.requires_grad):
        return None
    if x.is_leaf:
        return "x is a leaf that requires grad"
    if not x._is_view():
        return None
    if x._base is not None and x._base.is_leaf:
        return "x is a view of a leaf that requires grad"
    if autograd._get_creation_meta(x) != autograd.CreationMeta.DEFAULT:
        return "x is one of several views that an operation returned, or was made without gradients"
    return None
