"""A plan: what is differentiated, what is lowered for whom, and how the gradient input is named."""

from __future__ import annotations

import pytest
import torch

from actium.kernels.eager import compile_function
from actium.kernels.plan import Plan
from actium.symbolic.graph import Formula, parameter, variable, walk
from actium.symbolic.parse import parse


def test_the_formula_is_stabilized_once():
    plan = Plan(parse("x * tanh(log(1 + exp(x)))"), {})
    assert plan.formula.text == "x * tanh_softplus(x)"
    assert plan.slope("x") is plan.slope("x")


def test_modes_use_their_own_forms():
    plan = Plan(parse("softplus(tanh(x))"), {})
    for mode in ("c", "torch", "soft"):
        assert "softplus" not in {n.op for n in walk(plan.value(mode))}
    assert "exp" in {n.op for n in walk(Plan(parse("tanh(x)"), {}).value("soft"))}  # torch's own slope of it cancels
    assert "exp" not in {n.op for n in walk(Plan(parse("tanh(x)"), {}).value("torch"))}


def test_backward_multiplies_by_the_gradient():
    plan = Plan(parse("beta * x**3", parameters={"beta": 1.0}), {"beta": 2.0})
    gradient, roots = plan.backward(("x", "beta"), "torch")
    function = compile_function("b", ("x", gradient, "beta"), roots)
    x, g, beta = (torch.tensor(v, dtype=torch.float64) for v in (1.5, 10.0, 2.0))
    dx, dbeta = function(x, g, beta)
    assert (dx.item(), dbeta.item()) == (10 * 3 * 2 * 1.5**2, 10 * 1.5**3)


@pytest.mark.parametrize("taken", [("grad_output",), ("grad_output", "grad_output_")])
def test_the_gradients_name_never_collides(taken):
    root = variable("x") * parameter(taken[0])
    for other in taken[1:]:
        root = root * parameter(other)
    plan = Plan(Formula(root, ("x",), taken), dict.fromkeys(taken, 1.0))
    gradient, _ = plan.backward(("x",), "c")
    assert gradient not in (*taken, "x")
    formula = plan.backward_formula("x")
    assert formula.inputs == ("x", gradient)
    assert formula.parameters == taken


def test_infinity_is_judged_at_the_defaults():
    formula = parse("x / (1 + abs(x)) * beta", parameters={"beta": 1.0})
    for beta in (2.0, -3.0):
        value = compile_function("v", ("x", "beta"), (Plan(formula, {"beta": beta}).value("torch"),))
        got = value(torch.tensor([-torch.inf, torch.inf]), torch.tensor(beta))
        assert got.tolist() == pytest.approx([-beta, beta])


def test_a_parameter_may_be_named_like_a_local_of_the_generated_code():
    for name in ("t0", "_like", "i", "m", "at", "flags", "sums", "period", "row", "torch", "math", "lambda"):
        formula = Formula(parse("x * sigmoid(x)").root * parameter(name) + parameter(name), ("x",), (name,))
        plan = Plan(formula, {name: 2.0})
        function = compile_function("f", ("x", name), (plan.value("torch"),))
        got = function(torch.tensor(1.5), torch.tensor(2.0))
        assert got.item() == pytest.approx(2 * 1.5 / (1 + 2.718281828459045**-1.5) + 2)
