"""Parameters and other tensors that a module holds: seen by the optimiser, with the right gradient, and harmless.

Stage: subject → [checks] → certificate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from actium.verify.case import Case
from actium.verify.certificate import Finding

CHECKS: Mapping[str, Callable[[Case], Iterator[Finding]]] = {}
