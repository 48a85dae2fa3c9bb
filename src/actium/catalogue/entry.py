"""What the catalogue knows of an activation: facts with provenance, from which functions and modules are made.

Stage: Activation → [entry] → nn.Module, checker, pages.
In: literals of the family files. Out: `Entry`, and numbers for its range and kinks. Derivatives are never written
here: they follow from the formula. Importing this loads neither torch nor any kernel.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from actium.errors import ParameterError
from actium.symbolic.parameters import Parameter

if TYPE_CHECKING:
    from actium.define import Activation
    from actium.symbolic.graph import Formula

PYTORCH = "as PyTorch"

_RANGE = re.compile(r"([\[(])(.+), ?([^,]+?)([\])])\Z")
_NAME = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class Interval:
    """A range of values: its ends, and which of them are attained.

    Attributes:
        low: Lower end.
        high: Upper end.
        has_low: Whether the lower end is a value of the function.
        has_high: Whether the upper end is.
    """

    low: float
    high: float
    has_low: bool
    has_high: bool


@dataclass(frozen=True)
class Kink:
    """Where the slope jumps, and the gradient there.

    Attributes:
        at: The place, as text in the parameters.
        gradient: The gradient returned there, likewise; between the one-sided slopes.
        why: Whose choice that is.
    """

    at: str
    gradient: str
    why: str = PYTORCH


@dataclass(frozen=True)
class OutputSlope:
    """The derivative as a function of the output `y`, which allows training in place.

    Attributes:
        formula: Text in `y` and the parameters; exact for every rounded output.
        needs: A condition on the parameters, as text, or "" where it always holds.
        representable: Parameters that the dtype must represent exactly: in bfloat16 an output clipped at 0.1 is
            0.10009765625, which is not at or below 0.1.
    """

    formula: str
    needs: str = ""
    representable: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One activation.

    Attributes:
        name: As users call it: `actium.NAME`.
        class_name: Of its module: `actium.nn.CLASS_NAME`.
        summary: One sentence.
        formula: Text in `x` and the parameters that `parse` reads; what the function is.
        range: Its values, such as "[0, inf)", with text in the parameters; exact for the default values.
        source: Where it comes from.
        parameters: In the order of arguments, which is PyTorch's where PyTorch has the function.
        kinks: Where the slope jumps.
        monotone: Whether it never decreases (for the default parameters).
        parity: Whether f(−x) is −f(x) or f(x).
        output_slope: The derivative from the output, where that is exact.
        note: What goes wrong in the usual code for it, and what this entry does instead.
        aliases: Other names.
        torch_name: Its name in `torch.nn.functional`, if PyTorch has it.
        torch_form: Where that name is another entry's: the call of it in `torch.nn.functional` that gives this one.
        stable: Makes the formula in the form that computes well, where rewriting does not find that form by itself.
        calling: How it is called, where that is not f(x, *parameters): a key of `build.CALLING`.
        ordered: Parameters of which each must be less than the next.
    """

    name: str
    class_name: str
    summary: str
    formula: str
    range: str
    source: str
    parameters: tuple[Parameter, ...] = ()
    kinks: tuple[Kink, ...] = ()
    monotone: bool = False
    parity: Literal["odd", "even"] | None = None
    output_slope: OutputSlope | None = None
    note: str = ""
    aliases: tuple[str, ...] = ()
    torch_name: str | None = None
    torch_form: str | None = None
    stable: Callable[[], Formula] | None = None
    calling: str = "plain"
    ordered: tuple[str, ...] = ()

    @property
    def defaults(self) -> dict[str, float]:
        """Parameter values by name."""
        return {p.name: p.init for p in self.parameters}

    def number(self, text: str, values: Mapping[str, float] | None = None) -> float:
        """The value of a text in the parameters, such as an end of the range.

        Raises:
            ParameterError: If `values` names something that is no parameter.
        """
        known = self.defaults
        for name in values or {}:
            if name not in known:
                raise ParameterError(f"{self.name}: no parameter {name!r}; it has: {', '.join(known) or 'none'}")
        try:
            return float(text)
        except ValueError:
            return _evaluate(text, {**known, **(values or {})})

    def interval(self, **values: float) -> Interval:
        """The range for these parameter values (the defaults for those not given).

        Example:
            >>> from actium.catalogue import get
            >>> get("hardtanh").interval(min_val=-2.0)
            Interval(low=-2.0, high=1.0, has_low=True, has_high=True)
        """
        found = _RANGE.match(self.range)
        assert found is not None, self.range
        opening, low, high, closing = found.groups()
        return Interval(self.number(low, values), self.number(high, values), opening == "[", closing == "]")

    def kink_points(self, **values: float) -> list[tuple[float, float]]:
        """(place, gradient) of each kink for these parameter values."""
        return [(self.number(k.at, values), self.number(k.gradient, values)) for k in self.kinks]

    def claims(self) -> dict[str, Any]:
        """What is declared of it at the default values, in the words of the checker."""
        kinks = [self.number(k.at) for k in self.kinks]
        claims: dict[str, Any] = {"range": self.range_text(), "kinks": [k for k in kinks if math.isfinite(k)]}
        claims |= {"monotone": "increasing"} if self.monotone else {}
        return claims | ({self.parity: True} if self.parity else {})

    def range_text(self) -> str:
        """The range at the default values, in numbers."""
        found = self.interval()
        left, right = "[" if found.has_low else "(", "]" if found.has_high else ")"
        return f"{left}{found.low!r}, {found.high!r}{right}"

    def as_written(self) -> Formula:
        """The formula as the text says it: the truth that the computed form is judged by."""
        from actium.symbolic.parse import parse

        return parse(self.formula, parameters=self.defaults)

    def activation(self) -> Activation:
        """The function, made at the first call."""
        from actium.catalogue.build import build

        return build(self)

    @property
    def torch_target(self) -> str | None:
        """PyTorch's own function as a target text, without the parameters; None where PyTorch has none.

        Example:
            >>> from actium.catalogue import get
            >>> get("gelu_tanh").torch_target, get("tanh_exp").torch_target
            ("torch.nn.functional:gelu(approximate='tanh')", None)
        """
        form = self.torch_form or self.torch_name
        return None if form is None else f"torch.nn.functional:{form}"

    @property
    def doc(self) -> str:
        """The docstring of the function and of the module."""
        parts = [self.summary, f"f(x) = {self.formula}"]
        if self.parameters:
            parts.append("\n".join(["Parameters:", *(f"    {_describe(p)}" for p in self.parameters)]))
        facts = [f"Range: {self.range}.", *(f"Gradient at x = {k.at}: {k.gradient} ({k.why})." for k in self.kinks)]
        parts += ["\n".join(facts), *([self.note] if self.note else []), f"Source: {self.source}"]
        return "\n\n".join(parts)


def _describe(p: Parameter) -> str:
    bounds = f", in {p.range_text}" if p.constrained else ""
    return f"{p.name}: {p.init:g} by default{bounds}{', learnable' if p.learnable else ''}."


def _evaluate(text: str, values: Mapping[str, float]) -> float:
    from actium.symbolic.balls import evaluate
    from actium.symbolic.graph import parameter
    from actium.symbolic.parse import parse

    used = {n: v for n, v in values.items() if n in _NAME.findall(text)}
    root = parse(text, inputs=(), parameters=used).root
    return float(evaluate(root, {parameter(n): v for n, v in used.items()}).mid())
