"""The broken examples of the requirement documents, each named by the checks that describe its defect."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import basics
import clips
import custom
import learned
import mended
import precision
import pytest
from torch import nn

from actium.checking import known_functions, subject_of
from actium.symbolic.parse import parse
from actium.targets import Found
from actium.verify.certificate import Certificate
from actium.verify.run import check
from actium.verify.subject import Construction


@dataclass(frozen=True)
class Example:
    """A broken function or class, its item in docs/requirements.md, and the checks that must name its defects."""

    item: int
    made_of: Callable[..., Any]
    finds: tuple[str, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    formula: str | None = None
    claims: dict[str, Any] = field(default_factory=dict)
    dtype: str = "float16"


EXAMPLES = (
    Example(8, precision.CappedReLU, ("constructor",)),
    Example(9, precision.SteepSigmoid, ("constructor", "false-zero-gradient", "claim"), claims={"range": (0, 1)}),
    Example(10, precision.bump, ("duplicate", "claim"), claims={"smooth": True}),
    Example(11, precision.WideInside, ("dtype-leak",)),
    Example(12, precision.OwnAutocast, ("autocast-inside",)),
    Example(17, basics.literal_sigmoid, ("non-finite-gradient", "false-zero-gradient")),
    Example(18, basics.literal_tanh, ("non-finite-output", "precision-loss")),
    Example(19, basics.max_leaky, ("precision-loss",), formula="leaky_relu(x, 2)"),
    Example(20, basics.literal_elu, ("masked-branch", "precision-loss")),
    Example(27, basics.relu_over_input, ("input-mutated",)),
    Example(27, basics.OverwritingReLU, ("in-place",)),
    Example(28, basics.gated_relu, ("claim", "dead-zone"), claims={"smooth": True}),
    Example(41, basics.literal_swish, ("precision-loss",)),
    Example(52, basics.squared_by_accident, ("input-mutated", "precision-loss"), formula="silu(x)"),
    Example(44, custom.SoftExponential, ("domain-violation",), {"alpha": -0.5}),
    Example(44, custom.SoftExponential, ("precision-loss", "wrong-parameter-gradient"), {"alpha": 1e-6}),
    Example(47, custom.bipolar_by_row, ("batch-coupling",)),
    Example(56, learned.NearlyIdentity, ("non-finite-gradient",)),
    Example(58, learned.ChannelSlopes, ("channel-axis", "dtype-leak")),
    Example(58, learned.TypedSlope, ("constructor", "shape-change", "dtype-leak")),
    Example(59, learned.SoftClip, ("false-zero-gradient", "constructor", "claim"), claims={"nonzero-gradient": True}),
    Example(60, learned.Mixture, ("parameter-gradient-overflow",)),
    Example(62, learned.Powers, ("non-finite-output", "duplicate")),
    Example(66, learned.ForgottenSlope, ("dead-parameter", "shape-change")),
    Example(66, learned.PiecewiseByMasks, ("invalid-subgradient",)),
    Example(67, learned.ListedSlopes, ("unregistered-parameter", "unregistered-constant")),
    Example(71, learned.Capped, ("dead-zone", "claim"), claims={"nonzero-gradient": True}),
    Example(72, learned.overwrought, ("non-finite-output",)),
    Example(73, learned.relu_the_long_way, ("duplicate", "nan-policy")),
    Example(74, learned.well_documented, ("duplicate", "claim", "precision-loss"), claims={"range": (-0.3, "inf")}),
    Example(81, clips.LearnedClip, ("degenerate-parameter",)),
    Example(81, clips.LearnedClip, ("parameter-gradient-overflow",), {"threshold": 0.01}),
    Example(84, clips.SoftplusClip, ("duplicate", "ineffective-parameter")),
    Example(85, clips.only_below, ("claim",), claims={"odd": True}),
    Example(82, clips.SmallNet, ("shape-change",)),
)


def judge(example: Example) -> Certificate:
    value, construction = example.made_of, None
    if isinstance(value, type):
        construction = Construction(value, (), example.kwargs)
        value = value(**example.kwargs)
    found = Found(example.made_of.__name__, value, construction=construction, claims=example.claims)
    subject = subject_of(found)
    if example.formula is not None:
        subject = type(subject)(**{**vars(subject), "formula": parse(example.formula), "parameters": {}})
    return check(subject, known=known_functions(), dtypes=(example.dtype,), only=example.finds)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{e.item}-{e.made_of.__name__}-{e.finds[0]}")
def test_broken_example_is_named_by_the_ids_that_describe_it(example: Example):
    certificate = judge(example)
    assert {f.check for f in certificate.findings} == set(example.finds), str(certificate)
    assert all(f.suggestion for f in certificate.findings)


# --- Advice that works ------------------------------------------------------------------------------------------

MENDED = (
    (precision.WideInside, mended.WideInside, ("dtype-leak",)),
    (precision.OwnAutocast, mended.OwnAutocast, ("autocast-inside",)),
    (basics.literal_elu, mended.literal_elu, ("masked-branch", "precision-loss", "false-zero")),
    (basics.literal_tanh, mended.literal_tanh, ("non-finite-output", "non-finite-gradient")),
    (basics.literal_swish, mended.literal_swish, ("precision-loss", "false-zero-gradient")),
    (basics.squared_by_accident, mended.squared_by_accident, ("input-mutated",)),
    (learned.ChannelSlopes, mended.ChannelSlopes, ("channel-axis", "dtype-leak")),
    (learned.TypedSlope, mended.TypedSlope, ("constructor", "shape-change", "dtype-leak")),
    (learned.ForgottenSlope, mended.ForgottenSlope, ("dead-parameter", "ineffective-parameter", "shape-change")),
    (learned.ListedSlopes, mended.ListedSlopes, ("unregistered-parameter", "unregistered-constant")),
    (clips.LearnedClip, mended.LearnedClip, ("degenerate-parameter",)),
    (custom.bipolar_by_row, mended.bipolar_by_channel, ("batch-coupling",)),
)


@pytest.mark.parametrize(("broken", "repaired", "ids"), MENDED, ids=lambda v: getattr(v, "__name__", None))
def test_taking_the_advice_removes_the_finding(broken: Any, repaired: Any, ids: tuple[str, ...]):
    before = judge(Example(0, broken, ids))
    assert before.of(ids[0]), str(before)
    after = judge(Example(0, repaired, ids))
    assert {f.check for f in after.findings if f.severity != "info"} == set(), str(after)
    assert ids[0] in after.checks_run


STABLE = (
    "log(1 + exp(x))",
    "x * tanh(log(1 + exp(x)))",
    "1 / (1 + exp(-x))",
    "(exp(x) - exp(-x)) / (exp(x) + exp(-x))",
)


@pytest.mark.parametrize("text", STABLE)
def test_the_stable_rewrite_that_eject_prints_has_none_of_the_findings(text: str):
    from actium.checking import activation_of

    numeric = ("non-finite-output", "non-finite-gradient", "precision-loss", "false-zero", "false-zero-gradient")
    before = _certificate(text, numeric)
    assert not before.passed
    assert any("actium eject" in (f.suggestion or "") for f in before.findings)
    space: dict[str, Any] = {}
    exec(compile(activation_of(text).eject(), "ejected", "exec"), space)  # what a user would paste
    ejected = next(v for v in space.values() if isinstance(v, type) and issubclass(v, nn.Module))
    found = Found("ejected", ejected())
    after = check(subject_of(found), known={}, dtypes=("float16", "bfloat16"), only=numeric)
    assert {f.check for f in after.findings if f.severity == "fail"} == set(), str(after)


@functools.cache
def _certificate(text: str, only: tuple[str, ...]) -> Certificate:
    return check(subject_of(Found(text, parse(text))), dtypes=("float16", "bfloat16"), only=only)
