"""Faults of every kind, injected into sound functions, are rejected by a check that fits; the originals pass."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from by_hand import ORIGINALS, Original
from faults import FAULTS, mutants_of

from actium.verify import Certificate, Subject, check
from actium.verify.run import DEFAULT_DTYPES

ROOT = Path(__file__).parents[2]
RESULTS = json.loads((ROOT / "benchmarks" / "results" / "mutation.json").read_text(encoding="utf-8"))["results"]
NAMES = [o.name for o in ORIGINALS]


def worse_than_info(certificate: Certificate) -> set[str]:
    return {f.check for f in certificate.findings if f.severity != "info"}


@pytest.fixture(autouse=True)
def _one_thread(threads: Callable[[int], None]) -> None:
    threads(1)  # The tensors are too small for two to be of use.


@pytest.mark.parametrize("original", ORIGINALS, ids=NAMES)
def test_every_mutant_is_rejected_by_a_check_that_fits(original: Original):
    survivors = {}
    for name, mutant, ids in mutants_of(original):
        # What is rejected in one format is rejected in all three together: the others are for what it hides.
        for dtypes in (("float16",), DEFAULT_DTYPES):
            certificate = check(Subject(original.name, mutant, original.formula), only=ids, dtypes=dtypes)
            if worse_than_info(certificate) & ids:
                break
        else:
            survivors[name] = str(certificate)
    assert survivors == {}


@pytest.mark.parametrize("original", ORIGINALS, ids=NAMES)
def test_the_original_passes_in_every_dtype(original: Original):
    families = {i for _, _, ids in mutants_of(original) for i in ids}
    for call in (original.made, original.op()):  # One after the other: they have the same truth.
        certificate = check(Subject(original.name, call, original.formula), only=families)
        assert tuple(certificate.accuracy) == DEFAULT_DTYPES
        assert not worse_than_info(certificate), str(certificate)
        assert families <= set(certificate.checks_run)


def test_at_least_15_kinds_of_faults_in_at_least_12_functions():
    counts = {o.name: len([*mutants_of(o)]) for o in ORIGINALS}
    assert len(counts) >= 12
    assert min(counts.values()) >= 15
    assert {n: len(row) for n, row in RESULTS.items()} == counts


def test_the_committed_result_has_every_fault_and_no_survivor():
    for original in ORIGINALS:
        for name, _, ids in mutants_of(original):
            assert set(RESULTS[original.name][name]) & ids, (original.name, name)
    assert {name for row in RESULTS.values() for name in row} == set(FAULTS)


def test_the_page_tells_the_committed_result():
    page = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8").partition("## How the checker is checked")[2]
    section = " ".join(page.partition("\n## ")[0].split())
    for name, row in RESULTS.items():
        assert f"| {name} | {len(row)} | {sum(map(bool, row.values()))} |" in section
    assert f"{len(FAULTS)} kinds of faults" in section
    assert f"All {sum(map(len, RESULTS.values()))} are rejected" in section
    assert f"of {len(RESULTS)} catalogue functions" in section
