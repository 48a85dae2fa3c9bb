"""One training run.

Stage: network, data and seed → [loop] → run. The seed decides the order of the data and nothing else here; float16 and
bfloat16 run under `torch.autocast` with parameters in float32, float16 with a `GradScaler`, on the CPU as on a GPU.
A run that diverges is recorded with the step where it did; it is no error.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actium.errors import DataError, DtypeError
from actium.train.data import Data
from actium.train.record import dead_share, finite, kept_bytes, learned, outputs_of

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# So many steps in a row that the scaler had to leave out: from 65536 its scale has fallen to 0.06 by then.
_SKIPPED_IN_A_ROW = 20
_TEST_BATCH = 1000


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes:
        epochs: How often the training data is gone through.
        batch: Examples in a step.
        learning_rate: Of Adam, at the start; it falls to 0 along a cosine.
        dtype: What matrix products and activations run in: float32, bfloat16 or float16.
        device: Such as cpu or cuda.

    Raises:
        DtypeError: If the dtype is none of the three.
        DataError: If a number is not positive.
    """

    epochs: int = 30
    batch: int = 64
    learning_rate: float = 3e-3
    dtype: str = "float32"
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise DtypeError(f"cannot train in {self.dtype!r}; expected one of {', '.join(DTYPES)}")
        for name in ("epochs", "batch", "learning_rate"):
            if not getattr(self, name) > 0:
                raise DataError(f"{name} is {getattr(self, name)}: expected a positive number")


@dataclass
class Run:
    """What came of a training run.

    Attributes:
        loss: Held-out loss at the end; None if it is not finite.
        metric: Held-out metric at the end; None if the run diverged.
        curve: For each epoch the mean training loss, the held-out loss and the metric.
        learned: Parameter of an activation → its value before the first epoch and after each.
        dead: For each activation, the share of units that are constant on the held-out data.
        seconds: Of all training steps.
        step_seconds: Median.
        kept_bytes: What autograd keeps between forward and backward of the first step.
        steps: How many were taken.
        skipped: How many of them the gradient scaler left out.
        diverged: Why the run was ended early; None if it was not.
        pruned: The epoch after which `report` ended it; None if it did not.
    """

    loss: float | None = None
    metric: float | None = None
    curve: list[dict[str, float | None]] = field(default_factory=list)
    learned: dict[str, list[float | None]] = field(default_factory=dict)
    dead: list[float] = field(default_factory=list)
    seconds: float = 0.0
    step_seconds: float = 0.0
    kept_bytes: int = 0
    steps: int = 0
    skipped: int = 0
    diverged: str | None = None
    pruned: int | None = None


Score = Callable[[Tensor, Tensor, float], float]
# True ends the run.
Report = Callable[[int, Run], bool | None]


def mean_loss(scores: Tensor, target: Tensor) -> Tensor:
    """The mean loss in float32: cross entropy where the targets are integers, else squared error."""
    if target.is_floating_point():
        return F.mse_loss(scores.float(), target)
    return F.cross_entropy(scores.float().flatten(0, -2), target.flatten())


def accuracy(scores: Tensor, target: Tensor, loss: float) -> float:
    """The share of right classes; NaN has none."""
    if not math.isfinite(loss):
        return 0.0
    return float((scores.argmax(dim=-1) == target).double().mean())


def fit(
    network: nn.Module,
    data: Data,
    settings: Settings | None = None,
    *,
    seed: int = 0,
    score: Score = accuracy,
    activations: Sequence[nn.Module] = (),
    report: Report | None = None,
) -> Run:
    """Train a network.

    Args:
        network: Is changed. Its weights are not drawn here: see `networks.draw_weights`.
        data: What to learn from, and what to be judged on.
        settings: How.
        seed: Of the order of the data; also of what the network draws while it trains.
        score: The metric of held-out predictions, targets and mean loss.
        activations: Modules of the network whose units and parameters are recorded.
        report: Called after each epoch with its number, from 1, and the run so far; true ends the run. `print_loss`
            prints the loss.

    Returns:
        What came of it. A run that diverged says so and has no metric.

    Example:
        >>> from actium.train.networks import MLP
        >>> x = torch.linspace(-1, 1, 64)[:, None]
        >>> run = fit(MLP(nn.Tanh, 1, 2), Data(x, (x[:, 0] > 0).long(), x, (x[:, 0] > 0).long(), 2), Settings(epochs=9))
        >>> run.metric > 0.9, len(run.curve)
        (True, 9)
    """
    trainer = _Trainer(network, data, settings or Settings(), score, activations)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        trainer.train(torch.Generator().manual_seed(seed), report)
    return trainer.run


def print_loss(epoch: int, run: Run) -> None:
    """Print the mean training loss of an epoch, and the held-out loss after it: a `report` for `fit`.

    Args:
        epoch: Its number.
        run: The run so far.

    Example:
        >>> from actium.train.networks import MLP
        >>> x = torch.linspace(-1, 1, 64)[:, None]
        >>> data = Data(x, (x[:, 0] > 0).long(), x, (x[:, 0] > 0).long(), 2)
        >>> run = fit(MLP(nn.Tanh, 1, 2), data, Settings(epochs=2), report=print_loss)  # doctest: +ELLIPSIS
        epoch 1: loss ..., held out ...
        epoch 2: loss ..., held out ...
    """
    losses = run.curve[-1]
    train, held_out = ("none" if (v := losses[n]) is None else f"{v:.4g}" for n in ("train_loss", "test_loss"))
    sys.stdout.write(f"epoch {epoch}: loss {train}, held out {held_out}\n")


class _Trainer:
    """The state of a run."""

    def __init__(
        self, network: nn.Module, data: Data, settings: Settings, score: Score, activations: Sequence[nn.Module]
    ) -> None:
        self.settings, self.score, self.activations = settings, score, activations
        self.device = torch.device(settings.device)
        self.network = network.to(self.device)
        self.x, self.y = data.train_x.to(self.device), data.train_y.to(self.device)
        self.test_x, self.test_y = data.test_x.to(self.device), data.test_y.to(self.device)
        self.run = Run()
        half = settings.dtype == "float16"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=half)
        parameters = [p for p in network.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(parameters, lr=settings.learning_rate)
        self.total = settings.epochs * math.ceil(len(self.x) / settings.batch)
        self.skipped_in_a_row = 0

    def train(self, order: torch.Generator, report: Report | None) -> None:
        """All epochs, or as many as there are before the run diverges."""
        run, times = self.run, []
        self._note_learned()
        for epoch in range(1, self.settings.epochs + 1):
            losses = []
            self.network.train()
            for rows in torch.randperm(len(self.x), generator=order).to(self.device).split(self.settings.batch):
                begin = time.perf_counter()
                losses.append(self._step(rows))
                times.append(time.perf_counter() - begin)
                if run.diverged:
                    break
            self._evaluate(epoch, losses)
            self._note_learned()
            if report is not None and report(epoch, run) and not run.diverged:
                run.pruned = epoch
            if run.diverged or run.pruned:
                break
        run.seconds, run.step_seconds = sum(times), statistics.median(times)

    def _loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        dtype = DTYPES[self.settings.dtype]
        with torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not torch.float32):
            scores = self.network(x)
        return scores, mean_loss(scores, y)

    def _step(self, rows: Tensor) -> float:
        run, x, y = self.run, self.x[rows], self.y[rows]
        if run.steps == 0:
            # Before the first step, and thrown away: the hooks that count would slow the step down.
            run.kept_bytes = kept_bytes(lambda: self._loss(x, y)[1], self.network)
        share = 0.5 + 0.5 * math.cos(math.pi * run.steps / self.total)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * share
        self.optimizer.zero_grad()
        loss = self._loss(x, y)[1]
        run.steps += 1
        value = float(loss.detach())
        if not math.isfinite(value):
            run.diverged = f"the loss is {value} at step {run.steps} of {self.total}"
            return value
        self._descend(loss)
        return value

    def _descend(self, loss: Tensor) -> None:
        if not loss.requires_grad:
            self.run.diverged = "no gradient reaches any parameter"
            return
        before = self.scaler.get_scale()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        was_skipped = self.scaler.get_scale() < before
        self.run.skipped += was_skipped
        self.skipped_in_a_row = self.skipped_in_a_row + 1 if was_skipped else 0
        if self.skipped_in_a_row >= _SKIPPED_IN_A_ROW:
            steps = f"{_SKIPPED_IN_A_ROW} steps in a row, up to step {self.run.steps} of {self.total}"
            self.run.diverged = f"no finite gradient in {steps}, at any scale of the loss"

    @torch.no_grad()
    def _evaluate(self, epoch: int, losses: Sequence[float]) -> None:
        self.network.eval()
        is_last = epoch == self.settings.epochs or self.run.diverged is not None
        scores, total = [], 0.0
        with outputs_of(self.activations if is_last else ()) as seen:
            for x, y in zip(self.test_x.split(_TEST_BATCH), self.test_y.split(_TEST_BATCH), strict=True):
                found, loss = self._loss(x, y)
                scores.append(found)
                total += float(loss) * len(x)
        loss = total / len(self.test_x)
        metric = self.score(torch.cat(scores).float(), self.test_y, loss)
        run = self.run
        run.loss = finite(loss)
        if run.loss is None and run.diverged is None:
            run.diverged = "the held-out loss is not finite"
        run.metric = None if run.diverged else finite(metric)
        if is_last:
            run.dead = [dead_share(outputs, _channel_dim(outputs[0])) for outputs in seen if outputs]
        row = {"epoch": epoch, "train_loss": finite(statistics.fmean(losses)), "test_loss": run.loss}
        run.curve.append(row | {"metric": run.metric})

    def _note_learned(self) -> None:
        for name, value in learned(self.activations).items():
            self.run.learned.setdefault(name, []).append(finite(value))


def _channel_dim(output: Tensor) -> int:
    """Where the units are counted: images have them in dimension 1, everything else in the last."""
    return 1 if output.dim() == 4 else -1
