"""The directory that keeps built kernels, and why what lies in it can be trusted.

In: a key (hex digest) and the path of a freshly built library. Out: the path of a library that is known to be
whole. A library is loaded into the process, so two things are required of the directory: nobody else can write
to it, and a file that was cut short by a kill or a full disk is recognised. Knows nothing of compilers.

An entry is `KEY.so` with `KEY.json`, which holds the digest of the former. The library is put in place first and
the digest second, each by a rename: after a kill at any moment the pair either agrees or is built again.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from actium.errors import KernelError

FORMAT = "v1"  # Name of the subfolder. A change in the layout or the meaning of an entry takes a new one.
STALE_SECONDS = 3600.0  # A build ends within a minute; a build folder this old was left by a killed process.
LOCK_SECONDS = 90.0  # Longer than any build. Past that, building twice is better than waiting.
LOCK_POLL_SECONDS = 0.01
_BUILD_PREFIX = "build-"


def location() -> Path:
    """Tell where the cache is, without creating it.

    Returns:
        `ACTIUM_CACHE_DIR`, else `XDG_CACHE_HOME/actium`, else `~/.cache/actium`; then the format's subfolder.

    Raises:
        OSError: If none of the variables is set and there is no home directory.
    """
    if chosen := os.environ.get("ACTIUM_CACHE_DIR"):
        return Path(os.path.abspath(os.path.expanduser(chosen))) / FORMAT
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # The XDG specification: a relative path is to be ignored.
        home = os.path.expanduser("~")
        if not os.path.isabs(home):
            raise FileNotFoundError("no home directory: set ACTIUM_CACHE_DIR")
        base = os.path.join(home, ".cache")
    return Path(base) / "actium" / FORMAT


def directory() -> Path:
    """Create the cache directory where it is missing, and check that only this user can write to it.

    Returns:
        The folder of the present format.

    Raises:
        KernelError: If somebody else owns the directory or can write to it.
        OSError: If it cannot be created.
    """
    folder = location()
    # The parent counts too: whoever can write there can put another folder in the place of this one.
    for path in (folder.parent, folder):
        _create_private(path)
        _require_private(path)
    return folder


def _create_private(path: Path) -> None:
    if path.is_dir():
        return
    if path.parent != path:
        _create_private(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)


def _require_private(path: Path) -> None:
    info = path.stat()
    if info.st_uid != os.geteuid():
        problem = f"it belongs to user id {info.st_uid}, and this process runs as {os.geteuid()}"
        remedy = "set ACTIUM_CACHE_DIR to a directory of your own"
    elif info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        problem = f"its permissions are {stat.S_IMODE(info.st_mode):04o}, so other users can write to it"
        remedy = f"run `chmod go-w {path}` after making sure that its content is yours, or set ACTIUM_CACHE_DIR"
    else:
        return
    raise KernelError(f"kernel cache {path} is refused: {problem}. Code is loaded from there. Try: {remedy}.")


def digest(*parts: bytes) -> str:
    """Hash a sequence of byte strings so that no two different sequences collide by concatenation.

    Returns:
        The SHA-256 of the parts, each preceded by its length, in hexadecimal.
    """
    import hashlib

    state = hashlib.sha256()
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.hexdigest()


def find(folder: Path, key: str) -> Path | None:
    """Find a whole library.

    Returns:
        The path of the library, or None when it is missing or differs from its recorded digest.
    """
    library = folder / f"{key}.so"
    record = read_record(folder, key)
    if record is None:
        return None
    try:
        content = library.read_bytes()
    except OSError:
        return None
    return library if record.get("digest") == digest(key.encode(), content) else None


def publish(folder: Path, key: str, built: Path) -> Path:
    """Move a built library into the cache. `built` must lie in a `workspace` of the same folder.

    Returns:
        The path of the library in the cache.

    Raises:
        OSError: If the directory cannot be written.
    """
    record = {"digest": digest(key.encode(), built.read_bytes())}
    library = folder / f"{key}.so"
    os.replace(built, library)
    write_record(folder, key, record, built.parent)
    return library


def read_record(folder: Path, name: str) -> dict[str, Any] | None:
    """Read `NAME.json`.

    Returns:
        Its content, or None when it is missing, torn or not an object.
    """
    import json

    try:
        record = json.loads((folder / f"{name}.json").read_bytes())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def write_record(folder: Path, name: str, record: dict[str, Any], workspace: Path) -> None:
    """Write `NAME.json` in one step, by way of a workspace of the same folder."""
    import json

    draft = workspace / f"{name}.json"
    draft.write_text(json.dumps(record))
    os.replace(draft, folder / draft.name)


@contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """Give a private folder for one build, and remove it afterwards, along with those that killed builds left.

    Yields:
        An empty folder inside `folder`, so that a rename out of it stays on one file system.
    """
    import shutil
    import tempfile

    _remove_stale(folder)
    path = Path(tempfile.mkdtemp(prefix=_BUILD_PREFIX, dir=folder))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _remove_stale(folder: Path) -> None:
    import shutil

    oldest = time.time() - STALE_SECONDS
    for path in folder.glob(f"{_BUILD_PREFIX}*"):
        with suppress(OSError):  # Another process may be removing it at this moment.
            if path.stat().st_mtime < oldest:
                shutil.rmtree(path, ignore_errors=True)


@contextmanager
def lock(folder: Path, key: str) -> Iterator[None]:
    """Hold the build lock of a key, so that many processes that start at once build it once.

    The lock saves work; correctness does not rest on it. Where the file system has no locks, or the holder hangs,
    the build goes on without it. The kernel of the operating system drops it when its holder dies.
    """
    import fcntl

    # Sixteen files for all keys: a lock file per key would have to be removed, and that cannot be done without a race.
    descriptor = os.open(folder / f"lock-{key[0]}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while time.monotonic() < deadline:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(LOCK_POLL_SECONDS)
            except OSError:
                break
            else:
                break
        yield
    finally:
        # Closing is not enough: a child forked meanwhile by another thread shares the lock through its copy.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def measure(folder: Path) -> tuple[int, int]:
    """Count the libraries in the cache.

    Returns:
        Their number and their size together, in bytes. Both are 0 where there is no cache.
    """
    sizes = []
    for path in folder.glob("*.so"):
        with suppress(OSError):
            sizes.append(path.stat().st_size)
    return len(sizes), sum(sizes)


def clear(folder: Path) -> int:
    """Remove every entry and every record. Libraries that a process has loaded stay usable in it.

    Returns:
        How many libraries were removed.
    """
    removed = 0
    for path in [*folder.glob("*.json"), *folder.glob("*.so")]:
        with suppress(FileNotFoundError):
            path.unlink()
            removed += path.suffix == ".so"
    return removed
