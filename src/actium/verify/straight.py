"""The steps of an oracle's program as one Python function, for the usual point: no tie, nothing undecided.

Stage: formula → steps → [straight] → truth. In: steps in order. Out: a function that gives value and slope of the last
one, as the loop over steps does (`oracle._execute`), or None where a comparison is not decided. Most of what that loop
takes is the loop; this has none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Result = tuple[Any, Any] | None


BALL, COMPARE, LOGIC, WHERE = range(4)


class Step(NamedTuple):
    """One operation: where its result goes, what it is, its operands, and which of them have a slope."""

    target: int
    kind: int
    value: Callable[..., Any]
    slopes: Callable[..., tuple[Any, ...]]
    operands: tuple[int, ...]
    moving: tuple[int, ...]
    verdict: tuple[bool, bool, bool] = (False, False, False)


def straight(steps: Sequence[Step], root: int, start: int, seed: int) -> Callable[[Any, list[Any]], Result]:
    """The function.

    Args:
        steps: In order.
        root: The place of the result.
        start: The place of the input; −1 if there is none.
        seed: The place whose slope is 1; −1 if there is none.

    Returns:
        A function of the input and of the list of all constants by place.
    """
    computed = {step.target for step in steps}
    space: dict[str, Any] = {}

    def value(place: int) -> str:
        return f"v{place}" if place in computed else "x" if place == start else f"known[{place}]"

    sloped = {step.target for step in steps if step.kind == WHERE or (step.kind == BALL and step.moving)}

    def slope(place: int) -> str:
        return f"d{place}" if place in sloped else "1" if place == seed else "None"

    lines = ["def run(x, known):"]
    for step in steps:
        at, given = step.target, [value(i) for i in step.operands]
        if step.kind == BALL:
            space[f"f{at}"], space[f"s{at}"] = step.value, step.slopes
            lines.append(f"v{at} = f{at}({', '.join(given)})")
            lines += _slope_of(step, given, slope)
        elif step.kind == COMPARE:
            a, b = given
            lines += [f"if {a} < {b}: v{at} = {step.verdict[0]}", f"elif {a} > {b}: v{at} = {step.verdict[2]}"]
            lines += ["else: return None"]
        elif step.kind == WHERE:
            (c, a, b), (_, i, j) = given, step.operands
            lines.append(f"if {c}: v{at}, d{at} = {a}, {slope(i)}")
            lines.append(f"else: v{at}, d{at} = {b}, {slope(j)}")
        else:
            space[f"f{at}"] = step.value
            lines.append(f"v{at} = f{at}({', '.join(given)})")
    lines.append(f"return {value(root)}, {slope(root)}")
    # Of numbers, and names made of numbers: nothing of the formula's text is in it.
    exec("\n    ".join(lines), space)
    return space["run"]


def _slope_of(step: Step, given: list[str], slope: Callable[[int], str]) -> list[str]:
    """Σ ∂y/∂uᵢ · uᵢ′ over the operands that depend on the input; None stands for a slope that is exactly 0."""
    at = step.target
    if not step.moving:
        return []
    lines = [f"p = s{at}({', '.join(given)}, v{at})", f"d{at} = None"]
    for i in step.moving:
        inner = slope(step.operands[i])
        if inner == "None":
            continue
        lines.append(f"t = p[{i}] * {inner}" if inner == "1" else f"t = None if {inner} is None else p[{i}] * {inner}")
        lines.append(f"d{at} = t if d{at} is None else d{at} if t is None else d{at} + t")
    return lines
