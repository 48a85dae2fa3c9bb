"""A study's page and its table: all that was found, nothing that could act, and no message that is not true."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

pytest.importorskip("scipy", reason="needs the extra train")

from study_documents import HOSTILE, cell, study

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


def test_the_table_and_the_page_have_both_losses():
    made = study("relu", "gelu")
    assert "train_loss" in made["summary"]["activations"][0]
    for width in (80, 100):
        text = text_of(made, width)
        assert re.search(r"accuracy +95 % interval +loss +held out", text)
        assert re.search(r"relu +0\.9100 +\[0\.\d+, 0\.\d+\] +0\.3333 +0\.5 ", text)
        assert ("step" in text) == (width == 100)
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
    assert "<td>0.3333</td><td>0.5</td>" in page(made)


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


def test_neither_the_table_nor_the_page_calls_what_diverged_better():
    plan = Plan("digits", "mlp", ("relu", "gelu"), 6, 3, 64, 1e-3)
    ahead, behind = [0.9, 0.91, 0.92, 0.9, None, None], [0.8, 0.82, 0.81, 0.8, 0.82, 0.8]
    cells = [cell(n, s, m) for n, own in (("relu", ahead), ("gelu", behind)) for s, m in enumerate(own)]
    made = document(plan, cells, {})
    assert made["summary"]["pairs"][0]["p_holm"] < 0.05
    assert re.search(r"relu − gelu .* not shown", text_of(made))
    assert "is better" not in page(made)


def test_pictures_of_nothing_and_of_one_value():
    assert "<circle" not in intervals("accuracy", [("relu", [], None)])
    assert "NaN" not in intervals("accuracy", [("relu", [0.5], None)])
    assert "nan" not in curves("loss", {"relu": [0.0, None], "gelu": []}, log=True)


def test_sizes_are_binary():
    assert [size(n) for n in (12, 2048, 3 * 2**20, 5 * 2**30)] == ["12 B", "2 KiB", "3 MiB", "5 GiB"]
