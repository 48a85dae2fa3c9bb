"""Every loop over elements is vectorised: one that is not takes ten times as long, and no result shows it."""

from __future__ import annotations

import re
import subprocess

import pytest
from harness import X86

import actium
from actium.catalogue import ENTRIES
from actium.kernels import paired, toolchain
from actium.kernels.dispatch import Library
from actium.kernels.halves import Kernels

STATUS = toolchain.status()
GCC = STATUS.compiler is not None and STATUS.compiler.kind == "gcc"
pytestmark = pytest.mark.skipif(not (GCC and X86), reason="reads what gcc for x86-64 says of its loops")
LOOP = "#pragma GCC ivdep"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("vectorised")
    for name, text in paired.headers().items():
        (made / name).write_text(text)
    return made


# Any processor's code can be compiled here, and what gcc says of it be read. Name → flags, bytes of a vector.
PROCESSORS = {
    "avx2": (("-march=x86-64-v3", "-mprefer-vector-width=256"), 32),
    "avx512": (("-march=x86-64-v4", "-mprefer-vector-width=512"), 64),
}


def _compiled(folder, source: str, processor: tuple[str, ...], *flags: str) -> subprocess.CompletedProcess:
    (folder / "kernel.c").write_text(source)
    own = [f for f in STATUS.flags if f not in ("-shared", "-Wl,--as-needed")]
    own = [f for f in own if not processor or not f.startswith(("-march=", "-mprefer-vector-width="))]
    command = [STATUS.compiler.path, *own, *processor, *flags, "kernel.c"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=True)


def _loops(source: str) -> dict[int, str]:
    """The line of each loop over elements, and the function that it is in."""
    lines = source.split("\n")
    found = {}
    for k, line in enumerate(lines):
        if LOOP in line:
            at = next(j for j in range(k, len(lines)) if lines[j].lstrip().startswith("for "))
            found[at + 1] = next(text for text in reversed(lines[:k]) if text.startswith("static"))
    assert found
    return found


def vectors(folder, source: str, processor: tuple[str, ...] = ()) -> dict[str, set[int]]:
    """The bytes of the vectors that gcc says to have made of each loop, by function; none where there is no vector."""
    report = _compiled(folder, source, processor, "-fopt-info-vec-optimized", "-S", "-o", "/dev/null").stderr
    said = re.findall(r"kernel\.c:(\d+):\d+: optimized: loop vectorized using (\d+) byte", report)
    return {
        f"{function}, line {line}": {int(size) for at, size in said if int(at) == line}
        for line, function in _loops(source).items()
    }


def not_vectorised(folder, source: str) -> list[str]:
    """The loops that gcc does not say to have vectorised."""
    return [loop for loop, sizes in vectors(folder, source).items() if not sizes]


@pytest.mark.parametrize("name", ENTRIES)
def test_every_loop_of_the_catalogue_is(folder, name):
    assert not_vectorised(folder, Library(ENTRIES[name].activation().op.plan, "float32").source()) == []


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", ["sigmoid", "silu", "gelu", "swish"])
def test_every_loop_of_a_gated_unit_is(folder, name, dtype):
    plan = actium.glu(name).op.plan
    halves = Kernels(plan)
    for source in (Library(plan, dtype).source(), halves.source(dtype), halves.source(dtype, learning=True)):
        assert not_vectorised(folder, source) == []


def test_a_test_of_the_first_element_that_is_inlined_is_noticed(folder):
    source = Library(ENTRIES["gelu_tanh"].activation().op.plan, "float32").source()
    mutant = re.sub(r"static __attribute__\(\(noinline\)\) int (\w+_first)", r"static inline int \1", source)
    assert mutant != source
    assert not_vectorised(folder, mutant) != []


@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["relu", "softsign", "silu", "sigmoid", "gelu", "softplus", "hardswish"])
def test_halves_are_widened_in_vectors_as_long_as_those_of_the_loop(folder, name, dtype, processor):
    # What is stored in two parts and loaded as one waits until it has reached the cache: eight times slower.
    flags, size = PROCESSORS[processor]
    source = Library(ENTRIES[name].activation().op.plan, dtype).source()
    found = vectors(folder, source, flags)
    converting = [loop for loop in found if "const T *" in loop]
    assert converting or "act_narrow_" not in source
    assert all(size in found[loop] for loop in converting)
    (folder / "macro.c").write_text('#include "block.h"\nint bytes = 4 * ACT_VECTOR;')
    command = [STATUS.compiler.path, *flags, "-E", "-P", "macro.c"]
    text = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True).stdout
    assert re.search(r"int bytes = 4 \* (\d+);", text)[1] == str(size // 4)
