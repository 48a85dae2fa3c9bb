"""`actium check` finds nothing wrong with any entry: no fail, no warning, by any check."""

from __future__ import annotations

import pytest

from actium.catalogue import ENTRIES
from actium.checking import check


@pytest.mark.parametrize("name", ENTRIES)
def test_every_check_passes_without_a_warning(name: str):
    certificate = check(name, dtypes=("float16",))  # test_accuracy.py sweeps the other formats
    assert [f for f in certificate.findings if f.severity != "info"] == [], str(certificate)
    assert {"compile", "shape-change", "precision-loss"} <= set(certificate.checks_run)
