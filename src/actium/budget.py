"""Budgets: how far each function may be off, kept in a file that is only ever tightened.

Stage: file → [budget] ← certificates. In: TOML and certificates. Out: what exceeds the budget, and a tighter one.
Judges nothing and writes nothing. The file:

    [functions."package.acts:Swish"]
    allow = { precision-loss = "warn" }    # check id → the worst severity that is accepted

    [functions."package.acts:Swish".float16]
    output = 0.51                          # ULP; either number may be left out
    gradient = 2.0

With `allow`, every other finding that is not an info exceeds the budget; without it, every fail does.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Context
from typing import Any

from actium.errors import CheckError
from actium.verify.certificate import Certificate, Severity
from actium.verify.checks import REGISTRY

DTYPES = ("float16", "bfloat16", "float32")
QUANTITIES: tuple[str, ...] = ("output", "gradient")
_SEVERITIES = ("warn", "fail")
_RANK = {"info": 0, "warn": 1, "fail": 2}


@dataclass(frozen=True)
class Entry:
    """The budget of one function.

    Attributes:
        limits: Format → `output` or `gradient` → the largest error, in ULP.
        allow: Check id → the worst severity that is accepted; None accepts all but a `fail`.
    """

    limits: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    allow: Mapping[str, Severity] | None = None


Budget = Mapping[str, Entry]


# --- Reading ------------------------------------------------------------------------------------------------


def parse_budget(text: str, place: str = "budget") -> dict[str, Entry]:
    r"""The entries of a budget file.

    Args:
        text: TOML.
        place: What to call the file in messages.

    Returns:
        Function → entry, in the file's order.

    Raises:
        CheckError: If it is not TOML, or has a name or a value that means nothing.

    Example:
        >>> parse_budget('[functions.silu.float16]\noutput = 0.51')["silu"].limits
        {'float16': {'output': 0.51}}
    """
    try:
        whole = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CheckError(f"{place}: {error}") from error
    _check_names(place, whole, ("functions",))
    functions = _table(place, "functions", whole.get("functions", {}))
    return {name: _entry(f"{place}: functions.{name!r}", table) for name, table in functions.items()}


def _entry(place: str, value: Any) -> Entry:
    table = _table(place, "", value)
    _check_names(place, table, ("allow", *DTYPES))
    limits = {d: _limits(f"{place}.{d}", table[d]) for d in DTYPES if d in table}
    return Entry(limits, _allowed(f"{place}.allow", table["allow"]) if "allow" in table else None)


def _limits(place: str, value: Any) -> dict[str, float]:
    table = _table(place, "", value)
    _check_names(place, table, QUANTITIES)
    for name, number in table.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or not number >= 0:
            raise CheckError(f"{place}.{name}: expected a number of ULP, got {number!r}")
    return {q: float(table[q]) for q in QUANTITIES if q in table}


def _allowed(place: str, value: Any) -> dict[str, Severity]:
    table = _table(place, "", value)
    _check_names(place, table, tuple(REGISTRY))
    for name, severity in table.items():
        if severity not in _SEVERITIES:
            raise CheckError(f'{place}.{name}: expected "warn" or "fail", got {severity!r}')
    return dict(table)


def _table(place: str, name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CheckError(f"{place}{': ' if name else ''}{name}: expected a table, got {value!r}")
    return value


def _check_names(place: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name in table:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known[:8])}"
            raise CheckError(f"{place}: no {name!r} is known; {hint}")


# --- Comparing ----------------------------------------------------------------------------------------------


def measured(certificate: Certificate, dtype: str, quantity: str) -> float | None:
    """The largest error in ULP; None if it was not measured. A gradient that nobody asked for is 0."""
    rows = certificate.accuracy.get(dtype)
    if rows is None or quantity not in rows or rows[quantity].at is None:
        return None
    return rows[quantity].max_ulp


def exceeded(entry: Entry, certificate: Certificate, dtypes: Iterable[str] = DTYPES) -> list[str]:
    """What is worse than the budget, one line each; empty if the function keeps to it.

    Args:
        entry: The budget.
        certificate: What was found.
        dtypes: Formats that were asked for; the limits of others are not looked at.

    Returns:
        Lines for people, without the function's name.
    """
    lines: list[str] = []
    for dtype in dtypes:
        for quantity, limit in entry.limits.get(dtype, {}).items():
            error = measured(certificate, dtype, quantity)
            if error is None:
                lines.append(f"{quantity}, {dtype}: has a budget of {limit:g} ULP, and was not measured")
            elif not error <= limit:
                at = certificate.accuracy[dtype][quantity].at
                lines.append(f"{quantity}, {dtype}: {error:.4g} ULP at x = {at!r}, the budget is {limit:g} ULP")
    for finding in certificate.findings:
        accepted = "warn" if entry.allow is None else entry.allow.get(finding.check, "info")
        if _RANK[finding.severity] > _RANK[accepted]:
            limit = f"allowed as {accepted} only" if entry.allow and finding.check in entry.allow else "not allowed"
            lines.append(f"{finding.severity} {finding.check}, {limit}: {finding.message}")
    return lines


# --- Tightening ---------------------------------------------------------------------------------------------


def rounded_up(error: float) -> float:
    """Two significant digits, never less: room for the last bit of another machine, and for nothing more.

    Example:
        >>> rounded_up(0.5003), rounded_up(12.0), rounded_up(627.4)
        (0.51, 12.0, 630.0)
    """
    if not math.isfinite(error):
        return error
    # From its shortest text: as a binary fraction, 0.51 is a little above 0.51.
    return float(Context(prec=2, rounding=ROUND_CEILING).create_decimal(repr(float(error))))


def entry_of(certificate: Certificate) -> Entry:
    """The tightest budget that a function keeps to."""
    limits: dict[str, dict[str, float]] = {}
    for dtype in DTYPES:
        for quantity in QUANTITIES:
            error = measured(certificate, dtype, quantity)
            if error is not None:
                limits.setdefault(dtype, {})[quantity] = rounded_up(error)
    return Entry(limits, _found(certificate))


def _found(certificate: Certificate) -> dict[str, Severity]:
    worst: dict[str, Severity] = {}
    for finding in certificate.findings:
        if _RANK[finding.severity] > max(_RANK[worst.get(finding.check, "info")], _RANK["info"]):
            worst[finding.check] = finding.severity
    return {check: worst[check] for check in REGISTRY if check in worst}


def tightened(entry: Entry, certificate: Certificate) -> Entry:
    """The entry with smaller numbers and fewer allowances where the function is better, and nothing looser.

    What was not measured or not checked this time stays as it is.
    """
    limits = {
        dtype: {q: _smaller(limit, measured(certificate, dtype, q)) for q, limit in rows.items()}
        for dtype, rows in entry.limits.items()
    }
    if entry.allow is None:
        return Entry(limits)
    found = _found(certificate)
    allow: dict[str, Severity] = {}
    for check, accepted in entry.allow.items():
        now = found.get(check) if check in certificate.checks_run else accepted
        if now is not None:
            allow[check] = now if _RANK[now] < _RANK[accepted] else accepted
    return Entry(limits, allow)


def _smaller(limit: float, error: float | None) -> float:
    return limit if error is None else min(limit, rounded_up(error))
