"""A certificate on a terminal.

Stage: certificate → [text]. In: certificates. Out: Rich renderables that fit the width there is: a table where a row
fits, a list where it does not. Every piece of foreign text is cleaned and never read as markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from actium.report.clean import clean, cleaned, shortened

if TYPE_CHECKING:
    from actium.verify.certificate import Accuracy, Certificate, Finding

# A traced formula repeats what it shares, and can fill a screen; `--json` has all of it.
_FORMULA_WIDTH = 400
_MARK = {"pass": "✓", "warn": "!", "fail": "✗"}
_STYLE = {"pass": "bold green", "warn": "bold yellow", "fail": "bold red", "info": "cyan"}
_SUMMARY = {"pass": "nothing wrong", "warn": "worse than it could be", "fail": "wrong"}
_SHORT = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32", "float64": "fp64"}


def console(stderr: bool = False) -> Console:
    """A console that writes plain text off a terminal, and honours NO_COLOR and COLUMNS."""
    return Console(stderr=stderr, highlight=False, emoji=False, markup=False, soft_wrap=False)


def number(value: float) -> str:
    """A number in at most ten characters or so.

    Example:
        >>> number(65504.0), number(-0.0212345), number(3.4e38)
        ('65504', '-0.02123', '3.4e+38')
    """
    return f"{value:.0f}" if abs(value) < 1e6 and value == int(value) else f"{value:.4g}"


def show(view: RenderableType, to: Console) -> None:
    """Print without the blanks that fill lines, which only a terminal's colours need."""
    with to.capture() as captured:
        to.print(view)
    text = captured.get()
    to.file.write(text if to.is_terminal else "".join(f"{line.rstrip()}\n" for line in text.splitlines()))
    to.file.flush()


def certificate_view(certificate: Certificate, width: int) -> RenderableType:
    """Everything about one certificate, from the verdict down to what did not run."""
    certificate = cleaned(certificate)
    parts: list[RenderableType] = [_verdict_line(certificate, width), *_facts(certificate)]
    numeric = [f for f in certificate.findings if f.worst is not None and f.region is not None]
    if numeric:
        parts += [Text(), *_findings_view(numeric, width)]
    others = [f for f in certificate.findings if f not in numeric]
    parts += [Text()] * bool(others) + [_message(certificate, f) for f in others]
    parts += _advice(certificate)
    if certificate.accuracy:
        parts += [Text(), _accuracy_table(certificate.accuracy)]
    parts += [Text(), _not_run(certificate)]
    return Group(*parts)


def summary_view(certificates: Sequence[Certificate], not_checked: Mapping[str, str]) -> RenderableType:
    """One line for each of several targets, the checks that found something, and how many of each verdict."""
    table = Table.grid(padding=(0, 2))
    # The verdict never gives way to a long name.
    table.add_column(no_wrap=True, min_width=max(map(len, ("✓ pass", *(["? not checked"] if not_checked else [])))))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for c in map(cleaned, certificates):
        worst = "warn" if c.verdict == "warn" else "fail"
        checks = dict.fromkeys(f.check for f in c.findings if f.severity == worst)
        mark = Text(f"{_MARK[c.verdict]} {c.verdict}", style=_STYLE[c.verdict])
        table.add_row(mark, Text(c.target), Text(", ".join(checks), style="dim"))
    counts = [f"{n} {v}" for v in ("fail", "warn", "pass") if (n := sum(c.verdict == v for c in certificates))]
    for target in not_checked:
        table.add_row(Text("? not checked", style="bold magenta"), Text(clean(target)), Text())
    total = ", ".join([f"{len(certificates)} checked", *([f"{len(not_checked)} not checked"] if not_checked else [])])
    line = f"{total}: {', '.join(counts)}" if counts else total
    return Group(Text(line, style="bold"), Padding(table, (0, 0, 0, 2)))


# --- The head ---------------------------------------------------------------------------------------------


def _verdict_line(certificate: Certificate, width: int) -> Text:
    verdict = certificate.verdict
    counts = [f"{n} {s}" for s in ("fail", "warn", "info") if (n := sum(f.severity == s for f in certificate.findings))]
    tail = f"  {_SUMMARY[verdict]}" + (f" ({', '.join(counts)})" if counts else "")
    room = max(width - len(tail) - 7, 16)
    line = Text(f"{_MARK[verdict]} {verdict.upper()}", style=_STYLE[verdict])
    line.append(f" {shortened(certificate.target, room)}", style="bold")
    return line.append(tail, style="default")


def _facts(certificate: Certificate) -> Iterator[RenderableType]:
    facts: list[tuple[str, str]] = []
    if certificate.formula is not None and certificate.formula != certificate.target:
        facts.append(("formula", shortened(certificate.formula, _FORMULA_WIDTH)))
    truth = "the formula in ball arithmetic, exact" if certificate.reference == "ball" else "the code itself in float64"
    facts.append(("truth", truth))
    if certificate.same_as:
        facts.append(("equals", ", ".join(certificate.same_as)))
    saved = certificate.saved_bytes_per_element
    if saved:
        per = ", ".join(f"{number(b)} ({_SHORT.get(d, d)})" for d, b in saved.items())
        facts.append(("keeps", f"{per} bytes per element for backward"))
    if certificate.properties.get("elementwise") is False:
        facts.append(("numbers", f"not judged: {certificate.properties.get('why')}"))
    facts += [("note", note) for note in certificate.properties.get("notes", ())]
    yield pairs(facts)


def pairs(rows: Iterable[tuple[str, str]]) -> RenderableType:
    """Names and texts in two columns; the texts must be clean."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(Text(name), Text(text))
    return Padding(table, (0, 0, 0, 2))


# --- Findings ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """A finding's numbers as text."""

    dtype: str
    inputs: str
    x: str
    x_hex: str
    got: str
    region: str

    @classmethod
    def of(cls, finding: Finding) -> _Row:
        worst, region = finding.worst, finding.region
        assert worst is not None
        assert region is not None
        dtype = _SHORT.get(finding.dtype or "", finding.dtype or "")
        inputs = f"{finding.count:,} of {finding.tested:,}"
        got = " → ".join(_distinct(worst.got, worst.expected))
        return cls(dtype, inputs, number(worst.x), worst.x_hex, got, f"[{number(region[0])}, {number(region[1])}]")


def _findings_view(findings: list[Finding], width: int) -> Iterator[Text]:
    """One line for each check and quantity, and below it one (or, on a narrow terminal, two) for each format."""
    rows = {id(f): _Row.of(f) for f in findings}
    names = [f.name for f in fields(_Row)]
    widths = {n: max(cell_len(getattr(r, n)) for r in [*rows.values(), _HEADER]) for n in names}
    wide = sum(widths.values()) + 2 * len(widths) + 6 <= width
    if wide:
        yield Text(" " * 8 + _row_line(_HEADER, widths), style="dim")
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for f in findings:
        groups.setdefault((f.severity, f.check, f.subject), []).append(f)
    for (_severity_name, check, subject), members in groups.items():
        yield Text("  ").append_text(_severity(members[0])).append(f"  {check}").append(f"  {subject}", "dim")
        for row in (rows[id(f)] for f in members):
            if wide:
                yield Text(" " * 8 + _row_line(row, widths))
            else:
                yield Text(f"{'':8}{row.dtype}  {row.inputs} inputs, in {row.region}")
                yield Text(f"{'':14}x = {row.x} ({row.x_hex}): {row.got}")


def _distinct(a: float, b: float) -> tuple[str, str]:
    """Two numbers, with as many digits as it takes to see that they differ."""
    short = number(a), number(b)
    return short if short[0] != short[1] or a == b else (f"{a:.9g}", f"{b:.9g}")


_HEADER = _Row("", "inputs", "worst x", "", "got → expected", "region")


def _row_line(row: _Row, widths: Mapping[str, int]) -> str:
    """The cells side by side; numbers to the right."""
    cells = []
    for name, width in widths.items():
        text = getattr(row, name)
        gap = " " * (width - cell_len(text))
        cells.append(gap + text if name in ("inputs", "x") else text + gap)
    return "  ".join(cells).rstrip()


def _severity(finding: Finding) -> Text:
    return Text(finding.severity, style=_STYLE[finding.severity])


def _message(certificate: Certificate, finding: Finding) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    # The target's name stands above already.
    text = finding.message.removeprefix(certificate.target).lstrip(" :,")
    table.add_row(_severity(finding), Text(finding.check), Text(text))
    return Padding(table, (0, 0, 0, 2))


def _advice(certificate: Certificate) -> list[RenderableType]:
    """Each suggestion once, with the checks that make it."""
    by_text: dict[str, list[str]] = {}
    for f in certificate.findings:
        if f.suggestion:
            checks = by_text.setdefault(f.suggestion, [])
            checks += [f.check] if f.check not in checks else []
    if not by_text:
        return []
    rows = [Padding(_advice_row(text, checks), (0, 0, 0, 2)) for text, checks in by_text.items()]
    return [Text(), Text("  what to do", style="dim"), *rows]


def _advice_row(text: str, checks: list[str]) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(Text("→"), Text(text).append(f"  ({', '.join(checks)})", style="dim"))
    return table


# --- The rest ---------------------------------------------------------------------------------------------


def _accuracy_table(accuracy: Mapping[str, Mapping[str, Accuracy]]) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("largest error", no_wrap=True)
    for name in ("output", "gradient", "inputs"):
        table.add_column(name, justify="right" if name == "inputs" else "left")
    for dtype, rows in accuracy.items():
        tested = max((a.tested for a in rows.values()), default=0)
        table.add_row(dtype, *(_accuracy_cell(rows.get(q)) for q in ("output", "gradient")), f"{tested:,}")
    return Padding(table, (0, 0, 0, 2))


def _accuracy_cell(accuracy: Accuracy | None) -> str:
    if accuracy is None:
        return "none"
    if accuracy.at is None:
        return "nothing to compare"
    return f"{accuracy.max_ulp:.3g} ULP at x = {number(accuracy.at)}"


def _not_run(certificate: Certificate) -> RenderableType:
    reasons: dict[str, list[str]] = {}
    for check, reason in certificate.checks_not_run.items():
        reasons.setdefault(reason, []).append(check)
    total = sum(map(len, reasons.values()))
    lines = [f"{len(certificate.checks_run)} checks run, {total} not run"]
    for reason, checks in reasons.items():
        shown = ", ".join(checks[:4]) + (f" and {len(checks) - 4} more" if len(checks) > 4 else "")
        lines.append(f"{shown}: {reason}")
    return Padding(Text("\n".join(lines), style="dim"), (0, 0, 0, 2))
