"""Results beside the reference, for consecutive encodings, in compiled code.

Stage: pieces → [screen] → sweep → certificate.
In: pieces and what was computed. Out: the largest error of output and gradient, and the inputs that need a verdict.
Which finding such an input is, `verify/checks/` says; nothing is judged here.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from actium.exhaustive.pieces import BEND, DEGREE, Piece
from actium.kernels import toolchain
from actium.verify.oracle import Floats

Encodings = npt.NDArray[np.uint32]
_RECORD = np.dtype(
    [
        ("first", "u4"),
        ("last", "u4"),
        ("degree", "i4"),
        ("slope_known", "i4"),
        ("centre", "f8"),
        ("scale", "f8"),
        ("value", "f8", DEGREE + 1),
        ("slope", "f8", DEGREE + 1),
        ("bend", "f8", BEND + 1),
    ]
)


class _Tally(ctypes.Structure):
    _fields_ = [
        ("most", ctypes.c_double),
        ("at", ctypes.c_int64),
        ("count", ctypes.c_int64),
        ("encodings", ctypes.c_void_p),
        ("exact", ctypes.c_void_p),
        ("sensitivity", ctypes.c_void_p),
    ]


@dataclass(frozen=True)
class Suspects:
    """Inputs over the budget, in order of encoding, with what the reference says of them.

    Attributes:
        encodings: Which.
        exact: The exact results.
        sensitivity: |x · derivative| of the quantity.
    """

    encodings: Encodings
    exact: Floats
    sensitivity: Floats


@dataclass(frozen=True)
class Screened:
    """One quantity over some encodings.

    Attributes:
        most: The largest error, or 0.
        at: Its encoding, or −1.
        suspects: Inputs over the budget.
    """

    most: float
    at: int
    suspects: Suspects


def source() -> str:
    """The C source."""
    return files("actium.exhaustive").joinpath("judge.c").read_text(encoding="utf-8")


@functools.cache
def _library() -> Any:
    library = toolchain.load(source())
    pointer, wide, place = ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint32
    library.fill.argtypes, library.fill.restype = [pointer, place, wide], None
    library.screen.argtypes = [pointer, wide, place, wide, pointer, pointer, ctypes.c_double, pointer, pointer]
    library.screen.restype = wide
    library.reference.argtypes, library.reference.restype = [pointer, wide, pointer, wide, *[pointer] * 3], None
    return library


def inputs(first: int, count: int) -> Tensor:
    """The float32 numbers of consecutive encodings."""
    x = torch.empty(count)
    _library().fill(x.data_ptr(), first, count)
    return x


class Screen:
    """The pieces of one exponent, ready for compiled code.

    Args:
        pieces: In order of encoding.

    Raises:
        KernelError: If there is no C compiler.
    """

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._records = np.zeros(len(pieces), dtype=_RECORD)
        for record, piece in zip(self._records, pieces, strict=True):
            degree = len(piece.value) - 1
            record["first"], record["last"], record["degree"] = piece.first, piece.last, degree
            record["slope_known"] = piece.slope_known
            record["centre"], record["scale"] = piece.centre, piece.scale
            record["value"][: degree + 1], record["slope"][: degree + 1] = piece.value, piece.slope
            record["bend"] = piece.bend

    def compare(
        self, first: int, output: Tensor, gradient: Tensor | None, budget: float
    ) -> tuple[int, Screened, Screened]:
        """Compare results for consecutive encodings.

        Args:
            first: The first encoding.
            output: What was computed for it and those that follow, in float32.
            gradient: Likewise, or None.
            budget: The error in ULP above which an input is a suspect.

        Returns:
            How many encodings the pieces cover, and what was found of output and gradient.
        """
        tallies, arrays = (_Tally(), _Tally()), []
        for tally in tallies:
            room = np.empty(len(output), np.uint32), np.empty(len(output)), np.empty(len(output))
            tally.most, tally.at = 0.0, -1
            tally.encodings, tally.exact, tally.sensitivity = (a.ctypes.data for a in room)
            arrays.append(room)
        records, slope = self._records, 0 if gradient is None else gradient.data_ptr()
        covered = _library().screen(
            records.ctypes.data,
            len(records),
            first,
            len(output),
            output.data_ptr(),
            slope,
            budget,
            *(ctypes.addressof(t) for t in tallies),
        )
        screened = [
            Screened(t.most, t.at, Suspects(*(a[: t.count].copy() for a in room)))
            for t, room in zip(tallies, arrays, strict=True)
        ]
        return covered, screened[0], screened[1]

    def reference(self, encodings: Encodings) -> tuple[Floats, Floats, Floats]:
        """Value, slope and second derivative at some encodings; NaN where there is no piece."""
        wanted = np.ascontiguousarray(encodings, dtype=np.uint32)
        found = np.empty((3, wanted.size))
        rows = [found[k].ctypes.data for k in range(3)]
        _library().reference(self._records.ctypes.data, len(self._records), wanted.ctypes.data, wanted.size, *rows)
        return found[0], found[1], found[2]
