"""Generated kernels under clang, for the processors of others: they compile, and every loop becomes vectors.

`pip install ziglang` (extra `clang`) is clang with the headers of other systems; without it a clang on PATH does for
this machine's kind of processor. gcc is watched by `test_vectorised.py`.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys

import pytest
from harness import X86

from actium.catalogue import ENTRIES
from actium.kernels import cpu
from actium.kernels.dispatch import Library

ZIG = importlib.util.find_spec("ziglang") is not None
CLANG = shutil.which("clang")
COMMAND = [sys.executable, "-m", "ziglang", "cc"] if ZIG else [str(CLANG)]
FLAGS = "-O3 -fno-fast-math -ffp-contract=off -std=gnu11 -fno-math-errno -fno-trapping-math -fno-sanitize=all".split()
PROCESSORS = {
    "avx2": ("-target x86_64-linux-gnu -mcpu=x86_64_v3", "-march=x86-64-v3"),
    "avx512": ("-target x86_64-linux-gnu -mcpu=x86_64_v4", "-march=x86-64-v4 -mprefer-vector-width=512"),
    "neon": ("-target aarch64-linux-gnu", None),
}
NAMES = ("relu", "silu", "gelu", "softplus", "mish", "tanhshrink")

pytestmark = pytest.mark.skipif(not (ZIG or CLANG), reason="needs clang: pip install ziglang")


def compiled(folder, source: str, processor: str) -> str:
    """What clang says of the loops of a kernel."""
    for name, text in {**cpu.headers(), "kernel.c": source}.items():
        (folder / name).write_text(text)
    with_zig, plain = PROCESSORS[processor]
    target = with_zig if ZIG else plain
    if target is None or not (ZIG or X86):
        pytest.skip("needs the headers of another system: pip install ziglang")
    command = [*COMMAND, *target.split(), *FLAGS, "-Rpass=loop-vectorize", "-S", "-o", "kernel.s", "kernel.c"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def scalar_loops(source: str, report: str) -> list[str]:
    """The loops over elements that clang does not say to have made vectors of."""
    vectorised = {int(line) for line in re.findall(r"kernel\.c:(\d+):\d+: remark: vectorized loop", report)}
    lines = source.split("\n")
    starts = [k for k, line in enumerate(lines) if "#pragma GCC ivdep" in line]
    loops = [next(j for j in range(k, len(lines)) if lines[j].lstrip().startswith("for ")) for k in starts]
    assert loops
    return [lines[k] for k in loops if k + 1 not in vectorised]


@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", NAMES)
def test_every_loop_is_vectorised(tmp_path, name, dtype, processor):
    source = Library(ENTRIES[name].activation().op.plan, dtype).source()
    assert scalar_loops(source, compiled(tmp_path, source, processor)) == []


def test_a_loop_that_depends_on_itself_is_noticed(tmp_path):
    source = Library(ENTRIES["relu"].activation().op.plan, "float32").source()
    mutant = re.sub(r"y0\[i\] = (\w+);", r"y0[i] = \1 + (i > 0 ? y0[i - 1] : 0);", source)
    assert mutant != source
    assert scalar_loops(mutant, compiled(tmp_path, mutant, "avx2")) != []
