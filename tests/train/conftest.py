"""What the tests of studies share: the extra, and a PostgreSQL server of their own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

pytest.importorskip("optuna", reason="needs the extra train")
pytest.importorskip("sklearn", reason="needs the extra train")
pytest.importorskip("scipy", reason="needs the extra train")

_SECONDS = 60


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks of this size only wait for more threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _program(name: str) -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


def _unprivileged() -> str | None:
    """Whom the server runs as: it refuses to be root's."""
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid()).pw_name
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def postgres() -> Iterator[str]:
    """The URL of an empty database, on loopback, gone afterwards."""
    pytest.importorskip("psycopg", reason="needs the extra postgres")
    initdb, server, user = _program("initdb"), _program("postgres"), _unprivileged()
    if initdb is None or server is None or user is None:
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="actium-postgres-"))
    shutil.chown(folder, user)
    as_user = {"user": user, "cwd": folder} if os.getuid() == 0 else {"cwd": folder}
    process = None
    try:
        command = [initdb, "-D", str(folder / "data"), "-U", "actium", "--auth=trust", "--no-sync", "-E", "UTF8"]
        made = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False, **as_user)
        if made.returncode:
            pytest.skip(f"PostgreSQL does not start here: {made.stderr.strip().splitlines()[-1:]}")
        port = _free_port()
        options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off", "port": port}
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        log = (folder / "log").open("w")
        process = subprocess.Popen([server, "-D", str(folder / "data"), *settings], stdout=log, stderr=log, **as_user)
        log.close()
        _wait_for(port, process)
        yield f"postgresql://actium@127.0.0.1:{port}/postgres"
    finally:
        if process is not None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    import psycopg

    end = time.monotonic() + _SECONDS
    while True:
        try:
            psycopg.connect(f"postgresql://actium@127.0.0.1:{port}/postgres", connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            assert process.poll() is None, "the server has ended"
            assert time.monotonic() < end, "the server does not answer"
            time.sleep(0.2)
