"""A certificate comes back from its JSON form as it was, and what is no certificate is refused with the place."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest

from actium.checking import check
from actium.errors import RecordError
from actium.verify.certificate import Accuracy, Certificate, Finding, Worst

FULL = Certificate(
    "f",
    None,
    "float64",
    findings=(
        Finding(
            "non-finite-output", "fail", "output", "float16", 3, 7, "got inf", "cpu",
            Worst(11.0, "0x1.6p+3", math.inf, 2.0, math.inf), (-math.inf, 12.0), "do not",
        ),
        Finding("duplicate", "info", "module", None, 1, 1, "equals relu"),
    ),
    accuracy={"float16": {"output": Accuracy(math.inf, 11.0, 7), "gradient": Accuracy(0.0, None, 0)}},
    checks_run=("non-finite-output",),
    checks_not_run={"vmap": "not asked for"},
    same_as=("relu",),
    properties={"limits": {"-inf": 0.0, "inf": "inf"}, "notes": ["n"]},
    saved_bytes_per_element={"float32": 4.0},
)  # fmt: skip


def through_text(certificate: Certificate) -> Any:
    return json.loads(json.dumps(certificate.to_json(), allow_nan=False))


def test_a_certificate_comes_back_as_it_was():
    assert Certificate.from_json(through_text(FULL)) == FULL


@pytest.mark.parametrize("target", ["x * tanh(log(1 + exp(x)))", "torch.nn:Softmax"])
def test_real_certificates_come_back_as_they_were(target: str):
    made = check(
        target, dtypes=["bfloat16"], only=["non-finite-gradient", "precision-loss", "shape-change", "duplicate"]
    )
    again = Certificate.from_json(through_text(made))
    assert again.to_json() == made.to_json()
    assert str(again) == str(made)


MALFORMED: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "no object": ((), [], "certificate: expected an object"),
    "text for a number": (("findings", 0, "count"), "3", "findings[0].count: expected int, got '3'"),
    "bool for a number": (("findings", 0, "count"), True, "findings[0].count: expected int, got True"),
    "unknown severity": (
        ("findings", 0, "severity"),
        "bad",
        "findings[0].severity: expected 'fail' or 'warn' or 'info'",
    ),
    "unknown float": (("findings", 0, "worst", "got"), "Infinity", "findings[0].worst.got: expected float"),
    "short region": (("findings", 0, "region"), [1.0], "findings[0].region: expected 2 values"),
    "number for a list": (("checks_run",), 3, "checks_run: expected a list"),
    "list for an object": (("accuracy",), [], "accuracy: expected an object"),
    "null target": (("target",), None, "target: expected str"),
    "unknown field": (("more",), 1, "more: unknown field of Certificate"),
    "another verdict": (("verdict",), "pass", "verdict: the findings make it 'fail', got 'pass'"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_no_certificate_is_refused_with_the_place(case: str):
    path, value, message = MALFORMED[case]
    document: Any = copy.deepcopy(through_text(FULL))
    if path:
        inner = document
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
    else:
        document = value
    with pytest.raises(RecordError) as raised:
        Certificate.from_json(document)
    assert message in str(raised.value)


def test_a_missing_field_is_named():
    document = through_text(FULL)
    del document["reference"]
    with pytest.raises(RecordError, match="reference: missing field of Certificate"):
        Certificate.from_json(document)
