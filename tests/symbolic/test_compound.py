"""Every function that expands into primitives, against PyTorch's own, value and slope, in float64.

The slope is that of the branch a `where` selects, so this also pins the gradient at every kink.
"""

import inspect
import math

import pytest
import torch
import torch.nn.functional as F

from actium.errors import FormulaError
from actium.symbolic.compound import ALIASES, COMPOUNDS, FUNCTIONS
from actium.symbolic.graph import Node, const, number_of, op, variable, walk
from actium.symbolic.primitives import PRIMITIVES

X = variable("x")
COMPARE = {"lt": float.__lt__, "le": float.__le__, "gt": float.__gt__, "ge": float.__ge__, "eq": float.__eq__}
COMPARE |= {"ne": float.__ne__}


class Evaluator:
    """Value and slope of a graph at one point; only the selected branch of a `where` is ever looked at."""

    def __init__(self, **inputs):
        self.inputs = inputs

    def holds(self, node):
        if node.op == "and":
            return self.holds(node.args[0]) and self.holds(node.args[1])
        if node.op == "or":
            return self.holds(node.args[0]) or self.holds(node.args[1])
        if node.op == "not":
            return not self.holds(node.args[0])
        return COMPARE[node.op](*(self.value(a) for a in node.args))

    def value(self, node):
        if node.is_const:
            return number_of(node)
        if node.op in ("input", "param"):
            return float(self.inputs[node.value])
        if node.op == "where":
            return self.value(node.args[1 if self.holds(node.args[0]) else 2])
        row = PRIMITIVES[node.op]
        if row.torch is None:
            return self.value(row.expand(*node.args))
        names = [f"a{i}" for i in range(row.arity)]
        operands = [torch.tensor(self.value(a), dtype=torch.float64) for a in node.args]
        code = row.torch.format(*names)  # a template of this package's own table
        return float(eval(code, {"torch": torch, "_exp_square": gauss, **dict(zip(names, operands, strict=True))}))

    def slope(self, node, name="x"):
        if not any(n.value == name for n in walk(node) if n.op in ("input", "param")):
            return 0.0
        if node.op in ("input", "param"):
            return 1.0
        if node.op == "where":
            return self.slope(node.args[1 if self.holds(node.args[0]) else 2], name)
        total = 0.0
        for operand, partial in zip(node.args, PRIMITIVES[node.op].derivative(*node.args, node), strict=True):
            inner = self.slope(operand, name)
            if inner != 0.0:
                total += self.value(partial) * inner
        return total


def gauss(u, c):
    return torch.exp(c * u * u)


GRID = [-60.0, -20.5, -7.0, -6.0, -3.5, -3.0, -2.0, -1.5, -1.0, -0.5, -0.25, -1e-3, 0.0]
GRID = [*GRID, *(-v for v in GRID if v), 20.0, 21.0]
# name, its own arguments, PyTorch's function
ACTIVATIONS = [
    ("relu", {}, F.relu),
    ("relu6", {}, F.relu6),
    ("hardtanh", {}, F.hardtanh),
    ("hardtanh", {"min_val": -2.0, "max_val": 0.5}, lambda x: F.hardtanh(x, -2.0, 0.5)),
    ("hardsigmoid", {}, F.hardsigmoid),
    ("hardswish", {}, F.hardswish),
    ("leaky_relu", {}, F.leaky_relu),
    ("leaky_relu", {"negative_slope": 1.5}, lambda x: F.leaky_relu(x, 1.5)),
    ("prelu", {"weight": 0.25}, lambda x: F.prelu(x, torch.tensor([0.25], dtype=torch.float64))),
    ("rrelu", {}, F.rrelu),
    ("rrelu", {"lower": 0.1, "upper": 0.4}, lambda x: F.rrelu(x, 0.1, 0.4)),
    ("threshold", {"threshold": 1.0, "value": 5.0}, lambda x: F.threshold(x, 1.0, 5.0)),
    ("hardshrink", {}, F.hardshrink),
    ("softshrink", {}, F.softshrink),
    ("softshrink", {"lambd": 0.0}, lambda x: F.softshrink(x, 0.0)),
    ("elu", {}, F.elu),
    ("elu", {"alpha": 0.3}, lambda x: F.elu(x, 0.3)),
    ("celu", {"alpha": 2.0}, lambda x: F.celu(x, 2.0)),
    ("selu", {}, F.selu),
    ("silu", {}, F.silu),
    ("mish", {}, F.mish),
    ("gelu", {}, F.gelu),
    ("gelu", {"approximate": "tanh"}, lambda x: F.gelu(x, approximate="tanh")),
    ("softplus", {"threshold": 20.0}, F.softplus),
    ("softplus", {"beta": 3.0, "threshold": 5.0}, lambda x: F.softplus(x, 3.0, 5.0)),
    ("softsign", {}, F.softsign),
    ("logsigmoid", {}, F.logsigmoid),
    ("tanhshrink", {}, F.tanhshrink),
    ("sigmoid", {}, torch.sigmoid),
    ("tanh", {}, torch.tanh),
    ("clamp", {"min": -1.0, "max": 0.5}, lambda x: torch.clamp(x, -1.0, 0.5)),
    ("clamp", {"min": -1.0}, lambda x: torch.clamp(x, min=-1.0)),
    ("clamp_max", {"max": 0.5}, lambda x: torch.clamp(x, max=0.5)),
    ("clamp_min", {"min": 0.5}, lambda x: torch.clamp(x, min=0.5)),
    ("tan", {}, torch.tan),
    ("trunc", {}, torch.trunc),
    ("frac", {}, torch.frac),
    ("ceil", {}, torch.ceil),
    ("lerp", {"end": 3.0, "weight": 0.25}, lambda x: torch.lerp(x, torch.tensor(3.0, dtype=x.dtype), 0.25)),
    ("logaddexp", {"other": 0.5}, lambda x: torch.logaddexp(x, torch.tensor(0.5, dtype=x.dtype))),
]


@pytest.mark.parametrize(
    ("name", "options", "reference"), ACTIVATIONS, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(ACTIVATIONS)]
)
def test_compound_has_the_value_and_slope_of_pytorch_everywhere_and_at_kinks(name, options, reference):
    node = FUNCTIONS[name]([X], options)
    for x in GRID:
        t = torch.tensor([x], dtype=torch.float64, requires_grad=True)
        y = reference(t)
        (slope,) = torch.autograd.grad(y.sum(), t)
        at = Evaluator(x=x)
        assert at.value(node) == pytest.approx(y.item(), rel=1e-9, abs=1e-15), x
        # PyTorch's slope of hardsigmoid is 1/6 in float32, in float64 too.
        close = 1e-7 if name == "hardsigmoid" else 1e-9
        assert at.slope(node) == pytest.approx(slope.item(), rel=close, abs=1e-14), x


@pytest.mark.parametrize(
    ("name", "reference", "points"),
    [
        ("logit", torch.logit, [1e-9, 0.1, 0.5, 0.9]),
        ("atanh", torch.atanh, [-0.9, -1e-6, 0.0, 0.5]),
        ("log10", torch.log10, [1e-9, 0.1, 10.0]),
    ],
)
def test_compound_with_a_domain_has_the_value_of_pytorch_inside_it(name, reference, points):
    for x in points:
        expected = reference(torch.tensor(x, dtype=torch.float64)).item()
        assert Evaluator(x=x).value(FUNCTIONS[name]([X])) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("name", "sign"), [("addcmul", 1), ("addcdiv", -1)])
def test_fused_products_follow_pytorch(name, sign):
    node = FUNCTIONS[name]([X, 3.0, 4.0], {"value": 0.5})
    assert Evaluator(x=2.0).value(node) == 2.0 + 0.5 * 3.0 * 4.0**sign


def test_heaviside_takes_its_value_at_zero():
    node = FUNCTIONS["heaviside"]([X, 0.25])
    assert [Evaluator(x=x).value(node) for x in (-1.0, 0.0, 1.0)] == [0.0, 0.25, 1.0]


NAN_KEEPING = [n for n, _, _ in ACTIVATIONS if n not in ("trunc", "frac", "ceil")]


@pytest.mark.parametrize("name", sorted(set(NAN_KEEPING) & set(COMPOUNDS)))
def test_compound_hands_a_nan_on(name):
    options = next(o for n, o, _ in ACTIVATIONS if n == name)
    assert math.isnan(Evaluator(x=math.nan).value(FUNCTIONS[name]([X], options)))


@pytest.mark.parametrize(
    ("name", "low", "high"), [("hardswish", 0.0, math.inf), ("hardsigmoid", 0.0, 1.0), ("relu6", 0.0, 6.0)]
)
def test_piecewise_compound_has_its_limits_at_infinity(name, low, high):
    node = FUNCTIONS[name]([X])
    assert Evaluator(x=-math.inf).value(node) == low
    assert Evaluator(x=math.inf).value(node) == high
    assert Evaluator(x=1e308).value(node) == min(high, 1e308)


def test_softplus_without_a_threshold_is_the_primitive():
    assert FUNCTIONS["softplus"]([X]) is op("softplus", X)


def test_every_alias_names_a_function_and_none_hides_a_primitive():
    for alias, name in ALIASES.items():
        assert FUNCTIONS[alias] is FUNCTIONS[name]
        assert alias not in PRIMITIVES


def test_defaults_of_compounds_are_those_of_pytorch():
    # softplus aside: the function of mathematics has no threshold, and `trace` adds PyTorch's.
    for name in ("hardtanh", "leaky_relu", "elu", "celu", "rrelu"):
        theirs = {k: p.default for k, p in inspect.signature(getattr(F, name)).parameters.items()}
        mine = {k: v for k, v in COMPOUNDS[name].arguments.items() if k != "x"}
        assert mine == {k: theirs[k] for k in mine}


@pytest.mark.parametrize(
    ("name", "args", "keywords", "says"),
    [
        ("elu", [X, 1.0, 2.0], {}, "at most 2"),
        ("elu", [X], {"beta": 1.0}, "no argument 'beta'"),
        ("elu", [X, 1.0], {"alpha": 1.0}, "twice"),
        ("threshold", [X], {}, "needs threshold, value"),
        ("tanh", [X > 0], {}, "is a condition"),
        ("where", [X, X, X], {}, "must be a condition"),
        ("and", [X > 0, X], {}, "must be a condition"),
        ("gelu", [X, 1.0], {}, "cannot be"),
        ("elu", [X, "one"], {}, "must be a number"),
        ("clamp", [X], {}, "min, max or both"),
        ("elu", [X, None], {}, "cannot be"),
    ],
)
def test_function_refuses_wrong_arguments(name, args, keywords, says):
    with pytest.raises(FormulaError, match=says):
        FUNCTIONS[name](args, keywords)


def test_function_accepts_parameters_as_arguments():
    a = Node("param", (), "a")
    node = FUNCTIONS["softplus"]([X, a], {"threshold": const(20.0)})
    assert Evaluator(x=1.0, a=2.0).value(node) == pytest.approx(math.log1p(math.exp(2.0)) / 2.0)
    assert Evaluator(x=11.0, a=2.0).value(node) == 11.0
