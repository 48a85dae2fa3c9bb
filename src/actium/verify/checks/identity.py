"""Is it something that exists already?

Stage: truth + known functions → [checks] → certificate.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from actium.errors import ParameterError
from actium.symbolic.graph import Formula
from actium.verify.case import Case
from actium.verify.certificate import Finding
from actium.verify.oracle import Floats, Oracle
from actium.verify.subject import SubjectError, evaluate

Known = Formula | Callable[[Tensor], Tensor]

# To the eye of a float32 network two functions closer than 2 ULP of max(|f|, 1) are one.
_CLOSE = 2.0**-22


@functools.lru_cache(maxsize=1)
def _points() -> tuple[Floats, Floats]:
    """A few points that reject nearly everything, and many that confirm."""
    few = np.array([-11.3, -3.1, -1.37, -0.43, -0.061, 0.0, 0.29, 1.13, 2.3, 4.7, 9.1])
    many = np.concatenate([np.linspace(-30.0, 30.0, 397), np.ldexp(1.0, np.arange(-10, 12)) * 1.3])
    return few, np.unique(np.concatenate([many, -many]))


def _values(known: Known, x: Floats) -> Floats | None:
    try:
        if isinstance(known, Formula):
            return _values_of_formula(known, x.tobytes())
        return evaluate(known, torch.from_numpy(x), gradient=False).output.double().numpy()
    except (SubjectError, ParameterError):
        return None  # A function that needs arguments equals nothing without them.


# Every target is compared with the same functions at the same points.
@functools.lru_cache(maxsize=256)
def _values_of_formula(known: Formula, points: bytes) -> Floats:
    values = Oracle(known).table(np.frombuffer(points)).value
    values.flags.writeable = False
    return values


def _equal(a: Floats, b: Floats | None) -> bool:
    if b is None or a.shape != b.shape:
        return False
    nan = np.isnan(a) & np.isnan(b)
    with np.errstate(invalid="ignore"):
        near = np.abs(a - b) <= _CLOSE * np.maximum(np.maximum(np.abs(a), np.abs(b)), 1.0)
    return bool((nan | near).all()) and not nan.all()


def _affine(case: Case) -> str | None:
    few, many = _points()
    value = case.reference.table(few).value
    zero = int(np.flatnonzero(few == 0.0)[0])
    offset, slope = value[zero], (value[-1] - value[zero]) / few[-1]
    if not _equal(value, slope * few + offset):
        return None
    if not _equal(case.reference.table(many).value, slope * many + offset):
        return None
    if abs(slope) < _CLOSE * 2.0**-20:
        return f"constant: {offset:.6g}" if abs(offset) > _CLOSE * 2.0**-20 else "constant: 0"
    return f"affine: {slope:.6g}·x + {offset:.6g}" if (slope, offset) != (1.0, 0.0) else "identity"


def find_same(case: Case, known: Mapping[str, Known]) -> tuple[str, ...]:
    """Names of the known functions that the target equals, exactly or to float32 rounding."""
    few, many = _points()
    own = case.target.lower()
    value, confirmed = case.reference.table(few).value, None
    found = [name for name in [_affine(case)] if name is not None]
    for name, other in known.items():
        if name.lower() == own or not _equal(value, _values(other, few)):
            continue
        if confirmed is None:
            confirmed = case.reference.table(many).value
        if _equal(confirmed, _values(other, many)):
            found.append(name)
    return tuple(found)


def duplicate(case: Case) -> Iterator[Finding]:
    """`duplicate`: one finding with all names."""
    if case.same_as:
        names = ", ".join(case.same_as)
        yield Finding(
            "duplicate",
            "info",
            "output",
            None,
            len(case.same_as),
            len(case.same_as),
            f"{case.target} equals {names}, to float32 rounding or better.",
            case.device,
            suggestion="use the function that exists: it is tested, and its kernel is fused",
        )
