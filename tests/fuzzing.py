"""Hostile input, always the same for a seed: formula texts, target texts, and certificates full of foreign text."""

from __future__ import annotations

import io
import json
import math
import random
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rich.cells import cell_len
from rich.console import Console

from actium.errors import ActiumError, FormulaError
from actium.report.html import page
from actium.report.terminal import certificate_view, show, summary_view
from actium.symbolic.compound import FUNCTIONS
from actium.symbolic.parse import parse
from actium.targets import resolve
from actium.verify.certificate import Accuracy, Certificate, Finding, Worst

NAMES = [
    *FUNCTIONS,
    "x",
    "x",
    "x",
    "e",
    "pi",
    "tau",
    "inf",
    "nan",
    "True",
    "None",
    "torch",
    "__import__",
    "lambda",
    "a",
]
NUMBERS = [
    "0",
    "1",
    "2",
    "-1",
    "0.5",
    "1e-300",
    "1e308",
    "1e999",
    "0x1f",
    "1_000",
    "1j",
    "00",
    "9" * 300,
    "1e-99999",
    ".5",
]
OPERATORS = [*"+-*/%@&|^~<>=!.,:;?$`#\\'\"", "**", "//", "<<", ">>", "<=", ">=", "==", "!=", ":=", "->", "not", "and"]
OPERATORS += ["or", "if", "else", "is", "in", "await", "yield", "for", "f'", "'''", "b''", "..."]
BRACKETS = [*"()[]{}"]
# Multiplication and minus signs, letters and digits of other scripts, superscripts, emoji; blanks, marks that reorder
# or hide, line ends, controls and halves of surrogate pairs.
FOREIGN = [*"\u00d7\u2212\u0445\u00b2\u03c0\u221e\uff08\u00e9\u017f\uff11", "\U0001d4cd", "\U0001f600"]
FOREIGN += [*"\u00a0\u202e\u200b\ufeff\u2028\x85\r\n\t\x0c\0\x07\ud800\udfff", "\x1b[31m", "\U000e0041"]
VALID = [
    "x * sigmoid(x)",
    "x * tanh(log(1 + exp(x)))",
    "where(x > 0, x, 0.25*(exp(x) - 1))",
    "0.5*x*(1 + tanh(sqrt(2/pi)*(x + 0.044715*x**3)))",
    "x if x > 0 and not x == 3 else -x",
    "clamp(x, -1, 1) + min(x, max(x, 2)) / (1 + abs(x))",
    "gelu(x, approximate='tanh')",
    "e**x - 2**x + x**-2",
]


def formula_text(random_: random.Random) -> str:
    """Something that may be a formula."""
    return random_.choice((_soup, _mutated, _nested, _long, _literal, _characters))(random_)


def _soup(r: random.Random) -> str:
    kinds = r.choices((NAMES, NUMBERS, OPERATORS, BRACKETS, FOREIGN), (6, 3, 5, 4, 0.3), k=r.randint(0, 30))
    return r.choice(("", " ")).join(r.choice(kind) for kind in kinds)


def _mutated(r: random.Random) -> str:
    text = r.choice(VALID)
    for _ in range(r.randint(0, 4)):
        at = r.randint(0, len(text))
        end = min(len(text), at + r.choice((0, 0, 1, 3)))
        piece = r.choice(
            (r.choice(NAMES), r.choice(OPERATORS), r.choice(NUMBERS), r.choice(FOREIGN), r.choice(VALID), "")
        )
        text = text[:at] + piece + text[end:]
    return text


def _nested(r: random.Random) -> str:
    deep = r.choice((1, 5, 30, 63, 64, 65, 100, 400))
    openings = ("(", "tanh(", "[", "{", "1+(", "sigmoid(x*", "where(x>0,x,", "f(")
    opening = r.choice((*openings, "-", "not ", "x**", "x if x<1 else ", "x<", "~", "lambda x:"))
    closing = {"[": "]", "{": "}"}.get(opening, ")") if opening in openings else ""
    return opening * deep + r.choice(("x", "1", "", "x+1")) + closing * r.choice((deep, deep - 1, 0, deep + 1))


def _long(r: random.Random) -> str:
    piece = r.choice(
        ("x+", "x*", "x**", "x<", "exp(x)+", "1,", "(", ")", "\n", " ", "x ", "and ", "a", "é", "'", "-1+")
    )
    return piece * r.choice((10, 100, 1000, 4096)) + r.choice(("x", ""))


def _literal(r: random.Random) -> str:
    digits = "".join(r.choices("0123456789", k=r.choice((1, 20, 400, 4000))))
    form = r.choice(("{}", "x*{}", "x**{}", "{}.{}", "1e{}", "1e-{}", "0x{}", "x + {}j", "x**-{}", "exp({})", "{}**{}"))
    return form.replace("{}", digits)


def _characters(r: random.Random) -> str:
    top = r.choice((0x7F, 0xFF, 0xFFFF, 0x10FFFF))
    return "".join(chr(r.randint(0, top)) for _ in range(r.choice((1, 5, 50, 10_000))))


def target_text(random_: random.Random) -> str:
    """Something that may be a target, and names no module that exists."""
    missing = random_.choice(
        ("nowhere_to_be_found", "no.such.package", "/no/such/file.py", "no such file.py", "é.py", ".py")
    )
    body = formula_text(random_)
    wrapped = random_.choice(
        ("{missing}:{body}", "{body}", "{body}.py", "{name}({body})", "{missing}:*", "{name}:{body}")
    )
    name = random_.choice(("mish", "silu", "no_such_name", "leaky_relu", "hardtanh"))
    text = wrapped.format(missing=missing, body=body, name=name)
    before = text.partition(":")[0].strip()
    harmless = ":" not in text or before == missing or not before.replace(".", "").isidentifier()
    return text if harmless else f"{missing}:{text}"


# --- Certificates ---------------------------------------------------------------------------------------------------

HOSTILE = [
    "<script>alert(1)</script>",
    "'\"><img src=x onerror=alert(1)>",
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;http://example.org\x1b\\link\x1b]8;;\x1b\\",
    "\x1b]0;title\x07",
    "\x9b2J",
    "\x1b",
    "abc\u202edcb\u2066x\u2069",
    "\u061c\u200f\u180e",
    "\0NUL\0",
    "line\r\nbreak\u2028and\x85more",
    "\ud800lone",
    "\udc80",
    "[bold red]markup[/bold red]",
    "[/]",
    "{{ 7 * 7 }}{% raw %}",
    ":warning:",
    "日本語の名前",
    "e\u0301" + "\u0336" * 40,
    "\U0001f600\u200d\U0001f525",
    "\U000e0001\U000e0041",
    "",
    " ",
    "\t\b\b\x7f",
]
HUGE = ["x" * 10_000, "wide 字 " * 1_250, "<b>&amp;" * 1_250, "\x1b[" * 5_000]
EXTREME = [0.0, -0.0, 1.0, -89.0, 5e-324, 1.7e308, math.inf, -math.inf, math.nan, 1e6, 123456.789, 3.4e38]


def hostile_text(r: random.Random) -> str:
    """A name or message from somebody's file."""
    pieces = r.choices(HOSTILE, k=r.choice((1, 1, 2, 3))) + ([r.choice(HUGE)] if r.random() < 0.02 else [])
    return r.choice(("", "ok ", "silu")) + "".join(pieces)


def certificate(random_: random.Random) -> Certificate:
    """A certificate in which every text and every number is somebody's attack."""
    r = random_
    target = hostile_text(r)
    dtypes = r.sample(["float16", "bfloat16", "float32", hostile_text(r)], r.randint(0, 4))
    rows = {d: {q: _accuracy(r) for q in r.sample(["output", "gradient"], r.randint(0, 2))} for d in dtypes}
    notes = [hostile_text(r) for _ in range(r.randint(0, 2))]
    properties = {
        "notes": notes,
        "elementwise": r.random() < 0.5,
        "why": hostile_text(r),
        hostile_text(r): r.choice(EXTREME),
    }
    return Certificate(
        target=target,
        formula=r.choice((None, target, hostile_text(r))),
        reference=r.choice(("ball", "float64")),
        findings=tuple(_finding(r, target) for _ in range(r.randint(0, 5))),
        accuracy=rows,
        checks_run=tuple(hostile_text(r) for _ in range(r.randint(0, 2))),
        checks_not_run={hostile_text(r): hostile_text(r) for _ in range(r.randint(0, 6))},
        same_as=tuple(hostile_text(r) for _ in range(r.randint(0, 2))),
        properties=properties,
        saved_bytes_per_element={r.choice(("float32", hostile_text(r))): r.choice(EXTREME)},
    )


def _accuracy(r: random.Random) -> Accuracy:
    return Accuracy(r.choice(EXTREME), r.choice((None, *EXTREME)), r.choice((0, 1, 63_488, 2**32)))


def _finding(r: random.Random, target: str) -> Finding:
    made = Finding(
        check=r.choice(("precision-loss", "masked-branch", hostile_text(r))),
        severity=r.choice(("fail", "warn", "info")),
        subject=r.choice(("output", "gradient", f"parameter:{hostile_text(r)}")),
        dtype=r.choice((None, "float16", hostile_text(r))),
        count=r.choice((0, 1, 2**40)),
        tested=r.choice((0, 1, 2**40)),
        message=r.choice((target, "")) + hostile_text(r),
        device=hostile_text(r),
        suggestion=r.choice((None, hostile_text(r))),
    )
    if r.random() < 0.5:
        return made
    x, got, expected, ulp = (r.choice(EXTREME) for _ in range(4))
    worst = Worst(x, r.choice((x.hex(), hostile_text(r))), got, expected, ulp)
    return replace(made, worst=worst, region=r.choice((None, (x, got))))


# --- What must hold -------------------------------------------------------------------------------------------------

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_HARMFUL = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # controls, invisible formatting, lone surrogates, line breaks


def parses(text: str) -> bool:
    """Whether it is a formula. Nothing but an `ActiumError` may come out, and the message is fit to print."""
    try:
        assert parse(text).text
    except FormulaError as error:
        assert_harmless(str(error))
        return False
    return True


def resolves(text: str) -> bool:
    """Whether it is a target, likewise."""
    try:
        resolve(text)
    except ActiumError:
        return False
    return True


def assert_harmless(text: str) -> None:
    """Nothing moves the cursor, changes colours or direction, or cannot be encoded."""
    bad = {c for c in text if c != "\n" and unicodedata.category(c) in _HARMFUL}
    assert not bad, [hex(ord(c)) for c in bad]


def renders(made: Certificate, width: int, colours: bool) -> int:
    """Write a certificate in every form; the length of the text."""
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=colours, highlight=False, emoji=False, markup=False)
    for view in (certificate_view(made, width), summary_view([made], {made.target: made.target})):
        show(view, console)
    text = _COLOUR.sub("", out.getvalue()) if colours else out.getvalue()
    assert_harmless(text)
    longest = max(map(cell_len, text.split("\n")))
    assert longest <= width, (longest, width)
    json.dumps(made.to_json(), allow_nan=False).encode("utf-8")
    assert str(made)
    return len(text)


def renders_as_html(made: Certificate) -> int:
    """Write the page; what came from the certificate may neither open a tag nor close one."""
    text = page([made], {"cpu": made.target}, {made.target: made.target})
    assert_harmless(text)
    for attack in ("<script", "<img", "javascript:"):
        assert attack not in text
    text.encode("utf-8")
    return len(text)


@dataclass(frozen=True)
class Kind:
    """A kind of case: how one is made, what must hold of it (and whether it was accepted), how many there are."""

    make: Callable[[random.Random], Any]
    holds: Callable[[Any], bool | int]
    cases: int


def _view(random_: random.Random) -> tuple[Certificate, int, bool]:
    return certificate(random_), random_.choice((20, 40, 80, 120, 200)), random_.random() < 0.5


KINDS = {
    "formula": Kind(formula_text, parses, 100_000),
    "target": Kind(target_text, resolves, 20_000),
    "terminal": Kind(_view, lambda case: renders(*case), 20_000),
    "html": Kind(certificate, renders_as_html, 20_000),
}
