"""The functions of hot.h on their narrower domains: accuracy, the split exponential, NaN, and that they vectorise."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from harness import COMPILER, HEADER, STEP, X86, Library, bits, build_folder, not_vectorised, unchanged

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler on PATH")

INF = float("inf")
SMALLEST = 2.0**-126  # normal
# Domains as ranges of encodings, both ends included; one for each sign.
NOT_POSITIVE, NOT_NEGATIVE = (0x80000000, 0xFF800000), (0, 0x7F800000)
UNIT, ALL = (0, 0x3F800000), (0, 0xFFFFFFFF)
# |y| <= 40, and |c x^2| <= 40 for every factor below.
MIDRANGE, MIDRANGE_ROOT = ((0, 0x42200000), (0x80000000, 0xC2200000)), ((0, 0x40666666), (0x80000000, 0xC0666666))
DOMAIN = {
    "expn": NOT_POSITIVE, "expsqn": ALL, "log1p_unit": UNIT, "mills": NOT_NEGATIVE, "tanh_by_expm1": ALL,
    "expn_h": NOT_POSITIVE, "expsqn_h": ALL, "log1p_unit_h": UNIT, "mills_h": NOT_NEGATIVE, "tanh_h": ALL,
    "expm1n": NOT_POSITIVE, "expm1n_h": NOT_POSITIVE, "tanhshrink_h": ALL,
    "exp_mid": MIDRANGE, "expsq_mid": MIDRANGE_ROOT, "expsq2_mid": MIDRANGE_ROOT,
    "mills_mid": (0, 0x4100020C), "mills_mid_h": (0, 0x4100020C), "exp_mid_h": MIDRANGE, "expsq_mid_h": MIDRANGE_ROOT,
}  # fmt: skip
# Allowed ULP of float32, a little above the largest error seen. Tightening is routine; loosening is a defect.
BUDGET = {"expn": 0.95, "expsqn": 1.05, "log1p_unit": 1.2, "mills": 3.9, "tanh_by_expm1": 1.95, "expm1n": 1.0}
# For halves: a relative error of 2^-15 is 256 ULP of float32 or more. float16 keeps 11 bits, so that it adds at most
# 1/16 ULP to the half that rounding costs.
HALF_BUDGET = {"expn_h": 75.0, "expsqn_h": 165.0, "log1p_unit_h": 160.0, "mills_h": 130.0, "tanh_h": 12.0}
HALF_BUDGET |= {"expm1n_h": 10.0, "exp_mid_h": 75.0, "expsq_mid_h": 105.0, "mills_mid_h": 62.0, "tanhshrink_h": 150.0}
BUDGET |= {"mills_mid": 3.5, "exp_mid": 0.95, "expsq_mid": 1.05, "expsq2_mid": 1.05}
BUDGETS = BUDGET | HALF_BUDGET
# Functions that kernels compute in steps, and what these are called.
IN_STEPS = {
    "mills": ("mills_w", "mills_of"),
    "mills_h": ("mills_w_h", "mills_of_h"),
    "tanh_by_expm1": ("tanh_above", "tanh_below"),
    "tanh_h": ("tanh_expm1_h",),
    "tanhshrink_h": ("tanhshrink_rest_h", "tanhshrink_of_h"),
}
FACTORS = (-0.5, -1.0, -0.3, -3.0)
POWERS = (-0.5, -1.0, -2.0)
CASES = [
    (name, c) for name in BUDGETS for c in (FACTORS if name.startswith("expsq") else (0.0,)) if "expsq2" not in name
]
CASES += [("expsq2_mid", c) for c in POWERS]
NANS = np.array([0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFFFFFFF, 0x7FFFFFFF, 0xFF812345] * 6, dtype=np.uint32)


@pytest.fixture(scope="module", params=["native", "x86-64"])
def library(request, tmp_path_factory) -> Library:
    """Once for this machine and once for the x86-64 baseline, which has no FMA."""
    if request.param == "x86-64" and not X86:
        pytest.skip("the baseline without FMA is built on x86-64 only")
    return unchanged(tmp_path_factory, request.param)


def ranges(name: str) -> tuple[tuple[int, int], ...]:
    domain = DOMAIN[name]
    return domain if isinstance(domain[0], tuple) else (domain,)


def assert_within_budget(library: Library, name: str, c: float, step: int) -> None:
    for first, last in ranges(name):
        library.assert_within(BUDGETS[name], name, c, start=first, stop=last + 1, step=step)


# ---- accuracy ----


@pytest.mark.parametrize(("name", "c"), CASES)
def test_function_is_within_budget_on_encodings_of_every_exponent(library, name, c):
    assert_within_budget(library, name, c, STEP)


@pytest.mark.parametrize(("name", "c"), CASES)
def test_function_is_within_budget_around_zero_one_and_infinity(library, name, c):
    starts = [c - 600 + sign for c in (0, 0x00800000, 0x3F800000, 0x7F800000) for sign in (0, 2**31)]
    for first, last in ranges(name):
        for start in starts:
            window = max(first, start), min(last + 1, start + 1200)
            if window[0] < window[1]:
                library.assert_within(BUDGETS[name], name, c, start=window[0], stop=window[1], step=1)


@pytest.mark.parametrize(("name", "c"), [case for case in CASES if case[0] in HALF_BUDGET])
def test_half_function_is_within_budget_on_every_bfloat16_and_float16(library, name, c):
    # A float16 has ten bits after the point, so that its float32 encoding ends in 13 zeros (subnormals in more).
    assert_within_budget(library, name, c, step=2**13)


@pytest.mark.slow
@pytest.mark.skipif("ACTIUM_EXHAUSTIVE" not in os.environ, reason="ACTIUM_EXHAUSTIVE is not set")
@pytest.mark.parametrize(("name", "c"), [case for case in CASES if case[1] in (0.0, -0.5)])
def test_function_is_within_budget_on_its_whole_domain(tmp_path, name, c):
    assert_within_budget(Library(tmp_path), name, c, step=1)


MUTANTS = {
    "expn coefficient": ("expn", r"(ACT_C_EXPN .*), 0\.4999999\d*f", r"\1, 0.5000005f"),
    "log1p coefficient": ("log1p_unit", r"-0\.499999315f", "-0.4999985f"),
    "mills coefficient": ("mills", r"0\.750294089f", "0.7502946f"),
    "rounding of a + 3.75 not compensated": (
        "mills",
        r"ACT_FMA\(act_finite_\(a\), w \+ w, -1\.0f\)",
        "ACT_FMA(w, -7.5f, a < 0.0f ? a : 1.0f)",
    ),
    "rounding of c x^2 lost": ("expsqn", r"y > -200\.0f \? low", "y > 0.0f ? low"),
    "tanh rounded twice": ("tanh_by_expm1", r"act_tanh_line_\(x, 1\.0f\)", "(2.0f + act_tanh_line_(x, -1.0f))"),
    "expn_h coefficient": ("expn_h", r"0\.500051677f", "0.50006f"),
    "expn_h without gradual underflow": ("expn_h", r"(act_expn_h\(float y\) \{\n.*)-105\.0f", r"\1-87.0f"),
    "log1p_unit_h coefficient": ("log1p_unit_h", r"-0\.499539435f", "-0.4994f"),
    "mills_h coefficient": ("mills_h", r"0\.706657708f", "0.706669f"),
    "mills_mid numerator": ("mills_mid", r"58\.4306374f", "58.430645f"),
    "mills_mid denominator": ("mills_mid", r"190\.91362f", "190.91369f"),
    "mills_mid_h denominator": ("mills_mid_h", r"10\.7519512f", "10.7521f"),
    "exp_mid without the low part of ln 2": ("exp_mid", r"(act_exp_mid\(float y\) \{\n.*)-ACT_LN2_LO", r"\g<1>0.0f"),
    "rounding of c x^2 lost in expsq_mid": ("expsq_mid", r"-ACT_LN2_LO, low\)", "-ACT_LN2_LO, 0.0f * low)"),
    "tanhshrink_h coefficient": ("tanhshrink_h", r"0\.333330423f", "0.33334f"),
    "tanhshrink_h without the series": ("tanhshrink_h", r"a < 1\.0f \? small", "a < 0.5f ? small"),
    "expm1 coefficient in tanh_h": ("tanh_h", r"0\.49999395f", "0.499999f"),
    "expm1 coefficient in expm1n_h": ("expm1n_h", r"0\.49999395f", "0.499999f"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_budget_rejects_mutant(tmp_path, mutant):
    name, pattern, replacement = MUTANTS[mutant]
    text, count = re.subn(pattern, replacement, (HEADER.parent / "hot.h").read_text())
    assert count >= 1
    library = Library(tmp_path, build_folder(tmp_path, {"hot.h": text}), level="-O1")
    with pytest.raises(AssertionError, match="ULP, budget"):
        assert_within_budget(
            library, name, -0.5 if name.startswith("expsq") else 0.0, STEP if name in BUDGET else 2**13
        )


# ---- limits ----

LIMITS = {
    "expn": [(-INF, 0.0), (-0.0, 1.0), (0.0, 1.0), (-104.0, 0.0), (-3e38, 0.0)],
    "expn_h": [(-INF, 0.0), (-0.0, 1.0), (0.0, 1.0), (-105.0, 0.0), (-3e38, 0.0)],
    "log1p_unit": [(0.0, 0.0), (2.0**-149, 2.0**-149)],
    "log1p_unit_h": [(0.0, 0.0), (2.0**-149, 2.0**-149)],
    "mills": [(INF, 0.0)],
    "mills_h": [(INF, 0.0)],
    "tanh_by_expm1": [(INF, 1.0), (-INF, -1.0), (0.0, 0.0), (-0.0, -0.0), (2.0**-149, 2.0**-149), (-20.0, -1.0)],
    "tanh_h": [(INF, 1.0), (-INF, -1.0), (0.0, 0.0), (-0.0, -0.0), (-20.0, -1.0)],
    "tanhshrink_h": [(INF, INF), (-INF, -INF), (0.0, 0.0), (-0.0, -0.0), (-3e38, -3e38)],
    "expm1n": [(-INF, -1.0), (-0.0, -0.0), (-(2.0**-149), -(2.0**-149)), (-100.0, -1.0)],
    "expm1n_h": [(-INF, -1.0), (-0.0, -0.0), (-100.0, -1.0)],
}


@pytest.mark.parametrize("name", LIMITS)
def test_limit_is_exact_including_the_sign_of_zero(library, name):
    xs, want = (np.array(column, dtype=np.float32) for column in zip(*LIMITS[name], strict=True))
    got = library.apply(name, xs)
    assert (bits(got) == bits(want)).all(), list(zip(xs, got, want, strict=True))


@pytest.mark.parametrize(
    # A NaN is not within the midrange: kernels take another form for it.
    ("name", "c"),
    [*[case for case in CASES if "_mid" not in case[0]], ("expn_hi", 0.0), ("expsqn_hi", -0.5)],
)
def test_nan_in_gives_nan_out_whatever_its_payload(library, name, c):
    assert np.isnan(library.apply(name, NANS.view(np.float32), c)).all()


# ---- the split exponential ----


def split(library: Library, name: str, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """hi and lo of e^y; for expsqn through x = sqrt(-y) and c = -1."""
    argument = ys if name == "expn" else np.sqrt(-ys)
    return library.apply(f"{name}_hi", argument, -1.0), library.apply(f"{name}_lo", argument, -1.0)


@pytest.mark.parametrize("name", ["expn", "expsqn"])
def test_both_factors_are_normal_numbers_and_the_second_a_power_of_two(library, name):
    ys = np.concatenate([np.linspace(-400, 0, 200_001), [-1e3, -1e10, -3e38, -INF]]).astype(np.float32)
    high, low = split(library, name, ys)
    assert (high >= 0.7 * SMALLEST).all()
    assert (high[ys > -173.9] >= SMALLEST).all()
    assert (high <= 1.0).all()
    assert np.isin(low, np.float32([1.0, 2 * SMALLEST])).all()
    assert (low[ys > -86.0] == 1.0).all()


@pytest.mark.parametrize("scale", [1e-30, 1.0, -2e-38, 1e30, 3e38])
@pytest.mark.parametrize("name", ["expn", "expsqn"])
def test_split_exponential_times_a_number_is_right_where_exp_is_not_a_float(library, name, scale):
    scale = np.float32(scale)
    lowest = max(-174.2, float(np.log(1.2e-38 / abs(float(scale)))))
    ys = np.linspace(lowest, 0.0, 50_001).astype(np.float32)[1:]
    high, low = split(library, name, ys)
    exponent = ys.astype(np.float64) if name == "expn" else -(np.sqrt(-ys).astype(np.float64) ** 2)
    want = float(scale) * np.exp(exponent)
    got = (scale * high) * low
    assert (np.abs(got - want) <= 2.0 * np.spacing(np.abs(want).astype(np.float32))).all()


def test_whole_exponential_is_the_product_of_its_factors_up_to_rounding(library):
    ys = np.linspace(-87.0, 0.0, 100_001, dtype=np.float32)
    high, low = split(library, "expn", ys)
    assert (np.abs(high * low - library.apply("expn", ys)) <= np.spacing(library.apply("expn", ys))).all()


# ---- how it is compiled ----


@pytest.mark.parametrize(("name", "c"), [case for case in CASES if case[1] in (0.0, -0.5)])
def test_result_does_not_depend_on_position_or_length(library, name, c):
    first, last = ranges(name)[0]
    xs = np.arange(first, last + 1, (last - first) // 1037, dtype=np.uint64).astype(np.uint32).view(np.float32)
    whole = library.apply(name, xs, c)
    for length in (1, 15, 16, 17, 1000):
        part = library.apply(name, xs[-length:], c)
        same = bits(part) == bits(whole[-length:])
        assert (same | np.isnan(part) & np.isnan(whole[-length:])).all()


@pytest.mark.skipif(COMPILER is None or "gcc" not in Path(COMPILER).name, reason="reads the remarks of gcc")
def test_gcc_vectorises_every_loop_and_needs_no_library(tmp_path):
    whole = [name for name in BUDGETS if name not in IN_STEPS]
    values = [f"act_{name}(x[i]{', -0.5f' if name.startswith('expsq') else ''})" for name in whole]
    values += [
        "act_mills_of(x[i], act_mills_w(x[i]))",
        "act_mills_of_h(act_mills_w_h(x[i]))",
        "act_tanh_above(x[i]) / act_tanh_below(x[i])",
        "act_tanh_expm1_h(x[i]) / (2.0f + act_tanh_expm1_h(x[i]))",
        "act_tanhshrink_of_h(x[i], act_tanhshrink_rest_h(x[i]))",
        "act_expn_hi(x[i]) * y[i] * act_expn_lo(x[i])",
        "act_expsqn_hi(x[i], -1.0f) * act_expsqn_lo(x[i], -1.0f)",
    ]
    assert not_vectorised(tmp_path, "hot.h", values) == []


def test_every_function_of_the_header_has_a_budget():
    defined = set(re.findall(r"ACT_FN float act_(\w*[a-z0-9])\(", (HEADER.parent / "hot.h").read_text()))
    steps = set().union(*IN_STEPS.values())
    assert steps <= defined
    assert defined - {"expn_hi", "expn_lo", "expsqn_hi", "expsqn_lo"} - steps == set(BUDGETS) - set(IN_STEPS)
