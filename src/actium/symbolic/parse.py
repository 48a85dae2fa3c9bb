"""Text → Formula.

Stage: [text] → Formula → derivative → stabilize → plan → kernel.
In: one expression in Python's notation, from anybody. Out: a graph of primitives. Python's own parser makes the
syntax tree, an allow-list walks it, and nothing is ever evaluated or looked up outside the table of functions.
Whatever is too large for the parser to be safe with is refused before the parser sees it.
"""

from __future__ import annotations

import ast
import difflib
import keyword
import math
import re
import unicodedata
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from actium.errors import FormulaError
from actium.symbolic.compound import FUNCTIONS
from actium.symbolic.graph import Formula, Node, const, number_of, op, parameter, variable, walk

MAX_CHARACTERS = 4096
MAX_DEPTH = 64
MAX_NODES = 500
MAX_EXPONENT = 64

CONSTANTS: dict[str, Node] = {
    "pi": Node("pi"),
    "tau": 2.0 * Node("pi"),
    "e": op("exp", 1.0),
    "inf": const(math.inf),
}
_BINARY = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.Pow: "pow"}
_COMPARISONS = {ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge", ast.Eq: "eq", ast.NotEq: "ne"}
_ADVICE = {
    ast.BitXor: "^ is not a power here: use **",
    ast.FloorDiv: "// is not supported: use floor(a / b)",
    ast.Mod: "% is not supported: use a - b*floor(a / b)",
    ast.BitAnd: "& is not supported: use `and`",
    ast.BitOr: "| is not supported: use `or`",
    ast.Invert: "~ is not supported: use `not`",
    ast.Attribute: "attribute access is not allowed: write tanh(x), without torch. or math. before it",
    ast.Subscript: "indexing is not allowed: a formula is the same for every element",
    ast.Lambda: "lambda is not allowed: write only what it returns",
    ast.NamedExpr: "assignment is not allowed: write one expression",
    ast.Tuple: "a comma makes this several expressions: write one",
}
_LOOKALIKES = {"×": "*", "·": "*", "∗": "*", "⋅": "*", "÷": "/", "∕": "/", "−": "-", "–": "-", "—": "-"}  # noqa: RUF001
_LOOKALIKES |= {"х": "x", "Х": "X", "е": "e", "а": "a", "о": "o", "р": "p", "с": "c", "у": "y", "і": "i"}  # noqa: RUF001
_LOOKALIKES |= {"²": "**2", "³": "**3", "π": "pi", "∞": "inf", "≤": "<=", "≥": ">=", "≠": "!=", "′": "'", "√": "sqrt"}
_LOOKALIKES |= {"（": "(", "）": ")", "，": ",", "\N{NO-BREAK SPACE}": "a plain space"}  # noqa: RUF001


def parse(
    text: str, *, inputs: Sequence[str] = ("x",), parameters: Mapping[str, float] | Iterable[str] | None = None
) -> Formula:
    """Read a formula.

    Args:
        text: One expression: numbers, `+ - * / **`, comparisons, `and or not`, `a if c else b`, calls of the
            functions in `compound.FUNCTIONS`, the constants pi, e, tau and inf, the inputs and the parameters.
        inputs: Names of the elementwise inputs; each must be used.
        parameters: Names of the parameters, in call order; each must be used. They win over constants.

    Returns:
        The formula, with graphs simplified by identities that hold for every real number.

    Raises:
        FormulaError: If the text is anything else, with the line, the column and the piece that is wrong.

    Example:
        >>> parse("x * tanh(log(1 + exp(x)))").text
        'x * tanh(log(1 + exp(x)))'
        >>> parse("relu(x) + slope * min(x, 0)", parameters=["slope"]).parameters
        ('slope',)
    """
    names = tuple(parameters or ())
    source = _Source(text)
    source.check()
    reader = _Reader(source, _environment(tuple(inputs), names))
    tree = _syntax_tree(source)
    root = reader.read(tree.body, 0)
    if root.is_bool:
        raise source.error(tree.body, "the result is a condition, not a number: write where(…, 1, 0)")
    used = {node.value for node in walk(root) if node.op in ("input", "param")}
    for kind, declared in (("input", inputs), ("parameter", names)):
        unused = [name for name in declared if name not in used]
        if unused:
            raise FormulaError(f"the formula {text.strip()!r} does not depend on its {kind} {unused[0]!r}")
    return Formula(root, tuple(inputs), names)


def _environment(inputs: tuple[str, ...], parameters: tuple[str, ...]) -> dict[str, Node]:
    names = inputs + parameters
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise FormulaError(f"the name {twice!r} is declared twice among inputs and parameters")
    return CONSTANTS | {n: variable(n) for n in inputs} | {n: parameter(n) for n in parameters}


@dataclass(frozen=True)
class _Source:
    """The text, and how to point at a place in it."""

    text: str

    def error(self, where: ast.AST | tuple[int, int], message: str) -> FormulaError:
        """The exception for a place: a node of the syntax tree, or (line, column) from 1."""
        at = where if isinstance(where, tuple) else None
        line, column = at or (getattr(where, "lineno", 1), getattr(where, "col_offset", 0) + 1)
        lines = self.text.split("\n")
        shown = lines[line - 1] if 0 < line <= len(lines) else ""
        start = max(0, column - 40)
        excerpt = "".join(c if c.isprintable() else "?" for c in shown[start : start + 79])
        return FormulaError(
            f"line {line}, column {column}: {message}\n    {excerpt}\n    {' ' * (column - 1 - start)}^"
        )

    def _at(self, index: int) -> tuple[int, int]:
        before = self.text[:index]
        return before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1

    def check(self) -> None:
        """Refuse what Python's parser should not see.

        Raises:
            FormulaError: If the text is empty, too long, too deep, or not ASCII.
        """
        if not isinstance(self.text, str):
            raise FormulaError(f"a formula is text, got {type(self.text).__name__}")
        if len(self.text) > MAX_CHARACTERS:
            raise FormulaError(f"the formula has {len(self.text)} characters; the limit is {MAX_CHARACTERS}")
        if not self.text.strip():
            raise FormulaError("the formula is empty")
        for index, character in enumerate(self.text):
            if not (" " <= character <= "~" or character in "\t\n\r"):
                raise self.error(self._at(index), _foreign(character))
        self._check_depth()
        if len(re.findall(r"\w+|[^\w\s]", self.text)) > 4 * MAX_NODES:  # what 500 nodes can need, brackets included
            raise FormulaError(f"the formula has more than {MAX_NODES} operations and operands")

    def _check_depth(self) -> None:
        # One pass over the characters: brackets, and runs of prefix operators, which nest as deeply.
        depth = run = 0
        for index, character in enumerate(self.text):
            if character in "([{":
                depth += 1
            elif character in ")]}":
                depth -= 1
            run = run + 1 if character in "+-~" else run if character.isspace() else 0
            if depth > MAX_DEPTH or run > MAX_DEPTH:
                raise self.error(self._at(index), f"nested more than {MAX_DEPTH} deep")
        words = self.text.split()
        nots = next((i for i in range(len(words)) if set(words[i : i + MAX_DEPTH]) == {"not"}), None)
        if nots is not None and len(words) - nots > MAX_DEPTH:
            raise self.error(self._at(self.text.index("not")), f"nested more than {MAX_DEPTH} deep")


def _foreign(character: str) -> str:
    name = unicodedata.name(character, f"U+{ord(character):04X}")
    if character == "\0":
        return "a NUL character is not allowed"
    instead = _LOOKALIKES.get(character)
    hint = f": did you mean {instead}?" if instead else "; a formula is plain ASCII"
    return f"the character {character!r} ({name}) is not allowed{hint}"


def _syntax_tree(source: _Source) -> ast.Expression:
    # Leading blanks would be an indentation error; blanking them keeps the columns only on the first line.
    body = source.text.rstrip()
    lead = len(body) - len(body.lstrip())
    skipped, offset = body[:lead].count("\n"), lead - (body.rfind("\n", 0, lead) + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as "invalid decimal literal" for `1if x else 2`
            tree = ast.parse(body[lead:], "<formula>", mode="eval")
    except SyntaxError as e:
        line, column = e.lineno or 1, e.offset or 1
        message = "a number runs into a name: write 2*x" if e.msg.endswith("literal") else e.msg
        raise source.error((line + skipped, column + (offset if line == 1 else 0)), message) from None
    except (ValueError, RecursionError, MemoryError, OverflowError) as e:
        raise FormulaError(f"the formula cannot be read: {e or type(e).__name__}") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.expr):
            node.col_offset += offset if node.lineno == 1 else 0
            node.lineno += skipped
    return tree


class _Reader:
    """Walks a syntax tree. Anything that has no case here is refused."""

    def __init__(self, source: _Source, names: Mapping[str, Node]) -> None:
        self.source = source
        self.names = names
        self.count = 0

    def read(self, tree: ast.expr, depth: int) -> Node:
        """The node of an expression."""
        self._enter(tree, depth)
        match tree:
            case ast.Constant():
                return self._number(tree)
            case ast.Name():
                return self._name(tree)
            case ast.BinOp():
                return self._binary(tree, depth)
            case ast.UnaryOp():
                return self._unary(tree, depth)
            case ast.Compare():
                return self._comparison(tree, depth)
            case ast.BoolOp():
                name = "and" if isinstance(tree.op, ast.And) else "or"
                values = [self.read(v, depth + 1) for v in tree.values]
                return self._joined(tree, name, values)
            case ast.IfExp():
                parts = [self.read(t, depth + 1) for t in (tree.test, tree.body, tree.orelse)]
                return self._apply(tree, "where", parts)
            case ast.Call():
                return self._call(tree, depth)
        raise self._unsupported(tree, type(tree))

    def _enter(self, tree: ast.expr, depth: int) -> None:
        self.count += 1
        if self.count > MAX_NODES:
            raise self.source.error(tree, f"the formula has more than {MAX_NODES} operations and operands")
        if depth > MAX_DEPTH:
            raise self.source.error(tree, f"nested more than {MAX_DEPTH} deep")

    def _unsupported(self, tree: ast.expr, kind: type[ast.AST]) -> FormulaError:
        return self.source.error(tree, _ADVICE.get(kind, f"{kind.__name__} is not something a formula can hold"))

    def _number(self, tree: ast.Constant) -> Node:
        value = tree.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.source.error(tree, f"{value!r:.40} is not a real number")
        try:
            node = const(value)
        except FormulaError as e:
            raise self.source.error(tree, str(e)) from None
        if not math.isfinite(number_of(node)):
            raise self.source.error(tree, "the number does not fit a double: write inf if you mean infinity")
        return node

    def _name(self, tree: ast.Name) -> Node:
        node = self.names.get(tree.id)
        if node is not None:
            return node
        if tree.id in FUNCTIONS:
            raise self.source.error(tree, f"{tree.id} is a function: write {FUNCTIONS[tree.id].signature}")
        raise self.source.error(tree, f"unknown name {tree.id[:64]!r}{_suggest(tree.id, self.names)}")

    def _binary(self, tree: ast.BinOp, depth: int) -> Node:
        # A long sum leans to the left; it is a chain, not nesting.
        chain: list[ast.BinOp] = []
        left: ast.expr = tree
        while isinstance(left, ast.BinOp):
            if chain:
                self._enter(left, depth)
            chain.append(left)
            left = left.left
        node = self.read(left, depth + 1)
        for link in reversed(chain):
            name = _BINARY.get(type(link.op))
            if name is None:
                raise self._unsupported(link, type(link.op))
            right = self.read(link.right, depth + 1)
            if name == "pow" and isinstance(link.left, ast.Name) and node is CONSTANTS["e"]:
                node = self._apply(link, "exp", [right])
            else:
                node = self._apply(link, name, [node, right])
        return node

    def _unary(self, tree: ast.UnaryOp, depth: int) -> Node:
        operand = self.read(tree.operand, depth + 1)
        match tree.op:
            case ast.USub():
                return self._apply(tree, "neg", [operand])
            case ast.Not():
                return self._apply(tree, "not", [operand])
            case ast.UAdd():
                return self._apply(tree, "add", [operand, 0.0])
        raise self._unsupported(tree, type(tree.op))

    def _comparison(self, tree: ast.Compare, depth: int) -> Node:
        terms = [self.read(t, depth + 1) for t in (tree.left, *tree.comparators)]
        links: list[Node] = []
        for kind, a, b in zip(tree.ops, terms, terms[1:], strict=False):
            name = _COMPARISONS.get(type(kind))
            if name is None:
                raise self.source.error(tree, "only < <= > >= == and != compare numbers")
            links.append(self._apply(tree, name, [a, b]))
        return self._joined(tree, "and", links)

    def _joined(self, tree: ast.expr, name: str, parts: list[Node]) -> Node:
        node = parts[0]
        for part in parts[1:]:
            node = self._apply(tree, name, [node, part])
        return node

    def _call(self, tree: ast.Call, depth: int) -> Node:
        if not isinstance(tree.func, ast.Name):
            advice = isinstance(tree.func, ast.Attribute)
            raise (
                self._unsupported(tree.func, ast.Attribute)
                if advice
                else self.source.error(tree.func, "only a function can be called: write * to multiply")
            )
        name = tree.func.id
        if name not in FUNCTIONS:
            if name in self.names:
                raise self.source.error(tree.func, f"{name} is not a function: write {name}*(…) to multiply")
            raise self.source.error(tree.func, f"unknown function {name[:64]!r}{_suggest(name, FUNCTIONS)}")
        args = [self._argument(a, depth + 1) for a in tree.args]
        keywords: dict[str, Node | str] = {}
        for given in tree.keywords:
            if given.arg is None or given.arg in keywords:
                raise self.source.error(given.value, "each keyword is written once, by name")
            keywords[given.arg] = self._argument(given.value, depth + 1)
        return self._apply(tree, name, args, keywords)

    def _argument(self, tree: ast.expr, depth: int) -> Node | str:
        if isinstance(tree, ast.Constant) and isinstance(tree.value, str):
            self._enter(tree, depth)
            return tree.value[:64]  # a choice such as approximate="tanh"; the function says whether it is one
        return self.read(tree, depth)

    def _apply(
        self,
        tree: ast.expr,
        name: str,
        args: Sequence[Node | float | str],
        keywords: Mapping[str, Node | str] | None = None,
    ) -> Node:
        if name == "pow" and len(args) == 2 and isinstance(args[1], Node):
            size = _constant(args[1])
            if size is not None and not abs(size) <= MAX_EXPONENT:
                place = tree.right if isinstance(tree, ast.BinOp) else tree
                raise self.source.error(place, f"the exponent {size:g} is outside [-{MAX_EXPONENT}, {MAX_EXPONENT}]")
        try:
            return FUNCTIONS[name](args, keywords)
        except FormulaError as e:
            raise self.source.error(tree, str(e)) from None


_FOLDING = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "pow": lambda a, b: a**b,
    "neg": lambda a: -a,
    "square": lambda a: a * a,
    "sqrt": math.sqrt,
    "exp": math.exp,
    "pi": lambda: math.pi,
}


def _constant(node: Node) -> float | None:
    """The value of a graph without inputs, in doubles, only to bound it; infinity where that fails."""
    known: dict[Node, float] = {}
    for part in walk(node):
        if part.op in ("input", "param"):
            return None
        if part.is_const:
            known[part] = number_of(part)
            continue
        fold = _FOLDING.get(part.op)
        try:
            value = fold(*(known[a] for a in part.args)) if fold is not None else math.inf
            known[part] = float(value) if isinstance(value, int | float) else math.inf
        except (ArithmeticError, ValueError):
            known[part] = math.inf
    return known[node]


def _suggest(name: str, known: Iterable[str]) -> str:
    names = sorted(n for n in known if not keyword.iskeyword(n))
    close = difflib.get_close_matches(name[:64], [*names], n=1)
    return f": did you mean {close[0]}?" if close else f"; known are {', '.join(names)}"
