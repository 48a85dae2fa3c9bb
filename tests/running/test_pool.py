"""Whatever a target does, it gets an outcome that says what, its neighbours are judged, and nothing is left behind."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from actium.errors import TargetError
from actium.running import Judging, Limits, Outcome, Pool, check_all
from actium.running.pool import Task
from actium.running.processes import Spawned

HERE = str(Path(__file__).parent / "hostile.py")
QUICK = Judging(dtypes=("bfloat16",), only=("dtype-leak", "batch-coupling"))
MEBIBYTE = 2**20


def judge(pool: Pool, *names: str, member: bool = True) -> dict[str, Outcome]:
    outcomes = list(pool.judge([Task(f"{HERE}:{n}", member) for n in names], QUICK))
    assert len(outcomes) == len(names)
    return {o.target.rpartition(":")[2]: o for o in outcomes}


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(2, Limits(60.0, 300 * MEBIBYTE)) as made:
        yield made


ENDINGS = {
    "raises": "takes no tensor of any tried shape: ValueError: no way",
    "recurses": "RecursionError",
    "recurses_through_c": "RecursionError",
    "interrupts": "ends the process: raises KeyboardInterrupt",
    "exits": "ends the process: raises SystemExit: 0",
    "exits_at_once": "exited with status 3",
    "claims_success_and_exits": "exited with status 0",
    "segfaults": "killed by signal 11 (SIGSEGV)",
    "recurses_until_the_stack_ends": "killed by signal 11 (SIGSEGV)",
    "kills_itself": "killed by signal 9 (SIGKILL)",
    "eats_memory": "used more than 300 MiB",
    "eats_memory_in_a_child": "used more than 300 MiB",
    "asks_for_a_terabyte": "can't allocate memory",
    "needs_a_partner": "nothing sensible is known for other",
    "Shrinks": "keeps no shape: 48 numbers in, shape (1,) out",
}


def test_what_did_not_run_says_why(pool: Pool):
    outcomes = judge(pool, *ENDINGS)
    for name, reason in ENDINGS.items():
        assert outcomes[name].certificate is None, name
        assert reason in (outcomes[name].reason or ""), name


SOUND = (
    "Sound", "PrintsALot", "starts_a_thread_that_never_ends", "leaves_a_child_behind", "closes_everything",
    "writes_everywhere", "reads_from_stdin", "SizedByItsChannels", "NeedsALot", "leaks", "Halves", "RandomInTraining",
)  # fmt: skip


def test_what_misbehaves_harmlessly_is_judged(pool: Pool, capfd: pytest.CaptureFixture[str]):
    outcomes = judge(pool, *SOUND)
    for name in SOUND:
        certificate = outcomes[name].certificate
        assert certificate is not None, (name, outcomes[name].reason)
        assert certificate.passed, name
        assert certificate.target == f"{HERE}:{name}"
    assert "3600.25" not in running()
    assert capfd.readouterr() == ("", "")


def running() -> str:
    """The command lines of all processes."""
    texts = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                texts.append(Path(f"/proc/{entry}/cmdline").read_text(errors="replace").replace("\0", " "))
            except OSError:
                continue
    return "\n".join(texts)


HANGS = ("SleepsForever", "HangsWhenMade", "hangs_in_native_code", "ignores_signals_and_hangs", "forks")


def test_what_hangs_is_ended():
    with Pool(6, Limits(2.0)) as pool:
        outcomes = judge(pool, *HANGS)
    assert {o.reason for o in outcomes.values()} == {"exceeded 2 s"}
    assert HERE not in running()


def test_the_loss_of_the_server_is_one_targets_fault_and_the_others_are_judged():
    with Pool(2, Limits(20.0)) as pool:
        outcomes = judge(pool, "kills_its_watcher", "Sound", "Halves")
    assert outcomes.pop("kills_its_watcher").reason == "ended the process that watches over it"
    assert all(o.certificate is not None for o in outcomes.values())


def test_a_server_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("actium.running.pool._GRACE", 0.5)
    with Pool(1, Limits(3.0)) as pool:
        outcomes = judge(pool, "stops_its_watcher", "Sound")
    assert outcomes["stops_its_watcher"].reason == "ended the process that watches over it"
    assert outcomes["Sound"].certificate is not None


def test_leaving_early_ends_everything():
    start = time.monotonic()
    with Pool(2, Limits(60.0)) as pool:
        outcomes = pool.judge([Task(f"{HERE}:SleepsForever"), Task(f"{HERE}:raises")], QUICK)
        assert next(outcomes).target.endswith("raises")
        del outcomes
    assert time.monotonic() - start < 30
    assert "3600" not in running()


def test_without_fork_the_same_holds():
    with Pool(4, Limits(60.0), processes=Spawned) as pool:
        outcomes = judge(pool, "Sound", "exits_at_once", "segfaults")
    assert outcomes["Sound"].certificate is not None
    assert outcomes["exits_at_once"].reason == "exited with status 3"
    assert outcomes["segfaults"].reason == "killed by signal 11 (SIGSEGV)"
    with Pool(1, Limits(0.5), processes=Spawned) as pool:
        assert judge(pool, "SleepsForever")["SleepsForever"].reason == "exceeded 0.5 s"
    with Pool(1, Limits(60.0, 20 * MEBIBYTE), processes=Spawned) as pool:
        assert judge(pool, "SleepsForever")["SleepsForever"].reason == "used more than 20 MiB"


def test_expansion_finds_members_in_the_order_of_the_source_and_each_once(pool: Pool):
    expanded = pool.expand([f"{HERE}:Sound", f"{HERE}:*", "x * x", "torch.nn:ReLU", " x * x "])
    names = [t.target.rpartition(":")[2] for t in expanded.tasks]
    assert names[:3] == ["Sound", "PrintsALot", "SleepsForever"]
    assert names[-2:] == ["x * x", "ReLU"]
    assert len(names) == len(set(names))
    assert not expanded.tasks[0].member  # It was named, too.
    assert {t.rpartition(":")[2] for t in expanded.skipped} == {"Abstract", "opens", "says_the_weather"}


def test_a_module_that_dies_on_import_is_one_refusal(pool: Pool, tmp_path: Path):
    deaths = {
        "exits": "import os; os._exit(4)",
        "dies": "import ctypes; ctypes.string_at(1)",
        "empty": "",
        "wrong": "1/0",
    }
    for name, code in deaths.items():
        (tmp_path / f"{name}.py").write_text(code)
    expanded = pool.expand([f"{tmp_path}/{name}.py:*" for name in deaths])
    reasons = [o.reason or "" for o in expanded.refused.values()]
    assert expanded.tasks == []
    assert reasons[0] == "exited with status 4"
    assert reasons[1] == "killed by signal 11 (SIGSEGV)"
    assert "has no activation that can be checked" in reasons[2]
    assert "ZeroDivisionError: division by zero (line 1)" in reasons[3]


def test_a_package_that_shows_nothing_is_walked_through(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    inner = tmp_path / "walked_here" / "inner"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent):
        (folder / "__init__.py").write_text("")
    (inner / "one.py").write_text("import torch\ndef f(x):\n    return x.tanh()\n")
    (inner.parent / "broken.py").write_text("import nosuch_dependency\n")
    monkeypatch.chdir(tmp_path)
    with Pool(1) as here:
        expanded = here.expand(["walked_here:*"])
    assert expanded.tasks == [Task("walked_here.inner.one:f", member=True)]
    assert "nosuch_dependency" in expanded.skipped["walked_here.broken:*"]


@pytest.mark.usefixtures("server")
def test_check_all_judges_a_file(tmp_path: Path):
    (tmp_path / "some_here.py").write_text("def a(x):\n    return x.tanh()\ndef b(x, y):\n    return x\n")
    certificates, skipped = check_all(f"{tmp_path}/some_here.py:*", dtypes=["bfloat16"], only=["dtype-leak"])
    assert [c.target for c in certificates] == [f"{tmp_path}/some_here.py:a"]
    assert list(skipped) == [f"{tmp_path}/some_here.py:b"]
    with pytest.raises(TargetError, match="no such file"):
        check_all(f"{tmp_path}/nothing.py:*")
