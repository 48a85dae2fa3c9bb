"""An activation in a notebook: its formula, what it is like, and a picture.

Stage: activation → [HTML]. In: an activation. Out: one self-contained `<div>`, without scripts or remote parts, that
is readable on light and dark backgrounds. Whatever text is in it is escaped.
"""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING

from actium.report.clean import clean
from actium.report.curve import samples
from actium.report.svg import BLUE, ORANGE, curve

if TYPE_CHECKING:
    from actium.define import Activation

_STYLE = "font-family:system-ui,sans-serif;font-size:13px;line-height:1.5"


def activation_html(activation: Activation) -> str:
    """The HTML that a notebook shows for an activation."""
    s = samples(activation)
    rows = [("formula", f"<code>{_text(activation.formula.text)}</code>")]
    rows += [("derivative", f"<code>{_text(activation.derivative().formula.text)}</code>")]
    rows += [("LaTeX", f"<code>{_text(activation.latex())}</code>")]
    entry = getattr(activation, "entry", None)
    if entry is not None:
        rows.append(("range", _text(entry.range)))
    if activation.parameters:
        rows.append(("parameters", _text("; ".join(_parameter(p) for p in activation.parameters))))
    if activation.source_note:
        rows.append(("source", _text(activation.source_note)))
    cells = "".join(
        f'<tr><td style="opacity:.7;text-align:left;vertical-align:top;padding:1px 12px 1px 0">{name}</td>'
        f'<td style="text-align:left;padding:1px 0">{value}</td></tr>'
        for name, value in rows
    )
    return (
        f'<div style="{_STYLE}"><b>{_text(activation.name)}</b>'
        f'<table style="border:0;background:none;margin:4px 0">{cells}</table>'
        f"{curve('f(x)', s.x[0], s.x[-1], s.value, BLUE)}{curve('f′(x)', s.x[0], s.x[-1], s.slope, ORANGE)}</div>"
    )


def _text(text: str) -> str:
    return html.escape(clean(text))


def _parameter(p: object) -> str:
    name, init, learnable = getattr(p, "name", ""), getattr(p, "init", math.nan), getattr(p, "learnable", False)
    bounds = f" in {getattr(p, 'range_text', '')}" if getattr(p, "constrained", False) else ""
    return f"{name} = {init:g}{bounds}{', learnable' if learnable else ''}"
