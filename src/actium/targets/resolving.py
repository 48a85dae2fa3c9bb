"""From a target's text to the object that it names.

Stage: [target text] → object → subject → verify.
In: the text. Out: a `Found`. Files and modules are imported here; a `*` is for `members`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from actium.errors import FormulaError, TargetError
from actium.symbolic.parse import parse
from actium.targets.importing import did_you_mean, load
from actium.targets.making import Arguments, Found, instance, literals, with_arguments
from actium.targets.text import NAME, is_path, place_of

_UNKNOWN = re.compile(r"unknown name '(?P<name>\w+)'")


def resolve(text: str, parameters: Mapping[str, float] | None = None, guess: bool = False) -> Found:
    """Find what a target names.

    Args:
        text: A formula in `x`; a catalogue name; `path.py:Name`, `package.module:Name` or `…:Name(alpha=0.2)` with
            literals as arguments.
        parameters: Names that a formula may use besides `x`, with their values. Other targets take none: theirs stand
            in the text. None where none can be given at all.
        guess: Whether to guess the arguments of a name that needs some and stands alone; the notes say which.

    Returns:
        What it names.

    Raises:
        TargetError: If there is no such thing, it raises on import, or needs arguments; for a `*`; or if parameters are
            given to what is no formula.
        FormulaError: If the text can only be a formula, and is none.

    Example:
        >>> resolve("torch.nn:LeakyReLU(0.2)").value
        LeakyReLU(negative_slope=0.2)
    """
    target = text.strip()
    place = place_of(target)
    if place is not None:
        if parameters:
            raise _misplaced(target, parameters)
        if place.is_everything:
            raise TargetError(
                f"{target} names everything in {place.where}, which only `actium check` and running.check_all take: "
                f"write {place.where}:NAME for each that you mean"
            )
        return _named(place.where, place.name, guess)
    if is_path(target):
        raise TargetError(f"{target} is a file: write {target}:NAME for one activation in it, {target}:* for all")
    return _catalogue_entry(target, parameters or {}) or _formula(target, parameters)


def _misplaced(target: str, parameters: Mapping[str, float]) -> TargetError:
    """Parameters are the names in a formula; the arguments of anything else are part of its text."""
    name, has_arguments, _ = target.partition("(")
    if has_arguments:
        return TargetError(f"{target} is no formula, and has its arguments in the target: give {name} no others")
    given = Arguments(kwargs={n: int(v) if float(v).is_integer() else v for n, v in parameters.items()})
    return TargetError(f"{target} is no formula: arguments go into the target: {target}({given})")


def _formula(target: str, parameters: Mapping[str, float] | None) -> Found:
    from actium import catalogue

    values = dict(parameters or {})
    try:
        return Found(target, parse(target, parameters=values), values=values)
    except FormulaError as error:
        if NAME.fullmatch(target) and "(" not in target:
            catalogue.get(target)  # says which names are near
        first, *rest = str(error).splitlines()
        if ":" in target:
            raise TargetError(f"{first}; if it names code, write path/to/file.py:NAME or package:NAME") from error
        unknown = _UNKNOWN.search(first)
        if unknown is None or parameters is None:
            raise
        name = unknown["name"]
        hint = f"{first} (a parameter needs a value: -p {name}=1, or {name}=1 in Python)"
        raise FormulaError("\n".join([hint, *rest])) from error


def _catalogue_entry(target: str, parameters: Mapping[str, float]) -> Found | None:
    from actium import catalogue

    match = NAME.fullmatch(target)
    entry = None if match is None else catalogue.find(match["name"])
    if match is None or entry is None:
        return None
    try:
        given = literals(target, match["arguments"])
    except TargetError:
        return None  # mish(2 * x) is a formula
    if parameters:
        if not given.written:
            with_arguments(entry.activation(), target, Arguments(kwargs=parameters))  # says which of them it lacks
        raise _misplaced(target, parameters)
    return with_arguments(entry.activation(), target, given) if given.written else Found(target, entry.activation())


def _named(where: str, text: str, guess: bool) -> Found:
    module = load(where)
    match = NAME.fullmatch(text)
    target = f"{where}:{text}".removesuffix(":")
    if match is None:
        raise TargetError(f"{target}: after a colon comes a name, NAME or NAME(argument=0.2), or * for all")
    value: Any = module
    for part in match["name"].split("."):
        if not hasattr(value, part):
            names = [n for n, v in vars(value).items() if callable(v) and not n.startswith("_")]
            hint = did_you_mean(part, names) or f"; {where}:* is every activation in it"
            raise TargetError(f"{where} has no {match['name']}{hint}")
        value = getattr(value, part)
    return instance(value, target, literals(target, match["arguments"], guess))
