"""`Activation`: the object a user holds. `authoring.py` has the two ways to make one.

Stage: op → [Activation] → nn.Module.
In: a formula and its parameters. Out: a callable with a fused forward and backward, and everything that
can be said about it (derivatives, LaTeX, sources, a stand-alone module).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.autograd import forward_ad

from actium.errors import CheckError, ParameterError
from actium.kernels.dispatch import SERIAL, Library, safe_name
from actium.kernels.plain import (
    dispatch_modes,
    functorch_level,
    is_dynamo_compiling,
    is_grad_enabled,
    is_wrapped,
    tracing_state,
)
from actium.lean import Memory, MemoryMode, apply, modes
from actium.op import FlatCall, Op, ParameterValue
from actium.symbolic.derivative import derivative
from actium.symbolic.graph import Formula
from actium.symbolic.latex import to_latex
from actium.symbolic.parameters import Parameter
from actium.symbolic.stabilize import stabilize

if TYPE_CHECKING:
    from actium.module import ActivationModule


_empty_like = torch.empty_like


def _no_front(input: Tensor) -> None:
    """What stands for the compiled front door where that is not built."""


class Activation:
    """An activation function: call it on tensors, make modules of it, ask it about itself.

    Args:
        formula: The function of one input, as written.
        parameters: Its parameters, in the formula's order.
        name: A Python identifier.
        source: Where the formula comes from.
        doc: What to know about it.
        output_slope: The derivative as a formula of the output `y`, where that is exact. Allows in-place training.
        claims: What is declared of it at the parameters' initial values, such as `{"odd": True, "range": "[0, 1)"}`;
            `actium check` holds it to that. The properties are `verify.claims.PROPERTIES`.

    Raises:
        ParameterError: If the parameters are not those of the formula.
        CheckError: If a claim is no property, or its value cannot be one.
    """

    def __init__(
        self,
        formula: Formula,
        parameters: tuple[Parameter, ...] = (),
        *,
        name: str = "activation",
        source: str | None = None,
        doc: str | None = None,
        output_slope: Formula | None = None,
        claims: Mapping[str, Any] | None = None,
    ) -> None:
        if formula.parameters != tuple(p.name for p in parameters):
            raise ParameterError(
                f"{name}: the formula has parameters {formula.parameters}, "
                f"described are {tuple(p.name for p in parameters)}"
            )
        self.formula = formula
        self.parameters = parameters
        self.name = self.__name__ = safe_name(name)
        self.source_note = source
        self.claims = checked_claims(claims)
        self.__doc__ = doc or f"{self.name}(x) = {formula}"
        self._defaults: tuple[float, ...] = tuple(p.init for p in parameters)
        self._by_name = {p.name: k for k, p in enumerate(parameters)}
        self._derivatives: dict[tuple[str | None, int], Activation] = {}
        self._output_slope = output_slope
        self.op = Op(formula, {p.name: p.init for p in parameters}, self.name, output_slope)
        self._calls: dict[torch.dtype, FlatCall] = {}
        self._front: Callable[[Tensor], Tensor | None] = _no_front
        _ = self.op.eager_function  # made now, because torch.compile could not trace the making

    # -- calling -----------------------------------------------------------------------------------

    def __call__(
        self,
        input: Tensor,
        *args: Any,
        inplace: bool = False,
        channel_dim: int | None = None,
        memory: Memory = "exact",
        **parameters: ParameterValue,
    ) -> Tensor:
        """Apply the function elementwise.

        Args:
            input: Any shape; float16, bfloat16, float32 or float64; any device.
            *args: Parameters in order, then `inplace`, as PyTorch's functions take them.
            inplace: Overwrite `input`. Refused where the backward pass needs what it overwrites.
            channel_dim: The dimension of `input` that parameters of shape (C,) belong to.
            memory: What the backward pass gets to see: "exact" (the input),
                "bits" (one bit per element; the same gradient, for functions of two slopes), "uint8" (the slope in
                eight bits), "output" (the output, for halves). See `memory_modes` for what a function has and how
                exact it is. The output is the same bit for bit.
            **parameters: Parameters by name: numbers, or tensors of shape (1,) or (C,).

        Returns:
            A tensor of the same shape, dtype and strides as `input`.

        Raises:
            DtypeError: If `input` is not a dense floating-point tensor.
            ParameterError: If a parameter is unknown or outside its range.
            ChannelError: If a parameter's size does not match the channel dimension.
            InplaceError: If an in-place call would destroy what the backward pass needs.
            MemoryModeError: If the function does not have the memory mode.
        """
        if not args and not parameters and not inplace and memory == "exact":
            if not is_dynamo_compiling() and (y := self._front(input)) is not None:
                return y
            # Written out, not factored: at 64 elements each call into a helper costs as much as the kernel. What has
            # no memory to read (functorch levels, sparse, fake) raises at data_ptr and goes the general way.
            if (
                not is_dynamo_compiling()
                and type(input) is Tensor
                and input.dtype in (calls := self._calls)
                and input.is_cpu
                and input.layout is torch.strided
                and not input.is_nested
                and input.is_contiguous()
                and not input.is_neg()
                and forward_ad._current_level < 0
                and not dispatch_modes()
                and tracing_state() is None
            ):
                call = calls[input.dtype]
                if input.requires_grad and is_grad_enabled():
                    if functorch_level() is None and not input._is_zerotensor() and not is_wrapped(input):
                        return call.apply(input)
                elif (count := input.numel()) < SERIAL:
                    try:
                        address = input.data_ptr()
                    except RuntimeError:
                        return self._general(input, channel_dim)
                    if address:  # a ZeroTensor has none
                        y = _empty_like(input)
                        call.forward(address, y.data_ptr(), count)
                        return y
            return self._general(input, channel_dim)
        if len(args) == len(self.parameters) + 1:
            *args, inplace = args  # type: ignore[assignment]
        values = self.values(*args, **parameters)
        return apply(self.op, input, values, channel_dim, memory, inplace)

    def _general(self, input: Tensor, channel_dim: int | None) -> Tensor:
        y = self.op(input, self._defaults, channel_dim)
        if not is_dynamo_compiling() and input.dtype not in self._calls and input.is_cpu:
            call = self.op.flat_call(input.dtype, self._defaults)
            if call is not None:
                self._calls[input.dtype] = call
                self._front = call.front or _no_front
        return y

    def memory_modes(self, dtype: torch.dtype = torch.float32, **parameters: float) -> tuple[MemoryMode, ...]:
        """What `memory=` may be for this function, what each keeps, and how exact its gradient is.

        Args:
            dtype: Of the input.
            **parameters: Other values than the definition's.

        Returns:
            The modes, "exact" first; bytes per element beyond the output, and the largest error of the slope.

        Example:
            >>> import torch, actium
            >>> for mode in actium.gelu.memory_modes(torch.bfloat16):
            ...     print(mode)
            exact: 2 bytes per element
            uint8: 1 bytes per element, slope within 0.0025
            output: 0.125 bytes per element, slope within 0.011
        """
        values = self.values(**parameters)
        return modes(self.op, tuple(float(v) for v in values), dtype)

    def values(self, *args: ParameterValue, **parameters: ParameterValue) -> tuple[ParameterValue, ...]:
        """The parameters of a call, complete, checked and in order."""
        if len(args) > len(self.parameters):
            raise ParameterError(
                f"{self.name}: takes {len(self.parameters)} parameters ({self._signature}), got {len(args)}"
            )
        values: list[ParameterValue] = list(self._defaults)
        for k, value in enumerate(args):
            values[k] = self._value(self.parameters[k], value)
        for name, value in parameters.items():
            k = self._by_name.get(name)
            if k is None:
                raise ParameterError(f"{self.name}: no parameter {name!r}; it has: {self._signature}")
            if k < len(args):
                raise ParameterError(f"{self.name}: parameter {name!r} was given twice")
            values[k] = self._value(self.parameters[k], value)
        return tuple(values)

    @staticmethod
    def _value(parameter: Parameter, value: Any) -> ParameterValue:
        return value if isinstance(value, Tensor) else parameter.check(value)

    @property
    def _signature(self) -> str:
        return ", ".join(p.name for p in self.parameters) or "none"

    def module(
        self,
        *,
        channels: int | None = None,
        channel_dim: int | None = None,
        inplace: bool = False,
        learn: tuple[str, ...] = (),
        memory: Memory = "exact",
        **values: float,
    ) -> ActivationModule:
        """An `nn.Module` of this function.

        Args:
            channels: Give each learnable parameter this many values, one per channel.
            channel_dim: The input's dimension they belong to; needed with `channels` above 1.
            inplace: Allow working in place where that is exact.
            learn: Names of further parameters to train.
            memory: What the backward pass gets to see; see `Activation.__call__`.
            **values: Other initial values than the definition's.

        Returns:
            The module, with one `nn.Parameter` per learnable parameter.

        Example:
            >>> import actium
            >>> swish = actium.activation(lambda x, beta=actium.learnable(1.0): x * (beta * x).sigmoid(), name="swish")
            >>> swish.module(channels=3, channel_dim=1)
            swish(beta=1, learn=beta, channels=3, channel_dim=1)
        """
        from actium.module import ActivationModule

        options: dict[str, Any] = {"channels": channels, "channel_dim": channel_dim, "inplace": inplace, "learn": learn}
        return ActivationModule(self, **{**values, **options, "memory": memory})

    # -- what can be said about it -----------------------------------------------------------------

    def derivative(self, wrt: str | None = None, order: int = 1) -> Activation:
        """The derivative with respect to the input (or a parameter), as an activation of its own.

        Example:
            >>> import actium
            >>> print(actium.formula("x * tanh(x)").derivative())
            tanh(x) + x * sech(x)**2
        """
        key = (wrt, order)
        if key not in self._derivatives:
            made = stabilize(derivative(stabilize(self.formula), wrt, order))
            suffix = f"_d{wrt or self.formula.inputs[0]}" * order
            self._derivatives[key] = Activation(made, self.parameters, name=f"{self.name}{suffix}")
        return self._derivatives[key]

    def latex(self) -> str:
        """The formula in LaTeX."""
        return to_latex(self.formula)

    def source(self, language: Literal["c", "torch", "triton"] = "c", dtype: str = "float32") -> str:
        """The generated source: of the C or Triton kernels for a dtype, or of the torch function."""
        if language == "c":
            return Library(self.op.plan, dtype).source()
        if language == "triton":
            from actium.kernels.gpu.launching import TritonLibrary

            return TritonLibrary(self.op.plan, dtype).source()
        if language == "torch":
            from actium.kernels.eager import function_source

            arguments = (*self.formula.inputs, *self.formula.parameters)
            return function_source(self.name, arguments, (self.op.plan.value("soft"),))
        raise ValueError(f"source({language!r}): choose 'c', 'torch' or 'triton'")

    def eject(self) -> str:
        """A stand-alone PyTorch file with this function as an `nn.Module`: it does not need actium."""
        from actium.eject import eject

        return eject(self)

    def __str__(self) -> str:
        return self.formula.text

    def __repr__(self) -> str:
        signature = "".join(f", {p.name}={p.init:g}" for p in self.parameters)
        return f"<actium {self.name}(x{signature}) = {self.formula}>"

    def _repr_html_(self) -> str:
        from actium.report.notebook import activation_html

        return activation_html(self)

    def __reduce__(self) -> Any:
        state = {"name": self.name, "source": self.source_note, "doc": self.__doc__}
        state |= {"output_slope": self._output_slope, "claims": self.claims}
        return functools.partial(Activation, **state), (self.formula, self.parameters)

    def __deepcopy__(self, memo: dict[int, Any]) -> Activation:
        return self  # immutable


def checked_claims(*several: Mapping[str, Any] | None) -> dict[str, Any]:
    """Claims that are known properties with values that they can have, joined."""
    joined: dict[str, Any] = {}
    for claims in several:
        if claims is not None and not isinstance(claims, Mapping):
            raise CheckError(f"claims are a mapping such as {{'odd': True}}, got {str(claims)[:64]!r}")
        joined |= claims or {}
    if joined:
        from actium.verify.claims import claims_of

        claims_of(joined)
    return joined
