"""From tensors to addresses: picks a kernel for a plan, a dtype and a device, and runs it.

Stage: kernel → [dispatch] → op. In: plain dense tensors, checked. Out: tensors. No autograd here.
CPU tensors of float32, bfloat16 and float16 run generated C, CUDA tensors the same as Triton where that is installed;
everything else runs the same plan in torch.
"""

from __future__ import annotations

import ctypes
import keyword
import re
from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from actium.errors import DtypeError, ShapeError
from actium.kernels import cpu, toolchain
from actium.kernels.described import flat_kernels, rows_kernels
from actium.kernels.eager import compile_function
from actium.kernels.front import fresh_like
from actium.kernels.gpu import availability
from actium.kernels.layout import channels_of, dense, like, rows_of
from actium.kernels.plan import Mode, Plan

if TYPE_CHECKING:
    from actium.kernels.gpu.launching import TritonLibrary
    from actium.op import Op

C_DTYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}
FRESH_OUTPUT, ONE_GRADIENT = 1, 2

# The dtype to compute in, for every dtype that an activation takes.
COMPUTE = {torch.float16: torch.float32, torch.bfloat16: torch.float32, torch.float32: torch.float32}
COMPUTE[torch.float64] = torch.float64

# Below this many elements a second thread costs more than it saves.
SERIAL = 1 << 15

_get_num_threads = torch.get_num_threads


def threads_for(count: int) -> int:
    """How many threads a kernel over this many elements uses."""
    return 1 if count < SERIAL else max(1, min(_get_num_threads(), count // (SERIAL // 2)))


def safe_name(name: str) -> str:
    """A name that Python and C accept."""
    cleaned = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return cleaned if re.match(r"[A-Za-z_]", cleaned) and not keyword.iskeyword(cleaned) else f"f_{cleaned}"


def as_operand(p: float | Tensor, like: Tensor, channel_dim: int | None) -> Tensor:
    """A parameter as a tensor that broadcasts against the input, in the input's dtype."""
    if not isinstance(p, Tensor):
        return torch.full((), p, dtype=like.dtype, device=like.device)
    wide = p.to(like.dtype)
    if p.numel() == 1 or channel_dim is None:
        return wide.reshape(())
    shape = [1] * like.dim()
    shape[channel_dim] = p.numel()
    return wide.reshape(shape)


class Flat(NamedTuple):
    """C functions over runs of elements.

    The serial ones take the parameters first, if there are any, and no thread count and no flags.
    """

    forward: Any
    forward_serial: Any
    backward: Any
    backward_serial: Any


def float_array(values: tuple[float, ...]) -> Any:
    """The numbers as a C array of float, or a null pointer for none."""
    return (ctypes.c_float * len(values))(*values) if values else None


class Library:
    """The compiled kernels of one plan for one dtype, each built when first needed."""

    def __init__(self, plan: Plan, dtype: str) -> None:
        inputs, parameters = plan.formula.inputs, plan.formula.parameters
        self._plan, self._dtype = plan, dtype
        self._mode: Mode = plan.mode(dtype)
        self._inputs, self._parameters = inputs, parameters
        self._flat: Flat | None = None
        self._rows: tuple[Any, Any] | None = None

    def source(self) -> str:
        """C text of the flat kernels."""
        return cpu.source(flat_kernels(self._plan, self._mode), self._dtype)

    def flat(self) -> Flat:
        """The kernels for parameters that are numbers."""
        if self._flat is None:
            library = toolchain.load(self.source(), cpu.headers())
            count = len(self._inputs)
            # The serial kernels keep the GIL: letting it go and taking it back costs more than they take.
            quick = ctypes.PyDLL(library._name, handle=library._handle)
            pointer, long, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
            first = [pointer] if self._parameters else []
            found = []
            for name, tensors in (("forward", count + 1), ("backward", 2 * count + 1)):
                whole, serial = getattr(library, name), getattr(quick, f"{name}_serial")
                whole.argtypes = [pointer] * tensors + [long, pointer, number, number]
                serial.argtypes = [*first, *[pointer] * tensors, long]
                whole.restype = serial.restype = None
                found += [whole, serial]
            self._flat = Flat(*found)
        return self._flat

    def rows(self) -> tuple[Any, Any]:
        """(forward, backward) for parameters with a value per channel, and for their gradients."""
        if self._rows is None:
            count = len(self._inputs)
            kernels = rows_kernels(self._plan, self._mode)
            library = toolchain.load(cpu.source(kernels, self._dtype), cpu.headers())
            tail = [ctypes.c_int64] * 3 + [ctypes.c_void_p] * 2 + [ctypes.c_int] * 2
            forward, backward = library.forward, library.backward
            forward.argtypes = [ctypes.c_void_p] * (count + 1) + tail
            backward.argtypes = [ctypes.c_void_p] * (2 * count + 1) + tail
            self._rows = forward, backward
        return self._rows


class Kernels:
    """What a plan compiles to: C and Triton libraries by dtype, torch functions by what they compute."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._libraries: dict[torch.dtype, Library] = {}
        self._triton: dict[torch.dtype, TritonLibrary] = {}
        self._torch: dict[str, Callable[..., Any]] = {}

    def library(self, dtype: torch.dtype) -> Library | None:
        """The C kernels for a dtype; None where there are none (other dtype, no compiler, switched off)."""
        found = self._libraries.get(dtype)
        if found is None and dtype in C_DTYPES and not availability.INTERPRETED:
            if not toolchain.kernels_enabled():
                toolchain.warn_once_unavailable()
                return None
            found = self._libraries[dtype] = Library(self._plan, C_DTYPES[dtype])
        return found

    def triton_library(self, x: Tensor) -> TritonLibrary | None:
        """The Triton kernels for a tensor; None where there are none (dtype, device, no Triton, switched off)."""
        if x.dtype not in C_DTYPES or not availability.usable(x):
            return None
        if x.dtype not in self._triton:
            from actium.kernels.gpu.launching import TritonLibrary

            self._triton[x.dtype] = TritonLibrary(self._plan, C_DTYPES[x.dtype], interpreted=x.is_cpu)
        return self._triton[x.dtype]

    def torch_function(self, which: str, names: tuple[str, ...] = ()) -> Callable[..., Any]:
        """The plan in torch: `value`, or the gradients by `names`."""
        key = f"{which}:{','.join(names)}"
        if key not in self._torch:
            formula = self._plan.formula
            if which == "value":
                arguments, roots = formula.inputs, (self._plan.value("torch"),)
            else:
                gradient, roots = self._plan.backward(names, "torch")
                arguments = (*formula.inputs, gradient)
            self._torch[key] = compile_function(which, (*arguments, *formula.parameters), roots)
        return self._torch[key]


def forward(
    op: Op, inputs: tuple[Tensor, ...], parameters: tuple[Any, ...], channel_dim: int | None, out: Tensor | None = None
) -> Tensor:
    """The op's value; written to `out` if given."""
    x = inputs[0]
    library = op.kernels.library(x.dtype) if x.is_cpu else None
    if library is None:
        if (triton := op.kernels.triton_library(x)) is not None:
            return triton.forward(inputs, parameters, channel_dim, out)
        wide = [t.to(COMPUTE[x.dtype]) for t in inputs]
        function = op.kernels.torch_function("value")
        y = function(*wide, *(as_operand(p, wide[0], channel_dim) for p in parameters)).to(x.dtype)
        y = y.expand(x.shape) if y.shape != x.shape else y
        return like(y, dense(x)) if out is None else out.copy_(y)
    first = dense(x)
    rest = tuple(like(t, first) for t in inputs[1:])
    y = fresh_like(first) if out is None or first is not out else out
    flags = FRESH_OUTPUT if out is None else 0
    addresses = [t.data_ptr() for t in (first, *rest, y)]
    numbers = as_numbers(parameters)
    threads = threads_for(first.numel())
    if numbers is not None:
        library.flat().forward(*addresses, first.numel(), float_array(numbers), threads, flags)
    else:
        outer, channels, inner = rows_of(first, channels_of(parameters), channel_dim)
        pointers, keep = _parameter_pointers(parameters, channels)
        checked(library.rows()[0](*addresses, outer, channels, inner, pointers, None, threads, flags))
        del keep
    return y if out is None or y is out else out.copy_(y)


def check_kept(name: str, x: Tensor, grad: Tensor, shape: Sequence[int]) -> None:
    """Raise if a hook on saved tensors has given back something else than it got."""
    if x.dtype is not grad.dtype:
        raise DtypeError(f"{name}: the gradient is {grad.dtype}, but an input kept for it came back as {x.dtype}")
    if x.shape != shape:
        raise ShapeError(f"{name}: an input kept for the gradient is {tuple(shape)}, but came back as {tuple(x.shape)}")


def backward(
    op: Op,
    inputs: tuple[Tensor, ...],
    grad: Tensor,
    parameters: tuple[Any, ...],
    channel_dim: int | None,
    needed: tuple[bool, ...],
) -> list[Tensor | None]:
    """Gradients of the inputs and parameters that need one.

    Raises:
        DtypeError: If a hook on saved tensors has given an input back in another dtype.
        ShapeError: If it came back in another shape.
    """
    count = len(inputs)
    x = inputs[0]
    for t in inputs:
        check_kept(op.name, t, grad, grad.shape)
    library = op.kernels.library(x.dtype) if x.is_cpu else None
    if library is None:
        if (triton := op.kernels.triton_library(x)) is not None:
            return triton.backward(inputs, grad, parameters, channel_dim, needed)
        return _backward_in_torch(op, inputs, grad, parameters, channel_dim, needed)
    first = dense(x)
    rest = tuple(like(t, first) for t in inputs[1:])
    one = grad.numel() > 1 and not any(grad.stride())  # y.sum().backward() sends one number, expanded
    grad = grad if one else like(grad, first)
    flags = FRESH_OUTPUT | (ONE_GRADIENT if one else 0)
    grads: list[Tensor | None] = [fresh_like(first) if n else None for n in needed[:count]]
    addresses = [t.data_ptr() for t in (first, *rest, grad)] + [None if g is None else g.data_ptr() for g in grads]
    threads = threads_for(first.numel())
    numbers = None if any(needed[count:]) else as_numbers(parameters)
    if numbers is not None:
        library.flat().backward(*addresses, first.numel(), float_array(numbers), threads, flags)
        return grads + [None] * len(parameters)
    outer, channels, inner = rows_of(first, channels_of(parameters), channel_dim)
    pointers, keep = _parameter_pointers(parameters, channels)
    sums = torch.zeros(len(parameters), channels, dtype=torch.float64)
    checked(library.rows()[1](*addresses, outer, channels, inner, pointers, sums.data_ptr(), threads, flags))
    del keep
    for p, wanted, total in zip(parameters, needed[count:], sums, strict=True):
        grads.append((total.sum() if p.numel() == 1 else total).reshape(p.shape).to(p.dtype) if wanted else None)
    return grads


def as_numbers(parameters: tuple[Any, ...]) -> tuple[float, ...] | None:
    """The parameters as numbers, if each is one."""
    values = []
    for p in parameters:
        if isinstance(p, Tensor):
            if p.numel() != 1:
                return None
            p = p.item()
        values.append(p)
    return tuple(values)


def _parameter_pointers(parameters: tuple[Any, ...], channels: int) -> tuple[Any, list[Tensor]]:
    """An array of addresses of one float per channel, and the tensors that must outlive it."""
    keep = []
    for p in parameters:
        if isinstance(p, Tensor):
            keep.append(p.detach().reshape(-1).to(torch.float32).expand(channels).contiguous())
        else:
            keep.append(torch.full((channels,), p, dtype=torch.float32))
    addresses = array("Q", [t.data_ptr() for t in keep]) if keep else array("Q", [0])
    return (ctypes.c_uint64 * len(addresses))(*addresses), keep


def checked(failed: int) -> None:
    """Raise what the status of a kernel stands for."""
    if failed:
        raise MemoryError("a kernel could not allocate its working memory")


def _backward_in_torch(
    op: Op,
    inputs: tuple[Tensor, ...],
    grad: Tensor,
    parameters: tuple[Any, ...],
    channel_dim: int | None,
    needed: tuple[bool, ...],
) -> list[Tensor | None]:
    names = (*op.formula.inputs, *op.formula.parameters)
    wanted = tuple(n for n, need in zip(names, needed, strict=True) if need)
    if not wanted:
        return [None] * len(needed)
    wide = [t.to(COMPUTE[inputs[0].dtype]) for t in (*inputs, grad)]
    operands = [as_operand(p, wide[0], channel_dim) for p in parameters]
    terms = op.kernels.torch_function("gradients", wanted)(*wide, *operands)
    results = dict(zip(wanted, terms if isinstance(terms, tuple) else (terms,), strict=True))
    grads: list[Tensor | None] = []
    for k, name in enumerate(names):
        if name not in results:
            grads.append(None)
        elif k < len(inputs):
            full = results[name].expand(inputs[0].shape)
            grads.append(like(full.to(inputs[0].dtype), dense(inputs[0])))
        else:
            grads.append(
                sum_to_parameter(results[name].expand(inputs[0].shape), parameters[k - len(inputs)], channel_dim)
            )
    return grads


def sum_to_parameter(terms: Tensor, p: Tensor, channel_dim: int | None) -> Tensor:
    """A parameter's gradient from its terms, one for each element of the input."""
    if p.numel() == 1:
        return terms.sum().reshape(p.shape).to(p.dtype)
    assert channel_dim is not None
    others = [d for d in range(terms.dim()) if d != channel_dim % terms.dim()]
    return (terms.sum(others) if others else terms).to(p.dtype)
