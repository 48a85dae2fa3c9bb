"""The tasks: which data, which network, how long, and by what number a network is judged.

Stage: name → [task] → loop. A task is data about a training run; it trains nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from actium.errors import DataError
from actium.train import sources
from actium.train.data import Data
from actium.train.networks import CNN, MLP, Make, Transformer
from actium.train.sources import Sources

Load = Callable[[int, Sources], Data]
Build = Callable[[Make, Data], nn.Module]


@dataclass(frozen=True)
class Metric:
    """A number that says how good a network is.

    Attributes:
        name: With its unit.
        higher_is_better: Which way is good.
        worst: What a run counts that did not finish.
    """

    name: str
    higher_is_better: bool
    worst: float


ACCURACY = Metric("accuracy", True, 0.0)
PSNR = Metric("PSNR (dB)", True, 0.0)
BITS = Metric("bits per character", False, 100.0)


@dataclass(frozen=True)
class Task:
    """A training task.

    Attributes:
        name: As the command line has it.
        about: In a few words.
        load: Data of a seed.
        networks: By name; the first is the usual one.
        metric: On the held-out part.
        epochs: How often the training data is gone through.
        batch: Examples in a step.
        learning_rate: Of Adam, at the start; it falls to 0 along a cosine.
    """

    name: str
    about: str
    load: Load
    networks: dict[str, Build]
    metric: Metric
    epochs: int
    batch: int
    learning_rate: float

    def score(self, scores: Tensor, target: Tensor, loss: float) -> float:
        """The metric of held-out predictions, of which the mean loss is known."""
        if self.metric is ACCURACY:
            return float((scores.argmax(dim=-1) == target).double().mean())
        return -10 * math.log10(max(loss, 1e-12)) if self.metric is PSNR else loss / math.log(2)


def _mlp(make: Make, data: Data, width: int = 64, depth: int = 2) -> nn.Module:
    outputs = data.classes or data.train_y.shape[1]
    return MLP(make, data.train_x[0].numel(), outputs, width, depth)


def _cnn(make: Make, data: Data) -> nn.Module:
    if data.train_x.dim() != 4:
        raise DataError(f"a cnn needs images (N, C, H, W), and this data has the shape {tuple(data.train_x.shape)}")
    return CNN(make, data.train_x.shape[1], data.classes)


def _transformer(make: Make, data: Data) -> nn.Module:
    return Transformer(make, data.classes)


_IMAGES: dict[str, Build] = {"mlp": _mlp, "cnn": _cnn}
_MOONS: dict[str, Build] = {"mlp": partial(_mlp, width=32)}
_CLOTHES: dict[str, Build] = {"mlp": partial(_mlp, width=256), "cnn": _cnn}
_IMAGE: dict[str, Build] = {"mlp": partial(_mlp, depth=3)}
_TEXT: dict[str, Build] = {"transformer": _transformer}
_ALL = (
    Task("digits", "8×8 handwritten digits", sources.digits, _IMAGES, ACCURACY, 30, 64, 3e-3),
    Task("moons", "two interleaved half circles", sources.moons, _MOONS, ACCURACY, 30, 50, 1e-2),
    Task("fashion-mnist", "28×28 pictures of clothes", sources.fashion_mnist, _CLOTHES, ACCURACY, 20, 32, 1e-3),
    Task("image", "a photograph as a function of the position", sources.image, _IMAGE, PSNR, 60, 128, 5e-3),
    Task("charlm", "the next character of a text", sources.text, _TEXT, BITS, 6, 32, 3e-3),
)
TASKS: dict[str, Task] = {task.name: task for task in _ALL}


def task_of(name: str, network: str | None = None) -> tuple[Task, str]:
    """A task and the name of the network that it trains.

    Args:
        name: Of the task.
        network: Of the network; the task's usual one if not given.

    Returns:
        The task, and the network's name.

    Raises:
        DataError: If there is no such task, or it has no such network.

    Example:
        >>> task, network = task_of("digits")
        >>> network, task.metric.name
        ('mlp', 'accuracy')
    """
    task = TASKS.get(name)
    if task is None:
        raise DataError(f"there is no task {name!r}; there are: {', '.join(TASKS)}")
    chosen = network or next(iter(task.networks))
    if chosen not in task.networks:
        raise DataError(f"the task {name} has no network {chosen!r}; it has: {', '.join(task.networks)}")
    return task, chosen
