"""Whether the function composes with the rest of PyTorch: transforms, compilation, copies, files.

Stage: subject → [checks] → certificate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from actium.verify.case import Case
from actium.verify.certificate import Finding

CHECKS: Mapping[str, Callable[[Case], Iterator[Finding]]] = {}
