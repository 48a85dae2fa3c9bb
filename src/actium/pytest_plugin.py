"""Activation functions held to a standard in a project's own tests.

Stage: a test → [pytest plugin] → certificate → pass or AssertionError. pytest loads this in every run of every project
that has actium installed, so nothing else is imported before a test asks for it.

`assert_activation(fn)` is a function to import, and a fixture. `@pytest.mark.activation("package:Name")` judges a
target before the body of each marked test. `--actium-budget FILE.toml` holds both to a file of budgets.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from actium.budget import Budget, Entry
    from actium.verify.certificate import Certificate

Limit = float | Mapping[str, float]

_DTYPES = ("float16", "bfloat16", "float32")
_MARKER = (
    "activation(*targets, **options): before the test, judge each target (text as for `actium check`) as "
    "assert_activation(target, **options) does; the test fails if one does not hold"
)
# A verdict is about the test, not about these lines; any other error is about them.
_HIDE = operator.methodcaller("errisinstance", AssertionError)
_BUDGET = pytest.StashKey[Any]()


def assert_activation(
    target: Any,
    *,
    dtypes: Iterable[str] = _DTYPES,
    only: Iterable[str] | None = None,
    max_ulp: float | Mapping[str, Limit] | None = None,
    allow: Iterable[str] = (),
    severity: Literal["fail", "warn"] = "fail",
    name: str | None = None,
    formula: str | None = None,
    budget: str | Path | Budget | None = None,
    **parameters: float,
) -> Certificate:
    """Fail unless an activation function holds: on every half-precision number, within the limits given.

    Args:
        target: A function, an `nn.Module`, or text as for `actium check`.
        dtypes: Formats to judge in.
        only: Check ids to judge by; all of them if not given.
        max_ulp: The largest error in ULP, of output and gradient: one number for all formats, one for each format
            (`{"float16": 1}`), or one for each quantity (`{"float16": {"output": 0.51}}`).
        allow: Check ids whose findings are accepted, whatever their severity.
        severity: The mildest finding that is not accepted.
        name: What to call the function, also in a budget.
        formula: What it is meant to be, as text; otherwise its own code is traced.
        budget: A budget file (see `actium check --budget`). If it has an entry for the function, that decides which
            findings are accepted, in place of `severity`.
        **parameters: Values for the names in `formula` besides `x`.

    Returns:
        The certificate.

    Raises:
        AssertionError: If it does not hold, with every reason and what to do about it.
        ActiumError: If the target, a check id, a format or the budget does not exist.

    Example:
        >>> import torch
        >>> assert_activation(torch.relu, dtypes=["float16"], max_ulp=0.5).verdict
        'pass'
    """
    __tracebackhide__ = _HIDE
    chosen = tuple(dtypes)
    limits = _limits(max_ulp, chosen)
    accepted = _ids(allow)
    entries = _entries(budget)
    judged = _judged if isinstance(target, str) else _judged.__wrapped__
    ids = None if only is None else tuple(only)
    with _untraced():
        certificate = judged(target, name, formula, chosen, ids, tuple(sorted(parameters.items())))
    problems = _problems(certificate, limits, accepted, severity, entries.get(certificate.target), chosen)
    if problems:
        lines = [f"{certificate.target} does not hold:", *(f"  {line}" for p in problems for line in p.splitlines())]
        raise AssertionError("\n".join(lines))
    return certificate


def _limits(max_ulp: float | Mapping[str, Limit] | None, dtypes: tuple[str, ...]) -> Mapping[str, Mapping[str, float]]:
    from actium.budget import QUANTITIES
    from actium.errors import CheckError

    if max_ulp is None:
        return {}
    by_dtype = max_ulp if isinstance(max_ulp, Mapping) else dict.fromkeys(dtypes, max_ulp)
    limits: dict[str, Mapping[str, float]] = {
        d: v if isinstance(v, Mapping) else dict.fromkeys(QUANTITIES, v) for d, v in by_dtype.items()
    }
    for dtype, rows in limits.items():
        if dtype not in dtypes:
            raise CheckError(f"max_ulp: {dtype!r} is not among the formats that are judged: {', '.join(dtypes)}")
        unknown = sorted(set(rows) - set(QUANTITIES))
        if unknown:
            raise CheckError(f"max_ulp: no {unknown[0]!r} is known; there are output and gradient")
    return limits


def _ids(allow: Iterable[str]) -> frozenset[str]:
    import difflib

    from actium.errors import CheckError
    from actium.verify.checks import REGISTRY

    ids = frozenset((allow,) if isinstance(allow, str) else allow)
    for unknown in sorted(ids - set(REGISTRY)):
        near = difflib.get_close_matches(unknown, REGISTRY, n=1)
        raise CheckError(f"allow: no check is called {unknown!r}{f'; did you mean {near[0]}?' if near else ''}")
    return ids


def _entries(budget: str | Path | Budget | None) -> Budget:
    from actium.budget import parse_budget

    if budget is None or isinstance(budget, Mapping):
        return budget or {}
    return parse_budget(Path(budget).read_text(encoding="utf-8"), str(budget))


@contextlib.contextmanager
def _untraced() -> Iterator[None]:
    """Keep PyTorch's notes on each graph that it compiles out of the log that pytest prints below a failing test."""
    logger = logging.getLogger("torch.__trace")
    handlers, logger.handlers = logger.handlers, []
    try:
        yield
    finally:
        logger.handlers = handlers


@functools.lru_cache(maxsize=256)
def _judged(
    target: Any,
    name: str | None,
    formula: str | None,
    dtypes: tuple[str, ...],
    only: tuple[str, ...] | None,
    parameters: tuple[tuple[str, float], ...],
) -> Certificate:
    """Judge once for all the tests that name the same target."""
    from dataclasses import replace

    from actium.checking import known_functions, subject_of
    from actium.symbolic.parse import parse
    from actium.targets import Found, resolve
    from actium.verify.run import check

    values = dict(parameters)
    if isinstance(target, str):
        found = resolve(target, values if formula is None else None, guess=True)
    else:
        found = Found(getattr(target, "__qualname__", type(target).__name__), target, values=values)
    subject = subject_of(found if name is None else replace(found, target=name))
    if formula is not None:
        subject = replace(subject, formula=parse(formula, parameters=values), parameters=values)
    return check(subject, known=known_functions(), dtypes=dtypes, only=only)


def _problems(
    certificate: Certificate,
    limits: Mapping[str, Mapping[str, float]],
    accepted: frozenset[str],
    severity: str,
    entry: Entry | None,
    dtypes: tuple[str, ...],
) -> list[str]:
    from dataclasses import replace

    from actium.budget import Entry, exceeded

    # A function without a gradient has none to be measured. Where nothing was swept, nobody knows whether it has one.
    asked = {
        d: {q: n for q, n in rows.items() if q == "output" or _may_have(certificate, d, q)}
        for d, rows in limits.items()
    }
    rest = replace(certificate, findings=tuple(f for f in certificate.findings if f.check not in accepted))
    problems = exceeded(Entry(asked), replace(rest, findings=()), dtypes)
    if entry is not None:
        return problems + exceeded(entry, rest, dtypes)
    refused = ("fail",) if severity == "fail" else ("fail", "warn")
    return problems + [str(f) for f in rest.findings if f.severity in refused]


def _may_have(certificate: Certificate, dtype: str, quantity: str) -> bool:
    rows = certificate.accuracy.get(dtype)
    return rows is None or quantity in rows


# --- What pytest sees ------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--actium-budget`."""
    group = parser.getgroup("actium")
    group.addoption(
        "--actium-budget", metavar="FILE.toml", help="hold activation functions to the budgets in this file"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, and read the budget so that a mistake in it stops the run at once."""
    config.addinivalue_line("markers", _MARKER)
    path = config.getoption("--actium-budget")
    if path is None:
        config.stash[_BUDGET] = None
        return
    from actium.errors import CheckError

    try:
        config.stash[_BUDGET] = _entries(config.invocation_params.dir / path)
    except (CheckError, OSError, UnicodeDecodeError) as error:
        raise pytest.UsageError(f"--actium-budget: {error}") from error


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Judge what the test's markers name, before its body."""
    __tracebackhide__ = _HIDE
    for mark in item.iter_markers("activation"):
        if not mark.args:
            raise pytest.UsageError(
                f"{item.nodeid}: @pytest.mark.activation needs a target, such as 'package.module:Name'"
            )
        for target in mark.args:
            assert_activation(target, **{"budget": item.config.stash[_BUDGET], **mark.kwargs})


@pytest.fixture(name="assert_activation")
def _assert_activation(pytestconfig: pytest.Config) -> Callable[..., Certificate]:
    """`actium.pytest_plugin.assert_activation`, held to `--actium-budget`."""
    return functools.partial(assert_activation, budget=pytestconfig.stash[_BUDGET])
