"""`actium check --budget`: holds what was judged to a file of budgets, and tightens it.

Stage: results → [held to a budget] → exit code. Loads no torch.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from actium.budget import DTYPES, Budget, Entry, entry_of, exceeded, parse_budget, tightened
from actium.budget_text import rewritten
from actium.errors import CheckError
from actium.running.files import write
from actium.verify.certificate import Certificate


@dataclass(frozen=True)
class Held:
    """A budget file that has been read.

    Attributes:
        path: Where it is.
        text: What is in it.
        entries: Function → budget.
        update: Whether it is to be tightened.
    """

    path: Path
    text: str
    entries: Budget
    update: bool


def read(path: Path | None, update: bool, partial: bool = False) -> Held | None:
    """Read the file of `--budget`, before anything is judged; a new one may be made by `--update-budget`.

    Args:
        path: The file.
        update: Whether it is to be tightened.
        partial: Whether only some checks or formats are asked for. What is not looked at cannot be tightened.

    Raises:
        CheckError: If it is no budget, or the options do not fit each other.
        OSError: If it cannot be read.
    """
    if path is None:
        if update:
            raise CheckError("--update-budget: which file? Give it as --budget FILE")
        return None
    if update and partial:
        raise CheckError("--update-budget needs all checks in all formats: leave out --check and --dtype")
    text = path.read_text(encoding="utf-8") if path.exists() or not update else ""
    return Held(path, text, parse_budget(text, str(path)), update)


def settle(
    held: Held,
    targets: Sequence[str],
    certificates: Sequence[Certificate],
    not_checked: Mapping[str, str],
    dtypes: Sequence[str] = (),
    err: bool = False,
) -> bool:
    """Say what exceeds the budget and what has none; whether everything keeps to it. May rewrite the file.

    Args:
        held: The budget.
        targets: As typed.
        certificates: Of what was judged.
        not_checked: Target → reason.
        dtypes: The formats that were asked for; all if empty.
        err: Whether to say it on stderr.

    Raises:
        CheckError: If an entry names nothing in what was checked as a whole, or the file cannot be rewritten.
    """
    judged = {c.target: c for c in certificates}
    _reject_strangers(held, targets, {*judged, *not_checked})
    lines = [f"budget exceeded: {name}: {line}" for name, line in _broken(held, judged, not_checked, dtypes)]
    fails = [c.target for c in certificates if c.target not in held.entries and c.verdict == "fail"]
    without = [name for name in judged if name not in held.entries]
    tighter = {name: tightened(e, judged[name]) if name in judged else e for name, e in held.entries.items()}
    added = {name: entry_of(judged[name]) for name in without} if held.update else {}
    lines += [] if held.update else [f"no budget: {name}" for name in without]
    lines += [f"better than its budget: {line}" for name in tighter for line in _better(name, held.entries, tighter)]
    if held.update and {**tighter, **added} != dict(held.entries):
        write(rewritten(held.text, {**tighter, **added}, str(held.path)), held.path)
        changed = sum(tighter[name] != entry for name, entry in held.entries.items())
        lines.append(f"{held.path}: {changed} tightened, {len(added)} added")
    elif not held.update and tighter != dict(held.entries):
        lines.append(f"--update-budget tightens {held.path}")
    _say(lines, err)
    return not fails and not any(line.startswith("budget exceeded") for line in lines)


def _broken(
    held: Held, judged: Mapping[str, Certificate], not_checked: Mapping[str, str], dtypes: Sequence[str]
) -> Iterator[tuple[str, str]]:
    for name, entry in held.entries.items():
        if name in judged:
            yield from ((name, line) for line in exceeded(entry, judged[name], dtypes or DTYPES))
        elif name in not_checked:
            yield name, f"has a budget, and was not checked: {not_checked[name]}"


def _reject_strangers(held: Held, targets: Sequence[str], known: set[str]) -> None:
    """An entry for a member of `package.module:*` that is none: a misspelt name would never be looked at again."""
    for name in held.entries:
        whole = next((t for t in targets if t.endswith(":*") and name.startswith((t[:-1], f"{t[:-2]}."))), None)
        if whole is not None and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise CheckError(f"{held.path}: functions.{name!r}: {whole} has no such activation{hint}")


def _better(name: str, before: Budget, after: Mapping[str, Entry]) -> Iterator[str]:
    old, new = before[name], after[name]
    for dtype, rows in old.limits.items():
        for quantity, limit in rows.items():
            if new.limits[dtype][quantity] < limit:
                yield f"{name}: {quantity}, {dtype}: {new.limits[dtype][quantity]:g} ULP instead of {limit:g}"
    for check, accepted in (old.allow or {}).items():
        now = (new.allow or {}).get(check)
        if now != accepted:
            yield f"{name}: {check}: {'no finding' if now is None else now} instead of {accepted}"


def _say(lines: Sequence[str], err: bool) -> None:
    from actium.report.clean import clean

    for line in lines:
        typer.echo(clean(line), err=err)
