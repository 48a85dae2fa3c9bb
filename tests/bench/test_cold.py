"""First calls, in processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from actium.bench import cold
from actium.bench.cold import cold_start


def test_a_first_call_is_timed_with_an_empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cold, "_RUNS", 1)
    monkeypatch.setenv("ACTIUM_CACHE_DIR", str(tmp_path / "mine"))
    found = cold_start("x * tanh(exp(x))", "actium")
    assert found.seconds is not None
    assert found.seconds > 0
    assert not (tmp_path / "mine").exists()  # the caller's cache is neither used nor filled


def test_what_ends_the_process_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cold.sys, "executable", "/bin/false")
    found = cold_start("silu", "actium")
    assert found.seconds is None
    assert "ended with status 1" in found.reason


def test_what_raises_is_said(tmp_path: Path):
    (tmp_path / "raises.py").write_text("print('loud')\ndef f(x):\n    raise ValueError('not today')\n")
    found = cold_start(f"{tmp_path}/raises.py:f", "target")
    assert found.seconds is None
    assert found.reason == "ValueError: not today"
