"""The profile: what the picture shows is what the sweep found, and it is small."""

from __future__ import annotations

import functools
import json
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from actium.symbolic.parse import parse
from actium.verify.axis import edges, place, runs
from actium.verify.certificate import Certificate
from actium.verify.run import check
from actium.verify.subject import Subject

ALL = ("float16", "bfloat16", "float32")


@functools.cache
def certificate_of(text: str | None, call, dtypes: tuple[str, ...] = ("float16",)) -> Certificate:
    formula = None if text is None else parse(text)
    return check(Subject("target", call, formula), dtypes=dtypes, only=["non-finite-output"])


def text_of(certificate: Certificate, dtype: str = "float16", quantity: str = "output") -> tuple[str, list[float]]:
    data = certificate.profile["formats"][dtype]
    return data[quantity], edges(data["axis"])


def breaks_above(limit: float, value: float):
    """The identity, except above a limit: there a value, with a gradient of 1 all the same."""

    def f(x: Tensor) -> Tensor:
        return torch.where(x.detach() > limit, x * 0 + value, x)

    return f


def test_a_sound_function_is_within_half_an_ulp_everywhere():
    certificate = certificate_of("x", lambda x: x * 1, ALL)
    for dtype in ALL:
        for quantity in ("output", "gradient"):
            assert set(text_of(certificate, dtype, quantity)[0]) == {"a"}


@pytest.mark.parametrize(("value", "sign"), [(math.nan, "!"), (math.inf, "!"), (0.0, "0")])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_bad_region_is_where_it_is_and_nowhere_else(value: float, sign: str, dtype: str):
    text, ends = text_of(certificate_of("x", breaks_above(11.0, value), (dtype,)), dtype)
    first = round(place(11.0, ends))
    assert [(r.kind, r.start) for r in runs(text)] == [("a", 0), (sign, first)]


def test_a_false_infinity_is_marked_and_an_overflow_is_not():
    overflows = certificate_of("x * x", lambda x: x * x)
    assert set(text_of(overflows)[0]) <= {"a", "b"}
    early = certificate_of("x * x", lambda x: (x * 2) * (x * 2) / 4)
    assert "!" in text_of(early)[0]


@pytest.mark.parametrize(("ulp", "letter"), [(1, "b"), (3, "d"), (64, "h")])
def test_each_letter_is_twice_the_error(ulp: int, letter: str):
    def off(x: Tensor) -> Tensor:
        _, exponent = torch.frexp(x.detach().double())
        return x + (torch.ldexp(torch.tensor(ulp * 2.0**-11), exponent) * x.detach().sign()).to(x.dtype)

    text, ends = text_of(certificate_of("x", off))
    assert {text[math.floor(place(x, ends))] for x in (1.0, 2.0, 37.0, -37.0)} == {letter}


def test_the_worst_of_a_bin_stays():
    spike = torch.tensor(3.125, dtype=torch.float16)
    text, ends = text_of(certificate_of("x", lambda x: torch.where(x.detach() == spike, x * math.nan, x)))
    assert [r.kind for r in runs(text)] == ["a", "!", "a"]
    assert text.index("!") == math.floor(place(3.125, ends))


def test_where_nothing_is_known_nothing_is_claimed():
    text, _ = text_of(certificate_of("log(x)", torch.log))
    assert set(text[: len(text) // 2]) == {"?"}
    assert "?" not in text[len(text) // 2 + 1 :]


def test_a_gradient_that_never_arrives_has_no_lane():
    formats = certificate_of("x", lambda x: x.detach() * 1).profile["formats"]
    assert set(formats["float16"]) == {"axis", "significand_bits", "budget", "output"}


def test_curves_are_the_truth_and_not_what_was_computed():
    curves = certificate_of("x * x", lambda x: x * x * 1.5).profile["curves"]
    count = len(curves["value"])
    step = (curves["to"] - curves["from"]) / (count - 1)
    for k in range(0, count, 16):
        x = curves["from"] + k * step
        assert curves["value"][k] == pytest.approx(x * x, rel=1e-4, abs=1e-9)
        assert curves["slope"][k] == pytest.approx(2 * x, rel=1e-4, abs=1e-9)
    assert set(curves["curvature"]) == {2.0}


def test_a_kink_is_a_gap_in_the_slope_and_widens_the_window():
    curves = certificate_of("max(x - 8, 0)", lambda x: F.relu(x - 8)).profile["curves"]
    assert (curves["from"], curves["to"]) == (-10, 10)
    at = 144  # of 161 points from −10 to 10: x = 8
    assert curves["slope"][at - 1 : at + 2] == [0.0, None, 1.0]
    assert curves["curvature"][at - 1 : at + 2] == [0.0, None, 0.0]
    assert curves["value"][at] == 0.0


def test_without_a_formula_the_code_in_float64_is_drawn():
    certificate = certificate_of(None, torch.sin)
    curves = certificate.profile["curves"]
    assert certificate.reference == "float64"
    assert curves["curvature"][100] == pytest.approx(-curves["value"][100], rel=1e-3)


def test_a_profile_survives_json_and_is_small():
    certificate = certificate_of(
        "x * tanh(log(1 + exp(x)))", lambda x: x * torch.tanh(torch.log(1 + torch.exp(x))), ALL
    )
    text = json.dumps(certificate.to_json()["profile"], allow_nan=False)
    assert len(text) <= 12_000
    assert json.loads(text) == certificate.profile
    assert Certificate.from_json(certificate.to_json()).profile == certificate.profile


def test_what_was_not_swept_has_no_profile():
    assert certificate_of(None, lambda x: torch.softmax(x, -1)).profile == {}
