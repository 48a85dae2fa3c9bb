"""A study's page and its table: all that was found, nothing that could act, and no message that is not true."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

pytest.importorskip("scipy", reason="needs the extra train")

from study_documents import HOSTILE, study

from actium.report.study import size, study_view
from actium.report.study_html import page
from actium.report.study_svg import curves, intervals
from actium.train.plan import Plan
from actium.train.summary import document


def text_of(made: dict[str, Any], width: int = 100) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(study_view(made, width))
    return console.export_text()


def test_the_table_has_each_activation_and_each_pair():
    text = text_of(study("relu", "gelu", "mish", diverging="mish"))
    assert re.search(r"relu +0\.9100 +\[0\.\d+, 0\.\d+\]", text)
    assert "relu − gelu" in text
    assert "1 diverged" in text
    assert "1.alpha 0.25 → 0.4" in text
    assert "mish finished 2 of 3 runs" in " ".join(text.split())


@pytest.mark.parametrize("width", [60, 100])
def test_hostile_names_neither_act_nor_break_a_line(width: int):
    text = text_of(study("relu", HOSTILE), width)
    assert "\x1b" not in text


def test_the_page_has_everything_and_nothing_acts():
    made = study("relu", HOSTILE, "gelu", diverging="gelu")
    text = page(made)
    assert "<script" not in text
    assert text.count('<svg class="am-plot"') == 5
    assert made["summary"]["conclusion"].split("(")[0][:20] in text
    assert "the loss is nan at step 7 of 90" in text
    assert not re.search(r"(href|src)=\"(?!#)", text)
    assert "style=" not in text


def test_no_difference_is_what_the_page_says_first():
    made = study("relu", "gelu")
    for one in made["cells"]:
        one["metric"] = 0.9 + 0.01 * ((one["seed"] + len(one["activation"])) % 3)
    plan = Plan.from_json(made["plan"])
    text = page(document(plan, made["cells"], {}))
    assert "no difference shown by 3 seeds" in text.split("</header>")[0]


def test_pictures_of_nothing_and_of_one_value():
    assert "<circle" not in intervals("accuracy", [("relu", [], None)])
    assert "NaN" not in intervals("accuracy", [("relu", [0.5], None)])
    assert "nan" not in curves("loss", {"relu": [0.0, None], "gelu": []}, log=True)


def test_sizes_are_binary():
    assert [size(n) for n in (12, 2048, 3 * 2**20, 5 * 2**30)] == ["12 B", "2 KiB", "3 MiB", "5 GiB"]
