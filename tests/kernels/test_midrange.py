"""The cheap form for moderate arguments: what it is, when it holds, and that an element's neighbours do not matter."""

from __future__ import annotations

import math

import pytest
import torch

import actium
from actium.authoring import formula
from actium.catalogue import ENTRIES, get
from actium.kernels.midrange import _grows, midrange
from actium.op import Op
from actium.symbolic.graph import Formula, Node, const, mul, op, parameter, variable, walk
from actium.symbolic.limits import in_float64
from samples import bits, identify

X = variable("x")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
WITH = [n for n in ENTRIES if get(n).activation().op.plan.midrange(("x",)) is not None]
OUTLIERS = (math.inf, -math.inf, math.nan, 3e4, -3e4, 90.0, -90.0, 33.0, -33.0)


def count(root: Node, name: str) -> int:
    return sum(node.op == name for node in walk(root))


def slope_form(name: str) -> Node:
    form = get(name).activation().op.plan.midrange(("x",))
    assert form is not None
    return form.roots[0]


def test_the_slopes_of_gates_take_one_exponential_and_one_division():
    for name in ("silu", "swish", "gelu_tanh", "mish", "sigmoid", "tanh"):
        assert count(slope_form(name), "exp_mid") == 1, name
        assert count(slope_form(name), "div") == 1, name


@pytest.mark.parametrize("name", [n for n in WITH if n != "softplus_clip"])
def test_the_largest_element_decides_for_all(name):
    activation = get(name).activation()
    for names in ((), ("x",)):
        form = activation.op.plan.midrange(names)
        if form is None:
            continue
        assert form.decided_by is X
        for factor in (1.0, -0.5, 0.0, 40.0):
            values = {parameter(p.name): factor * p.init for p in activation.parameters}
            held = [in_float64(form.condition, {**values, X: x}) for x in torch.logspace(-3, 5, 400).tolist()]
            assert held == sorted(held, reverse=True)
            assert held == [in_float64(form.condition, {**values, X: -x}) for x in torch.logspace(-3, 5, 400).tolist()]


@pytest.mark.parametrize(
    "root", [X - X * X * X, X + X * X, parameter("p") * X + X, op("exp", X), X / (1.0 + op("abs", X))]
)
def test_what_may_fall_or_differs_on_both_sides_is_asked_of_every_element(root):
    assert not _grows(root)


def test_there_is_none_without_exponentials_or_with_one_inside_another():
    for name in ("relu", "softsign", "polynomial", "hardswish"):
        assert get(name).activation().op.plan.midrange() is None, name
    assert midrange((op("exp", op("exp", X)),), ("x",)) is None


@pytest.mark.parametrize("name", WITH)
def test_the_condition_fails_for_infinity_nan_and_large_arguments(name):
    activation = get(name).activation()
    form = activation.op.plan.midrange()
    if form is None:
        form = activation.op.plan.midrange(("x",))
    values = {parameter(n): v for n, v in activation.op.defaults.items()}
    assert in_float64(form.condition, {**values, X: 1.0}) == 1.0
    for x in (math.inf, -math.inf, math.nan, 1e6, -1e6):
        assert in_float64(form.condition, {**values, X: x}) == 0.0, x


@pytest.mark.parametrize("dtype", DTYPES, ids=identify)
@pytest.mark.parametrize("name", WITH)
def test_an_element_does_not_depend_on_outliers_beside_it(name, dtype):
    activation = get(name).activation()
    x = torch.linspace(-9, 9, 1200).to(dtype)
    mixed = x.clone()
    # The first is the first of a block, which is not tried in the cheap form.
    mixed[torch.arange(len(OUTLIERS)) * 50] = torch.tensor(OUTLIERS).to(dtype)
    kept = bits(mixed) == bits(x)

    def both(t):
        t = t.clone().requires_grad_()
        y = activation(t)
        return y, torch.autograd.grad(y, t, torch.ones_like(y))[0]

    for alone, beside in zip(both(x), both(mixed), strict=True):
        assert torch.equal(bits(alone)[kept], bits(beside)[kept])
    for position in (~kept).nonzero().flatten().tolist():  # and the outliers are what they are alone
        for one, many in zip(both(mixed[position : position + 1]), both(mixed), strict=True):
            assert torch.equal(one.nan_to_num(7.0), many[position : position + 1].nan_to_num(7.0))


@pytest.mark.parametrize("outlier", [0.5, math.inf, -200.0])
def test_in_place_is_the_same_also_where_a_block_is_computed_twice(outlier):
    x = torch.randn(1500)
    x[100] = outlier
    expected = get("silu").activation()(x)
    got = x.clone()
    get("silu").activation()(got, inplace=True)
    assert torch.equal(got, expected)


def test_a_numerator_that_could_overflow_is_not_formed():
    x, p = X, parameter("p")
    big = mul(mul(mul(p, p), mul(p, p)), op("sigmoid", x))
    form = midrange((mul(big, op("sigmoid", -x)),), ("x",))
    assert form is not None
    # p⁴ = 1.8e19 at most, e^32 = 8e13: together with another p⁴ this would not be a float32.
    wide = midrange((mul(mul(big, mul(p, p)), mul(mul(p, p), op("sigmoid", -x))),), ("x",))
    assert wide is not None
    assert count(form.roots[0], "div") < count(wide.roots[0], "div")


@pytest.mark.parametrize("value", [1e10, 1e-10, -3.0, 0.0])
def test_unusual_parameters_take_the_form_that_is_right_for_them(value):
    swish = formula("x * sigmoid(b * x)", b=1.0)
    x = torch.linspace(-9, 9, 1001, requires_grad=True)
    y = swish(x, b=value)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    wide = x.detach().double().requires_grad_()
    exact = swish(wide, b=value)
    (slope,) = torch.autograd.grad(exact.sum(), wide)
    torch.testing.assert_close(y.double(), exact, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradient.double(), slope, rtol=1e-5, atol=2e-6)


# --- functions times another input -----------------------------------------------------------------------

GATES = ("sigmoid", "silu", "gelu", "gelu_tanh", "mish", "swish")


def unit_of(root: Node, *parameters: str) -> Op:
    return Op(Formula(mul(root, variable("up")), ("x", "up"), parameters), dict.fromkeys(parameters, 1.0))


@pytest.mark.parametrize("name", GATES)
def test_a_gate_times_another_input_has_the_form_of_the_gate(name):
    plan = actium.glu(name).op.plan
    (x, up), gradient = map(variable, plan.formula.inputs), variable("grad_output")
    value, slopes = plan.midrange(), plan.midrange(plan.formula.inputs)
    assert count(value.roots[0], "div") == count(get(name).activation().op.plan.midrange().roots[0], "div")
    bounds = dict(slopes.bounds)
    assert bounds[up] == bounds[gradient] == 2.0**32
    moderate = {x: 1.0, up: -3.0, gradient: 1e6}
    for leaf in moderate:
        for value in (math.inf, -math.inf, math.nan, 1e20, -1e20):
            assert not in_float64(slopes.condition, {**moderate, leaf: value})
    assert in_float64(slopes.condition, moderate)


def test_an_input_meets_the_others_before_it_meets_the_rest():
    plan = actium.glu("silu").op.plan
    gate, up, gradient = map(variable, (*plan.formula.inputs, "grad_output"))
    assert plan.midrange().roots[0].args[0] is up * gate
    of_gate, of_up = plan.midrange(plan.formula.inputs).roots
    assert of_gate.args[0] is gradient * up
    assert of_up.args[0] is gradient * gate


@pytest.mark.parametrize(
    "root",
    [
        op("exp", X),  # would lift what has underflowed
        10.0 * op("sigmoid", X),
        X * X * X * X * op("exp", -X),  # four inputs and two others: might overflow
        op("max", X, const(0.0)),  # nothing to gain
    ],
)
def test_there_is_none_for_steep_functions_and_many_inputs(root):
    assert unit_of(root).plan.midrange() is None


def test_only_a_product_with_an_input_that_is_nowhere_else_has_one():
    up, s = variable("up"), op("sigmoid", X)
    for root in (s * up + up, s * (up * up), s + up, op("sigmoid", X * up) * up):
        assert Op(Formula(root, ("x", "up")), {}).plan.midrange() is None
    for root in (s * up, up * s):
        assert Op(Formula(root, ("x", "up")), {}).plan.midrange() is not None


@pytest.mark.parametrize("dtype", DTYPES, ids=identify)
@pytest.mark.parametrize("name", ["silu", "gelu", "swish"])
def test_an_element_of_a_gated_unit_does_not_depend_on_outliers_beside_it(name, dtype):
    unit = actium.glu(name)
    torch.manual_seed(0)
    alone = [torch.linspace(-9, 9, 1200).to(dtype), torch.randn(1200).to(dtype), torch.randn(1200).to(dtype)]

    def results(gate, up, grad):
        gate, up = gate.clone().requires_grad_(), up.clone().requires_grad_()
        y = unit(gate, up)
        return (y, *torch.autograd.grad(y, (gate, up), grad))

    for which in range(3):
        mixed = [t.clone() for t in alone]
        mixed[which][torch.arange(len(OUTLIERS)) * 50] = torch.tensor(OUTLIERS).to(dtype)
        kept = bits(mixed[which]) == bits(alone[which])
        for one, many in zip(results(*alone), results(*mixed), strict=True):
            assert torch.equal(bits(one)[kept], bits(many)[kept])
        for k in (~kept).nonzero().flatten().tolist():
            single = results(*(t[k : k + 1] for t in mixed))
            for one, many in zip(single, results(*mixed), strict=True):
                assert torch.equal(one.nan_to_num(7.0), many[k : k + 1].nan_to_num(7.0))


def test_several_inputs_are_bounded_each():
    gate = Op(Formula(op("sigmoid", X) * variable("up"), ("x", "up")), {})
    x, up = torch.linspace(-30, 30, 999), torch.full((999,), 1e30)
    torch.testing.assert_close(
        gate.many((x, up), (), None), torch.sigmoid(x.double()).mul(1e30).float(), rtol=1e-6, atol=0
    )
    assert midrange((op("exp", X) + const(1.0),), ("x", "up")) is not None
