"""The compiled front door: `front.cpp` built once for the torch that is installed, and used where it was.

Stage: op → [front] → kernels. In: an op's parameters and the addresses of its kernels. Out: a callable that takes its
tensors, or None where nothing was built. At 64 elements it calls a kernel in a third of the time that Python needs.

It is built on request (`actium build`), because that takes half a minute of C++ compiler, torch's headers and those of
Python, where a kernel takes 0.3 s of C compiler. Everything works without it, and has the same results.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import sys
import warnings
from collections.abc import Callable
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor

from actium.errors import ActiumWarning, KernelError
from actium.kernels import cache
from actium.kernels.compiler import excerpt, invoke

# The places of dtypes in front.cpp.
DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
# The numbers of what a door takes there.
Kind = Literal["one", "two", "halves"]
KINDS: dict[Kind, int] = {"one": 0, "two": 1, "halves": 2}
Gradient = Callable[[tuple[Any, ...], Any, tuple[bool, ...]], tuple[Any, ...]]
SOURCES = ("front.cpp", "call.h", "recycling.h")
BUILD_SECONDS = 600.0
# recycling.h decides by bytes; fewer elements than this cannot be enough of them.
_MAY_RECYCLE = 1 << 18
_empty_like = torch.empty_like
_OFF = ("0", "false", "no", "off")


def _sources() -> dict[str, str]:
    return {name: files("actium.kernels").joinpath(name).read_text(encoding="utf-8") for name in SOURCES}


def _key() -> str:
    """Which build fits this process: the source, torch, Python and the platform, each to the letter.

    A cache may be shared by machines of two architectures or two C libraries. The compiler is not part of it: what
    another one made from this source fits as well, and a process that only uses it may have none, or no $CXX.
    """
    libc = os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else ""
    parts = (
        *_sources().values(),
        torch.__version__,
        torch.version.git_version or "",
        sys.version,
        str(sys.implementation.cache_tag),
        f"{sys.platform} {os.uname().machine} {libc}",
    )
    return cache.digest(b"front", *(part.encode() for part in parts))


def _disabled() -> bool:
    return os.environ.get("ACTIUM_FRONT", "").strip().lower() in _OFF


def status() -> str:
    """One line on whether it is in use, and why not."""
    if _disabled():
        return f"Python (ACTIUM_FRONT={os.environ['ACTIUM_FRONT']})"
    if (kept := memory()) is None:
        return "Python; `actium build` compiles it"
    return f"compiled; up to {kept[1] >> 20} MiB of freed results are kept for the next (ACTIUM_KEEP_MIB)"


@functools.cache
def module() -> ModuleType | None:
    """The built module, loaded once; None where there is none, or none that can be loaded."""
    if _disabled():
        return None
    try:
        found = cache.find(cache.directory(), _key())
    except (OSError, KernelError):  # no private place for it; kernels say so themselves
        return None
    try:
        return None if found is None else _load(found)
    except (ImportError, OSError) as problem:
        warnings.warn(
            f"actium runs without its compiled front door, which cannot be loaded ({problem}). Results are the same; "
            "calls of small tensors take longer. Try: `actium build` builds it again. "
            "ACTIUM_FRONT=0 silences this warning.",
            ActiumWarning,
            stacklevel=3,
        )
        return None


def _load(path: Path) -> ModuleType:
    loader = ExtensionFileLoader("_front", str(path))
    made = loader.create_module(ModuleSpec("_front", loader, origin=str(path)))
    loader.exec_module(made)
    return made


def _loads(path: Path) -> bool:
    try:
        _load(path)
    except (ImportError, OSError):
        return False
    return True


def make(parameters: tuple[float, ...], gradient: Gradient, kind: Kind = "one") -> Any | None:
    """A front door for an op with these numbers as parameters.

    Args:
        parameters: In the op's order.
        gradient: (operands of the call, grad_output, which inputs want a gradient) → gradients or None, for whatever
            the kernels cannot take.
        kind: What it takes: "one" tensor, "two" of one shape, or one and whose "halves" along a dimension are the two,
            as (tensor, dimension, whether the first half is the first input).

    Returns:
        A callable: to a tensor with its place in autograd's graph, or to None where anything but plain, contiguous CPU
        tensors of a dtype that was added are concerned. None where nothing is built.
    """
    found = module()
    return None if found is None else found.Front(parameters, gradient, KINDS[kind])


def fresh_like(x: Tensor) -> Tensor:
    """Memory for a result with the shape, dtype and strides of a dense tensor.

    A large result on the CPU gets memory that an earlier one has left, where the module is built (`recycling.h`).
    """
    found = module() if x.numel() >= _MAY_RECYCLE and x.is_cpu else None
    return _empty_like(x) if found is None else found.fresh_like(x)


def memory() -> tuple[int, int] | None:
    """Bytes of freed results that are kept for the next, and the most that may be; None where nothing is built."""
    found = module()
    return None if found is None else found.memory()


def add(door: Any, dtype: torch.dtype, forward: Any, backward: Any) -> None:
    """Give it the kernels of a dtype, functions of a loaded library."""
    addresses = (ctypes.cast(function, ctypes.c_void_p).value for function in (forward, backward))
    door.add(DTYPES[dtype], *addresses)


def build() -> Path:
    """Compile it, unless that was done before and the result can be loaded.

    Returns:
        The library in the cache. Processes that start from now on use it; this one does from its next activation on.

    Raises:
        KernelError: If a compiler or header is missing, or the cache cannot be written.
    """
    try:
        folder, key = cache.directory(), _key()
        with cache.lock(folder, key):
            found = cache.find(folder, key)
            if found is None or not _loads(found):
                with cache.workspace(folder) as workspace:
                    found = cache.publish(folder, key, _compile(workspace))
    except OSError as problem:
        raise KernelError(f"cannot write the kernel cache: {problem}. Try: set ACTIUM_CACHE_DIR.") from problem
    module.cache_clear()
    return found


def _compiler() -> str:
    chosen = os.environ.get("CXX") or "g++ clang++ c++"
    for name in chosen.split():
        if (path := shutil.which(name)) is not None:
            return path
    raise KernelError(f"no C++ compiler: looked for {chosen} on PATH. Try: `apt-get install g++`, or set CXX.")


def _compile(folder: Path) -> Path:
    import sysconfig

    python, home = Path(sysconfig.get_path("include")), Path(torch.__file__).parent
    if not (python / "Python.h").is_file():
        raise KernelError(f"no Python.h in {python}. Try: `apt-get install python3-dev`.")
    for name, text in _sources().items():
        (folder / name).write_text(text, encoding="utf-8")
    include, lib = home / "include", home / "lib"
    command = [_compiler(), "-std=c++20", "-O2", "-fPIC", "-shared", "-w", "-DNDEBUG"]
    command += [f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}"]
    command += [f"-I{include}", f"-I{include / 'torch' / 'csrc' / 'api' / 'include'}", f"-I{python}"]
    command += [
        "front.cpp",
        "-o",
        "front.so",
        f"-L{lib}",
        f"-Wl,-rpath,{lib}",
        "-ltorch_python",
        "-ltorch_cpu",
        "-lc10",
    ]
    code, output = invoke(command, folder, BUILD_SECONDS)
    if code != 0:
        reason = next((line for line in output.splitlines() if "error:" in line), excerpt(output))
        raise KernelError(
            f"the front door does not compile against torch {torch.__version__}, exit status {code}: everything works "
            f"without it; calls of small tensors take longer.\n{reason}"
        )
    return folder / "front.so"
