"""What `actium bench` shows: its numbers, its pictures, and nothing that runs or is fetched."""

from __future__ import annotations

import io
import itertools
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from certificates import HOSTILE, LONG
from rich.console import Console
from test_html import Document
from test_html_browser import BROWSER, opened

from actium.bench.cases import Case, Contender
from actium.bench.cells import Cell
from actium.bench.records import Report
from actium.bench.timing import Interval
from actium.report.bench import report_view
from actium.report.bench_html import page
from actium.report.bench_svg import Bar, Series, bars, curves
from measured import cell, report

CONTROL = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ud800-\udfff\U000e0041]"


def hostile() -> Report:
    """Everything that comes from outside says something bad."""
    made = report()
    contenders = tuple(Contender(n, HOSTILE, lambda x: x) for n in ("actium", LONG, "compile"))
    where = made.cells[0].spot
    cells = [replace(c, target=LONG, failed={LONG: HOSTILE}) for c in made.cells]
    cells = [replace(c, results={"actium": c.results["actium"], LONG: c.results["torch"]}) for c in cells]
    cells.append(Cell(HOSTILE, where, failed={"target": HOSTILE}))
    cold = [replace(c, target=LONG, contender=LONG, reason=HOSTILE) for c in made.cold]
    cases = [Case(LONG, LONG, contenders), Case(HOSTILE, None, contenders)]
    return Report(cases, {LONG: LONG}, 0.5, cells, cold, interrupted=True)


def nothing() -> Report:
    return replace(report(), cells=[], cold=[], interrupted=True)


PAGES = {"one": report, "hostile": hostile, "nothing": nothing}


@pytest.fixture(params=PAGES)
def text(request: pytest.FixtureRequest) -> str:
    return page(PAGES[request.param]())


def test_nothing_runs_and_nothing_is_fetched(text: str):
    document = Document(text)
    assert not {tag for tag, _ in document.tags} & {"script", "img", "link", "iframe", "object", "form", "base", "use"}
    names = {name for _, attributes in document.tags for name in attributes}
    assert not [n for n in names if n.startswith("on") or n in {"style", "src", "srcset", "action", "xlink:href"}]
    assert all(a["href"].startswith("#") for a in document.all("a"))
    (policy,) = [m["content"] for m in document.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert not re.search(CONTROL, text)


def test_it_can_be_used_without_a_mouse(text: str):
    document = Document(text)
    ids = [a["id"] for _, a in document.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in document.all("a")} <= set(ids)
    levels = [int(tag[1]) for tag, _ in document.tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    assert all("scope" in a for a in document.all("th"))
    assert all(a.get("role") == "img" and a["aria-label"] for a in document.all("svg"))
    assert all(a["tabindex"] == "0" and a["aria-label"] for _, a in document.tags if a.get("class") == "scroll")


def test_hostile_text_comes_out_harmless():
    text = page(hostile())
    assert "alert(1)" in text  # as text
    assert "{{7*7}}" in text
    assert "<script" not in text.lower()
    assert "A" * 2001 not in text


def test_the_numbers_are_there():
    text = " ".join(" ".join(Document(page(report())).text).split())
    for expected in ("forward and backward, float32, cpu", "200 µs", "−2 % +5 %", "2.00×", "1.80 to 2.20", "50 %"):
        assert expected in text, expected
    for expected in ("torch 1.00×", "1.2 MiB have to move", "(C copy)", "x * sigmoid(x)", "250 ms", "no compiler"):
        assert expected in text, expected
    assert "a CPU" in text
    assert "interrupted" not in text
    assert "interrupted" in page(nothing())


def test_curves_are_drawn_where_there_are_several_sizes():
    several = report()
    one = replace(several, cells=several.cells[:1])
    assert page(several).count('<svg class="am-bench"') == 2
    assert page(one).count('<svg class="am-bench"') == 1


def test_cells_that_differ_in_more_than_size_are_not_mixed():
    made = report()
    made.cells.append(cell("silu", 1 << 16, "forward", torch=3.0))
    text = page(made)
    assert text.count("<h3>") == 3  # two passes and the first calls
    assert "forward, without gradients, float32, cpu" in text


# --- Pictures ----------------------------------------------------------------------------------------------


def numbers(picture: str, tag: str, name: str) -> list[float]:
    found = ElementTree.fromstring(picture).iter(tag)
    return [float(e.attrib[name]) for e in found]


def test_a_bar_leaves_the_line_at_one_to_its_side():
    rows = [Bar("slower", Interval(2.0, 1.9, 2.1)), Bar("faster", Interval(0.5, 0.4, 0.6))]
    picture = bars("ratios", rows)
    (right, left), widths = numbers(picture, "rect", "x"), numbers(picture, "rect", "width")
    assert left + widths[1] == pytest.approx(right, abs=0.2)  # they meet at 1
    assert widths[0] == pytest.approx(widths[1], abs=0.2)  # twice and half look alike


@pytest.mark.parametrize("ratio", [1e-9, 1e-3, 0.97, 1.0, 1.02, 40.0, 1e7])
def test_bars_stay_in_the_picture(ratio: float):
    picture = bars("ratios", [Bar("f", Interval(ratio, ratio / 2, ratio * 2)), Bar(LONG, Interval(1.0, 1.0, 1.0))])
    xs, widths = numbers(picture, "rect", "x"), numbers(picture, "rect", "width")
    assert all(170 <= x and x + w <= 500 for x, w in zip(xs, widths, strict=True))


@pytest.mark.parametrize("times", [(1e-6, 1e-6), (1e-6, 2.0), (3e-5, 3.1e-5), (2.0, 1e-7)])
def test_curves_stay_in_the_picture_and_their_names_apart(times: tuple[float, float]):
    series = [Series(f"s{k}", [(1 << 10, times[0]), (1 << 20, times[1])]) for k in range(6)]
    picture = curves("times", [*series, Series("floor", [(1 << 10, times[0]), (1 << 20, times[1])], floor=True)])
    assert all(0 <= y <= 240 for y in numbers(picture, "circle", "cy"))
    root = ElementTree.fromstring(picture)
    names = sorted(float(t.attrib["y"]) for t in root.iter("text") if (t.text or "").startswith(("s", "floor")))
    assert len(names) == 7
    assert all(b - a > 10 for a, b in itertools.pairwise(names))
    assert 0 < names[0] < names[-1] < 250


def test_the_floor_is_told_apart():
    picture = curves("times", [Series("f", [(1, 1.0), (2, 2.0)]), Series("floor", [(1, 0.5), (2, 1.0)], floor=True)])
    assert picture.count("<circle") == 2
    assert 'stroke-dasharray="1 3"' in picture


# --- Terminal ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 80, 120])
def test_hostile_text_does_not_reach_the_terminal(width: int):
    console = Console(width=width, file=io.StringIO(), highlight=False, markup=False)
    console.print(report_view(hostile(), width))
    text = console.file.getvalue()
    assert not re.search(CONTROL, text)
    assert "alert(1)" in text


# --- In a browser ------------------------------------------------------------------------------------------


@pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")
@pytest.mark.parametrize("name", ["one", "hostile"])
def test_it_fits_a_phone_and_asks_for_nothing(name: str, tmp_path: Path):
    probe = opened(page(PAGES[name]()), tmp_path, width=360)
    assert probe["layout"] <= 360
    assert probe["refused"] == probe["fetched"] == []
    assert probe["rules"] > 40
    assert "×" in probe["text"]
