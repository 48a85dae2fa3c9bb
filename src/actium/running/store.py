"""Finished targets in a folder, so that a run can be taken up again.

Stage: outcomes → [store] → files. One file for each target: the document that `--json` would write for it alone, and
what it depends on. Files appear whole or not at all, and a name is safe whatever the target's text is.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from actium.errors import RecordError, TargetError
from actium.running.files import write
from actium.running.jobs import Judging, Limits, Outcome
from actium.targets import place_of
from actium.verify.certificate import Certificate, document


class Store:
    """A folder of finished targets.

    Args:
        folder: Where; it is made if need be.
        judging: What is judged; what was judged otherwise does not count.
        limits: What a target may use; one that was not checked counts only under the same limits.

    Raises:
        TargetError: If there is something else in the folder's place.
    """

    def __init__(self, folder: Path, judging: Judging, limits: Limits) -> None:
        self.folder = folder
        self._limits = asdict(limits)
        self._basis = {"judging": judging.to_json(), "software": _software()}
        self._code: dict[str, str] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise TargetError(f"--out {folder}: expected a folder, which is made if need be") from error

    def path(self, target: str) -> Path:
        """Where a target's file is: a readable part, and a hash that no other target has."""
        readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", target).strip("-.")[:60]
        return self.folder / f"{readable or 'target'}-{hashlib.sha256(target.encode()).hexdigest()[:16]}.json"

    def load(self, target: str) -> Outcome | None:
        """What came of a target, if it is known and still holds."""
        try:
            stored = json.loads(self.path(target).read_text(encoding="utf-8"))
            basis = stored["basis"]
            limits = basis.pop("limits")
            if basis != self._basis_of(target):
                return None
            seconds = float(stored["seconds"])
            if stored["certificates"]:
                return Outcome(target, Certificate.from_json(stored["certificates"][0]), seconds=seconds)
            reason = str(stored["skipped"][target])
            return Outcome(target, reason=reason, seconds=seconds) if limits == self._limits else None
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, RecordError):
            return None  # Not there, or not ours, or of another version: it is done again.

    def partial(self, target: str) -> Path:
        """The folder for what is done of a target that takes long; it goes when the target is finished."""
        return self.path(target).with_suffix(".partial")

    def save(self, outcome: Outcome, environment: Mapping[str, Any]) -> None:
        """Keep what came of a target."""
        made = document([] if outcome.certificate is None else [outcome.certificate], environment)
        made |= {"skipped": {outcome.target: outcome.reason}} if outcome.reason is not None else {}
        made |= {"seconds": outcome.seconds, "basis": self._basis_of(outcome.target) | {"limits": self._limits}}
        write(json.dumps(made, allow_nan=False, indent=1) + "\n", self.path(outcome.target))
        if outcome.certificate is not None:
            shutil.rmtree(self.partial(outcome.target), ignore_errors=True)

    def _basis_of(self, target: str) -> dict[str, Any]:
        place = place_of(target)
        where = "" if place is None else place.where
        if where not in self._code:
            self._code[where] = _fingerprint(where) if where else ""
        return json.loads(json.dumps({**self._basis, "target": target, "code": self._code[where]}))


def _software() -> dict[str, str]:
    """What decides the verdict on our side: the version, and while that stands still, the files."""
    versions = {name: importlib.metadata.version(name) for name in ("actium", "torch", "numpy")}
    return versions | {"files": _files_of(Path(__file__).parents[1])}


def _fingerprint(where: str) -> str:
    """The state of a target's code: of a file its content, of a module the files of the package that it belongs to.

    Nothing is imported to find it out, so what only an import hook can find has none.
    """
    if where.endswith(".py"):
        path = Path(where)
        return f"{path.resolve()} {_hash(path.read_bytes())}" if path.is_file() else ""
    top = where.partition(".")[0]
    for folder in [Path.cwd(), *map(Path, filter(None, sys.path))]:
        if (folder / top).is_dir():
            return f"{folder / top} {_files_of(folder / top)}"
        if (folder / f"{top}.py").is_file():
            return f"{folder / top}.py {_hash((folder / f'{top}.py').read_bytes())}"
    return ""


def _files_of(folder: Path) -> str:
    states = ((p, p.stat()) for p in sorted(folder.rglob("*.py")))
    return _hash("".join(f"{p} {s.st_size} {s.st_mtime_ns}\n" for p, s in states).encode())


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
