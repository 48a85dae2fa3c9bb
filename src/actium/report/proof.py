"""What `actium show --proof` says.

Stage: activation → proof → [text]. In: an activation. Out: its proof, as plain data for JSON and as a Rich renderable.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from actium.report.clean import clean, shortened
from actium.report.terminal import pairs

if TYPE_CHECKING:
    from actium.catalogue import Entry
    from actium.define import Activation
    from actium.verify.proof import Bound, Corner, Enclosure, Proof

# A function with many pieces (sin, floor) fills the screen otherwise; `--json` has all of them.
_MOST = 8
_FORMULA_WIDTH = 400
_WORDS = {"increasing": "rises", "decreasing": "falls", "constant": "constant", "unknown": "not known"}
_DTYPES = ("float16", "bfloat16", "float32")


def proof_of(activation: Activation) -> Proof:
    """The proof of an activation at its default parameters; of a catalogue entry, of its text."""
    from actium.verify.proof import prove

    entry: Entry | None = getattr(activation, "entry", None)
    truth = activation.formula if entry is None else entry.as_written()
    return prove(truth, {p.name: p.init for p in activation.parameters})


def facts(proof: Proof) -> dict[str, Any]:
    """The proof as data that strict JSON can hold."""
    from actium.verify.certificate import plain

    return plain(proof.to_json())


def proof_view(name: str, proof: Proof) -> RenderableType:
    """The statements, one a line, then the table of overflow and underflow."""
    head = Text(clean(name), style="bold").append(f"  {shortened(clean(proof.formula), _FORMULA_WIDTH)}", "default")
    rows = [(what, clean(text)) for what, text in _rows(proof)]
    parts: list[RenderableType] = [head, pairs(rows)]
    if proof.thresholds:
        parts += [Text(), Padding(_thresholds(proof), (0, 0, 0, 2))]
    if proof.unproven:
        parts += [Text(), Text("  not proven", style="dim")]
        parts += [Padding(Text(f"- {clean(sentence)}"), (0, 0, 0, 2)) for sentence in _gathered(proof.unproven)]
    return Group(*parts)


def _rows(proof: Proof) -> Iterator[tuple[str, str]]:
    if proof.parameters:
        yield "where", ", ".join(f"{name} = {value:g}" for name, value in proof.parameters.items())
    if proof.window is not None:
        yield "only for", f"{proof.window[0]:g} < x < {proof.window[1]:g}: beyond, it oscillates or steps for ever"
    yield "range", _range(proof.low, proof.high)
    yield "extrema", "; ".join(_extremum(*b) for b in (("min", proof.low), ("max", proof.high))) or "none"
    yield "pieces", _listed([f"{_WORDS.get(r.trend, r.trend)} on {r}" for r in proof.runs])
    yield (
        "slope",
        f"{_range(proof.slope_low, proof.slope_high)}, so the Lipschitz constant is {_number(proof.lipschitz)}",
    )
    yield "kinks", _listed([_corner(c) for c in proof.corners if c.kind != "smooth"]) or "none"
    if proof.limits:
        yield (
            "limits",
            "; ".join(
                f"f({side}) = {_limit(value)}, f′({side}) = {_limit(slope)}"
                for side, (value, slope) in proof.limits.items()
            ),
        )
    yield "parity", _parity(proof)


def _number(value: Enclosure) -> str:
    """The digits that are sure, 15 at most; both ends where they differ by more."""
    if value.is_tight:
        around = value.low < 0 < value.high
        return f"0 ± {max(-value.low, value.high):.1g}" if around else f"{value.middle + 0.0:.15g}"
    return f"between {value.low:.6g} and {value.high:.6g}"


def _range(low: Bound, high: Bound) -> str:
    if not (low.value.is_tight and high.value.is_tight):
        return f"within [{low.value.low:.6g}, {high.value.high:.6g}]"
    left = "[" if low.attained else "("
    return f"{left}{_number(low.value)}, {_number(high.value)}{']' if high.attained else ')'}"


def _extremum(name: str, bound: Bound) -> str:
    if not math.isfinite(bound.value.middle):
        return f"no {name}"
    what = {True: name, False: f"no {name}", None: f"{name} or limit"}[bound.attained]
    if bound.attained is False:
        return what
    places = [f"x = {_number(a)}" if a.is_tight else _place(a) for a in bound.at[:3]]
    return f"{what} at {', '.join(places)}" + (f" and {len(bound.at) - 3} more" if len(bound.at) > 3 else "")


def _place(at: Enclosure) -> str:
    """An interval on which the extremum is attained throughout."""
    left = "(-inf" if math.isinf(at.low) else f"[{at.low:.7g}"
    return f"every x in {left}, {'inf)' if math.isinf(at.high) else f'{at.high:.7g}]'}"


def _corner(corner: Corner) -> str:
    at = f"x = {_number(corner.at)}"
    if corner.kind == "jump":
        return f"{at}: jumps from {_number(corner.values[0])} over {_number(corner.values[1])} to " + _number(
            corner.values[2]
        )
    return f"{at}: slopes {_number(corner.slopes[0])} and {_number(corner.slopes[1])}"


def _limit(value: Enclosure | None) -> str:
    return "not known" if value is None else _number(value)


def _parity(proof: Proof) -> str:
    found = proof.parity
    if found.kind == "none":
        return f"none ({found.how})"
    if found.kind is None:
        return found.how
    return f"{'odd and even' if found.kind == 'both' else found.kind} ({found.how})"


def _listed(texts: list[str]) -> str:
    more = f"; and {len(texts) - _MOST} more" if len(texts) > _MOST else ""
    return "; ".join(texts[:_MOST]) + more


def _thresholds(proof: Proof) -> RenderableType:
    """From which number of each format on, outwards, a correctly rounded result is that."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("rounds to", no_wrap=True)
    for dtype in _DTYPES:
        table.add_column(dtype, no_wrap=True, justify="right")
    rows: dict[tuple[str, str, bool], dict[str, float]] = {}
    for t in proof.thresholds:
        rows.setdefault((t.quantity, t.becomes, t.x < 0), {})[t.dtype] = t.x
    for (quantity, becomes, left), cells in rows.items():
        name = f"{'f' if quantity == 'output' else 'f′'} → {becomes}, x {'≤' if left else '≥'}"
        table.add_row(name, *(f"{cells[d]:.9g}" if d in cells else "" for d in _DTYPES))
    return table


def _gathered(sentences: tuple[str, ...]) -> list[str]:
    return [*sentences[:_MOST], *([f"and {len(sentences) - _MOST} more"] if len(sentences) > _MOST else [])]
