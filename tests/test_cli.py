"""The command line: exit codes, one JSON object, one line for an error, and nothing that a script would trip over."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest

from actium import cli
from actium.verify.certificate import Accuracy, Certificate, Finding, Worst, environment

FAST = ("--dtype", "bfloat16", "--check", "non-finite-gradient", "--check", "precision-loss")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], server: None):
    """Run the command line in this process: exit code, stdout, stderr."""
    monkeypatch.setenv("COLUMNS", "100")

    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["actium", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capfd.readouterr()
        return int(stopped.value.code or 0), out, err

    return command


def test_exit_codes(run, tmp_path: Path):
    assert run("check", "torch.nn:ReLU", *FAST)[0] == 0
    assert run("check", "torch.nn:SiLU", *FAST)[0] == 0  # warnings only
    assert run("check", "x * tanh(log(1 + exp(x)))", *FAST)[0] == 1
    assert run("check", "x.__class__", *FAST)[0] == 2
    assert run("check", "--bogus", "x")[0] == 2
    assert run("check")[0] == 2


def test_json_on_stdout_is_one_object_of_the_schema(run, tmp_path: Path):
    (tmp_path / "loud_here.py").write_text(
        "print('loud')\nimport torch\ndef f(x):\n    print('f')\n    return x.tanh()\n"
    )
    code, out, err = run("check", f"{tmp_path}/loud_here.py:f", "torch.nn:ReLU", "--json", "-", *FAST)
    document = json.loads(out)
    assert code == 0
    assert set(document) == {"schema", "environment", "certificates"}
    assert document["schema"] == "actium.certificates/1"
    assert document["environment"]["kernels"]
    assert [c["target"] for c in document["certificates"]] == [f"{tmp_path}/loud_here.py:f", "torch.nn:ReLU"]
    fields = {
        "target", "verdict", "formula", "reference", "findings", "accuracy", "checks_run", "checks_not_run", "same_as",
        "properties", "saved_bytes_per_element", "profile",
    }  # fmt: skip
    assert all(set(c) == fields for c in document["certificates"])
    assert err == ""


def test_json_file_is_written_beside_the_table(run, tmp_path: Path):
    path = tmp_path / "out.json"
    path.write_text("old")
    code, out, _ = run("check", "1/(1+exp(-x))", "--json", str(path), *FAST)
    assert code == 1
    assert "✗ FAIL" in out
    assert json.loads(path.read_text())["certificates"][0]["verdict"] == "fail"
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]
    code, _, err = run("check", "x", "--json", str(tmp_path / "no" / "out.json"), *FAST)
    assert (code, "no directory" in err) == (2, True)


@pytest.mark.parametrize(
    "options",
    [
        ("check", "x", "--json", "{here}/no/out.json"),
        ("check", "x", "--html", "{here}/no/page.html"),
        ("check", "x", "--json", "{here}"),
        ("check", "x", "--budget", "{here}/no/budget.toml", "--update-budget"),
        ("compare", "relu", "--json", "{here}/no/out.json"),
        ("compare", "relu", "--html", "{here}/no/page.html"),
    ],
    ids=" ".join,
)
def test_nowhere_to_write_is_said_before_the_work(run, tmp_path: Path, monkeypatch, options: tuple[str, ...]):
    if options[0] == "compare":
        pytest.importorskip("optuna", reason="needs the extra train")
        monkeypatch.setattr("actium.train.study.compare", lambda *_, **__: pytest.fail("trained"))
    monkeypatch.setattr("actium.cli.judge.run", lambda _: pytest.fail("judged"))
    code, out, err = run(*(o.format(here=tmp_path) for o in options))
    assert (code, out) == (2, "")
    assert err.startswith(f"error: cannot write {tmp_path}")
    assert len(err.splitlines()) == 1


def test_files_may_stand_in_a_folder_that_is_made(run, tmp_path: Path):
    made = tmp_path / "made" / "kept"
    options = ("--out", str(made), "--json", str(made / "out.json"), "--html", str(made.parent / "page.html"))
    assert run("check", "torch.nn:ReLU", *options, *FAST)[0] == 0
    assert json.loads((made / "out.json").read_text())["certificates"]
    assert (made.parent / "page.html").is_file()


def test_no_permission_to_write_is_said_before_the_work(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("actium.cli.judge.run", lambda _: pytest.fail("judged"))
    monkeypatch.setattr("actium.cli.common.os.access", lambda *_: False)  # Whoever may do everything may write, too.
    code, _, err = run("check", "x", "--json", str(tmp_path / "out.json"))
    assert (code, "no permission to write" in err) == (2, True)


def test_html_is_one_page_of_everything_that_was_asked_for(run, tmp_path: Path):
    path = tmp_path / "page.html"
    code, out, _ = run("check", "torch.nn:ReLU", "1/(1+exp(-x))", "--html", str(path), *FAST)
    page = path.read_text(encoding="utf-8")
    assert code == 1
    assert "✗ FAIL" in out
    assert "2 checked: 1 fail, 1 pass" in page
    assert page.count("am-map") - page.count(".am-map") == 2
    assert "<dt>torch</dt>" in page
    code, _, err = run("check", "x", "--html", str(tmp_path / "no" / "page.html"), *FAST)
    assert (code, "no directory" in err) == (2, True)


def test_skipped_targets_are_told(run, tmp_path: Path):
    (tmp_path / "some_here.py").write_text("def f(x):\n    return x\ndef g(x, y):\n    return x\n")
    code, out, err = run("check", f"{tmp_path}/some_here.py:*", *FAST)
    assert code == 0
    assert "1 checked, 1 not checked: 1 pass" in out
    assert "not checked: 1 target" in out
    assert "not checked: " in err
    assert "nothing sensible is known for y" in err
    document = json.loads(run("check", f"{tmp_path}/some_here.py:*", "--json", "-", *FAST)[1])
    assert list(document["skipped"]) == [f"{tmp_path}/some_here.py:g"]


def test_a_named_target_that_dies_is_an_error_and_the_others_are_judged(run, tmp_path: Path):
    (tmp_path / "dies_here.py").write_text("import os\ndef f(x):\n    os._exit(3)\ndef g(x):\n    return x * 2\n")
    here = f"{tmp_path}/dies_here.py"
    code, out, err = run("check", f"{here}:f", f"{here}:g", *FAST)
    assert code == 2
    assert "✓ PASS" in out
    assert "? not checked" in out
    assert err == f"error: {here}:f was not checked: exited with status 3\n"


def test_limits_are_those_of_the_options(run, tmp_path: Path):
    (tmp_path / "slow_here.py").write_text(
        "import time, torch\ndef slow(x):\n    time.sleep(60)\n"
        # More than the limit, less than twice that, where the operating system refuses and the target sees an error.
        "def large(x):\n    kept = torch.ones(3 * 2**25)\n    time.sleep(60)\n"
    )
    here = f"{tmp_path}/slow_here.py"
    _, _, err = run("check", f"{here}:slow", f"{here}:large", "--time-limit", "5", "--memory-limit", "0.25", *FAST)
    assert "slow was not checked: exceeded 5 s" in err
    assert "large was not checked: used more than 256 MiB" in err


def test_the_page_on_check_has_every_option_and_every_field(run):
    page = (Path(__file__).parents[1] / "docs" / "check.md").read_text(encoding="utf-8")
    options = set(re.findall(r"--[a-z][a-z-]*", run("check", "--help")[1])) - {"--help"}
    described = {word for row in re.findall(r"^\| `-.*?\|", page, re.M) for word in re.findall(r"--[a-z][a-z-]*", row)}
    assert described == options
    rows = {name for row in re.findall(r"^\| (`\w+`.*?) \|", page, re.M) for name in re.findall(r"`(\w+)`", row)}
    assert {f.name for record in (Certificate, Finding) for f in fields(record)} | {"verdict", "skipped"} <= rows
    words = set(re.findall(r"`(\w+)`", page))
    assert {f.name for record in (Worst, Accuracy) for f in fields(record)} | set(environment()) <= words


def test_only_the_checks_that_are_asked_for_run(run):
    code, out, _ = run("check", "torch.nn:Tanh", "--check", "dtype-leak", "--check", "shape-change", "--json", "-")
    assert code == 0
    assert json.loads(out)["certificates"][0]["checks_run"] == ["dtype-leak", "shape-change"]
    code, out, err = run("check", "torch.nn:Tanh", "torch.nn:ReLU", "--check", "dtype-laek")
    assert (code, out) == (2, "")
    assert "did you mean dtype-leak" in err
    assert len(err.splitlines()) == 1


def test_finished_targets_are_not_repeated(run, tmp_path: Path):
    counter = tmp_path / "counter"
    (tmp_path / "kept_here.py").write_text(
        f"open({str(counter)!r}, 'a').write('1')\ndef a(x):\n    return x * 2\ndef b(x):\n    return x * 3\n"
    )
    command = ("check", f"{tmp_path}/kept_here.py:*", "--out", str(tmp_path / "kept"), *FAST)
    first = run(*command)
    assert first[0] == 0
    assert "2 checked: 2 pass" in first[1]
    assert "✓ PASS" not in first[1]  # They are in the folder.
    assert len(counter.read_text()) == 3  # To list, and for each of the two.
    assert run(*command) == first
    assert len(counter.read_text()) == 4  # To list.
    assert run(*command, "--check", "shape-change")[0] == 0
    assert len(counter.read_text()) == 7
    for file in (tmp_path / "kept").iterdir():
        assert json.loads(file.read_text())["schema"] == "actium.certificates/1"


def test_an_interrupted_run_loses_nothing_that_is_finished(tmp_path: Path):
    code = "import time\ndef a(x):\n    return x * 2\ndef b(x):\n    time.sleep(3600)\n"
    (tmp_path / "long_here.py").write_text(code)
    kept = tmp_path / "kept"
    arguments = ["check", f"{tmp_path}/long_here.py:*", "--out", str(kept), *FAST]
    command = [sys.executable, "-c", "from actium.cli import main; main()", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (kept.is_dir() and list(kept.glob("*.json"))):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130
    assert err == f"interrupted: 1 finished; what is done is kept in {kept}, and the same command goes on from there\n"
    (file,) = kept.iterdir()
    assert json.loads(file.read_text())["certificates"][0]["verdict"] == "pass"


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "nofile.py:A"),
        ("check", "mihs"),
        ("check", ""),
        ("check", "a * x", "--param", "a"),
        ("check", "a * x", "--param", "a=b"),
        ("show", "torch.nn:Softmax"),
        ("show", "silu", "--at", "abc"),
        ("eject", "torch.nn:Linear"),
        ("eject", "torch.nn:*"),
        ("show", "swish", "-p", "beta=2"),
    ],
)
def test_an_error_is_at_most_two_lines_and_no_traceback(run, arguments: tuple[str, ...]):
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert 1 <= len(err.splitlines()) <= 2
    assert "Traceback" not in err


def test_debug_shows_the_traceback(run):
    _, _, err = run("check", "nofile.py:A", "--debug")
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("error: no such file")


def test_a_bug_of_ours_is_one_line_too(run, monkeypatch: pytest.MonkeyPatch):
    import actium.running.pool

    def broken(*_arguments):
        raise KeyError("boom")

    monkeypatch.setattr(actium.running.pool, "place_of", broken)
    code, _, err = run("check", "x")
    assert code == 2
    assert err.startswith("error: internal: KeyError: 'boom'")


def test_formula_that_starts_with_a_minus_is_no_option(run):
    code, out, _ = run("check", "-x * sigmoid(x)", *FAST)
    assert code == 0
    assert "WARN -x * sigmoid(x)" in out
    assert "0.5" in run("show", "silu", "--at", "-0.5")[1]


def test_parameters_of_a_formula(run):
    assert "theta * tanh(x / theta)" in run("check", "theta * tanh(x / theta)", "-p", "theta=2", *FAST)[1]
    text = run("eject", "theta * tanh(x / theta)", "-p", "theta=0x1p1", "--name", "clip")[1]
    assert "class Clip(nn.Module)" in text
    assert "theta: float = 2.0" in text


def test_fused_judges_the_kernel(run):
    assert run("check", "x * tanh(log(1 + exp(x)))", "--fused", *FAST)[0] == 0


def test_list_and_show(run):
    _, out, _ = run("list")
    assert "mish" in out
    rows = json.loads(run("list", "--json")[1])["activations"]
    assert {"name", "formula", "range", "source", "kinks", "parameters"} <= set(rows[0])
    _, out, _ = run("show", "hardtanh")
    for piece in ("formula", "derivative", "range", "kinks", "source", "latex", "f′(x)", "┤"):
        assert piece in out
    shown = json.loads(run("show", "silu", "--at", "-0x1.64p+6", "--json")[1])
    assert shown["at"][2]["output"]["exact"] == pytest.approx(-1.98235357e-37)


def test_eject_prints_or_writes_a_file(run, tmp_path: Path):
    path = tmp_path / "mish.py"
    code, printed, _ = run("eject", "mish")
    assert code == 0
    assert run("eject", "mish", "-o", str(path))[:2] == (0, "")
    assert path.read_text() == printed


@pytest.mark.parametrize(
    ("language", "piece"), [("c", "void forward("), ("triton", "@triton.jit"), ("torch", "def silu(x)")]
)
def test_show_prints_the_generated_source(run, language, piece):
    code, out, _ = run("show", "silu", "--source", language)
    assert code == 0
    assert piece in out
    assert json.loads(run("show", "silu", "--source", language, "--json")[1])["source"] == out


def test_show_names_the_languages_of_sources(run):
    code, _, error = run("show", "silu", "--source", "rust")
    assert code == 2
    assert "choose c, triton or torch" in error


def test_doctor(run):
    code, out, _ = run("doctor")
    assert code == 0
    assert "✓ works" in out
    diagnosis = json.loads(run("doctor", "--json")[1])
    assert diagnosis["self_test"]["passed"] is True
    assert "CUDA tensors" in out
    assert (diagnosis["gpu"]["reason"] is None) == (diagnosis["gpu"]["path"] != "plain torch operations")


def actium(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from actium.cli import main; main()", *arguments]
    env = os.environ | {"COLUMNS": "100"} | environment
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


def test_help_and_version_do_not_load_torch():
    code = (
        "import sys\nfrom actium.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('torch' in sys.modules, file=sys.stderr)\n"
    )
    for argument in ("--help", "--version", "check --help", "list"):
        command = [sys.executable, "-c", code, *argument.split()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout
        assert done.stderr == "False\n", argument


def test_no_colour_and_no_progress_off_a_terminal():
    done = actium("check", "torch.nn:ReLU", *FAST)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr == ""


def test_output_that_the_terminal_cannot_encode_is_replaced():
    done = actium("check", "torch.nn:ReLU", *FAST, PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "PASS torch.nn:ReLU" in done.stdout


def test_closed_pipe_is_no_traceback():
    command = [sys.executable, "-c", "from actium.cli import main; main()", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize("option", [("-j", "1"), ("-j1",), ("--jobs=1",)])
def test_a_reader_that_leaves_loses_no_file_and_a_short_option_is_no_formula(option, tmp_path):
    arguments = ["check", "mish", "silu", "--dtype", "bfloat16", *option, "--json", str(tmp_path / "out.json")]
    command = [sys.executable, "-c", "from actium.cli import main; main()", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
    assert len(json.loads((tmp_path / "out.json").read_text())["certificates"]) == 2
