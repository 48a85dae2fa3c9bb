"""Whether a network with an activation learns what one without cannot: a verdict that a broken activation cannot pass.

Stage: activation → [verdict]. In: a maker of fresh modules, a module, or a function. Out: held-out accuracies against
those of the identity at the same seeds, and reasons where they are not enough.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from actium.errors import TargetError
from actium.train.candidates import Candidate, Function
from actium.train.loop import Settings, fit
from actium.train.networks import MLP, draw_weights
from actium.train.sources import Sources, moons

# Two moons with this noise: ReLU reaches 0.99, and no straight line more than 0.89.
REQUIRED, MARGIN = 0.95, 0.05


@dataclass(frozen=True)
class NetworkVerdict:
    """Whether an activation works in a network.

    Attributes:
        passed: Whether there is no reason against it.
        accuracies: Held-out accuracy for each seed; 0 for a run that diverged.
        identity: The same, with the identity in its place.
        reasons: What is wrong, if something is.
    """

    passed: bool
    accuracies: tuple[float, ...]
    identity: tuple[float, ...]
    reasons: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.passed


def trains_in_network(
    activation: Callable[[], nn.Module] | nn.Module | Callable[[Tensor], Tensor],
    *,
    seeds: int = 3,
    required: float = REQUIRED,
    margin: float = MARGIN,
    epochs: int = 15,
) -> NetworkVerdict:
    """Train a small network on two moons, and hold it to what a network without activation reaches.

    Each seed has points, weights and an order of its own; the activation and the identity share them. What is judged
    was not trained on, and every place in the network has a fresh module.

    Args:
        activation: A module's class or another maker of modules, a module (copied for each place), or a function of a
            tensor.
        seeds: How many runs.
        required: The accuracy that every run has to reach.
        margin: How much better than the identity every run has to be.
        epochs: Of each run.

    Returns:
        The verdict: true if it passed.

    Raises:
        TargetError: If it is none of these.

    Example:
        >>> trains_in_network(nn.SiLU, seeds=1).passed
        True
        >>> trains_in_network(nn.Identity(), seeds=1).reasons[-1]
        'seed 0: 0.000 better than the identity, expected 0.05'
    """
    candidate = Candidate("activation", _maker(activation))
    with _one_thread():
        pairs = [_accuracies(candidate, seed, epochs) for seed in range(seeds)]
    reasons = []
    for seed, (ours, theirs, trouble) in enumerate(pairs):
        if trouble:
            reasons.append(f"seed {seed}: {trouble}")
            continue
        if ours < required:
            reasons.append(f"seed {seed}: accuracy {ours:.3f} is below {required}")
        if ours < theirs + margin:
            reasons.append(f"seed {seed}: {ours - theirs:.3f} better than the identity, expected {margin}")
    return NetworkVerdict(not reasons, tuple(p[0] for p in pairs), tuple(p[1] for p in pairs), tuple(reasons))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """More threads only wait for each other in a network of this size, and for longest on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _maker(activation: object) -> Callable[[], nn.Module]:
    if isinstance(activation, nn.Module):
        return lambda: copy.deepcopy(activation)
    if isinstance(activation, type) and issubclass(activation, nn.Module):
        return activation
    if callable(getattr(activation, "module", None)):
        return activation.module  # type: ignore[attr-defined]
    if not callable(activation):
        raise TargetError(f"expected a module, its class or a function, got {type(activation).__name__}")
    return lambda: Function(activation)  # type: ignore[arg-type]


def _accuracies(candidate: Candidate, seed: int, epochs: int) -> tuple[float, float, str | None]:
    """Of the activation and of the identity, and what went wrong."""
    ours, trouble = _accuracy(candidate, seed, epochs)
    return ours, _of_identity(seed, epochs), trouble


@functools.cache
def _of_identity(seed: int, epochs: int) -> float:
    return _accuracy(Candidate("identity", nn.Identity), seed, epochs)[0]


def _accuracy(candidate: Candidate, seed: int, epochs: int) -> tuple[float, str | None]:
    make, made = candidate.maker(seed)
    network = draw_weights(MLP(make, 2, 2, width=32), seed)
    first = next(network.parameters())
    run = fit(network, moons(seed, Sources()), Settings(epochs, 50, 1e-2), seed=seed)
    if run.diverged:
        return 0.0, f"the run diverged: {run.diverged}"
    if first.grad is None or not bool(torch.count_nonzero(first.grad)):
        return run.metric or 0.0, "no gradient reaches the layer before the activation"
    return run.metric or 0.0, None if made else "the activation is not used"
