"""Entry → Activation: the functions that users call, with PyTorch's signatures.

Stage: Activation → [catalogue] → nn.Module. In: an entry. Out: an activation that pickles by name.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch
from torch import Tensor

from actium.catalogue.entry import Entry, OutputSlope
from actium.define import Activation
from actium.errors import InplaceError, MemoryModeError, ParameterError
from actium.kernels.plain import is_dynamo_compiling
from actium.lean import Memory, check_name
from actium.module import ActivationModule
from actium.op import Op, ParameterValue
from actium.symbolic.graph import Formula, op, variable, where
from actium.symbolic.parse import parse

_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD
_KEYWORD = inspect.Parameter.KEYWORD_ONLY


class CatalogueActivation(Activation):
    """An activation of the catalogue.

    Args:
        entry: What it is.
    """

    def __init__(self, entry: Entry) -> None:
        formula = entry.stable() if entry.stable is not None else entry.as_written()
        slope = entry.output_slope
        super().__init__(
            formula,
            entry.parameters,
            name=entry.name,
            source=entry.source,
            doc=entry.doc,
            output_slope=_output_slope(entry, slope) if slope is not None else None,
        )
        self.entry = entry
        self.__signature__ = self.signature()

    def signature(self) -> inspect.Signature:
        """The function's arguments: the input, the parameters in PyTorch's order, `inplace`."""
        return inspect.Signature(
            [
                inspect.Parameter("input", _POSITIONAL, annotation=Tensor),
                *(inspect.Parameter(p.name, _POSITIONAL, default=p.init, annotation=float) for p in self.parameters),
                inspect.Parameter("inplace", _POSITIONAL, default=False, annotation=bool),
                inspect.Parameter("channel_dim", _KEYWORD, default=None, annotation="int | None"),
                inspect.Parameter("memory", _KEYWORD, default="exact", annotation=str),
            ],
            return_annotation=Tensor,
        )

    def allows_inplace_training(self, values: tuple[ParameterValue, ...], dtype: torch.dtype) -> bool:
        """Whether the derivative can be told exactly from the rounded output, for these parameters and this dtype."""
        slope = self.entry.output_slope
        if slope is None:
            return False
        if not slope.needs and not slope.representable:
            return True
        if any(isinstance(v, Tensor) for v in values):
            return False
        numbers = {p.name: float(v) for p, v in zip(self.parameters, values, strict=True)}
        exact = all(float(torch.tensor(numbers[n], dtype=dtype)) == numbers[n] for n in slope.representable)
        return exact and (not slope.needs or self.entry.number(f"where({slope.needs}, 1, 0)", numbers) == 1.0)

    def __reduce__(self) -> Any:
        return build, (self.entry,)


class _ConditionalInplace(CatalogueActivation):
    """Where in-place training depends on the parameters."""

    def __call__(
        self,
        input: Tensor,
        *args: Any,
        inplace: bool = False,
        channel_dim: int | None = None,
        memory: Memory = "exact",
        **parameters: ParameterValue,
    ) -> Tensor:
        """Apply the function elementwise; see `Activation.__call__`."""
        if len(args) == len(self.parameters) + 1:
            *args, inplace = args  # type: ignore[assignment]
        # What is compiled is out of place inside, and exact for all parameters.
        training = torch.is_grad_enabled() and input.requires_grad and not is_dynamo_compiling()
        if inplace and memory == "exact" and training:
            values = self.values(*args, **parameters)
            if not self.allows_inplace_training(values, input.dtype):
                slope = self.entry.output_slope
                assert slope is not None
                needs = [
                    *([slope.needs] if slope.needs else []),
                    *(f"{n} exact in {input.dtype}" for n in slope.representable),
                ]
                raise InplaceError(
                    f"{self.name}: the gradient follows from the output only with {' and '.join(needs)}; "
                    "leave out inplace=True"
                )
        return super().__call__(input, *args, inplace=inplace, channel_dim=channel_dim, memory=memory, **parameters)


class _Gelu(CatalogueActivation):
    """Two functions under one name, as in PyTorch."""

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        input: Tensor,
        approximate: str = "none",
        inplace: bool = False,
        channel_dim: int | None = None,
        memory: Memory = "exact",
        **parameters: ParameterValue,
    ) -> Tensor:
        """x·Φ(x), or its tanh form for approximate="tanh".

        Raises:
            ParameterError: If `approximate` is neither "none" nor "tanh".
        """
        options: dict[str, Any] = {"inplace": inplace, "channel_dim": channel_dim, "memory": memory, **parameters}
        if approximate == "none":
            return super().__call__(input, **options)
        return gelu_form(approximate)(input, **options)

    def signature(self) -> inspect.Signature:
        """As the base class, with `approximate`."""
        given = list(super().signature().parameters.values())
        given.insert(1, inspect.Parameter("approximate", _POSITIONAL, default="none", annotation=str))
        return inspect.Signature(given, return_annotation=Tensor)


def gelu_form(approximate: str) -> Activation:
    """The activation for a value of `approximate`.

    Raises:
        ParameterError: If it is neither "none" nor "tanh".
    """
    from actium.catalogue import get

    if approximate not in ("none", "tanh"):
        raise ParameterError(f"gelu: approximate is 'none' or 'tanh', got {approximate!r}")
    return get("gelu" if approximate == "none" else "gelu_tanh").activation()


class _Prelu(CatalogueActivation):
    """The channel dimension is 1, as in PyTorch; an input without it has one channel."""

    def __call__(
        self,
        input: Tensor,
        *args: Any,
        inplace: bool = False,
        channel_dim: int | None = None,
        memory: Memory = "exact",
        **parameters: ParameterValue,
    ) -> Tensor:
        """The input above 0, `weight` times it below.

        Args:
            input: Shape (N, C, …), or any shape if `weight` has one value.
            *args: `weight`: a number, or a tensor of shape (1,) or (C,); then `inplace`.
            inplace: See `Activation.__call__`.
            channel_dim: Another dimension than 1.
            memory: See `Activation.__call__`.
            **parameters: `weight` by name.
        """
        dim = 1 if channel_dim is None and input.dim() > 1 else channel_dim
        return super().__call__(input, *args, inplace=inplace, channel_dim=dim, memory=memory, **parameters)


class _BRelu(CatalogueActivation):
    """The sign follows from the channel."""

    def __call__(
        self,
        input: Tensor,
        *args: Any,
        inplace: bool = False,
        channel_dim: int | None = 1,
        memory: Memory = "exact",
        **parameters: ParameterValue,
    ) -> Tensor:
        """max(x, 0) in even channels, min(x, 0) in odd ones.

        Args:
            input: A tensor with the dimension `channel_dim`; one without it has one channel, of index 0.
            *args: `sign`, to choose it otherwise than by the channel's index; then `inplace`.
            inplace: See `Activation.__call__`.
            channel_dim: The channels' dimension.
            memory: See `Activation.__call__`.
            **parameters: `sign` by name.
        """
        if not args and not parameters:
            has_channels = channel_dim is not None and -input.dim() <= channel_dim < input.dim()
            count = input.shape[channel_dim] if has_channels else 1  # type: ignore[index]
            args = (1.0 - 2.0 * (torch.arange(count, device=input.device, dtype=torch.float32) % 2.0),)
            channel_dim = channel_dim if has_channels else None
        return super().__call__(input, *args, inplace=inplace, channel_dim=channel_dim, memory=memory, **parameters)

    def module(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, *, channel_dim: int | None = None, **options: Any
    ) -> ActivationModule:
        """An `nn.Module` that does as `actium.nn.BReLU`; with `sign=`, or if `sign` is trained, one of that sign.

        Args:
            channel_dim: The channels' dimension; 1 if not given.
            **options: See `Activation.module`.
        """
        if options.keys() - {"inplace", "memory"}:
            return super().module(channel_dim=channel_dim, **options)
        return _BReLUModule(self, channel_dim=1 if channel_dim is None else channel_dim, **options)

    def signature(self) -> inspect.Signature:
        """As the base class, with dimension 1 as the default."""
        given = super().signature()
        changed = {n: p.replace(default=1) if n == "channel_dim" else p for n, p in given.parameters.items()}
        return given.replace(parameters=list(changed.values()))


class _RRelu(CatalogueActivation):
    """Draws the slopes in training."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry)
        self._drawn = _with_slopes()
        _ = self._drawn.eager_function  # made now, because torch.compile could not trace the making

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        input: Tensor,
        lower: float = 1.0 / 8,
        upper: float = 1.0 / 3,
        training: bool = False,
        inplace: bool = False,
        channel_dim: int | None = None,
        memory: Memory = "exact",
    ) -> Tensor:
        """Leaky ReLU, in training with a slope for each element drawn from the uniform distribution on [lower, upper].

        Raises:
            ParameterError: If lower exceeds upper.
            InplaceError: If in-place training is asked for: the drawn slopes would have nowhere to be kept.
            MemoryModeError: If training is asked for in another memory mode than "exact".
        """
        low, high = self.values(lower, upper)
        if not isinstance(low, Tensor) and not isinstance(high, Tensor) and low > high:
            raise ParameterError(f"rrelu: lower={low} exceeds upper={high}")
        if not training or isinstance(low, Tensor) or isinstance(high, Tensor):
            return super().__call__(input, low, high, inplace=inplace, channel_dim=channel_dim, memory=memory)
        if check_name(self.name, memory) != "exact":
            raise MemoryModeError(
                f"rrelu: training keeps the drawn slopes, memory={memory!r} is for training=False; use memory='exact'"
            )
        slopes = torch.empty_like(input).uniform_(low, high).detach()
        y = self._drawn.many((input, slopes), (), None)
        if not inplace:
            return y
        if torch.is_grad_enabled() and input.requires_grad:
            raise InplaceError("rrelu: training needs the input and the drawn slopes; leave out inplace=True")
        return input.copy_(y)

    def module(self, **options: Any) -> ActivationModule:
        """An `nn.Module` that does as `actium.nn.RReLU`; where a bound is trained, one of the mean slope.

        Args:
            **options: See `Activation.module`.

        Raises:
            ParameterError: If lower exceeds upper.
        """
        if options.keys() - {"lower", "upper", "inplace", "memory"}:
            return super().module(**options)
        made = _RReLUModule(self, **options)
        if made.lower > made.upper:
            raise ParameterError(f"rrelu: lower={made.lower} exceeds upper={made.upper}")
        return made

    def signature(self) -> inspect.Signature:
        """As the base class, with `training` before `inplace`."""
        given = list(super().signature().parameters.values())
        given.insert(3, inspect.Parameter("training", _POSITIONAL, default=False, annotation=bool))
        return inspect.Signature(given, return_annotation=Tensor)


class _CallingModule(ActivationModule):
    """Applies its activation by calling it, where that does more than the formula says."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply the activation."""
        overwrite = self.inplace and self._may_overwrite(input)
        return self.activation(input, inplace=overwrite, memory=self.memory, **self._arguments())

    def _arguments(self) -> dict[str, Any]:
        raise NotImplementedError

    def _get_name(self) -> str:
        return self.activation.name


class _BReLUModule(_CallingModule):
    def _arguments(self) -> dict[str, Any]:
        return {"channel_dim": self.channel_dim}

    def extra_repr(self) -> str:
        """The channel dimension, which the sign follows from."""
        return ", ".join([f"channel_dim={self.channel_dim}", *["inplace=True"] * self.inplace, *self._memory_text()])


class _RReLUModule(_CallingModule):
    def _arguments(self) -> dict[str, Any]:
        return {**self._fixed, "training": self.training}


@functools.cache
def _with_slopes() -> Op:
    x, slope = variable("x"), variable("slope")
    return Op(Formula(where(op("le", x, 0.0), x * slope, x), ("x", "slope")), {}, "rrelu")


CALLING: dict[str, type[CatalogueActivation]] = {
    "plain": CatalogueActivation,
    "gelu": _Gelu,
    "prelu": _Prelu,
    "brelu": _BRelu,
    "rrelu": _RRelu,
}


@functools.cache
def build(entry: Entry) -> CatalogueActivation:
    """The activation of an entry; the same object every time."""
    slope = entry.output_slope
    if slope is not None and (slope.needs or slope.representable):
        return _ConditionalInplace(entry)
    return CALLING[entry.calling](entry)


def _output_slope(entry: Entry, slope: OutputSlope) -> Formula:
    """With all of the entry's parameters in their order, used or not: calls hand over all of them."""
    used = [p.name for p in entry.parameters if p.name in slope.formula]
    root = parse(slope.formula, inputs=("y",), parameters=used).root
    return Formula(root, ("y",), tuple(entry.defaults))
