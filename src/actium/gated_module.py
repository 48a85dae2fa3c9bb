"""`nn.Module`s of gated units: `actium.nn.GLU`, `SwiGLU`, `GeGLU`, `ReGLU`.

Stage: gated unit → [module]. In: an activation, or a module of one. Out: a module whose parameters are those of the
activation, under the name `activation`: another module in that place makes it another unit. It has no linear maps: it
is what stands between those of a feed-forward block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from actium.define import Activation
from actium.errors import ParameterError
from actium.gated import GatedActivation, Which, gate_is_first, glu
from actium.module import ActivationModule


class GatedModule(nn.Module):
    """act(gate)·up, of two tensors or of the halves of one.

    Args:
        activation: The function of the gate: an activation, its module, a name of the catalogue, or a function.
        dim: The dimension to be halved.
        gate: Which half is the gate, "first" or "second".
        **options: Of the activation's module, if it is not one: `channels`, `channel_dim` (a dimension of the output),
            `learn`, `device`, `dtype`, and initial values. See `ActivationModule`.

    Shape:
        One tensor with an even size along `dim`, output of half that size; or two of any shape, output the same.

    Attributes:
        activation: The module of the function of the gate. Another `ActivationModule` may be put there.
        unit: The unit that it computes, made of `activation`.
    """

    unit: GatedActivation

    def __init__(
        self,
        activation: Activation | ActivationModule | str | Callable[..., Any],
        dim: int = -1,
        gate: Which = "second",
        **options: Any,
    ) -> None:
        super().__init__()
        if isinstance(activation, ActivationModule):
            if options:
                raise ParameterError(
                    f"{type(self).__name__}: {next(iter(options))}= belongs to the module that was given"
                )
            inner = activation
        else:
            inner = ActivationModule(glu(activation).activation, **options)
        if isinstance(dim, bool) or not isinstance(dim, int):
            raise ParameterError(f"{type(self).__name__}: dim must be an integer, got {dim!r}")
        gate_is_first(type(self).__name__, gate)
        self.dim = dim
        self.gate: Which = gate
        self.activation = inner

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "activation":  # made now, because torch.compile could not trace the making
            self.unit = self._unit_of(value)
        super().__setattr__(name, value)

    def _unit_of(self, inner: Any) -> GatedActivation:
        """The unit of a module of the gate's function; the one there is, if it has the same function."""
        if isinstance(inner, ActivationModule) and type(inner).forward is not ActivationModule.forward:
            raise ParameterError(
                f"{type(self).__name__}: {inner._get_name()} is more than a function of its input: no gate"
            )
        function, made = getattr(inner, "activation", None), self.__dict__.get("unit")
        if made is not None and made.activation is function:  # also through a wrapper, such as a compiled module
            return made
        if not isinstance(inner, ActivationModule):
            raise ParameterError(
                f"{type(self).__name__}: the function of the gate must be a module of actium, such as "
                f"actium.nn.SiLU() or actium.activation(f).module(), got {type(inner).__name__}"
            )
        return glu(inner.activation)

    def forward(self, input: Tensor, up: Tensor | None = None) -> Tensor:
        """Apply the unit to the halves of `input`, or, if `up` is given, to the gate `input` and `up`."""
        inner, unit = self.activation, self.unit
        if getattr(inner, "activation", None) is not unit.activation:  # put there without an assignment
            self.activation = inner
            unit = self.unit
        values, channel_dim = inner.parameter_values(), inner.channel_dim
        if up is not None:
            return unit.two(input, up, values, channel_dim)
        return unit.halves(input, values, self.dim, self.gate, channel_dim)

    def gate_of(self, input: Tensor, up: Tensor | None = None) -> Tensor:
        """The gate of a call with these arguments: `input`, or its half; a view."""
        if up is not None:
            return input
        half = input.shape[self.dim] // 2
        return input.narrow(self.dim, 0 if self.gate == "first" else half, half)

    def extra_repr(self) -> str:
        """The dimension and the half."""
        return f"dim={self.dim}, gate={self.gate!r}"


class GLU(GatedModule):
    """The gated linear unit, up·σ(gate), or with another function of the gate: act(gate)·up.

    Without arguments it is `torch.nn.GLU`. Dauphin et al. 2017, arXiv:1612.08083.

    Args:
        activation: The function of the gate: an activation, its module, a name of the catalogue, or a function.
        dim: The dimension to be halved.
        gate: Which half is the gate; PyTorch's is the second.
        **options: See `GatedModule`.

    Example:
        >>> import torch, actium.nn
        >>> block = torch.nn.Sequential(torch.nn.Linear(8, 32), actium.nn.GLU("silu", gate="first"))
        >>> block(torch.zeros(2, 8)).shape
        torch.Size([2, 16])
    """

    def __init__(
        self,
        activation: Activation | ActivationModule | str | Callable[..., Any] = "sigmoid",
        dim: int = -1,
        gate: Which = "second",
        **options: Any,
    ) -> None:
        if isinstance(activation, int):
            raise ParameterError(f"GLU: the first argument is the function of the gate; write dim={activation}")
        super().__init__(activation, dim, gate, **options)


class SwiGLU(GatedModule):
    """silu(gate)·up, as in Llama. Shazeer 2020, arXiv:2002.05202, eq. 6, with β = 1.

    With a learned β, eq. 5's Swish_β: `GLU("swish")`.

    Args:
        dim: The dimension to be halved.
        gate: Which half is the gate; fused projections of Llama and its relatives have it first.
    """

    def __init__(self, dim: int = -1, gate: Which = "second") -> None:
        super().__init__("silu", dim, gate)


class GeGLU(GatedModule):
    """gelu(gate)·up. Shazeer 2020, arXiv:2002.05202, eq. 6.

    Args:
        dim: The dimension to be halved.
        gate: Which half is the gate.
        approximate: "none", or "tanh" for the tanh form of GELU.
    """

    def __init__(self, dim: int = -1, gate: Which = "second", approximate: str = "none") -> None:
        from actium.catalogue.build import gelu_form

        super().__init__(gelu_form(approximate), dim, gate)


class ReGLU(GatedModule):
    """relu(gate)·up. Shazeer 2020, arXiv:2002.05202, eq. 5.

    Args:
        dim: The dimension to be halved.
        gate: Which half is the gate.
    """

    def __init__(self, dim: int = -1, gate: Which = "second") -> None:
        super().__init__("relu", dim, gate)
