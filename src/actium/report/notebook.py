"""An activation in a notebook: its formula, what it is like, and a picture.

Stage: activation → [HTML]. In: an activation. Out: one self-contained `<div>`, without scripts or remote parts, that
is readable on light and dark backgrounds. Whatever text is in it is escaped.
"""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING

from actium.report.clean import clean
from actium.report.curve import Samples, _bounds, _label, samples

if TYPE_CHECKING:
    from actium.define import Activation

_WIDTH, _HEIGHT, _MARGIN = 260, 150, 28
_STYLE = "font-family:system-ui,sans-serif;font-size:13px;line-height:1.5"
# Blue and orange of equal lightness: they keep their contrast on white and on black, and for the colour-blind.
_BLUE, _ORANGE = "#3b82c4", "#d9822b"


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
        f"{_picture('f(x)', s, s.value, _BLUE)}{_picture('f′(x)', s, s.slope, _ORANGE)}</div>"
    )


def _text(text: str) -> str:
    return html.escape(clean(text))


def _parameter(p: object) -> str:
    name, init, learnable = getattr(p, "name", ""), getattr(p, "init", math.nan), getattr(p, "learnable", False)
    bounds = f" in {getattr(p, 'range_text', '')}" if getattr(p, "constrained", False) else ""
    return f"{name} = {init:g}{bounds}{', learnable' if learnable else ''}"


def _picture(title: str, s: Samples, y: list[float], colour: str) -> str:
    """One curve as inline SVG; `currentColor` follows the theme."""
    low, high = _bounds(y)
    left, right, top, bottom = _MARGIN + 8, _WIDTH - 8, 18, _HEIGHT - 18

    def at(x: float, v: float) -> str:
        across = left + (right - left) * (x - s.x[0]) / (s.x[-1] - s.x[0])
        return f"{across:.1f},{bottom - (bottom - top) * (v - low) / (high - low):.1f}"

    path = "".join(
        f"{'L' if k and math.isfinite(y[k - 1]) else 'M'}{at(s.x[k], v)}" for k, v in enumerate(y) if math.isfinite(v)
    )
    axes = [f"M{left},{top}V{bottom}H{right}"]
    if low < 0 < high:
        axes.append(f"M{at(s.x[0], 0.0)}L{at(s.x[-1], 0.0)}")
    labels = [
        (left - 4, top + 4, "end", _label(high)),
        (left - 4, bottom + 4, "end", _label(low)),
        (left, bottom + 14, "start", _label(s.x[0])),
        (right, bottom + 14, "end", _label(s.x[-1])),
        ((left + right) // 2, 12, "middle", title),
    ]
    texts = "".join(f'<text x="{x}" y="{y_}" text-anchor="{anchor}">{t}</text>' for x, y_, anchor, t in labels)
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{title} from {_label(s.x[0])} to {_label(s.x[-1])}">'
        f'<path d="{"".join(axes)}" fill="none" stroke="currentColor" stroke-opacity=".35"/>'
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        f'<g fill="currentColor" font-size="10" font-family="sans-serif">{texts}</g></svg>'
    )
