"""A stand-alone PyTorch file of an activation: no lock-in.

Stage: plan → [Python text]. In: an `Activation`. Out: a module that imports torch and nothing else, with a function
and an `nn.Module` that compute the same numbers by the same stable form. Whatever a user may have written (a name, a
source, a docstring) becomes an identifier that was checked, or a comment.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from torch import nn

from actium import __version__
from actium.catalogue import ENTRIES
from actium.errors import TargetError
from actium.kernels.dispatch import safe_name
from actium.kernels.eager import function_source
from actium.module import NEAREST, RAW, bounds
from actium.report.clean import clean
from actium.symbolic.graph import Formula, Node, parameter, substitute, variable
from actium.symbolic.latex import to_latex
from actium.symbolic.parameters import Parameter
from actium.symbolic.text import to_text

if TYPE_CHECKING:
    from actium.define import Activation

_WIDTH = 100
_TAKEN = {"torch", "nn", "math", "Tensor", "x", "wide", "like", "input", "channels", "channel_dim", "self"}
_TAKEN |= {"_compute", "_spread", "_raw_above", "_raw_between", "_exp_square", "_number", "_like", "h", "u", "c"}
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z][a-z])")  # where a word of CapWords begins
_TEMPORARY = re.compile(r"[ts]\d+")

_NUMBER = '''
def _number(value: float, like: Tensor) -> Tensor:
    """Make a number of the dtype of `like`; torch.where of two plain numbers would take torch's default dtype."""
    return torch.full((), value, dtype=like.dtype, device=like.device)
'''

_SPREAD = '''
def _spread(value: float | Tensor, like: Tensor, channel_dim: int | None) -> Tensor:
    """Let a parameter broadcast against `like`: a number, one value, or one for each channel."""
    if not isinstance(value, Tensor):
        return _number(value, like)
    if value.numel() == 1:
        return value.to(like.dtype).reshape(())
    if channel_dim is None or like.shape[channel_dim] != value.numel():
        raise ValueError(f"{value.numel()} values do not fit {tuple(like.shape)} with channel_dim={channel_dim}")
    shape = [1] * like.dim()
    shape[channel_dim] = -1
    return value.to(like.dtype).reshape(shape)
'''

_RAW_ABOVE = f'''
def _raw_above(distance: float) -> float:
    """Invert softplus."""
    distance = max(distance, {NEAREST})
    return distance + math.log(-math.expm1(-distance))
'''

_RAW_BETWEEN = f'''
def _raw_between(share: float) -> float:
    """Invert sigmoid."""
    share = min(max(share, {NEAREST}), 1 - {NEAREST})
    return math.log(share / (1 - share))
'''


@dataclass(frozen=True)
class _Names:
    """Identifiers of the file: the function, the class, and each parameter's."""

    function: str
    cls: str
    parameters: dict[str, str]


# Entries of the catalogue that do more than their formula says, and what to use instead of a file of the formula.
_MORE = {
    "brelu": "its sign follows from the channel, and a file of its formula would be ReLU; use actium.nn.BReLU",
    "rrelu": "it draws its slopes in training, and a file of its formula would be a leaky ReLU; use torch.nn.RReLU",
}


def eject(activation: Activation, name: str | None = None) -> str:
    """The text of a Python file with this activation in plain PyTorch.

    Args:
        activation: What to write.
        name: What to call it, if not by the activation's name. Of "LeakyReLU" the function is `leaky_relu`, and of
            "leaky_relu" the class is `LeakyRelu`.

    Returns:
        A file with a function and an `nn.Module` of that name. Values and gradients are those of the activation to the
        last bit or the one before; learnable parameters have the same names in `state_dict`.

    Raises:
        TargetError: If the activation is more than its formula (`brelu`, `rrelu`).

    Example:
        >>> from actium.authoring import formula
        >>> text = eject(formula("x * tanh(log(1 + exp(x)))", name="mish"))
        >>> "class Mish(nn.Module)" in text, "actium" in text.replace("Written by actium", "")
        (True, False)
    """
    _refuse_more_than_a_formula(activation)
    names = _names(activation, safe_name(name) if name else activation.name)
    code = [
        _compute(activation, names),
        *_helpers(activation),
        _function(activation, names),
        _module(activation, names),
    ]
    body = "\n\n".join(part.strip("\n") + "\n" for part in code)
    if "_number(" in body:
        body = f"{_NUMBER.lstrip()}\n\n{body}"
    imports = ("import math\n\n" if "math." in body else "") + "import torch\nfrom torch import Tensor, nn\n"
    return f"{_header(activation, names)}\n{imports}\n\n{body}"


def _refuse_more_than_a_formula(activation: Activation) -> None:
    # The formula of a module of the catalogue, such as actium.nn.BReLU(), comes with the entry's name and source.
    entry = ENTRIES.get(activation.name)
    if entry is not None and entry.calling in _MORE and activation.source_note == entry.source:
        raise TargetError(f"{entry.name} is more than its formula: {_MORE[entry.calling]}")


# --- Names ------------------------------------------------------------------------------------------------


def _usable(name: str, taken: Iterable[str]) -> str:
    reserved = {*_TAKEN, *dir(builtins), *taken}
    while keyword.iskeyword(name) or keyword.issoftkeyword(name) or name in reserved or _TEMPORARY.fullmatch(name):
        name += "_"
    return name


def _snake_case(name: str) -> str:
    """LeakyReLU → leaky_relu, SiLU → silu; what does not begin like a class is left as it is."""
    return _WORD.sub("_", name).lower() if name[:1].isupper() else name


def _names(activation: Activation, name: str) -> _Names:
    function = _usable(_snake_case(name), ())
    cls = "".join(part[:1].upper() + part[1:] for part in name.split("_")) or "Activation"
    cls = _usable(cls if not cls[0].isdigit() else f"Activation{cls}", (function,))
    parameters: dict[str, str] = {}
    for p in activation.parameters:
        # An nn.Module has no room for a parameter called "training" or "forward".
        parameters[p.name] = _usable(p.name, {*parameters.values(), *dir(nn.Module()), function, cls, "extra_repr"})
    return _Names(function, cls, parameters)


# --- The parts --------------------------------------------------------------------------------------------


def _header(activation: Activation, names: _Names) -> str:
    value = _renamed(activation.formula.root, activation, names)
    slope = _renamed(activation.derivative().formula.root, activation, names)
    lines = [f"{names.cls}, an activation function in plain PyTorch.", ""]
    lines += [*_wrapped(f"f(x) = {to_text(value)}"), *_wrapped(f"f'(x) = {to_text(slope)}"), ""]
    if activation.parameters:
        lines += [f"{names.parameters[p.name]}: {_described(p)}." for p in activation.parameters] + [""]
    latex = [to_latex(Formula(root, ("x",), tuple(names.parameters.values()))) for root in (value, slope)]
    lines += ["In LaTeX:", "", *_wrapped(f"f(x) = {latex[0]}"), *_wrapped(f"f'(x) = {latex[1]}"), ""]
    lines += ["Half precision is widened to float32, computed in a form that neither overflows nor cancels, and"]
    lines += [f"rounded once. Written by actium {__version__}."]
    text = "\n".join(lines)
    comments = "".join(f"{line}\n" for line in _comments(activation))
    return f'r"""{text}\n"""\n{comments}'


def _renamed(root: Node, activation: Activation, names: _Names) -> Node:
    """A graph with the names of the file."""
    renamed: dict[Node, Node] = {variable(activation.formula.inputs[0]): variable("x")}
    renamed |= {parameter(old): parameter(new) for old, new in names.parameters.items()}
    return substitute(root, renamed)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="    ", subsequent_indent="        ", break_long_words=False)


def _described(p: Parameter) -> str:
    kind = "learnable" if p.learnable else "fixed"
    return f"{kind}, {p.init:g} by default" + (f", in {p.range_text}" if p.constrained else "")


def _comments(activation: Activation) -> list[str]:
    """What the author wrote about it, each line behind a #."""
    texts = [f"Source: {activation.source_note}"] if activation.source_note else []
    doc = activation.__doc__ or ""
    if doc != f"{activation.name}(x) = {activation.formula}":
        texts += doc.splitlines()
    lines = [line for text in texts for line in textwrap.wrap(clean(text), _WIDTH) or [""]]
    return [f"# {line}".rstrip() for line in lines]


def _compute(activation: Activation, names: _Names) -> str:
    """The arithmetic, on tensors of the dtype to compute in."""
    root = _renamed(activation.op.plan.value("soft"), activation, names)
    tree = ast.parse(function_source("_compute", ("x", *names.parameters.values()), (root,)))
    tensor = ast.Name("Tensor")
    for function in tree.body:
        assert isinstance(function, ast.FunctionDef)
        function.returns = tensor
        for argument in function.args.args:
            argument.annotation = ast.Name("float") if argument.arg == "c" else tensor
        function.body = _short(function.body)
    # Printed from the tree, so that there is no parenthesis too many; and 1e+18 as formatters have it, 1e18.
    text = "\n\n\n".join(ast.unparse(function) for function in tree.body)
    return re.sub(r"(?<=\de)\+(?=\d)", "", text)


class _Readable(ast.NodeTransformer):
    """Gives the constants that need a dtype a name of their own."""

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """`torch.full((), v, dtype=…, device=…)` → `_number(v, x)`."""
        self.generic_visit(node)
        if ast.unparse(node.func) != "torch.full":
            return node
        return ast.Call(ast.Name("_number"), [node.args[1], ast.Name("x")], [])


def _short(body: list[ast.stmt]) -> list[ast.stmt]:
    """The statements with what makes a line too long computed on a line of its own."""
    done: list[ast.stmt] = []
    for statement in body:
        if ast.unparse(statement) == "_like = x":
            continue
        made = _Readable().visit(statement)
        while len(ast.unparse(made)) > _WIDTH and (piece := _largest_piece(made)) is not None:
            name = ast.Name(f"s{sum(isinstance(d, ast.Assign) for d in done)}")
            done.append(ast.Assign([name], piece, lineno=0))
            made = _replace(made, piece, name)
        done.append(made)
    return done


def _largest_piece(statement: ast.stmt) -> ast.expr | None:
    """The longest operation inside a statement that fits a line."""
    kinds = (ast.BinOp, ast.Call, ast.Compare, ast.UnaryOp)
    assert isinstance(statement, ast.Assign | ast.Return)
    inner = [n for n in ast.walk(statement) if isinstance(n, kinds) and n is not statement.value]
    fitting = [n for n in inner if len(ast.unparse(n)) <= _WIDTH - 6]
    return max(fitting, key=lambda n: len(ast.unparse(n)), default=None)


def _replace(tree: ast.stmt, old: ast.expr, new: ast.expr) -> ast.stmt:
    class Swap(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return new if node is old else self.generic_visit(node)

    return cast("ast.stmt", Swap().visit(tree))


def _helpers(activation: Activation) -> list[str]:
    both = [None not in bounds(p) for p in activation.parameters if p.constrained and p.learnable]
    helpers = [_SPREAD] if activation.parameters else []
    helpers += [_RAW_ABOVE] if False in both else []
    return helpers + ([_RAW_BETWEEN] if True in both else [])


def _literal(value: float) -> str:
    return repr(value) if value not in (float("inf"), float("-inf")) else f"float({str(value)!r})"


def _call(head: str, arguments: list[str], tail: str) -> str:
    """A call or signature, on one line if it fits, else one line for each argument."""
    line = f"{head}({', '.join(arguments)}){tail}"
    if len(line) <= _WIDTH:
        return line
    indent = " " * (len(head) - len(head.lstrip()))
    return "\n".join([f"{head}(", *(f"{indent}    {a}," for a in arguments), f"{indent}){tail}"])


def _function(activation: Activation, names: _Names) -> str:
    arguments = [f"{names.parameters[p.name]}: float | Tensor = {_literal(p.init)}" for p in activation.parameters]
    channel = ["channel_dim: int | None = None"] if activation.parameters else []
    operands = [f"_spread({name}, wide, channel_dim)" for name in names.parameters.values()]
    about = "\n\n    Parameters of shape (C,) belong to dimension channel_dim.\n    " if activation.parameters else ""
    return f'''
{_call(f"def {names.function}", ["x: Tensor", *arguments, *channel], " -> Tensor:")}
    """Apply f elementwise; the result has the shape and the dtype of x.{about}"""
    if not x.is_floating_point():
        raise TypeError(f"{names.function}: expected a floating-point tensor, got {{x.dtype}}")
    wide = x.to(torch.float64 if x.dtype == torch.float64 else torch.float32)
{_call("    return _compute", ["wide", *operands], ".to(x.dtype)")}
'''


# --- The nn.Module ----------------------------------------------------------------------------------------


def _module(activation: Activation, names: _Names) -> str:
    described = [(p, names.parameters[p.name]) for p in activation.parameters]
    learnable = [p for p, _ in described if p.learnable]
    arguments = [f"{name}: float = {_literal(p.init)}" for p, name in described]
    if learnable:
        arguments += ["*", "channels: int = 1", "channel_dim: int | None = None"]
    operands = ["input", *(f"self.{name}" for _, name in described), *(["self.channel_dim"] if learnable else [])]
    lines = [f"class {names.cls}(nn.Module):", f'    """Applies `{names.function}`."""', ""]
    if described:
        lines += [_call("    def __init__", ["self", *arguments], " -> None:"), "        super().__init__()"]
        lines += [f"        {line}" for line in _initial(names, described, bool(learnable))]
        lines += [line for p, name in described if p.learnable and p.constrained for line in _property(p, name)]
        lines.append("")
    lines += [
        "    def forward(self, input: Tensor) -> Tensor:",
        '        """Apply the activation."""',
        _call(f"        return {names.function}", operands, ""),
    ]
    fixed = [name for p, name in described if not p.learnable]
    if fixed:
        shown = ", ".join(f"{name}={{self.{name}:g}}" for name in fixed)
        lines += ["", "    def extra_repr(self) -> str:", '        """Tell the fixed parameters."""']
        lines.append(f'        return f"{shown}"')
    return "\n".join(lines)


def _initial(names: _Names, described: list[tuple[Parameter, str]], learns: bool) -> list[str]:
    lines = []
    if learns:
        lines += ["if channels > 1 and channel_dim is None:"]
        lines += [f'    raise ValueError("{names.cls}: several channels need channel_dim")']
        lines += ["self.channel_dim = channel_dim"]
    for p, name in described:
        if p.constrained:
            lines += [f"if not ({_condition(p, name)}):"]
            lines += [f'    raise ValueError(f"{names.cls}: {name} must be in {p.range_text}, got {{{name}}}")']
        if not p.learnable:
            lines += [f"self.{name} = {name}"]
        elif p.constrained:
            lines += [f"self.{RAW}{name} = nn.Parameter(torch.full((channels,), {_raw(p, name)}))"]
        else:
            lines += [f"self.{name} = nn.Parameter(torch.full((channels,), float({name})))"]
    return lines


def _condition(p: Parameter, name: str) -> str:
    low, high = bounds(p)
    above = (
        "" if low is None else f"{name} > {_literal(low)}" if p.positive and low == 0 else f"{name} >= {_literal(low)}"
    )
    below = "" if high is None else f"{name} <= {_literal(high)}"
    return " and ".join(filter(None, (above, below)))


def _minus(name: str, number: float) -> str:
    return name if number == 0 else f"{name} {'-' if number > 0 else '+'} {_literal(abs(number))}"


def _raw(p: Parameter, name: str) -> str:
    """The unconstrained number that stands for a value."""
    low, high = bounds(p)
    if low is not None and high is not None:
        return f"_raw_between(({_minus(name, low)}) / {_literal(high - low)})"
    if low is None:
        assert high is not None
        return f"_raw_above({_literal(high)} - {name})"
    return f"_raw_above({_minus(name, low + (NEAREST if p.positive else 0.0))})"


def _property(p: Parameter, name: str) -> list[str]:
    low, high = bounds(p)
    raw = f"self.{RAW}{name}"
    if low is not None and high is not None:
        value = f"{_literal(low)} + {_literal(high - low)} * torch.sigmoid({raw})"
    elif low is not None:
        value = f"{_literal(low + (NEAREST if p.positive else 0.0))} + nn.functional.softplus({raw})"
    else:
        assert high is not None
        value = f"{_literal(high)} - nn.functional.softplus({raw})"
    about = f'        """Give the value, kept in {p.range_text}."""'
    return ["", "    @property", f"    def {name}(self) -> Tensor:", about, f"        return {value}"]
