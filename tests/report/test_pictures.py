"""Curves in characters and in SVG, and what is said of an activation."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import pytest
from rich.cells import cell_len

from actium import catalogue
from actium.authoring import formula
from actium.define import Activation
from actium.report import about, curve, notebook
from actium.report.doctor import diagnose, self_test


def blank(text: str) -> bool:
    return not any(0x2800 < ord(c) <= 0x28FF for c in text)


@pytest.mark.parametrize("width", [40, 60, 72, 100, 200])
@pytest.mark.parametrize("name", ["mish", "relu", "identity", "polynomial", "softplus_clip"])
def test_panels_fit_the_terminal(name: str, width: int):
    lines = curve.panels(curve.samples(catalogue.get(name).activation()), width)
    assert len(lines) <= 20
    assert max(map(cell_len, lines)) <= width
    assert any(not blank(line) for line in lines)


def test_curve_of_the_identity_is_the_diagonal():
    lines = curve.plot("f", [0.0, 1.0], [0.0, 1.0], 26, 10)
    rows = [line.partition("┤")[2] or line.partition("│")[2] for line in lines[1:-1]]
    first = [next(i for i, c in enumerate(row) if not blank(c)) for row in rows]
    assert first == sorted(first, reverse=True)
    assert first[0] > first[-1]


def test_curve_labels_its_axes():
    lines = curve.plot("title", [-5.0, 5.0], [-2.0, 2.0], 30, 9)
    assert lines[0].strip() == "title"
    assert lines[1].strip().startswith("2 ┤")
    assert lines[9].strip().startswith("-2 ┤")
    assert any(line.strip().startswith("0 ┤") for line in lines)
    assert lines[-1].split() == ["-5", "0", "5"]


@pytest.mark.parametrize(
    "y", [[1.0] * 5, [math.nan] * 5, [math.inf, 0.0, math.nan, 1.0, -math.inf], [1e300, -1e300] * 2]
)
def test_curve_of_anything_has_its_size(y: list[float]):
    lines = curve.plot("f", [float(i) for i in range(len(y))], y, 40, 6)
    assert len(lines) == 8
    assert max(map(cell_len, lines)) <= 40


def test_curve_leaves_a_gap_where_there_is_no_number():
    whole = curve.plot("f", [0.0, 1.0, 2.0], [0.0, 0.0, 1.0], 40, 6)
    gap = curve.plot("f", [0.0, 1.0, 2.0], [0.0, math.nan, 1.0], 40, 6)
    assert sum(not blank(c) for line in gap for c in line) < sum(not blank(c) for line in whole for c in line)


def test_notebook_html_is_well_formed_and_escaped():
    activation = Activation(formula("x * tanh(x)").formula, name="f", source="<script>alert(1)</script>\x1b[31m & more")
    text = notebook.activation_html(activation)
    ElementTree.fromstring(text)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "\x1b" not in text
    assert "http" not in text
    assert text.count("<svg") == 2
    assert "currentColor" in text
    assert activation._repr_html_() == text


@pytest.mark.parametrize("name", ["mish", "srelu", "softplus", "identity"])
def test_notebook_html_of_entries(name: str):
    activation = catalogue.get(name).activation()
    text = notebook.activation_html(activation)
    assert ElementTree.fromstring(text).tag == "div"
    assert "nan" not in text.partition("<svg")[2]


def test_facts_of_an_entry_and_of_a_formula():
    mish = about.facts(catalogue.get("mish").activation())
    assert mish["formula"] == "mish(x)"
    assert mish["range"].startswith("[-0.3088")
    assert mish["limits"]["inf"] == {"value": "inf", "slope": 1.0}
    other = about.facts(formula("x * tanh(x)", name="f"))
    assert other["range"] is None
    assert "tanh" in other["latex"]["derivative"]


@pytest.mark.parametrize("name", list(catalogue.ENTRIES))
def test_every_entry_can_be_shown(name: str):
    activation = catalogue.get(name).activation()
    facts = about.facts(activation)
    assert facts["name"] == name
    assert about.about_view(activation, facts, 100) is not None


def test_at_a_point_exact_and_computed_agree():
    rows = {row["dtype"]: row for row in about.at_point(catalogue.get("silu").activation(), -89.0)}
    assert rows["bfloat16"]["output"]["exact"] == pytest.approx(-89 / (1 + math.exp(89)), rel=1e-12)
    assert rows["bfloat16"]["output"]["ulp"] <= 0.5
    assert rows["float32"]["gradient"]["ulp"] <= 4.0
    assert rows["float16"]["x_hex"] == "-0x1.64p+6"


@pytest.mark.parametrize("x", [math.inf, -math.inf, math.nan, 1e6])
def test_at_a_point_outside_the_format(x: float):
    rows = about.at_point(catalogue.get("silu").activation(), x)
    assert len(rows) == 3
    if x == -math.inf:
        assert rows[0]["output"]["exact"] == 0.0
        assert rows[0]["output"]["got"] == 0.0


def test_doctor_runs_a_kernel_and_says_what_is_in_use():
    diagnosis = diagnose()
    assert diagnosis["self_test"]["passed"]
    assert diagnosis["threads"] >= 1
    assert diagnosis["versions"]["torch"]
    assert (diagnosis["compiler"] is None) == (not diagnosis["flags"])


def test_doctor_notices_wrong_numbers(monkeypatch: pytest.MonkeyPatch):
    from actium import authoring

    wrong = formula("x * tanh(x) * 1.001", name="wrong")
    monkeypatch.setattr(authoring, "formula", lambda *_args, **_kwargs: wrong)
    assert not self_test()["passed"]


def test_doctor_without_kernels(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ACTIUM_DISABLE_KERNELS", "1")
    diagnosis = diagnose()
    assert diagnosis["path"] == "plain torch operations"
    assert "ACTIUM_DISABLE_KERNELS" in diagnosis["reason"]
