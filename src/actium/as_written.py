"""A formula as somebody would type it in plain PyTorch, for the checker to judge.

Stage: formula → [plain function] → verify.
In: a formula, not stabilized. Out: a function that evaluates it operation by operation in the input's own dtype, with
every fault that the formula has. What actium makes of the formula is `Activation`; this is what it is compared with.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from actium.symbolic.graph import Formula, Node, number_of

Value = Tensor | float | bool


def _tensor(value: Value, like: Tensor) -> Tensor:
    return value if isinstance(value, Tensor) else torch.full((), value, dtype=like.dtype, device=like.device)


def _of_tensor(function: Callable[[Tensor], Tensor]) -> Callable[..., Value]:
    return lambda like, u: function(_tensor(u, like))


def _of_tensors(function: Callable[..., Tensor]) -> Callable[..., Value]:
    return lambda like, *operands: function(*(_tensor(u, like) for u in operands))


def _of_values(function: Callable[..., Any]) -> Callable[..., Value]:
    return lambda _like, *operands: function(*operands)


def _where(like: Tensor, condition: Value, a: Value, b: Value) -> Value:
    if not isinstance(condition, Tensor):
        return a if condition else b
    # Two numbers would make a tensor of torch's default dtype, which is nobody's fault but torch.where's.
    return torch.where(condition, _tensor(a, like), _tensor(b, like))


_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": torch.abs,
    "sign": torch.sign,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "floor": torch.floor,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "expm1": torch.expm1,
    "log": torch.log,
    "log2": torch.log2,
    "log1p": torch.log1p,
    "sigmoid": torch.sigmoid,
    "logsigmoid": F.logsigmoid,
    "softplus": F.softplus,
    "tanh": torch.tanh,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "sech": lambda u: 1.0 / torch.cosh(u),
    "tanh_softplus": lambda u: torch.tanh(F.softplus(u)),
    "sech_softplus": lambda u: 1.0 / torch.cosh(F.softplus(u)),
    "tanhshrink": F.tanhshrink,
    "sin": torch.sin,
    "cos": torch.cos,
    "atan": torch.atan,
    "asinh": torch.asinh,
    "hypot1": lambda u: torch.sqrt(1.0 + u * u),
    "isru": lambda u: u / torch.sqrt(1.0 + u * u),
    "softsign": F.softsign,
    "erf": torch.erf,
    "erfc": torch.erfc,
    "ndtr": torch.special.ndtr,
}

_FORMS: dict[str, Callable[..., Value]] = {
    **{name: _of_tensor(function) for name, function in _UNARY.items()},
    "pi": lambda _like: math.pi,
    "add": _of_values(operator.add),
    "sub": _of_values(operator.sub),
    "mul": _of_values(operator.mul),
    "div": lambda like, a, b: a / b if isinstance(a, Tensor) or isinstance(b, Tensor) else _tensor(a, like) / b,
    "neg": _of_values(operator.neg),
    "square": _of_values(lambda u: u**2),
    "reciprocal": lambda like, u: 1.0 / _tensor(u, like),
    "pow": lambda like, a, b: _tensor(a, like) ** b,
    "min": _of_tensors(torch.minimum),
    "max": _of_tensors(torch.maximum),
    "clamp": lambda like, x, low, high: _tensor(x, like).clamp(_tensor(low, like), _tensor(high, like)),
    "exp_square": lambda like, u, c: torch.exp(_tensor(c * u * u, like)),
    "lt": _of_values(operator.lt),
    "le": _of_values(operator.le),
    "gt": _of_values(operator.gt),
    "ge": _of_values(operator.ge),
    "eq": _of_values(operator.eq),
    "ne": _of_values(operator.ne),
    "and": _of_values(lambda a, b: a & b),
    "or": _of_values(lambda a, b: a | b),
    "not": _of_values(lambda u: ~u if isinstance(u, Tensor) else not u),
    "where": _where,
}


def as_written(formula: Formula) -> Callable[[Tensor], Tensor]:
    """The function that evaluates a formula of one input, without parameters, as it stands.

    Args:
        formula: The formula; not rewritten in any way.

    Returns:
        A function of one tensor: same shape, same dtype, differentiable by autograd.

    Example:
        >>> from actium.symbolic.parse import parse
        >>> naive = as_written(parse("log(1 + exp(x))"))
        >>> naive(torch.tensor([0.0, 100.0]))
        tensor([0.6931,    inf])
    """
    nodes = formula.nodes

    def run(x: Tensor) -> Tensor:
        done: dict[Node, Value] = {}
        for node in nodes:
            if node.op == "input":
                done[node] = x
            elif node.is_const:
                done[node] = number_of(node)
            else:
                done[node] = _FORMS[node.op](x, *(done[a] for a in node.args))
        return _tensor(done[formula.root], x)

    return run
