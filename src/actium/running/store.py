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
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from actium.errors import RecordError, TargetError
from actium.running.files import write
from actium.running.jobs import Judging, Limits, Outcome
from actium.targets import fingerprint, place_of
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
        # Many targets may be in a file, and many files in a folder.
        self._roots: dict[str, fingerprint.Root | None] = {}
        self._digests: dict[fingerprint.Root, str] = {}
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
        code = "" if place is None else self._code_of(place.where)
        return json.loads(json.dumps({**self._basis, "target": target, "code": code}))

    def _code_of(self, where: str) -> str:
        if where not in self._roots:
            self._roots[where] = fingerprint.root_of(where)
        root = self._roots[where]
        if root is not None and root not in self._digests:
            self._digests[root] = fingerprint.digest(root)
        return "" if root is None else self._digests[root]


def _software() -> dict[str, str]:
    """What decides the verdict on our side: the version, and while that stands still, the files."""
    versions = {name: importlib.metadata.version(name) for name in ("actium", "torch", "numpy")}
    return versions | {"files": fingerprint.digest(fingerprint.root_of_file(Path(__file__)))}
