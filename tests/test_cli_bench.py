"""`actium bench`: exit codes, one JSON object, one page, and no traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from actium import cli

FAST = ("--no-compile", "--seconds", "0.01", "--size", "1000", "--dtype", "float32")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Run the command line in this process: exit code, stdout, stderr."""
    monkeypatch.setenv("COLUMNS", "110")

    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["actium", "bench", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capfd.readouterr()
        return int(stopped.value.code or 0), out, err

    return command


def test_a_target_is_shown_with_floor_ratios_and_memory(run):
    code, out, err = run("silu", *FAST)
    assert code == 0
    assert err == ""
    for expected in ("torch.nn.functional.silu", "forward and backward, float32, 1000 elements, cpu", "have to move"):
        assert expected in out
    header = next(line for line in out.splitlines() if "quartiles" in line)
    assert header.split() == "time quartiles × actium 95 % of copy keeps peak B/el differs by".split()
    assert [line.split()[0] for line in out.splitlines() if "% +" in line] == ["actium", "torch", "composite"]


def test_a_narrow_terminal_gets_fewer_columns(run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = run("silu", *FAST)
    assert "differs" not in out
    assert max(map(len, out.splitlines())) <= 80


def test_json_on_stdout_is_one_object(run, tmp_path: Path):
    (tmp_path / "loud.py").write_text("print('loud')\ndef f(x):\n    print('f')\n    return x.tanh()\n")
    code, out, err = run(f"{tmp_path}/loud.py:f", "tanh", "--json", "-", "--pass", "forward,both", *FAST)
    document = json.loads(out)
    assert code == 0
    assert document["schema"] == "actium.bench/1"
    assert [t["target"] for t in document["targets"]] == [f"{tmp_path}/loud.py:f", "tanh"]
    assert [(c["target"], c["pass"]) for c in document["cells"]] == [
        (t["target"], p) for t in document["targets"] for p in ("forward", "both")
    ]
    assert document["environment"]["threads"]
    assert document["environment"]["kernels"]
    assert "loud" in err


def test_files_are_written(run, tmp_path: Path):
    code, out, _ = run("relu", *FAST, "--json", f"{tmp_path}/b.json", "--html", f"{tmp_path}/b.html")
    assert code == 0
    assert "relu" in out
    assert json.loads((tmp_path / "b.json").read_text())["cells"]
    assert (tmp_path / "b.html").read_text().startswith("<!doctype html>")


def test_a_formula_takes_parameters_and_comparisons(run):
    code, out, _ = run("x * sigmoid(beta * x)", "-p", "beta=1.7", "--against", "torch.nn:SiLU", *FAST)
    assert code == 0
    assert "torch.nn:SiLU" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("x +",), "error: "),
        (("silo",), "did you mean silu"),
        (("no_such_package_here:f",), "no_such_package_here"),
        (("silu", "--size", "12q"), "--size 12q"),
        (("silu", "--size", "999Gi"), "choose a smaller one"),
        (("silu", "--dtype", "float8"), "--dtype float8"),
        (("silu", "--pass", "sideways"), "--pass sideways"),
        (("silu", "--device", "teapot"), "--device teapot"),
        (("silu", "--against", "torch.nn:Nothing"), "has no Nothing"),
        (("silu", "-p", "beta"), "NAME=VALUE"),
        (("silu", "--html", "/no/such/folder/x.html"), "no directory"),
        (("silu", "--json", "/no/such/folder/x.json"), "no directory"),
        (("silu", "--seconds", "0"), "--seconds"),
        (("silu", "--bogus"), "No such option"),
        ((), "Missing argument"),
    ],
)
def test_what_is_wrong_is_said_in_a_line_with_exit_code_2(run, arguments: tuple[str, ...], says: str):
    code, out, err = run(*arguments)
    assert code == 2
    assert says in err
    assert "Traceback" not in out + err


def test_a_target_that_raises_is_exit_code_2_and_costs_the_others_nothing(run, tmp_path: Path):
    (tmp_path / "broken.py").write_text("def f(x):\n    raise ValueError('not today')\n")
    code, out, err = run(f"{tmp_path}/broken.py:f", "silu", *FAST)
    assert code == 2
    assert err.splitlines() == [f"error: {tmp_path}/broken.py:f was not measured: ValueError: not today"]
    assert "torch.nn.functional.silu" in out
    assert "of copy" in out


def test_another_that_raises_is_told_and_no_error(run, tmp_path: Path):
    (tmp_path / "broken.py").write_text("def f(x):\n    raise ValueError('not today')\n")
    code, out, _ = run("silu", "--against", f"{tmp_path}/broken.py:f", *FAST)
    assert code == 0
    assert f"not measured: {tmp_path}/broken.py:f: ValueError: not today" in " ".join(out.split())


def test_an_interrupt_shows_what_there_is(tmp_path: Path):
    page, data = tmp_path / "b.html", tmp_path / "b.json"
    command = [sys.executable, "-c", "from actium.cli import main; main()", "bench", "silu", "--no-compile"]
    command += ["--seconds", "0.05", "--size", "1000", "--pass", "both,forward", "--dtype", "float32"]
    marker = tmp_path / "running.py"
    # The second target says that it runs, and then takes its time.
    marker.write_text(
        "import time, pathlib, torch\ndef f(x):\n    if type(x) is torch.Tensor:\n"
        f"        pathlib.Path({str(tmp_path / 'seen')!r}).touch()\n        time.sleep(0.3)\n    return x.tanh()\n"
    )
    command += [f"{marker}:f", "--html", str(page), "--json", str(data)]
    env = os.environ | {"COLUMNS": "100"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        end = time.monotonic() + 90
        while not (tmp_path / "seen").exists() and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "forward and backward, float32, 1000 elements" in out
    assert "interrupted: 2 cells measured" in err
    assert "Traceback" not in err
    assert json.loads(data.read_text())["interrupted"] is True
    assert "interrupted" in page.read_text()


def test_help_does_not_load_torch():
    code = (
        "import sys\nfrom actium.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('torch' in sys.modules or 'rich' in sys.modules, file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", code, "bench", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--against" in done.stdout
    assert done.stderr == "False\n"
