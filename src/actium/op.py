"""The front door: one function for every tensor that PyTorch can hand to an activation.

Stage: kernel → [op] → Activation → nn.Module.
In: a formula, tensors, parameters. Out: a tensor of the same shape, dtype and strides.

A plain dense tensor goes to a fused kernel behind an old-style `autograd.Function`. Everything else (a functorch
level, a forward-AD dual, a subclass, a dispatch mode, tracing, compiling, meta) goes to plain torch operations,
which every transform understands. Other mechanisms each lose one of them: a custom operator's gradient is silently
zero under `jvp`, a Function with `setup_context` breaks `torch.compile`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from actium.errors import ChannelError, DeviceError, DtypeError, InplaceError, ParameterError
from actium.kernels import dispatch, front
from actium.kernels.dispatch import COMPUTE
from actium.kernels.eager import compile_function
from actium.kernels.plain import (
    address_of_gradient,
    is_compiling,
    is_dynamo_compiling,
    is_grad_enabled,
    is_plain,
    why_not_overwritten,
)
from actium.kernels.plan import Plan
from actium.symbolic.graph import Formula, Node

_empty_like = torch.empty_like
_SERIAL = dispatch.SERIAL

ParameterValue = float | Tensor


class Op:
    """One formula, ready to be applied to tensors.

    Args:
        formula: The function.
        defaults: A typical value of each parameter.
        name: For messages.
        output_slope: The derivative as a formula of the output, where that is exact: allows in-place training.
    """

    def __init__(
        self, formula: Formula, defaults: Mapping[str, float], name: str = "op", output_slope: Formula | None = None
    ) -> None:
        self.formula = formula
        self.name = name
        self.plan = Plan(formula, defaults)
        self.defaults = dict(defaults)
        self.output_slope = output_slope
        self._count = len(formula.inputs)
        self._backward_ops: dict[str, Op] = {}
        self.kernels = dispatch.Kernels(self.plan)
        self._calls: dict[tuple[torch.dtype, tuple[float, ...]], FlatCall] = {}
        self._fronts: dict[tuple[float, ...], Any] = {}
        self._doors: dict[str, Any] = {}
        self.lean: dict[str, Any] = {}  # by memory mode; filled by the layer above

    # -- calls -------------------------------------------------------------------------------------

    def __call__(
        self, x: Tensor, parameters: tuple[ParameterValue, ...] = (), channel_dim: int | None = None
    ) -> Tensor:
        """Apply to one input."""
        door = None if is_dynamo_compiling() else self._fronts.get(parameters)  # type: ignore[arg-type]
        if door is not None and (y := door(x)) is not None:
            return y
        if (
            not is_dynamo_compiling()
            and type(x) is Tensor
            and x.requires_grad
            and (call := self._calls.get((x.dtype, parameters))) is not None  # type: ignore[arg-type]
            and x.is_contiguous()
            and is_plain(x)
            and x.is_cpu
            and is_grad_enabled()
        ):
            return call.apply(x)  # type: ignore[no-any-return]
        return self.many((x,), parameters, channel_dim)

    def flat_call(self, dtype: torch.dtype, parameters: tuple[float, ...]) -> FlatCall | None:
        """The compiled form of a call with these numbers as parameters; None where there is no kernel."""
        library = self.kernels.library(dtype) if self._count == 1 else None
        return None if library is None else FlatCall(self, parameters, library.flat(), dtype)

    def front(self, parameters: tuple[float, ...]) -> Any | None:
        """The compiled front door for these numbers as parameters, if that was built."""
        key = repr(parameters)  # tells −0.0 from 0.0
        if key not in self._doors:
            self._doors[key] = front.make(parameters, functools.partial(any_gradients, self, parameters))
        if self._doors[key] is not None and 0.0 not in parameters:
            self._fronts[parameters] = self._doors[key]
        return self._doors[key]

    def _remember(self, dtype: torch.dtype, parameters: tuple[float, ...]) -> None:
        """Keep the compiled form for the next call, unless a parameter is 0: as a key, −0.0 would find that of 0.0."""
        if (dtype, parameters) in self._calls or 0.0 in parameters:
            return
        if len(self._calls) > 256:  # parameters that change all the time
            self._calls.clear()
            self._fronts.clear()
            self._doors.clear()
        call = self.flat_call(dtype, parameters)
        if call is not None:
            self._calls[dtype, parameters] = call

    def many(
        self, inputs: tuple[Tensor, ...], parameters: tuple[ParameterValue, ...], channel_dim: int | None
    ) -> Tensor:
        """Apply to several inputs of one shape and dtype."""
        if is_compiling():
            return self._eager(inputs, parameters, channel_dim)
        record = getattr(type(inputs[0]), "apply_formula", None)
        if record is not None:  # the stand-in of a trace
            return record(inputs[0], self.formula, inputs, parameters)
        self.check(inputs, parameters, channel_dim)
        if not all(map(is_plain, inputs)) or not all(type(p) is float or is_plain(p) for p in parameters):
            return self._eager(inputs, parameters, channel_dim)
        if len(inputs) == 1 and inputs[0].is_cpu and all(type(p) is float for p in parameters):
            self._remember(inputs[0].dtype, parameters)  # type: ignore[arg-type]
        return _Fused.apply(self, channel_dim, False, *inputs, *parameters)  # type: ignore[no-any-return]

    def inplace(self, x: Tensor, parameters: tuple[ParameterValue, ...] = (), channel_dim: int | None = None) -> Tensor:
        """Overwrite x with the result, or refuse with a reason."""
        self.check((x,), parameters, channel_dim)
        self._check_inplace(x, parameters)
        if not is_plain(x):
            return x.copy_(self._eager((x,), parameters, channel_dim))
        if x.requires_grad and is_grad_enabled():
            return _Fused.apply(self, channel_dim, True, x, *parameters)  # type: ignore[no-any-return]
        with torch.no_grad():
            dispatch.forward(self, (x,), parameters, channel_dim, out=x)
        torch.autograd.graph.increment_version(x)
        return x

    # -- checks ------------------------------------------------------------------------------------

    def check(
        self, inputs: tuple[Tensor, ...], parameters: tuple[ParameterValue, ...], channel_dim: int | None
    ) -> None:
        """Raise what a call with these operands has to raise."""
        first = inputs[0]
        for x in inputs:
            if not isinstance(x, Tensor):
                raise DtypeError(f"{self.name}: expected a tensor, got {type(x).__name__}")
            if x.dtype not in COMPUTE:
                hint = "convert it with .float()" if not x.dtype.is_complex else "apply it to .real and .imag"
                raise DtypeError(f"{self.name}: got {x.dtype}, expected float16, bfloat16, float32 or float64; {hint}")
            if x.is_nested:
                raise DtypeError(f"{self.name}: got a nested tensor, expected a dense one; apply it to .values()")
            if x.layout is not torch.strided:
                raise DtypeError(f"{self.name}: got layout {x.layout}, expected a dense tensor; call .to_dense()")
            if x.dtype != first.dtype or x.shape != first.shape:
                raise DtypeError(
                    f"{self.name}: inputs differ: {x.dtype} {tuple(x.shape)}, {first.dtype} {tuple(first.shape)}"
                )
        names = self.formula.parameters
        if len(parameters) != len(names):
            raise ParameterError(
                f"{self.name}: got {len(parameters)} parameters, expected {len(names)}: {', '.join(names)}"
            )
        for name, p in zip(names, parameters, strict=True):
            if isinstance(p, Tensor):
                self._check_tensor(name, p, first, channel_dim)

    def _check_tensor(self, name: str, p: Tensor, x: Tensor, channel_dim: int | None) -> None:
        if not p.dtype.is_floating_point:
            raise DtypeError(f"{self.name}: parameter {name!r} has dtype {p.dtype}, expected a floating-point dtype")
        if p.device != x.device:
            raise DeviceError(
                f"{self.name}: the input is on {x.device}, parameter {name!r} on {p.device}; move one of them"
            )
        if p.dim() > 1:
            raise ChannelError(f"{self.name}: parameter {name!r} has shape {tuple(p.shape)}, expected (1,) or (C,)")
        if p.numel() == 1:
            return
        if channel_dim is None:
            raise ChannelError(
                f"{self.name}: parameter {name!r} has {p.numel()} values; say which dimension of the input "
                f"{tuple(x.shape)} they belong to: channel_dim=…"
            )
        if not -x.dim() <= channel_dim < x.dim():
            raise ChannelError(
                f"{self.name}: channel_dim={channel_dim} does not exist in an input of shape {tuple(x.shape)}"
            )
        if x.shape[channel_dim] != p.numel():
            raise ChannelError(
                f"{self.name}: parameter {name!r} has {p.numel()} values, but dimension {channel_dim} of the input "
                f"{tuple(x.shape)} has size {x.shape[channel_dim]}"
            )

    def _check_inplace(self, x: Tensor, parameters: tuple[ParameterValue, ...]) -> None:
        if not is_compiling():
            refuse_overwriting(self.name, x)
        learning = any(isinstance(p, Tensor) and p.requires_grad for p in parameters)
        if not is_grad_enabled() or not (x.requires_grad or learning):
            return
        if learning or self.output_slope is None:
            why = "a parameter's gradient needs the input" if learning else "the backward pass needs the input"
            raise InplaceError(
                f"{self.name}: {why}, which an in-place call overwrites; leave out inplace=True "
                "(a copy would cost the same memory)"
            )

    # -- other paths -------------------------------------------------------------------------------

    @functools.cached_property
    def eager_function(self) -> Callable[..., Tensor]:
        """Plain torch, of tensors in the dtype to compute in; torch's own autodiff of it is stable."""
        arguments = (*self.formula.inputs, *self.formula.parameters)
        return compile_function(dispatch.safe_name(self.name), arguments, (self.plan.value("soft"),))

    def _eager(
        self, inputs: tuple[Tensor, ...], parameters: tuple[ParameterValue, ...], channel_dim: int | None
    ) -> Tensor:
        first = inputs[0]
        compute = COMPUTE[first.dtype]
        wide = [x.to(compute) for x in inputs]
        spread = [dispatch.as_operand(p, wide[0], channel_dim) for p in parameters]
        return self.eager_function(*wide, *spread).to(first.dtype)

    def backward_op(self, name: str) -> Op:
        """grad_output · ∂f/∂name as an op of one more input: what a double backward differentiates."""
        if name not in self._backward_ops:
            self._backward_ops[name] = Op(self.plan.backward_formula(name), self.defaults, f"{self.name}′")
        return self._backward_ops[name]

    def __reduce__(self) -> Any:
        return Op, (self.formula, self.defaults, self.name, self.output_slope)


def refuse_overwriting(name: str, x: Tensor) -> None:
    """Raise if autograd does not let x be overwritten, before anything is."""
    if (reason := why_not_overwritten(x)) is not None:
        raise InplaceError(f"{name}: {reason}, which an in-place call must not change; leave out inplace=True")


class FlatCall:
    """One op with numbers as parameters and a compiled kernel: what the shortest path needs, looked up once.

    Attributes:
        forward: Computes small tensors, from the addresses of x and y and the count.
        apply: The same with a gradient: a tensor to a tensor, contiguous and plain, no functorch level.
        front: The compiled front door, which does both and looks at the tensor first; None where it is not built.
    """

    __slots__ = ("apply", "forward", "front")

    def __init__(self, op: Op, parameters: tuple[float, ...], flat: dispatch.Flat, dtype: torch.dtype) -> None:
        self.front = op.front(parameters)
        if self.front is not None:
            front.add(self.front, dtype, flat.forward, flat.backward)
        values = dispatch.float_array(parameters)
        self.forward = _bound(flat.forward_serial, values)
        self.apply = _flat_function(op, parameters, values, flat)


def _bound(serial: Callable[..., None], values: Any) -> Callable[..., None]:
    return serial if values is None else functools.partial(serial, values)


def any_gradients(
    op: Op, parameters: tuple[float, ...], inputs: tuple[Tensor, ...], grad: Tensor, wanted: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    """The gradients of the inputs that want one, for whatever autograd sends."""
    if is_grad_enabled() or not is_plain(grad):
        return tuple(differentiable(op, inputs, grad, parameters, None, wanted))
    # y.sum().backward() sends one number, expanded.
    needed = (*wanted, *(False for _ in parameters))
    return tuple(dispatch.backward(op, inputs, grad, parameters, None, needed)[: len(inputs)])


def _flat_function(
    op: Op, parameters: tuple[float, ...], values: Any, flat: dispatch.Flat
) -> Callable[[Tensor], Tensor]:
    """`_Fused` without everything that one contiguous input cannot need.

    A Function of its own for each: what its two methods read are local variables, and x is the only argument that
    autograd has to look at. Half of a small call's time is spent in such things.
    """
    forward_serial, backward_serial = _bound(flat.forward_serial, values), _bound(flat.backward_serial, values)

    class Flat(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:  # type: ignore[override]
            ctx.save_for_backward(x)
            y = _empty_like(x)
            count = x.numel()
            if count < _SERIAL:
                forward_serial(x.data_ptr(), y.data_ptr(), count)
            else:
                threads = dispatch.threads_for(count)
                flat.forward(x.data_ptr(), y.data_ptr(), count, values, threads, dispatch.FRESH_OUTPUT)
            return y

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor | None:  # type: ignore[override]
            (x,) = ctx.saved_tensors
            # What hooks give back for x need not be what they were given: it may be in another order.
            if (
                (address := address_of_gradient(grad)) is None
                or not x.is_contiguous()
                or x.dtype is not grad.dtype
                or x.shape != grad.shape
            ):
                return any_gradients(op, parameters, (x,), grad, (True,))[0]
            gradient = _empty_like(x)
            count = x.numel()
            if count < _SERIAL:
                backward_serial(x.data_ptr(), address, gradient.data_ptr(), count)
            else:
                addresses = x.data_ptr(), address, gradient.data_ptr()
                flat.backward(*addresses, count, values, dispatch.threads_for(count), dispatch.FRESH_OUTPUT)
            return gradient

    Flat.__name__ = Flat.__qualname__ = dispatch.safe_name(op.name)
    # What Function.apply calls after it has looked for functorch levels; our callers have looked already.
    base: Any = super(torch.autograd.Function, Flat)
    return base.apply  # type: ignore[no-any-return]


class _Fused(torch.autograd.Function):
    """Forward keeps the inputs (or, in place, the output); backward recomputes."""

    @staticmethod
    def forward(ctx: Any, op: Op, channel_dim: int | None, inplace: bool, *operands: Any) -> Tensor:  # type: ignore[override]
        inputs, parameters = operands[: op._count], operands[op._count :]
        ctx.op, ctx.channel_dim, ctx.inplace = op, channel_dim, inplace
        ctx.floats = tuple(None if isinstance(p, Tensor) else p for p in parameters)
        y = dispatch.forward(op, inputs, parameters, channel_dim, out=inputs[0] if inplace else None)
        if inplace:
            ctx.mark_dirty(y)
        kept = (y,) if inplace else inputs
        ctx.save_for_backward(*kept, *(p for p in parameters if isinstance(p, Tensor)))
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        op: Op = ctx.op
        saved = ctx.saved_tensors
        tensors = iter(saved[op._count :])
        parameters = tuple(next(tensors) if f is None else f for f in ctx.floats)
        needed = ctx.needs_input_grad[3:]
        if ctx.inplace:
            gradient = _from_output(op, saved[0], grad, parameters, ctx.channel_dim)
            return None, None, None, gradient, *(None for _ in parameters)
        inputs = saved[: op._count]
        if is_grad_enabled() or not is_plain(grad):
            grads = differentiable(op, inputs, grad, parameters, ctx.channel_dim, needed)
        else:
            grads = dispatch.backward(op, inputs, grad, parameters, ctx.channel_dim, needed)
        return None, None, None, *grads


def _from_output(
    op: Op, y: Tensor, grad: Tensor, parameters: tuple[ParameterValue, ...], channel_dim: int | None
) -> Tensor:
    assert op.output_slope is not None
    if "output" not in op._backward_ops:
        slope = op.output_slope
        name = "grad_output"
        root = Node("input", (), name) * slope.root
        op._backward_ops["output"] = Op(
            Formula(root, (*slope.inputs, name), slope.parameters), op.defaults, f"{op.name}′"
        )
    return op._backward_ops["output"].many((y, grad), parameters, channel_dim)


def differentiable(
    op: Op,
    inputs: tuple[Tensor, ...],
    grad: Tensor,
    parameters: tuple[ParameterValue, ...],
    channel_dim: int | None,
    needed: tuple[bool, ...],
) -> list[Tensor | None]:
    """The same gradients, made of ops that have gradients themselves."""
    grads: list[Tensor | None] = []
    names = (*op.formula.inputs, *op.formula.parameters)
    for k, (name, wanted) in enumerate(zip(names, needed, strict=False)):  # None for what was left out
        if not wanted:
            grads.append(None)
        elif k < op._count:
            grads.append(op.backward_op(name).many((*inputs, grad), parameters, channel_dim))
        else:
            p = parameters[k - op._count]
            assert isinstance(p, Tensor)
            wide = tuple(t.to(COMPUTE[t.dtype]) for t in (*inputs, grad))
            terms = op.backward_op(name).many(wide, parameters, channel_dim)
            grads.append(dispatch.sum_to_parameter(terms, p, channel_dim))
    return grads
