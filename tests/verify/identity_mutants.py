"""Functions that are not what they are declared to be, and dead zones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from mutants import Specimen, slightly_off
from torch import Tensor, nn


@dataclass(frozen=True)
class Declared(Specimen):
    """A function with what is declared of it, and a word that the finding must have."""

    claims: Mapping[str, Any] = field(default_factory=dict)
    says: str = ""


def _claim(call: Callable[[Tensor], Tensor], formula: str | None, says: str, **claims: Any) -> Declared:
    return Declared("claim", call, formula, claims=claims, says=says)


class WellDocumented(nn.Module):
    """Mish under another name, with the minimum that its documentation gives."""

    __actium_claims__: ClassVar = {"range": "[-0.3, inf)", "smooth": True}

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.tanh(F.softplus(x))


class SoftClip(nn.Module):
    """Tanh for clipping: "gradients flow everywhere"."""

    __actium_claims__: ClassVar = {"range": (-1, 1), "nonzero_gradient": True}

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x)


def robust(x: Tensor) -> Tensor:
    return F.silu(x.clamp(-50, 50))


MUTANTS = {
    "mish with a minimum of -0.3": _claim(F.mish, "mish(x)", "-0.30884", range="[-0.3, inf)"),
    "soft clip whose gradient flows everywhere": _claim(torch.tanh, "tanh(x)", "4.50", nonzero_gradient=True),
    "relu whose gradient flows everywhere": _claim(F.relu, "relu(x)", "constant", nonzero_gradient=True),
    "silu that never decreases": _claim(F.silu, "silu(x)", "decreasing", monotone="increasing"),
    "silu without a bound on its slope": _claim(F.silu, "silu(x)", "1.0998", lipschitz=1.0),
    "elu that is smooth at every alpha": _claim(lambda x: F.elu(x, 0.5), "elu(x, 0.5)", "x = 0", smooth=True),
    "bounded softplus": _claim(F.softplus, "softplus(x)", "not bounded", bounded=True),
    "odd gelu": _claim(F.gelu, "gelu(x)", "f(-x)", odd=True),
    "even tanh": _claim(torch.tanh, "tanh(x)", "f(-x)", even=True),
    "hardtanh in an open interval": _claim(F.hardtanh, "hardtanh(x)", "f is -1", range="(-1, 1)"),
    "hardshrink with one kink": _claim(F.hardshrink, "hardshrink(x)", "jumps", kinks=[0.5]),
    "sigmoid through 0": _claim(torch.sigmoid, "sigmoid(x)", "f(0) = 0.5", zero_at_zero=True),
    "positive elu": _claim(F.elu, "elu(x)", "-1", positive=True),
    "nonnegative silu": _claim(F.silu, "silu(x)", "-0.278", nonnegative=True),
    "a property that there is not": _claim(F.silu, "silu(x)", "did you mean", bounds=[0, 1]),
    "a range upside down": _claim(F.silu, "silu(x)", "claim range", range=[1, 0]),
    "measured: range": _claim(slightly_off, None, "f is -0.2", range=[-0.2, 1e9]),
    "measured: monotone": _claim(slightly_off, None, "goes from", monotone="increasing"),
    "measured: either way": _claim(torch.cos, None, "goes from", monotone=True),
    "measured: odd": _claim(slightly_off, None, "f(-x)", odd=True),
    "measured: even": _claim(slightly_off, None, "f(-x)", even=True),
    "measured: bounded": _claim(slightly_off, None, "inf", bounded=True),
    "measured: slope": _claim(slightly_off, None, "slope", lipschitz=0.75),
    "measured: smooth": _claim(F.hardtanh, None, "x = -1", smooth=True),
    "measured: kinks": _claim(F.hardtanh, None, "x = 1", kinks=[-1]),
    "measured: positive": _claim(slightly_off, None, "f is -", positive=True),
    "measured: gradient": _claim(F.relu, None, "gradient is 0", nonzero_gradient=True),
    "half of relu": Declared("dead-zone", F.relu, "relu(x)", "info", says="gradient 0 for 50 %"),
    "the cap of a robust activation": Declared(
        "dead-zone", robust, "silu(clamp(x, -50, 50))", "info", says="output capped at 50 from x = 50 on"
    ),
    "a shifted step without a formula": Declared(
        "dead-zone", lambda x: F.relu(x - 1), None, "info", says="gradient 0 on [-65504, 1]"
    ),
    "a constant": Declared("dead-zone", lambda x: x * 0 + 2, "2 + x - x", "info", says="gradient 0 for all of"),
}

# What is true of a function must be accepted, whether it can be proven or only not refuted.
SOUND: dict[str, tuple[Callable[[Tensor], Tensor], str | None, Mapping[str, Any]]] = {
    "silu": (
        F.silu,
        "silu(x)",
        {"range": "[-0.2784645427610738, inf)", "smooth": True, "lipschitz": 1.1, "zero_at_zero": True, "kinks": []},
    ),
    "tanh": (torch.tanh, "tanh(x)", {"range": "(-1, 1)", "odd": True, "monotone": "increasing", "bounded": True}),
    "relu": (F.relu, "relu(x)", {"range": [0, float("inf")], "nonnegative": True, "monotone": True, "kinks": [0]}),
    "sigmoid": (torch.sigmoid, "sigmoid(x)", {"range": [0, 1], "positive": True, "lipschitz": 0.25, "odd": False}),
    "cosine bump": (torch.cos, "cos(x)", {"even": True, "range": [-1, 1], "smooth": True}),
    "identity": (lambda x: 1.0 * x, "x", {"odd": True, "monotone": "increasing"}),
    "measured silu": (
        F.silu,
        None,
        {"range": "[-0.27847, inf)", "smooth": True, "lipschitz": 1.1, "zero_at_zero": True},
    ),
    "measured tanh": (
        torch.tanh,
        None,
        {"range": "(-1, 1)", "odd": True, "monotone": "increasing", "bounded": True},
    ),
    "measured relu": (
        F.relu,
        None,
        {"nonnegative": True, "monotone": True, "kinks": [0], "positive": True},  # 0 is not seen to be refuted
    ),
}
