"""Every test here has a cache of its own and a toolchain that remembers nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from actium.kernels import cache, toolchain


@pytest.fixture(autouse=True)
def cache_dir(tmp_path, monkeypatch):
    for name in ("ACTIUM_CC", "CC", "ACTIUM_DISABLE_KERNELS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ACTIUM_CACHE_DIR", str(tmp_path / "cache"))
    toolchain.forget()
    yield tmp_path / "cache" / cache.FORMAT
    toolchain.forget()


@pytest.fixture
def wrapper(tmp_path, monkeypatch) -> Callable[[str], Path]:
    """Install a compiler that logs its arguments and runs `body` before it hands over to gcc."""

    def install(body: str = "") -> Path:
        log = tmp_path / "log"
        log.touch()
        script = tmp_path / "wrapped-gcc"
        script.write_text(f'#!/bin/sh\necho "$*" >> "{log}"\n{body}\nexec gcc "$@"\n')
        script.chmod(0o755)
        monkeypatch.setenv("ACTIUM_CC", str(script))
        return log

    return install
