"""Which memory modes a function has, what each keeps, and how exact it is.

Stage: op → [modes] → activation. In: an op. Out: `Lean`, one for each op and mode, with what it needs to run: the two
slopes, the grid, or the table. What a function does not have is refused, with the modes that it has.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast, get_args

import torch
from torch import Tensor

from actium.errors import MemoryModeError
from actium.kernels import dispatch
from actium.kernels.lean import Kind, LeanKernels
from actium.lean.grid import Grid, make_grid
from actium.lean.table import HALVES, Recall, recall
from actium.op import Op
from actium.symbolic.graph import variable
from actium.symbolic.selection import two_values

Memory = Literal["exact", "bits", "uint8", "output"]
MODES: tuple[str, ...] = get_args(Memory)
_KINDS: dict[str, Kind] = {"bits": "bits", "uint8": "codes", "output": "recall"}

# Slopes in kernels of halves: their relative error, beside that of the grid.
_CPU = torch.device("cpu")
_NARROW = 2.0**-15

Kept = TypeVar("Kept")


class Lacking(MemoryModeError):
    """A mode that a function does not have; `explained` adds those that it has."""

    def __init__(self, op: Op, memory: str, why: str) -> None:
        super().__init__(f"{op.name}: no memory={memory!r}: {why}")
        self.op, self.memory = op, memory

    def explained(self) -> MemoryModeError:
        """The error for the caller."""
        op = self.op
        found = ["exact"]
        if two_values(op.plan.slope(op.formula.inputs[0]).root, variable(op.formula.inputs[0])) is not None:
            found.append("bits")
        numbers = tuple(op.defaults[p] for p in op.formula.parameters)
        if slope_range(op, numbers) is not None:
            found.append("uint8")
        if self.memory != "output" and not isinstance(recall(op, numbers, torch.bfloat16, _CPU), str):
            found.append("output (float16 and bfloat16)")
        return MemoryModeError(f"{self}; it has {', '.join(found)}")


@dataclass(frozen=True)
class MemoryMode:
    """One way to keep what the backward pass needs.

    Attributes:
        name: The value of `memory=`.
        bytes_per_element: What forward keeps, beyond its output.
        slope_error: How far the slope is from f′ at most; 0.0 where it is the same as with "exact".
    """

    name: str
    bytes_per_element: float
    slope_error: float

    def __str__(self) -> str:
        error = f", slope within {self.slope_error:.2g}" if self.slope_error else ""
        return f"{self.name}: {self.bytes_per_element:g} bytes per element{error}"


class Lean:
    """One op in one memory mode.

    Args:
        op: Of one input.
        memory: Any mode but "exact".

    Raises:
        MemoryModeError: If the function does not have the mode.
    """

    def __init__(self, op: Op, memory: str) -> None:
        self.op, self.memory, self.kind = op, memory, _KINDS[memory]
        x = variable(op.formula.inputs[0])
        two = two_values(op.plan.slope(op.formula.inputs[0]).root, x) if self.kind == "bits" else None
        if self.kind == "bits" and two is None:
            raise Lacking(op, memory, "its slope takes other values than two")
        self.kernels = LeanKernels(op.plan, self.kind, two)
        self._grids: dict[Any, Grid] = {}
        self._recalls: dict[Any, Recall] = {}
        self._tensors: dict[Any, Tensor] = {}

    def grid(self, numbers: tuple[float, ...]) -> Grid:
        """The slopes that a byte stands for, from a proof of their range."""

        def make() -> Grid:
            found = slope_range(self.op, numbers)
            if found is None:
                raise Lacking(self.op, self.memory, "its slope is not bounded, or no bound could be proven")
            return make_grid(*found)

        return _kept(self._grids, numbers, 64, make)

    def recall(self, numbers: tuple[float, ...], dtype: torch.dtype, device: torch.device = _CPU) -> Recall:
        """The table from outputs to slopes, on and of a device."""
        if dtype not in HALVES:
            raise Lacking(self.op, self.memory, f"it takes a table of all outputs, which {dtype} has too many of")

        def make() -> Recall:
            found = recall(self.op, numbers, dtype, device)
            if isinstance(found, str):
                raise Lacking(self.op, self.memory, found)
            return found

        return _kept(self._recalls, (numbers, dtype, device), 8, make)  # half a megabyte each

    def encoder(self, numbers: tuple[float, ...], like: Tensor) -> Tensor | None:
        """What the forward pass needs to make codes."""
        if self.kind != "codes":
            return None
        # On the CPU: C reads it by its address, torch as numbers.
        compute = dispatch.COMPUTE[like.dtype]
        key = ("grid", numbers, compute)
        return _kept(self._tensors, key, 64, lambda: torch.tensor(self.grid(numbers).encoder, dtype=compute))

    def table(self, numbers: tuple[float, ...], like: Tensor) -> Tensor | None:
        """What the backward pass needs to read codes or outputs."""
        if self.kind == "bits":
            return None
        compute = dispatch.COMPUTE[like.dtype]
        if self.kind == "codes":
            key = ("codes", numbers, compute, like.device)
            make = functools.partial(torch.tensor, dtype=compute, device=like.device)
            return _kept(self._tensors, key, 64, lambda: make(self.grid(numbers).table()))
        return self.recall(numbers, like.dtype, like.device).table

    def describe(self, numbers: tuple[float, ...], dtype: torch.dtype) -> MemoryMode:
        """What it keeps, and how exact it is.

        Raises:
            MemoryModeError: If it cannot be had with these numbers, or for this dtype.
        """
        if self.kind == "bits":
            return MemoryMode(self.memory, 1 / 8, 0.0)
        if self.kind == "codes":
            grid = self.grid(numbers)
            rounding = (_NARROW if dtype in HALVES else 2.0**-20) * max(abs(grid.low), abs(grid.high))
            return MemoryMode(self.memory, 1.0, grid.step / 2 + rounding)
        found = self.recall(numbers, dtype)
        return MemoryMode(self.memory, 0.0 if found.turn is None else 1 / 8, found.error)


def _kept(known: dict[Any, Kept], key: Any, most: int, make: Callable[[], Kept]) -> Kept:
    """What is known under a key, made if it is not. Parameters that change all the time push out the others."""
    found = known.get(key)
    if found is None:
        found = make()
        if len(known) >= most:
            known.clear()
        known[key] = found
    return found


def slope_range(op: Op, numbers: tuple[float, ...]) -> tuple[float, float, tuple[float, ...]] | None:
    """Proven bounds of f′ and its limits at ±infinity; None if there are no finite ones."""
    from actium.verify.proof import prove

    proof = prove(op.formula, dict(zip(op.formula.parameters, numbers, strict=True)))
    low, high = proof.slope_low.value.low, proof.slope_high.value.high
    if proof.window is not None or not (math.isfinite(low) and math.isfinite(high)):
        return None
    limits = [slope.middle for _, slope in proof.limits.values() if slope is not None]
    return low, high, tuple(v for v in limits if math.isfinite(v))


def lean(op: Op, memory: str) -> Lean:
    """The op in a mode, made once.

    Raises:
        MemoryModeError: If there is no such mode, or the function does not have it.
    """
    check_name(op.name, memory)
    if memory not in op.lean:
        op.lean[memory] = Lean(op, memory)
    return op.lean[memory]


def check_name(name: str, memory: str) -> Memory:
    """The mode, if there is one of this name."""
    if memory not in MODES:
        raise MemoryModeError(f"{name}: memory={memory!r}, expected one of {', '.join(map(repr, MODES))}")
    return cast(Memory, memory)


def check_mode(op: Op, memory: str) -> Memory:
    """The mode, if the function may have it for some parameters and dtype.

    Raises:
        MemoryModeError: If there is no such mode, or its slope has more than two values and "bits" was asked for.
    """
    if check_name(op.name, memory) != "exact":
        try:
            lean(op, memory)
        except Lacking as error:
            raise error.explained() from None
    return cast(Memory, memory)


def slope_error_text(op: Op, memory: str, numbers: tuple[float, ...]) -> str:
    """How exact the slopes are, for a module's repr."""
    mode = lean(op, memory)
    if mode.kind == "codes":
        return f"slope within {mode.describe(numbers, torch.float32).slope_error:.2g}"
    found = {d: mode.describe(numbers, d).slope_error for d in HALVES}
    return ", ".join(f"{str(d).removeprefix('torch.')} slope within {error:.2g}" for d, error in found.items())


def modes(op: Op, numbers: tuple[float, ...], dtype: torch.dtype) -> tuple[MemoryMode, ...]:
    """The modes that a function has for these parameters and this dtype; "exact" first."""
    found = [MemoryMode("exact", float(dtype.itemsize), 0.0)]
    for memory in MODES[1:]:
        try:
            found.append(lean(op, memory).describe(numbers, dtype))
        except MemoryModeError:
            continue
    return tuple(found)
