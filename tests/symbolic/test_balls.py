"""The small evaluator that lowering asks."""

from __future__ import annotations

import functools
import math
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from flint import ctx

from actium.symbolic import balls
from actium.symbolic.balls import constant_value, evaluate, exclusive, is_regular
from actium.symbolic.graph import Node, const, op, parameter, variable, where
from actium.symbolic.limits import limit
from actium.symbolic.parse import parse
from actium.verify.oracle import Oracle, Table

X, P = variable("x"), parameter("p")


def test_value_and_default_of_a_leaf():
    assert float(evaluate(X * P + 2.0, {X: 3.0, P: 4.0}).mid()) == 14.0
    assert float(evaluate(X * P + 2.0, {X: 3.0}).mid()) == 5.0


@pytest.mark.parametrize("precision", [64, 300, 2000])
def test_precision_reaches_operators_that_are_evaluated_by_expansion(precision):
    third = op("max", X / 3.0, const(-1.0)) + op("abs", X / 7.0) + op("clamp", X / 9.0, const(-4.0), const(4.0))
    ball = evaluate(third, {X: 1.0}, precision)
    assert ball.rel_accuracy_bits() >= precision - 10
    assert ctx.prec == 53  # nobody else's precision is touched


@pytest.mark.parametrize(
    ("text", "x", "expected"), [("where(x > 1, x, -x)", 1.0, -1.0), ("where(x >= 1, x, -x)", 1.0, 1.0)]
)
def test_selection(text, x, expected):
    assert float(evaluate(parse(text).root, {X: x}).mid()) == expected


@pytest.mark.parametrize("name", ["lt", "le", "gt", "ge", "eq", "ne"])
def test_comparisons(name):
    import operator

    for a in (-1.0, 0.0, 2.0):
        got = evaluate(where(op(name, X, const(0.0)), const(1.0), const(0.0)), {X: a})
        assert bool(float(got.mid())) is getattr(operator, name)(a, 0.0)


def test_logic():
    inside = op("and", X > 0.0, op("not", op("or", X > 2.0, op("eq", X, const(1.0)))))
    values = [bool(evaluate(inside, {X: x})) for x in (-1.0, 0.5, 1.0, 3.0)]
    assert values == [False, True, False, False]


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (2.0 / op("sqrt", Node("pi")), 1.1283791670955126),
        (op("exp", const(1.0)), math.e),
        (op("log", const(2.0)), math.log(2.0)),
        (op("sqrt", const(2.0)), math.sqrt(2.0)),
        (const(0.1) + const(0.2), 0.30000000000000004),
        (op("exp", const(-745.0)), math.exp(-745.0)),
    ],
)
def test_constants_are_the_nearest_doubles(node, expected):
    assert constant_value(node) == expected


def test_regular_points():
    assert is_regular(op("log", X), {X: 1.0})
    assert not is_regular(op("log", X), {X: 0.0})
    assert not is_regular(op("sqrt", X), {X: 0.0})  # finite, with an infinite slope
    assert not is_regular(op("pow", X, const(1.5)), {X: 0.0})  # finite slope, infinite curvature
    assert is_regular(op("log", X + P), {X: 0.0, P: 1.0})


def together(*functions):
    """Run each in a thread of its own, and raise what any of them raised."""
    with ThreadPoolExecutor(len(functions)) as pool:
        for done in [pool.submit(f) for f in functions]:
            done.result()


def test_threads_do_not_compute_at_each_others_precision(monkeypatch):
    seen, real = [], balls._ball

    def slow(node, args, values, arb, precision):
        time.sleep(1e-4)  # another thread's turn, if it may have one
        seen.append((ctx.prec, precision))
        return real(node, args, values, arb, precision)

    monkeypatch.setattr(balls, "_ball", slow)
    root = op("max", X / 3.0, const(-1.0)) + op("exp", X)
    together(*(functools.partial(evaluate, root, {X: 1.0}, p) for p in (64, 128, 2200)))
    assert {p for _, p in seen} == {64, 128, 2200}
    assert all(used == wanted for used, wanted in seen)
    assert ctx.prec == 53


def test_the_oracle_and_lowering_take_turns():
    oracle = Oracle(parse("exp(x) * sin(x)"))
    points = [k / 64 for k in range(-640, 640)]
    alone, before = oracle.table(points), sys.getswitchinterval()
    limits: list[float | None] = []

    def lower():
        limits.extend(limit(parse("x / (1 + abs(x))").root, X, sign, {}) for sign in [1.0, -1.0] * 100)

    sys.setswitchinterval(1e-5)
    try:
        tables: list[Table] = []
        together(*[lambda: tables.append(oracle.table(points))] * 2, lower)
    finally:
        sys.setswitchinterval(before)
    assert limits == [1.0, -1.0] * 100
    for table in tables:
        assert table.value.tolist() == alone.value.tolist()
        assert table.slope.tolist() == alone.slope.tolist()
    assert ctx.prec == 53


def test_the_precision_is_given_back_after_an_error():
    @exclusive
    def fails():
        ctx.prec = 77
        raise ValueError("at this precision")

    with pytest.raises(ValueError, match="at this precision"):
        fails()
    assert ctx.prec == 53


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_does_not_wait_for_a_thread_that_it_does_not_have():
    holds, over = threading.Event(), threading.Event()

    @exclusive
    def hold():
        holds.set()
        over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    holds.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends a child that waits
        os._exit(int(constant_value(const(2.0)) != 2.0))
    status = os.waitpid(child, 0)[1]
    over.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0
