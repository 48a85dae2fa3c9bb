"""The page in a real browser: nothing is refused, nothing is fetched, and it fits a phone.

Chromium opens a copy of the page, in a frame as wide as asked for, to which one script is added, with its hash in the
page's own policy: the script says how wide the layout is, what was requested and what the policy refused.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from certificates import certificate, hostile, not_swept, sound

from actium.report.html import fragment, page

BROWSER = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")

ENVIRONMENT = {"actium": "0.1.0", "platform": "Linux-" + "x" * 120}
_SECONDS = 90
_PROBE = """
const refused = [];
document.addEventListener("securitypolicyviolation", e => refused.push(e.violatedDirective));
addEventListener("load", () => {
  const rules = [...document.styleSheets].reduce((n, s) => n + s.cssRules.length, 0);
  const maps = [...document.querySelectorAll(".am-map, .am-strip")].map(e => e.getBoundingClientRect());
  parent.postMessage(JSON.stringify({
    refused, rules, window: innerWidth, layout: document.documentElement.scrollWidth,
    fetched: performance.getEntriesByType("resource").map(e => e.name),
    maps: maps.map(r => [Math.round(r.width), Math.round(r.height)]),
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    paper: getComputedStyle(document.body).backgroundColor, ink: getComputedStyle(document.body).color,
    text: document.body.innerText,
  }), "*");
});
"""


def with_probe(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(_PROBE.encode()).digest()).decode()
    text = text.replace("default-src 'none';", f"default-src 'none'; script-src 'sha256-{digest}';", 1)
    return text.replace('<meta name="viewport"', f'<script>{_PROBE}</script><meta name="viewport"', 1)


def opened(
    text: str, folder: Path, width: int = 1200, dark: bool = False, may_complain: bool = False
) -> dict[str, Any]:
    """What the probe found in the page after it had been laid out."""
    folder.joinpath("page.html").write_text(with_probe(text), encoding="utf-8")
    file = folder / "frame.html"
    file.write_text(
        "<!doctype html><script>onmessage = e => document.body.dataset.probe = btoa(encodeURIComponent(e.data))"
        f'</script><body><iframe width="{width}" height="900" style="border:0" src="page.html"></iframe>',
        encoding="utf-8",
    )
    assert BROWSER is not None
    command = [
        *(BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
        *("--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=5000"),
        *(f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--dump-dom", file.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert bool(complaints) == may_complain, complaints
    found = re.search(r'data-probe="([^"]*)"', done.stdout)
    assert found is not None, done.stdout[:500]
    return json.loads(unquote(base64.b64decode(found[1]).decode()))


PAGES = {
    "one": ([certificate()], {}),
    "several": ([sound(), certificate(), not_swept()], {"left": "needs arguments"}),
    "many": ([certificate(f"package.module:Name{i}") for i in range(60)], {}),
    "hostile": ([hostile(), sound()], {"left": "needs arguments" * 30}),
}


@pytest.mark.parametrize("name", PAGES)
def test_it_fits_a_phone_and_asks_for_nothing(name: str, tmp_path: Path):
    certificates, not_checked = PAGES[name]
    probe = opened(page(certificates, ENVIRONMENT, not_checked), tmp_path, width=360)
    assert probe["window"] == 360
    assert probe["layout"] <= 360
    assert probe["refused"] == []
    assert probe["fetched"] == []
    assert probe["rules"] > 40
    assert "✗" in probe["text"]
    assert all(150 < width <= 360 for width, _ in probe["maps"])


def test_the_page_of_a_study_fits_a_phone_and_asks_for_nothing(tmp_path: Path):
    pytest.importorskip("scipy", reason="needs the extra train")
    from study_documents import HOSTILE, study

    from actium.report.study_html import page as study_page

    probe = opened(study_page(study("relu", HOSTILE, "gelu", diverging="gelu")), tmp_path, width=360)
    assert probe["layout"] <= 360
    assert probe["refused"] == []
    assert probe["fetched"] == []
    assert "the loss is nan at step 7 of 90" in probe["text"]


def test_the_verdict_and_the_pictures_are_there(tmp_path: Path):
    probe = opened(page([certificate("torch.nn:Name")], ENVIRONMENT), tmp_path)
    assert "torch.nn:Name" in probe["text"]
    assert "wrong (2 fail, 1 warn)" in probe["text"]
    assert len(probe["maps"]) == 3
    assert all(width > 900 and height > 150 for width, height in probe["maps"])


def test_what_a_page_must_not_do_would_be_noticed(tmp_path: Path):
    bad = '<p style="width: 900px">wide</p><pre>' + "x" * 400 + '</pre><img src="http://192.0.2.1/x.png"></main>'
    probe = opened(page([sound()], ENVIRONMENT).replace("</main>", bad), tmp_path, width=360, may_complain=True)
    assert probe["layout"] > 360
    assert {"style-src-attr", "img-src"} <= set(probe["refused"])


def contrast(one: str, other: str) -> float:
    """As WCAG defines it, of two colours as `rgb(r, g, b)`."""

    def luminance(colour: str) -> float:
        parts = [int(p) / 255 for p in re.findall(r"\d+", colour)[:3]]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_it_follows_the_colour_scheme(dark: bool, tmp_path: Path):
    probe = opened(page([certificate()], ENVIRONMENT), tmp_path, dark=dark)
    assert probe["dark"] == dark
    assert contrast(probe["paper"], "rgb(0, 0, 0)" if dark else "rgb(255, 255, 255)") < 1.5
    assert contrast(probe["paper"], probe["ink"]) > 10


def test_a_fragment_keeps_its_size_within_foreign_styles(tmp_path: Path):
    style = "<style>svg { height: auto; max-width: 50% } body { font: 9px serif; text-align: center }</style>"
    host = f'<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">{style}'
    probe = opened(host + fragment(certificate()), tmp_path)
    assert len(probe["maps"]) == 2
    assert all(width > 600 and 190 < height < 220 for width, height in probe["maps"])
