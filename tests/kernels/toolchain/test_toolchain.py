"""The toolchain builds what it is given, and builds it once."""

from __future__ import annotations

import dataclasses
import threading

import pytest
from processes import LOAD, PATIENCE, SOURCE, builds, needs_gcc, run, spawn

from actium.errors import KernelError
from actium.kernels import compiler, toolchain


@needs_gcc
def test_load_builds_a_function_that_can_be_called():
    assert toolchain.load(SOURCE).answer() == 42


@needs_gcc
def test_load_gives_the_same_library_for_the_same_source_and_headers():
    source = '#include "n.h"\nint answer(void) { return N; }\n'
    first = toolchain.load(source, {"n.h": "#define N 1\n"})
    assert toolchain.load(source, {"n.h": "#define N 1\n"}) is first
    assert toolchain.load(source, {"n.h": "#define N 2\n"}).answer() == 2


@needs_gcc
def test_eight_processes_on_an_empty_cache_all_succeed_and_build_once(cache_dir, wrapper):
    log = wrapper()
    processes = [spawn(LOAD, SOURCE) for _ in range(8)]
    assert [process.communicate(timeout=PATIENCE)[0].strip() for process in processes] == ["42"] * 8
    assert builds(log) == 1
    assert not list(cache_dir.glob("build-*"))


@needs_gcc
@pytest.mark.parametrize(
    ("source", "headers", "message"),
    [
        ("int x;\0", {}, "NUL character at position 6"),
        ("int \udc80;", {}, "not valid Unicode text at position 4"),
        (SOURCE, {"a.h": "\0"}, "a.h contains a NUL"),
        (SOURCE, {"../a.h": ""}, "plain file name"),
        (SOURCE, {"kernel.c": ""}, "plain file name"),
        (SOURCE, {"": ""}, "plain file name"),
        (SOURCE, {"-x.h": ""}, "plain file name"),
    ],
)
def test_hostile_source_is_refused(source, headers, message):
    with pytest.raises(KernelError, match=message):
        toolchain.load(source, headers)


@needs_gcc
def test_missing_openmp_runtime_is_a_clear_error(cache_dir, tmp_path):
    toolchain.load(SOURCE)
    found = toolchain.find_compiler()
    assert found is not None
    elsewhere = dataclasses.replace(found, openmp=str(tmp_path / "libgomp.so.1"))
    with pytest.raises(KernelError, match="cannot load the OpenMP runtime"):
        toolchain._open(next(cache_dir.glob("*.so")), elsewhere)


@needs_gcc
def test_key_depends_on_everything_that_the_machine_code_depends_on(monkeypatch):
    found = toolchain.find_compiler()
    assert found is not None
    files = {"kernel.c": b"int a;", "a.h": b"b"}
    keys = [
        toolchain._key(files, found),
        toolchain._key({**files, "a.h": b"c"}, found),
        toolchain._key({"kernel.c": b"int a;", "a.hb": b""}, found),
        toolchain._key(files, dataclasses.replace(found, version="13")),
        toolchain._key(files, dataclasses.replace(found, flags=(*found.flags, "-g"))),
        toolchain._key(files, dataclasses.replace(found, openmp="/other/libgomp.so.1")),
    ]
    monkeypatch.setattr(toolchain, "cpu", lambda: compiler.Cpu("other", frozenset(), "other"))
    keys.append(toolchain._key(files, found))
    assert len(set(keys)) == len(keys)


@needs_gcc
def test_threads_share_one_library(wrapper):
    log = wrapper()
    loaded: list[object] = []
    threads = [threading.Thread(target=lambda: loaded.append(toolchain.load(SOURCE))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(loaded) == 8
    assert len({id(library) for library in loaded}) == 1
    assert builds(log) == 1


@needs_gcc
def test_child_forked_during_a_load_can_load():
    code = """
import os, sys, threading
from actium.kernels import toolchain
toolchain.find_compiler()
held, done = threading.Event(), threading.Event()
def hold():
    with toolchain._memory.lock:
        held.set()
        done.wait()
threading.Thread(target=hold).start()
held.wait()
child = os.fork()
if child == 0:
    os._exit(toolchain.load(sys.argv[1]).answer())
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
done.set()
"""
    assert run(code, SOURCE) == "42"


@needs_gcc
def test_status_and_clear_cache_count_the_entries(cache_dir):
    library = toolchain.load(SOURCE)
    toolchain.load(SOURCE.replace("42", "43"))
    report = toolchain.status()
    assert report.enabled
    assert report.reason is None
    assert report.cache_dir == str(cache_dir)
    assert report.entries == 2
    assert report.total_bytes == sum(path.stat().st_size for path in cache_dir.glob("*.so"))
    assert report.compiler is not None
    assert report.flags == report.compiler.flags
    assert (report.openmp is not None) == ("-fopenmp" in report.flags)
    assert toolchain.clear_cache() == 2
    assert toolchain.status().entries == 0
    assert library.answer() == 42
