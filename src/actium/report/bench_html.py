"""What `actium bench` measured, as one HTML page.

Stage: report → [HTML]. In: a report of cells. Out: text without scripts and remote parts, made of the same base and the
same style as the pages of certificates; whatever is printed is cleaned, shortened and escaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from actium.bench.cold import ELEMENTS
from actium.bench.grid import size_text
from actium.report import bench as text
from actium.report.bench_svg import Bar, Series, bars, curves
from actium.report.html import rendered

if TYPE_CHECKING:
    from actium.bench.cases import Case
    from actium.bench.cells import Cell, Result
    from actium.bench.records import Report


@dataclass(frozen=True)
class Group:
    """Cells of one target that differ in size alone.

    Attributes:
        title: What they have in common.
        cells: By size, as measured.
        first: The name of the target among the contenders.
    """

    title: str
    cells: Sequence[Cell]
    first: str

    @property
    def pictures(self) -> list[tuple[str, Markup]]:
        """Ratios, and times where there are several sizes; each with what it shows."""
        rows = [
            Bar(f"{name}, {size_text(cell.spot.elements)}", result.ratio)
            for cell in self.cells
            for name, result in cell.results.items()
            if result.ratio is not None
        ]
        found = []
        if rows:
            caption = f"How many times as long the others take as {self.first}, with 95 % intervals"
            found.append((caption, bars(f"{caption}: {self.title}", rows)))
        if len({c.spot.elements for c in self.cells}) > 1:
            caption = "Time by number of elements"
            found.append((caption, curves(f"{caption}: {self.title}", self._series())))
        return found

    def _series(self) -> list[Series]:
        cells = sorted(self.cells, key=lambda c: c.spot.elements)
        names = dict.fromkeys(name for c in cells for name in c.results)
        made = [
            Series(n, [(c.spot.elements, c.results[n].seconds.median) for c in cells if n in c.results]) for n in names
        ]
        return [*made, Series("floor", [(c.spot.elements, c.floor) for c in cells], floor=True)]

    @property
    def rows(self) -> Iterator[tuple[str, str, list[str], bool]]:
        """Size (on its first line), contender, its numbers, whether it is the target."""
        for cell in self.cells:
            size = size_text(cell.spot.elements)
            for name, result in cell.results.items():
                yield size, name, _numbers(result), result.ratio is None
                size = ""

    @property
    def floors(self) -> list[tuple[str, str]]:
        """Size and floor."""
        return [(size_text(c.spot.elements), text.floor_text(c)) for c in self.cells]


@dataclass(frozen=True)
class Section:
    """One target.

    Attributes:
        case: What is compared.
        anchor: Where links find it.
        groups: What was measured.
        means: Contender, geometric mean of the ratios.
        failed: Where, contender, why it was not measured.
        cold: First calls: contender, format, time or reason.
    """

    case: Case
    anchor: str
    groups: Sequence[Group]
    means: Sequence[tuple[str, str]]
    failed: Sequence[tuple[str, str, str]]
    cold: Sequence[tuple[str, str, str]]


def page(report: Report) -> str:
    """One self-contained page.

    Args:
        report: What was measured, all of it or up to an interruption.

    Returns:
        An HTML document.
    """
    values = {
        "sections": [_section(report, case, f"t{k}") for k, case in enumerate(report.cases, 1)],
        "interrupted": report.interrupted,
        "cells": len([c for c in report.cells if c.results]),
        "seconds": f"{report.seconds:g}",
        "note": text.NOTE,
        "elements": f"{ELEMENTS:,}",
        "environment": report.environment,
    }
    return "".join(rendered("bench.html.j2", values))


def _section(report: Report, case: Case, anchor: str) -> Section:
    cells = [c for c in report.cells if c.target == case.target]
    common: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.results:
            spot = cell.spot
            common.setdefault(f"{text.PASSES[spot.which]}, {spot.dtype}, {spot.device}", []).append(cell)
    return Section(
        case,
        anchor,
        [Group(title, found, case.contenders[0].name) for title, found in common.items()],
        [(name, text.ratio_text(value)) for name, value in report.means(case.target).items()],
        [(text.place_text(c), name, why) for c in cells for name, why in c.failed.items()],
        [
            (c.contender, c.dtype, c.reason if c.seconds is None else text.time_text(c.seconds))
            for c in report.cold
            if c.target == case.target
        ],
    )


def _numbers(result: Result) -> list[str]:
    ratio = (
        ("", "") if result.ratio is None else (text.ratio_text(result.ratio.median), text.interval_text(result.ratio))
    )
    return [
        text.time_text(result.seconds.median),
        text.quartiles_text(result.seconds),
        *ratio,
        text.share_text(result.share),
        text.per_element(result.saved),
        text.per_element(result.peak),
        "" if result.difference is None else f"{result.difference:.2g}",
    ]
