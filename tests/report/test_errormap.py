"""The error map: what is bad is drawn where it is, differs from the rest in more than colour, and nothing else is."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree

import pytest
from certificates import profile

from actium.report.errormap import (
    _COLOURS,
    KINDS,
    OVER,
    WRONG,
    ZERO,
    Lane,
    axis,
    kinds,
    lanes,
    legend,
    picture,
    strip,
)
from actium.report.svg import BLUE, curve, tick

DTYPES = ("float16", "bfloat16", "float32")


def lane(text: str, bits: int = 11) -> Lane:
    """On an axis from −8 to 8 with a bin for each unit."""
    return Lane("float16", "output", text, [float(k) for k in range(9)], bits, 1.0)


def drawn(svg: str, kind: str) -> list[str]:
    """The outlines of a kind's bars."""
    group = re.search(rf'<g class="am-{kind}".*?</g>', svg)
    return re.findall(r'<path(?: fill-opacity="[.\d]+")? d="([^"]+)"', group[0]) if group else []


def test_a_bad_region_is_drawn_where_it_is():
    svg = str(picture([lane("aaaaaaaaaaa!!!!a")], 100))
    assert drawn(svg, WRONG) == ["M11 100V0H15V100z"]
    assert drawn(svg, ZERO) == []
    assert "<title>output: NaN or infinite instead of a number, from 3 to 7</title>" in svg
    assert 'aria-label="float16 output: NaN or infinite from 3 to 7"' in svg


def test_kinds_differ_in_height_and_texture_not_only_in_colour():
    one = lane("abh0!?" + "a" * 10)
    assert [one.kind(c) for c in "abh0!?"] == ["good", "good", "half", "zero", "wrong", "dark"]
    heights = [one.height(c) for c in "az0!"]
    assert heights == sorted(heights)
    assert len(set(heights)) == 4
    svg = str(picture([one], 100))
    assert "stroke-dasharray" in re.findall(r'<g class="am-wrong".*?</g>', svg)[0]
    assert 'stroke-width="2"' in re.findall(r'<g class="am-zero".*?</g>', svg)[0]


def test_the_height_counts_lost_bits():
    one = lane("a" * 16, bits=8)
    assert one.height("a") == 0
    assert one.height("e") == pytest.approx(4 / 9 * one.height("z"))
    assert one.height("j") == one.height("z")


def test_one_bad_input_among_thousands_can_be_seen():
    svg = str(picture(lanes(profile("!", first=733), "bfloat16")))
    (outline,) = drawn(svg, WRONG)
    start, stop = (int(n) for n in re.findall(r"[MH](\d+)", outline))
    assert stop == 734
    assert stop - start == 3


def test_a_coarse_lane_keeps_the_worst():
    one = lane("aaaaaaaaaa!aaaab").coarse(4)
    assert one.text == "aa!b"
    assert list(one.ends) == [0.0, 4.0, 8.0]
    assert lane("aaab" * 4).coarse(3).text == "abbabb"  # both sides end with a smaller group
    assert lane("a" * 16).coarse(1) == lane("a" * 16)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("character", ["a", "e", "z", "0", "!", "?"])
def test_every_picture_is_sound_xml_without_ids_scripts_and_styles(dtype: str, character: str):
    for svg in (picture(lanes(profile(character), dtype)), strip(lanes(profile(character), dtype), 12)):
        root = ElementTree.fromstring(str(svg))
        names = {name for element in root.iter() for name in element.attrib}
        assert not names & {"id", "style", "href", "onload"}
        assert {element.tag for element in root.iter()} <= {"svg", "g", "path", "text", "title"}
        assert "nan" not in str(svg).replace("NaN", "")
        assert root.attrib["aria-label"]


@pytest.mark.parametrize(("dtype", "largest"), [("float16", "65504"), ("bfloat16", "3.39e38"), ("float32", "3.403e38")])
def test_the_axis_has_real_numbers(dtype: str, largest: str):
    one = lanes(profile(), dtype)[0]
    for svg in (str(picture([one])), str(axis(one))):
        texts = re.findall(r"<text[^>]*>([^<]+)</text>", svg)
        assert {f"−{largest}", "−1", "0", "1", largest} <= set(texts)
        assert f'x="{100 * (1 - _share(one, 1.0)):.4g}%"' in svg


def _share(one: Lane, x: float) -> float:
    side = len(one.ends) - 1
    return (side + one.ends.index(x)) / (2 * side)


def test_the_summary_names_the_worst():
    assert lane("a" * 16).summary() == "at most 0.5 ULP"
    assert lane("b" * 16).summary() == "at most 1 ULP"
    assert lane("?" * 16).summary() == "nothing to compare"
    assert lane("e0aaaaaaaaaaaaaa").summary() == "0 for a number from −7 to −6"
    assert lane("ea!aaa!!aaaaaaaa").summary() == "NaN or infinite from −2 to 0, and elsewhere"


def test_many_bad_runs_do_not_make_many_titles():
    one = Lane("float16", "output", "ae" * 248, lanes(profile(), "float16")[0].ends, 11, 1.0)
    svg = str(picture([one]))
    assert svg.count("<title>") == 6
    assert sum(outline.count("z") for outline in drawn(svg, OVER)) == 248
    assert len(svg) < 12_000


def test_what_is_not_as_described_is_not_drawn():
    good = profile()
    assert len(lanes(good, "float16")) == 2
    for change in (
        {"axis": [[-15, 15, 10**9]]},
        {"axis": [[15, -15, 8]]},
        {"axis": [[-15, 10**9, 8]]},
        {"axis": []},
        {"axis": "x"},
        {"output": "a"},
        {"output": "<" * 496},
        {"output": None},
        {"significand_bits": "many"},
        {"budget": None},
    ):
        formats = {"float16": good["formats"]["float16"] | change}
        assert lanes({"formats": formats}, "float16") == [], change
    assert lanes({}, "float16") == []
    assert lanes({"formats": None}, "float16") == []


def test_the_legend_explains_what_is_drawn():
    both = lanes(profile("!"), "float16")
    assert kinds(both) == {"good", "wrong"}
    assert str(legend(kinds(both))).count("<svg") == 2
    assert str(legend(KINDS)).count("<svg") == 6


@pytest.mark.parametrize("colour", _COLOURS.values())
def test_colours_show_on_white_and_on_black(colour: str):
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    light = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    assert 1.05 / (light + 0.05) >= 3
    assert (light + 0.05) / 0.05 >= 3


# --- Curves -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "y",
    [
        [0.0, 1.0],
        [3.0] * 9,
        [None] * 5,
        [math.nan, math.inf, -math.inf, 1.0],
        [1e308, -1e308, 1.0, 2.0],
        [1e-300, 2e-300, 3e-300],
        [math.exp(k) for k in range(60)],
    ],
)
def test_a_curve_of_anything_is_sound_xml(y: list[float | None]):
    text = str(curve("f", -6.0, 6.0, y, BLUE))
    ElementTree.fromstring(text)
    assert not re.search(r"nan|inf", text)


def test_a_curve_has_a_gap_where_there_is_no_number_and_stays_in_its_frame():
    path = re.findall(r' d="(M[^"]+)"/></svg>', str(curve("f", 0.0, 4.0, [0.0, 1.0, None, 1.0, 2.0], BLUE)))[0]
    assert path.count("M") == 2
    steep = re.findall(r' d="(M[^"]+)"/></svg>', str(curve("f", -6, 6, [math.exp(k) for k in range(-30, 31)], BLUE)))[0]
    heights = [float(y) for y in re.findall(r" (-?[\d.]+)", steep)]
    assert min(heights) >= 22
    assert max(heights) <= 150


@pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (-0.0, "0"), (-6.0, "−6"), (1e20, "1e20"), (0.25, "0.25")])
def test_numbers_on_an_axis(value: float, text: str):
    assert tick(value) == text
