"""What an author declares of a function: the vocabulary, and how a declaration is read.

Stage: target → subject → [claims] → checks.
In: a mapping such as `{"range": "[0, 1)", "odd": True}`, or texts such as `range=[0, 1)`. Out: `Claim`s. Nothing is
judged here.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from actium.errors import CheckError

# Name → what it says, and how its value is written.
PROPERTIES: dict[str, str] = {
    "range": "all values lie in it: [0, 1], or '[0, 1)' with open ends",
    "bounded": "|f| has an upper bound",
    "monotone": "increasing or decreasing; constant parts are allowed",
    "odd": "f(-x) = -f(x)",
    "even": "f(-x) = f(x)",
    "smooth": "value and slope are continuous",
    "kinks": "the only places where the slope or the value jumps, such as [0, 6]",
    "nonzero_gradient": "no finite input of any format gets gradient 0",
    "lipschitz": "|f(a) - f(b)| is at most this number times |a - b|",
    "zero_at_zero": "f(0) = 0",
    "positive": "f(x) > 0",
    "nonnegative": "f(x) is at least 0",
}
ATTRIBUTE = "__actium_claims__"
_INTERVAL = re.compile(r"\s*([\[(])\s*(\S+?)\s*,\s*(\S+?)\s*([\])])\s*\Z")
_TEXT = re.compile(r"\s*([A-Za-z_-]+)\s*(?:=\s*(.+?)\s*)?\Z", re.DOTALL)


@dataclass(frozen=True)
class Interval:
    """A range of values.

    Attributes:
        low: Lower end.
        high: Upper end.
        has_low: Whether the lower end belongs to it.
        has_high: Whether the upper end does.
    """

    low: float
    high: float
    has_low: bool = True
    has_high: bool = True

    def __str__(self) -> str:
        left = "[" if self.has_low and math.isfinite(self.low) else "("
        right = "]" if self.has_high and math.isfinite(self.high) else ")"
        return f"{left}{self.low:g}, {self.high:g}{right}"


@dataclass(frozen=True)
class Claim:
    """One declared property.

    Attributes:
        name: A key of `PROPERTIES`.
        value: True, an `Interval`, a number, a tuple of numbers, or "increasing" or "decreasing".
    """

    name: str
    value: Any = True

    def __str__(self) -> str:
        return self.name if self.value is True else f"{self.name}={self.value}"


def claims_of(declared: Mapping[str, Any]) -> tuple[Claim, ...]:
    """The claims of a mapping; a property that is declared False or None is not claimed.

    Raises:
        CheckError: If a property is unknown, or its value is not one.

    Example:
        >>> [str(c) for c in claims_of({"range": (0, 1), "odd": False, "monotone": "increasing"})]
        ['range=[0, 1]', 'monotone=increasing']
    """
    if not isinstance(declared, Mapping):
        raise CheckError(f"claims are a mapping such as {{'odd': True}}, got {type(declared).__name__}")
    if ATTRIBUTE in declared:
        raise CheckError(f"{ATTRIBUTE} is a mapping such as {{'odd': True}}, got {str(declared[ATTRIBUTE])[:64]!r}")
    given = {str(name).replace("-", "_"): value for name, value in declared.items()}
    for name in given:
        if name not in PROPERTIES:
            near = difflib.get_close_matches(name, PROPERTIES, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise CheckError(f"no property is called {name[:64]!r}; {hint}known are {', '.join(PROPERTIES)}")
    wanted = ((name, value) for name, value in given.items() if value is not False and value is not None)
    return tuple(Claim(name, _value(name, value)) for name, value in wanted)


def claims_of_texts(texts: Iterable[str]) -> dict[str, Any]:
    """A mapping for texts as on the command line: `odd`, `range=[0, 1)`, `lipschitz=1.1`.

    Raises:
        CheckError: If a text is not of this form, or `claims_of` refuses what it says.

    Example:
        >>> claims_of_texts(["odd", "monotone=increasing"])
        {'odd': True, 'monotone': 'increasing'}
    """
    found: dict[str, Any] = {}
    for text in texts:
        match = _TEXT.match(text)
        if match is None:
            raise CheckError(f"a claim is NAME or NAME=VALUE, got {text[:64]!r}; known are {', '.join(PROPERTIES)}")
        name, value = match[1].replace("-", "_"), match[2]
        found[name] = True if value is None else value
    claims_of(found)
    return found


def _value(name: str, value: Any) -> Any:
    if name == "range":
        return _interval(value)
    if name == "kinks":
        return tuple(_number(name, v) for v in _items(name, value))
    if name == "lipschitz":
        number = _number(name, value)
        if not number >= 0:
            raise _refused(name, value)
        return number
    if name == "monotone" and value in ("increasing", "decreasing"):
        return value
    if value is True or (isinstance(value, str) and value.lower() == "true"):
        return True
    raise _refused(name, value)


def _interval(value: Any) -> Interval:
    if isinstance(value, str):
        match = _INTERVAL.match(value)
        if match is None:
            raise _refused("range", value)
        opening, low, high, closing = match.groups()
        ends = _number("range", low), _number("range", high)
        made = Interval(*ends, opening == "[", closing == "]")
    else:
        ends = tuple(_number("range", v) for v in _items("range", value))
        if len(ends) != 2:
            raise _refused("range", value)
        made = Interval(*ends)
    if not made.low <= made.high:
        raise _refused("range", value)
    return made


def _items(name: str, value: Any) -> list[Any]:
    if isinstance(value, str):
        return [v for v in value.strip("[]() ").split(",") if v.strip()]
    if isinstance(value, list | tuple):
        return list(value)
    raise _refused(name, value)


def _number(name: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number):
        raise _refused(name, value)
    return number


def _refused(name: str, value: Any) -> CheckError:
    return CheckError(f"claim {name}: {PROPERTIES[name]}; got {str(value)[:64]!r}")
