"""What tests of kernels share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from actium.kernels import front


@pytest.fixture(scope="module")
def door() -> Iterator[None]:
    """Build it, and use it for activations that are made in these tests."""
    patch = pytest.MonkeyPatch()
    patch.delenv("ACTIUM_FRONT")
    front.build()
    assert front.module() is not None
    yield
    patch.undo()
    front.module.cache_clear()
