"""Finished cells in a folder, one file each.

Stage: results → [store] → files. Files appear whole or not at all; a file's name holds the cell's key, so what was
trained under other conditions is another file.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from actium.errors import StudyError
from actium.running.files import write
from actium.train.plan import Cell


class Store:
    """A folder of finished cells.

    Args:
        folder: Where; it is made if need be.

    Raises:
        StudyError: If it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "cells"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StudyError(f"--out {folder}: {error.strerror}; expected a folder that can be written") from error

    def path(self, cell: Cell) -> Path:
        """Where a cell's file is."""
        readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", cell.activation).strip("-.")[:40]
        return self.folder / f"{readable or 'activation'}-{cell.seed}-{cell.key}.json"

    def load(self, cell: Cell) -> dict[str, Any] | None:
        """The result of a cell, if it is finished."""
        try:
            found = json.loads(self.path(cell).read_text(encoding="utf-8"))
            return found if found["key"] == cell.key and "metric" in found else None
        except (OSError, ValueError, LookupError, TypeError):
            return None  # Not there, or not ours: it is trained again.

    def save(self, cell: Cell, result: dict[str, Any]) -> None:
        """Keep the result of a cell.

        Raises:
            StudyError: If it cannot be written; what was written before stays.
        """
        try:
            write(json.dumps(result, allow_nan=False) + "\n", self.path(cell))
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            remedy = "free some space" if full else "make the folder writable"
            raise StudyError(
                f"cannot write {self.path(cell)}: {error.strerror}; the cells that are finished are kept: "
                f"{remedy}, and the same command goes on from there"
            ) from error

    def finished(self, cells: Iterable[Cell]) -> dict[str, dict[str, Any]]:
        """Key → result, of the cells that are finished."""
        return {cell.key: found for cell in cells if (found := self.load(cell)) is not None}
