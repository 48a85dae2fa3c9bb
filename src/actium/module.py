"""`nn.Module`s of activations: learnable parameters, kept in range, one per channel if asked for.

Stage: Activation → [module]. In: an activation and values. Out: a module with `state_dict`, `repr`, `.to()`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actium.define import Activation
from actium.errors import ParameterError
from actium.kernels.plain import is_dynamo_compiling, is_plain, why_not_overwritten
from actium.lean import Memory, apply, check_mode, slope_error_text
from actium.symbolic.parameters import Parameter

RAW = "raw_"

# How close to a bound an initial value may be: the maps below reach their bounds only at infinity.
NEAREST = 1e-6


class ActivationModule(nn.Module):
    """A module that applies an activation.

    A learnable parameter with a range is stored unconstrained, as `raw_NAME`, and read in its range as `NAME`.

    Args:
        activation: The function.
        channels: Values per learnable parameter; 1 if not given.
        channel_dim: The input's dimension they belong to; needed if `channels` is above 1.
        inplace: Work in place where that is exact (see `Activation.op`), otherwise not: like PyTorch's modules,
            this is a permission.
        learn: Names of parameters to train, in addition to those declared `learnable`.
        device: Of the parameters.
        dtype: Of the parameters; float32 parameters serve half-precision inputs too.
        memory: What the backward pass gets to see; see `Activation.__call__`. With another mode than "exact", in-place
            work is exact in training too.
        **values: Initial values.

    Shape:
        Input (any), output the same.
    """

    def __init__(
        self,
        activation: Activation,
        *,
        channels: int | None = None,
        channel_dim: int | None = None,
        inplace: bool = False,
        learn: tuple[str, ...] = (),
        device: Any = None,
        dtype: torch.dtype | None = None,
        memory: Memory = "exact",
        **values: float,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.memory: Memory = check_mode(activation.op, memory)
        self.inplace = bool(inplace)
        self.channels = _checked_channels(activation, channels, channel_dim)
        self.channel_dim = channel_dim
        known = {p.name: p for p in activation.parameters}
        for name in (*learn, *values):
            if name not in known:
                raise ParameterError(f"{activation.name}: no parameter {name!r}; it has: {', '.join(known) or 'none'}")
        self._learned: dict[str, Parameter] = {}
        self._fixed: dict[str, float] = {}
        for p in activation.parameters:
            value = p.check(values.get(p.name, p.init))
            if p.learnable or p.name in learn:
                self._learned[p.name] = p
                start = torch.full((self.channels,), _unconstrain(value, p), device=device, dtype=dtype)
                self.register_parameter(_stored_name(p), nn.Parameter(start))
            else:
                self._fixed[p.name] = value
        self._note_numbers()

    def _note_numbers(self) -> None:
        self._plain: tuple[float, ...] | None = tuple(self._fixed.values()) if not self._learned else None
        # The activation's own call has the shortest path to its kernel.
        self._short = self._plain == self.activation._defaults

    def __setattr__(self, name: str, value: Any) -> None:
        """A parameter that is a number takes another one; of one that is trained in a range, all channels do."""
        fixed, learned = (self.__dict__.get(kind, {}) for kind in ("_fixed", "_learned"))
        if name in fixed:
            (p,) = (p for p in self.activation.parameters if p.name == name)
            self._fixed = {**fixed, name: p.check(value)}  # a copy of the module may share the other
            self._note_numbers()
        elif name in learned and _stored_name(learned[name]) != name:
            raw = getattr(self, RAW + name)
            with torch.no_grad():
                raw.fill_(_unconstrain(learned[name].check(value), learned[name]))
        else:
            super().__setattr__(name, value)

    def forward(self, input: Tensor) -> Tensor:
        """Apply the activation."""
        if self._short and not self.inplace and self.memory == "exact":
            return self.activation(input)
        values = self.parameter_values()
        overwrite = self.inplace and self._may_overwrite(input)
        return apply(self.activation.op, input, values, self.channel_dim, self.memory, overwrite)

    def parameter_values(self) -> tuple[float | Tensor, ...]:
        """The activation's parameters in order: numbers, and tensors of shape (channels,) where they are trained."""
        if self._plain is not None:
            return self._plain
        names = (p.name for p in self.activation.parameters)
        return tuple(self._fixed[n] if n in self._fixed else getattr(self, n) for n in names)

    def _may_overwrite(self, input: Tensor) -> bool:
        # A compiler decides itself what shares memory.
        if is_dynamo_compiling() or why_not_overwritten(input) is not None:
            return False
        if not torch.is_grad_enabled() or not (input.requires_grad or self._learned):
            return True
        return not self._learned and self._is_exact_inplace(input)

    def _is_exact_inplace(self, input: Tensor) -> bool:
        """Whether the backward pass can do without the input."""
        return self._keeps_marks(input) or self.activation.op.output_slope is not None

    def _keeps_marks(self, input: Tensor) -> bool:
        """Whether the backward pass gets something else than the input; under a transform of torch it does not."""
        return self.memory != "exact" and is_plain(input)

    def __getattr__(self, name: str) -> Any:
        learned = self.__dict__.get("_learned", {})
        if name in learned and _stored_name(learned[name]) != name:
            return _constrain(getattr(self, RAW + name), learned[name])  # a replica has tensors in their place
        fixed = self.__dict__.get("_fixed", {})
        return fixed[name] if name in fixed else super().__getattr__(name)

    def _get_name(self) -> str:
        name = type(self).__name__
        return self.activation.name if name == "ActivationModule" else name

    def extra_repr(self) -> str:
        """The values of the constructor's arguments."""
        parts = []
        for p in self.activation.parameters:
            parts.append(f"{p.name}={self._value_text(p)}")
        if self._learned:
            parts.append(f"learn={'+'.join(self._learned)}")
        if self.channels > 1:
            parts += [f"channels={self.channels}", f"channel_dim={self.channel_dim}"]
        if self.inplace:
            parts.append("inplace=True")
        return ", ".join([*parts, *self._memory_text()])

    def _memory_text(self) -> list[str]:
        """The memory mode, and how exact its slopes are, where that does not depend on what is learned."""
        if self.memory == "exact":
            return []
        if self._plain is None or self.memory == "bits":
            return [f"memory={self.memory!r}"]
        return [f"memory={self.memory!r} ({slope_error_text(self.activation.op, self.memory, self._plain)})"]

    def _value_text(self, p: Parameter) -> str:
        """A parameter's value, or the range of its values over the channels."""
        if p.name in self._fixed:
            return f"{self._fixed[p.name]:g}"
        with torch.no_grad():
            values = getattr(self, p.name).detach().float()
        if values.is_meta:
            return "meta"
        low, high = values.min().item(), values.max().item()
        return f"{low:.4g}" if low == high else f"{low:.4g}…{high:.4g}"


def _checked_channels(activation: Activation, channels: int | None, channel_dim: int | None) -> int:
    if channels is None:
        return 1
    if isinstance(channels, bool) or not isinstance(channels, int) or channels < 1:
        raise ParameterError(f"{activation.name}: channels must be a positive integer, got {channels!r}")
    if channels > 1 and channel_dim is None:
        raise ParameterError(
            f"{activation.name}: {channels} channels need channel_dim=…, the dimension of the input that they "
            "belong to (1 for images in NCHW, −1 for the features of a transformer)"
        )
    return channels


def _stored_name(p: Parameter) -> str:
    return RAW + p.name if p.constrained else p.name


def bounds(p: Parameter) -> tuple[float | None, float | None]:
    """The closed interval that the parameter stays in; None for an open side."""
    low = p.min
    if p.positive and (low is None or low < 0):
        low = 0.0
    return low, p.max


def _constrain(raw: Tensor, p: Parameter) -> Tensor:
    """From the real line into the parameter's range."""
    low, high = bounds(p)
    if low is not None and high is not None:
        return low + (high - low) * torch.sigmoid(raw)
    # softplus alone reaches 0 in float32; a positive parameter must not.
    tiny = NEAREST if p.positive else 0.0
    if low is not None:
        return low + F.softplus(raw) + tiny
    assert high is not None
    return high - F.softplus(raw)


def _unconstrain(v: float, p: Parameter) -> float:
    """The inverse of `_constrain`, computed in float64."""
    if not p.constrained:
        return v
    low, high = bounds(p)
    if low is not None and high is not None:
        share = min(max((v - low) / (high - low), NEAREST), 1 - NEAREST)
        return math.log(share / (1 - share))
    distance = max(v - low - (NEAREST if p.positive else 0.0) if low is not None else high - v, NEAREST)  # type: ignore[operator]
    return distance + math.log(-math.expm1(-distance))
