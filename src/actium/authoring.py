"""The two ways to write an activation: a Python function of torch operations, or a formula's text.

Stage: text or function → [authoring] → Activation. In: what a user wrote. Out: an `Activation`, with its parameters
described. Nothing of a text is executed; a function is run once, on a stand-in.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, overload

from actium.define import Activation, checked_claims
from actium.symbolic.parameters import Parameter
from actium.symbolic.parse import parse


@overload
def activation(
    function: Callable[..., Any],
    *,
    name: str | None = ...,
    source: str | None = ...,
    claims: Mapping[str, Any] | None = ...,
) -> Activation: ...
@overload
def activation(
    function: None = ..., *, name: str | None = ..., source: str | None = ..., claims: Mapping[str, Any] | None = ...
) -> Callable[[Callable[..., Any]], Activation]: ...
def activation(
    function: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    source: str | None = None,
    claims: Mapping[str, Any] | None = None,
) -> Activation | Callable[[Callable[..., Any]], Activation]:
    """Make an `Activation` of a Python function of one tensor, written with torch operations.

    The function is traced once: it must be elementwise and free of data-dependent control flow (use
    `torch.where`). Arguments with a number as default become parameters, those made by `learnable` are
    trained in modules.

    Args:
        function: The function; leave it out to use this as a decorator with arguments.
        name: A name instead of the function's.
        source: Where the formula comes from.
        claims: What is declared of it, for `actium check`; see `Activation`. They join those in the function's own
            `__actium_claims__`.

    Returns:
        The activation.

    Raises:
        TraceError: If the function does something that has no elementwise formula.
        CheckError: If a claim is no property, or its value cannot be one.

    Example:
        >>> import torch, actium
        >>> @actium.activation
        ... def soft_clip(x, threshold=actium.learnable(1.0, positive=True)):
        ...     return threshold * torch.tanh(x / threshold)
        >>> soft_clip(torch.tensor([0.0, 100.0]), threshold=2.0)
        tensor([0., 2.])
    """
    if function is None:

        def decorate(f: Callable[..., Any]) -> Activation:
            return activation(f, name=name, source=source, claims=claims)

        return decorate
    from actium.symbolic.trace import trace

    traced = trace(function)
    doc = inspect.getdoc(function) if not isinstance(function, functools.partial) else None
    chosen = name or getattr(function, "__name__", type(function).__name__)
    return Activation(
        traced.formula,
        traced.parameters,
        name="activation" if chosen == "<lambda>" else chosen,
        source=source,
        doc=doc,
        claims=checked_claims(getattr(function, "__actium_claims__", None), claims),
    )


def formula(
    text: str,
    *,
    name: str = "activation",
    source: str | None = None,
    claims: Mapping[str, Any] | None = None,
    **parameters: float | Parameter,
) -> Activation:
    """Make an `Activation` of a formula's text in `x`.

    The text is parsed by an allow-list; nothing of it is ever executed.

    Args:
        text: For example `"x * tanh(exp(x))"`.
        name: A name for messages and classes.
        source: Where the formula comes from.
        claims: What is declared of it, for `actium check`; see `Activation`.
        **parameters: The other names in the text: numbers (fixed) or `learnable(…)`.

    Returns:
        The activation.

    Raises:
        FormulaError: If the text is not a formula; the message points at the offending piece.
        CheckError: If a claim is no property, or its value cannot be one.

    Example:
        >>> import torch, actium
        >>> tanh_exp = actium.formula("x * tanh(exp(x))")
        >>> tanh_exp(torch.tensor([-100.0, 0.0]))
        tensor([-3.7204e-42,  0.0000e+00])
    """
    described = tuple(_describe(n, p) for n, p in parameters.items())
    parsed = parse(text, parameters={p.name: p.init for p in described})
    return Activation(parsed, described, name=name, source=source, claims=claims)


def _describe(name: str, value: float | Parameter) -> Parameter:
    return value.named(name) if isinstance(value, Parameter) else Parameter(name, value)
