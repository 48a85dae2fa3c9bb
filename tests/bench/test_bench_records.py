"""JSON that any reader takes, and the mean over the cells."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from actium.bench.cells import Cell
from actium.bench.records import geometric_mean
from measured import report as made


def test_the_document_is_strict_json_with_everything_in_it():
    report = made()
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert set(document) == {"schema", "environment", "seconds", "interrupted", "targets", "cells", "cold"}
    assert document["schema"] == "actium.bench/1"
    (target,) = document["targets"]
    assert [c["name"] for c in target["contenders"]] == ["actium", "torch", "compile"]
    first = document["cells"][0]
    assert {k: first[k] for k in ("elements", "dtype", "device", "pass")} == {
        "elements": 65536,
        "dtype": "float32",
        "device": "cpu",
        "pass": "both",
    }
    assert first["floor"]["bytes"] == 20 * 65536
    assert first["not_measured"] == {"compile": "no compiler"}
    ours, torch = first["results"]
    assert ours["ratio"] is None
    assert torch["ratio"]["median"] == 2.0
    assert torch["saved_bytes_per_element"] == 4.0
    assert document["cold"][1]["reason"] == "no compiler"


def test_what_is_not_finite_is_text():
    report = made()
    cell = report.cells[0]
    far = replace(cell.results["torch"], difference=float("inf"))
    report.cells[0] = replace(cell, results={**cell.results, "torch": far})
    assert report.to_json()["cells"][0]["results"][1]["largest_difference"] == "inf"


def test_means_are_geometric():
    report = made()
    assert report.means("silu") == {"torch": pytest.approx(1.0)}  # twice as slow here, twice as fast there
    assert geometric_mean([1.0, 4.0]) == pytest.approx(2.0)


def test_a_target_without_any_result_is_named():
    report = made()
    assert report.unmeasured == {}
    report.cells.append(Cell("broken", report.cells[0].spot, failed={"target": "ValueError: no"}))
    assert report.unmeasured == {"broken": "ValueError: no"}


def test_options_and_reports_need_no_torch():
    code = (
        "import sys, actium.bench.grid, actium.bench.records, actium.bench.timing, actium.bench.cold\n"
        "import actium.cli.bench\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"
