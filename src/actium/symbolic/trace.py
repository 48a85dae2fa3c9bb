"""A function or an `nn.Module` → Formula, by running it once on stand-ins.

Stage: [callable] → Formula → derivative → stabilize → plan → kernel.
In: code that computes with torch. Out: its formula, with the parameters and their values. The code is run, so it is
trusted; a module is left exactly as it was found. What the code does that is not an elementwise formula is reported
with the line that did it.
"""

from __future__ import annotations

import functools
import inspect
import keyword
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from actium.errors import ActiumError, TraceError
from actium.symbolic.graph import Formula, Node, parameter, variable, walk
from actium.symbolic.parameters import Parameter
from actium.symbolic.stand_in import Session, StandIn, at_line, is_users, one_lane

MAX_VALUES = 65_536  # entries of a parameter; a larger one is a weight matrix, not part of an activation


@dataclass(frozen=True)
class Traced:
    """What a trace found.

    Attributes:
        formula: The formula.
        parameters: Its parameters, in the order of `formula.parameters`.
        values: The value of each parameter: one number, or one for each channel.
        casts: Whether a value that depends on the input was cast to another dtype on the way.
        name: Of the function or the module's class.
    """

    formula: Formula
    parameters: tuple[Parameter, ...]
    values: dict[str, list[float]]
    casts: bool
    name: str


@dataclass
class _Declared:
    """A parameter that the trace may meet."""

    parameter: Parameter
    values: list[float]


def trace(
    target: Callable[..., Any],
    *,
    inputs: Sequence[str] | None = None,
    parameters: Mapping[str, Parameter] | None = None,
) -> Traced:
    """Turn a function or module into a formula.

    Of a function, the first positional arguments are the inputs. The others need defaults: `learnable(…)` makes a
    learnable parameter, a number a fixed one (still a run-time argument), and anything else is passed on as it is.
    Of a module, parameters and buffers become parameters of the formula, named after their path. It is run as at
    evaluation.

    Args:
        target: The function or module. It is run once, on tensors without data.
        inputs: Names of the inputs in the formula; by default one, "x".
        parameters: Declarations that replace those found, by name.

    Returns:
        The formula with its parameters and their values.

    Raises:
        TraceError: If the code does something that is not an elementwise formula, or raises; with the line.

    Example:
        >>> trace(lambda x, slope=0.1: torch.where(x > 0, x, slope * x)).formula.text
        'where(x > 0, x, slope * x)'
    """
    target = _checked(target)
    session = Session(_run.__code__)
    overrides = dict(parameters or {})
    if isinstance(target, nn.Module):
        names = tuple(inputs or ("x",))
        with _replaced(session, target, names, overrides) as declared:
            _refuse_unknown({n: p for n, p in overrides.items() if n not in declared}, target)
            root = _run(session, target, _inputs(session, names), {})
        return _module_result(session, target, root, names, declared)
    return _trace_function(session, target, inputs, overrides)


def _checked(target: Any) -> Callable[..., Any]:
    if isinstance(target, type):
        raise TraceError(f"{target.__name__} is a class: make an instance, {target.__name__}(…)")
    if not callable(target):
        raise TraceError(f"a {type(target).__name__} cannot be traced: expected a function or an nn.Module")
    return getattr(target, "_orig_mod", target)  # what torch.compile wrapped


def _inputs(session: Session, names: Sequence[str]) -> list[StandIn]:
    return [StandIn(session, variable(name)) for name in names]


def _run(session: Session, target: Callable[..., Any], args: list[StandIn], kwargs: dict[str, Any]) -> Node:
    """Call the target, and give every failure its line."""
    try:
        # What the code warns about (a deprecated autocast, say) is not about the trace.
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            result = target(*args, **kwargs)
    except TraceError:
        raise
    except Exception as e:
        raise (session.failed or _failure(e)) from e
    what = _name(target)
    if isinstance(result, tuple | list | dict):
        raise TraceError(f"{what} returns a {type(result).__name__}: an activation returns one tensor")
    if not isinstance(result, StandIn):
        raise TraceError(f"{what} returns a {type(result).__name__} that is not computed from its input by torch")
    if result.lanes is not None or result.node is None:
        raise TraceError(f"{what} does not depend on its input")
    if result.node.is_bool:
        raise TraceError(f"{what} returns a condition, not a number: use torch.where(…, 1.0, 0.0)")
    return result.node


def _failure(error: Exception) -> TraceError:
    kind = "" if isinstance(error, ActiumError) else f"{type(error).__name__}: "
    message = f"the code raises {kind}{error}" if kind else str(error)
    place = error.__traceback__
    found = None
    while place is not None:
        if is_users(place.tb_frame.f_code):
            found = place
        place = place.tb_next
    return (
        TraceError(message) if found is None else at_line(found.tb_frame.f_code.co_filename, found.tb_lineno, message)
    )


def _name(target: Callable[..., Any]) -> str:
    while isinstance(target, functools.partial):
        target = target.func
    name = getattr(target, "__name__", type(target).__name__)
    return "lambda" if name == "<lambda>" else name


def _finish(session: Session, target: Any, root: Node, inputs: Sequence[str], declared: list[_Declared]) -> Traced:
    missing = set(inputs) - {node.value for node in walk(root) if node.op == "input"}
    if missing:
        raise TraceError(f"{_name(target)} does not depend on its input {min(missing)!r}")
    names = tuple(d.parameter.name for d in declared)
    values = {d.parameter.name: d.values for d in declared}
    formula = Formula(root, tuple(inputs), names)
    return Traced(formula, tuple(d.parameter for d in declared), values, session.casts, _name(target))


# --- Functions -----------------------------------------------------------------------------------------------


def _trace_function(
    session: Session, target: Callable[..., Any], inputs: Sequence[str] | None, overrides: dict[str, Parameter]
) -> Traced:
    positional, declared = _signature(target, len(inputs or ("x",)), overrides)
    names = tuple(inputs or ("x",))
    if inputs is None and "x" in (p.name for p in declared):
        names = tuple(positional)  # def f(z, x=1.0): the input keeps its own name
    clash = next((p.name for p in declared if p.name in names), None)
    if clash is not None:
        raise TraceError(f"{_name(target)}: {clash!r} names both an input and a parameter")
    kwargs = {p.name: StandIn(session, parameter(p.name), one_lane()) for p in declared}
    root = _run(session, target, _inputs(session, names), kwargs)
    return _finish(session, target, root, names, [_Declared(p, [p.init]) for p in declared])


def _signature(
    target: Callable[..., Any], count: int, overrides: dict[str, Parameter]
) -> tuple[list[str], list[Parameter]]:
    """Names of the inputs, and the parameters among the other arguments."""
    try:
        signature = inspect.signature(target)
    except (ValueError, TypeError):  # written in C, such as torch.tanh: only the inputs are given
        return [], []
    bound = target.keywords if isinstance(target, functools.partial) else {}
    arguments = list(signature.parameters.values())
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    inputs = [a for a in arguments if a.kind in plain][:count]
    takes_more = any(a.kind is inspect.Parameter.VAR_POSITIONAL for a in arguments)
    if len(inputs) < count and not takes_more:
        raise TraceError(f"{_name(target)}{signature} does not take {count} input{'s' * (count > 1)}")
    declared: list[Parameter] = []
    for argument in arguments:
        variadic = argument.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        if argument in inputs or variadic:
            continue
        default = overrides.pop(argument.name, argument.default)
        if default is inspect.Parameter.empty:
            raise TraceError(
                f"{_name(target)}{signature}: {argument.name} needs a default: learnable(…), a number, "
                "or bind it with functools.partial"
            )
        is_number = isinstance(default, int | float) and not isinstance(default, bool)
        if isinstance(default, Parameter):
            declared.append(default.named(argument.name))
        elif is_number and argument.name not in bound:
            declared.append(Parameter(argument.name, float(default)))
    _refuse_unknown(overrides, target)
    return [a.name for a in inputs], declared


def _refuse_unknown(overrides: Mapping[str, Parameter], target: Any) -> None:
    if overrides:
        raise TraceError(f"{_name(target)} has no parameter {next(iter(overrides))!r}")


# --- Modules ---------------------------------------------------------------------------------------------------


@contextmanager
def _replaced(
    session: Session, module: nn.Module, inputs: tuple[str, ...], overrides: dict[str, Parameter]
) -> Iterator[dict[str, _Declared]]:
    """Put stand-ins in place of parameters and buffers, as at evaluation, and put everything back."""
    if isinstance(module, torch.jit.ScriptModule):
        raise TraceError(f"{_name(module)} is compiled by torch.jit: trace the module it was made from")
    modules = dict(module.named_modules())
    saved = [(m, dict(m.__dict__), {k: _copied(v) for k, v in m.__dict__.items()}) for m in modules.values()]
    declared: dict[str, _Declared] = {}
    try:
        _install(session, modules, set(inputs), declared, overrides)
        yield declared
    finally:
        for m, attributes, contents in saved:
            m.__dict__.clear()
            m.__dict__.update(attributes)
            for key, content in contents.items():
                _refill(attributes[key], content)


def _copied(value: Any) -> Any:
    return value.copy() if isinstance(value, dict | list | set) else None


def _refill(container: Any, content: Any) -> None:
    if content is None:
        return
    container.clear()
    container.extend(content) if isinstance(container, list) else container.update(content)


def _install(
    session: Session,
    modules: Mapping[str, nn.Module],
    taken: set[str],
    declared: dict[str, _Declared],
    overrides: dict[str, Parameter],
) -> None:
    known: dict[int, torch.Tensor] = {}
    for path, module in modules.items():
        module.__dict__["training"] = False
        for kind in ("_parameters", "_buffers"):
            for key, tensor in list(module.__dict__[kind].items()):
                if tensor is None:
                    continue
                if id(tensor) not in known:
                    name = _identifier(f"{path}.{key}" if path else key, taken)
                    known[id(tensor)] = _stand_in_for(session, name, tensor, kind, declared, overrides)
                module.__dict__[kind][key] = known[id(tensor)]


def _identifier(path: str, taken: set[str]) -> str:
    name = re.sub(r"\W", "_", path, flags=re.ASCII)[:56]
    name = f"p_{name}" if name[:1].isdigit() else name
    while name in taken or keyword.iskeyword(name) or name in ("pi", "e", "tau", "inf"):
        name += "_"
    taken.add(name)
    return name


def _stand_in_for(
    session: Session,
    name: str,
    tensor: torch.Tensor,
    kind: str,
    declared: dict[str, _Declared],
    overrides: dict[str, Parameter],
) -> torch.Tensor:
    if nn.parameter.is_lazy(tensor) or tensor.numel() > MAX_VALUES:
        return tensor
    if kind == "_buffers" and (tensor.numel() == 1 or not tensor.is_floating_point()):
        return tensor.clone()  # a constant: what the code writes into it is not kept
    if not tensor.numel() or not tensor.is_floating_point():
        return tensor
    values = tensor.detach().double().flatten().tolist()
    learnable = kind == "_parameters" and tensor.requires_grad

    def node(label: str, own: list[float]) -> Node:
        if label not in declared:
            init = own[0] if not math.isnan(own[0]) else 0.0  # `_module_result` refuses it if it is used
            made = overrides.get(name) or Parameter(label, init, learnable)
            declared[label] = _Declared(replace(made, name=label, init=init), own)
        return parameter(label)

    lanes = torch.arange(len(values)).reshape(tensor.shape)
    if len(values) == 1:
        made = StandIn(session, node(name, values), lanes)
    else:
        made = StandIn(session, node(name, values), lanes, lambda i: node(f"{name}_{i}", [values[i]]))
    made._is_param = kind == "_parameters"  # so that isinstance(p, nn.Parameter) holds
    return made


def _module_result(
    session: Session, module: nn.Module, root: Node, inputs: tuple[str, ...], declared: dict[str, _Declared]
) -> Traced:
    used = {node.value for node in walk(root) if node.op == "param"}
    both = next((n for n in used for d in used if isinstance(n, str) and re.fullmatch(rf"{n}_\d+", str(d))), None)
    if both is not None and len(declared[both].values) > 1:
        raise TraceError(f"{_name(module)} uses {both!r} both by channel and by index: use two parameters")
    broken = next((n for n, d in declared.items() if n in used and any(math.isnan(v) for v in d.values)), None)
    if broken is not None:
        raise TraceError(f"{_name(module)}: parameter {broken!r} holds a NaN: give it a value first")
    return _finish(session, module, root, inputs, [d for name, d in declared.items() if name in used])
