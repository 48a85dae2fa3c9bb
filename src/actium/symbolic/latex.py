r"""Formula → LaTeX for people.

Stage: presentation; nothing is computed from it. In: a formula. Out: LaTeX for math mode.
Functions that exist for accuracy (`expm1`, `tanh_softplus`, …) are written as the mathematics they stand for.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from actium.symbolic.graph import COMPARISONS, Formula, Node, is_number, neg, number_of, op, walk
from actium.symbolic.primitives import PRIMITIVES
from actium.symbolic.text import ATOM, BINDING, MOST_CHARACTERS, number_text

_GREEK = frozenset(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi "
    "omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega".split()
)
_SUM, _PRODUCT, _POWER = BINDING["add"], BINDING["mul"], BINDING["pow"]

_READABLE: dict[str, Callable[..., Node]] = {
    "expm1": lambda u: op("sub", op("exp", u), 1.0),
    "log1p": lambda u: op("log", op("sub", 1.0, u.args[0]) if u.op == "neg" else op("add", 1.0, u)),
    "tanhshrink": lambda u: op("sub", u, op("tanh", u)),
    "hypot1": lambda u: op("sqrt", op("add", 1.0, op("square", u))),
    "reciprocal": lambda u: op("div", 1.0, u),
    "rsqrt": lambda u: op("div", 1.0, op("sqrt", u)),
    "tanh_softplus": lambda u: op("tanh", op("softplus", u)),
    "sech_softplus": lambda u: op("sech", op("softplus", u)),
    "exp_square": lambda u, c: op("exp", _scaled(c, op("square", u))),
    "isru": lambda u: op("div", u, op("sqrt", op("add", 1.0, op("square", u)))),
}


def _scaled(factor: Node, u: Node) -> Node:
    return neg(u) if is_number(factor, -1.0) else op("mul", factor, u)


def to_latex(formula: Formula | Node) -> str:
    r"""Write a formula in LaTeX.

    Args:
        formula: The formula, or a node of one.

    Returns:
        LaTeX without the surrounding dollar signs.

    Example:
        >>> from actium.symbolic.parse import parse
        >>> to_latex(parse("x * sigmoid(1.5*x)"))
        'x \\sigma(1.5 x)'
    """
    root = formula.root if isinstance(formula, Formula) else formula
    readable: dict[Node, Node] = {}
    for node in walk(root):
        args = tuple(readable[a] for a in node.args)
        build = _READABLE.get(node.op)
        readable[node] = build(*args) if build is not None else Node(node.op, args, node.value)
    done: dict[Node, str] = {}
    for node in walk(readable[root]):
        text = _write(node, done)
        done[node] = text if len(text) <= MOST_CHARACTERS else r"\ldots"
    return done[readable[root]]


def _write(node: Node, done: dict[Node, str]) -> str:
    if node.is_const:
        return _number(number_of(node))
    if node.op in ("input", "param"):
        return _symbol(str(node.value))
    special = _SPECIAL.get(node.op)
    if special is not None:
        return special(node, done)
    row = PRIMITIVES[node.op]
    if node.op in COMPARISONS or node.op in ("and", "or", "not"):
        needs = BINDING[node.op] + (row.arity == 2)
        return row.latex.format(*(_wrapped(a, done, needs) for a in node.args))
    arguments = [done[a] for a in node.args]
    template = row.latex
    if any(map(_is_tall, arguments)):
        template = re.sub(r"\((.*)\)", r"\\left(\1\\right)", template)
    return template.format(*arguments)


def _number(value: float) -> str:
    text = number_text(value)
    if "inf" in text:
        return text.replace("inf", r"\infty")
    significand, _, exponent = text.partition("e")
    if not exponent:
        return text
    return rf"{significand} \cdot 10^{{{int(exponent)}}}" if significand != "1" else f"10^{{{int(exponent)}}}"


def _symbol(name: str) -> str:
    base, _, index = name.partition("_")
    if base in _GREEK:
        head = rf"\{base}"
    elif len(base) == 1:
        head = base
    else:
        found = re.fullmatch(r"(.*?)_(\d+)", name)
        whole, index = found.groups() if found else (name, "")
        head = rf"\mathrm{{{whole}}}".replace("_", r"\_")
    return f"{head}_{{{index}}}".replace("_{}", "") if index.isdigit() or not index else _worded(head, index)


def _worded(head: str, index: str) -> str:
    escaped = index.replace("_", r"\_")
    return rf"{head}_{{\mathrm{{{escaped}}}}}"


def _strength(node: Node) -> int:
    """How tightly a node's LaTeX holds together."""
    if node.op in ("where",):
        return 0
    if node.is_const:
        text = _number(number_of(node))
        return _SUM if text.startswith("-") else _PRODUCT if r"\cdot" in text or "^" in text else ATOM
    if node.op == "neg":
        return _SUM
    if node.op in ("exp", "exp2"):
        return _POWER
    return BINDING.get(node.op, ATOM)


def _is_tall(text: str) -> bool:
    return r"\frac" in text or r"\begin" in text


def _wrapped(node: Node, done: dict[Node, str], needs: int) -> str:
    return done[node] if _strength(node) >= needs else rf"\left({done[node]}\right)"


def _add(node: Node, done: dict[Node, str]) -> str:
    a, b = node.args
    left = _wrapped(a, done, _SUM)
    if b.is_const and number_of(b) < 0:
        return f"{left} - {_number(-number_of(b))}"
    return f"{left} + {_wrapped(b, done, _PRODUCT)}"


def _sub(node: Node, done: dict[Node, str]) -> str:
    a, b = node.args
    return f"{_wrapped(a, done, _SUM)} - {_wrapped(b, done, _PRODUCT)}"


def _neg(node: Node, done: dict[Node, str]) -> str:
    return f"-{_wrapped(node.args[0], done, _PRODUCT)}"


def _mul(node: Node, done: dict[Node, str]) -> str:
    a, b = node.args
    # A negative number may lead a product; anywhere else it needs parentheses.
    left = done[a] if a.is_const else _wrapped(a, done, _PRODUCT)
    right = _wrapped(b, done, _PRODUCT)
    return rf"{left} \cdot {right}" if _needs_dot(a, b, left, right) else f"{left} {right}"


def _needs_dot(a: Node, b: Node, left: str, right: str) -> bool:
    """Factors stand side by side unless they would read as one number, one name, a call or a mixed fraction."""
    if right[0].isdigit() or a is b or (a.is_const and right.startswith(r"\frac")):
        return True
    if right.startswith((r"\left(", r"\left|")):
        return not a.is_const and not left.endswith(r"\right)")
    return not _is_plain(a) or r"\mathrm" in left or right.startswith(r"\mathrm")


def _is_plain(node: Node) -> bool:
    """Whether this is a symbol, a number, or a product of such."""
    if node.op in ("mul", "square", "pow"):
        return all(map(_is_plain, node.args))
    return not node.args


def _div(node: Node, done: dict[Node, str]) -> str:
    a, b = node.args
    return rf"\frac{{{done[a]}}}{{{done[b]}}}"


def _square(node: Node, done: dict[Node, str]) -> str:
    return f"{_wrapped(node.args[0], done, ATOM)}^{{2}}"


def _pow(node: Node, done: dict[Node, str]) -> str:
    return f"{_wrapped(node.args[0], done, ATOM)}^{{{done[node.args[1]]}}}"


def _cases(node: Node, done: dict[Node, str]) -> str:
    rows: list[str] = []
    while node.op == "where":
        condition, value, node = node.args
        rows.append(rf"{done[value]} & \text{{if }} {done[condition]}")
    rows.append(rf"{done[node]} & \text{{otherwise}}")
    return r"\begin{cases} " + r" \\ ".join(rows) + r" \end{cases}"


_SPECIAL: dict[str, Callable[[Node, dict[Node, str]], str]] = {
    "add": _add,
    "sub": _sub,
    "neg": _neg,
    "mul": _mul,
    "div": _div,
    "square": _square,
    "pow": _pow,
    "where": _cases,
}
assert set(_READABLE) <= set(PRIMITIVES), "a rewriting for a primitive that is gone"
