"""From a target's text to the object that it names.

Stage: [target text] → object → subject → verify.
In: the text. Out: a `Found`. Files and modules are imported here; a `*` is for `members`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actium.errors import FormulaError, TargetError
from actium.symbolic.graph import Formula
from actium.symbolic.parse import parse
from actium.targets.importing import did_you_mean, load
from actium.targets.making import Found, instance, literals, with_arguments
from actium.targets.text import NAME, is_path, place_of


def resolve(text: str, parameters: Mapping[str, float] | None = None, guess: bool = False) -> Found:
    """Find what a target names.

    Args:
        text: A formula in `x`; a catalogue name; `path.py:Name`, `package.module:Name` or `…:Name(alpha=0.2)` with
            literals as arguments.
        parameters: Names that a formula may use besides `x`, with their values. Other targets take none.
        guess: Whether to guess the arguments of a name that needs some and stands alone; the notes say which.

    Returns:
        What it names.

    Raises:
        TargetError: If there is no such thing, it raises on import, or needs arguments; or for a `*`.
        FormulaError: If the text can only be a formula, and is none.

    Example:
        >>> resolve("torch.nn:LeakyReLU(0.2)").value
        LeakyReLU(negative_slope=0.2)
    """
    target = text.strip()
    place = None if parameters else place_of(target)
    if place is not None:
        if place.is_everything:
            raise TargetError(f"{target} names everything in {place.where}: choose one, or use running.check_all")
        return _named(place.where, place.name, guess)
    if is_path(target):
        raise TargetError(f"{target} is a file: write {target}:NAME for one activation in it, {target}:* for all")
    found = None if parameters else _catalogue_entry(target)
    return found or Found(target, _formula(target, parameters or {}), values=dict(parameters or {}))


def _formula(target: str, parameters: Mapping[str, float]) -> Formula:
    from actium import catalogue

    try:
        return parse(target, parameters=parameters)
    except FormulaError as error:
        if NAME.fullmatch(target) and "(" not in target:
            catalogue.get(target)  # says which names are near
        if ":" in target:
            first = str(error).splitlines()[0]
            raise TargetError(f"{first}; if it names code, write path/to/file.py:NAME or package:NAME") from error
        raise


def _catalogue_entry(target: str) -> Found | None:
    from actium import catalogue

    match = NAME.fullmatch(target)
    entry = None if match is None else catalogue.find(match["name"])
    if match is None or entry is None:
        return None
    if match["arguments"] is None:
        return Found(target, entry.activation())
    try:
        given = literals(target, match["arguments"])
    except TargetError:
        return None  # mish(2 * x) is a formula
    return with_arguments(entry.activation(), target, given)


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
