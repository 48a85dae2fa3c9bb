"""What a formula's forward computes and keeps, and what its backward reads.

Stage: derivative → stabilize → [plan] → kernel.
In: a formula with default parameter values. Out: lowered graphs for a target, guarded at NaN and ±infinity.
Forward keeps the inputs and nothing else (the next layer usually keeps the output); backward recomputes.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Literal

from actium.kernels.lower import Lowering, Target, spread
from actium.kernels.midrange import Midrange, midrange, multiplied
from actium.symbolic.derivative import derivative
from actium.symbolic.graph import Formula, Node, mul, parameter, variable, walk
from actium.symbolic.limits import guard
from actium.symbolic.stabilize import stabilize

GRADIENT = "grad_output"
# c_half: for half-precision tensors. soft: torch, to be differentiated by torch itself.
Mode = Literal["c", "c_half", "torch", "soft"]


class Plan:
    """Lowered graphs of one formula, made when first asked for.

    Args:
        formula: The function, as written.
        defaults: A typical value of each parameter: decides what infinity needs, nothing else.
    """

    def __init__(self, formula: Formula, defaults: Mapping[str, float]) -> None:
        self.formula = stabilize(formula)
        self._written = formula
        self._values = {parameter(n): defaults.get(n, 1.0) for n in formula.parameters}
        self._slopes: dict[str, Formula] = {}

    def slope(self, name: str) -> Formula:
        """∂f/∂name, stabilized."""
        if name not in self._slopes:
            self._slopes[name] = stabilize(derivative(self.formula, name))
        return self._slopes[name]

    def backward_formula(self, name: str) -> Formula:
        """grad_output · ∂f/∂name as a formula of one more input: what double backward differentiates."""
        slope = self.slope(name)
        gradient = self._gradient_name()
        return Formula(mul(variable(gradient), slope.root), (*slope.inputs, gradient), slope.parameters)

    def _gradient_name(self) -> str:
        name = GRADIENT
        while name in self.formula.inputs or name in self.formula.parameters:
            name += "_"
        return name

    def mode(self, dtype: str) -> Mode:
        """How the C kernels of a dtype compute.

        bfloat16 has float32's range, so a factor of another input can lift a product out of float32's subnormals:
        e^−100·1e30. No factor of float16 can.
        """
        several = len(self.formula.inputs) > 1
        return "c" if dtype == "float32" or (dtype == "bfloat16" and several) else "c_half"

    def value(self, mode: Mode) -> Node:
        """The lowered graph of the value."""
        return self._finish(self.formula.root, _lowering(mode))

    def of_input(self, exact: Node, mode: Mode) -> Node:
        """The lowered graph of any function of the inputs, such as a slope alone."""
        return self._finish(exact, _lowering(mode))

    @staticmethod
    def constant(exact: Node, mode: Mode) -> Node:
        """The lowered graph of something without inputs."""
        return _lowering(mode).lower(exact)

    def backward(self, names: tuple[str, ...], mode: Mode) -> tuple[str, tuple[Node, ...]]:
        """The name of the gradient input, and grad_output · ∂f/∂name for each name, lowered together."""
        lowering = _lowering(mode)
        gradient = variable(self._gradient_name())
        if len(self.formula.inputs) > 1:
            # Part of the product: act′(gate)·up may be subnormal where its product with the gradient is not.
            whole = (self._finish(spread(mul(gradient, self.slope(n).root)), lowering) for n in names)
            return str(gradient.value), tuple(whole)
        roots = (self._finish(self.slope(n).root, lowering) for n in names)
        return str(gradient.value), tuple(mul(gradient, root) for root in roots)

    def midrange(self, names: tuple[str, ...] = ()) -> Midrange | None:
        """The cheap form of the value, or of the gradients by `names`; the modes "c" and "c_half" share it."""
        if len(self.formula.inputs) > 1:
            return self._midrange_of_product(names)
        exact = (self.formula.root,) if not names else tuple(self.slope(n).root for n in names)
        found = midrange(exact, self.formula.inputs)
        if found is None or not names:
            return found
        gradient = variable(self._gradient_name())
        return Midrange(found.bounds, tuple(mul(gradient, root) for root in found.roots))

    def _midrange_of_product(self, names: tuple[str, ...]) -> Midrange | None:
        if self._product is None:
            return None
        inner, other = self._product
        value, gradient = inner.formula.root, variable(self._gradient_name())
        exact = tuple(value if n == other.value else inner.slope(n).root for n in names) or (value,)
        factors = [(gradient,) if n == other.value else (gradient, other) for n in names] or [(other,)]
        found = midrange(exact, inner.formula.inputs)
        return None if found is None else multiplied(found, factors, self._values)

    @functools.cached_property
    def _product(self) -> tuple[Plan, Node] | None:
        """The plan of f, and u, where the formula was written as f(x)·u; None for others."""
        formula = self._written
        if formula.root.op != "mul" or len(formula.inputs) != 2:
            return None
        for other, f in (formula.root.args, formula.root.args[::-1]):
            (x, *more) = {leaf.value for leaf in walk(f) if leaf.op == "input"} or (None,)
            if other.op == "input" and isinstance(x, str) and not more and x != other.value:
                defaults = {str(p.value): value for p, value in self._values.items()}
                return Plan(Formula(f, (x,), formula.parameters), defaults), other
        return None

    def _finish(self, exact: Node, lowering: Lowering) -> Node:
        root = lowering.lower(exact)
        for name in self.formula.inputs:
            x = variable(name)
            root = guard(root, exact, x, self._values)
        return lowering.finish(root)


def _lowering(mode: Mode) -> Lowering:
    target: Target = "c" if mode in ("c", "c_half") else "torch"
    return Lowering(target, soft=mode == "soft", narrow=mode == "c_half")
