"""Lowered graph → C statements: each operation in the cheapest C form that its operands allow.

Stage: plan → [C expressions] → kernel source. In: graphs and the C names of their leaves. Out: statements, and the
expression of each root. `math.h` has a form for every operand; `hot.h` has cheaper ones for arguments that are never
positive and for results that are rounded to a half.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from actium.errors import KernelError
from actium.symbolic.graph import Node, const, neg, number_of, walk
from actium.symbolic.primitives import PRIMITIVES

# Operations that take one or two instructions, and a division.
_LIGHT = frozenset("input param const add sub mul div neg abs sign min max clamp floor sqrt square where".split())
# More of them keep a loop's values out of registers.
_MOST = 24


def is_light(roots: tuple[Node, ...]) -> bool:
    """Whether the graphs have a few simple operations only."""
    nodes = list(walk(*roots))
    return len(nodes) <= _MOST and all(node.is_bool or node.op in _LIGHT for node in nodes)


def literal(value: float) -> str:
    """A number in C."""
    if value in (float("inf"), float("-inf")):
        return "(-__builtin_inff())" if value < 0 else "__builtin_inff()"
    number = f"{value.hex()}f"
    return f"({number})" if value < 0 else number


@dataclass(frozen=True)
class Statement:
    """The value of one node.

    Attributes:
        name: Its name, which no other statement has.
        text: The expression in C.
    """

    name: str
    text: str

    def __str__(self) -> str:
        return f"const float {self.name} = {self.text};"

    @property
    def operands(self) -> frozenset[str]:
        """The names of other statements in it."""
        return temporaries(self.text)


def temporaries(text: str) -> frozenset[str]:
    """The names of statements in an expression; those of inputs and parameters look different."""
    return frozenset(_TEMPORARY.findall(text))


_TEMPORARY = re.compile(r"\bt\d+\b")


def expressions(
    roots: tuple[Node, ...],
    names: dict[Node, str],
    narrow: bool,
    not_negative: bool = False,
    among: tuple[Node, ...] = (),
) -> tuple[list[Statement], list[str]]:
    """Statements that compute shared nodes once, and the expression of each root.

    `not_negative`: the parameters that `deciding` names are known to be so; else each element looks. `among`: graphs
    with the roots in them, to be computed as there; what a sum is fused with depends on who else needs it.
    """
    text = dict(names)
    statements: list[Statement] = []
    hot = _Hot.of(among or roots, narrow)
    for node in walk(*roots):
        if node in text:
            continue
        if node.is_const:
            text[node] = literal(number_of(node))
            continue
        if (node.op, narrow) in _IN_STEPS:
            known = [text[node.args[0]]]
            for step in _IN_STEPS[node.op, narrow]:
                known.append(f"t{len(statements)}")
                statements.append(Statement(known[-1], step.format(*known)))
            text[node] = known[-1]
            continue
        if node in hot.deciding:
            text[node] = f"t{len(statements)}"
            statements.append(Statement(text[node], _by_sign(node, text, hot, not_negative)))
            continue
        template = _hot_form(node, hot) or PRIMITIVES[node.op].c
        if template is None:
            raise KernelError(f"{node.op} has no C form: it must be lowered first")
        expression = _fused(node, text, hot) or template.format(*(text[a] for a in node.args))
        if node.is_bool:  # stays inside its selection, where the compiler turns it into a mask
            text[node] = expression
        else:
            text[node] = f"t{len(statements)}"
            statements.append(Statement(text[node], expression))
    return statements, [text[root] for root in roots]


def deciding(roots: tuple[Node, ...]) -> tuple[Node, ...]:
    """Parameters p of e^(u/p) - 1 that only counts where u is not positive: for p ≥ 0, u/p is not, either."""
    return tuple(dict.fromkeys(_Hot.of(roots, narrow=False).deciding.values()))


# Functions of hot.h by the operator that they compute; those with a second name have a version for halves.
_NEVER_POSITIVE = {"exp": "act_expn", "expm1": "act_expm1n", "exp_hi": "act_expn_hi", "exp_lo": "act_expn_lo"}
_FALLING_SQUARE = {"exp_square": "act_expsqn", "expsq_hi": "act_expsqn_hi", "expsq_lo": "act_expsqn_lo"}
# In several steps, by operator and whether the result is rounded to a half; {0} is the operand, {1} the first step's
# value. A loop can be cut between them (`fission.py`).
_IN_STEPS = {
    ("tanh", False): ("act_tanh_above({0})", "act_tanh_below({0})", "__builtin_copysignf({1} / {2}, {0})"),
    ("tanh", True): ("act_tanh_expm1_h({0})", "__builtin_copysignf({1} / (2.0f + {1}), {0})"),
    ("tanhshrink", False): ("act_tanhshrink_rest({0})", "act_tanhshrink_of({0}, {1})"),
    ("tanhshrink", True): ("act_tanhshrink_rest_h({0})", "act_tanhshrink_of_h({0}, {1})"),
    ("mills", False): ("act_mills_w({0})", "act_mills_of({0}, {1})"),
    ("mills", True): ("act_mills_w_h({0})", "act_mills_of_h({1})"),
}
_WITH_HALF = frozenset({"exp", "expm1", "exp_square"})
_MIDRANGE = {
    "exp_mid": "act_exp_mid{half}({{0}})",
    "expsq_mid": "act_expsq_mid{half}({{0}}, {{1}})",
    "mills_mid": "act_mills_mid{half}({{0}})",
}


@dataclass(frozen=True)
class _Hot:
    """What the choice of a cheaper form depends on, beyond the node itself.

    Attributes:
        narrow: Results are rounded to a half.
        uses: How often each node is an operand or a root.
        split: Exponents y whose e^y is needed in two factors.
        negative: e^y and e^y - 1 that only count where their exponent is not positive.
        deciding: e^y - 1 of which that is so if a parameter is not negative → the parameter.
    """

    narrow: bool
    uses: Counter[Node]
    split: frozenset[Node]
    negative: frozenset[Node]
    deciding: Mapping[Node, Node]

    @classmethod
    def of(cls, roots: tuple[Node, ...], narrow: bool) -> _Hot:
        nodes = list(walk(*roots))
        uses = Counter(a for node in nodes for a in node.args)
        uses.update(roots)
        split = frozenset(node.args[0] for node in nodes if node.op == "exp_hi")
        found = [pair for node in nodes if node.op == "where" for pair in _negative_exponentials(node, uses)]
        negative = frozenset(e for e, p in found if p is None)
        return cls(narrow, uses, split, negative, {e: p for e, p in found if p is not None})


def _negative_exponentials(node: Node, uses: Counter[Node]) -> Iterator[tuple[Node, Node | None]]:
    """Exponentials of u that are used in the branch of a selection where u is not positive, and nowhere else.

    Those of u/p and p·u, too, with p.
    """
    condition, above, below = node.args
    if condition.op not in ("lt", "le", "gt", "ge") or condition.args[1] is not const(0.0):
        return
    left = [above if condition.op in ("lt", "le") else below]
    while left:
        inner = left.pop()
        if uses[inner] == 1 and inner.op in ("exp", "expm1") and inner.args[0] is condition.args[0]:
            yield inner, None
        elif uses[inner] == 1 and inner.op == "expm1" and (p := _scale(inner.args[0], condition.args[0])) is not None:
            yield inner, p
        elif uses[inner] == 1:
            left.extend(inner.args)


def _scale(y: Node, u: Node) -> Node | None:
    """The parameter p of u/p and p·u."""
    if y.op not in ("div", "mul") or not any(a is u for a in y.args):
        return None
    p = y.args[0] if y.op == "mul" and y.args[1] is u else y.args[1]
    return p if p.op == "param" else None


def _by_sign(node: Node, text: dict[Node, str], hot: _Hot, not_negative: bool) -> str:
    exponent, p = text[node.args[0]], text[hot.deciding[node]]
    falling = f"act_expm1n{'_h' if hot.narrow else ''}({exponent})"
    return falling if not_negative else f"({p} >= 0.0f ? {falling} : act_expm1({exponent}))"


def _hot_form(node: Node, hot: _Hot) -> str | None:
    """A cheaper C form that the node's operands and users allow."""
    half = "_h" if hot.narrow and node.op in _WITH_HALF else ""
    if node.op == "expsq_mid" and not hot.narrow and _is_power_of_two(node.args[1]):
        return "act_expsq2_mid({0}, {1})"
    if node.op in _MIDRANGE:
        return _MIDRANGE[node.op].format(half="_h" if hot.narrow else "")
    if _is_negative_abs(node):
        return "(-__builtin_fabsf({1}))" if node.args[1].op != "neg" else "(-__builtin_fabsf({2}))"
    if node.op in _NEVER_POSITIVE and (node in hot.negative or _never_positive(node.args[0])):
        if node.op == "exp" and node.args[0] in hot.split:
            return "(act_expn_hi({0}) * act_expn_lo({0}))"
        return f"{_NEVER_POSITIVE[node.op]}{half}({{0}})"
    if node.op in _FALLING_SQUARE and node.args[1].is_const and number_of(node.args[1]) < 0:
        return f"{_FALLING_SQUARE[node.op]}{half}({{0}}, {{1}})"
    if node.op == "log1p" and node.args[0].op in ("exp", "exp_mid") and _never_positive(node.args[0].args[0]):
        return f"act_log1p_unit{'_h' if hot.narrow else ''}({{0}})"
    return None


def _fused(node: Node, text: dict[Node, str], hot: _Hot) -> str | None:
    """A sum with a product that nothing else needs, in one rounding."""
    if node.op not in ("add", "sub"):
        return None
    a, b = node.args
    for product, other, first in ((a, b, True), (b, a, False)):
        if product.op == "mul" and hot.uses[product] == 1:
            p, q = (text[n] for n in product.args)
            sign_product = "-" if node.op == "sub" and not first else ""
            sign_other = "-" if node.op == "sub" and first else ""
            return f"ACT_FMA({sign_product}{p}, {q}, {sign_other}{text[other]})"
    return None


def _is_power_of_two(node: Node) -> bool:
    return node.is_const and abs(math.frexp(number_of(node))[0]) == 0.5


def _is_negative_abs(node: Node) -> bool:
    if node.op != "where" or node.args[0].op != "ge" or node.args[0].args[1] is not const(0.0):
        return False
    u = node.args[0].args[0]
    return node.args[2] is u and node.args[1] is neg(u)


def _never_positive(node: Node) -> bool:
    scaled = node.op == "mul" and node.args[0].is_const and number_of(node.args[0]) > 0
    return _is_negative_abs(node.args[1] if scaled else node)
