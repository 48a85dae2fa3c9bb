"""The truth from a process beside this one: the same, and there even if that process dies."""

import os
import signal

import numpy as np
import pytest
import torch

from actium.symbolic.parse import parse
from actium.verify import aside, run
from actium.verify.aside import table_aside
from actium.verify.oracle import Oracle, Table
from actium.verify.run import check
from actium.verify.subject import Subject

POINTS = np.array([-80.0, -1.5, 0.0, 0.25, 3.0])


def _same(a: Table, b: Table) -> bool:
    return all(np.array_equal(getattr(a, n), getattr(b, n), equal_nan=True) for n in Table.__dataclass_fields__)


def test_the_table_is_the_same():
    oracle = Oracle(parse("where(x > 0, x, sqrt(x)) + abs(x)"), {})
    assert _same(table_aside(oracle, POINTS)(), oracle.table(POINTS))


def test_a_killed_process_costs_time_only(monkeypatch):
    oracle = Oracle(parse("exp(x)"), {})
    fork = os.fork

    def killed() -> int:
        child = fork()
        if child:
            os.kill(child, signal.SIGKILL)
        else:
            signal.pause()
        return child

    monkeypatch.setattr(aside.os, "fork", killed)
    assert _same(table_aside(oracle, POINTS)(), oracle.table(POINTS))


def test_without_fork(monkeypatch):
    monkeypatch.delattr(aside.os, "fork")
    oracle = Oracle(parse("exp(x)"), {})
    assert _same(table_aside(oracle, POINTS)(), oracle.table(POINTS))


@pytest.mark.parametrize("only", [None, ["false-zero", "vmap"]])
def test_certificates_do_not_depend_on_it(only):
    def judged(beside: bool):
        run._truths.cache_clear()
        formula = parse("x * sigmoid(3.0 * x)")
        subject = Subject("mine", lambda x: x * torch.sigmoid(3.0 * x), formula)
        return check(subject, dtypes=["float16"], only=only, aside=beside).to_json()

    assert judged(True) == judged(False)
