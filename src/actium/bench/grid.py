"""Which sizes, formats, devices and passes are measured.

Stage: options → [grid] → cells. In: text, as typed. Out: a `Grid`, or a `BenchError` that says what is wrong. Loads no
torch.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from actium.errors import BenchError

DTYPES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
PASSES = ("forward", "backward", "both")
_SUFFIXES = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
_SIZE = re.compile(r"(\d{1,12})(Ki|Mi|Gi|)")
# Input, output, gradients, their copies, and what plain operations keep: the naive Mish holds 7 beside the input.
_TENSORS = 14


@dataclass(frozen=True)
class Spot:
    """One place of the grid.

    Attributes:
        elements: How many numbers.
        dtype: Their format.
        device: Where they are.
        which: The pass: forward (without gradients), backward, or both.
    """

    elements: int
    dtype: str
    device: str
    which: str

    def __str__(self) -> str:
        return f"{size_text(self.elements)} {self.dtype} {self.which} on {self.device}"


@dataclass(frozen=True)
class Grid:
    """What is measured of each target: everything with everything."""

    sizes: tuple[int, ...]
    dtypes: tuple[str, ...]
    devices: tuple[str, ...]
    passes: tuple[str, ...]

    def __iter__(self) -> Iterator[Spot]:
        for which in self.passes:
            for device in self.devices:
                for dtype in self.dtypes:
                    yield from (Spot(n, dtype, device, which) for n in self.sizes)

    def __len__(self) -> int:
        return len(self.sizes) * len(self.dtypes) * len(self.devices) * len(self.passes)


def grid_of(
    sizes: Sequence[str] = ("64Ki,1Mi",),
    dtypes: Sequence[str] = ("float32,bfloat16",),
    devices: Sequence[str] = ("cpu",),
    passes: Sequence[str] = ("both",),
) -> Grid:
    """Read the options; each may hold several values, separated by commas.

    Args:
        sizes: Numbers of elements, such as 1000, 64Ki or 1Mi.
        dtypes: Among `DTYPES`.
        devices: Names of torch's devices; whether they are there shows when they are used.
        passes: Among `PASSES`.

    Raises:
        BenchError: If a value is none of these, or needs more memory than the machine has.

    Example:
        >>> [str(spot) for spot in grid_of(["1Ki"], ["float16"], passes=["forward,both"])]
        ['1Ki float16 forward on cpu', '1Ki float16 both on cpu']
    """
    counts = tuple(dict.fromkeys(map(_size, _parts(sizes))))
    formats = _choice("--dtype", dtypes, tuple(DTYPES))
    grid = Grid(counts, formats, tuple(dict.fromkeys(_parts(devices))), _choice("--pass", passes, PASSES))
    for option, values in (("--size", counts), ("--dtype", formats), ("--device", grid.devices)):
        if not values:
            raise BenchError(f"{option}: got nothing")
    _reject_too_large(grid)
    return grid


def size_text(elements: int) -> str:
    """A number of elements as the options take it.

    Example:
        >>> size_text(65536), size_text(1 << 24), size_text(1000)
        ('64Ki', '16Mi', '1000')
    """
    for suffix in ("Gi", "Mi", "Ki"):
        if elements and elements % _SUFFIXES[suffix] == 0:
            return f"{elements // _SUFFIXES[suffix]}{suffix}"
    return str(elements)


def _parts(texts: Iterable[str]) -> Iterator[str]:
    return (part.strip() for text in texts for part in text.split(",") if part.strip())


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    elements = int(match[1]) * _SUFFIXES[match[2]] if match else 0
    if elements < 1:
        raise BenchError(f"--size {text}: expected a number of elements, such as 1000, 64Ki or 1Mi")
    return elements


def _choice(option: str, texts: Iterable[str], known: tuple[str, ...]) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(_parts(texts)))
    for text in chosen:
        if text not in known:
            near = difflib.get_close_matches(text, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
            raise BenchError(f"{option} {text}: {hint}")
    if not chosen:
        raise BenchError(f"{option}: got nothing; there are: {', '.join(known)}")
    return chosen


def _reject_too_large(grid: Grid) -> None:
    most = max(grid.sizes)
    need = most * max(DTYPES[d] for d in grid.dtypes) * _TENSORS
    try:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return
    if "cpu" in grid.devices and need > there:
        raise BenchError(
            f"--size {size_text(most)}: that takes about {need / 2**30:.0f} GiB, and this machine has "
            f"{there / 2**30:.0f} GiB; choose a smaller one"
        )
