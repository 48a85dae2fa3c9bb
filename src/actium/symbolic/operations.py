"""One torch call → nodes, by name.

Stage: called by `StandIn` for every operation of a traced function. In: the torch function with its arguments.
Out: a stand-in for the result. Elementwise functions come from the table in `compound.py`; the rest of this file is
what torch does around them: casts, fills, other spellings, and the reshaping and indexing of parameters.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from actium.errors import FormulaError
from actium.symbolic import torch_names
from actium.symbolic.compound import FUNCTIONS, Function
from actium.symbolic.graph import Node, add, const, op, where
from actium.symbolic.stand_in import Session, StandIn, constant_of, one_lane, stand_ins

MAX_ENTRIES = 64  # of a parameter that is softmaxed, summed or averaged: each entry becomes nodes of the formula

Keywords = dict[str, Any]


def record(func: Callable[..., Any], args: Sequence[Any], kwargs: Keywords) -> Any:
    """Perform one torch call on stand-ins."""
    first = next(stand_ins(args, kwargs))
    session = first.session
    session.enter()
    name = name_of(func)
    try:
        return _perform(session, func, name, list(args), kwargs)
    except FormulaError as e:
        raise session.error(str(e)) from None


def name_of(func: Callable[..., Any]) -> str:
    """The name of a torch function; `.dtype` for an attribute."""
    name = getattr(func, "__name__", None) or str(func)
    if name in ("__get__", "__set__"):
        attribute = getattr(getattr(func, "__self__", None), "__name__", "?")
        return f".{attribute}" if name == "__get__" else "__setitem__"
    name = torch_names.OPERATORS.get(name, name).removeprefix("special_")
    return name


def _perform(session: Session, func: Callable[..., Any], name: str, args: list[Any], kwargs: Keywords) -> Any:
    if name in torch_names.ANSWERS:
        return torch_names.ANSWERS[name]
    if name.startswith("."):
        return _attribute(func, name, args[0])
    if kwargs.get("out") is not None:
        raise session.error("in-place write: out= writes into a tensor; use the result instead")
    if name in _SPECIAL:
        return _SPECIAL[name](session, func, name, args, kwargs)
    if name in FUNCTIONS and not (name in ("max", "min") and not _is_binary(args, kwargs)):
        return _call(session, FUNCTIONS[name], args, kwargs)
    return _on_parameters(session, func, name, args, kwargs)


def _is_binary(args: list[Any], kwargs: Keywords) -> bool:
    return isinstance(kwargs.get("other", args[1] if len(args) > 1 else None), torch.Tensor)


def _attribute(func: Callable[..., Any], name: str, x: StandIn) -> Any:
    if name == ".dtype":
        return x.kind
    if name == ".device":
        return torch.device("cpu")
    if name == ".layout":
        return torch.strided
    if name.startswith(".is_"):
        return False
    if x.lanes is not None and name in torch_names.REARRANGING:
        return _rearranged(x, func(x.lanes))
    raise x.session.error(torch_names.reason(name))


# --- Elementwise -----------------------------------------------------------------------------------------


def _call(session: Session, function: Function, args: list[Any], kwargs: Keywords) -> StandIn:
    """Call a function of the table with torch's arguments."""
    inplace = bool(kwargs.pop("inplace", False))
    kwargs = {k: v for k, v in kwargs.items() if k not in ("out", "dtype", "_stacklevel")}
    names = list(function.arguments)
    for alias, position in (("input", 0), ("self", 0), ("other", 1)):
        if alias in kwargs and alias not in names:
            kwargs[names[position]] = kwargs.pop(alias)
    keys = [None] * len(args) + list(kwargs)
    values = [_operand(session, v) for v in (*args, *kwargs.values())]
    if function.name == "mul" and all(_is_condition(v) for v in values):
        function = FUNCTIONS["and"]
    if function.name == "add" and all(_is_condition(v) for v in values):
        raise session.error("the sum of two conditions is their `or` in torch: use | or cast them to float")

    def build(operands: Sequence[Any]) -> Node:
        fitted = [_fitted(function, i, key, v) for i, (key, v) in enumerate(zip(keys, operands, strict=True))]
        return function(fitted[: len(args)], dict(zip(list(kwargs), fitted[len(args) :], strict=True)))

    result = elementwise(session, values, build)
    return values[0].become(result) if inplace and isinstance(values[0], StandIn) else result


def _fitted(function: Function, position: int, key: str | None, value: Any) -> Any:
    """A condition where a number belongs is 0 or 1, as in torch."""
    names = list(function.arguments)
    name = key if key is not None else names[position] if position < len(names) else ""
    if isinstance(value, Node) and value.is_bool and name not in function.conditions:
        return where(value, 1.0, 0.0)
    return value


def _operand(session: Session, value: Any) -> Any:
    if isinstance(value, StandIn) or value is None or isinstance(value, str):
        return value
    if isinstance(value, torch.Tensor):
        return constant_of(session, value)
    if isinstance(value, bool | int | float):
        return float(value)
    try:
        return float(value)  # a NumPy number, which torch takes too
    except (TypeError, ValueError, OverflowError):
        raise session.error(f"an operand is a {type(value).__name__}, not a number or a tensor") from None


def _is_condition(value: Any) -> bool:
    return isinstance(value, StandIn) and value.node is not None and value.node.is_bool


def elementwise(session: Session, values: Sequence[Any], build: Callable[[Sequence[Any]], Node]) -> StandIn:
    """Combine operands elementwise, with torch's broadcasting among parameters."""
    tensors = [v for v in values if isinstance(v, StandIn)]
    if not torch.is_grad_enabled():
        raise session.error("torch.no_grad: the gradient of what is computed inside would be cut")

    def pick(choose: Callable[[StandIn], Node | None]) -> Node:
        return build([choose(v) if isinstance(v, StandIn) else v for v in values])

    if any(v.lanes is None for v in tensors):
        return StandIn(session, pick(StandIn.per_element))
    shapes = [v.lanes for v in tensors if v.lanes is not None]
    shape = torch.broadcast_shapes(*(s.shape for s in shapes))
    vectors = [v.lanes.expand(shape) for v in tensors if v.entry is not None and v.lanes is not None]
    if any(not torch.equal(vectors[0], other) for other in vectors[1:]):
        raise session.error("two parameters are combined across their channels; combine them channel by channel")
    node = None if any(v.node is None for v in tensors) else pick(lambda v: v.node)
    if not vectors:
        return StandIn(session, node, one_lane(shape))
    return StandIn(session, node, vectors[0], lambda i: pick(lambda v: v.node if v.entry is None else v.entry(i)))


# --- Other spellings ---------------------------------------------------------------------------------------


def _same(session: Session, func: Any, name: str, args: list[Any], kwargs: Keywords) -> StandIn:
    x = args[0] if args else kwargs["input"]
    return x if name != "clone" else StandIn(session, x.node, x.lanes, x.entry)


def _dropout(session: Session, func: Any, name: str, args: list[Any], kwargs: Keywords) -> StandIn:
    given = dict(zip(("input", "p", "training"), args, strict=False)) | kwargs
    if given.get("training", True) and given.get("p", 0.5) != 0.0:
        raise session.error("random: dropout in training mode; use nn.Dropout, which does nothing at evaluation")
    return given["input"]


def _cast(session: Session, func: Any, name: str, args: list[Any], kwargs: Keywords) -> Any:
    x, rest = args[0], [*args[1:], *kwargs.values()]
    if name == "type" and not rest:
        return "torch.FloatTensor"
    kinds = [v for v in rest if isinstance(v, torch.dtype)] + [v.dtype for v in rest if isinstance(v, torch.Tensor)]
    if name in ("bool", "int", "long", "short"):
        kinds = [getattr(torch, name)]
    elif name == "to" and not kinds:
        return x  # another device, not another dtype
    if _is_condition(x):
        return x if kinds == [torch.bool] else elementwise(session, [x], lambda v: where(v[0], 1.0, 0.0))
    if kinds == [torch.bool]:
        return elementwise(session, [x], lambda v: op("ne", v[0], 0.0))
    if any(not kind.is_floating_point for kind in kinds):
        raise session.error(f"a cast to {kinds[0]} rounds and has no gradient: use torch.floor")
    session.casts = session.casts or x.lanes is None
    return StandIn(session, x.node, x.lanes, x.entry)


def _filled(session: Session, func: Any, name: str, args: list[Any], kwargs: Keywords) -> StandIn:
    value = torch_names.FILLED[name]
    if value is None:
        value = kwargs.get("fill_value", kwargs.get("data", args[-1]))
    if isinstance(value, StandIn):
        return value
    if isinstance(value, torch.Tensor):
        return constant_of(session, value)
    return StandIn(session, const(_operand(session, value)), one_lane())


def _scaled(session: Session, func: Any, name: str, args: list[Any], kwargs: Keywords) -> StandIn:
    given = dict(zip(("input", "other"), args, strict=False)) | kwargs
    scale, a, b = given.get("alpha", 1), given["input"], given["other"]
    if name == "rsub":
        a, b = b, a * scale if scale != 1 else a
        name = "sub"
    elif scale != 1:
        b = b * scale
    return _call(session, FUNCTIONS[name], [a, b], {})


def _divided(session: Session, func: Any, name: str, args: list[Any], kwargs: Keywords) -> StandIn:
    if kwargs.pop("rounding_mode", None) is not None:
        raise session.error("div with rounding_mode is not supported: use torch.floor")
    return _call(session, FUNCTIONS["div"], args[::-1] if name == "rdiv" else args, kwargs)


def _raised(session: Session, func: Any, name: str, args: list[Any], kwargs: Keywords) -> StandIn:
    return _call(session, FUNCTIONS["pow"], args[::-1] if name == "rpow" else args, kwargs)


def _where(session: Session, func: Any, name: str, args: list[Any], kwargs: Keywords) -> StandIn:
    if func is torch.Tensor.where:  # x.where(condition, other)
        args[:2] = args[1::-1]
    if "input" in kwargs:
        kwargs["x"] = kwargs.pop("input")
    return _call(session, FUNCTIONS["where"], args, kwargs)


def _masked_fill(session: Session, func: Any, name: str, args: list[Any], kwargs: Keywords) -> StandIn:
    given = dict(zip(("input", "mask", "value"), args, strict=False)) | kwargs
    return _call(session, FUNCTIONS["where"], [given["mask"], given["value"], given["input"]], {})


def _softplus(session: Session, func: Any, name: str, args: list[Any], kwargs: Keywords) -> StandIn:
    threshold = args[2] if len(args) > 2 else kwargs.get("threshold", 20.0)
    if threshold == 20.0:
        # PyTorch's default is how it computes softplus, not another function: e^−20 is less than half an ulp of 20
        # in float32. As a branch it would hide log(1 + e^x) from the rewrites.
        args, kwargs = args[:2], {k: v for k, v in kwargs.items() if k != "threshold"}
    return _call(session, FUNCTIONS["softplus"], args, kwargs)


def _rrelu(session: Session, func: Any, name: str, args: list[Any], kwargs: Keywords) -> StandIn:
    if kwargs.pop("training", args[3] if len(args) > 3 else False):
        raise session.error("random: rrelu in training mode; at evaluation it is a leaky ReLU")
    return _call(session, FUNCTIONS["rrelu"], args[:3], kwargs)


_SPECIAL: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(torch_names.SAME_VALUE, _same),
    **dict.fromkeys(torch_names.DROPOUTS, _dropout),
    **dict.fromkeys(torch_names.CASTS, _cast),
    **dict.fromkeys(torch_names.FILLED, _filled),
    **dict.fromkeys(("add", "sub", "subtract", "rsub"), _scaled),
    **dict.fromkeys(("div", "divide", "rdiv"), _divided),
    **dict.fromkeys(("pow", "rpow"), _raised),
    "where": _where,
    "masked_fill": _masked_fill,
    "softplus": _softplus,
    "rrelu": _rrelu,
}


# --- Parameters as vectors -----------------------------------------------------------------------------------


def _on_parameters(session: Session, func: Callable[..., Any], name: str, args: list[Any], kwargs: Keywords) -> Any:
    """Reshape, index or reduce a parameter; the same on a value that depends on the input is refused."""
    x = args[0] if args and isinstance(args[0], StandIn) else kwargs.get("input")
    if name in ("expand_as", "view_as", "reshape_as") and isinstance(x, StandIn) and x.lanes is not None:
        return x
    if not isinstance(x, StandIn) or any(v.lanes is None for v in stand_ins(args, kwargs)):
        raise session.error(torch_names.reason(name))
    if name in torch_names.REARRANGING:
        plain = [v.lanes if isinstance(v, StandIn) else v for v in args]
        return _rearranged(x, func(*plain, **kwargs))
    if name in _REDUCTIONS:
        return _reduced(x, name)
    raise session.error(torch_names.reason(name))


def _rearranged(x: StandIn, lanes: Any) -> Any:
    if isinstance(lanes, tuple | list) and not isinstance(lanes, torch.Size):
        return type(lanes)(_rearranged(x, part) for part in lanes)
    if not isinstance(lanes, torch.Tensor):
        return lanes  # a size
    if x.entry is not None and lanes.numel() == 1:
        return StandIn(x.session, x.entry(int(lanes)), one_lane(lanes.shape))
    return StandIn(x.session, x.node, lanes, x.entry)


def _entries(x: StandIn) -> list[Node]:
    assert x.lanes is not None
    if sum(size > 1 for size in x.lanes.shape) > 1 or x.lanes.numel() > MAX_ENTRIES:
        raise x.session.error(
            f"a parameter of shape {tuple(x.lanes.shape)} is reduced; it may be a vector of at most {MAX_ENTRIES}"
        )
    if x.entry is None:
        assert x.node is not None
        return [x.node] * x.lanes.numel()
    return [x.entry(i) for i in x.lanes.flatten().tolist()]


def _reduced(x: StandIn, name: str) -> StandIn:
    entries = _entries(x)
    assert x.lanes is not None
    if name in ("softmax", "log_softmax"):
        # From the largest entry, so that nothing overflows.
        shifted = [e - functools.reduce(lambda a, b: op("max", a, b), entries) for e in entries]
        total = functools.reduce(add, (op("exp", s) for s in shifted))
        parts = [op("exp", s) / total if name == "softmax" else s - op("log", total) for s in shifted]
        at = dict(zip(x.lanes.flatten().tolist(), parts, strict=True))
        return StandIn(x.session, None, x.lanes, at.__getitem__)
    if name in _EXTREMA:
        total = functools.reduce(lambda a, b: op(_EXTREMA[name], a, b), entries)
    else:
        total = functools.reduce(add, entries)
    return StandIn(x.session, total / float(len(entries)) if name == "mean" else total, one_lane())


_EXTREMA = {"max": "max", "amax": "max", "min": "min", "amin": "min"}
_REDUCTIONS = frozenset(("sum", "mean", "softmax", "log_softmax", *_EXTREMA))
