"""Processes that use the toolchain, seen from outside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from actium.kernels import toolchain

SOURCE = "int answer(void) { return 42; }\n"
LOAD = "import sys; from actium.kernels import toolchain; print(toolchain.load(sys.argv[1]).answer())"
ROOT = Path(toolchain.__file__).parents[2]
PATIENCE = 60  # seconds that a test waits for a process before it gives up

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


def builds(log: Path) -> int:
    return sum("kernel.c" in line for line in log.read_text().splitlines())


def spawn(code: str, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run(code: str, *arguments: str, **variables: str) -> str:
    process = spawn(code, *arguments, **variables)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return out.strip()


def await_path(find: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not find():
        assert time.monotonic() < deadline, "the process did not get to the point where it was to be killed"
        time.sleep(0.005)
