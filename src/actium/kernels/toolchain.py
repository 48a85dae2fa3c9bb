"""From C source to a loaded library: compile once, keep it in the cache, load it.

Stage: plan → C source → [library] → op. In: one C source and the headers that it includes. Out: a `ctypes.CDLL`.
The library is built by the system's compiler (`compiler.py`) and kept in a private directory (`cache.py`); with
both known, a process loads it without starting another. Knows nothing of tensors.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from actium.errors import ActiumWarning, KernelError
from actium.kernels import cache
from actium.kernels.compiler import Compiler, cpu, excerpt, invoke, search

if TYPE_CHECKING:
    import ctypes

__all__ = [
    "Compiler",
    "ToolchainStatus",
    "clear_cache",
    "disabled",
    "find_compiler",
    "forget",
    "kernels_enabled",
    "load",
    "status",
    "unavailable_reason",
    "warn_once_unavailable",
]

_FEATURES = ("avx2", "avx512f", "fma", "f16c", "neon")
_HUGE_PAGES = "/sys/kernel/mm/transparent_hugepage/enabled"


class _Memory:
    """What one process remembers."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.searched = False
        self.compiler: Compiler | None = None
        self.problem: str | None = None
        self.libraries: dict[str, ctypes.CDLL] = {}
        self.warned: set[str] = set()


_memory = _Memory()


def _renew_lock() -> None:
    # A child that was forked while another thread held the lock would wait for that thread for ever.
    _memory.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def forget() -> None:
    """Drop what this process remembers: compiler, loaded libraries, warnings given. For tests."""
    with _memory.lock:
        _memory.searched, _memory.compiler, _memory.problem = False, None, None
        _memory.libraries.clear()
        _memory.warned.clear()


def find_compiler() -> Compiler | None:
    """Find the C compiler, once per process.

    Returns:
        The compiler with the flags that it was seen to accept, or None; `unavailable_reason` then says why.
    """
    if not _memory.searched:
        with _memory.lock:
            if not _memory.searched:
                _memory.compiler, _memory.problem = search()
                _memory.searched = True
    return _memory.compiler


def kernels_enabled() -> bool:
    """Tell whether kernels can be built: the user did not disable them, and there is a compiler.

    Returns:
        The answer. It reads an environment variable, so ask once per activation rather than once per call.
    """
    return not disabled() and find_compiler() is not None


def unavailable_reason() -> str | None:
    """Say why there are no kernels.

    Returns:
        One sentence without a full stop, or None when there are kernels.
    """
    if disabled():
        return f"disabled by ACTIUM_DISABLE_KERNELS={os.environ['ACTIUM_DISABLE_KERNELS']}"
    find_compiler()
    return _memory.problem


def warn_once_unavailable() -> None:
    """Warn, once per process, that there is no compiler. Says nothing to a user who disabled the kernels."""
    if disabled() or find_compiler() is not None:
        return
    _warn_once(
        "compiler",
        f"actium runs without fused kernels: {_memory.problem}. Results are the same; activations run as separate "
        "PyTorch operations, which is several times slower on a CPU. "
        "Try: install a compiler (`apt-get install gcc`) or set ACTIUM_CC to one. "
        "ACTIUM_DISABLE_KERNELS=1 silences this warning.",
    )


def disabled() -> bool:
    """Tell whether the user switched kernels off.

    Returns:
        Whether ACTIUM_DISABLE_KERNELS says so.
    """
    return os.environ.get("ACTIUM_DISABLE_KERNELS", "").strip().lower() in ("1", "true", "yes", "on")


def _warn_once(what: str, message: str) -> None:
    with _memory.lock:
        if what in _memory.warned:
            return
        _memory.warned.add(what)
    warnings.warn(message, ActiumWarning, stacklevel=3)


def load(source: str, headers: Mapping[str, str] | None = None) -> ctypes.CDLL:
    """Build a C source as a shared library, unless that was done before, and load it.

    Args:
        source: The C source, one file. It may include the headers by their names, in quotes.
        headers: Name → content.

    Returns:
        The library; the same object for the same source within a process.

    Raises:
        KernelError: If there is no compiler, the source does not compile, the cache directory is not private,
            or the library cannot be loaded.

    Example:
        >>> load("int twice(int n) { return 2 * n; }").twice(21)
        42
    """
    if (compiler := find_compiler()) is None:
        raise KernelError(f"cannot build a kernel: {_memory.problem}. Try: `apt-get install gcc`, or set ACTIUM_CC.")
    files = _files(source, headers or {})
    key = _key(files, compiler)
    if (library := _memory.libraries.get(key)) is not None:
        return library
    with _memory.lock:
        if (library := _memory.libraries.get(key)) is None:
            library = _memory.libraries[key] = _obtain(files, key, compiler)
        return library


def _files(source: str, headers: Mapping[str, str]) -> dict[str, bytes]:
    files = dict[str, bytes]()
    for name in headers:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.h", name):
            raise KernelError(f"a header must have a plain file name that ends in .h, got {name!r}.")
    for name, text in {**headers, "kernel.c": source}.items():
        if "\0" in text:
            raise KernelError(f"C source {name} contains a NUL character at position {text.index(chr(0))}.")
        try:
            files[name] = text.encode("utf-8")
        except UnicodeEncodeError as problem:
            raise KernelError(f"C source {name} is not valid Unicode text at position {problem.start}.") from None
    return files


def _key(files: Mapping[str, bytes], compiler: Compiler) -> str:
    libc = os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else ""
    platform = f"{sys.platform} {os.uname().machine} {sys.byteorder} {sys.maxsize} {libc}"
    built_by = [compiler.kind, compiler.version, *compiler.command("kernel.c", "kernel.so")]
    content = [part for name in sorted(files) for part in (name.encode(), files[name])]
    return cache.digest(
        *content, b"compiler", *map(os.fsencode, built_by), b"machine", cpu().identity.encode(), platform.encode()
    )


def _obtain(files: Mapping[str, bytes], key: str, compiler: Compiler) -> ctypes.CDLL:
    try:
        folder = cache.directory()
        if (library := cache.find(folder, key)) is None:
            return _build_into_cache(files, key, compiler, folder)
        if (loaded := _open(library, compiler)) is not None:
            return loaded
        return _build_into_cache(files, key, compiler, folder)  # It was cleared in between.
    except OSError as problem:
        _warn_once(
            "cache",
            f"actium cannot write its kernel cache ({problem}). Kernels are built in a temporary directory and have "
            "to be built again by every process. Try: set ACTIUM_CACHE_DIR to a directory that can be written.",
        )
    return _build_for_this_process(files, compiler)


def _build_into_cache(files: Mapping[str, bytes], key: str, compiler: Compiler, folder: Path) -> ctypes.CDLL:
    with cache.lock(folder, key):
        library = cache.find(folder, key)  # Another process may have built it while this one waited.
        if library is None:
            with cache.workspace(folder) as workspace:
                library = cache.publish(folder, key, _compile(files, compiler, workspace))
        loaded = _open(library, compiler)
    if loaded is None:
        raise FileNotFoundError(errno.ENOENT, "built library vanished from the cache", str(library))
    return loaded


def _build_for_this_process(files: Mapping[str, bytes], compiler: Compiler) -> ctypes.CDLL:
    import tempfile

    try:
        # A loaded library needs its file no longer, so nothing is left behind.
        with tempfile.TemporaryDirectory(prefix="actium-", ignore_cleanup_errors=True) as folder:
            loaded = _open(_compile(files, compiler, Path(folder)), compiler)
    except OSError as problem:
        raise KernelError(f"cannot build a kernel in the temporary directory either: {problem}.") from problem
    if loaded is None:
        raise KernelError("a kernel vanished from the temporary directory before it was loaded.")
    return loaded


def _compile(files: Mapping[str, bytes], compiler: Compiler, folder: Path) -> Path:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    status, output = invoke(compiler.command("kernel.c", "kernel.so"), folder)
    if status == 0:
        return folder / "kernel.so"
    for code in (errno.ENOSPC, errno.EROFS, errno.EDQUOT):
        if os.strerror(code) in output:  # The compiler ran, its disk did not take the result.
            raise OSError(code, os.strerror(code), str(folder))
    raise KernelError(
        f"{compiler.path} ({compiler.version}) could not compile a kernel, exit status {status}:\n{excerpt(output)}"
    )


def _open(library: Path, compiler: Compiler) -> ctypes.CDLL | None:
    """Load a library. Returns None when its file has been removed meanwhile."""
    import ctypes

    if compiler.openmp:
        try:
            # First, so that the loader finds this runtime by its name, whether or not torch is loaded yet.
            ctypes.CDLL(compiler.openmp)
        except OSError as problem:
            raise KernelError(
                f"cannot load the OpenMP runtime {compiler.openmp}: {problem}. Try: reinstall torch, which owns it, "
                "or ACTIUM_DISABLE_KERNELS=1."
            ) from problem
    try:
        return ctypes.CDLL(str(library))
    except OSError as problem:
        if not library.exists():
            return None
        raise KernelError(
            f"cannot load the kernel {library}: {problem}. Try: set ACTIUM_CACHE_DIR to a directory on a file system "
            "that is not mounted noexec; if OpenMP is named above, install its runtime (`apt-get install libgomp1`)."
        ) from problem


@dataclass(frozen=True)
class ToolchainStatus:
    """What `actium doctor` prints.

    Attributes:
        enabled: Whether kernels are in use.
        reason: Why not, or None.
        compiler: The compiler, or None.
        flags: Its flags; empty without a compiler.
        cache_dir: Where kernels are kept, or None where there is no place for them.
        entries: How many there are.
        total_bytes: Their size together.
        huge_pages: What the system says of transparent huge pages, such as "always [madvise] never", or None.
        cpu_model: The processor.
        cpu_features: Those of avx2, avx512f, fma, f16c and neon that it has.
        openmp: The OpenMP runtime that kernels link, or None where they run on one thread.
    """

    enabled: bool
    reason: str | None
    compiler: Compiler | None
    flags: tuple[str, ...]
    cache_dir: str | None
    entries: int
    total_bytes: int
    huge_pages: str | None
    cpu_model: str
    cpu_features: tuple[str, ...]
    openmp: str | None


def status() -> ToolchainStatus:
    """Gather what there is to know about kernels on this machine.

    Returns:
        The status. Asking creates the cache directory; it builds no kernel.
    """
    compiler, reason = find_compiler(), unavailable_reason()
    folder, entries, size = None, 0, 0
    try:
        folder = cache.location()
        entries, size = cache.measure(folder)
        cache.directory()
    except KernelError as problem:
        reason = reason or str(problem)
    except OSError:
        pass  # Kernels work without a cache; `load` warns.
    flags = cpu().flags | ({"neon"} if "asimd" in cpu().flags else set())
    return ToolchainStatus(
        enabled=reason is None,
        reason=reason,
        compiler=compiler,
        flags=compiler.flags if compiler else (),
        cache_dir=str(folder) if folder else None,
        entries=entries,
        total_bytes=size,
        huge_pages=_huge_pages(),
        cpu_model=cpu().model,
        cpu_features=tuple(name for name in _FEATURES if name in flags),
        openmp=_openmp_in_use(compiler),
    )


def _openmp_in_use(compiler: Compiler | None) -> str | None:
    if compiler is None or "-fopenmp" not in compiler.flags:
        return None
    return compiler.openmp or f"the runtime of {compiler.path}"


def _huge_pages() -> str | None:
    try:
        return Path(_HUGE_PAGES).read_text().strip()
    except OSError:
        return None


def clear_cache() -> int:
    """Remove every kernel from the cache. Those that a process has loaded stay usable in it.

    Returns:
        How many were removed.

    Raises:
        KernelError: If the cache directory is not private, or cannot be written.
    """
    try:
        return cache.clear(cache.directory())
    except OSError as problem:
        raise KernelError(f"cannot clear the kernel cache: {problem}.") from problem
