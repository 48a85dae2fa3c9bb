"""What a proof says: frozen records, and their JSON form.

Stage: formula → [proof] → claims, report.
Every number is an interval of doubles that contains the real one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Trend = Literal["increasing", "decreasing", "constant", "unknown", "undefined"]
Side = Literal["-inf", "inf"]
# Two doubles next to each other, and a few more, are one number to a reader.
_ONE = 2.0**-48


class Enclosure(NamedTuple):
    """A real number between two doubles.

    Attributes:
        low: Not above it.
        high: Not below it.
    """

    low: float
    high: float

    @property
    def middle(self) -> float:
        """The double to show."""
        if self.low == self.high or math.isinf(self.low) or math.isinf(self.high):
            return self.low if math.isinf(self.low) else self.high
        return self.low + (self.high - self.low) / 2

    @property
    def inside(self) -> float:
        """A number in it, finite unless it is a limit: for an interval of places, any of them."""
        if math.isinf(self.low) != math.isinf(self.high):
            return self.high if math.isinf(self.low) else self.low
        return 0.0 if self == ANYTHING else self.middle

    @property
    def is_tight(self) -> bool:
        """Whether it is one number but for the last digits."""
        if math.isinf(self.low) or math.isinf(self.high):
            return self.low == self.high
        return self.high - self.low <= _ONE * max(abs(self.low), abs(self.high), 2.0**-60)

    def to_json(self) -> list[float]:
        """Both ends."""
        return [self.low, self.high]


def short(value: float) -> str:
    """A number in a sentence: seven digits are enough to find the place.

    Example:
        >>> short(-1.2784645427610738), short(0.5), short(65504.0)
        ('-1.278465', '0.5', '65504')
    """
    return f"{value + 0.0:.7g}"


ANYTHING = Enclosure(-math.inf, math.inf)


@dataclass(frozen=True)
class Bound:
    """An infimum or supremum.

    Attributes:
        value: Where it lies.
        at: Where it is attained or approached: places, or ±inf.
        attained: Whether it is a value of the function; None if that is not known.
    """

    value: Enclosure
    at: tuple[Enclosure, ...] = ()
    attained: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """For `json.dumps`, after `certificate.plain`."""
        return {"value": self.value.to_json(), "at": [a.to_json() for a in self.at], "attained": self.attained}


@dataclass(frozen=True)
class Run:
    """An interval on which the function goes one way.

    Attributes:
        low: Left end.
        high: Right end.
        trend: `increasing` and `decreasing` are strict.
    """

    low: Enclosure
    high: Enclosure
    trend: Trend

    def __str__(self) -> str:
        low, high = self.low.middle, self.high.middle
        left = "(-inf" if math.isinf(low) else f"[{short(low)}"
        return f"{left}, {'inf)' if math.isinf(high) else short(high) + ']'}"

    def to_json(self) -> dict[str, Any]:
        """For `json.dumps`, after `certificate.plain`."""
        return {"low": self.low.to_json(), "high": self.high.to_json(), "trend": self.trend}


@dataclass(frozen=True)
class Corner:
    """Where two branches meet.

    Attributes:
        at: The place.
        kind: `smooth` if value and slope agree; `unknown` if that is not decided.
        values: From the left, there, from the right.
        slopes: From the left and from the right.
        exact: Whether "agree" means equal, and not only within the enclosures.
        may_jump: Whether the values may differ, or do.
    """

    at: Enclosure
    kind: Literal["smooth", "kink", "jump", "unknown"]
    values: tuple[Enclosure, Enclosure, Enclosure]
    slopes: tuple[Enclosure, Enclosure]
    exact: bool
    may_jump: bool = False

    def to_json(self) -> dict[str, Any]:
        """For `json.dumps`, after `certificate.plain`."""
        return {
            "at": self.at.to_json(),
            "kind": self.kind,
            "values": [v.to_json() for v in self.values],
            "slopes": [s.to_json() for s in self.slopes],
            "exact": self.exact,
        }


@dataclass(frozen=True)
class Parity:
    """Whether f(−x) is −f(x) or f(x).

    Attributes:
        kind: What it is; "none" if a witness refutes both, None if nothing is decided.
        proven: Whether `kind` is proven.
        how: In words.
        refuted: What it surely is not, with an x that shows it.
    """

    kind: Literal["odd", "even", "both", "none"] | None
    proven: bool
    how: str
    refuted: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For `json.dumps`."""
        return {"kind": self.kind, "proven": self.proven, "how": self.how, "refuted": dict(self.refuted)}


@dataclass(frozen=True)
class Threshold:
    """From where on, outwards, a rounded result is infinite, subnormal or 0.

    Attributes:
        dtype: The format of input and result.
        quantity: Which result.
        becomes: What it is for every number of the format from `x` outwards.
        x: The number of the format with the smallest magnitude.
    """

    dtype: str
    quantity: Literal["output", "gradient"]
    becomes: Literal["inf", "subnormal", "0"]
    x: float

    def to_json(self) -> dict[str, Any]:
        """For `json.dumps`."""
        return {"dtype": self.dtype, "quantity": self.quantity, "becomes": self.becomes, "x": self.x}


@dataclass(frozen=True)
class Proof:
    """What is proven of one function.

    Attributes:
        formula: The function.
        parameters: Numbers for its parameters.
        window: The open interval to which everything is restricted; None for the whole real line.
        low: Infimum of the values.
        high: Supremum of the values.
        slope_low: Infimum of the derivative, one-sided ones included.
        slope_high: Supremum of the derivative.
        runs: Where it increases, decreases, or is constant, in order.
        corners: Where branches meet.
        limits: Side → limits of value and derivative; None where none is known.
        parity: Its symmetry.
        thresholds: Overflow and underflow.
        undecided: Intervals on which it is not known which branch is in force where, so that the function may jump.
        unproven: What could not be proven, one sentence each.
        work: Operations of ball arithmetic that it took.
    """

    formula: str
    parameters: Mapping[str, float]
    window: tuple[float, float] | None
    low: Bound
    high: Bound
    slope_low: Bound
    slope_high: Bound
    runs: tuple[Run, ...]
    corners: tuple[Corner, ...]
    limits: Mapping[Side, tuple[Enclosure | None, Enclosure | None]]
    parity: Parity
    thresholds: tuple[Threshold, ...] = ()
    undecided: tuple[Enclosure, ...] = ()
    unproven: tuple[str, ...] = ()
    work: int = field(default=0, compare=False)

    @property
    def lipschitz(self) -> Enclosure:
        """The best Lipschitz constant; infinite for a function that jumps, without upper bound for one that may."""
        if any(c.kind == "jump" for c in self.corners):
            return Enclosure(math.inf, math.inf)
        ends = [_magnitude(b.value) for b in (self.slope_low, self.slope_high)]
        may_jump = bool(self.undecided) or any(c.may_jump for c in self.corners)
        return Enclosure(max(e.low for e in ends), math.inf if may_jump else max(e.high for e in ends))

    @property
    def kinks(self) -> tuple[Corner, ...]:
        """Where the slope or the value jumps."""
        return tuple(c for c in self.corners if c.kind in ("kink", "jump"))

    @property
    def flat(self) -> tuple[Run, ...]:
        """Where the function is constant."""
        return tuple(r for r in self.runs if r.trend == "constant")

    @property
    def monotone(self) -> Literal["increasing", "decreasing", "constant", "no"] | None:
        """Which way it goes, constant parts allowed; "no" if both ways, None if not decided."""
        trends = {r.trend for r in self.runs}
        steps = {_step(c) for c in self.corners}
        ups = ("increasing" in trends) + ("up" in steps)
        downs = ("decreasing" in trends) + ("down" in steps)
        if (ups and downs) or "both" in steps:
            return "no"
        if "unknown" in trends or "unknown" in steps:
            return None
        return "increasing" if ups else "decreasing" if downs else "constant"

    def summary(self) -> dict[str, Any]:
        """The main statements in a few numbers, for certificates."""
        ends = ("low", self.low), ("high", self.high)
        return {
            "window": self.window,
            "range": {name: bound.value.middle for name, bound in ends},
            "attained": {name: bound.attained for name, bound in ends},
            "lipschitz": self.lipschitz.middle,
            "monotone": self.monotone,
            "parity": self.parity.kind if self.parity.proven else None,
            "kinks": [k.at.middle for k in self.kinks],
            "thresholds": [[t.dtype, t.quantity, t.becomes, t.x] for t in self.thresholds],
            "unproven": len(self.unproven),
        }

    def to_json(self) -> dict[str, Any]:
        """For `json.dumps`, after `certificate.plain`."""
        return {
            "window": self.window,
            "range": {"low": self.low.to_json(), "high": self.high.to_json()},
            "slope": {"low": self.slope_low.to_json(), "high": self.slope_high.to_json()},
            "lipschitz": self.lipschitz.to_json(),
            "monotone": self.monotone,
            "runs": [r.to_json() for r in self.runs],
            "corners": [c.to_json() for c in self.corners],
            "limits": {s: [None if v is None else v.to_json() for v in pair] for s, pair in self.limits.items()},
            "parity": self.parity.to_json(),
            "thresholds": [t.to_json() for t in self.thresholds],
            "unproven": list(self.unproven),
        }


def _magnitude(value: Enclosure) -> Enclosure:
    sizes = sorted((abs(value.low), abs(value.high)))
    return Enclosure(0.0 if value.low <= 0 <= value.high else sizes[0], sizes[1])


def _step(corner: Corner) -> str:
    """Which way the value steps at a corner."""
    left, there, right = corner.values
    ways = {_way(left, there), _way(there, right)} - {"level"}
    if {"up", "down"} <= ways:
        return "both"
    return "unknown" if "unknown" in ways else next(iter(ways), "level")


def _way(a: Enclosure, b: Enclosure) -> str:
    if a.high < b.low:
        return "up"
    if a.low > b.high:
        return "down"
    # Enclosures of 2^-100 that overlap belong to a continuous function; `Corner.exact` says where that is not proven.
    return "level" if a.is_tight and b.is_tight else "unknown"
