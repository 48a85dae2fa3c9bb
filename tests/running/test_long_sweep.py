"""A sweep over all inputs shows how far it is; an interrupted one goes on from what is kept beside its certificate."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from actium.checking import subject_of
from actium.exhaustive import check_full
from actium.kernels.toolchain import kernels_enabled
from actium.running import Judging, Limits, Outcome, reach
from actium.running.store import Store
from actium.targets import resolve
from actium.verify.certificate import Certificate

DEADLINE = 180.0
EARLIER = [300, 301, 302, 303]


def test_what_is_told_is_read(tmp_path: Path):
    assert reach.look(tmp_path / "told") is None
    reach.tell(tmp_path / "told", 3, 512)
    assert reach.look(tmp_path / "told") == (3, 512)
    reach.tell(tmp_path / "nowhere" / "told", 3, 512)  # a full disk, say, does not stop the work


@pytest.mark.parametrize(
    "text", ["", "3", "3 512", "-3 512\n", "4 3\n", "0 0\n", "3 512\n\x1b[2J", "9" * 10**6, "1 9999999999\n", "a b\n"]
)
def test_what_foreign_code_writes_there_is_two_numbers_or_nothing(tmp_path: Path, text: str):
    (tmp_path / "told").write_text(text)
    assert reach.look(tmp_path / "told") is None


def test_what_is_kept_of_a_sweep_goes_when_its_certificate_is_there(tmp_path: Path):
    store = Store(tmp_path, Judging(full=True), Limits())
    folders = [store.partial(t) for t in ("x", "y")]
    for folder in folders:
        folder.mkdir()
        (folder / "some.jsonl").write_text("{}\n")
    store.save(Outcome("x", Certificate("x", None, "float64")), {})
    store.save(Outcome("y", reason="exceeded 1 s"), {})  # may be taken up with a longer limit
    assert [folder.exists() for folder in folders] == [False, True]


@pytest.mark.skipif(not kernels_enabled(), reason="no C compiler")
def test_an_interrupted_sweep_shows_how_far_it_is_and_goes_on_from_there(tmp_path: Path):
    kept = Store(tmp_path, Judging(), Limits()).partial("relu(x)")
    check_full(subject_of(resolve("relu(x)")), dtypes=("float32",), out=kept, units=EARLIER)
    (journal,) = kept.iterdir()
    arguments = ["check", "relu(x)", "--dtype", "float32", "--full", "--out", str(tmp_path)]
    here, there = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "from actium.cli import main; main()", *arguments],
        stderr=there,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(there)
    shown = _read(here, until=rb"all float32 inputs: relu\(x\).*\b\d+/512\b")
    process.send_signal(signal.SIGINT)
    shown += _read(here, until=rb"goes on from there")
    assert process.wait() == 130
    os.close(here)
    told = re.search(rf"interrupted: 0 finished; relu\(x\): (\d+) of 512 exponents done; .* {tmp_path}", shown)
    assert told is not None, shown
    assert kept.exists()
    done = {json.loads(line)["index"] for line in journal.read_text().splitlines()[1:] if line.endswith("}")}
    assert done >= {*EARLIER, 0}  # it went on in the same file, and repeated nothing of it
    assert int(told[1]) >= len(EARLIER) + 1


def _read(terminal: int, until: bytes) -> str:
    text, began = b"", time.monotonic()
    with contextlib.suppress(OSError):  # The other side has ended.
        while re.search(until, text, re.DOTALL) is None and time.monotonic() < began + DEADLINE:
            if select.select([terminal], [], [], 0.1)[0]:
                text += os.read(terminal, 1 << 16)
    return text.decode("utf-8", "replace")
