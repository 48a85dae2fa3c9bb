"""What the HTML templates ask of a certificate.

Stage: certificate → [view] → HTML. In: a certificate and how much to say of it. Out: texts, still to be cleaned and
escaped where they are printed, and pictures. Knows no check by name.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from actium.report import errormap
from actium.report.clean import clean
from actium.report.errormap import Lane
from actium.report.svg import BLUE, GREEN, ORANGE, curve
from actium.report.terminal import _MARK, _SUMMARY, _distinct, number

if TYPE_CHECKING:
    from actium.verify.certificate import Accuracy, Certificate, Finding

SEVERITIES = {
    "fail": "wrong, and a user's training can break",
    "warn": "worse than it could be",
    "info": "worth knowing",
}
MARKS = {**_MARK, "none": "?"}
_CURVES = (("f(x)", "value", BLUE), ("f′(x)", "slope", ORANGE), ("f″(x)", "curvature", GREEN))
_SHOWN_ELSEWHERE = ("notes", "elementwise", "why")
_ENDS = (("-inf", "−∞"), ("inf", "∞"))
_INPUTS = {"float16": "all finite encodings", "bfloat16": "all finite encodings"}


class Detail(NamedTuple):
    """How much is said of each target.

    Attributes:
        text: Characters of a message.
        groups: Kinds of findings, each with as many rows as there are formats.
        curves: How many of f, f′, f″.
        thin: Of so many points of a curve one is drawn, and so many bins of the error map become one.
        lane: Height of a lane of the error map.
        halves: Whether the map leaves out the formats of which only a sample was tested.
        brief: Whether a few lines have to do: small maps without numbers, and no tables.
    """

    text: int = 2000
    groups: int = 60
    curves: int = 3
    thin: int = 1
    lane: int = 72
    halves: bool = False
    brief: bool = False


FULL = Detail()
COMPACT = Detail(text=400, groups=24, halves=True)
SHORT = Detail(text=400, groups=24, curves=2, thin=2, lane=48, halves=True)
BRIEF = Detail(text=160, groups=8, thin=4, lane=18, halves=True, brief=True)
TINY = Detail(text=80, groups=3, thin=8, lane=12, halves=True, brief=True)


@dataclass
class Group:
    """Findings of one check about one thing: a row for each format, or messages.

    Attributes:
        severity: Of all of them.
        check: Its id.
        subject: What they are about.
        rows: Findings about inputs.
        messages: What the others say.
        suggestions: What to do, each once.
        same_fix_as: The check under which a suggestion of this one stands already.
    """

    severity: str
    check: str
    subject: str
    rows: list[Finding] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    suggestions: list[str] = field(default_factory=list)
    same_fix_as: str = ""


@dataclass(frozen=True)
class Map:
    """The error map of one format."""

    dtype: str
    note: str
    picture: Markup


@dataclass(frozen=True)
class View:
    """One certificate as the templates see it.

    Attributes:
        certificate: What is shown.
        detail: How much of it.
        anchor: Id of its section.
    """

    certificate: Certificate
    detail: Detail = FULL
    anchor: str = "t1"

    @property
    def target(self) -> str:
        """What it is about."""
        return self.certificate.target

    @property
    def verdict(self) -> str:
        """In one word."""
        return self.certificate.verdict

    @property
    def mark(self) -> str:
        """The verdict as a sign."""
        return MARKS[self.verdict]

    @property
    def summary(self) -> str:
        """The verdict in words, with counts and with what it does not cover."""
        c = self.certificate
        counts = [f"{n} {s}" for s in SEVERITIES if (n := self.count(s))]
        text = _SUMMARY[self.verdict] + (f" ({', '.join(counts)})" if counts else "")
        text += "; its numbers were not judged" if not c.accuracy else ""
        return f"{text}; {len(c.checks_run)} checks run, {len(c.checks_not_run)} not run"

    def count(self, severity: str) -> int:
        """How many findings of a severity there are."""
        return sum(f.severity == severity for f in self.certificate.findings)

    @property
    def worst_checks(self) -> list[str]:
        """The checks that make the verdict."""
        worst = self.verdict if self.verdict != "pass" else "info"
        return list(dict.fromkeys(f.check for f in self.certificate.findings if f.severity == worst))

    # --- Pictures -----------------------------------------------------------------------------------

    @functools.cached_property
    def lanes(self) -> dict[str, list[Lane]]:
        """The lanes of the error maps, by format, as coarse as asked for."""
        profile, detail = self.certificate.profile, self.detail
        wanted = [d for d in profile.get("formats", {}) if d in _INPUTS or not detail.halves]
        found = {d: [lane.coarse(detail.thin) for lane in errormap.lanes(profile, d)] for d in wanted}
        return {d: lanes for d, lanes in found.items() if lanes}

    @functools.cached_property
    def maps(self) -> list[Map]:
        """The error maps, one for each format."""
        draw = errormap.strip if self.detail.brief else errormap.picture
        return [Map(d, self._tested(d), draw(lanes, self.detail.lane)) for d, lanes in self.lanes.items()]

    @property
    def kinds(self) -> set[str]:
        """The kinds of bins in all maps."""
        return {kind for lanes in self.lanes.values() for kind in errormap.kinds(lanes)}

    def _tested(self, dtype: str) -> str:
        tested = max((a.tested for a in self.certificate.accuracy.get(dtype, {}).values()), default=0)
        return f"{_INPUTS.get(dtype, 'a sample')}; {tested:,} compared"

    @property
    def curves(self) -> list[Markup]:
        """f, f′ and f″ as far as they are known and asked for."""
        data = self.certificate.profile.get("curves", {})
        try:
            ends = float(data["from"]), float(data["to"])
            return [
                curve(title, *ends, data[key][:: self.detail.thin], colour)
                for title, key, colour in _CURVES[: self.detail.curves]
                if any(v is not None for v in data[key])
            ]
        except (KeyError, TypeError, ValueError, ArithmeticError):
            return []

    # --- Findings -----------------------------------------------------------------------------------

    @functools.cached_property
    def groups(self) -> dict[str, list[Group]]:
        """Findings by severity, then by check and subject; as many as the detail allows."""
        found: dict[tuple[str, str, str], Group] = {}
        told: dict[str, str] = {}
        for f in self.certificate.findings:
            group = found.setdefault((f.severity, f.check, f.subject), Group(f.severity, f.check, f.subject))
            if f.worst is not None and f.region is not None:
                group.rows.append(f)
            else:
                group.messages.append(self._message(f))
            if f.suggestion and f.suggestion not in told:
                told[f.suggestion] = f.check
                group.suggestions.append(f.suggestion)
            elif f.suggestion and f.suggestion not in group.suggestions:
                group.same_fix_as = told[f.suggestion]
        shown = list(found.values())[: self.detail.groups]
        return {s: members for s in SEVERITIES if (members := [g for g in shown if g.severity == s])}

    @property
    def more(self) -> int:
        """How many findings are left out."""
        shown = sum(len(g.rows) + len(g.messages) for groups in self.groups.values() for g in groups)
        return len(self.certificate.findings) - shown

    def _message(self, finding: Finding) -> str:
        """The target's name stands above already."""
        return clean(finding.message).removeprefix(clean(self.target)).lstrip(" :,")

    @property
    def truth(self) -> str:
        """What the results are compared with."""
        exact = self.certificate.reference == "ball"
        return "the formula in ball arithmetic, exact" if exact else "the code itself in float64"

    # --- Facts --------------------------------------------------------------------------------------

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Names and texts."""
        c = self.certificate
        rows = [("truth", self.truth)]
        rows += [("equals", ", ".join(c.same_as))] if c.same_as else []
        rows += [("limits", text)] if (text := self._limits()) else []
        if c.properties.get("elementwise") is False:
            rows.append(("numbers", f"not judged: {c.properties.get('why')}"))
        return rows + [("note", str(note)) for note in c.properties.get("notes", ())]

    def _limits(self) -> str:
        limits = self.certificate.properties.get("limits")
        slopes = self.certificate.properties.get("slope_limits")
        if not isinstance(limits, Mapping) or not isinstance(slopes, Mapping):
            return ""
        ends = [(f, v.get(end), sign) for f, v in (("f", limits), ("f′", slopes)) for end, sign in _ENDS]
        return ", ".join(f"{f}({sign}) = {_limit(v)}" for f, v, sign in ends if v is not None) or "none"

    @property
    def saved(self) -> list[tuple[str, str]]:
        """Bytes per element kept for the backward pass, by format."""
        return [(d, number(b)) for d, b in self.certificate.saved_bytes_per_element.items()]

    @property
    def accuracy(self) -> list[tuple[str, str, str, str]]:
        """Format, largest error of output and gradient, how many inputs were compared."""
        return [
            (d, _accuracy(rows.get("output")), _accuracy(rows.get("gradient")), self._tested(d))
            for d, rows in self.certificate.accuracy.items()
        ]

    @property
    def properties(self) -> list[tuple[str, str]]:
        """What else the checker knows, as it stands in the JSON document."""
        rest = {k: v for k, v in self.certificate.to_json()["properties"].items() if k not in _SHOWN_ELSEWHERE}
        return [(k, json.dumps(v, ensure_ascii=False)) for k, v in rest.items()]

    @property
    def not_run(self) -> list[tuple[str, list[str]]]:
        """Each reason once, with the checks that it stopped."""
        reasons: dict[str, list[str]] = {}
        for check, reason in self.certificate.checks_not_run.items():
            reasons.setdefault(reason, []).append(check)
        return list(reasons.items())


def got_and_expected(finding: Finding) -> tuple[str, str]:
    """Of the worst input, with as many digits as it takes to see that they differ."""
    assert finding.worst is not None
    return _distinct(finding.worst.got, finding.worst.expected)


def _limit(value: Any) -> str:
    return {"inf": "∞", "-inf": "−∞"}.get(str(value)) or (number(value) if isinstance(value, float) else str(value))


def _accuracy(accuracy: Accuracy | None) -> str:
    if accuracy is None:
        return "—"
    if accuracy.at is None:
        return "nothing to compare"
    return f"{number(float(f'{accuracy.max_ulp:.3g}'))} ULP at x = {number(accuracy.at)}"
