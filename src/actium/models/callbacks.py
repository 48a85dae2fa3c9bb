"""The monitor as a callback of Lightning's and transformers' trainers.

Stage: trainer → [callback] → monitor. In: the trainer's events. Out: records in the monitor's sinks. Neither library is
imported: whoever has a trainer has imported it already, and its own base class is used then.
"""

from __future__ import annotations

import sys
from typing import Any

from actium.models.monitoring import Monitor, monitor


def _base(*places: tuple[str, str]) -> type:
    """The base class of callbacks of a library that is already loaded; `object` if it is not."""
    for module, name in places:
        found = getattr(sys.modules.get(module), name, None)
        if isinstance(found, type):
            return found
    return object


class _Watching:
    """One monitor from the beginning of a training to its end, whatever ends it."""

    def __init__(self, sinks: tuple[Any, ...], options: dict[str, Any]) -> None:
        self.sinks, self.options = sinks, options
        self.monitor: Monitor | None = None

    def begin(self, model: Any) -> None:
        self.end()
        self.monitor = monitor(model, *self.sinks, **self.options)
        self.monitor.__enter__()

    def step(self) -> None:
        if self.monitor is not None and self.monitor.active:
            self.monitor.step()

    def end(self) -> None:
        if self.monitor is not None and self.monitor.active:
            self.monitor.close()


def lightning_callback(*sinks: Any, **options: Any) -> Any:
    """A callback for `Trainer(callbacks=[…])` of Lightning that watches the LightningModule's activations.

    Import Lightning first: the callback derives from its `Callback`.

    Args:
        *sinks: As for `monitor`.
        **options: As for `monitor`.

    Returns:
        The callback; its records are in `callback.watching.monitor.records`.

    Example:
        >>> import torch
        >>> callback = lightning_callback(every=50)
        >>> callback.on_train_start(None, torch.nn.Sequential(torch.nn.ReLU()))
        >>> callback.on_train_end(None, None)
    """
    base = _base(("lightning.pytorch", "Callback"), ("pytorch_lightning", "Callback"))

    class ActivationMonitor(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__()
            self.watching = _Watching(sinks, options)

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self.watching.begin(pl_module)

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            self.watching.step()

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            self.watching.end()

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            self.watching.end()

    return ActivationMonitor()


def hf_callback(*sinks: Any, **options: Any) -> Any:
    """A callback for `Trainer(callbacks=[…])` of transformers.

    Import transformers first: the callback derives from its `TrainerCallback`.

    Args:
        *sinks: As for `monitor`.
        **options: As for `monitor`.

    Returns:
        The callback; its records are in `callback.watching.monitor.records`.

    Example:
        >>> import torch
        >>> callback = hf_callback(every=50)
        >>> callback.on_train_begin(None, None, None, model=torch.nn.Sequential(torch.nn.ReLU()))
        >>> callback.on_train_end(None, None, None)
    """
    base = _base(("transformers.trainer_callback", "TrainerCallback"), ("transformers", "TrainerCallback"))

    class ActivationMonitor(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__()
            self.watching = _Watching(sinks, options)

        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            self.watching.begin(model)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.watching.step()

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.watching.end()

    return ActivationMonitor()
