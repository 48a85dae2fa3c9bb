"""What `actium show` and `actium list` say of an activation.

Stage: activation → facts → [text]. In: an activation, perhaps with its catalogue entry. Out: plain data for JSON, and
Rich renderables of the same data.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from actium.errors import ActiumError
from actium.report.clean import clean, shortened
from actium.report.curve import panels, samples
from actium.report.terminal import number, pairs

if TYPE_CHECKING:
    from actium.catalogue import Entry
    from actium.define import Activation

DTYPES = ("float32", "float16", "bfloat16")


# --- Facts ------------------------------------------------------------------------------------------------


def facts(activation: Activation) -> dict[str, Any]:
    """Everything known of an activation at its default parameters, without running it."""
    from actium.symbolic.latex import to_latex
    from actium.verify.certificate import plain
    from actium.verify.oracle import Oracle

    entry: Entry | None = getattr(activation, "entry", None)
    truth = activation.formula if entry is None else entry.as_written()
    slope = activation.derivative().formula
    below, above = (Oracle(truth, defaults(activation)).limit(sign) for sign in (-1, 1))
    about = {
        "name": activation.name,
        "summary": entry.summary if entry else None,
        "formula": entry.formula if entry else activation.formula.text,
        "derivative": slope.text,
        "latex": {"formula": to_latex(truth), "derivative": to_latex(slope)},
        "parameters": [
            {"name": p.name, "default": p.init, "range": p.range_text, "learnable": p.learnable}
            for p in activation.parameters
        ],
        "range": entry.range if entry else None,
        "limits": {"-inf": {"value": below[0], "slope": below[1]}, "inf": {"value": above[0], "slope": above[1]}},
        "kinks": [{"at": k.at, "gradient": k.gradient, "why": k.why} for k in entry.kinks] if entry else None,
        "monotone": entry.monotone if entry else None,
        "parity": entry.parity if entry else None,
        "source": entry.source if entry else activation.source_note,
        "note": (entry.note or None) if entry else None,
        "torch": entry.torch_name if entry else None,
        "aliases": list(entry.aliases) if entry else [],
    }
    return plain(about)


def defaults(activation: Activation) -> dict[str, float]:
    """The parameters' values."""
    return {p.name: p.init for p in activation.parameters}


def at_point(activation: Activation, x: float) -> list[dict[str, Any]]:
    """Value and slope at a point: what the kernel gives, and the truth at each format's nearest number."""
    import numpy as np
    import torch

    from actium.verify.certificate import plain
    from actium.verify.encodings import format_of, hex_text
    from actium.verify.oracle import Oracle
    from actium.verify.ulp import ulp_error

    entry: Entry | None = getattr(activation, "entry", None)
    oracle = Oracle(activation.formula if entry is None else entry.as_written(), defaults(activation))
    rows = []
    for name in DTYPES:
        fmt = format_of(name)
        point = torch.tensor([x], dtype=fmt.dtype, requires_grad=True)
        y = activation(point)
        (slope,) = torch.autograd.grad(y.sum(), point)
        used = float(point.detach())
        row: dict[str, Any] = {"dtype": name, "x": used, "x_hex": hex_text(used)}
        exact = oracle.evaluate(used) if math.isfinite(used) else None
        limit = (None, None) if exact is not None or math.isnan(used) else oracle.limit(1 if used > 0 else -1)
        truths = (exact.value, exact.slope) if exact is not None else limit
        for what, got, true in (("output", y, truths[0]), ("gradient", slope, truths[1])):
            number_got = float(got.detach())
            error = None if true is None else float(ulp_error(np.array([number_got]), np.array([true]), fmt)[0])
            row[what] = {"got": number_got, "got_hex": hex_text(number_got), "exact": true, "ulp": error}
        rows.append(plain(row))
    return rows


def entries(catalogue: Iterable[Entry]) -> list[dict[str, Any]]:
    """The catalogue as data."""
    return [
        {
            "name": e.name,
            "class": e.class_name,
            "summary": e.summary,
            "formula": e.formula,
            "parameters": {p.name: p.init if math.isfinite(p.init) else str(p.init) for p in e.parameters},
            "learnable": [p.name for p in e.parameters if p.learnable],
            "range": e.range,
            "kinks": [k.at for k in e.kinks],
            "torch": e.torch_name,
            "aliases": list(e.aliases),
            "source": e.source,
        }
        for e in catalogue
    ]


# --- Views ------------------------------------------------------------------------------------------------


def about_view(activation: Activation, about: dict[str, Any], width: int) -> RenderableType:
    """The facts, then the curves."""
    head = Text(clean(about["name"]), style="bold")
    if about["summary"]:
        head.append(f"  {clean(about['summary'])}", style="default")
    rows = [("formula", about["formula"]), ("derivative", about["derivative"])]
    if about["parameters"]:
        rows.append(("parameters", "; ".join(_parameter(p) for p in about["parameters"])))
    rows += [("range", about["range"])] if about["range"] else []
    rows.append(("limits", _limits(about["limits"])))
    if about["kinks"] is not None:
        kinks = [f"x = {k['at']}, gradient {k['gradient']} there ({k['why']})" for k in about["kinks"]]
        rows.append(("kinks", "; ".join(kinks) or "none"))
    shape = [*(["never decreases"] if about["monotone"] else []), *([about["parity"]] if about["parity"] else [])]
    rows += [("shape", ", ".join(shape))] if shape else []
    rows += [("latex", about["latex"]["formula"]), ("latex f′", about["latex"]["derivative"])]
    rows += [(name, str(about[name])) for name in ("torch", "source", "note") if about[name]]
    parts: list[RenderableType] = [head, pairs((n, clean(t)) for n, t in rows), Text()]
    try:
        lines = panels(samples(activation), width)
    except ActiumError as error:
        lines = [f"no curve: {clean(error)}"]
    return Group(*parts, *(Text(line, no_wrap=True) for line in lines))


def _parameter(p: dict[str, Any]) -> str:
    return f"{p['name']} = {p['default']} in {p['range']}{', learnable' if p['learnable'] else ''}"


def _limits(limits: dict[str, dict[str, Any]]) -> str:
    def text(value: Any) -> str:
        return "none" if value is None else value if isinstance(value, str) else number(value)

    return "; ".join(f"f({x}) = {text(v['value'])}, f′({x}) = {text(v['slope'])}" for x, v in limits.items())


def at_view(rows: list[dict[str, Any]]) -> RenderableType:
    """One line for each format and quantity."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for name in ("at x", "", "in", "", "got", "exact", "ULP"):
        table.add_column(name, no_wrap=True)
    for row in rows:
        for what, symbol in (("output", "f"), ("gradient", "f′")):
            cell = row[what]
            first = (_long(row["x"]), row["x_hex"], row["dtype"]) if what == "output" else ("", "", "")
            ulp = "" if cell["ulp"] is None else _long(cell["ulp"], 3)
            exact = "no limit" if cell["exact"] is None else _long(cell["exact"], 17)
            table.add_row(*first, symbol, _long(cell["got"], 9), exact, ulp)
    return Padding(table, (0, 0, 0, 2))


def _long(value: float | str, digits: int = 9) -> str:
    return value if isinstance(value, str) else f"{value:.{digits}g}"


def list_view(rows: list[dict[str, Any]], width: int) -> RenderableType:
    """One line for each entry."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for name in ("name", "formula", "parameters"):
        table.add_column(name, no_wrap=True)
    room = max(width - 52, 24)
    for row in rows:
        parameters = ", ".join(
            f"{n}={_long(v, 6)}{'*' if n in row['learnable'] else ''}" for n, v in row["parameters"].items()
        )
        table.add_row(Text(row["name"], style="bold"), shortened(row["formula"], room), shortened(parameters, 30))
    return Group(table, Text(f"{len(rows)} activations; * is learnable; `actium show NAME` tells more", style="dim"))
