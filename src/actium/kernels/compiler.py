"""Which C compiler there is, what it can do, and which processor and OpenMP runtime it builds for.

In: the environment (`ACTIUM_CC`, `CC`, `PATH`) and the machine. Out: a `Compiler`, or the reason why there is none.
Flags are chosen by trying them, not by version numbers, and the outcome is recorded in the kernel cache: a process
that finds the record starts no other process. Builds no kernel; that is `toolchain.py`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cache as memoize
from pathlib import Path

from actium.errors import KernelError
from actium.kernels import cache

BUILD_SECONDS = 60.0

# Without these the result would be wrong (fused multiply-adds change bits, so do the fast-math flags that CC may
# carry) or there would be none, so a compiler that refuses one of them is not used.
_REQUIRED = ("-O3", "-fno-fast-math", "-ffp-contract=off", "-fPIC", "-shared", "-std=gnu11")
# These change the speed alone: errno and traps are what keeps a compiler from vectorising sqrt and selects; threading
# jumps through the selects of one element makes mask arithmetic of them (gcc 12: 84 instructions for silu, not 49).
_OPTIONAL = (("-fno-math-errno",), ("-fno-trapping-math",), ("-fno-thread-jumps",))

_PROBE = """
int actium_probe(int n) {
    int sum = 0;
#pragma omp parallel for num_threads(1) reduction(+ : sum)
    for (int i = 0; i < n; ++i) sum += 2;
    return sum;
}
"""


@dataclass(frozen=True)
class Compiler:
    """A C compiler that was seen to build a library which this process can load.

    Attributes:
        path: The program, absolute.
        kind: "gcc" or "clang".
        version: First line of what `--version` prints.
        flags: Everything that it is given apart from the files.
        arguments: Words that go before the flags (for `CC="ccache gcc"`, `gcc`).
        openmp: The OpenMP runtime to link, the one that torch loads; None links the compiler's own, if any.
    """

    path: str
    kind: str
    version: str
    flags: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    openmp: str | None = None

    def command(self, source: str, output: str) -> list[str]:
        """Give the command line that builds one source file.

        Returns:
            The words; they go to the program as they are, there is no shell.
        """
        # The runtime stands after the source: with --as-needed a library is linked for what precedes it.
        libraries = [self.openmp] if self.openmp else []
        return [self.path, *self.arguments, *self.flags, "-o", output, source, *libraries]


def search() -> tuple[Compiler | None, str | None]:
    """Look for a compiler: `ACTIUM_CC` alone if it is set, else `CC`, gcc, clang, cc.

    Returns:
        The compiler and None, or None and what was wrong with each candidate.
    """
    if os.name != "posix":
        return None, f"kernels are built on POSIX systems only, and this is {os.name}"
    problems: list[str] = []
    for origin, words in _candidates():
        found = _examine(words)
        if isinstance(found, Compiler):
            return found, None
        problems.append(f"{origin}: {found}")
    return None, "no usable C compiler (" + "; ".join(problems) + ")"


def _candidates() -> Iterator[tuple[str, list[str]]]:
    # A compiler that was asked for by actium's own variable must not be replaced by another behind the user's back.
    if chosen := os.environ.get("ACTIUM_CC"):
        yield f"ACTIUM_CC={chosen}", _words(chosen)
        return
    if chosen := os.environ.get("CC"):
        yield f"CC={chosen}", _words(chosen)
    for name in ("gcc", "clang", "cc"):
        yield name, [name]


def _words(text: str) -> list[str]:
    import shlex

    if os.path.isfile(text):  # A path with spaces in it.
        return [text]
    try:
        return shlex.split(text) or [text]
    except ValueError:  # An unbalanced quote: look for a program of that name, which is not found, and say so.
        return [text]


def _examine(words: Sequence[str]) -> Compiler | str:
    import shutil

    program = shutil.which(words[0])
    if program is None:
        return "not found"
    program = os.path.abspath(program)
    info = os.stat(program)
    identity = [program, *words[1:], str(info.st_mtime_ns), str(info.st_size), cpu().identity, _runtime_identity()]
    name = "compiler-" + cache.digest(*(os.fsencode(part) for part in identity))[:32]
    with _place() as (folder, durable):
        if durable and (known := _remembered(folder, name)):
            return known
        return _probe_and_record(program, words[1:], folder, name if durable else None)


@contextmanager
def _place() -> Iterator[tuple[Path, bool]]:
    """Give a folder for the probe: the cache, or a temporary one where the cache cannot be used."""
    import tempfile

    with ExitStack() as stack:
        try:
            place, durable = cache.directory(), True
        except (KernelError, OSError):  # Reported by the first kernel that is built.
            place, durable = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="actium-"))), False
        yield place, durable


def _remembered(folder: Path, name: str) -> Compiler | None:
    record = cache.read_record(folder, name)
    if record is None:
        return None
    try:
        return Compiler(**{**record, "flags": tuple(record["flags"]), "arguments": tuple(record["arguments"])})
    except (KeyError, TypeError):
        return None


def _probe_and_record(program: str, arguments: Sequence[str], folder: Path, name: str | None) -> Compiler | str:
    try:
        with cache.workspace(folder) as workspace:
            found = _probe(program, tuple(arguments), workspace)
            if name and isinstance(found, Compiler):
                cache.write_record(folder, name, asdict(found), workspace)
            return found
    except KernelError as problem:
        return str(problem)
    except OSError as problem:
        if name is None:
            return f"cannot be tried: {problem}"
    # The cache can be read and not written: try the compiler elsewhere, without recording the outcome.
    import tempfile

    with tempfile.TemporaryDirectory(prefix="actium-") as elsewhere:
        return _probe_and_record(program, arguments, Path(elsewhere), None)


def _probe(program: str, arguments: tuple[str, ...], folder: Path) -> Compiler | str:
    _, output = invoke([program, *arguments, "--version"], folder)
    kind = "clang" if "clang" in output else "gcc" if "Free Software Foundation" in output else None
    if kind is None:  # Others (icx, for one) are not IEEE by default, and nobody checked what they need.
        return "neither gcc nor clang"
    version = output.splitlines()[0].strip()
    runtime = openmp_runtime(kind)
    bare = Compiler(program, kind, version, _REQUIRED, arguments)
    full = bare
    for group in [*_OPTIONAL, *_machine_flags()]:
        full = _with(full, group)
    full = _with_openmp(full, runtime)
    if _try(full, folder) is None:
        return full
    if problem := _try(bare, folder):
        return problem
    for group in [*_OPTIONAL, *_machine_flags()]:
        if _try(wider := _with(bare, group), folder) is None:
            bare = wider
    return wider if _try(wider := _with_openmp(bare, runtime), folder) is None else bare


def _with(compiler: Compiler, flags: Sequence[str]) -> Compiler:
    return Compiler(**{**vars(compiler), "flags": (*compiler.flags, *flags)})


def _with_openmp(compiler: Compiler, runtime: str | None) -> Compiler:
    # gcc adds -lgomp by itself. With --as-needed it is dropped, since torch's copy comes first and has all it
    # needs: two OpenMP runtimes in a process would be two thread pools.
    flags = ("-fopenmp", "-Wl,--as-needed") if runtime and sys.platform == "linux" else ("-fopenmp",)
    return Compiler(**{**vars(_with(compiler, flags)), "openmp": runtime})


def _machine_flags() -> list[tuple[str, ...]]:
    machine = os.uname().machine
    if machine in ("x86_64", "i686", "amd64"):
        # gcc and clang prefer 256-bit vectors on most processors that have 512-bit ones.
        wide = [("-mprefer-vector-width=512",)] if has_long_vectors() else []
        return [("-march=native",), *wide]
    return [("-mcpu=native",)] if machine.startswith(("aarch64", "arm")) else []


def _try(compiler: Compiler, folder: Path) -> str | None:
    """Build and load the probe. Returns None when it works, else why not."""
    import ctypes
    import tempfile

    place = tempfile.mkdtemp(dir=folder)  # The loader knows a library by its path: every try needs a new one.
    (Path(place) / "probe.c").write_text(_PROBE)
    status, output = invoke(compiler.command("probe.c", "probe.so"), Path(place))
    if status != 0:
        return excerpt(output) or f"exit status {status}"
    try:
        if compiler.openmp:
            ctypes.CDLL(compiler.openmp)
        right = ctypes.CDLL(os.path.join(place, "probe.so")).actium_probe(21) == 42
    except (OSError, AttributeError) as problem:
        return f"builds a library that cannot be loaded ({problem})"
    return None if right else "builds a library that computes nonsense"


def invoke(command: Sequence[str], folder: Path, seconds: float | None = None) -> tuple[int, str]:
    """Run a compiler in `folder`, without a shell and without input, for `BUILD_SECONDS` if not told otherwise.

    Returns:
        The exit status, and everything that it printed.

    Raises:
        KernelError: If it cannot be started, or takes longer than `seconds`.
    """
    import signal
    import subprocess

    seconds = BUILD_SECONDS if seconds is None else seconds
    environment = {**os.environ, "LC_ALL": "C", "TMPDIR": str(folder)}
    try:
        # A session of its own, so that a time-out can end the compiler proper along with its driver.
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as problem:
        raise KernelError(f"cannot start the C compiler {command[0]}: {problem}. Try: set ACTIUM_CC.") from problem
    try:
        output, _ = process.communicate(timeout=seconds)
    except BaseException as problem:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(problem, subprocess.TimeoutExpired):
            raise KernelError(f"the C compiler {command[0]} was stopped after {seconds:g} s.") from None
        raise
    return process.returncode, output.decode("utf-8", "replace")


def excerpt(output: str, lines: int = 12) -> str:
    """Shorten what a compiler printed.

    Returns:
        The first lines, the first that names an error among them.
    """
    everything = output.strip().splitlines()
    shown = everything[:lines]
    shown += [line for line in everything[lines:] if "error:" in line][: not any("error:" in line for line in shown)]
    return "\n".join(shown)


@dataclass(frozen=True)
class Cpu:
    """The processor: its name, the instruction-set flags that the system lists, and a string that tells it apart."""

    model: str
    flags: frozenset[str]
    identity: str


@memoize
def cpu() -> Cpu:
    """Describe the processor.

    Returns:
        What /proc/cpuinfo says of the first core; where there is none, what the platform is called.
    """
    fields = dict[str, str]()
    for line in _first_core().splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    model = fields.get("model name") or fields.get("CPU part") or os.uname().machine
    flags = frozenset((fields.get("flags") or fields.get("Features") or "").split())
    names = ("vendor_id", "CPU implementer", "cpu family", "model", "stepping", "CPU variant", "CPU revision")
    identity = "|".join([model, *(fields.get(name, "") for name in names), " ".join(sorted(flags))])
    return Cpu(model, flags, identity)


def has_long_vectors() -> bool:
    """Whether the processor has vectors of 512 bits, and twice the registers that come with them."""
    return "avx512f" in cpu().flags


def _first_core() -> str:
    # One entry is enough, and the file is written as it is read: with hundreds of cores the whole takes a while.
    text = b""
    try:
        with open("/proc/cpuinfo", "rb", buffering=0) as file:
            while b"\n\n" not in text and (chunk := file.read(4096)):
                text += chunk
    except OSError:
        return ""
    return text.partition(b"\n\n")[0].decode("utf-8", "replace")


def openmp_runtime(kind: str) -> str | None:
    """Find the OpenMP runtime that torch brings along, without importing torch.

    Args:
        kind: "gcc" or "clang"; the two speak to different runtimes.

    Returns:
        The path of the library, or None where torch brings none that this compiler can use.
    """
    patterns = ("libgomp.so*", "libgomp-*.so*") if kind == "gcc" else ("libomp.so*", "libomp.dylib", "libiomp5.*")
    for folder in _torch_libraries():
        for pattern in patterns:
            if found := sorted(folder.glob(pattern)):
                return str(found[0])
    return None


@memoize
def _torch_libraries() -> tuple[Path, ...]:
    from importlib.util import find_spec

    try:
        spec = find_spec("torch")
    except (ImportError, ValueError):
        return ()
    if spec is None or not spec.origin:
        return ()
    package = Path(spec.origin).parent
    return package / "lib", package.parent / "torch.libs"


@memoize
def _runtime_identity() -> str:
    return f"{openmp_runtime('gcc')}|{openmp_runtime('clang')}"
