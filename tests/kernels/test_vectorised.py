"""Every loop over elements is vectorised: one that is not takes ten times as long, and no result shows it."""

from __future__ import annotations

import re
import subprocess

import pytest
from harness import X86

from actium.catalogue import ENTRIES
from actium.kernels import cpu, toolchain
from actium.kernels.dispatch import Library

STATUS = toolchain.status()
GCC = STATUS.compiler is not None and STATUS.compiler.kind == "gcc"
pytestmark = pytest.mark.skipif(not (GCC and X86), reason="reads what gcc for x86-64 says of its loops")
LOOP = "#pragma GCC ivdep"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("vectorised")
    for name, text in cpu.headers().items():
        (made / name).write_text(text)
    return made


def not_vectorised(folder, source: str) -> list[str]:
    """The functions of loops that gcc does not say to have vectorised."""
    (folder / "kernel.c").write_text(source)
    flags = [f for f in STATUS.flags if f not in ("-shared", "-Wl,--as-needed")]
    command = [STATUS.compiler.path, *flags, "-fopt-info-vec-optimized", "-S", "-o", "/dev/null", "kernel.c"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=True)
    found = {int(line) for line in re.findall(r"kernel\.c:(\d+):\d+: optimized: loop vectorized", done.stderr)}
    lines = source.split("\n")
    loops = [k + 2 for k, line in enumerate(lines) if LOOP in line]
    assert loops
    return [next(line for line in reversed(lines[:k]) if line.startswith("static")) for k in loops if k not in found]


@pytest.mark.parametrize("name", ENTRIES)
def test_every_loop_of_the_catalogue_is(folder, name):
    assert not_vectorised(folder, Library(ENTRIES[name].activation().op.plan, "float32").source()) == []


def test_a_test_of_the_first_element_that_is_inlined_is_noticed(folder):
    source = Library(ENTRIES["gelu_tanh"].activation().op.plan, "float32").source()
    mutant = re.sub(r"static __attribute__\(\(noinline\)\) int (\w+_first)", r"static inline int \1", source)
    assert mutant != source
    assert not_vectorised(folder, mutant) != []
