"""What is measured beside the loss: bytes kept for backward, dead units, what the activations learned.

Stage: network → [record] → result. In: a network and its activations. Out: numbers. Changes nothing that is trained.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from actium.module import RAW


def finite(value: float) -> float | None:
    """The number, or None where it is none: strict JSON has no NaN."""
    return float(value) if math.isfinite(value) else None


def kept_bytes(step: Callable[[], Tensor], network: nn.Module) -> int:
    """Bytes that autograd keeps between forward and backward of a step; what the network holds anyway is not counted.

    Args:
        step: Computes the loss.
        network: Whose parameters and buffers do not count.

    Returns:
        The size of all different memory blocks.
    """
    own = {t.untyped_storage().data_ptr() for t in (*network.parameters(), *network.buffers())}
    blocks: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        with contextlib.suppress(RuntimeError, NotImplementedError):  # what has no memory of its own
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                blocks[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = step()  # kept alive, so that no block is handed out twice
    del loss
    return sum(blocks.values())


@contextlib.contextmanager
def outputs_of(activations: Sequence[nn.Module]) -> Iterator[list[list[Tensor]]]:
    """The outputs of each activation, batch by batch, as long as the context lasts."""
    seen: list[list[Tensor]] = [[] for _ in activations]

    def hook_for(k: int) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda _module, _inputs, output: seen[k].append(output.detach())

    hooks = [a.register_forward_hook(hook_for(k)) for k, a in enumerate(activations)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def dead_share(outputs: Sequence[Tensor], channel_dim: int) -> float:
    """The share of units that give the same output for every example and position.

    Args:
        outputs: Of one activation, batch by batch: (N, *).
        channel_dim: The dimension that counts the units.

    Returns:
        Between 0 and 1.

    Example:
        >>> dead_share([torch.tensor([[0.0, 1.0], [0.0, 2.0]])], channel_dim=1)
        0.5
    """
    rows = torch.cat([o.movedim(channel_dim, -1).reshape(-1, o.shape[channel_dim]) for o in outputs])
    return float((rows == rows[0]).all(dim=0).double().mean())


def learned(activations: Sequence[nn.Module]) -> dict[str, float]:
    """The mean of each parameter of each activation, read in its range.

    Returns:
        Such as `{"1.alpha": 0.25}`: the activation's place in the network, and the parameter's name.
    """
    values = {}
    for place, activation in enumerate(activations, 1):
        for name, parameter in activation.named_parameters():
            shown = name.removeprefix(RAW)
            value = getattr(activation, shown, parameter) if "." not in shown else parameter
            mean = float(torch.as_tensor(value).detach().double().mean())
            values[f"{place}.{shown}"] = mean
    return values
