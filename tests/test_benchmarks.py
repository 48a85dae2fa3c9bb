"""The benchmark scripts: each says what it does, and those that take no long time run, on small samples."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch

from actium import bench
from actium.bench import cells

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "common")
# Arguments that make a script short.
SHORT = {
    "memory_training": ("--steps", "1", "--seeds", "1"),
    "gated": ("--quick", "--no-compile", "--only", "reglu"),
    "speed": ("--quick", "--no-compile", "--only", "softsign"),
}


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a script as a user would, and gives what it prints and the topics that it would have saved."""
    threads, saved = torch.get_num_threads(), []
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    import common  # type: ignore[import-not-found]  # only found beside the scripts

    monkeypatch.setattr(common, "save", lambda topic, results, hardware=None: saved.append(topic))

    def few_turns(calls, *_, **__):
        for call in calls.values():
            call()  # kernels are built
        return bench.interleaved(calls, 0.0, turns=2, repeats=1)

    for module in (common, cells):
        monkeypatch.setattr(module, "interleaved", few_turns)

    def run(name: str, *arguments: str) -> tuple[str, list[str]]:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out, saved

    yield run
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_answers_help_and_does_nothing(name, run, capsys):
    with pytest.raises(SystemExit) as end:
        run(name, "--help")
    text = capsys.readouterr().out
    assert end.value.code == 0
    assert text.startswith("usage:")
    assert len(text.splitlines()) > 4


@pytest.mark.parametrize("name", SHORT)
def test_a_script_runs(name, run):
    text, saved = run(name, *SHORT[name])
    assert len(text.splitlines()) > 3
    assert set(saved) <= {name}


@pytest.mark.parametrize(
    ("name", "flags", "told"),
    [
        ("AMD EPYC", "fpu avx2 avx512f", "AMD EPYC, family 25 model 17 (AVX-512)"),
        ("AMD EPYC 7R13 Processor", "fpu avx2", "AMD EPYC 7R13 Processor (AVX2)"),
        ("Some Core", "fpu", "Some Core, family 25 model 17"),
    ],
)
def test_processors_of_one_name_are_told_apart(monkeypatch, name, flags, told):
    monkeypatch.syspath_prepend(str(FOLDER))
    import common  # type: ignore[import-not-found]  # only found beside the scripts

    assert common.processor(name, "25", "17", flags) == told
    assert common.machine()["cpu"]
