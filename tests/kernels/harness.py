"""Builds math_harness.c against a folder of headers, and wraps it for the tests of math.h and hot.h."""

from __future__ import annotations

import ctypes
import platform
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from once import shared_folder

ROOT = Path(__file__).resolve().parents[2]
HEADER = ROOT / "src" / "actium" / "kernels" / "math.h"
HARNESS = Path(__file__).with_name("math_harness.c")
FLAGS = [
    "-std=c11",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=off",
    "-fPIC",
    "-Wall",
    "-Wextra",
    "-Werror",
]
COMPILER = next((found for name in ("gcc", "clang", "cc") if (found := shutil.which(name))), None)
X86 = platform.machine().lower() in ("x86_64", "amd64")
STEP = 4093  # a prime: 2^20 encodings that fall on every exponent, both signs and all low bits


class Library:
    """The harness, built against the headers of one folder unless it lies there already."""

    def __init__(self, folder: Path, headers: Path = HEADER.parent, march: str = "native", level: str = "-O3") -> None:
        path = folder / f"harness-{march}.so"
        flags = [*FLAGS, level, f"-march={march}", "-shared", "-iquote", str(headers)]
        assert COMPILER is not None
        if not path.exists():
            subprocess.run([COMPILER, *flags, "-o", path, HARNESS, "-lm"], check=True, capture_output=True)
        self.c = ctypes.CDLL(str(path))
        pointer = ctypes.c_void_p
        self.c.act_apply.argtypes = [ctypes.c_char_p, pointer, ctypes.c_float, pointer, ctypes.c_ssize_t]
        self.c.act_reference.argtypes = [ctypes.c_char_p, ctypes.c_double, ctypes.c_double]
        self.c.act_reference.restype = ctypes.c_double
        self.c.act_worst.argtypes = [ctypes.c_char_p, ctypes.c_float, *[ctypes.c_uint64] * 3, pointer]
        self.c.act_worst.restype = ctypes.c_double
        for convert in (self.c.act_load, self.c.act_store):
            convert.argtypes, convert.restype = [ctypes.c_int, pointer, pointer, ctypes.c_int], None

    def apply(self, name: str, xs: np.ndarray | list[float], c: float = 0.0) -> np.ndarray:
        xs = np.ascontiguousarray(xs, dtype=np.float32)
        ys = np.empty_like(xs)
        assert self.c.act_apply(name.encode(), xs.ctypes.data, c, ys.ctypes.data, xs.size), f"unknown {name}"
        return ys

    def worst(
        self, name: str, c: float = 0.0, start: int = 0, stop: int = 2**32, step: int = STEP
    ) -> tuple[float, float]:
        where = ctypes.c_float()
        return self.c.act_worst(name.encode(), c, start, stop, step, ctypes.byref(where)), where.value

    def reference(self, name: str, x: float, c: float = 0.0) -> float:
        return self.c.act_reference(name.encode(), x, c)

    def load(self, encodings: np.ndarray, bfloat: bool) -> np.ndarray:
        out = np.empty(encodings.size, dtype=np.float32)
        self.c.act_load(bfloat, encodings.ctypes.data, out.ctypes.data, encodings.size)
        return out

    def store(self, xs: np.ndarray, bfloat: bool) -> np.ndarray:
        out = np.empty(xs.size, dtype=np.uint16)
        self.c.act_store(bfloat, xs.ctypes.data, out.ctypes.data, xs.size)
        return out

    def assert_within(self, budget: float, name: str, c: float = 0.0, **encodings: int) -> None:
        worst, at = self.worst(name, c, **encodings)
        assert worst <= budget, f"{name}({at!r}, {c}): {worst:.3f} ULP, budget {budget}"


def unchanged(factory: pytest.TempPathFactory, march: str = "native") -> Library:
    """The harness for the headers as they are: built once for all workers of a run, which takes seconds."""
    with shared_folder(factory, "harness") as folder:
        return Library(folder, march=march)


def bits(xs: np.ndarray) -> np.ndarray:
    return xs.view(np.uint32 if xs.dtype == np.float32 else np.uint16)


def build_folder(folder: Path, changed: dict[str, str]) -> Path:
    """A folder with the headers of the project, some of them changed."""
    for name in ("math.h", "halves.h", "hot.h"):
        (folder / name).write_text(changed.get(name) or (HEADER.parent / name).read_text())
    return folder


def not_vectorised(folder: Path, header: str, values: list[str]) -> list[str]:
    """Those of the expressions in x[i] and y[i] whose loop gcc leaves scalar. Links without any library."""
    loop = (
        "void f{0}(const float* restrict x, float* restrict y, long n) {{ for (long i = 0; i < n; i++) y[i] = {1}; }}"
    )
    source = folder / "loops.c"
    source.write_text("\n".join([f'#include "{header}"', *(loop.format(k, value) for k, value in enumerate(values))]))
    march = ["-march=x86-64-v3"] if X86 else []
    flags = [*FLAGS, "-O3", *march, "-iquote", str(HEADER.parent), "-fopt-info-vec-optimized"]
    link = ["-shared", "-nostdlib", "-Wl,--no-undefined", "-o", str(folder / "loops.so")]
    done = subprocess.run([str(COMPILER), *flags, *link, str(source)], check=True, capture_output=True, text=True)
    vectorised = {int(n) for n in re.findall(r"loops\.c:(\d+):\d+: optimized: loop vectorized", done.stderr)}
    return [value for number, value in enumerate(values, start=2) if number not in vectorised]
