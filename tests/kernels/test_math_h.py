"""The C functions of math.h: accuracy, limits, conversions, and that they vectorise without libm."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from flint import arb, ctx
from harness import COMPILER, HEADER, ROOT, X86, Library, bits, build_folder, not_vectorised, unchanged

INF, NAN, TINY, HUGE = float("inf"), float("nan"), 2.0**-149, float(np.finfo(np.float32).max)

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler on PATH")

# Allowed ULP, a little above the largest error seen. Tightening is routine; loosening is a defect.
BUDGET = {
    "exp": 1.0, "exp2": 0.9, "expm1": 1.35, "log": 0.95, "log2": 1.15, "log1p": 1.2, "tanh": 1.3, "sinh": 1.4,
    "cosh": 1.4, "tanhshrink": 1.5, "erf": 0.95, "erfc": 1.4, "sin": 1.25, "cos": 1.25,
    "atan": 1.35, "asinh": 0.51, "floor": 0.0, "sqrt": 0.5, "hypot1": 0.9, "sign": 0.0,
    "pow": 0.51, "expsq": 1.0, "min": 0.0, "max": 0.0,
}  # fmt: skip
PARAMETERS = {"pow": (0.5, -1.7, 3.0, -2.0, 37.3, 0.0, INF), "expsq": (-0.5, -1.0, -0.3, -1e-9, 0.7)}
PARAMETERS |= {"min": (0.5, NAN), "max": (-0.5, NAN)}
CASES = [(name, c) for name in BUDGET for c in PARAMETERS.get(name, (0.0,))]


@pytest.fixture(scope="module", params=["native", "x86-64"])
def library(request, tmp_path_factory) -> Library:
    """Once for this machine and once for the x86-64 baseline, which has neither FMA nor F16C."""
    if request.param == "x86-64" and not X86:
        pytest.skip("the baseline without FMA is built on x86-64 only")
    return unchanged(tmp_path_factory, request.param)


@pytest.fixture(scope="module")
def native(tmp_path_factory) -> Library:
    return unchanged(tmp_path_factory)


def assert_within_budget(library: Library, name: str, c: float = 0.0, **encodings: int) -> None:
    library.assert_within(BUDGET[name], name, c, **encodings)


# ---- accuracy ----


@pytest.mark.parametrize(("name", "c"), CASES)
def test_function_is_within_budget_on_encodings_of_every_exponent(library, name, c):
    assert_within_budget(library, name, c)


@pytest.mark.parametrize(("name", "c"), CASES)
def test_function_is_within_budget_around_zero_and_infinity(library, name, c):
    for centre in (0, 0x00800000, 0x7F800000, 0x80000000, 0x80800000, 0xFF800000):
        assert_within_budget(library, name, c, start=max(0, centre - 600), stop=centre + 600, step=1)


@pytest.mark.slow
@pytest.mark.skipif("ACTIUM_EXHAUSTIVE" not in os.environ, reason="ACTIUM_EXHAUSTIVE is not set")
@pytest.mark.parametrize(("name", "c"), [case for case in CASES if case[1] in (0.0, -0.5)])
def test_function_is_within_budget_on_all_float32_encodings(native, name, c):
    assert_within_budget(native, name, c, step=1)


MUTANTS = {
    "expm1 coefficient": ("expm1", r"(ACT_C_EXPM1.*), 0\.5\d*f", r"\1, 0.50000048f"),
    "log coefficient": ("log1p", r"0\.3333321\d*f, -0\.5f", "0.3333381f, -0.5f"),
    "tanh coefficient": ("tanh", r"-0\.33333325\d*f", "-0.33333417f"),
    "tail of erfc not compensated": (
        "erfc",
        r"a < ACT_INF \? ACT_FMA\(-act_erfcx_far_\(a\), a, 0\.564189613f\)",
        "a < ACT_INF ? 0.0f",
    ),
    "rounding of c x^2 lost": ("expsq", r"< 200\.0f \? low", "< 0.0f ? low"),
    "subnormal logarithm": ("log", r"\(x < ACT_TINY \? 23 : 0\)", "0"),
    "minimum loses NaN": ("min", r"\(\(a < b\) \| \(a != a\)\)", "(a < b)"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_budget_rejects_mutant(tmp_path, mutant):
    name, pattern, replacement = MUTANTS[mutant]
    text, count = re.subn(pattern, replacement, HEADER.read_text())
    assert count == 1
    library = Library(tmp_path, build_folder(tmp_path, {"math.h": text}), level="-O1")
    with pytest.raises(AssertionError, match="ULP, budget"):
        assert_within_budget(library, name, -0.5 if name == "expsq" else 0.0)


POSITIVE = ("pow", "mills")


def exact(name: str, x: float, c: float) -> arb:
    v = arb(x)
    return {
        "exp": lambda: v.exp(), "expm1": lambda: v.expm1(), "log1p": lambda: v.log1p(), "tanh": lambda: v.tanh(),
        "tanhshrink": lambda: v - v.tanh(), "erf": lambda: v.erf(), "erfc": lambda: v.erfc(), "sin": lambda: v.sin(),
        "expsq": lambda: (arb(c) * v * v).exp(),
        "mills": lambda: (v / arb(2).sqrt()).erfc() / 2 * (v * v / 2).exp(),
        "asinh": lambda: v.asinh(), "log": lambda: v.log(), "pow": lambda: v ** arb(c),
    }[name]()  # fmt: skip


@pytest.mark.parametrize("name", ["tanhshrink", "mills", "erfc", "expsq", "pow", "sin", "asinh", "expm1", "tanh"])
def test_double_reference_agrees_with_ball_arithmetic(native, name):
    ctx.prec, before = 3000, ctx.prec
    try:
        magnitudes = np.float32(2.0) ** np.linspace(-30, 10, 181, dtype=np.float32)
        for x in map(float, np.concatenate([magnitudes, -magnitudes])):
            c = -0.3 if name == "expsq" else 1.7
            want = exact(name, abs(x) if name in POSITIVE else x, c)
            if not 1e-44 < abs(float(want)) < 3e38:
                continue
            got = native.reference(name, abs(x) if name in POSITIVE else x, c)
            assert abs(float((arb(got) - want) / want)) < 2.0**-45, (name, x)
    finally:
        ctx.prec = before


# ---- limits ----

LIMITS = {
    "exp": [(INF, INF), (-INF, 0.0), (0.0, 1.0), (-0.0, 1.0), (88.8, INF), (-104.0, 0.0)],
    "exp2": [(INF, INF), (-INF, 0.0), (128.0, INF), (-149.0, TINY), (-151.0, 0.0), (127.0, 2.0**127)],
    "expm1": [(INF, INF), (-INF, -1.0), (0.0, 0.0), (-0.0, -0.0), (TINY, TINY), (-TINY, -TINY), (-200.0, -1.0)],
    "log": [(INF, INF), (0.0, -INF), (-0.0, -INF), (1.0, 0.0), (-1.0, NAN), (-INF, NAN), (-TINY, NAN)],
    "log2": [(INF, INF), (0.0, -INF), (TINY, -149.0), (8.0, 3.0), (1.0, 0.0), (-1.0, NAN)],
    "log1p": [(INF, INF), (-1.0, -INF), (0.0, 0.0), (-0.0, -0.0), (TINY, TINY), (-1.5, NAN), (-INF, NAN)],
    "tanh": [(INF, 1.0), (-INF, -1.0), (0.0, 0.0), (-0.0, -0.0), (TINY, TINY), (-20.0, -1.0)],
    "sinh": [(INF, INF), (-INF, -INF), (-0.0, -0.0), (TINY, TINY), (-90.0, -INF)],
    "cosh": [(INF, INF), (-INF, INF), (0.0, 1.0), (90.0, INF)],
    "tanhshrink": [(INF, INF), (-INF, -INF), (-0.0, -0.0), (HUGE, HUGE), (1e-20, 0.0)],
    "erf": [(INF, 1.0), (-INF, -1.0), (-0.0, -0.0), (5.0, 1.0)],
    "erfc": [(INF, 0.0), (-INF, 2.0), (0.0, 1.0), (HUGE, 0.0), (-HUGE, 2.0)],
    "sin": [(INF, NAN), (-INF, NAN), (0.0, 0.0), (-0.0, -0.0), (TINY, TINY)],
    "cos": [(INF, NAN), (-INF, NAN), (0.0, 1.0), (TINY, 1.0)],
    "atan": [(INF, np.float32(np.pi / 2)), (-INF, -np.float32(np.pi / 2)), (-0.0, -0.0), (TINY, TINY)],
    "asinh": [(INF, INF), (-INF, -INF), (-0.0, -0.0), (TINY, TINY)],
    "floor": [(INF, INF), (-INF, -INF), (-0.0, -0.0), (-TINY, -1.0), (0.99999994, 0.0), (-8388607.5, -8388608.0)],
    "sqrt": [(INF, INF), (-0.0, -0.0), (-1.0, NAN)],
    "hypot1": [(INF, INF), (-INF, INF), (HUGE, HUGE), (0.0, 1.0)],
    "sign": [(INF, 1.0), (-INF, -1.0), (0.0, 0.0), (-0.0, 0.0), (-TINY, -1.0)],
}


@pytest.mark.parametrize("name", LIMITS)
def test_limit_is_exact_including_the_sign_of_zero(library, name):
    xs, want = (np.array(column, dtype=np.float32) for column in zip(*LIMITS[name], strict=True))
    got = library.apply(name, xs)
    same = (bits(got) == bits(want)) | (np.isnan(got) & np.isnan(want))
    assert same.all(), [(x, y, w) for x, y, w, ok in zip(xs, got, want, same, strict=True) if not ok]


@pytest.mark.parametrize(("name", "c"), CASES)
def test_nan_in_gives_nan_out_whatever_its_payload(library, name, c):
    nans = np.array([0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFFFFFFF, 0x7FFFFFFF, 0xFF812345] * 6, dtype=np.uint32)
    assert np.isnan(library.apply(name, nans.view(np.float32), c)).all()


def test_pow_follows_c99_but_for_nan(library):
    xs = np.array([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, -8.0, INF, -INF, 0.5, -TINY, TINY, HUGE, NAN], dtype=np.float32)
    for y in (0.0, -0.0, 1.0, -1.0, 2.0, 3.0, -3.0, 0.5, -0.5, 1 / 3, INF, -INF, 2.0**24, 2.0**24 - 1, NAN):
        got = library.apply("pow", xs, y)
        with np.errstate(all="ignore"):
            want = np.power(xs.astype(float), np.full(xs.size, np.float32(y), dtype=float)).astype(np.float32)
        want[np.isnan(xs) | np.isnan(y)] = NAN
        both_nan = np.isnan(got) & np.isnan(want)
        assert ((bits(got) == bits(want)) | both_nan).all(), (y, got, want)


# ---- the split exponential ----


def test_split_exponential_neither_overflows_nor_underflows(library):
    ys = np.linspace(-200, 200, 100_001, dtype=np.float32)
    for name, argument in (("exp", ys), ("expsq", np.sqrt(np.abs(ys)))):
        high, low = library.apply(f"{name}_hi", argument, -1.0), library.apply(f"{name}_lo", argument, -1.0)
        assert (np.isfinite(high) & np.isfinite(low)).all()
        assert (high >= 0.75 * 2.0**-126).all()
        exponent = ys if name == "exp" else -(argument.astype(float) ** 2)
        assert (high[exponent > -173.9] >= 2.0**-126).all()
        assert (low[exponent < -174.68] == 0).all()
        assert (low[exponent > -174.66] >= 2.0**-126).all()


@pytest.mark.parametrize("scale", [1e30, 1e-30, 3e38, -2e-38])
def test_split_exponential_times_a_number_is_right_where_exp_is_not_a_float(library, scale):
    scale = np.float32(scale)
    limits = sorted((np.log(1.2e-38 / abs(float(scale))), np.log(3.4e38 / abs(float(scale)))))
    ys = np.linspace(max(limits[0], -174.6), min(limits[1], 176), 50_001).astype(np.float32)[1:-1]
    want = float(scale) * np.exp(ys.astype(np.float64))
    got = (scale * library.apply("exp_hi", ys)) * library.apply("exp_lo", ys)
    with np.errstate(over="ignore"):
        assert (np.abs(got - want) <= 2.0 * np.spacing(np.abs(want).astype(np.float32))).all()


def test_split_exponential_reaches_infinity(library):
    ys = np.array([177.0, 1e10, HUGE, INF], dtype=np.float32)
    with np.errstate(over="ignore"):
        assert np.isposinf(library.apply("exp_hi", ys) * library.apply("exp_lo", ys)).all()


# ---- half precision ----

HALVES = np.arange(65536, dtype=np.uint16)


@pytest.mark.parametrize("bfloat", [True, False], ids=["bfloat16", "float16"])
def test_every_half_widens_as_torch_widens_it_and_returns_unchanged(library, bfloat):
    dtype = torch.bfloat16 if bfloat else torch.float16
    want = torch.from_numpy(HALVES.view(np.int16)).view(dtype).float().numpy()
    got = library.load(HALVES, bfloat)
    assert ((bits(got) == bits(want)) | (np.isnan(got) & np.isnan(want))).all()
    back = library.store(got, bfloat)
    assert (back[~np.isnan(want)] == HALVES[~np.isnan(want)]).all()
    assert np.isnan(library.load(back, bfloat)[np.isnan(want)]).all()


def near_halves(dtype: torch.dtype) -> np.ndarray:
    """Every half, the midpoints between neighbours, and the floats just beside both."""
    steps = np.arange(0, 2**32, 1 << (16 if dtype == torch.bfloat16 else 12), dtype=np.uint64)
    near = (steps[:, None] + np.array([0, 1, -1], dtype=np.int64).astype(np.uint64)).astype(np.uint32)
    return np.concatenate([near.ravel(), np.arange(0, 2**32, 65521, dtype=np.uint64).astype(np.uint32)]).view(
        np.float32
    )


@pytest.mark.parametrize("bfloat", [True, False], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("count", [None, 1, 7, 9])
def test_narrowing_rounds_as_torch_does_on_ties_and_beside_them(library, bfloat, count):
    xs = near_halves(torch.bfloat16 if bfloat else torch.float16)[:count]
    want = (
        torch.from_numpy(xs).to(torch.bfloat16 if bfloat else torch.float16).view(torch.int16).numpy().view(np.uint16)
    )
    got = library.store(xs, bfloat)
    is_nan = np.isnan(xs)
    assert (got[~is_nan] == want[~is_nan]).all()
    assert np.isnan(library.load(got, bfloat)[is_nan]).all()


@pytest.mark.skipif(not X86, reason="F16C is an x86 extension")
def test_portable_and_hardware_float16_agree_bit_by_bit_even_on_nan(native, tmp_path):
    portable = Library(tmp_path, march="x86-64", level="-O1")
    assert (bits(native.load(HALVES, False)) == bits(portable.load(HALVES, False))).all()
    xs = near_halves(torch.float16)
    assert (native.store(xs, False) == portable.store(xs, False)).all()


def test_float16_conversion_does_not_depend_on_flush_to_zero(library):
    xs = near_halves(torch.float16)
    want = library.load(HALVES, False), library.store(xs, False)
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormals")
    try:
        got = library.load(HALVES, False), library.store(xs, False)
    finally:
        torch.set_flush_denormal(False)
    assert (bits(got[0]) == bits(want[0])).all()
    assert (got[1] == want[1]).all()


# ---- how it is compiled ----


@pytest.mark.parametrize("name", [name for name in BUDGET if name not in PARAMETERS])
def test_result_does_not_depend_on_position_or_length(library, name):
    xs = np.arange(0, 2**32, 2**32 // 1037, dtype=np.uint64).astype(np.uint32).view(np.float32)
    whole = library.apply(name, xs)
    for length in (1, 15, 16, 17, 1000):
        part = library.apply(name, xs[-length:])
        same = bits(part) == bits(whole[-length:])
        assert (same | np.isnan(part) & np.isnan(whole[-length:])).all()


@pytest.mark.skipif(COMPILER is None or "gcc" not in Path(COMPILER).name, reason="reads the remarks of gcc")
def test_gcc_vectorises_every_loop_and_needs_no_library(tmp_path):
    values = [f"act_{name}(x[i])" for name in BUDGET if name not in PARAMETERS]
    values += ["act_pow(x[i], y[i])", "act_min(x[i], y[i])", "act_expsq_hi(x[i], y[i]) * act_expsq_lo(x[i], y[i])"]
    values += ["act_from_bf16(act_to_bf16(x[i]))", "act_from_f16(act_to_f16(x[i]))"]
    assert not_vectorised(tmp_path, "math.h", values) == []


def test_headers_hold_the_coefficients_that_the_script_derives():
    script = ROOT / "benchmarks" / "fit_math.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_builtins_of_one_compiler_are_asked_for_before_they_are_used():
    text = "".join(path.read_text("utf-8") for path in sorted(HEADER.parent.glob("*.h")))
    used = set(re.findall(r"__builtin_ia32_\w+(?=\()", text))
    asked = set(re.findall(r"__has_builtin\((__builtin_ia32_\w+)\)", text))
    assert used - asked == {"__builtin_ia32_sfence", "__builtin_ia32_movmskps256"}  # gcc and clang have these
    assert used & asked
