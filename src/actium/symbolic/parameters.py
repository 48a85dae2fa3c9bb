"""What a formula's parameters may be: one number, fixed or learnable, and its range.

In: keyword arguments of a definition. Out: `Parameter`, checked. Holds no tensors; `module.py` does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from actium.errors import ParameterError


@dataclass(frozen=True)
class Parameter:
    """A parameter of an activation.

    Attributes:
        name: As in the formula; empty until the definition names it.
        init: Default (and initial) value.
        learnable: Whether a module trains it.
        min: Smallest allowed value, inclusive, or None.
        max: Largest allowed value, inclusive, or None.
        positive: Whether it must be greater than 0.
    """

    name: str
    init: float
    learnable: bool = False
    min: float | None = None
    max: float | None = None
    positive: bool = False

    def __post_init__(self) -> None:
        for what in ("init", "min", "max"):
            value = getattr(self, what)
            if value is None and what != "init":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ParameterError(f"{self._label}: {what} must be a number, got {value!r}")
            if math.isnan(value):
                raise ParameterError(f"{self._label}: {what} is NaN")
            object.__setattr__(self, what, float(value))
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ParameterError(f"{self._label}: min={self.min} is not below max={self.max}")
        self.check(self.init)

    @property
    def _label(self) -> str:
        return f"parameter {self.name!r}" if self.name else "learnable(…)"

    @property
    def constrained(self) -> bool:
        """Whether any bound applies."""
        return self.positive or self.min is not None or self.max is not None

    @property
    def range_text(self) -> str:
        """The allowed values, for people."""
        low = (
            "(0"
            if self.positive and (self.min is None or self.min <= 0)
            else f"[{self.min:g}"
            if self.min is not None
            else "(-inf"
        )
        high = f"{self.max:g}]" if self.max is not None else "inf)"
        return f"{low}, {high}"

    def check(self, value: float) -> float:
        """Return the value as a float, or raise `ParameterError` if it is outside the range."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ParameterError(f"{self._label}: expected a number, got {type(value).__name__}")
        try:
            number = float(value)
        except OverflowError:
            raise ParameterError(
                f"{self._label}: an integer that does not fit a double; choose a smaller one"
            ) from None
        too_low = (self.positive and number <= 0) or (self.min is not None and number < self.min)
        if math.isnan(number) or too_low or (self.max is not None and number > self.max):
            raise ParameterError(f"{self._label}: {number!r} is outside {self.range_text}; choose a value inside it")
        return number

    def named(self, name: str) -> Parameter:
        """The same parameter under a name."""
        return replace(self, name=name)


def learnable(init: float, *, positive: bool = False, min: float | None = None, max: float | None = None) -> Any:
    """Declare a parameter that a module trains.

    Use it as the default of an argument of a function given to `actium.activation`.

    Args:
        init: Initial value.
        positive: Keep it greater than 0.
        min: Keep it at or above this.
        max: Keep it at or below this.

    Returns:
        The declaration, typed so that a function may use it as the tensor or number that it stands for. In a
        module, a constrained parameter is stored unconstrained and mapped into its range by softplus (one bound)
        or a scaled sigmoid (two bounds).

    Raises:
        ParameterError: If `init` is not a number inside the range.

    Example:
        >>> learnable(1.0, positive=True).range_text
        '(0, inf)'
    """
    return Parameter("", init, learnable=True, min=min, max=max, positive=positive)
