"""Encodings, ULP and certificates."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from actium.errors import DtypeError
from actium.verify.certificate import Accuracy, Certificate, Finding, Worst, document, environment
from actium.verify.encodings import FORMATS, all_encodings, finite_encodings, format_of, hex_text, stratified
from actium.verify.ulp import conditioned_error, judged_error, rounds_to_finite, ulp_error, ulp_of

F16, BF16, F32 = FORMATS[torch.float16], FORMATS[torch.bfloat16], FORMATS[torch.float32]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_all_encodings_has_each_bit_pattern_once_in_order(dtype: torch.dtype) -> None:
    values = all_encodings(dtype)
    assert len(values.view(torch.int16).unique()) == 65_536
    finite = finite_encodings(dtype).double()
    assert bool((finite.diff() >= 0).all())
    assert len(finite) == {torch.float16: 63_488, torch.bfloat16: 65_280}[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_stratified_reaches_every_binade_and_its_ends(dtype: torch.dtype) -> None:
    fmt = format_of(dtype)
    values = stratified(dtype).double().numpy()
    assert np.isfinite(values).all()
    assert (np.diff(values) >= 0).all()
    assert len(np.unique(values)) == len(values) - 1  # both zeros are there
    mantissas, exponents = np.frexp(np.abs(values[values != 0]))
    for e in range(fmt.min_exponent, fmt.max_exponent + 1):
        inside = mantissas[exponents == e + 1]
        assert inside.min() == 0.5
        assert inside.max() == 1 - 2.0**-fmt.significand_bits


def test_stratified_is_deterministic() -> None:
    first = stratified(torch.float32).clone()
    stratified.cache_clear()
    assert torch.equal(first, stratified(torch.float32))


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda f: f.name)
def test_format_facts_agree_with_torch(fmt) -> None:
    info = torch.finfo(fmt.dtype)
    assert fmt.smallest_normal == info.smallest_normal
    assert fmt.unit == info.eps / 2
    assert math.frexp(fmt.largest)[1] == fmt.max_exponent + 1


def test_unknown_formats_are_refused() -> None:
    with pytest.raises(DtypeError, match="float8"):
        format_of("float8_e4m3fn")
    with pytest.raises(DtypeError, match="stratified"):
        all_encodings(torch.float32)


@pytest.mark.parametrize(("value", "text"), [(-89.0, "-0x1.64p+6"), (1.0, "0x1p+0"), (-0.0, "-0x0p+0"), (0.1, None)])
def test_hex_text_reads_back(value: float, text: str | None) -> None:
    assert text is None or hex_text(value) == text
    assert float.fromhex(hex_text(value)) == value


@pytest.mark.parametrize("fmt", [F16, BF16], ids=lambda f: f.name)
def test_one_step_is_one_ulp_on_every_encoding(fmt) -> None:
    x = np.unique(finite_encodings(fmt.dtype).double().numpy())
    x = x[x >= 0]
    error = ulp_error(x[1:], x[:-1], fmt)
    assert (error == 1.0).all()


def test_rounding_to_nearest_is_half_an_ulp_at_most() -> None:
    exact = np.random.default_rng(1).standard_normal(10_000) * np.exp2(np.arange(10_000) % 40 - 24)
    rounded = torch.from_numpy(exact).to(torch.float16).double().numpy()
    assert ulp_error(rounded, exact, F16).max() <= 0.5
    assert (
        conditioned_error(rounded, exact, np.zeros_like(exact), F16)[np.abs(exact) > F16.smallest_normal].max() <= 1.0
    )


def test_overflow_counts_as_one_step_beyond_the_largest() -> None:
    assert ulp_error(np.array([np.inf]), np.array([65504.0]), F16)[0] == 1.0
    assert ulp_error(np.array([np.inf]), np.array([1e300]), F16)[0] == 0.0
    assert ulp_error(np.array([65504.0]), np.array([np.inf]), F16)[0] == 1.0
    assert list(rounds_to_finite(np.array([65504.0, 65519.9, 65520.0, np.inf, np.nan]), F16)) == [1, 1, 0, 0, 0]


def test_ulp_is_floored_at_the_smallest_normal() -> None:
    assert ulp_of(np.array([0.0, 1e-30]), F16)[0] == 2.0**-24
    assert ulp_of(np.array([F32.smallest_normal]), F32)[0] == 2.0**-149


def test_a_root_does_not_look_like_a_bug() -> None:
    # f = x − 1 at x = 1 + 2^-10, computed from an x that was rounded: wrong by one unit of x.
    exact, computed, sensitivity = np.array([2.0**-20]), np.array([2.0**-20 + 2.0**-11]), np.array([1.0])
    assert ulp_error(computed, exact, F16)[0] > 1000
    assert judged_error(computed, exact, sensitivity, F16)[0] <= 1.0


# --- Certificates ----------------------------------------------------------------------------------------------


def finding(severity: str) -> Finding:
    worst = Worst(-89.0, "-0x1.64p+6", float("nan"), float("-inf"), float("inf"))
    return Finding("false-zero", severity, "output", "float16", 3, 10, "m", worst=worst, region=(-1.0, float("inf")))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("severities", "verdict"),
    [((), "pass"), (("info",), "pass"), (("info", "warn"), "warn"), (("warn", "fail"), "fail")],
)
def test_verdict_is_the_worst_severity(severities: tuple[str, ...], verdict: str) -> None:
    certificate = Certificate("t", None, "ball", tuple(finding(s) for s in severities))
    assert certificate.verdict == verdict
    assert certificate.passed == (verdict != "fail")


def test_document_is_strict_json_in_the_schema() -> None:
    accuracy = {"float16": {"output": Accuracy(float("inf"), -0.5, 7)}}
    certificate = Certificate("t", "x", "ball", (finding("fail"),), accuracy, ("false-zero",), {"vmap": "why"})
    text = json.dumps(document([certificate], environment("eager")), allow_nan=False)
    loaded = json.loads(text)
    assert list(loaded) == ["schema", "environment", "certificates"]
    assert loaded["schema"] == "actium.certificates/1"
    (c,) = loaded["certificates"]
    assert list(c) == [
        "target",
        "verdict",
        "formula",
        "reference",
        "findings",
        "accuracy",
        "checks_run",
        "checks_not_run",
        "same_as",
        "properties",
        "saved_bytes_per_element",
        "profile",
    ]
    (f,) = c["findings"]
    assert f["worst"] == {"x": -89.0, "x_hex": "-0x1.64p+6", "got": "nan", "expected": "-inf", "ulp": "inf"}
    assert f["region"] == [-1.0, "inf"]
    assert c["accuracy"]["float16"]["output"] == {"max_ulp": "inf", "at": -0.5, "tested": 7}


def test_environment_names_what_results_depend_on() -> None:
    assert {"python", "torch", "actium", "platform", "cpu", "threads", "kernels"} <= set(environment())
