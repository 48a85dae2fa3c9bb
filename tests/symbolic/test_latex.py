"""Formula → LaTeX."""

import pytest

from actium.symbolic.compound import COMPOUNDS
from actium.symbolic.graph import Formula, op, variable
from actium.symbolic.latex import to_latex
from actium.symbolic.parse import parse
from actium.symbolic.primitives import PRIMITIVES


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x * sigmoid(x)", r"x \sigma(x)"),
        ("x * tanh(log(1 + exp(x)))", r"x \tanh(\ln(1 + e^{x}))"),
        ("mish(x)", r"x \tanh(\operatorname{softplus}(x))"),
        ("1 / (1 + exp(-x))", r"\frac{1}{1 + e^{-x}}"),
        ("tanh(x / 2)", r"\tanh\left(\frac{x}{2}\right)"),
        ("2 * 3**x", r"2 \cdot 3^{x}"),
        ("2 * (x + 1)", r"2 \left(x + 1\right)"),
        ("x * (x + 1)", r"x \cdot \left(x + 1\right)"),
        ("x - (x + 1)", r"x - \left(x + 1\right)"),
        ("-(x + 1)", r"-\left(x + 1\right)"),
        ("(x + 1)**2", r"\left(x + 1\right)^{2}"),
        ("(x**2)**3", r"\left(x^{2}\right)^{3}"),
        ("x + -2", "x - 2"),
        ("x * -x", r"x \cdot \left(-x\right)"),
        ("1e-5 * x", r"10^{-5} x"),
        ("2.5e-9 * x", r"2.5 \cdot 10^{-9} x"),
        ("pi * x", r"\pi x"),
        ("expm1(x) * x", r"\left(e^{x} - 1\right) \cdot x"),
        ("log1p(-x)", r"\ln(1 - x)"),
        ("exp_square(x, -1)", r"e^{-x^{2}}"),
        ("min(x, inf)", r"\min(x, \infty)"),
        (
            "relu6(x)",
            r"\begin{cases} 0 & \text{if } x \le 0 \\ 6 & \text{if } x \ge 6 \\ x & \text{otherwise} \end{cases}",
        ),
        ("x + relu(x)", r"x + \left(\begin{cases} 0 & \text{if } x \le 0 \\ x & \text{otherwise} \end{cases}\right)"),
        (
            "where(x > 0 and (x < 1 or x == 2), 3, x)",
            r"\begin{cases} 3 & \text{if } x > 0 \wedge \left(x < 1 \vee x = 2\right) \\ "
            r"x & \text{otherwise} \end{cases}",
        ),
    ],
)
def test_latex_of(text, expected):
    assert to_latex(parse(text)) == expected


def test_latex_writes_names_as_symbols():
    names = ["alpha", "beta_1", "max_value", "w_0", "weights_3", "k", "theta_low"]
    written = to_latex(parse(" + ".join(f"{n}*x" for n in names), parameters=names))
    for symbol in (
        r"\alpha x",
        r"\beta_{1} x",
        r"\mathrm{max\_value} \cdot x",
        r"w_{0} x",
        r"\mathrm{weights}_{3} \cdot x",
        "k x",
        r"\theta_{\mathrm{low}}",
    ):
        assert symbol in written


@pytest.mark.parametrize(
    "name", sorted(n for n, r in PRIMITIVES.items() if not r.internal and r.arity == 1 and n != "not")
)
def test_latex_of_every_function_is_balanced(name):
    for operand in (variable("x"), variable("x") / 2.0):
        written = to_latex(op(name, operand))
        assert written.count("{") == written.count("}")
        assert written.count(r"\left") == written.count(r"\right")
        assert "x" in written


@pytest.mark.parametrize("name", ["gelu", "hardswish", "celu", "softshrink", "tanhshrink", "selu"])
def test_latex_of_compounds_has_no_code_in_it(name):
    written = to_latex(Formula(COMPOUNDS[name]([variable("x")])) if name in COMPOUNDS else parse(f"{name}(x)"))
    assert "**" not in written
    assert "where" not in written
