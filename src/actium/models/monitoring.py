"""Watch the activations of a model while it trains.

Stage: model in training → [monitor] → records. In: a model. Out: dead units, saturation, moments, gradient flow and
drift of learned parameters, every so many steps. Uses forward hooks on activation modules and tensor hooks on their
outputs, and no module backward hooks, which fail on modules that work in place.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from torch import Tensor, nn

from actium.errors import ParameterError
from actium.gated_module import GatedModule
from actium.models.making import is_compiled, named_activations
from actium.models.measuring import Seen, measure_gradient, measure_output, parameter_values, subset, summary
from actium.models.sinks import Record, Sink, sink_of

_LIMIT = 65_536  # numbers of a batch that are looked at


class Monitor:
    """Hooks on a model between `with` and its end; see `monitor`.

    Attributes:
        records: (step, record) of every step that was looked at; a record is {activation: {metric: number}}.
        blind: What it cannot see, and why.
        skipped: Steps whose batch was empty.
        active: Whether it is watching now.
    """

    def __init__(
        self, model: nn.Module, every: int, window: int, sinks: tuple[Any, ...], types: tuple[type[nn.Module], ...]
    ) -> None:
        for name, value in (("every", every), ("window", window)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ParameterError(f"{name} must be a whole number of 1 or more, got {value!r}")
        self.records: list[tuple[int, Record]] = []
        self.blind: list[str] = []
        self.skipped = 0
        self._model, self._every, self._types = model, every, types
        self._targets = sinks
        self._sinks: list[Sink] = []
        self._handles: list[Any] = []
        self._watched: dict[str, nn.Module] = {}
        self._window: dict[str, deque[Tensor]] = {}
        self._length = window
        self._start: dict[str, dict[str, Tensor]] = {}
        self._seen: dict[str, Seen] = {}
        self._unseen: list[str] = []
        self._step = -1
        self.active = False
        self._looking = False

    # -- life ------------------------------------------------------------------------------------------------

    def __enter__(self) -> Monitor:
        if self.active:
            raise ParameterError("this monitor is already watching; make another with actium.monitor(model)")
        self.active = True
        try:
            self._sinks = [sink_of(target) for target in self._targets]
            self._watch()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what is pending, remove the hooks, close the sinks."""
        try:
            self._flush()
        finally:
            for handle in self._handles:
                handle.remove()
            self._handles.clear()
            for sink in self._sinks:
                sink.close()
            self._sinks.clear()
            self.active = False

    def _watch(self) -> None:
        hidden = {id(m) for c in self._model.modules() if is_compiled(c) for m in c.modules()}
        unseen = self._unseen
        # A gated unit computes its activation in one pass with the product, and does not call the module of it.
        units: dict[int, list[GatedModule]] = {}
        for unit in self._model.modules():
            if isinstance(unit, GatedModule):
                units.setdefault(id(unit.activation), []).append(unit)
        for name, module in named_activations(self._model, self._types):
            self._watched[name] = module
            self._start[name] = parameter_values(module)
            self._window[name] = deque(maxlen=self._length)
            if id(module) in hidden:
                unseen.append(name)
                continue
            self._handles.append(module.register_forward_pre_hook(_Before(self, name), with_kwargs=True))
            self._handles.append(module.register_forward_hook(_After(self, name)))
            for unit in units.get(id(module), ()):
                self._handles.append(unit.register_forward_hook(_AfterUnit(self, name), with_kwargs=True))
        if unseen:
            self.blind.append(
                f"{', '.join(unseen)}: inside a compiled model, which runs no hooks, so only learned parameters are "
                "seen; watch the model without torch.compile for a while"
            )
        if not self._watched:
            self.blind.append(
                "the model has no activation modules that are known: calls such as F.relu(x) are not seen (swap them "
                "for modules), classes of your own need types=(MyActivation,)"
            )
        self._handles.append(self._model.register_forward_pre_hook(self._begin, prepend=True))

    # -- steps -----------------------------------------------------------------------------------------------

    def _begin(self, *_: Any) -> None:
        """A forward of the whole model begins: the step before is over."""
        if torch.compiler.is_compiling() or not torch.is_grad_enabled() or _in_backward():
            self._looking = False
            return
        self._flush()
        self._step += 1
        self._looking = self._step % self._every == 0
        if self._looking:
            learners = [n for n in self._unseen if self._start[n]]
            self._seen = {n: Seen(calls=1) for n in learners}

    def step(self) -> None:
        """Say that an optimizer's step is over, so that its record is written now rather than at the next forward."""
        self._flush()

    def _flush(self) -> None:
        self._looking = False
        if not self._seen:
            return
        record = {name: self._row(name, seen) for name, seen in self._seen.items() if seen.calls}
        self._seen = {}
        if not record:
            self.skipped += 1
            return
        self.records.append((self._step, record))
        for sink in self._sinks:
            sink.write(self._step, record)

    def _row(self, name: str, seen: Seen) -> dict[str, float]:
        values = dict(seen.values)
        if seen.alive is not None:
            window = self._window[name]
            if window and window[0].shape != seen.alive.shape:
                window.clear()
            window.append(seen.alive)
            values["dead"] = 1.0 - float(torch.stack(list(window)).any(0).float().mean())
        for key, now in parameter_values(self._watched[name]).items():
            start = self._start[name][key].to(now.device)
            values |= {f"{key}.{what}": v for what, v in summary(now).items()}
            values[f"{key}.drift"] = float((now - start).norm() / start.norm().clamp_min(1e-12))
        return values

    # -- hooks -----------------------------------------------------------------------------------------------

    def _before(self, name: str, x: Tensor) -> None:
        seen = self._seen.setdefault(name, Seen())
        if not x.numel():
            return
        seen.calls += 1
        measure_output(seen, self._watched[name], subset(x, _LIMIT))

    def _after(self, name: str, y: Tensor) -> None:
        if y.requires_grad and y.numel():
            seen = self._seen.setdefault(name, Seen())
            y.register_hook(lambda grad: measure_gradient(seen, subset(grad, _LIMIT)))

    def latest(self) -> Record:
        """The last record; empty if there is none."""
        return self.records[-1][1] if self.records else {}


class _Before:
    def __init__(self, monitor: Monitor, name: str) -> None:
        self.monitor, self.name = monitor, name

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self.monitor._looking or torch.compiler.is_compiling() or _in_backward():
            return
        x = args[0] if args else next(iter(kwargs.values()), None)
        if isinstance(x, Tensor) and x.is_floating_point():
            self.monitor._before(self.name, x)


class _After:
    def __init__(self, monitor: Monitor, name: str) -> None:
        self.monitor, self.name = monitor, name

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        if not self.monitor._looking or torch.compiler.is_compiling() or _in_backward():
            return
        if isinstance(output, Tensor):
            self.monitor._after(self.name, output)


class _AfterUnit:
    def __init__(self, monitor: Monitor, name: str) -> None:
        self.monitor, self.name = monitor, name

    def __call__(self, module: GatedModule, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        if not self.monitor._looking or torch.compiler.is_compiling() or _in_backward():
            return
        self.monitor._before(self.name, module.gate_of(*args, **kwargs))
        self.monitor._after(self.name, output)


def _in_backward() -> bool:
    """Whether autograd is running: a checkpointed part is run again there, and has been seen."""
    return torch._C._current_graph_task_id() != -1


def monitor(
    model: nn.Module,
    *sinks: Any,
    every: int = 20,
    window: int = 10,
    types: tuple[type[nn.Module], ...] = (),
) -> Monitor:
    """Watch a model's activations while it trains.

    A step is one forward of the model with gradients enabled; one in `every` is looked at, on a sample of at most
    65,536 numbers of each activation's input. For each activation module (ours, those of `torch.nn`, transformers
    and timm, and `types`):

    - `dead`: share of units (channels of images, else the last dimension) whose slope was 0 on every sample of the
      last `window` steps looked at;
    - `saturated`: share of inputs where |f′| is below 0.05;
    - `mean`, `std`, `max_abs`, `zero`: of the output, over what is finite; `not_finite`: how many are not;
    - `grad_rms`, `grad_not_finite`: of the gradient that comes back into the output. With a gradient scaler it is
      scaled;
    - `NAME.mean`, `.std`, `.min`, `.max`, `.drift` of each learned parameter; drift is the distance from where it
      was at the beginning, relative to that.

    Of a gated unit the activation is watched under its own path, such as "1.activation": its numbers are those of the
    function of the gate, on the gate; the gradient is that of the unit's output.

    Batches with NaN are counted, empty ones skipped. Modules that work in place, DDP, checkpointing and several
    monitors at once are fine. `blind` says what is not seen: modules inside a compiled model, and calls of functions.

    Args:
        model: The model, also wrapped.
        *sinks: Where records go besides `records`: a path (JSON lines), "live" (a table on a terminal), a TensorBoard
            writer, or anything with `.log(dict, step=)`, such as a W&B run.
        every: Look at one step in so many.
        window: Steps looked at over which a unit must be dead.
        types: Classes of your own to treat as activations.

    Returns:
        A context manager.

    Raises:
        ParameterError: If an argument is none of the above.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
        >>> with monitor(model, every=1) as m:
        ...     model(torch.ones(2, 4)).sum().backward()
        >>> sorted(m.latest()["1"])
        ['dead', 'grad_not_finite', 'grad_rms', 'max_abs', 'mean', 'not_finite', 'saturated', 'std', 'zero']
    """
    return Monitor(model, every, window, sinks, types)
