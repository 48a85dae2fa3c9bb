"""A budget file with tighter entries, and everything else in it as it was.

Stage: text, entries → [budget_text] → text. In: the text of a budget file. Out: the same with other numbers, fewer
allowances and new functions at the end; comments and layout stay. Writes no file.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from actium.budget import Budget, Entry, parse_budget
from actium.errors import CheckError

_NUMBER = re.compile(r"\s*[-+\w.]+")
_STRING = re.compile(r"""\s*("[^"]*"|'[^']*')""")
_INLINE = re.compile(r"\s*\{[^{}]*\}")

Path = tuple[str, ...]


def rewritten(text: str, entries: Budget, place: str = "budget") -> str:
    """The text of a budget file with these entries in it.

    Args:
        text: The file as it is; empty for a new one.
        entries: All of its entries as they are to be; those that it does not have go to the end.
        place: What to call the file in messages.

    Returns:
        The new text.

    Raises:
        CheckError: If it is no budget file, or is laid out in a way that cannot be edited line by line.

    Example:
        >>> print(rewritten("", {"silu": Entry({"float16": {"output": 0.51}}, {})}), end="")
        [functions.silu]
        allow = {}
        <BLANKLINE>
        [functions.silu.float16]
        output = 0.51
    """
    old = parse_budget(text, place)
    table: Path = ()
    lines: list[str] = []
    for line in text.splitlines(keepends=True):
        table = _header(line) or table
        edited = line if line.lstrip().startswith("[") else _edited(line, table, old, entries)
        lines += [edited] if edited is not None else []
    body = "".join(lines)
    new = [_block(name, entry) for name, entry in entries.items() if name not in old]
    whole = "\n".join([*([body if body.endswith("\n") else f"{body}\n"] if body else []), *new])
    if parse_budget(whole, place) != dict(entries):
        changed = ", ".join(name for name in old if old[name] != entries[name])
        raise CheckError(f"{place}: its layout cannot be edited; write each number of {changed} on a line of its own")
    return whole


def _header(line: str) -> Path | None:
    if not line.lstrip().startswith("[") or line.lstrip().startswith("[["):
        return None
    try:
        return _path(tomllib.loads(line))
    except tomllib.TOMLDecodeError:
        return None


def _path(tree: Mapping[str, Any]) -> Path:
    """The keys that lead to the only leaf of a line."""
    keys: list[str] = []
    value: Any = tree
    while isinstance(value, dict) and len(value) == 1:
        key, value = next(iter(value.items()))
        keys.append(key)
    return tuple(keys)


def _edited(line: str, table: Path, old: Budget, new: Budget) -> str | None:
    """A line with what `new` says there; None if it says nothing any more."""
    for at in (m.end() for m in re.finditer("=", line)):
        try:
            path = (*table, *_path(tomllib.loads(f"{line[:at]} 0")))
        except tomllib.TOMLDecodeError:
            continue
        head, rest = line[:at], line[at:]
        return _with_value(head, rest, path, old, new)
    return line


def _with_value(head: str, rest: str, path: Path, old: Budget, new: Budget) -> str | None:
    if len(path) < 3 or path[0] != "functions" or path[1] not in old:
        return f"{head}{rest}"
    before, after = old[path[1]], new[path[1]]
    match path[2:]:
        case ("allow",) if before.allow != after.allow:
            return head + _INLINE.sub(lambda _: f" {_inline(after.allow or {})}", rest, count=1)
        case ("allow", check) if (after.allow or {}).get(check) != (before.allow or {}).get(check):
            severity = (after.allow or {}).get(check)
            return None if severity is None else head + _STRING.sub(f' "{severity}"', rest, count=1)
        case (dtype, quantity) if dtype != "allow" and after.limits[dtype][quantity] != before.limits[dtype][quantity]:
            return head + _NUMBER.sub(f" {after.limits[dtype][quantity]!r}", rest, count=1)
    return f"{head}{rest}"


# --- New entries ----------------------------------------------------------------------------------------------


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def _inline(allow: Mapping[str, str]) -> str:
    return "{ " + ", ".join(f'{check} = "{severity}"' for check, severity in allow.items()) + " }" if allow else "{}"


def _block(name: str, entry: Entry) -> str:
    tables = []
    if entry.allow is not None or not entry.limits:
        allow = [] if entry.allow is None else [f"allow = {_inline(entry.allow)}\n"]
        tables.append("".join([f"[functions.{_key(name)}]\n", *allow]))
    for dtype, rows in entry.limits.items():
        numbers = [f"{quantity} = {limit!r}\n" for quantity, limit in rows.items()]
        tables.append("".join([f"[functions.{_key(name)}.{dtype}]\n", *numbers]))
    return "\n".join(tables)
