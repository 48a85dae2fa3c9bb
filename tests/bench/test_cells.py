"""One cell: everything in it is measured, and what cannot be is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from actium.bench.cases import Case, Contender, case_of
from actium.bench.cells import Cell, check_devices, measure
from actium.bench.copy import COPIES, bytes_moved, copies
from actium.bench.grid import Grid, Spot
from actium.bench.memory import peak_bytes
from actium.errors import BenchError


def cell_of(*calls, which: str = "both", dtype: str = "float32", elements: int = 1000, **options) -> Cell:
    case = Case("f", None, tuple(Contender(f"c{k}", "", call) for k, call in enumerate(calls)))
    return measure(case, Spot(elements, dtype, "cpu", which), 0.0, **options)


@pytest.mark.parametrize(("which", "moved"), [("forward", 2), ("backward", 3), ("both", 5)])
@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("bfloat16", 2)])
def test_every_pass_is_measured_against_its_floor(which: str, moved: int, dtype: str, size: int):
    cell = measure(case_of("mish", compiled=False), Spot(5000, dtype, "cpu", which), 0.0)
    assert list(cell.results) == ["actium", "torch", "composite"]
    assert not cell.failed
    assert cell.bytes == moved * size * 5000
    assert cell.copy in COPIES
    assert cell.floor == pytest.approx(cell.bytes / cell.bandwidth)
    for name, result in cell.results.items():
        assert 0 < result.seconds.low <= result.seconds.median <= result.seconds.high
        assert result.share == pytest.approx(cell.floor / result.seconds.median)
        assert (result.ratio is None) == (name == "actium")
        assert (result.saved is None) == (which == "forward")


def test_memory_is_that_of_the_functions():
    cell = measure(case_of("silu", compiled=False), Spot(1 << 15, "float32", "cpu", "both"), 0.0)
    assert cell.results["actium"].saved == 4  # the input
    assert cell.results["actium"].peak == 8  # output and gradient
    assert cell.results["composite"].saved == 8  # the sigmoid, too
    assert cell.results["composite"].peak > 8
    unasked = measure(case_of("silu", compiled=False), Spot(64, "float32", "cpu", "both"), 0.0, memory=False)
    assert unasked.results["actium"].saved is unasked.results["actium"].peak is None


def test_the_peak_is_what_is_held_at_one_time():
    x = torch.zeros(1000)
    assert peak_bytes(lambda: x.exp()) == 4000
    assert peak_bytes(lambda: [x.exp() for _ in range(5)]) == 20_000
    assert peak_bytes(lambda: [x.exp() is None for _ in range(5)]) == 4000
    assert peak_bytes(lambda: None) == 0


def test_another_function_is_seen_to_be_another():
    cell = cell_of(torch.sin, torch.sin, lambda x: torch.sin(x) + 0.25, lambda x: x / 0.0)
    differences = [r.difference for r in cell.results.values()]
    assert differences[:2] == [None, 0.0]
    assert differences[2] == pytest.approx(0.25)
    assert differences[3] == float("inf")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x: x.nothing(), "AttributeError"),
        (lambda x: x.detach().relu_(), "works in place"),
        (lambda x: x[:10], "gives shape (10,) for an input of shape (1000,)"),
        (lambda x: None, "gives NoneType"),
        (lambda x: x.detach().clone(), "has no gradient: choose --pass forward"),
        (lambda x: exit(3), "SystemExit"),
    ],
)
def test_what_cannot_be_measured_is_said_and_costs_the_others_nothing(call, says: str):
    cell = cell_of(torch.tanh, call)
    assert list(cell.results) == ["c0"]
    assert says in cell.failed["c1"]
    target = cell_of(call, torch.tanh)
    assert not target.results
    assert says in target.failed["c0"]


def test_what_fails_while_it_is_timed_is_said():
    calls = iter(range(5))

    def tired(x):
        next(calls)
        return x.tanh()

    cell = cell_of(tired)
    assert not cell.results
    assert "timing: StopIteration" in cell.failed["c0"]


def test_without_gradients_nothing_is_recorded_in_forward():
    seen = []
    cell_of(lambda x: seen.append((x.requires_grad, torch.is_grad_enabled())) or x.tanh(), which="forward")
    assert set(seen) == {(False, False)}


def test_a_trained_parameter_gets_its_gradient_every_time():
    module = torch.nn.PReLU()
    # A parameter's hooks are not copied with it; the copy gets one as forward first sees it.
    seen: list[float] = []
    hooked: set[int] = set()

    def watch(copied: torch.nn.PReLU, _: object) -> None:
        if id(copied.weight) not in hooked:
            hooked.add(id(copied.weight))
            copied.weight.register_hook(lambda gradient: seen.append(float(gradient)))

    module.register_forward_pre_hook(watch)
    for which in ("both", "backward"):
        seen.clear()
        hooked.clear()
        assert cell_of(module, which=which).results
        assert len(seen) > 1
        assert all(seen)
        assert id(module.weight) not in hooked
    assert module.weight.grad is None  # it was a copy that ran


def test_nobody_hears_warnings_while_the_clock_runs(recwarn: pytest.WarningsRecorder):
    import warnings

    cell_of(lambda x: warnings.warn("loud", stacklevel=1) or x.tanh())
    assert not recwarn.list


def test_progress_is_told():
    said: list[str] = []
    cell_of(torch.tanh, torch.tanh, say=said.append)
    assert said == ["preparing c0", "preparing c1", "timing"]


@pytest.mark.parametrize(("name", "says"), [("cuda:77", "--device cuda:77"), ("teapot", "teapot"), ("meta", "numbers")])
def test_a_device_that_is_not_there_is_said_at_once(name: str, says: str):
    with pytest.raises(BenchError, match=says):
        check_devices(Grid((1,), ("float32",), (name,), ("both",)))


@pytest.mark.parametrize("count", [0, 1, 1000, (1 << 15) + 7, (3 << 20) + 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_copy_is_a_copy(count: int, dtype: torch.dtype):
    x = torch.arange(count, dtype=torch.float32).to(dtype)
    for name, call in copies(x).items():
        assert name in COPIES
        y = call()
        assert torch.equal(y, x)
        assert count == 0 or y.data_ptr() != x.data_ptr()


def test_without_a_compiler_torch_copies(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ACTIUM_DISABLE_KERNELS", "1")
    assert list(copies(torch.zeros(10))) == ["clone"]
    assert bytes_moved(torch.zeros(10, dtype=torch.float16), "forward") == 40


@pytest.mark.slow
@pytest.mark.skipif("not __import__('os').environ.get('ACTIUM_TEST_COMPILE')", reason="set ACTIUM_TEST_COMPILE=1")
@pytest.mark.parametrize("which", ["forward", "backward", "both"])
def test_torch_compile_is_measured_too(which: str, fresh_dynamo: None, tmp_path: Path):
    cell = measure(case_of("tanh_exp"), Spot(5000, "float32", "cpu", which), 0.0)
    assert list(cell.results) == ["actium", "compile", "composite"]
    assert cell.results["compile"].difference < 1e-5
