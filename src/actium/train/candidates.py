"""From a target's text to a fresh activation at each place in a network.

Stage: target text → [candidate] → network. In: what `actium check` accepts. Out: a maker of modules. A formula is
trained as actium computes it, or as plain PyTorch computes it where that is asked for. What an activation draws when it
is made does not move torch's generator, so that the weights of the network are the same for all.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from actium.as_written import as_written
from actium.checking import activation_of
from actium.define import Activation
from actium.symbolic.graph import Formula
from actium.targets import Found, place_of, resolve
from actium.targets.fingerprint import fingerprint
from actium.train.networks import Make


class Function(nn.Module):
    """A module of a function of one tensor."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function."""
        return self.function(x)


@dataclass(frozen=True)
class Candidate:
    """An activation that takes part in a study.

    Attributes:
        target: Its text.
        make: Makes a fresh module, for one place in a network.
    """

    target: str
    make: Make

    def maker(self, seed: int) -> tuple[Make, list[nn.Module]]:
        """A maker for the places of one network, and the list that it keeps of what it made.

        What a module draws when it is made depends on the seed and the place, and leaves torch's generator as it is.
        """
        made: list[nn.Module] = []

        def make() -> nn.Module:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(1000 * seed + len(made))
                made.append(self.make())
            return made[-1]

        return make, made


def candidate(target: str, plain: bool = False) -> Candidate:
    """Find the activation that a text names.

    Args:
        target: A formula, a catalogue name, `path.py:NAME` or `package.module:NAME(alpha=0.2)`.
        plain: Of a formula, train what plain PyTorch makes of it, not what actium makes of it.

    Returns:
        Something that makes modules.

    Raises:
        TargetError: If it names nothing that can be loaded.
        FormulaError: If it can only be a formula, and is none.

    Example:
        >>> make, made = candidate("x * tanh(exp(x))").maker(seed=0)
        >>> make()(torch.zeros(2))
        tensor([0., 0.])
    """
    found = resolve(target, guess=True)
    return Candidate(target, _maker(found, plain))


def _maker(found: Found, plain: bool) -> Make:
    value, construction = found.value, found.construction
    if isinstance(value, Formula):
        if plain:
            return lambda: Function(as_written(value))
        activation = activation_of(found.target)
        return lambda: activation.module()
    if isinstance(value, Activation):
        return lambda: value.module()
    if construction is not None:
        return lambda: construction.cls(*construction.args, **construction.kwargs)
    if isinstance(value, nn.Module):
        return lambda: copy.deepcopy(value)
    return lambda: Function(value)


def code_of(target: str) -> str:
    """The state of the code behind a target, the same on every machine: of its folder, or of its package."""
    place = place_of(target)
    return "" if place is None else fingerprint(place.where)
