"""Certificates as one HTML page, and one certificate as a piece of a notebook.

Stage: certificates → [HTML]. In: certificates, environment, what was not checked. Out: text without scripts and remote
parts. Whatever the templates print is cleaned, shortened and escaped on the way. The more targets there are, the less
is said of each, so that the page stays small enough to attach to a pull request.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from actium.report import errormap
from actium.report.clean import clean, shortened
from actium.report.terminal import number
from actium.report.view import BRIEF, COMPACT, FULL, MARKS, SEVERITIES, SHORT, TINY, Detail, View, got_and_expected

if TYPE_CHECKING:
    from actium.verify.certificate import Certificate

LIMIT = 400_000
_VERDICTS = ("fail", "warn", "pass")
# No text that the templates print is longer.
_LONGEST = 2000
_LINES = 1000
# A notebook's own styles may size pictures, and would win over attributes.
_SIZED = re.compile(r'<svg ([^>]*)height="(\d+)"')


def page(
    certificates: Sequence[Certificate], environment: Mapping[str, Any], not_checked: Mapping[str, str] | None = None
) -> str:
    """One self-contained page, in as much detail as fits into `LIMIT` bytes.

    Args:
        certificates: The worst come first on the page.
        environment: As in the JSON document.
        not_checked: Target → reason.

    Returns:
        An HTML document.
    """
    left = not_checked or {}
    worst_first = sorted(certificates, key=lambda c: _VERDICTS.index(c.verdict))
    ways = _ever_less(len(certificates) + len(left))
    pages = (_page(worst_first, environment, left, detail, lines) for detail, lines in ways)
    return next(text for text in pages if text is not None)


def fragment(certificate: Certificate) -> str:
    """What a notebook shows of a certificate: the verdict, the error map and the findings.

    Args:
        certificate: What to show.

    Returns:
        One `<div>` that brings its own styles.
    """
    text = _templates().get_template("fragment.html.j2").render(v=View(certificate, COMPACT))
    return _SIZED.sub(r'<svg style="height:\2px;max-width:none" \1height="\2"', text)


def _ever_less(count: int) -> Iterator[tuple[Detail | None, int]]:
    """Ways to say it, the best first: in how much detail (None: only the table), and how many lines of the table."""
    yield from ((detail, _LINES) for detail in (FULL, SHORT, BRIEF, TINY))
    lines = min(count, _LINES)
    while lines:
        yield None, lines
        lines //= 2
    yield None, 0


def _page(
    certificates: Sequence[Certificate],
    environment: Mapping[str, Any],
    not_checked: Mapping[str, str],
    detail: Detail | None,
    lines: int,
) -> str | None:
    """The page, or None if it would be too large."""
    views = [View(c, detail or TINY, f"t{i}") for i, c in enumerate(certificates, 1)]
    counts = {v: n for v in _VERDICTS if (n := sum(c.verdict == v for c in certificates))}
    values: dict[str, Any] = {
        "views": views,
        "rows": views[:lines],
        "sections": views if detail else [],
        "is_short": detail is not FULL,
        "counts": counts,
        "verdict": next(iter(counts), "none"),
        "not_checked": list(not_checked.items())[:lines],
        "not_checked_count": len(not_checked),
        "environment": environment,
        "axes": _axes(views) if detail and detail.brief else {},
    }
    return _joined(rendered("page.html.j2", values))


def rendered(template: str, values: Mapping[str, Any]) -> Iterator[str]:
    """The pieces of a page made of `base.html.j2`: its one style is inside, and its policy allows no other.

    Args:
        template: Its name.
        values: What it prints; everything is cleaned, shortened and escaped, except `Markup`. `environment` is needed.
    """
    style = files("actium.report").joinpath("templates", "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return _templates().get_template(template).generate(values, style=Markup(style), style_hash=digest)


def _joined(pieces: Iterable[str]) -> str | None:
    """The text, or None as soon as it is too long."""
    text, size = [], 0
    for piece in pieces:
        text.append(piece)
        size += len(piece.encode())
        if size >= LIMIT:
            return None
    return "".join(text)


def _axes(views: Iterable[View]) -> dict[str, Markup]:
    """The numbers that small maps leave out, once for each format."""
    lanes = next((v.lanes for v in views if v.lanes), {})
    return {dtype: errormap.axis(found[0]) for dtype, found in lanes.items()}


@functools.cache
def _templates() -> jinja2.Environment:
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("actium.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "short": lambda text, width: shortened(clean(text), width),
        "number": number,
        "legend": errormap.legend,
    }
    found.globals |= {
        "severities": SEVERITIES,
        "got_and_expected": got_and_expected,
        "all_kinds": errormap.KINDS,
        "marks": MARKS,
    }
    return found


def _printable(value: Any) -> Any:
    """Whatever is printed, on one line and of bounded length; what is HTML already stays."""
    return value if isinstance(value, Markup) else shortened(clean(value), _LONGEST)
