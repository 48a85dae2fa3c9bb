"""What is true of a formula on the whole real line, proven by interval arithmetic.

Stage: formula → [proof] → claims, report.
In: a `Formula` and numbers for its parameters. Out: a `Proof`: range, slopes, turning points, kinks, limits, parity,
overflow and underflow. Every statement follows from enclosures by ball arithmetic (Arb, through python-flint) over
the table's rows; what could not be proven within the work allowed is listed, with the enclosure that was reached.
Loads neither torch's autograd nor any kernel.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

import flint

from actium.errors import ParameterError
from actium.symbolic.balls import exclusive
from actium.symbolic.graph import Formula
from actium.verify.proof.analysis import Analysis, Span, enclose
from actium.verify.proof.curve import STARTS, Work, above, below
from actium.verify.proof.model import ANYTHING, Bound, Corner, Enclosure, Parity, Proof, Run, Side, Threshold
from actium.verify.proof.parity import parity
from actium.verify.proof.pieces import EndlessError, plain
from actium.verify.proof.thresholds import thresholds

__all__ = ["Bound", "Corner", "Enclosure", "Parity", "Proof", "Run", "Threshold", "prove"]

PRECISION = 128
# Operations of ball arithmetic; about a second.
WORK = 150_000
# Where a function is looked at that goes on oscillating or stepping for ever: the first in which it has an end.
WINDOWS = (16.0, 4.0, 1.0)
# An interval of unknown direction that is no wider than this is reported as a point.
_NARROW = 1e-8


def prove(formula: Formula, parameters: Mapping[str, float] | None = None, *, work: int = WORK) -> Proof:
    """Prove what there is to prove of a function of one variable.

    Args:
        formula: The function.
        parameters: A number for each of its parameters.
        work: How many operations of ball arithmetic may be spent.

    Returns:
        The proof. For a function without end (sin, floor) it speaks of (−16, 16) or less, and says so.

    Raises:
        ParameterError: If the formula has several inputs, or a parameter has no number.

    Example:
        >>> from actium.symbolic.parse import parse
        >>> proof = prove(parse("silu(x)"))
        >>> proof.low.value.middle, proof.low.attained, proof.monotone
        (-0.2784645427610738, True, 'no')
    """
    given = dict(parameters or {})
    if len(formula.inputs) != 1:
        raise ParameterError(f"a proof is about functions of one input, this one has {len(formula.inputs)}")
    missing = [p for p in formula.parameters if p not in given]
    if missing:
        raise ParameterError(f"no value for parameter {', '.join(missing)}; give one in `parameters`")
    return _prove(formula, tuple((p, float(given[p])) for p in formula.parameters), work)


@functools.lru_cache(maxsize=64)
@exclusive
def _prove(formula: Formula, parameters: tuple[tuple[str, float], ...], limit: int) -> Proof:
    flint.ctx.prec = PRECISION
    root, x = plain(formula, dict(parameters))
    work = Work(limit)
    for reach in (math.inf, *WINDOWS):
        ends = (-reach, reach) if math.isinf(reach) else (flint.arb(-reach), flint.arb(reach))
        try:
            analysis = Analysis(root, x, work, *ends)
        except EndlessError:
            continue
        if math.isfinite(reach) or not _is_endless(analysis):
            window = None if math.isinf(reach) else (-reach, reach)
            return _written(formula, dict(parameters), analysis, window, work)
    return _nothing(
        formula, dict(parameters), f"anything: it has too many pieces, even on [-{WINDOWS[-1]:g}, {WINDOWS[-1]:g}]"
    )


def _is_endless(analysis: Analysis) -> bool:
    """Whether a side has values, but no form on any ray: there may be infinitely many turning points."""
    for piece, side in ((0, -1), (len(analysis.pieces) - 1, 1)):
        for curve in analysis.curves(piece):
            found = any(curve.on_ray(0, side, start) is not None for start in STARTS)
            values = [curve.at(0, flint.arb(side * s))[0] for s in STARTS[1:4]]
            if not found and any(v.is_finite() for v in values):
                return True
    return False


def _written(
    formula: Formula, parameters: dict[str, float], analysis: Analysis, window: tuple[float, float] | None, work: Work
) -> Proof:
    low, high = analysis.extrema(0)
    slope_low, slope_high = analysis.extrema(1)
    found = list(thresholds(analysis)) if window is None else ["overflow and underflow, outside the window"]
    unproven = [*_gaps(analysis), *_jumps(analysis), *(t for t in found if isinstance(t, str))]
    unproven += ["more than stands here: the work that was allowed is spent"] if work.exhausted else []
    return Proof(
        formula=formula.text,
        parameters=parameters,
        window=window,
        low=low,
        high=high,
        slope_low=slope_low,
        slope_high=slope_high,
        runs=analysis.runs(),
        corners=analysis.corners,
        limits=_limits(analysis) if window is None else {},
        parity=parity(analysis),
        thresholds=tuple(t for t in found if isinstance(t, Threshold)),
        undecided=analysis.undecided,
        unproven=tuple(unproven),
        work=work.spent,
    )


def _nothing(formula: Formula, parameters: dict[str, float], reason: str) -> Proof:
    unknown = Bound(ANYTHING)
    run = Run(Enclosure(-math.inf, -math.inf), Enclosure(math.inf, math.inf), "unknown")
    parity = Parity(None, False, "neither proven nor refuted")
    return Proof(
        formula.text, parameters, None, unknown, unknown, unknown, unknown, (run,), (), {}, parity, unproven=(reason,)
    )


def _limits(analysis: Analysis) -> dict[Side, tuple[Enclosure | None, Enclosure | None]]:
    last = len(analysis.pieces) - 1
    found: dict[Side, tuple[Enclosure | None, Enclosure | None]] = {}
    names: tuple[tuple[Side, int, float], ...] = (("-inf", 0, -math.inf), ("inf", last, math.inf))
    for name, piece, end in names:
        value, slope = (analysis.value(order, piece, end) for order in (0, 1))
        # A derivative may have a form where the function itself has no value.
        found[name] = (None, None) if value is None else (enclose(value), None if slope is None else enclose(slope))
    return found


def _gaps(analysis: Analysis) -> list[str]:
    """Sentences about intervals where the direction is not known."""
    unknown = [s for s in analysis.spans(1) if s.sign is None]
    sentences = [f"no value was found on {_place(s)}: nothing here is about it" for s in unknown if s.empty]
    wide = [s for s in unknown if not s.empty and above(s.high) - below(s.low) > _NARROW]
    narrow = [s for s in unknown if not s.empty and s not in wide]
    sentences += [f"whether it rises or falls on {_place(s)}" for s in wide]
    if narrow:
        points = ", ".join(f"{below(s.low):.9g}" for s in narrow[:3])
        more = f" and {len(narrow) - 3} more points" if len(narrow) > 3 else ""
        sentences.append(f"whether it rises or falls within {_NARROW:.0e} of x = {points}{more}")
    return sentences


def _jumps(analysis: Analysis) -> list[str]:
    """Sentences about the places where the function may jump."""
    wide = [u for u in analysis.undecided if u.high - u.low > _NARROW]
    sentences = [f"whether it jumps on [{u.low:.6g}, {u.high:.6g}]" for u in wide]
    narrow = [u for u in analysis.undecided if u not in wide]
    narrow += [c.at for c in analysis.corners if c.kind == "unknown" and c.may_jump]
    points = list(dict.fromkeys(f"{p.inside:.9g}" for p in narrow))
    if points:
        more = f" and {len(points) - 3} more points" if len(points) > 3 else ""
        sentences.append(f"whether it jumps at x = {', '.join(points[:3])}{more}")
    return sentences


def _place(span: Span) -> str:
    return f"[{below(span.low):.6g}, {above(span.high):.6g}]"
