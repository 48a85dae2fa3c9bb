"""Whether an activation function is right: any callable, judged against exact arithmetic.

Names load on first use, so that the oracle can be had without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actium.verify.certificate import Accuracy, Certificate, Finding, Worst, document, environment
    from actium.verify.oracle import Oracle, Truth
    from actium.verify.run import check
    from actium.verify.subject import Subject, subject_of

__all__ = [
    "Accuracy",
    "Certificate",
    "Finding",
    "Oracle",
    "Subject",
    "Truth",
    "Worst",
    "check",
    "document",
    "environment",
    "subject_of",
]

_HOME = {
    **dict.fromkeys(("Accuracy", "Certificate", "Finding", "Worst", "document", "environment"), "certificate"),
    **dict.fromkeys(("Oracle", "Truth"), "oracle"),
    **dict.fromkeys(("Subject", "subject_of"), "subject"),
    "check": "run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
