"""What lies in the cache is loaded only when it is whole and nobody else could have written it."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
from pathlib import Path

import pytest
from processes import LOAD, PATIENCE, SOURCE, await_path, builds, needs_gcc, run, spawn

from actium.errors import ActiumWarning, KernelError
from actium.kernels import cache, toolchain


@needs_gcc
@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        (".so", lambda data: data[: len(data) // 2]),
        (".so", lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:]),
        (".so", lambda data: b""),
        (".json", lambda data: data[: len(data) // 2]),
        (".json", lambda data: b"[]"),
        (".json", lambda data: b"\xff\xfe"),
    ],
    ids=["half-library", "flipped-bit", "empty-library", "half-record", "list-record", "binary-record"],
)
def test_damaged_entry_is_built_again(cache_dir, wrapper, suffix, damage):
    log = wrapper()
    run(LOAD, SOURCE)
    library = next(cache_dir.glob("*.so"))
    victim = library.with_suffix(suffix)
    victim.write_bytes(damage(victim.read_bytes()))
    assert cache.find(cache_dir, library.stem) is None
    assert run(LOAD, SOURCE) == "42"
    assert builds(log) == 2
    assert cache.find(cache_dir, library.stem) == library


@needs_gcc
def test_entry_under_the_name_of_another_is_not_accepted(cache_dir):
    toolchain.load(SOURCE)
    library = next(cache_dir.glob("*.so"))
    for suffix in (".so", ".json"):
        shutil.copy(library.with_suffix(suffix), cache_dir / ("0" * 64 + suffix))
    assert cache.find(cache_dir, "0" * 64) is None


@needs_gcc
def test_load_works_on_a_file_system_without_locks(monkeypatch):
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert toolchain.load(SOURCE).answer() == 42


@needs_gcc
def test_process_killed_during_a_build_leaves_a_usable_cache(cache_dir, tmp_path, wrapper, monkeypatch):
    pid = tmp_path / "pid"
    log = wrapper(f'case "$*" in *kernel.c*) echo $$ > "{pid}.new"; mv "{pid}.new" "{pid}"; exec sleep 300;; esac')
    process = spawn(LOAD, SOURCE)
    await_path(pid.exists)
    process.kill()
    process.communicate()
    os.kill(int(pid.read_text()), signal.SIGKILL)
    left = next(cache_dir.glob("build-*"))
    os.utime(left, (0, 0))
    wrapper()
    assert run(LOAD, SOURCE) == "42"
    assert builds(log) == 2
    assert not left.exists()


@needs_gcc
def test_fresh_build_folder_of_another_process_is_left_alone(cache_dir):
    cache.directory()
    (cache_dir / "build-other").mkdir()
    toolchain.load(SOURCE)
    assert (cache_dir / "build-other").exists()


@needs_gcc
def test_process_killed_between_library_and_record_leaves_a_usable_cache(cache_dir, wrapper):
    log = wrapper()
    die = "import os; from actium.kernels import cache; cache.write_record = lambda *_: os.kill(os.getpid(), 9); "
    run("from actium.kernels import toolchain; toolchain.find_compiler()")
    process = spawn(die + LOAD, SOURCE)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGKILL
    assert len(list(cache_dir.glob("*.so"))) == 1
    assert run(LOAD, SOURCE) == "42"
    assert builds(log) == 2


@needs_gcc
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702], ids=oct)
@pytest.mark.parametrize("level", ["root", "format"])
def test_directory_that_others_can_write_is_refused(cache_dir, mode, level):
    cache.directory()
    folder = cache_dir if level == "format" else cache_dir.parent
    folder.chmod(mode)
    with pytest.raises(KernelError, match=r"is refused.*chmod go-w"):
        toolchain.load(SOURCE)
    assert not list(cache_dir.glob("*.so"))
    report = toolchain.status()
    assert not report.enabled
    assert "is refused" in (report.reason or "")


def test_directory_of_another_user_is_refused(monkeypatch):
    cache.directory()
    monkeypatch.setattr(os, "geteuid", lambda: 12345678)
    with pytest.raises(KernelError, match="belongs to user id"):
        cache.directory()


def test_directory_is_created_private(cache_dir):
    previous = os.umask(0)
    try:
        cache.directory()
    finally:
        os.umask(previous)
    assert [path.stat().st_mode & 0o777 for path in (cache_dir, cache_dir.parent)] == [0o700, 0o700]


def test_location_follows_the_xdg_convention(monkeypatch, tmp_path):
    monkeypatch.delenv("ACTIUM_CACHE_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert cache.location() == tmp_path / ".cache" / "actium" / cache.FORMAT
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.location() == tmp_path / "xdg" / "actium" / cache.FORMAT


def make_read_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.chmod(0o500)
    if os.geteuid() != 0:
        return
    real = os.open  # Root may write everywhere: refuse in its stead.

    def refuse(path, flags, *rest, **options):
        if flags & os.O_CREAT and str(path).startswith(str(folder)):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return real(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", refuse)


@needs_gcc
def test_read_only_cache_falls_back_with_one_warning(cache_dir, monkeypatch):
    cache.directory()
    make_read_only(cache_dir, monkeypatch)
    with pytest.warns(ActiumWarning, match="ACTIUM_CACHE_DIR"):
        assert toolchain.load(SOURCE).answer() == 42
    assert toolchain.load(SOURCE.replace("42", "43")).answer() == 43  # A second warning would be an error here.
    assert not list(cache_dir.glob("*.so"))


@needs_gcc
def test_read_only_cache_that_holds_the_kernel_is_used_in_silence(cache_dir, monkeypatch):
    toolchain.load(SOURCE)
    make_read_only(cache_dir, monkeypatch)
    toolchain.forget()
    assert toolchain.load(SOURCE).answer() == 42


@needs_gcc
def test_cache_that_cannot_be_created_falls_back(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ACTIUM_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.warns(ActiumWarning, match="cannot write its kernel cache"):
        assert toolchain.load(SOURCE).answer() == 42


@needs_gcc
def test_full_disk_falls_back(cache_dir, wrapper):
    full = 'echo "kernel.c: fatal error: error writing: No space left on device" >&2; exit 1'
    wrapper(f'case "$PWD $*" in "{cache_dir}"*kernel.c*) {full};; esac')
    with pytest.warns(ActiumWarning, match="No space left"):
        assert toolchain.load(SOURCE).answer() == 42
