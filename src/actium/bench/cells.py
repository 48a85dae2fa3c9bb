"""One target at one size, format, device and pass: everything timed in the same turns.

Stage: case, spot → [cell] → report. In: what to compare, and where. Out: a `Cell` of numbers. The input is drawn from
the normal distribution, the same for all; forward alone runs without gradients, as in inference.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from actium.bench.cases import Call, Case, Contender
from actium.bench.copy import COPIES, bytes_moved, copies
from actium.bench.grid import Grid, Spot
from actium.bench.memory import peak_bytes
from actium.bench.timing import Interval, Samples, interleaved
from actium.errors import BenchError
from actium.verify.run import kept_bytes
from actium.verify.subject import SubjectError, guarded, one_line

_SEED = 20190823
# Values are compared on the first so many elements.
_COMPARED = 1 << 20


@dataclass(frozen=True)
class Result:
    """One contender.

    Attributes:
        seconds: Of one call: the median, between the quartiles.
        turns: How often it was measured.
        repeats: Calls in each turn.
        ratio: Its time over the target's, with a 95 % interval; None for the target itself.
        share: The floor's time over its own: which part of the copy's bandwidth it reaches.
        saved: Bytes per element that it keeps for backward, the input included; None if that was not asked for.
        peak: Most bytes per element that it allocated at a time, beside input and incoming gradient; None likewise.
        difference: Largest difference of its output from the target's; None for the target.
    """

    seconds: Interval
    turns: int
    repeats: int
    ratio: Interval | None
    share: float
    saved: float | None = None
    peak: float | None = None
    difference: float | None = None


@dataclass(frozen=True)
class Cell:
    """All contenders at one spot.

    Attributes:
        target: As typed.
        spot: Size, format, device and pass.
        copy: Which copy was the fastest.
        copy_seconds: What it took for one tensor of this size.
        bytes: What an elementwise function has to read and write here.
        results: By contender, the target first.
        failed: Contender → why it was not measured.
    """

    target: str
    spot: Spot
    copy: str = ""
    copy_seconds: float = 0.0
    bytes: int = 0
    results: Mapping[str, Result] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def bandwidth(self) -> float:
        """Bytes per second that the copy reads and writes."""
        return copied(self.spot) / self.copy_seconds

    @property
    def floor(self) -> float:
        """Seconds that the bytes take at that bandwidth."""
        return self.bytes / self.bandwidth


def copied(spot: Spot) -> int:
    """The bytes that a copy of one tensor reads and writes."""
    return 2 * spot.elements * _dtype(spot).itemsize


def check_devices(grid: Grid) -> None:
    """Say at once which device is not there.

    Raises:
        BenchError: If one is not, or cannot compute.
    """
    for name in grid.devices:
        try:
            if torch.device(name).type == "meta":
                raise RuntimeError("it holds no numbers")
            torch.empty(1, device=name)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise BenchError(f"--device {name}: {one_line(error).partition(': ')[2]}") from error


def measure(
    case: Case, spot: Spot, seconds: float = 0.5, memory: bool = True, say: Callable[[str], object] = lambda what: None
) -> Cell:
    """Time everything that a case holds at one spot.

    Args:
        case: The target and what to compare it with.
        spot: Where.
        seconds: How long for each contender.
        memory: Whether to look at memory, too.
        say: Told what is going on: each contender as it is prepared, then the timing.

    Returns:
        The cell. A contender that raises is in `failed`; if that is the target, there are no results.

    Example:
        >>> from actium.bench.cases import case_of
        >>> cell = measure(case_of("silu", compiled=False), Spot(1000, "float32", "cpu", "both"), seconds=0.01)
        >>> list(cell.results), cell.bytes, cell.results["torch"].ratio.median > 0
        (['actium', 'torch', 'composite'], 20000, True)
    """
    x, grad = _tensors(spot)
    steps, failed = dict[str, _Step](), dict[str, str]()
    with _settings(case, spot):
        for contender in case.contenders:
            say("torch.compile compiles" if contender.compiled else f"preparing {contender.name}")
            try:
                steps[contender.name] = _prepared(contender, spot, x, grad)
            except SubjectError as error:
                failed[contender.name] = str(error)
        if case.contenders[0].name in failed:
            return Cell(case.target, spot, failed=failed)
        say("timing")
        try:
            samples = _timed(steps, x, spot, seconds)
        except (Exception, SystemExit) as error:  # foreign code that has had enough of being called
            return Cell(case.target, spot, failed={**failed, case.contenders[0].name: f"timing: {one_line(error)}"})
        copy = min((name for name in COPIES if name in samples.seconds), key=samples.median)
        cell = Cell(case.target, spot, copy, samples.median(copy), bytes_moved(x, spot.which), {}, failed)
        return replace(cell, results=_results(steps, samples, x, cell, memory))


# --- One contender -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Step:
    """What is timed, and the function in it."""

    call: Call
    run: Callable[[], object]


def _dtype(spot: Spot) -> torch.dtype:
    return getattr(torch, spot.dtype)


def _tensors(spot: Spot) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(_SEED)
    made = (torch.randn(spot.elements, generator=source).to(_dtype(spot)).to(spot.device) for _ in range(2))
    x, grad = made
    return x, grad


@contextlib.contextmanager
def _settings(case: Case, spot: Spot) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(torch.set_grad_enabled(spot.which != "forward"))
        if spot.which == "backward" and any(c.compiled for c in case.contenders):
            import torch._functorch.config as functorch_config

            # Else a compiled backward may run only once: it gives away what forward kept.
            stack.enter_context(functorch_config.patch(donated_buffer=False))
        yield


def _prepared(contender: Contender, spot: Spot, x: Tensor, grad: Tensor) -> _Step:
    """The call that is timed, once it has run and is seen to do what is measured.

    Raises:
        SubjectError: If it raises, changes its input, or gives no tensor of the input's shape.
    """
    with guarded(), torch.set_grad_enabled(spot.which != "forward"):
        call, parameters = contender.call(_dtype(spot), spot.device)
        leaf = x if spot.which == "forward" else x.detach().requires_grad_()
        version = leaf._version
        y = call(leaf)
        if leaf._version != version:
            raise SubjectError("works in place: every call would see another input")
        if not isinstance(y, Tensor) or y.shape != x.shape:
            got = f"shape {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
            raise SubjectError(f"gives {got} for an input of shape {tuple(x.shape)}")
        grad = grad.to(y.dtype)
        if spot.which == "forward":
            run = functools.partial(call, x)
        elif not y.requires_grad:
            raise SubjectError("has no gradient: choose --pass forward")
        elif spot.which == "both":
            run = _both(call, leaf, grad, parameters)
        else:
            run = functools.partial(torch.autograd.grad, y, (leaf, *parameters), grad, retain_graph=True)
        run()
    return _Step(call, run)


def _both(call: Call, leaf: Tensor, grad: Tensor, parameters: tuple[Tensor, ...]) -> Callable[[], None]:
    """Forward and backward; gradients are released as an optimiser would, before the next step."""

    def run() -> None:
        call(leaf).backward(grad)
        leaf.grad = None
        for p in parameters:
            p.grad = None

    return run


# --- Numbers -----------------------------------------------------------------------------------------------


def _timed(steps: Mapping[str, _Step], x: Tensor, spot: Spot, seconds: float) -> Samples:
    calls: dict[str, Callable[[], object]] = {name: step.run for name, step in steps.items()}
    wait = None if x.is_cpu else functools.partial(torch.accelerator.synchronize, spot.device)
    return interleaved({**calls, **copies(x)}, seconds, synchronise=wait)


def _results(steps: Mapping[str, _Step], samples: Samples, x: Tensor, cell: Cell, memory: bool) -> dict[str, Result]:
    first = next(iter(steps))
    with torch.no_grad():
        values = {name: step.call(x) for name, step in steps.items()}
    made = {}
    for name, step in steps.items():
        saved, peak = _memory(step, x, cell.spot) if memory else (None, None)
        made[name] = Result(
            samples.spread(name),
            turns=len(samples.seconds[name]),
            repeats=samples.repeats[name],
            ratio=None if name == first else samples.ratio(name, first),
            share=cell.floor / samples.median(name),
            saved=saved,
            peak=peak,
            difference=None if name == first else _difference(values[name], values[first]),
        )
    return made


def _memory(step: _Step, x: Tensor, spot: Spot) -> tuple[float | None, float]:
    peak = peak_bytes(step.run, spot.device) / spot.elements
    if spot.which == "forward":
        return None, peak
    return kept_bytes(step.call, x.detach().requires_grad_()) / spot.elements, peak


def _difference(y: Tensor, truth: Tensor) -> float:
    a, b = (t.detach()[:_COMPARED].double() for t in (y, truth))
    same = (a == b) | (a.isnan() & b.isnan())
    return float((a - b).abs().masked_fill(same, 0.0).nan_to_num(nan=torch.inf, posinf=torch.inf).max())
