"""The examples do what their texts say, through the command line as a user would run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from once import shared_folder

ROOT = Path(__file__).resolve().parents[1]

# Findings that must be there, and with what verdict.
EXPECTED = {
    "NaiveMish": ("fail", {"non-finite-gradient", "false-zero", "precision-loss", "duplicate"}),
    "exp_sigmoid": ("fail", {"non-finite-gradient", "false-zero-gradient", "duplicate"}),
    "exp_tanh": ("fail", {"non-finite-output", "non-finite-gradient", "false-zero"}),
    "WhereELU": ("fail", {"masked-branch", "false-zero"}),
    "Float32Inside": ("fail", {"dtype-leak"}),
    "LearnableClip": ("fail", {"dtype-leak", "shape-change", "false-zero-gradient"}),
    "Polynomial": ("fail", {"non-finite-output", "non-finite-gradient"}),
    "inplace_swish": ("fail", {"input-mutated"}),
    "Leak": ("pass", set()),
}


def actium(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from actium.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=os.environ)


@pytest.fixture(scope="module")
def pasted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """Judged once for all workers of a run: each would take as long as all tests here together."""
    with shared_folder(tmp_path_factory, "pasted") as folder:
        file = folder / "certificates.json"
        if not file.exists():
            done = actium("check", "examples/pasted.py:*", "--json", "-", "--dtype", "float16", "--dtype", "bfloat16")
            assert done.returncode == 1, done.stderr
            file.write_text(done.stdout, encoding="utf-8")
    document = json.loads(file.read_text(encoding="utf-8"))
    assert "skipped" not in document
    return {c["target"].rpartition(":")[2]: c for c in document["certificates"]}


def test_every_pasted_activation_is_checked(pasted: dict[str, dict]):
    assert set(pasted) == set(EXPECTED)


@pytest.mark.parametrize("name", list(EXPECTED))
def test_what_is_wrong_is_found(pasted: dict[str, dict], name: str):
    verdict, checks = EXPECTED[name]
    assert pasted[name]["verdict"] == verdict
    assert checks <= {f["check"] for f in pasted[name]["findings"]}


def test_findings_say_where_and_what_to_do(pasted: dict[str, dict]):
    found = [f for f in pasted["NaiveMish"]["findings"] if f["check"] == "non-finite-gradient"]
    half = next(f for f in found if f["dtype"] == "float16")
    assert half["count"] == 12916
    assert half["region"] == [11.09375, 65504.0]
    assert half["worst"]["x_hex"] == "0x1.63p+3"
    assert "actium eject" in half["suggestion"]
    assert "mish" in pasted["NaiveMish"]["same_as"]


def test_what_eject_prints_passes(tmp_path: Path):
    text = actium("eject", "x * tanh(log(1 + exp(x)))", "--name", "mish", cwd=tmp_path).stdout
    (tmp_path / "ejected_mish.py").write_text(text, encoding="utf-8")
    done = actium("check", "ejected_mish.py:Mish", "--json", "-", cwd=tmp_path)
    (certificate,) = json.loads(done.stdout)["certificates"]
    assert done.returncode == 0
    assert not {f["check"] for f in certificate["findings"]} & {"non-finite-gradient", "false-zero", "dtype-leak"}
    assert all(rows["output"]["max_ulp"] <= 1.0 for d, rows in certificate["accuracy"].items() if "16" in d)


def test_quickstart_runs():
    done = subprocess.run(
        [sys.executable, "examples/quickstart.py"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("torch.bfloat16 ")
    assert "sech(exp(x))" in done.stdout
