"""C text → tokens, macros and functions: as much of C as `math.h`, `hot.h` and generated statements are written in.

Stage: C → [tokens] → Triton. In: the text of headers. Out: tokens; macros expanded where they stand; the functions
marked `ACT_FN`. Of statements, only `const T name = …` and `return …` are in this subset.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from actium.errors import KernelError

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>0[xX][0-9a-fA-F.]+(?:[pP][+-]?\d+)?[uUlLfF]*|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[uUlLfF]*)
    |(?P<name>[A-Za-z_]\w*)|(?P<string>"[^"]*")|(?P<mark>\#\#|\.\.\.|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^~!<>=?:,;(){}\[\].\#]))""",
    re.VERBOSE,
)
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_MACRO = re.compile(r"#define (\w+)(\([^)]*\))?[ \t]*((?:\\\n|[^\n])*)")
_FUNCTION = re.compile(r"ACT_FN (\w+) (\w+)\(([^)]*)\) \{")

# Written for Triton by hand or built into it; as C macros they would choose by processor.
BUILT_IN = frozenset({"ACT_FMA", "ACT_FN"})


def tokens(text: str) -> list[str]:
    """The tokens of a piece of C without comments."""
    found, at, end = [], 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            raise KernelError(f"cannot read C at {text[at : at + 40]!r}")
        found.append(match.group().strip())
        at = match.end()
    return found


@dataclass(frozen=True)
class Macro:
    """A `#define`. `arguments` is None for one without parentheses; the last may be `...`."""

    arguments: tuple[str, ...] | None
    body: tuple[str, ...]


@dataclass(frozen=True)
class Function:
    """A function: its result's type, its arguments as (type, name), and the tokens between its braces."""

    name: str
    result: str
    arguments: tuple[tuple[str, str], ...]
    body: tuple[str, ...]


@dataclass(frozen=True)
class Headers:
    """What headers define."""

    macros: Mapping[str, Macro]
    functions: Mapping[str, Function]

    @classmethod
    def read(cls, *texts: str) -> Headers:
        """Read headers; a function whose arguments are not plain numbers is left out."""
        macros: dict[str, Macro] = {}
        functions: dict[str, Function] = {}
        for text in texts:
            plain = _COMMENT.sub(" ", text)
            for name, arguments, body in _MACRO.findall(plain):
                names = tuple(a.strip() for a in arguments[1:-1].split(",")) if arguments else None
                if name not in BUILT_IN:
                    macros[name] = Macro(names, tuple(tokens(body.replace("\\\n", " "))))
            for function in _functions(_MACRO.sub("", plain)):
                functions[function.name] = function
        return cls(macros, functions)

    def expand(self, name: str, arguments: list[list[str]]) -> list[str]:
        """The tokens that a macro stands for; those inside are not expanded yet."""
        macro = self.macros[name]
        if macro.arguments is None:
            return list(macro.body)
        arguments = self.spread(arguments)
        values = dict(zip(macro.arguments, arguments, strict=False))
        if macro.arguments[-1] == "...":
            values["__VA_ARGS__"] = list(_joined(arguments[len(macro.arguments) - 1 :]))
        out: list[str] = []
        for token in macro.body:
            replaced = values.get(token, [token])
            if out and out[-1] == "##":
                out[-2:] = [out[-2] + replaced[0], *replaced[1:]]
            else:
                out += replaced
        return out

    def spread(self, arguments: list[list[str]]) -> list[list[str]]:
        """Arguments of a call; a table's name stands for several of them."""
        return split([t for token in _joined(arguments) for t in self._constant(token)], ",") if arguments else []

    def _constant(self, token: str) -> list[str]:
        macro = self.macros.get(token)
        return list(macro.body) if macro is not None and macro.arguments is None else [token]


def _functions(text: str) -> Iterator[Function]:
    for match in _FUNCTION.finditer(text):
        result, name, arguments = match.groups()
        depth, at = 1, match.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        declared = [a.split() for a in arguments.split(",")]
        if all(len(a) == 2 for a in declared):
            body = tuple(tokens(text[match.end() : at - 1]))
            yield Function(name, result, tuple((kind, n) for kind, n in declared), body)


def _joined(pieces: list[list[str]]) -> Iterator[str]:
    for k, piece in enumerate(pieces):
        yield from ([",", *piece] if k else piece)


def split(stream: list[str], mark: str) -> list[list[str]]:
    """The pieces between marks that are not inside parentheses."""
    pieces: list[list[str]] = [[]]
    depth = 0
    for token in stream:
        depth += {"(": 1, ")": -1}.get(token, 0)
        if token == mark and depth == 0:
            pieces.append([])
        else:
            pieces[-1].append(token)
    return pieces
