"""Modules of the catalogue, named and called like those of `torch.nn`: `actium.nn.Mish()`, `actium.nn.PReLU(64)`.

Stage: Activation → [nn]. In: entries. Out: classes, made when first asked for and kept, so that pickle finds them.
Parameters marked learnable are trained; `learn=("slope",)` trains others too, `channels=` gives each of them one value
per channel of dimension `channel_dim`.
"""

from __future__ import annotations

import inspect
import itertools
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from actium.catalogue import ENTRIES, get
from actium.catalogue.build import CatalogueActivation, gelu_form
from actium.catalogue.entry import Entry
from actium.catalogue.polynomial import INTERVAL, polynomial_entry
from actium.define import Activation
from actium.errors import ParameterError
from actium.gated_module import GLU, GeGLU, ReGLU, SwiGLU
from actium.lean import Memory, apply, check_mode
from actium.module import ActivationModule
from actium.symbolic.graph import Formula, Node, const, mul, parameter, substitute
from actium.symbolic.parameters import Parameter

_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD
_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_OPTIONS = {"channels": None, "channel_dim": None, "learn": (), "device": None, "dtype": None}


class CatalogueModule(ActivationModule):
    """The module of a catalogue entry; arguments in PyTorch's order, then `inplace`.

    Args:
        activation: The function.
        **arguments: See `ActivationModule`.
    """

    entry: ClassVar[Entry]

    def __init__(self, activation: Activation, **arguments: Any) -> None:
        super().__init__(activation, **arguments)
        for low, high in itertools.pairwise(self.entry.ordered):
            if low in self._fixed and high in self._fixed and not self._fixed[low] < self._fixed[high]:
                text = f"{low}={self._fixed[low]} is not below {high}={self._fixed[high]}"
                raise ParameterError(f"{self.entry.name}: {text}")

    def _is_exact_inplace(self, input: Tensor) -> bool:
        if self._keeps_marks(input) or not super()._is_exact_inplace(input):
            return self._keeps_marks(input)
        if not isinstance(self.activation, CatalogueActivation):
            return True
        values = tuple(self._fixed[p.name] for p in self.activation.parameters)
        return self.activation.allows_inplace_training(values, input.dtype)

    def extra_repr(self) -> str:
        """The arguments that made it, as PyTorch shows them."""
        shown = [f"{name}={value!r}" for name, value in self._fixed.items()]
        shown += [f"{name}={self._value_text(p)}" for name, p in self._learned.items()]
        if self._learned:
            shown.append(f"learn={tuple(self._learned)!r}")
        if self.channels > 1:
            shown += [f"channels={self.channels}", f"channel_dim={self.channel_dim}"]
        return ", ".join(shown + ["inplace=True"] * self.inplace + self._memory_text())


def _signature(entry: Entry) -> inspect.Signature:
    given = [inspect.Parameter(p.name, _POSITIONAL, default=p.init, annotation=float) for p in entry.parameters]
    given.append(inspect.Parameter("inplace", _POSITIONAL, default=False, annotation=bool))
    given.append(inspect.Parameter("memory", _KEYWORD, default="exact", annotation=str))
    if entry.parameters:
        given += [inspect.Parameter(name, _KEYWORD, default=default) for name, default in _OPTIONS.items()]
    return inspect.Signature(given)


def _make_class(entry: Entry) -> type[CatalogueModule]:
    signature = _signature(entry)

    def __init__(self: CatalogueModule, *args: Any, **keywords: Any) -> None:
        given = signature.bind(*args, **keywords).arguments
        if isinstance(given.get("learn"), str):
            given["learn"] = (given["learn"],)
        CatalogueModule.__init__(self, entry.activation(), **given)

    namespace = {
        "__init__": __init__,
        "__doc__": entry.doc,
        "__module__": __name__,
        "__qualname__": entry.class_name,
        "__signature__": signature,
        "entry": entry,
    }
    return type(entry.class_name, (CatalogueModule,), namespace)


# --- Modules whose arguments are not simply the parameters ------------------------------------------------


class GELU(CatalogueModule):
    """x·Φ(x), the Gaussian error linear unit.

    Args:
        approximate: "none", or "tanh" for the tanh form.
        inplace: Work in place where that is exact.
        memory: What the backward pass gets to see; see `Activation.__call__`.
    """

    entry = get("gelu")

    def __init__(self, approximate: str = "none", inplace: bool = False, *, memory: Memory = "exact") -> None:
        super().__init__(gelu_form(approximate), inplace=inplace, memory=memory)
        self.approximate = approximate

    def extra_repr(self) -> str:
        """As PyTorch's."""
        shown = [f"approximate={self.approximate!r}", *["inplace=True"] * self.inplace]
        return ", ".join([*shown, *self._memory_text()])


class PReLU(CatalogueModule):
    """Leaky ReLU with a learned slope, `weight`; its state fits PyTorch's.

    Args:
        num_parameters: Slopes: 1, or one per channel.
        init: Their initial value.
        device: Of the weight.
        dtype: Of the weight.
        inplace: Work in place where that is exact (never in training).
        channel_dim: The channels' dimension.
        memory: What the backward pass gets to see, once the weight is frozen; see `Activation.__call__`.

    Shape:
        Input (N, C, …) or any with one slope; output the same.
    """

    entry = get("prelu")

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        device: Any = None,
        dtype: torch.dtype | None = None,
        inplace: bool = False,
        channel_dim: int = 1,
        *,
        memory: Memory = "exact",
    ) -> None:
        activation = self.entry.activation()
        place = {"channels": num_parameters, "channel_dim": channel_dim, "memory": memory}
        super().__init__(activation, inplace=inplace, device=device, dtype=dtype, weight=init, **place)
        self.num_parameters = num_parameters

    def extra_repr(self) -> str:
        """As PyTorch's."""
        return ", ".join([f"num_parameters={self.num_parameters}", *self._memory_text()])


class RReLU(CatalogueModule):
    """Leaky ReLU with slopes drawn from [lower, upper] while training, and their mean in evaluation.

    Args:
        lower: Smallest slope.
        upper: Largest slope.
        inplace: Work in place where that is exact.
        memory: What the backward pass gets to see in evaluation; training keeps the drawn slopes, and is "exact" alone.
    """

    entry = get("rrelu")

    def __init__(
        self,
        lower: float = 1.0 / 8,
        upper: float = 1.0 / 3,
        inplace: bool = False,
        *,
        memory: Memory = "exact",
    ) -> None:
        super().__init__(self.entry.activation(), inplace=inplace, memory=memory, lower=lower, upper=upper)
        if self._fixed["lower"] > self._fixed["upper"]:
            raise ParameterError(f"rrelu: lower={lower} exceeds upper={upper}")

    def forward(self, input: Tensor) -> Tensor:
        """Apply it, drawing slopes if the module is in training mode."""
        if not self.training:
            return super().forward(input)
        values = self._fixed["lower"], self._fixed["upper"]
        overwrite = self.inplace and self._may_overwrite(input)
        return self.activation(input, *values, training=True, inplace=overwrite, memory=self.memory)  # type: ignore[arg-type]


class BReLU(CatalogueModule):
    """max(x, 0) in even channels, min(x, 0) in odd ones.

    Args:
        inplace: Work in place where that is exact.
        channel_dim: The channels' dimension.
        memory: What the backward pass gets to see; see `Activation.__call__`.
    """

    entry = get("brelu")

    def __init__(self, inplace: bool = False, channel_dim: int = 1, *, memory: Memory = "exact") -> None:
        super().__init__(self.entry.activation(), inplace=inplace, memory=memory)
        self.channel_dim = channel_dim

    def forward(self, input: Tensor) -> Tensor:
        """Apply it."""
        overwrite = self.inplace and self._may_overwrite(input)
        return self.activation(input, inplace=overwrite, channel_dim=self.channel_dim, memory=self.memory)

    def extra_repr(self) -> str:
        """The channel dimension."""
        shown = [f"channel_dim={self.channel_dim}", *["inplace=True"] * self.inplace]
        return ", ".join([*shown, *self._memory_text()])


class Polynomial(CatalogueModule):
    """A polynomial with learned coefficients `coeff_0` … `coeff_n`, which starts as the best fit of ReLU.

    Args:
        degree: From 1 to 16.
        inplace: Work in place where that is exact (never in training).
        interval: Where the initial coefficients fit: [−interval, interval].
        channels: Give each coefficient this many values.
        channel_dim: The channels' dimension.
        device: Of the coefficients.
        dtype: Of the coefficients.
        memory: What the backward pass gets to see; from degree 2 on, where the slope is not bounded, only "exact".

    Raises:
        ParameterError: If the degree or the interval is outside its range.
    """

    entry = get("polynomial")

    def __init__(
        self,
        degree: int = 3,
        inplace: bool = False,
        *,
        interval: float = INTERVAL,
        channels: int | None = None,
        channel_dim: int | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
        memory: Memory = "exact",
    ) -> None:
        entry = polynomial_entry(degree, interval)
        place = {"channels": channels, "channel_dim": channel_dim, "device": device, "dtype": dtype}
        super().__init__(entry.activation(), inplace=inplace, memory=memory, **place)
        self.degree = degree

    def extra_repr(self) -> str:
        """The degree and the coefficients."""
        return f"degree={self.degree}, {super().extra_repr()}"


class AdaptiveMixture(nn.Module):
    """A learned mixture of activations, computed in one pass: Σ wₖ·fₖ(x) with weights that are positive and sum to 1.

    The weights are the softmax of `logits` and a 0 for the last base. A free logit for it would add a direction in
    which nothing changes.

    Args:
        *bases: Names of catalogue entries, or activations; each at its default parameters. At least two.
        inplace: Accepted for interchange; the gradient of the weights needs the input, so training never overwrites it.
        channels: Mixtures, one per channel.
        channel_dim: The channels' dimension; needed with more than one channel.
        device: Of the logits.
        dtype: Of the logits.
        memory: What the backward pass gets to see, once the logits are frozen; see `Activation.__call__`.

    Raises:
        ParameterError: If there are fewer than two bases, or one twice.
        TargetError: If the catalogue has no such name.

    Example:
        >>> import actium.nn
        >>> actium.nn.AdaptiveMixture("relu", "tanh", "identity").get_weights()
        tensor([0.3333, 0.3333, 0.3333])
    """

    def __init__(
        self,
        *bases: str | Activation,
        inplace: bool = False,
        channels: int = 1,
        channel_dim: int | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
        memory: Memory = "exact",
    ) -> None:
        super().__init__()
        chosen = [get(b).activation() if isinstance(b, str) else b for b in bases or ("relu", "tanh", "identity")]
        self.activation = mixture(*chosen)
        self.memory: Memory = check_mode(self.activation.op, memory)
        self.bases = tuple(a.name for a in chosen)
        if channels > 1 and channel_dim is None:
            raise ParameterError(f"AdaptiveMixture: {channels} channels need channel_dim=…")
        self.channels, self.channel_dim, self.inplace = channels, channel_dim, inplace
        self.logits = nn.Parameter(torch.zeros(len(chosen) - 1, channels, device=device, dtype=dtype))

    def _weights(self) -> Tensor:
        return torch.softmax(torch.cat([self.logits, torch.zeros_like(self.logits[:1])]), 0)

    def forward(self, input: Tensor) -> Tensor:
        """Apply it."""
        return apply(self.activation.op, input, tuple(self._weights()), self.channel_dim, self.memory)

    def get_weights(self) -> Tensor:
        """The weights: shape (bases,), or (bases, channels)."""
        weights = self._weights().detach()
        return weights.squeeze(1) if self.channels == 1 else weights

    def extra_repr(self) -> str:
        """The bases."""
        place = [f"channels={self.channels}", f"channel_dim={self.channel_dim}"] if self.channels > 1 else []
        kept = [f"memory={self.memory!r}"] * (self.memory != "exact")
        return ", ".join([*map(repr, self.bases), *place, *kept])


def mixture(*bases: Activation) -> Activation:
    """Σ weight_k·fₖ(x) as one activation of the weights.

    Args:
        *bases: The functions; their parameters stay at their defaults.

    Raises:
        ParameterError: If there are fewer than two, or two of the same name.
    """
    names = [a.name for a in bases]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ParameterError(f"a mixture needs at least two different activations, got {', '.join(names) or 'none'}")
    weights = tuple(Parameter(f"weight_{name}", 1.0 / len(names), learnable=True) for name in names)
    total: Node = const(0.0)
    for weight, base in zip(weights, bases, strict=True):
        fixed = {parameter(p.name): const(p.init) for p in base.parameters}
        total = total + mul(parameter(weight.name), substitute(base.formula.root, fixed))
    formula = Formula(total, ("x",), tuple(w.name for w in weights))
    return Activation(formula, weights, name="_".join(["mixture", *names]), doc=f"A mixture of {', '.join(names)}.")


# --- Lookup by name ---------------------------------------------------------------------------------------

_CUSTOM = ("GELU", "PReLU", "RReLU", "BReLU", "Polynomial", "AdaptiveMixture")
_GATED = tuple(unit.__name__ for unit in (GLU, GeGLU, ReGLU, SwiGLU))

__all__ = sorted({*_CUSTOM, *_GATED, *(entry.class_name for entry in ENTRIES.values())})  # pyright: ignore


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name not in ENTRIES.classes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = _make_class(get(name))
    return globals().setdefault(name, made)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
