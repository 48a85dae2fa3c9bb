"""Loops that are cut into several: the same bits, and cut where it says."""

import ctypes

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import actium
from actium.authoring import formula
from actium.kernels import cpu, loops, toolchain
from actium.kernels.dispatch import Library
from actium.kernels.fission import Piece, pieces
from actium.kernels.forms import Statement

NAMES = ("silu", "gelu", "mish", "tanh", "soft_exponential")
needs_compiler = pytest.mark.skipif(not toolchain.kernels_enabled(), reason="needs a C compiler")


def cut(*lines: str, wanted: str) -> list[tuple[list[str], list[str], list[str]]]:
    """Names loaded, computed and stored by each piece of `t0 = …`, `t1 = …`."""
    statements = [Statement(f"t{k}", text) for k, text in enumerate(lines)]
    found = pieces(statements, [wanted])
    return [(list(p.loads), [s.name for s in p.statements], list(p.stores)) for p in found]


def test_the_cut_is_behind_the_function():
    assert cut("(-in_x)", "act_exp_mid(t0)", "(1.0f + t1)", "(in_x / t2)", wanted="t3") == [
        ([], ["t0", "t1"], ["t1"]),
        (["t1"], ["t2", "t3"], []),
    ]


def test_each_function_has_its_own_loop():
    found = cut("act_exp_mid(in_x)", "act_log1p(t0)", "act_exp_mid(t1)", "(t0 + t1)", "(t3 * t2)", wanted="t4")
    assert found == [
        ([], ["t0"], ["t0"]),
        (["t0"], ["t1"], ["t1"]),
        (["t1"], ["t2"], ["t2"]),
        (["t0", "t1", "t2"], ["t3", "t4"], []),
    ]


def test_what_shares_work_stays_together():
    found = cut("act_expn_hi(in_x)", "act_expn_lo(in_x)", "(in_x * t0)", "(t2 * t1)", wanted="t3")
    assert found[0] == ([], ["t0", "t1"], ["t0", "t1"])


def test_a_short_way_from_the_input_is_gone_twice():
    found = cut("__builtin_fabsf(in_x)", "act_mills_w(t0)", "act_mills_of(t0, t1)", "(t0 / t2)", wanted="t3")
    assert [computed for _, computed, _ in found] == [["t0", "t1"], ["t0", "t2"], ["t0", "t3"]]


def test_a_long_way_is_kept():
    found = cut("(in_x * in_x)", "(t0 * in_x)", "(t1 * t0)", "(t2 * t1)", "act_exp(t3)", "(t3 / t4)", wanted="t5")
    assert found[0][2] == ["t3", "t4"]


@pytest.mark.parametrize("wanted", ["t0", "t1"])
def test_next_to_nothing_is_no_loop_of_its_own(wanted):
    assert len(cut("act_exp(in_x)", "(in_x * t0)", wanted=wanted)) == 1


def test_what_nobody_needs_is_left_out():
    assert cut("act_exp(in_x)", "(in_x * t0)", "(in_x / t0)", wanted="t2")[1][1] == ["t2"]


def test_a_function_is_the_result_itself():
    found = cut(
        "(in_x * in_x)", "act_exp(t0)", "(t0 / in_x)", "(t2 / t1)", "act_log(t3)", "(t4 / t0)", wanted="t1 + t5"
    )
    assert found[-1][0] == ["t1", "t4"]
    assert found[0][2] == ["t1"]


LINES = (
    "(-{0})",
    "({0} * {1})",
    "({0} / {1})",
    "act_exp({0})",
    "act_expn_hi({0})",
    "act_expn_lo({0})",
    "act_tanh({1})",
)


@given(
    st.lists(st.tuples(st.sampled_from(LINES), st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=20),
    st.data(),
)
@settings(max_examples=300, deadline=None)
def test_every_loop_finds_what_it_reads(lines, data):
    names, statements = ["in_x"], []
    for k, (text, first, second) in enumerate(lines):
        operands = (names[first % len(names)], names[second % len(names)])
        statements.append(Statement(f"t{k}", text.format(*operands)))
        names.append(f"t{k}")
    results = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=3))
    kept: set[str] = set()
    for piece in pieces(statements, results):
        here = set(piece.loads)
        assert here <= kept
        for statement in piece.statements:
            assert statement.operands <= here
            here.add(statement.name)
        assert set(piece.stores) <= here
        kept |= set(piece.stores)
    assert {r for r in results if r != "in_x"} <= here


@needs_compiler
@pytest.mark.parametrize("text", ["exp(x)", "exp(-x * x)", "max(exp(x), tanh(x))", "x"])
def test_a_formula_that_ends_with_a_function_is_compiled(text):
    activation, x = formula(text), torch.linspace(-3, 3, 700, requires_grad=True)
    exact = activation(x.detach().double())
    torch.testing.assert_close(activation(x).double(), exact, rtol=1e-6, atol=1e-6)


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_a_cut_loop_gives_the_same_bits(name, dtype, monkeypatch):
    activation = getattr(actium, name)
    x = torch.cat([torch.linspace(-100, 100, 3001), torch.tensor([float("nan"), float("inf"), -float("inf")])]).to(
        dtype
    )
    grad = torch.linspace(-2, 3, len(x)).to(dtype)
    found = [_run(activation, x, grad)]
    monkeypatch.setattr(loops, "pieces", lambda statements, results: [Piece((), tuple(statements), ())])
    found.append(_run(activation, x, grad))
    assert found[0][0] != found[1][0]
    for a, b in zip(found[0][1:], found[1][1:], strict=True):
        assert torch.equal(a.view(torch.uint8), b.view(torch.uint8))


def _run(activation, x, grad):
    """The source, the output and the gradient."""
    source = Library(activation.op.plan, str(x.dtype).removeprefix("torch.")).source()
    library = toolchain.load(source, cpu.headers())
    y, slope = torch.empty_like(x), torch.empty_like(x)
    pointers = [ctypes.c_void_p(t.data_ptr()) for t in (x, grad, y, slope)]
    numbers = (ctypes.c_float * 8)(*(p.init for p in activation.parameters))
    count = ctypes.c_int64(len(x))
    library.forward(pointers[0], pointers[2], count, numbers, 1, 0)
    library.backward(pointers[0], pointers[1], pointers[3], count, numbers, 1, 0)
    return source, y, slope
