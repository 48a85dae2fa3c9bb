"""Every float32 encoding through the subject and beside the reference, exponent by exponent.

Stage: subject + formula → pieces → screen → [sweep] → verdict → certificate.
In: a runner and a formula. Out: a tally for each of the 512 combinations of sign and exponent. Tallies can be kept in
a file, one line each; a run that was interrupted goes on after the last one.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from actium.exhaustive.pieces import UNIT_SIZE, Cutter, Unit
from actium.exhaustive.screen import Screen, Screened, inputs
from actium.exhaustive.tally import FLOAT32, Tally, UnitTally
from actium.verify.case import budget
from actium.verify.subject import Call, Runner, SubjectError, guarded

UNITS = range(512)
# Large enough that calls cost little beside the work, small enough for the caches.
CHUNK = 1 << 17
# How far the subject may run ahead of the comparison.
_AHEAD = 4

Progress = Callable[[int, int], None]
_Compared = tuple[Tensor, Tensor | None, tuple[int, Screened, Screened]]


class Journal:
    """Tallies in a file of JSON lines; the first line says what they hold for.

    Args:
        path: The file. What it holds for other facts, or was cut short, is not used.
        facts: What the results depend on.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        self._path = path
        self.done: dict[int, UnitTally] = {}
        head = json.dumps(dict(facts), sort_keys=True)
        lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
        if lines and lines[0] == head:
            for line in lines[1:-1]:  # what follows the last line break was cut short
                tally = UnitTally.from_json(json.loads(line))
                self.done[tally.index] = tally
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [json.dumps(self.done[i].to_json()) for i in sorted(self.done)]
        scratch = path.with_suffix(".new")
        scratch.write_text("\n".join([head, *kept, ""]), encoding="utf-8")
        os.replace(scratch, path)

    def add(self, tally: UnitTally) -> None:
        """Keep a tally."""
        self.done[tally.index] = tally
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(tally.to_json()) + "\n")

    def discard(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)


def sweep(
    runner: Runner,
    cutter: Cutter,
    units: Iterable[int] = UNITS,
    journal: Journal | None = None,
    progress: Progress | None = None,
    concurrent: bool = False,
) -> list[UnitTally]:
    """Run the subject on every encoding of some exponents.

    Args:
        runner: The subject; its layout is known.
        cutter: The reference.
        units: Which exponents: the encodings' upper nine bits.
        journal: Where tallies are kept.
        progress: Called with how many exponents are done, and of how many.
        concurrent: Whether the subject may be called in several threads at once: half the time where it takes longer
            than the comparison.

    Returns:
        The tallies, in order.

    Raises:
        SubjectError: If the subject cannot be run.
        KernelError: If there is no C compiler.
    """
    wanted = sorted(units)
    done = {} if journal is None else {i: t for i, t in journal.done.items() if i in set(wanted)}
    run = _Run(runner, concurrent)
    # This thread calls the subject, or only collects.
    helpers = (os.cpu_count() or 2) - (0 if concurrent else 1)
    with _one_thread(), ThreadPoolExecutor(max(1, min(_AHEAD, helpers))) as pool:
        for index in wanted:
            if index not in done:
                done[index] = run.special(index) if index & 255 == 255 else run.unit(index, cutter.unit(index), pool)
                if journal is not None:
                    journal.add(done[index])
            if progress is not None:
                progress(len(done), len(wanted))
    return [done[i] for i in wanted]


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Run the subject in one thread of torch: chunks are small, and the comparison has the other processors."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Run:
    """The subject on chunks of consecutive encodings."""

    def __init__(self, runner: Runner, concurrent: bool) -> None:
        self._concurrent = concurrent
        first = runner.run(inputs(0x3F800000, 64))
        self._copies = first.mutated
        self._slopes = first.gradient is not None
        self._call: Call = runner.as_is()
        self._ones = torch.ones(CHUNK)

    def unit(self, index: int, unit: Unit, pool: ThreadPoolExecutor) -> UnitTally:
        """A finite exponent."""
        screen = Screen(unit.pieces)
        tally = UnitTally(index, singles=unit.singles, kinks=unit.kinks, pieces=len(unit.pieces))
        tally.gradient = Tally() if self._slopes else None
        tally.undecided, tally.outside = (sum(b - a + 1 for a, b in r) for r in (unit.undecided, unit.outside))
        tally.slopes_unknown = sum(p.last - p.first + 1 for p in unit.pieces if not p.slope_known)
        tally.bound = max((p.bound for p in unit.pieces), default=0.0)
        tally.ruler_error = max((p.ruler_error for p in unit.pieces), default=0.0)
        waiting: deque[tuple[int, Future[_Compared]]] = deque()
        with guarded():
            for first in range(index << 23, (index << 23) + UNIT_SIZE, CHUNK):
                if self._concurrent:
                    waiting.append((first, pool.submit(self._compared, screen, first)))
                else:
                    waiting.append((first, pool.submit(_compare, screen, first, *self._results(first))))
                if len(waiting) > _AHEAD:
                    _take(tally, *waiting.popleft())
            while waiting:
                _take(tally, *waiting.popleft())
        return tally

    def _compared(self, screen: Screen, first: int) -> _Compared:
        with torch.enable_grad():  # a setting of each thread
            return _compare(screen, first, *self._results(first))

    def special(self, index: int) -> UnitTally:
        """Infinity and the NaN: every NaN must come out as NaN."""
        tally = UnitTally(index)
        lost = [0, 0]
        with guarded():
            for first in range(index << 23, (index << 23) + UNIT_SIZE, CHUNK):
                skipped = 1 if first == index << 23 else 0  # the infinity
                for k, values in enumerate(self._results(first)):
                    if values is not None:
                        lost[k] += int((~torch.isnan(values[skipped:])).sum())
                tally.nan_inputs += CHUNK - skipped
        tally.nan_lost = lost[0], lost[1]
        return tally

    def _results(self, first: int) -> tuple[Tensor, Tensor | None]:
        leaf = inputs(first, CHUNK).requires_grad_(self._slopes)
        output = self._call(leaf.clone() if self._copies else leaf)
        if output.numel() != CHUNK:
            raise SubjectError(f"{CHUNK} numbers in, {output.numel()} out")
        gradient = None
        if self._slopes and output.requires_grad:
            ones = self._ones.to(output.dtype).reshape(output.shape)
            (gradient,) = torch.autograd.grad(output, leaf, ones, allow_unused=True)
        if self._slopes and gradient is None:
            gradient = torch.zeros(CHUNK)
        return _plain(output), None if gradient is None else _plain(gradient)


def _plain(values: Tensor) -> Tensor:
    return values.detach().float().reshape(-1).contiguous()


def _compare(screen: Screen, first: int, y: Tensor, g: Tensor | None) -> _Compared:
    return y, g, screen.compare(first, y, g, budget(FLOAT32))


def _take(tally: UnitTally, first: int, compared: Future[_Compared]) -> None:
    y, g, (covered, of_output, of_gradient) = compared.result()
    tally.compared += covered
    for name, screened, values, into in (
        ("output", of_output, y, tally.output),
        ("gradient", of_gradient, g, tally.gradient),
    ):
        if values is None or into is None:
            continue
        at = screened.suspects.encodings.astype("int64") - first
        into.add(name, screened, values.double().numpy()[at], y.numpy()[at])  # type: ignore[arg-type]
