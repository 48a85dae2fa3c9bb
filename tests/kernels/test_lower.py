"""Lowered graphs: nothing underflows on the way, nothing leaks from an unselected branch, constants are exact."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from actium.authoring import formula
from actium.kernels.eager import compile_function
from actium.kernels.lower import Lowering
from actium.kernels.masking import mask_branches
from actium.kernels.plan import Plan
from actium.symbolic.balls import evaluate
from actium.symbolic.graph import Node, const, number_of, op, parameter, variable, walk, where
from actium.symbolic.parse import parse
from actium.symbolic.primitives import PRIMITIVES
from actium.symbolic.stabilize import stabilize_node
from samples import ALL, all_halves, identify

X, BETA = variable("x"), parameter("beta")
TEXTS = [
    "relu(x)", "relu6(x)", "hardtanh(x)", "hardsigmoid(x)", "hardswish(x)", "leaky_relu(x)", "hardshrink(x)",
    "softshrink(x)", "elu(x)", "celu(x)", "selu(x)", "silu(x)", "mish(x)", "gelu(x)", "softplus(x)", "sigmoid(x)",
    "logsigmoid(x)", "tanh(x)", "tanhshrink(x)", "softsign(x)", "x * tanh(exp(x))", "x / sqrt(1 + x**2)",
    "where(x > 0, x, exp(x) - 1)", "where(x > 1, log(x), x - 1)", "where(x >= 0, sqrt(x), -sqrt(-x)) * tanh(x)",
    "exp(-exp(x))", "x * exp(-2 * exp(-x))", "sigmoid(exp(x))",
    "erf(exp(2 * x)) * x",
    "max(x, 0)**2", "clamp(exp(x), 0, 5)", "log(1 + relu(x))", "where(x < 0, 1 / (1 - x), 1 + x)",
]  # fmt: skip


def lowered(root: Node, target="torch", soft=False) -> Node:
    lowering = Lowering(target, soft=soft)
    return lowering.finish(lowering.lower(root))


@pytest.mark.parametrize("target", ["c", "torch"])
@pytest.mark.parametrize("text", TEXTS)
def test_every_operation_has_a_machine_form(text, target):
    for root in (parse(text).root, stabilize_node(parse(text).root)):
        for node in walk(lowered(root, target)):
            assert not node.args or getattr(PRIMITIVES[node.op], target) is not None


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("text", TEXTS)
def test_lowering_keeps_the_value(text, soft):
    root = stabilize_node(parse(text).root)
    new = lowered(root, soft=soft)
    function = compile_function("f", ("x",), (new,))
    points = [-30.5, -3.25, -1.0, -0.3, 0.4, 1.0, 2.75, 20.5]
    got = function(torch.tensor(points, dtype=torch.float64)).tolist()
    for x, y in zip(points, got, strict=True):
        exact = evaluate(root, {X: x}, 200)
        if exact.is_finite():
            assert y == pytest.approx(float(exact.mid()), rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=identify)
@pytest.mark.parametrize("text", TEXTS)
def test_autodiff_of_the_soft_form_has_no_nan_on_any_finite_half(text, dtype):
    function = compile_function("f", ("x",), (Plan(parse(text), {}).value("soft"),))
    x = all_halves(dtype)
    x = x[x.isfinite()].float().requires_grad_()
    slopes = function(x)
    # In float32 2·x and x² of a bfloat16 may be infinite: a composed formula or a second slope may then be inf − inf.
    reach = [2.0**62 if text in COMPOSED else math.inf, 2.0**62]
    for within in reach:
        if slopes.requires_grad:
            (slopes,) = torch.autograd.grad(slopes.sum(), x, create_graph=True, materialize_grads=True)
            bad = x[slopes.isnan() & (x.abs() < within)].detach()
            # An infinite slope at 0 makes the second derivative NaN there, for every rule.
            assert bad[bad != 0 if text in SINGULAR else ...].tolist()[:5] == []


COMPOSED = ("x * exp(-2 * exp(-x))", "erf(exp(2 * x)) * x")
SINGULAR = ("where(x >= 0, sqrt(x), -sqrt(-x)) * tanh(x)",)


@pytest.mark.parametrize("activation", ALL, ids=identify)
def test_autodiff_of_the_soft_form_agrees_with_the_derivative(activation):
    plan = activation.op.plan
    names = (*plan.formula.inputs, *plan.formula.parameters)
    function = compile_function("f", names, (plan.value("soft"),))
    x = torch.linspace(-12, 12, 399, dtype=torch.float64, requires_grad=True)
    values = [torch.tensor(v, dtype=torch.float64) for v in activation.values()]
    (got,) = torch.autograd.grad(function(x, *values).sum(), x)
    gradient, roots = plan.backward(("x",), "torch")
    slope = compile_function("g", (*plan.formula.inputs, gradient, *plan.formula.parameters), roots)
    exact = slope(x.detach(), torch.ones_like(x), *values)
    torch.testing.assert_close(got, exact, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        ("x * sigmoid(x)", lambda x: x * math.exp(x)),
        ("x * exp(x)", lambda x: x * math.exp(x)),
        ("x**2 * sech(x)", lambda x: x * x * 2 * math.exp(x)),
        ("x * tanh(log(1 + exp(x)))", lambda x: x * math.exp(x)),
        ("1000 * x * exp(x)", lambda x: 1000 * x * math.exp(x)),
        ("x * tanh(exp(x))", lambda x: x * math.exp(x)),
    ],
)
def test_a_product_reaches_past_the_underflow_of_its_exponential(text, exact):
    function = compile_function("f", ("x",), (lowered(stabilize_node(parse(text).root)),))
    for x in (-88.0, -89.5, -91.0):
        got = function(torch.tensor([x])).item()
        # In plain torch e^x is subnormal here and keeps 14 bits or more; more than a half holds.
        assert got == pytest.approx(exact(x), rel=2.0**-12)
        assert got != 0.0


QUOTIENTS = {
    "x / exp(x)": lambda x: x / torch.exp(x),
    "1 / exp(x)": lambda x: 1 / torch.exp(x),
    "cos(x) / exp(2 * x)": lambda x: torch.cos(x) / torch.exp(2 * x),
    "x / exp(x * x)": lambda x: x / torch.exp(x * x),
    "(1 + x) * tanh(softplus(-x))": lambda x: (1 + x) * torch.tanh(F.softplus(-x)),
    "exp(x) * tanh(softplus(-2 * x))": lambda x: torch.exp(x) * torch.tanh(F.softplus(-2 * x)),
    "(1 + x) / cosh(softplus(-x))": lambda x: (1 + x) / torch.cosh(F.softplus(-x)),
    "mish(-x)": lambda x: F.mish(-x),
}


@pytest.mark.parametrize("text", QUOTIENTS)
def test_exponentials_below_the_line_and_of_negatives_are_right_on_every_path(text):
    activation, written = formula(text), QUOTIENTS[text]
    x = torch.tensor([-3.0, -0.5, 0.0, 0.25, 4.0], dtype=torch.float64)
    torch.testing.assert_close(activation(x), written(x))
    torch.testing.assert_close(activation(x.float()), written(x).float())
    torch.testing.assert_close(torch.vmap(activation)(x), written(x))
    for function, exact in ((activation, written), (torch.func.grad(activation), torch.func.grad(written))):
        torch.testing.assert_close(torch.vmap(torch.func.grad(function))(x), torch.vmap(torch.func.grad(exact))(x))


def test_negative_powers_and_ties_have_the_derivatives_of_the_function():
    cube, x = formula("x**-3"), torch.tensor([1e-7, -1e-8, 2.0])
    torch.testing.assert_close(torch.vmap(torch.func.grad(cube))(x), -3 * x**-4)
    tie, at = formula("logaddexp(x, -x)"), torch.zeros(1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.functional.hessian(lambda t: tie(t).sum(), at).item() == pytest.approx(1.0)
    assert torch.func.grad(torch.func.grad(lambda t: tie(t).sum()))(at.detach()[0]).item() == pytest.approx(1.0)


@pytest.mark.parametrize("text", ["x + exp(x / inf)", "exp(-(1e200 * x) * (2e200 * x))"])
def test_constants_that_no_kernel_holds_are_left_alone(text):
    assert formula(text)(torch.zeros(1, dtype=torch.float64)) == 1


@pytest.mark.parametrize("text", ["x * sigmoid(x)", "x**2 * exp(-x**2)", "x * tanh(exp(x))", "exp(x) * x**3 * sech(x)"])
def test_a_product_with_a_vanished_factor_is_zero_and_not_nan(text):
    function = compile_function("f", ("x",), (lowered(stabilize_node(parse(text).root)),))
    got = function(torch.tensor([-3e38, -1e30, -1e10, -1e3]))
    assert not got.isnan().any()
    if "sech" not in text:
        assert torch.equal(got, torch.zeros(4))


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (X * op("sqrt", const(2.0)), math.sqrt(2.0)),
        (X * (2.0 / op("sqrt", Node("pi"))), 2 / math.sqrt(math.pi)),
        (X * (const(1.0) / const(3.0)), 1 / 3),
        (X + op("exp", const(1.0)), math.e),
        (op("log", const(2.0)) * op("tanh", X), math.log(2.0)),
    ],
)
@pytest.mark.parametrize("target", ["c", "torch"])
def test_constants_are_folded_to_the_nearest_double(node, expected, target):
    constants = [number_of(n) for n in walk(lowered(node, target)) if n.is_const]
    assert expected in constants
    assert all(PRIMITIVES[n.op].name not in ("sqrt", "log") for n in walk(lowered(node, target)) if n.args)


def test_constants_that_are_no_number_stay():
    assert not lowered(X * op("log", const(-1.0))).is_const
    assert any(n.op == "log" for n in walk(lowered(X * op("log", const(-1.0)))))


ONE, TWO, UNKNOWN = const(1.0), const(2.0), X > 0.0
DECIDED = [
    (op("gt", TWO, ONE), True),
    (op("eq", TWO, const(0.0)), False),
    (op("lt", ONE, op("sqrt", TWO)), True),
    (op("not", op("gt", TWO, ONE)), False),
    (op("not", op("lt", TWO, ONE)), True),
    (op("and", op("gt", TWO, ONE), op("ne", TWO, ONE)), True),
    (op("or", op("lt", TWO, ONE), op("eq", TWO, ONE)), False),
    (op("and", UNKNOWN, op("lt", TWO, ONE)), False),
    (op("or", UNKNOWN, op("gt", TWO, ONE)), True),
    (op("and", op("gt", TWO, ONE), UNKNOWN), None),
    (op("or", UNKNOWN, op("lt", TWO, ONE)), None),
]


@pytest.mark.parametrize("target", ["c", "torch"])
@pytest.mark.parametrize(("condition", "holds"), DECIDED, ids=str)
def test_conditions_between_constants_are_decided(condition, holds, target):
    a, b = op("sin", X), op("cos", X)
    expected = where(UNKNOWN, a, b) if holds is None else a if holds else b
    assert lowered(where(condition, a, b), target) is expected


def test_a_condition_on_what_is_no_number_stays_and_does_not_hold():
    root = lowered(where(op("log", const(-1.0)) > 0.0, X, -X))
    assert root.op == "where"
    assert compile_function("f", ("x",), (root,))(torch.tensor([2.0])).tolist() == [-2.0]


CONSTANT_PARTS = {
    "2**x": 2.0**0.75,
    "where(2 > 1, x, -x)": 0.75,
    "max(2, 1) * x": 1.5,
    "clamp(3, 0, 1) * x": 0.75,
    "(-2.0)**x": math.nan,
    "x * log(-1)": math.nan,
    "x + 1/0": math.inf,
    "exp(1000) * x": math.inf,
    "where(log(-1) > 0, x, -x)": -0.75,
}


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # torch's own, in jvp
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=identify)
@pytest.mark.parametrize(("text", "value"), CONSTANT_PARTS.items())
def test_formulas_with_constant_parts_compose(text, value, dtype):
    f = formula(text)
    x = torch.tensor([0.75], dtype=dtype, requires_grad=True)
    slope = torch.autograd.grad(f(x).sum(), x, create_graph=True)[0]
    if slope.requires_grad:
        torch.autograd.grad(slope.sum(), x)
    values = [f(x), torch.func.vmap(f)(x), torch.func.jvp(f, (x,), (torch.ones_like(x),))[0]]
    slopes = [torch.func.vmap(f.derivative())(x), torch.func.vmap(torch.func.grad(f))(x)]
    for found, expected in [(v, torch.full_like(x, value)) for v in values] + [(s, slope) for s in slopes]:
        torch.testing.assert_close(found, expected, equal_nan=True)
    assert f(x.to("meta")).dtype is dtype


@pytest.mark.parametrize("exponent", [2.0, 3.0, 5.0, 11.0, 64.0, -3.0, -6.0])
def test_integer_powers_are_products(exponent):
    node = lowered(op("pow", X, const(exponent)), "c")
    assert all(n.op != "pow" for n in walk(node))
    assert len(walk(node)) < 20
    x = -1.0625
    assert float(evaluate(node, {X: x}, 200).mid()) == pytest.approx(x**exponent, rel=1e-14)


@pytest.mark.parametrize("exponent", [0.3, 2.5, 65.0, 1e6])
def test_other_powers_stay(exponent):
    assert lowered(op("pow", X, const(exponent)), "c").op == "pow"


def test_roots_lowered_together_share_nodes():
    lowering = Lowering("c")
    value = lowering.lower(stabilize_node(parse("mish(x)").root))
    slope = lowering.lower(op("tanh_softplus", X))
    assert len(walk(value, slope)) < len(walk(value)) + len(walk(slope)) - 3


# --- branch masking --------------------------------------------------------------------------------------


def gradient_of(node: Node, x: float) -> float:
    t = torch.tensor([x], requires_grad=True)
    (g,) = torch.autograd.grad(compile_function("f", ("x",), (node,))(t).sum(), t)
    return g.item()


@pytest.mark.parametrize(
    ("node", "x", "slope"),
    [
        (where(X > 0.0, X, op("expm1", X)), 100.0, 1.0),
        (where(X > 0.0, op("sqrt", X), const(0.0) * X), 0.0, 0.0),
        (where(X > 1.0, op("log", X), X - 1.0), 0.0, 1.0),
        (where(X < 0.0, 1.0 / X, X), 0.0, 1.0),
        (where(X > 0.0, where(X > 2.0, op("log", X - 2.0), X), op("exp", -X)), 2.0, 1.0),
    ],
)
def test_masked_branches_do_not_leak(node, x, slope):
    assert math.isnan(gradient_of(node, x))  # torch's own rule
    assert gradient_of(mask_branches(node), x) == slope


def test_tame_branches_are_left_alone():
    node = where(X > 0.0, op("tanh", X), 2.0 * X)
    assert mask_branches(node) is node
    moving_cannot_help = where(BETA > 0.0, op("log", X), X)
    assert mask_branches(moving_cannot_help) is moving_cannot_help
