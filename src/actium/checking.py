"""`check`: judge anything that is, or names, an activation.

Stage: target → object → [subject] → verify → certificate.
In: target text, an `Activation`, an `nn.Module` or any callable. Out: a certificate. This is where the checker meets
the catalogue: it is told what the functions that it may recognise are, and imports none of them itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from actium.as_written import as_written
from actium.define import Activation
from actium.errors import CheckError, DtypeError, ParameterError, TraceError
from actium.exhaustive import Progress, check_full
from actium.kernels.eager import compile_function
from actium.module import ActivationModule
from actium.symbolic.graph import Formula, const, parameter, substitute
from actium.symbolic.parameters import Parameter
from actium.symbolic.parse import parse
from actium.symbolic.trace import Traced, trace
from actium.targets import Found, resolve
from actium.verify.certificate import Certificate
from actium.verify.claims import ATTRIBUTE, claims_of
from actium.verify.run import DEFAULT_DTYPES
from actium.verify.run import check as judge
from actium.verify.subject import Subject

Checkable = str | Formula | Activation | nn.Module | Callable[[Tensor], Tensor]


def check(
    target: Checkable,
    *,
    name: str | None = None,
    dtypes: Iterable[str] = DEFAULT_DTYPES,
    fused: bool = False,
    only: Iterable[str] | None = None,
    claims: Mapping[str, Any] | None = None,
    full: bool = False,
    out: Path | None = None,
    progress: Progress | None = None,
    formula: str | None = None,
    **parameters: float,
) -> Certificate:
    """Judge an activation function against exact arithmetic.

    Args:
        target: A function, an `nn.Module`, an `Activation`, or text: a formula, a catalogue name, `path.py:Name`,
            `package.module:Name(alpha=0.2)`. Named files and modules are imported.
        name: What to call it in the certificate.
        dtypes: Formats to sweep, among float16, bfloat16 and float32.
        fused: Judge what actium makes of a formula. Without it, formula text is judged as it would run in plain
            PyTorch, typed as it stands.
        only: Check ids to judge by; all of them if not given.
        claims: Properties to hold it to, such as `{"odd": True, "range": "[0, 1)"}`, besides those that an
            `Activation` was made with, or in the attribute `__actium_claims__` of a function, a class or a module;
            see `verify.claims.PROPERTIES`.
        full: Run float32 on all 2^32 inputs instead of a sample. The target needs a formula: text, a catalogue
            name, or code that can be traced. Then `only` is not taken.
        out: With `full`, a directory that keeps results, so that an interrupted run goes on where it stopped.
        progress: With `full`, called with how many exponents are done, and of how many.
        formula: What code is meant to be, as text; otherwise it is traced.
        **parameters: Values for the names in a formula besides `x`.

    Returns:
        The certificate: `certificate.passed`, `certificate.findings`, `certificate.to_json()`.

    Raises:
        TargetError: If the text names nothing that can be loaded, or several things (see `running.check_all`), or the
            target is a class or cannot be called.
        FormulaError: If the text can only be a formula, and is none.
        DtypeError: If a dtype is not a format that can be checked, or there is none.
        ParameterError: If a parameter is none of the formula's.
        CheckError: If there is no such check id or property, or a property's value cannot be one, or `full` is asked
            for where there is no formula.

    Example:
        >>> certificate = check("log(1 + exp(x))", dtypes=["float16"])
        >>> certificate.verdict, "softplus" in certificate.same_as
        ('fail', True)
    """
    dtypes, only = tuple(dtypes), None if only is None else tuple(only)
    if not dtypes or only == ():
        raise DtypeError("no dtype to check") if not dtypes else CheckError("no check to judge by: `only` is empty")
    if isinstance(target, str):
        found = resolve(target, parameters if formula is None else None, guess=True)
    else:
        found = Found(_name_of(target), target, values=parameters)
    claims_of(claims or {})
    found = replace(found, target=name or found.target, claims=claims or {})
    subject = subject_of(found, fused)
    if formula is not None:
        subject = replace(subject, formula=parse(formula, parameters=parameters), parameters=parameters)
    elif not isinstance(target, str):
        _refuse_unknown(found.target, parameters, subject.formula)
    if full:
        if only is not None:
            raise CheckError("the run over all inputs is of every check: leave out `only` or `full`")
        return check_full(subject, known=known_functions(), dtypes=tuple(dtypes), out=out, progress=progress)
    return judge(subject, known=known_functions(), dtypes=tuple(dtypes), only=only)


def _refuse_unknown(name: str, parameters: Mapping[str, float], formula: Formula | None) -> None:
    known = () if formula is None else formula.parameters
    for given in parameters:
        if given not in known:
            raise ParameterError(f"{name}: no parameter or option {given!r}; parameters: {', '.join(known) or 'none'}")


def activation_of(text: str, parameters: Mapping[str, float] | None = None, name: str = "activation") -> Activation:
    """The `Activation` of a target: of a formula, a catalogue entry, or a function or module that can be traced.

    Args:
        text: The target, as for `check`.
        parameters: Names in a formula besides `x`, with initial values; they become learnable parameters.
        name: What to call a formula.

    Returns:
        The activation.

    Raises:
        TraceError: If the target's code is no elementwise formula.
        ActiumError: As for `check`.

    Example:
        >>> activation_of("torch.nn:SiLU").formula.text
        'x * sigmoid(x)'
    """
    found = resolve(text, parameters)
    value = found.value
    if isinstance(value, Activation):
        return value
    if isinstance(value, Formula):
        return _activation(value, found.values, name)
    if isinstance(value, ActivationModule):
        made, numbers = value.activation, _values_of(value)
        described = tuple(replace(p, init=numbers[p.name]) for p in made.parameters)
        return Activation(made.formula, described, name=made.name, source=made.source_note)
    traced = trace(value)
    return Activation(traced.formula, traced.parameters, name=name if traced.name == "lambda" else traced.name)


def _activation(formula: Formula, values: Mapping[str, float], name: str = "activation") -> Activation:
    described = tuple(Parameter(p, values[p], learnable=True) for p in formula.parameters)
    return Activation(formula, described, name=name)


def _name_of(target: Any) -> str:
    if isinstance(target, Formula):
        return target.text
    while isinstance(target, functools.partial):
        target = target.func
    name = getattr(target, "__qualname__", None) or getattr(target, "__name__", None)
    return str(name) if name else type(target).__name__


# --- Subjects ---------------------------------------------------------------------------------------------


def subject_of(found: Found, fused: bool = False) -> Subject:
    """What the checker needs to know of an object: how to call it, and its formula if there is one."""
    bare = _bare_subject(found, fused)
    formula = bare.formula
    ejected = None
    if formula is not None and len(formula.inputs) == 1:
        ejected = functools.partial(_ejected, formula, tuple(bare.parameters.items()))
    claims = {**_declared(found.value), **found.claims}
    return replace(bare, construction=found.construction, claims=claims, ejected=ejected)


@functools.lru_cache(maxsize=4)
def _ejected(formula: Formula, values: tuple[tuple[str, float], ...]) -> Callable[[Tensor], Tensor]:
    """What `actium eject` prints of a formula, at these parameters."""
    plan = _activation(formula, dict(values)).op.plan
    compute = compile_function("ejected", (*formula.inputs, *formula.parameters), (plan.value("soft"),))
    numbers = [torch.tensor(dict(values)[name]) for name in formula.parameters]

    def call(x: Tensor) -> Tensor:
        return compute(x.float(), *numbers).to(x.dtype)

    return call


def _declared(value: Any) -> Mapping[str, Any]:
    """The properties that an object's author declares: the catalogue's own, and `__actium_claims__` of anything."""
    while isinstance(value, functools.partial):
        value = value.func
    activation = value.activation if isinstance(value, ActivationModule) else value
    if isinstance(activation, Activation):
        usual = activation is value or _values_of(value) == defaults_of(activation)
        entry = getattr(activation, "entry", None)
        declared = activation.claims if entry is None else entry.claims()
        return declared if usual else {}
    try:
        declared = getattr(value, ATTRIBUTE, {})
    except Exception:  # foreign code: a __getattr__ may do anything
        return {}
    return declared if isinstance(declared, Mapping) else {ATTRIBUTE: declared}


def _bare_subject(found: Found, fused: bool) -> Subject:
    value, notes = found.value, found.notes
    if isinstance(value, Formula):
        if not fused:
            note = "the formula as written, in plain PyTorch"
            call = as_written(at_values(value, found.values))
            return Subject(found.target, call, value, found.values, notes=(*notes, note))
        value = _activation(value, found.values)
    if isinstance(value, Activation):
        return Subject(found.target, value, truth_of(value), defaults_of(value), notes=notes)
    module = value if isinstance(value, nn.Module) else None
    if isinstance(value, ActivationModule):
        return Subject(found.target, value, truth_of(value.activation), _values_of(value), value, notes)
    try:
        traced = trace(value)
        formula, parameters = traced.formula, _single_values(traced)
    except TraceError as error:
        note = f"no formula: {error}"
        return Subject(found.target, value, module=module, notes=(*notes, note))
    return Subject(found.target, value, formula, parameters, module, notes)


def _values_of(module: ActivationModule) -> dict[str, float]:
    values = {p.name: torch.as_tensor(getattr(module, p.name)).detach() for p in module.activation.parameters}
    return {name: float(value.flatten()[0]) for name, value in values.items()}


def truth_of(activation: Activation) -> Formula:
    """What an activation is by definition: for a catalogue entry its text, not the form in which it is computed."""
    entry = getattr(activation, "entry", None)
    return activation.formula if entry is None else entry.as_written()


def defaults_of(activation: Activation) -> dict[str, float]:
    """Its parameters' values by name."""
    return {p.name: p.init for p in activation.parameters}


def _single_values(traced: Traced) -> dict[str, float]:
    """One number for each parameter.

    Raises:
        TraceError: If a parameter's values differ from channel to channel.
    """
    for name, values in traced.values.items():
        if len(set(values)) > 1:
            raise TraceError(f"parameter {name!r} holds {len(values)} different values, so there are as many functions")
    return {name: values[0] for name, values in traced.values.items()}


# --- What the checker may recognise -----------------------------------------------------------------------


@functools.cache
def known_functions() -> Mapping[str, Formula]:
    """The catalogue's formulas at their default parameters, by name."""
    from actium import catalogue

    return {name: at_values(entry.as_written(), entry.defaults) for name, entry in catalogue.ENTRIES.items()}


def at_values(formula: Formula, values: Mapping[str, float]) -> Formula:
    """A formula with numbers in the place of its parameters."""
    numbers = {parameter(name): const(values[name]) for name in formula.parameters}
    return Formula(substitute(formula.root, numbers), formula.inputs)
