"""What tests of targets share: modules that a test imports are forgotten after it."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture
def modules() -> Iterator[None]:
    """Forget what the test has imported: the next one may have a module of the same name."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]
