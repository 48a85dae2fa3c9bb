"""The compiler is chosen by what it can do; without one there is a clear word, once."""

from __future__ import annotations

import ctypes
import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from processes import LOAD, PATIENCE, SOURCE, await_path, builds, needs_gcc, run

from actium.errors import ActiumWarning, KernelError
from actium.kernels import compiler, toolchain


@needs_gcc
def test_second_process_starts_no_compiler(wrapper):
    log = wrapper()
    assert run(LOAD, SOURCE) == "42"
    invocations = log.read_text()
    assert builds(log) == 1
    assert run(LOAD, SOURCE) == "42"
    assert log.read_text() == invocations


@needs_gcc
def test_compile_error_names_the_first_error_of_the_compiler():
    with pytest.raises(KernelError, match=r"kernel\.c:20:.*error: .*undeclared_name"):
        toolchain.load("#warning many\n" * 19 + "int answer(void) { return undeclared_name; }\n")


@needs_gcc
def test_compiler_that_hangs_is_stopped_with_its_children(tmp_path, wrapper, monkeypatch):
    pid = tmp_path / "pid"
    wrapper(f'case "$*" in *kernel.c*) sleep 300 >/dev/null 2>&1 & echo $! > "{pid}"; wait;; esac')
    toolchain.find_compiler()
    monkeypatch.setattr(compiler, "BUILD_SECONDS", 0.3)
    with pytest.raises(KernelError, match="was stopped after"):
        toolchain.load(SOURCE)
    stat = Path(f"/proc/{pid.read_text().strip()}/stat")
    await_path(lambda: not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z")


def test_no_compiler_disables_kernels_and_warns_once(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not toolchain.kernels_enabled()
    with pytest.warns(ActiumWarning, match="apt-get install gcc"):
        toolchain.warn_once_unavailable()
    toolchain.warn_once_unavailable()  # A second warning would be an error here.
    assert "gcc: not found" in (toolchain.unavailable_reason() or "")
    with pytest.raises(KernelError, match="no usable C compiler"):
        toolchain.load(SOURCE)


@pytest.mark.parametrize("value", ["1", "true", "YES"])
def test_user_can_disable_kernels_without_a_warning(monkeypatch, tmp_path, value):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("ACTIUM_DISABLE_KERNELS", value)
    assert not toolchain.kernels_enabled()
    assert toolchain.unavailable_reason() == f"disabled by ACTIUM_DISABLE_KERNELS={value}"
    toolchain.warn_once_unavailable()


@needs_gcc
@pytest.mark.parametrize("value", ["", "0", "false"])
def test_kernels_stay_enabled_when_the_variable_says_no(monkeypatch, value):
    monkeypatch.setenv("ACTIUM_DISABLE_KERNELS", value)
    assert toolchain.kernels_enabled()
    assert toolchain.unavailable_reason() is None


@needs_gcc
def test_chosen_compiler_is_not_replaced_by_another(monkeypatch):
    monkeypatch.setenv("ACTIUM_CC", "/nowhere/gcc -x")
    assert toolchain.find_compiler() is None
    assert "ACTIUM_CC=/nowhere/gcc -x: not found" in (toolchain.unavailable_reason() or "")


@needs_gcc
def test_unusable_cc_gives_way_to_gcc(monkeypatch):
    monkeypatch.setenv("CC", shutil.which("true") or "true")
    found = toolchain.find_compiler()
    assert found is not None
    assert Path(found.path).name == "gcc"


@needs_gcc
@pytest.mark.parametrize("flag", ["-fno-trapping-math", "-fopenmp"])
def test_flag_that_the_compiler_refuses_is_left_out(wrapper, flag):
    wrapper(f'case "$*" in *{flag}*) echo "error: {flag}" >&2; exit 1;; esac')
    found = toolchain.find_compiler()
    assert found is not None
    assert flag not in found.flags
    assert {"-ffp-contract=off", "-fno-math-errno"} <= set(found.flags)
    assert (found.openmp is None) or flag != "-fopenmp"
    assert toolchain.load(SOURCE).answer() == 42


@needs_gcc
def test_compiler_without_a_required_flag_is_refused(wrapper):
    wrapper('case "$*" in *-ffp-contract*) echo "error: no such flag" >&2; exit 1;; esac')
    assert toolchain.find_compiler() is None
    assert "error: no such flag" in (toolchain.unavailable_reason() or "")


@needs_gcc
def test_fast_math_in_cc_does_not_reach_the_kernels(monkeypatch):
    monkeypatch.setenv("CC", "gcc -ffast-math")
    isnan = toolchain.load("int isnan_(double x) { return x != x; }").isnan_
    isnan.argtypes = [ctypes.c_double]
    assert isnan(float("nan")) == 1


@needs_gcc
def test_kernels_run_on_the_openmp_runtime_of_torch():
    found = toolchain.find_compiler()
    if found is None or found.openmp is None:
        pytest.skip("torch brings no OpenMP runtime for this compiler")
    source = "#include <omp.h>\nint n(void) { int k = 0;\n#pragma omp parallel num_threads(2)\n#pragma omp atomic\n"
    assert (
        run(
            "import sys, os; from actium.kernels import toolchain; toolchain.load(sys.argv[1]); import torch; "
            "torch.randn(2**20).sin(); maps = open('/proc/self/maps').read().split(); "
            "print(len({os.path.realpath(path) for path in maps if 'gomp' in path}))",
            source + "k += 1; return k; }",
        )
        == "1"
    )


@needs_gcc
def test_damaged_compiler_record_is_found_out_again(cache_dir):
    before = toolchain.find_compiler()
    record = next(cache_dir.glob("compiler-*.json"))
    for text in ("", "{}", json.dumps({"path": "x", "flags": 3})):
        record.write_text(text)
        toolchain.forget()
        assert toolchain.find_compiler() == before


@needs_gcc
def test_kernels_link_no_second_openmp_runtime_when_that_of_torch_has_another_name(tmp_path):
    found = toolchain.find_compiler()
    if found is None or found.openmp is None or found.kind != "gcc":
        pytest.skip("torch brings no OpenMP runtime for gcc")
    runtime = tmp_path / "libgomp-1234.so.1"
    (tmp_path / "gomp.c").write_text("void GOMP_parallel(void (*work)(void *), void *data) { work(data); }\n")
    (tmp_path / "kernel.c").write_text("void work(void);\nvoid f(void) {\n#pragma omp parallel\nwork(); }\n")
    naming = ["-shared", "-fPIC", f"-Wl,-soname,{runtime.name}"]
    subprocess.run(["gcc", *naming, "-o", runtime, tmp_path / "gomp.c"], check=True, timeout=PATIENCE)
    # Some compilers drop unneeded libraries by default; the claim is about those that do not.
    other = dataclasses.replace(found, openmp=str(runtime), arguments=("-Wl,--no-as-needed",))
    assert compiler.invoke(other.command("kernel.c", "kernel.so"), tmp_path) == (0, "")
    names = (tmp_path / "kernel.so").read_bytes().split(b"\0")
    assert runtime.name.encode() in names
    assert b"libgomp.so.1" not in names
