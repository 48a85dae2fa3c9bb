"""Lowered graph → plain torch: source text, and a function made of it.

Stage: plan → [torch] → op. The path for compile, export, vmap, forward AD, subclasses, meta tensors and any
device without a kernel, and the text that `eject` prints. In: lowered graphs (target "torch"). Out: Python.
Inputs and parameters arrive as tensors of the dtype in which to compute; no dtype is changed here.
"""

from __future__ import annotations

import itertools
import keyword
import linecache
import math
import weakref
from collections.abc import Callable
from typing import Any

import torch

from actium.errors import KernelError
from actium.symbolic.graph import Node, number_of, walk
from actium.symbolic.primitives import PRIMITIVES

# e^(c·u²) with c·u² in two parts: u = h + (u − h), h on a grid of 1/16, so that h² is exact. The value does not
# depend on h, so its zero derivative leaves autodiff right. From 1024 on h is u, kept where h² and 2·h are finite:
# autodiff would multiply a value of 0 with an infinite slope, and inf − inf is NaN.
EXP_SQUARE = """def _exp_square(u, c):
    near = torch.abs(u) < 1024.0
    far = torch.finfo(u.dtype).max ** 0.5 * 0.5
    h = torch.where(near, torch.round(u * 16.0) * 0.0625, torch.clamp(u, -far, far))
    rest = torch.where(near, u - h, 0.0) * torch.where(near, u + h, 0.0)
    return torch.exp(c * (h * h)) * torch.exp(c * rest)
"""


# In the file names, so that no two functions share the lines that a traceback shows.
_serial = itertools.count()
# Names that the generated code itself needs.
_RESERVED = frozenset({"torch", "math", "_like", "_exp_square", *keyword.kwlist})


def _argument(name: str) -> str:
    """The name of an input or parameter as an argument of the generated function."""
    return f"_{name}" if name in _RESERVED else name


def _literal(value: float) -> str:
    if math.isinf(value):
        return "math.inf" if value > 0 else "-math.inf"
    return repr(value) if value >= 0 and not str(value).startswith("-") else f"({value!r})"


def body(roots: tuple[Node, ...]) -> tuple[list[str], list[str]]:
    """Assignments that compute what is used twice once, and the expression of each root."""
    order = walk(*roots)
    uses: dict[Node, int] = {}
    for node in order:
        for a in node.args:
            uses[a] = uses.get(a, 0) + 1
    text: dict[Node, str] = {}
    lines: list[str] = []
    taken = {n.value for n in order if n.op in ("input", "param")}
    names = (name for k in itertools.count() if (name := f"t{k}") not in taken)
    for node in order:
        text[node] = _expression(node, text)
        if node.args and (uses.get(node, 0) > 1 or len(text[node]) > 90):
            name = next(names)
            lines.append(f"{name} = {_bare(text[node])}")
            text[node] = name
    return lines, [_bare(text[root]) for root in roots]


def _expression(node: Node, text: dict[Node, str]) -> str:
    if node.is_const:
        return _literal(number_of(node))
    if node.op in ("input", "param"):
        return _argument(str(node.value))
    template = PRIMITIVES[node.op].torch
    if template is None:
        raise KernelError(f"{node.op} has no torch form: it must be lowered first")
    args = [text[a] for a in node.args]
    if node.op == "where" and node.args[1].is_const and node.args[2].is_const:
        # Two numbers would make a tensor of torch's default dtype.
        args[1] = _tensor(args[1])
    elif args and all(a.is_const for a in node.args):
        # What lowering could not fold: torch.log takes no Python number, and 1.0 / 0.0 is an error in Python.
        args[0] = _tensor(args[0])
    return template.format(*args)


def _tensor(number: str) -> str:
    return f"torch.full((), {number}, dtype=_like.dtype, device=_like.device)"


def _bare(expression: str) -> str:
    """Without the outermost parentheses, if they enclose the whole."""
    if not (expression.startswith("(") and expression.endswith(")")):
        return expression
    depth = 0
    for position, character in enumerate(expression):
        depth += (character == "(") - (character == ")")
        if depth == 0 and position < len(expression) - 1:
            return expression
    return expression[1:-1]


def function_source(name: str, arguments: tuple[str, ...], roots: tuple[Node, ...]) -> str:
    """A Python function of tensors that returns the roots' values."""
    lines, results = body(roots)
    text = "\n".join(lines) + " ".join(results)
    arguments = tuple(map(_argument, arguments))
    inner = [f"_like = {arguments[0]}"] if "_like" in text else []
    inner += [*lines, f"return {', '.join(results)}"]
    helper = EXP_SQUARE + "\n\n" if "_exp_square(" in text else ""
    return f"{helper}def {name}({', '.join(arguments)}):\n" + "".join(f"    {line}\n" for line in inner)


def compile_function(name: str, arguments: tuple[str, ...], roots: tuple[Node, ...]) -> Callable[..., Any]:
    """The function of `function_source`. Its text comes from the table alone, never from a user's text."""
    text = function_source(name, arguments, roots)
    filename = f"<actium {name} {next(_serial)}>"
    namespace: dict[str, Any] = {"torch": torch, "math": math}
    exec(compile(text, filename, "exec"), namespace)
    function = namespace.pop(name)  # a function in its own globals would live until the garbage is collected
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    weakref.finalize(function, linecache.cache.pop, filename, None).atexit = False
    return function
