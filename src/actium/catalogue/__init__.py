"""The zoo: activations as data, by family; each with its formula, range, kinks and source.

Stage: Activation → [catalogue] → nn.Module, checker, pages. Loads neither torch nor a kernel: an activation is made
when it is first asked for.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator, Mapping

from actium.catalogue.entry import Entry, Interval, Kink, OutputSlope
from actium.errors import TargetError

__all__ = ["ENTRIES", "Entry", "Interval", "Kink", "OutputSlope", "find", "get"]


class _Entries(Mapping[str, Entry]):
    """Name → entry, in the order of the families. The family files are read at the first look."""

    @functools.cached_property
    def _by_name(self) -> dict[str, Entry]:
        from actium.catalogue import bounded, exponential, gates, learnable, rectifiers

        families = (rectifiers, gates, bounded, exponential, learnable)
        return {entry.name: entry for family in families for entry in family.ENTRIES}

    @functools.cached_property
    def aliases(self) -> dict[str, str]:
        """Other name → name."""
        return {alias: entry.name for entry in self._by_name.values() for alias in entry.aliases}

    @functools.cached_property
    def classes(self) -> dict[str, str]:
        """Class name → name."""
        return {entry.class_name: entry.name for entry in self._by_name.values()}

    def __getitem__(self, name: str) -> Entry:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def __repr__(self) -> str:
        return f"<{len(self)} activations: {', '.join(self)}>"


ENTRIES = _Entries()


def find(name: str) -> Entry | None:
    """The entry of a name, an alias or a class name; None if there is none."""
    for table in (ENTRIES.aliases, ENTRIES.classes):
        name = table.get(name, name)
    return ENTRIES.get(name)


def get(name: str) -> Entry:
    """The entry of a name, an alias or a class name.

    Raises:
        TargetError: If there is none, with the nearest names.

    Example:
        >>> get("SiLU").formula
        'silu(x)'
    """
    entry = find(name)
    if entry is not None:
        return entry
    known = [*ENTRIES, *ENTRIES.aliases, *ENTRIES.classes]
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    hint = f"did you mean {', '.join(close)}?" if close else f"known are {', '.join(ENTRIES)}"
    raise TargetError(f"no activation {name[:64]!r} in the catalogue; {hint}")
