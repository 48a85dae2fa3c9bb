"""Every rule is an identity, proven by ball arithmetic, and none makes the float32 error worse on any float16."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from identities import BETA, X, disagreements, fp16_points, worst_error

import actium
from actium.symbolic import stabilize as s
from actium.symbolic.derivative import differentiate
from actium.symbolic.graph import Formula, Node, const, div, mul, op, parameter, rebuild, remake, where
from actium.symbolic.parse import parse

HALVES = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float64)
HALVES = HALVES[np.isfinite(HALVES)]
T = torch.from_numpy(HALVES)


def sp(x):
    return torch.logaddexp(torch.zeros_like(x), x)


def sig(x):
    return torch.exp(-sp(-x))


def sech(x):
    return 2 * torch.exp(-x.abs()) / (1 + torch.exp(-2 * x.abs()))


def gate(x):
    return torch.tanh(sp(x))


def shrink(x):
    series = x**3 / 3 - 2 * x**5 / 15 + 17 * x**7 / 315 - 62 * x**9 / 2835
    return torch.where(x.abs() < 0.02, series, x - torch.tanh(x))


def mish_slope(x):
    n = torch.exp(-x.abs())  # gate′ = sech²·σ = 4n(n+1)/(n²+2n+2)² with n = e^x, or its mirror image in 1/n
    slope = torch.where(
        x < 0, 4 * n * (n + 1) / (n * n + 2 * n + 2) ** 2, 4 * n * n * (1 + n) / (1 + 2 * n + 2 * n * n) ** 2
    )
    return gate(x) + x * slope


GATE = op("tanh_softplus", X)
SCALED_ROOT = op("sqrt", 1.0 + BETA * op("square", X))
PLAIN_ISRU = op("isru", X * BETA) / BETA
SCALED_ISRU = op("isru", op("sqrt", BETA) * X) / op("sqrt", BETA)

# (rule, formula that it must rewrite, the function in float64 by an independent form)
CASES = [
    (s._parity_rules, "tanh(-x)", lambda x: -torch.tanh(x)),
    (s._parity_rules, "erf(-x)", lambda x: -torch.erf(x)),
    (s._parity_rules, "atan(-x)", lambda x: -torch.atan(x)),
    (s._parity_rules, "sech(-x)", sech),
    (s._parity_rules, "sech(abs(x))", sech),
    (s._parity_rules, "cos(abs(x))", torch.cos),
    (s._parity_rules, mul(X, X), lambda x: x * x),
    (s._parity_rules, op("pow", X, const(2.0)), lambda x: x * x),
    (s._log_rules, "log(1 + exp(x))", sp),
    (s._log_rules, "log(exp(x) + 1)", sp),
    (s._log_rules, "log(1 + exp(-x))", lambda x: sp(-x)),
    (s._log_rules, "log(1 + 1 / exp(x))", lambda x: sp(-x)),
    (s._log_rules, "log(1 + exp(x)**2)", lambda x: sp(2 * x)),
    (s._log_rules, "log1p(exp(x))", sp),
    (s._log_rules, "log(sigmoid(x))", lambda x: -sp(-x)),
    (s._log_rules, "log(exp(x))", lambda x: x),
    (s._log_rules, "log(1 + x)", torch.log1p),
    (s._log_rules, "log(1 - x)", lambda x: torch.log1p(-x)),
    (s._minus_one_rules, "exp(x) - 1", torch.expm1),
    (s._minus_one_rules, "-1 + exp(x)", torch.expm1),
    (s._minus_one_rules, "1 - exp(x)", lambda x: -torch.expm1(x)),
    (s._minus_one_rules, op("add", op("exp", X), const(-1.0)), torch.expm1),
    (s._one_plus_rules, "1 + tanh(x)", lambda x: 2 * sig(2 * x)),
    (s._one_plus_rules, "1 - tanh(x)", lambda x: 2 * sig(-2 * x)),
    (s._one_plus_rules, "1 + erf(x)", lambda x: torch.erfc(-x)),
    (s._one_plus_rules, "1 - erf(x)", torch.erfc),
    (s._one_plus_rules, "1 - sigmoid(x)", lambda x: sig(-x)),
    (s._one_plus_rules, "1 - tanh(x)**2", lambda x: sech(x) ** 2),
    (s._quotient_rules, "1 / (1 + exp(-x))", sig),
    (s._quotient_rules, "1 / (1 + 1 / exp(x))", sig),
    (s._quotient_rules, "exp(x) / (1 + exp(x))", sig),
    (s._quotient_rules, "exp(-x) / (exp(-x) + 1)", lambda x: sig(-x)),
    (s._quotient_rules, "x / (1 + exp(-x))", lambda x: x * sig(x)),
    (s._quotient_rules, "1 / cosh(x)", sech),
    (s._quotient_rules, "sinh(x) / cosh(x)", torch.tanh),
    (s._quotient_rules, "x / cosh(x)", lambda x: x * sech(x)),
    (s._quotient_rules, "(exp(x) - exp(-x)) / (exp(x) + exp(-x))", torch.tanh),
    (s._quotient_rules, op("reciprocal", 2.0 + X), lambda x: 1 / (2 + x)),
    (s._ratio_rules, "x / (1 + abs(x))", lambda x: x / (1 + x.abs())),
    (s._ratio_rules, div(X, op("hypot1", X)), lambda x: x / torch.sqrt(1 + x * x)),
    (s._gate_rules, "tanh(softplus(x))", gate),
    (s._gate_rules, op("sech", op("softplus", X)), lambda x: sech(sp(x))),
    (s._gate_rules, "x - tanh(x)", shrink),
    (s._gate_rules, "expm1(x) * sigmoid(-x)", lambda x: torch.tanh(x / 2)),
    (s._gate_rules, "sigmoid(-x) * expm1(x)", lambda x: torch.tanh(x / 2)),
    (s._normal_rules, "exp(-(x**2))", lambda x: torch.exp(-x * x)),
    (s._normal_rules, "exp(-0.5 * x**2)", lambda x: torch.exp(-0.5 * x * x)),
    (s._normal_rules, "exp(x**2 * -0.5)", lambda x: torch.exp(-0.5 * x * x)),
    (s._normal_rules, op("exp", -(X * X)), lambda x: torch.exp(-x * x)),
    (s._normal_rules, "exp(-x * x)", lambda x: torch.exp(-x * x)),
    (s._normal_rules, "exp(-(x * x) / 2)", lambda x: torch.exp(-x * x / 2)),
    (s._normal_rules, "exp(-2 * x * (3 * x))", lambda x: torch.exp(-6 * x * x)),
    (s._normal_rules, "erfc(x / sqrt(2))", lambda x: torch.erfc(x / 2**0.5)),
    (s._normal_rules, "erfc(-x / sqrt(2))", lambda x: torch.erfc(-x / 2**0.5)),
    (s._normal_rules, "erfc(x * sqrt(0.5))", lambda x: torch.erfc(x / 2**0.5)),
    (s._normal_rules, "erfc(x * (1 / sqrt(2)))", lambda x: torch.erfc(x / 2**0.5)),
    (s._normal_rules, "erfc(rsqrt(2) * x)", lambda x: torch.erfc(x / 2**0.5)),
    (s._root_rules, "sqrt(1 + x**2)", lambda x: torch.sqrt(1 + x * x)),
    (s._root_rules, "sqrt(1 + 3 * x**2)", lambda x: torch.sqrt(1 + 3 * x * x)),
    (s._root_rules, op("rsqrt", 1.0 + op("square", X)), lambda x: 1 / torch.sqrt(1 + x * x)),
    (s._root_rules, "sqrt(1 + pi * x**2)", lambda x: torch.sqrt(1 + torch.pi * x * x)),
    (s._root_rules, "sqrt(1 + tanh(x)**2 * x**2)", lambda x: torch.sqrt(1 + (torch.tanh(x) * x) ** 2)),
    (s._root_rules, "sqrt(1 + exp(x) * x**2)", lambda x: torch.sqrt(1 + torch.exp(x) * x * x)),
    (s._root_rules, SCALED_ROOT, lambda x: torch.sqrt(1 + 0.3 * x * x)),
    (s._root_rules, div(X, s.stabilize_node(SCALED_ROOT)), lambda x: x / torch.sqrt(1 + 0.3 * x * x)),
    (s._isru_rules, differentiate(SCALED_ISRU, BETA), lambda x: -0.5 * x**3 / (1 + 0.3 * x * x) ** 1.5),
    (s._isru_rules, differentiate(PLAIN_ISRU, BETA), lambda x: -0.3 * x**3 / (1 + (0.3 * x) ** 2) ** 1.5),
    (s._where_rules, where(X > 0.0, where(X > 0.0, X, op("exp", X)), -X), torch.abs),
    (s._where_rules, where(X > 0.0, X, where(X > 0.0, op("exp", X), -X)), torch.abs),
    (s.cancel_rules, mul(BETA, mul(op("tanh", X), div(const(1.0), BETA))), torch.tanh),
    (s.cancel_rules, div(mul(op("tanh", X), BETA), BETA), torch.tanh),
    (s.cancel_rules, div(mul(BETA, div(X, BETA)), op("hypot1", X)), lambda x: x / torch.sqrt(1 + x * x)),
    (s.factor_rules, "sigmoid(x) + x * sigmoid(x) * sigmoid(-x)", lambda x: sig(x) + x * sig(x) * sig(-x)),
    (s.factor_rules, "sech(x) - x * (sech(x) * tanh(x))", lambda x: sech(x) * (1 - x * torch.tanh(x))),
    (s.factor_rules, "x * (sech(x) * tanh(x)) - sech(x)", lambda x: -sech(x) * (1 - x * torch.tanh(x))),
    (s.factor_rules, "exp(x) + x * exp(x)", lambda x: torch.exp(x) * (1 + x)),
    (s.factor_rules, "exp(x)**2 - exp(x)", lambda x: torch.exp(x) * torch.expm1(x)),
    (s._mish_rules, GATE * (X * op("tanh_softplus_rate", X) + 1.0), mish_slope),
]
# √2 as its double is not √2: the rule takes what was meant. They differ by 2^-53, times t² in the tail.
MEANT = [
    (s._normal_rules, "erfc(x * 0.7071067811865476)"),
    (s._normal_rules, "erfc(x / 1.4142135623730951)"),
    (s._normal_rules, "erfc(x * -0.7071067811865475)"),
]
IDS = [f"{rule.__name__.strip('_')}: {text}" for rule, text, _ in CASES]


def graph(text: str | Node) -> Node:
    return parse(text).root if isinstance(text, str) else text


def apply(rule: s.Rule, root: Node) -> Node:
    """One pass of one rule alone."""

    def visit(node: Node, args: tuple[Node, ...]) -> Node:
        new = remake(node, args)
        better = rule(new)
        return new if better is None else better

    return rebuild(root, visit)


def test_every_rule_has_a_case():
    assert {rule for rule, _, _ in CASES} == set(s.RULES)


@pytest.mark.parametrize(("rule", "text", "exact"), CASES, ids=IDS)
def test_rule_is_an_identity_on_float16(rule, text, exact):
    before = graph(text)
    after = apply(rule, before)
    assert after is not before
    assert disagreements(before, after, fp16_points()) == []
    assert disagreements(before, s.stabilize_node(before), fp16_points(512)) == []


@pytest.mark.parametrize(("rule", "text"), MEANT, ids=[text for _, text in MEANT])
def test_rule_means_the_root_of_two(rule, text):
    before = graph(text)
    after = apply(rule, before)
    assert after is not before
    near = [x for x in fp16_points() if abs(x) < 30]
    assert disagreements(before, after, near, bits=40) == []
    assert disagreements(before, after, near, bits=60) != []  # the test can tell


@pytest.mark.parametrize(("rule", "text", "exact"), CASES, ids=IDS)
def test_rule_never_raises_the_worst_error(rule, text, exact):
    before = graph(text)
    truth = exact(T).numpy()
    error, stabilized = worst_error(before, HALVES, truth), worst_error(s.stabilize_node(before), HALVES, truth)
    # Two graphs that are both within a few roundings of the truth are equally good.
    assert stabilized <= max(error, 4.0)


@pytest.mark.parametrize(
    "text",
    [
        "log(1 + exp(x))",
        "exp(x) - 1",
        "1 - tanh(x)",
        "1 + erf(x)",
        "exp(x) / (1 + exp(x))",
        "x - tanh(x)",
        "1 - tanh(x)**2",
    ],
)
def test_what_cancelled_or_overflowed_no_longer_does(text):
    exact = next(e for _, t, e in CASES if t == text)(T).numpy()
    assert worst_error(graph(text), HALVES, exact) > 1e3
    assert worst_error(s.stabilize_node(graph(text)), HALVES, exact) < 16


def test_a_false_rule_is_rejected():
    def half_as_steep(node: Node) -> Node | None:
        split = s._split_one(node)
        if split is None or split[0].op != "tanh":
            return None
        return mul(2.0, op("sigmoid", split[0].args[0]))  # 1 + tanh(t) is 2σ(2t)

    before = graph("1 + tanh(x)")
    assert len(disagreements(before, apply(half_as_steep, before), fp16_points())) > 400


def test_a_rule_that_is_true_but_harmful_is_rejected():
    before = graph("softplus(x)")
    harmful = apply(lambda n: op("log", 1.0 + op("exp", n.args[0])) if n.op == "softplus" else None, before)
    assert disagreements(before, harmful, fp16_points()) == []
    exact = sp(T).numpy()
    assert worst_error(harmful, HALVES, exact) > max(worst_error(before, HALVES, exact), 4.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x * tanh(log(1 + exp(x)))", "x * tanh_softplus(x)"),
        ("0.5 * x * (1 + erf(x / sqrt(2)))", "0.5 * x * (2 * ndtr(x))"),
        ("x / (1 + exp(-x))", "x * sigmoid(x)"),
        ("x * (1 - 2 / (exp(2 * x) + 1))", None),  # left as it was written, and still right
    ],
)
def test_known_results(text, expected):
    stabilized = s.stabilize(parse(text)).text
    assert expected is None or stabilized == expected
    assert s.stabilize(parse(stabilized)).text == stabilized


@pytest.mark.parametrize(("rule", "text", "exact"), CASES, ids=IDS)
def test_stabilize_reaches_a_fixed_point(rule, text, exact):
    once = s.stabilize_node(graph(text))
    assert s.stabilize_node(once) is once


def test_inputs_and_parameters_are_kept():
    beta = parameter("beta")
    formula = Formula(op("log", 1.0 + op("exp", beta * X)), ("x", "unused"), ("beta", "idle"))
    new = s.stabilize(formula)
    assert (new.inputs, new.parameters) == (formula.inputs, formula.parameters)
    assert new.root is op("softplus", beta * X)


@pytest.mark.parametrize(
    "text", ["sqrt(1 + x*x*x)", "sqrt(1 + -2 * x**2)", "sqrt(1 + (1 - pi) * x**2)", "sqrt(1 + abs(x) * x**2)"]
)
def test_a_root_of_what_need_not_be_positive_stays(text):
    """√|x| would be real everywhere, but its slope is infinite at 0."""
    assert not any(n.op in ("hypot1", "where") for n in s.stabilize(parse(text)).nodes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_root_of_a_cube_is_real_below_0(dtype):
    x = torch.tensor([-0.9, -0.5, 0.0, 2.0], dtype=dtype, requires_grad=True)
    y = actium.formula("sqrt(1 + x*x*x)")(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    exact = torch.sqrt(1 + x.detach().double() ** 3)
    torch.testing.assert_close(y.double(), exact, rtol=1e-6, atol=0)
    torch.testing.assert_close(slope.double(), 1.5 * x.detach().double() ** 2 / exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize("a", [-0.5, 0.0, 1e-9, 0.7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_parameter_under_a_root_may_have_any_sign(a, dtype):
    root = actium.activation(lambda x, a=actium.learnable(-0.5): torch.sqrt(1 + a * x**2))
    x = torch.tensor([1.0, 0.5, -0.25], dtype=dtype, requires_grad=True)
    p = torch.tensor([a], dtype=dtype, requires_grad=True)
    y = root(x, p)
    slopes = torch.autograd.grad(y.sum(), (x, p))
    eager = torch.func.grad(lambda x, p: root(x, p).sum(), (0, 1))(x.detach(), p.detach())
    x2, p2 = (t.detach().double().requires_grad_() for t in (x, p))
    exact = torch.sqrt(1 + p2 * x2**2)
    wanted = torch.autograd.grad(exact.sum(), (x2, p2))
    torch.testing.assert_close(y.double(), exact, rtol=1e-6, atol=0)
    for got in (slopes, eager):
        for g, w in zip(got, wanted, strict=True):
            torch.testing.assert_close(g.double(), w, rtol=1e-6, atol=1e-12)


def test_a_parameter_under_a_root_costs_no_range():
    isru = actium.formula("x / sqrt(1 + a * x**2)", a=1.0)
    far = torch.tensor([1e25, -1e30])
    assert isru(far, 0.25).tolist() == [2.0, -2.0]  # not 0: x² is infinite
    assert isru(far, 0.0).tolist() == far.tolist()
