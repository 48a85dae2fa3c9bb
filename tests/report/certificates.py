"""Certificates made by hand, for what draws them; torch is not needed."""

from __future__ import annotations

import functools
import math
from typing import Any

from actium.verify.axis import edges, segments
from actium.verify.certificate import Accuracy, Certificate, Finding, Worst

# min_exponent, max_exponent, significand bits, budget
_FORMATS = {"float16": (-14, 15, 11, 1.0), "bfloat16": (-126, 127, 8, 1.0), "float32": (-126, 127, 24, 4.0)}
# Text that would do harm if it came through: markup, an end of script and comment, terminal escapes, marks that reverse
# or hide, NUL, a lone surrogate, and length.
HOSTILE = (
    "</script></style></title></svg><script>alert(1)</script><img src=x onerror=alert(2)><!-- --> ]]> \"'`&amp;{{7*7}}"
    "{% raw %}\x00\x1b[31m\x1b]8;;http://evil.example\x07\u202e\u2066\u061c\u200f\ud800\udfff\U000e0041\r\n\t"
    " onload=\"x\" ' style='x' http://evil.example/x.js " + "\u0416\u05d0" * 20
)
LONG = HOSTILE + "A" * 10_000


@functools.cache
def profile(character: str = "a", first: int | None = None, curves: bool = True) -> dict[str, Any]:
    """A profile that is good, but for one character from a bin on, in every format. To be read only."""
    formats: dict[str, Any] = {}
    for dtype, (low, high, bits, budget) in _FORMATS.items():
        axis = segments(low, high)
        count = 2 * (len(edges(axis)) - 1)
        start = count - 40 if first is None else first
        text = "a" * start + character * (count - start)
        formats[dtype] = {
            "axis": axis,
            "significand_bits": bits,
            "budget": budget,
            "output": "a" * count,
            "gradient": text,
        }
    xs = [k / 10 for k in range(-60, 61)]
    drawn = {"from": -6.0, "to": 6.0, "value": [round(math.tanh(x), 5) for x in xs]}
    drawn |= {"slope": [round(1 - math.tanh(x) ** 2, 5) for x in xs], "curvature": [None, *xs[1:]]}
    return {"formats": formats, "curves": drawn if curves else {}}


def finding(severity="fail", check="some-check", dtype: str | None = "bfloat16", **more: Any) -> Finding:
    """One about inputs, unless `region` is None."""
    worst = Worst(-89.0, "-0x1.64p+6", math.nan, -1.954e-37, math.nan)
    given = {"message": "f output: wrong", "worst": worst, "region": (-96.0, -89.0), "suggestion": "do this"} | more
    return Finding(check, severity, "output", dtype, 15, 65280, **given)


def certificate(target: str = "package.module:Name", **more: Any) -> Certificate:
    """A failing one with everything that there can be."""
    given: dict[str, Any] = {
        "formula": "x * tanh(x)",
        "reference": "ball",
        "findings": (finding(), finding(dtype="float16"), finding("warn", "another-check", None, region=None)),
        "accuracy": {"bfloat16": {"output": Accuracy(0.5, 1.0, 65280), "gradient": Accuracy(math.inf, -2.0, 65280)}},
        "checks_run": ("some-check", "another-check"),
        "checks_not_run": {"third-check": "no parameters", "fourth-check": "no parameters"},
        "same_as": ("mish",),
        "properties": {"notes": ["a note"], "limits": {"-inf": 0.0, "inf": math.inf}, "slope_limits": {"inf": 1.0}},
        "saved_bytes_per_element": {"float32": 4.0},
        "profile": profile("!"),
    } | more
    return Certificate(target, **given)


def sound(target: str = "sound") -> Certificate:
    """One without findings."""
    return certificate(target, findings=(), profile=profile())


def not_swept(target: str = "softmax") -> Certificate:
    """One of a function that mixes elements."""
    properties = {"elementwise": False, "why": "an element's output depends on other elements"}
    return certificate(target, findings=(), formula=None, accuracy={}, profile={}, properties=properties)


def hostile() -> Certificate:
    """One whose every text is hostile."""
    worst = Worst(math.nan, HOSTILE, math.inf, -math.inf, math.nan)
    bad = [
        finding(s, LONG, HOSTILE, message=LONG, suggestion=LONG + str(i), worst=worst)
        for i, s in enumerate(_SEVERITIES)
    ]
    bad += [finding(s, LONG, None, message=LONG, suggestion=LONG, region=None) for s in _SEVERITIES]
    return certificate(
        LONG,
        formula=LONG,
        findings=tuple(bad),
        accuracy={HOSTILE: {"output": Accuracy(math.inf, 1.0, 1), HOSTILE: Accuracy(1.0, math.nan, 1)}},
        checks_run=(LONG,),
        checks_not_run={LONG: LONG},
        same_as=(LONG,),
        properties={"notes": [LONG], "elementwise": False, "why": LONG, LONG: LONG, "limits": {"inf": LONG}},
        saved_bytes_per_element={HOSTILE: 4.0},
        profile=profile("!") | {"formats": {**profile("!")["formats"], HOSTILE: profile("0")["formats"]["float16"]}},
    )


_SEVERITIES = ("fail", "warn", "info")
