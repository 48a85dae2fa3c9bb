"""What the whole suite shares: one private kernel cache for a run, and a way to set the number of threads."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator

import pytest
import torch

from actium.kernels import front
from actium.running.processes import Forked

_CACHE = "ACTIUM_CACHE_DIR"


def pytest_configure(config: pytest.Config) -> None:
    """Give the run a cache of its own. Workers inherit it, so that each kernel is built once."""
    if not hasattr(config, "workerinput"):
        os.environ[_CACHE] = tempfile.mkdtemp(prefix="actium-tests-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ[_CACHE], ignore_errors=True))
        # Built in half a minute, so only where it is asked for: ACTIUM_FRONT=1, or by the tests of front.py.
        if os.environ.setdefault("ACTIUM_FRONT", "0") == "1":
            front.build()


class _Kept(Forked):
    """A server that outlives a command."""

    def close(self) -> None:
        pass

    def end(self) -> None:
        super().close()


@pytest.fixture(scope="session")
def _kept_server() -> Iterator[_Kept]:
    kept = _Kept()
    yield kept
    kept.end()


@pytest.fixture
def server(_kept_server: _Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands and pools share one server, so that torch is loaded once for all of them."""
    monkeypatch.setattr("actium.running.pool.start", lambda: _kept_server)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Set torch's number of threads for the rest of the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def fresh_dynamo() -> Iterator[None]:
    """Let a test compile as if nothing had been compiled before."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()
