"""Files that appear whole or not at all.

Stage: text → [files]. A reader never sees half of one, and an interrupted run leaves none.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from actium.errors import TargetError


def write(text: str, path: Path) -> None:
    """Write a file, replacing what was there.

    Raises:
        TargetError: If its folder does not exist.
    """
    if not path.parent.is_dir():
        raise TargetError(f"cannot write {path}: there is no directory {path.parent}")
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:80]}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
