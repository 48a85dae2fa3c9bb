"""Which inputs: every number of the half formats, and a stratified sample of the wide ones.

Stage: [inputs] → truth → sweep → checks.
In: a dtype. Out: tensors of that dtype in the order of their values, and the facts of its format.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from actium.errors import DtypeError

HALVES = (torch.float16, torch.bfloat16)
_INTEGERS = {torch.float16: np.uint16, torch.bfloat16: np.uint16, torch.float32: np.uint32, torch.float64: np.uint64}


@dataclass(frozen=True)
class Format:
    """A binary floating-point format.

    Attributes:
        dtype: The torch dtype.
        significand_bits: Bits of the significand, the hidden one included (p).
        min_exponent: Exponent of the smallest normal number, 2^min_exponent.
        max_exponent: The largest finite number is just below 2^(max_exponent + 1).
    """

    dtype: torch.dtype
    significand_bits: int
    min_exponent: int
    max_exponent: int

    @property
    def name(self) -> str:
        """The dtype's name without `torch.`."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def bits(self) -> int:
        """Size of an encoding."""
        return self.dtype.itemsize * 8

    @property
    def smallest_normal(self) -> float:
        """2^min_exponent."""
        return math.ldexp(1.0, self.min_exponent)

    @property
    def largest(self) -> float:
        """The largest finite number."""
        return torch.finfo(self.dtype).max

    @property
    def unit(self) -> float:
        """The unit roundoff u = 2^-p: rounding to nearest is wrong by at most u·|x|."""
        return math.ldexp(1.0, -self.significand_bits)


FORMATS: dict[torch.dtype, Format] = {
    torch.float16: Format(torch.float16, 11, -14, 15),
    torch.bfloat16: Format(torch.bfloat16, 8, -126, 127),
    torch.float32: Format(torch.float32, 24, -126, 127),
    torch.float64: Format(torch.float64, 53, -1022, 1023),
}


def format_of(dtype: torch.dtype | str) -> Format:
    """The format of a dtype or of its name.

    Raises:
        DtypeError: If it is not one of float16, bfloat16, float32 and float64.
    """
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if found not in FORMATS:
        known = ", ".join(f.name for f in FORMATS.values())
        raise DtypeError(f"{dtype} is not a format that can be checked; choose from {known}")
    return FORMATS[found]


def _from_bits(codes: npt.NDArray[np.unsignedinteger], dtype: torch.dtype) -> Tensor:
    unsigned = _INTEGERS[dtype]
    signed = np.dtype(unsigned).name.removeprefix("u")
    return torch.from_numpy(codes.astype(unsigned).view(signed).copy()).view(dtype)


def _in_order(fmt: Format, magnitudes: npt.NDArray[np.unsignedinteger]) -> Tensor:
    """Numbers with these magnitudes (encodings without sign), both signs, from the most negative up."""
    sign = 1 << (fmt.bits - 1)
    negative = magnitudes[::-1].astype(np.uint64) | np.uint64(sign)
    return _from_bits(np.concatenate([negative, magnitudes.astype(np.uint64)]), fmt.dtype)


@functools.lru_cache(maxsize=4)
def all_encodings(dtype: torch.dtype) -> Tensor:
    """All 65,536 numbers of a half format in order of value: −NaNs, −inf, …, −0, +0, …, +inf, +NaNs.

    Raises:
        DtypeError: If the format has more than 16 bits.
    """
    fmt = format_of(dtype)
    if fmt.bits != 16:
        raise DtypeError(f"{fmt.name} has 2^{fmt.bits} encodings; use `stratified` for a sample of them")
    return _in_order(fmt, np.arange(1 << 15, dtype=np.uint64))


@functools.lru_cache(maxsize=4)
def finite_encodings(dtype: torch.dtype) -> Tensor:
    """The finite ones of `all_encodings`: 63,488 for float16, 65,280 for bfloat16."""
    values = all_encodings(dtype)
    return values[torch.isfinite(values)]


@functools.lru_cache(maxsize=8)
def stratified(dtype: torch.dtype, per_binade: int = 48, per_inner_binade: int = 512) -> Tensor:
    """A deterministic sample with the same number of significands in every binade, in order of value.

    The binades where activations bend, 2^-12 to 2^8, get more. Each binade has its first and last number and
    evenly spread ones between, with odd low bits so that they are not all short; the subnormals count as one binade.

    Args:
        dtype: float32 or float64.
        per_binade: Numbers of each sign in an outer binade.
        per_inner_binade: Numbers of each sign in an inner binade.

    Returns:
        Distinct finite numbers: 43,040 for float32 by default.
    """
    fmt = format_of(dtype)
    field = fmt.significand_bits - 1
    bias = fmt.max_exponent
    parts = [np.zeros(1, dtype=np.uint64)]
    for biased in range(2 * bias + 1):
        inner = bias - 12 <= biased < bias + 8
        count = per_inner_binade if inner else per_binade
        parts.append((np.uint64(biased) << np.uint64(field)) | _significands(field, count))
    return _in_order(fmt, np.unique(np.concatenate(parts)))


def _significands(field: int, count: int) -> npt.NDArray[np.uint64]:
    """`count` fractions of `field` bits: the first, the last, and evenly spread odd ones."""
    last = (1 << field) - 1
    spread = [(last * i) // (count - 1) | 1 for i in range(1, count - 1)]
    return np.array([0, *spread, last], dtype=np.uint64)


def sample(dtype: torch.dtype) -> Tensor:
    """All finite numbers of a half format, a stratified sample of a wider one."""
    return finite_encodings(dtype) if dtype in HALVES else stratified(dtype)


def hex_text(value: float) -> str:
    """A double as Python's `float.hex`, without trailing zeros: -89.0 is -0x1.64p+6.

    Example:
        >>> hex_text(-89.0), hex_text(0.5), hex_text(float("inf"))
        ('-0x1.64p+6', '0x1p-1', 'inf')
    """
    text = float(value).hex()
    if "p" not in text:
        return text
    head, exponent = text.split("p")
    head = head.rstrip("0").rstrip(".") if "." in head else head
    return f"{'-0x0' if head == '-0x' else '0x0' if head == '0x' else head}p{exponent}"
