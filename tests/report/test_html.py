"""The page: one file, small, harmless, and readable without a mouse."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
from certificates import HOSTILE, LONG, certificate, finding, hostile, not_swept, profile, sound

from actium.report.errormap import lanes, picture
from actium.report.html import LIMIT, fragment, page
from actium.verify.certificate import Certificate

ENVIRONMENT = {"actium": "0.1.0", "cpu": "a CPU", "kernels": None, "threads": 2}
_VOID = {"meta", "br", "hr", "img", "input", "link"}


class Document(HTMLParser):
    """Tags, attributes and text; complains about what is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] != "style":
            self.text.append(data)

    def all(self, *names: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.tags if tag in names]


def many(count: int, make=certificate) -> list[Certificate]:
    return [make(f"package.module:Name{i}") for i in range(count)]


CASES = {
    "one": ([certificate()], {}),
    "sound": ([sound()], {}),
    "not swept": ([not_swept()], {}),
    "several": ([sound(), certificate(), not_swept()], {"left": "needs arguments"}),
    "nothing": ([], {"left": "needs arguments"}),
    "empty": ([], {}),
    "many": (many(100), {}),
    "very many": (many(500), {"left": "needs arguments"}),
    "hostile": ([hostile(), sound()], {LONG: LONG}),
}


@pytest.fixture(scope="module", params=list(CASES))
def text(request: pytest.FixtureRequest) -> str:
    certificates, not_checked = CASES[request.param]
    return page(certificates, ENVIRONMENT, not_checked)


def test_every_page_is_small_and_well_nested(text: str):
    assert len(text.encode()) < LIMIT
    assert text.startswith("<!doctype html>\n<html lang=")
    Document(text)


def test_nothing_runs_and_nothing_is_fetched(text: str):
    document = Document(text)
    assert not {tag for tag, _ in document.tags} & {
        "script",
        "img",
        "link",
        "iframe",
        "object",
        "form",
        "base",
        "image",
        "use",
    }
    names = {name for _, attributes in document.tags for name in attributes}
    assert not [n for n in names if n.startswith("on") or n in {"style", "src", "srcset", "action", "xlink:href"}]
    assert all(a["href"].startswith("#") for a in document.all("a"))
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert not re.search(r"url\(|@import|expression|http", style)


def test_the_policy_allows_this_style_and_nothing_else(text: str):
    (policy,) = [m["content"] for m in Document(text).all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_it_can_be_used_without_a_mouse(text: str):
    document = Document(text)
    assert document.tags[0] == ("html", {"lang": "en"})
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in document.all("meta")
    ids = [a["id"] for _, a in document.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in document.all("a")} <= set(ids)
    assert document.all("a")[0] == {"class": "skip", "href": "#results"}
    levels = [int(tag[1]) for tag, _ in document.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    for scroll in (a for _, a in document.tags if a.get("class") == "scroll"):
        assert scroll["tabindex"] == "0"
        assert scroll["aria-label"]
    assert all("scope" in a for a in document.all("th"))
    assert all(a.get("role") == "img" and a["aria-label"] for a in document.all("svg") if "am-" in a.get("class", ""))


def test_hostile_text_comes_out_harmless():
    text = page([hostile()], ENVIRONMENT | {LONG: LONG}, {LONG: LONG})
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ud800-\udfff\U000e0041]", text
    )
    assert "alert(1)" in text  # as text
    assert "{{7*7}}" in text
    assert "<script" not in text.lower()
    assert "A" * 2001 not in text


def test_one_target_is_told_in_full():
    document = Document(page([certificate()], ENVIRONMENT))
    text = " ".join(" ".join(document.text).split())
    assert "✗ fail package.module:Name" in text
    assert "wrong (2 fail, 1 warn); 2 checks run, 2 not run" in text
    for expected in ("-89", "-0x1.64p+6", "nan", "-1.954e-37", "15 of 65,280", "-96", "Try: do this", "x * tanh(x)"):
        assert expected in text, expected
    for expected in ("third-check, fourth-check: no parameters", "4 bytes per element (float32)", "inf ULP at x = -2"):
        assert expected in text, expected
    for expected in ("a CPU", "kernels none", "f(−∞) = 0, f(∞) = ∞, f′(∞) = 1", "mish", "a note", "f″(x)"):
        assert expected in text, expected
    assert [a["class"] for a in document.all("svg") if "am-map" in a.get("class", "")] == ["am-map"] * 3
    assert [a["class"] for a in document.all("svg") if "am-curve" in a.get("class", "")] == ["am-curve"] * 3


def test_findings_are_grouped_and_a_fix_is_told_once():
    same = [finding(check="a-check"), finding(check="a-check", dtype="float16"), finding("warn", "b-check")]
    text = page([certificate(findings=tuple(same))], ENVIRONMENT)
    assert text.count('<details class="finding') == 2
    assert text.count("do this") == 1
    assert "Try what is said of a-check" in text
    assert text.index("finding fail") < text.index("finding warn")


def test_what_was_not_judged_is_not_called_sound():
    text = page([not_swept()], ENVIRONMENT, {"left": "needs arguments"})
    assert "its numbers were not judged" in text
    assert "1 checked: 1 pass; 1 not checked" in text
    assert "needs arguments" in text
    nothing = page([], ENVIRONMENT, {"left": "needs arguments"})
    assert "0 checked; 1 not checked" in nothing
    assert "badge pass" not in nothing


def test_the_worst_come_first():
    text = page([sound("the-sound-one"), certificate("the-broken-one")], ENVIRONMENT)
    assert text.index("the-broken-one") < text.index("the-sound-one")
    assert "2 checked: 1 fail, 1 pass" in text


@pytest.mark.parametrize("make", [certificate, sound])
def test_a_hundred_targets_keep_their_sections_and_pictures(make):
    text = page(many(100, make), ENVIRONMENT)
    assert text.count('<section class="target"') == 100
    assert text.count("am-strip") >= 200
    assert text.count('href="#t') == 100


def test_too_many_to_list_are_counted():
    text = page(many(3000), ENVIRONMENT, {f"left{i}": "x" * 500 for i in range(3000)})
    listed = text.count("<tr>") - 1
    assert f"{6000 - listed:,}".replace(",", "") + " more are only in the JSON document" in text
    assert "3000 fail; 3000 not checked" in text


def test_hundreds_of_hostile_targets_still_fit():
    text = page([hostile()] * 300, ENVIRONMENT)
    assert 0 < len(text.encode()) < LIMIT


def luminance(colour: str) -> float:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """As WCAG defines it."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_and_pictures_have_contrast_in_both_schemes(scheme: int):
    colours = dict(
        re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", re.findall(r":root \{(.*?)\}", page([], {}), re.DOTALL)[scheme])
    )
    for name in ("ink", "quiet", "link"):
        assert all(contrast(colours[name], colours[on]) >= 4.5 for on in ("paper", "raised")), name
    for name in ("fail", "warn", "pass", "info"):
        assert all(contrast(colours[name], colours[on]) >= 4.5 for on in ("paper", "raised", f"{name}-tint")), name
        assert contrast(colours["ink"], colours[f"{name}-tint"]) >= 7
    for name in ("good", "over", "half", "zero", "wrong"):
        assert contrast(colours[name], colours["paper"]) >= 3, name


# --- In a notebook ----------------------------------------------------------------------------------------


def test_the_notebook_shows_the_same_picture_as_the_page():
    whole, piece = page([certificate()], ENVIRONMENT), fragment(certificate())
    unsized = re.sub(r'style="height:\d+px;max-width:none" ', "", piece)
    for dtype in ("float16", "bfloat16"):
        drawn = picture(lanes(profile("!"), dtype))
        assert drawn in whole
        assert drawn in unsized


@pytest.mark.parametrize("make", [certificate, sound, not_swept, hostile])
def test_a_fragment_brings_its_own_style_and_nothing_that_runs(make):
    text = make()._repr_html_()
    document = Document(text)
    assert document.tags[0][0] == "div"
    assert "style" in document.tags[0][1]
    assert not {tag for tag, _ in document.tags} & {"script", "style", "img", "link", "a"}
    assert not [n for _, attributes in document.tags for n in attributes if n.startswith("on") or n in {"id", "src"}]
    assert len(text) < 60_000
    ElementTree.fromstring(text.replace("&nbsp;", " "))


def test_a_fragment_says_the_verdict_the_findings_and_the_fix():
    text = " ".join(" ".join(Document(fragment(certificate())).text).split())
    for expected in ("✗ FAIL", "package.module:Name", "wrong (2 fail, 1 warn)", "some-check", "-0x1.64p+6", "do this"):
        assert expected in text, expected


def test_drawing_does_not_load_torch():
    program = "import sys, actium.report.html as h; h.page([], {}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0


def test_hostile_text_is_in_the_fixture():
    assert "\ud800" in HOSTILE
    assert len(LONG) > 10_000
