"""The committed certificates hold for this code: bit for bit where they were made, within their errors elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from actium.catalogue import ENTRIES
from actium.exhaustive import differences
from actium.kernels.toolchain import kernels_enabled
from actium.verify.case import budget
from actium.verify.certificate import plain
from actium.verify.encodings import format_of
from actium.verify.subject import Subject

pytestmark = pytest.mark.skipif(not kernels_enabled(), reason="certificates are about kernels")

FOLDER = Path(__file__).resolve().parents[1] / "certificates"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


def record(name):
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def subject(name, edit=lambda x, y: y):
    entry = ENTRIES[name]
    activation = entry.activation()
    return Subject(name, lambda x: edit(x, activation(x)), entry.as_written(), entry.defaults)


def elsewhere(kept):
    """The record as if it came from another machine, with other bits."""
    return kept | {
        "trust": kept["trust"] | {"cpu": "another"},
        "digests": {d: dict.fromkeys(rows, "0" * 32) for d, rows in kept["digests"].items()},
    }


def test_every_catalogue_function_has_a_certificate():
    assert sorted(ENTRIES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_certificate_holds_for_this_build(name):
    kept = record(name)
    assert kept["formula"] == ENTRIES[name].as_written().text
    assert kept["parameters"] == plain(ENTRIES[name].defaults)
    assert not differences(kept, subject(name))


@pytest.mark.parametrize("name", NAMES)
def test_certificate_is_over_all_inputs(name):
    kept = record(name)
    facts = kept["float32"]
    assert facts["compared"] == facts["inputs"] == 510 << 23
    assert facts["undecided"] == facts["slopes_unknown"] == facts["outside_domain"] == 0
    assert facts["nan_inputs"] == 2 * ((1 << 23) - 1)
    assert facts["nan_lost"] == {"output": 0, "gradient": 0}
    assert facts["reference_bound_ulp"] < 2.0**-11
    for quantity, row in kept["accuracy"]["float32"].items():
        assert row["max_ulp"] <= facts["at_most_ulp"][quantity] < row["max_ulp"] + 0.01


@pytest.mark.parametrize("name", NAMES)
def test_what_is_over_the_budget_is_a_finding(name):
    kept = record(name)
    for dtype, rows in kept["accuracy"].items():
        over = {q for q, row in rows.items() if row["max_ulp"] > budget(format_of(dtype))}
        assert over <= {f["subject"] for f in kept["findings"] if f["dtype"] == dtype}


def last_bit(x, y):
    return torch.where((x > 1) & (x < 1.5), y * (1 + torch.finfo(y.dtype).eps), y)


def eight_bits(x, y):
    return torch.where((x > 1) & (x < 1.5), y * (1 + 16 * torch.finfo(y.dtype).eps), y)


@pytest.mark.parametrize("name", ["silu", "tanh", "softplus"])
def test_a_changed_kernel_is_found_on_the_machine_of_the_record(name):
    from actium.exhaustive.certify import trust

    kept = record(name)
    here = kept | {"trust": trust(subject(name))}
    (found,) = differences(here, subject(name, last_bit))
    assert "other bits" in found
    assert "float32 output" in found


@pytest.mark.parametrize("name", ["silu", "tanh", "softplus"])
def test_other_bits_elsewhere_are_judged_by_their_errors(name):
    assert not differences(elsewhere(record(name)), subject(name))
    found = differences(elsewhere(record(name)), subject(name, eight_bits))
    assert any("output, float32" in text for text in found)
