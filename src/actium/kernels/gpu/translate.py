"""C statements → Triton statements: the same operations in the same order, so that both compute the same bits.

Stage: [C → Triton] → kernel source. In: the C text that `kernels/forms.py` prints, and the functions of `math.h` and
`hot.h`. Out: Python text over `triton.language`. So the C form in the table of primitives is the Triton form, too:
there is one set of polynomials, and a kernel's results do not depend on the device.

Types are followed as C does (`float` and `double`, signed and unsigned integers): Triton's own promotions differ.
Division and square root are the IEEE ones; a product and a sum are fused where C says `ACT_FMA` and nowhere else.
"""

from __future__ import annotations

import keyword
import math
import operator
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from actium.errors import KernelError
from actium.kernels.gpu.c_text import Headers, split

# C's types by their names in Triton. "bool" is a comparison's result, "constexpr" an argument that is known in advance.
TYPES = {
    "float": "float32",
    "double": "float64",
    "int": "int32",
    "int32_t": "int32",
    "uint32_t": "uint32",
    "int64_t": "int64",
    "uint64_t": "uint64",
    "uint16_t": "uint16",
}
_RANK = ("bool", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")
_FLOATS = ("float32", "float64")
_LEVELS = (("|",), ("^",), ("&",), ("==", "!="), ("<", "<=", ">", ">="), ("<<", ">>"), ("+", "-"), ("*", "/"))
_FOLD: dict[str, Callable[[Any, Any], Any]] = {
    "|": operator.or_, "^": operator.xor, "&": operator.and_, "==": operator.eq, "!=": operator.ne, "<": operator.lt,
    "<=": operator.le, ">": operator.gt, ">=": operator.ge, "<<": operator.lshift, ">>": operator.rshift,
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
}  # fmt: skip

# Functions that are Triton's own: types of the arguments, type of the result, text.
BUILTINS: dict[str, tuple[str, str, str]] = {
    "ACT_FMA": ("float32 float32 float32", "float32", "tl.fma({0}, {1}, {2})"),
    "__builtin_fabsf": ("float32", "float32", "tl.abs({0})"),
    "__builtin_sqrtf": ("float32", "float32", "tl.sqrt_rn({0})"),
    "__builtin_sqrt": ("float64", "float64", "tl.sqrt({0})"),
    "act_bits_": ("float32", "int32", "{0}.to(tl.int32, bitcast=True)"),
    "act_float_": ("int32", "float32", "{0}.to(tl.float32, bitcast=True)"),
    "act_bits_d_": ("float64", "int64", "{0}.to(tl.int64, bitcast=True)"),
    "act_double_": ("int64", "float64", "{0}.to(tl.float64, bitcast=True)"),
}
_PACKED = {"act_bits_": "fi", "act_float_": "if", "act_bits_d_": "dq", "act_double_": "qd"}
COPY_SIGN = "__builtin_copysignf"
# Macros of polynomials: their arguments appear many times in what they stand for.
POLYNOMIALS = ("ACT_HORNER", "ACT_ESTRIN", "ACT_MONIC")


@dataclass(frozen=True)
class Value:
    """An expression: its text, its type, and its number where that is known now."""

    text: str
    type: str
    number: float | int | bool | None = None


def literal(number: float | int | bool, type: str) -> Value:
    """A number of a type, wrapped or rounded to it."""
    if type in _FLOATS:
        number = float(number)
        if type == "float32" and math.isfinite(number):
            number = _rounded(number)
        text = _digits(number, type) if math.isfinite(number) else f'float("{number}")'
    elif type in ("bool", "constexpr"):
        text = repr(number)
    else:
        bits = int(type.removeprefix("u").removeprefix("int"))
        number = int(number) & (1 << bits) - 1
        number -= (1 << bits) if not type.startswith("u") and number >> (bits - 1) else 0
        text = repr(number) if abs(number) < 1024 else hex(number)
    return Value(f"({text})" if text.startswith("-") else text, type, number)


def _digits(number: float, type: str) -> str:
    """The shortest text that is this number: nine digits tell floats apart."""
    if type == "float64":
        return repr(number)
    text = next(t for d in range(1, 17) if _rounded(float(t := f"{number:.{d}g}")) == number)
    return text if any(c in text for c in ".e") else f"{text}.0"


def _rounded(number: float) -> float:
    return struct.unpack("f", struct.pack("f", number))[0]


def convert(value: Value, type: str) -> Value:
    """The value in a type, as an assignment or a cast of C gives it."""
    if value.type in (type, "constexpr"):
        return value
    if value.number is not None:
        return literal(value.number, type)
    if type == "bool":
        return Value(f"({value.text} != 0)", "bool")
    return Value(f"{value.text}.to(tl.{type})", type)


def typed(value: Value, shape: str = "()") -> Value:
    """The value as a tensor: a Python number has no bits to look at, and Triton would choose its type by its size."""
    if value.number is None or value.type == "constexpr":
        return value
    return Value(f"tl.full({shape}, {value.text}, tl.{value.type})", value.type)


@dataclass
class Translator:
    """Translates the statements of one function.

    Attributes:
        headers: The functions and macros that may be used.
        names: What a name of C stands for.
        shape: That of numbers that are passed to functions. Triton's interpreter cannot combine what scalars compare to
            with what blocks do, so that in a kernel even a constant is a block.
        lines: The statements so far.
        calls: The functions called so far.
    """

    headers: Headers
    names: dict[str, Value]
    shape: str = "()"
    lines: list[str] = field(default_factory=list)
    calls: dict[str, None] = field(default_factory=dict)
    _stream: list[str] = field(default_factory=list)
    _temporaries: int = 0

    # -- statements --------------------------------------------------------------------------------

    def statements(self, stream: list[str], result: str | None = None) -> None:
        """Declarations, and `return` of a type if that is given."""
        for statement in split(stream, ";"):
            if statement[:1] == ["return"] and result is not None:
                value = convert(self.expression(statement[1:]), result)
                self.lines.append(f"return {bare(value.text)}")
            elif statement[:1] == ["const"] and statement[1] in TYPES:
                for declared in split(statement[2:], ","):
                    self._declare(TYPES[statement[1]], declared, counts=statement[1] == "int")
            elif statement:
                raise KernelError(f"no Triton form of the C statement {' '.join(statement[:12])!r}")

    def _declare(self, type: str, declared: list[str], counts: bool) -> None:
        name, value = declared[0], self.expression(declared[2:])
        # An int that is a comparison stays one.
        value = value if counts and value.type == "bool" else convert(value, type)
        self.names[name] = value if value.number is not None else self._assigned(safe(name), value)

    def _assigned(self, name: str, value: Value) -> Value:
        self.lines.append(f"{name} = {bare(value.text)}")
        return Value(name, value.type)

    def expression(self, stream: list[str]) -> Value:
        """The value of one expression."""
        before, self._stream = self._stream, list(stream)
        value = self._ternary()
        if self._stream:
            raise KernelError(f"no Triton form of the C expression {' '.join(stream[:24])!r}")
        self._stream = before
        return value

    # -- expressions -------------------------------------------------------------------------------

    def _next(self) -> str:
        return self._stream[0] if self._stream else ""

    def _take(self, expected: str | None = None) -> str:
        token = self._stream.pop(0) if self._stream else ""
        if expected is not None and token != expected:
            raise KernelError(f"expected {expected!r} in C, got {token!r}")
        return token

    def _ternary(self) -> Value:
        condition = self._binary(0)
        if self._next() != "?":
            return condition
        self._take("?")
        first = self._ternary()
        self._take(":")
        second = self._ternary()
        if condition.type == "constexpr":
            return Value(f"({first.text} if {condition.text} else {second.text})", first.type)
        if condition.number is not None:
            return first if condition.number else second
        type = self._common(first, second)
        first, second = convert(first, type), convert(second, type)
        if first.number is not None and second.number is not None:
            first = typed(first)
        return Value(f"tl.where({convert(condition, 'bool').text}, {first.text}, {second.text})", type)

    @staticmethod
    def _common(*values: Value) -> str:
        """C's usual arithmetic conversions."""
        type = max((v.type for v in values if v.type != "constexpr"), key=_RANK.index)
        return type if type not in ("uint16",) else "int32"

    def _binary(self, level: int) -> Value:
        if level == len(_LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while self._next() in _LEVELS[level]:
            sign = self._take()
            left = self._operation(sign, left, self._binary(level + 1))
        return left

    def _operation(self, sign: str, left: Value, right: Value) -> Value:
        if sign in ("<<", ">>"):
            type = self._common(left)
            right = convert(right, type)
        elif sign in "&|^" and left.type == right.type == "bool":
            type = "bool"
        else:
            type = self._common(left, right)
            type = "int32" if type == "bool" else type
            left, right = convert(left, type), convert(right, type)
        compares = sign in ("==", "!=", "<", "<=", ">", ">=")
        if left.number is not None and right.number is not None:
            return literal(_FOLD[sign](left.number, right.number), "bool" if compares else type)
        if sign == "/" and type == "float32":
            return Value(f"tl.div_rn({left.text}, {right.text})", type)
        if sign == "/" and type != "float64":
            raise KernelError("no Triton form of a division of integers")
        return Value(f"({left.text} {sign} {right.text})", "bool" if compares else type)

    def _unary(self) -> Value:
        token = self._next()
        if token == "(" and self._stream[1] in TYPES and self._stream[2] == ")":
            type = TYPES[self._stream[1]]
            del self._stream[:3]
            return convert(self._unary(), type)
        if token not in ("-", "!", "~"):
            return self._primary()
        self._take()
        value = self._unary()
        if token == "!":
            value = convert(value, "bool")
        if value.number is not None:
            return literal({"-": operator.neg, "!": operator.not_, "~": operator.inv}[token](value.number), value.type)
        return Value(f"({'-' if token == '-' else '~'}{value.text})", value.type)

    def _primary(self) -> Value:
        token = self._take()
        if token == "(":
            value = self._ternary()
            self._take(")")
            return value
        if token[:1].isdigit() or token[:1] == ".":
            return _number(token)
        macro = self.headers.macros.get(token)
        if macro is not None:
            arguments = self._arguments() if macro.arguments is not None else []
            if macro.arguments and token.startswith(POLYNOMIALS):
                arguments = [self._hoisted(a) for a in arguments]
            self._stream[:0] = self.headers.expand(token, arguments)
            return self._unary()  # it may stand for a negative number
        if self._next() == "(":
            return self._call(token, self._arguments())
        if token not in self.names:
            raise KernelError(f"unknown name {token!r} in C")
        return self.names[token]

    def _hoisted(self, argument: list[str]) -> list[str]:
        """The point at which a polynomial is evaluated, or a power of it, computed once."""
        if len(argument) == 1:
            return argument
        value = self.expression(argument)
        if value.number is not None:
            return argument
        self._temporaries += 1
        name = f"at{self._temporaries}_"
        self.names[name] = self._assigned(name, value)
        return [name]

    def _arguments(self) -> list[list[str]]:
        self._take("(")
        depth, inside = 1, list[str]()
        while depth:
            token = self._take()
            if not token:
                raise KernelError("a parenthesis of C is not closed")
            depth += {"(": 1, ")": -1}.get(token, 0)
            inside.append(token)
        return split(inside[:-1], ",") if len(inside) > 1 else []

    def _call(self, name: str, arguments: list[list[str]]) -> Value:
        if name in ("__builtin_inff", "__builtin_nanf"):
            return literal(math.inf if name == "__builtin_inff" else math.nan, "float32")
        values = [self.expression(a) for a in self.headers.spread(arguments)]
        if name in BUILTINS:
            types, result, template = BUILTINS[name]
            values = [convert(v, t) for v, t in zip(values, types.split(), strict=True)]
            if name in _PACKED and values[0].number is not None:
                given, made = _PACKED[name]
                return literal(struct.unpack(made, struct.pack(given, values[0].number))[0], result)
            return Value(template.format(*(v.text for v in values)), result)
        if name == COPY_SIGN:
            self.calls["act_copysign_"] = None
            return Value(f"act_copysign_({values[0].text}, {values[1].text})", "float32")
        function = self.headers.functions.get(name)
        if function is None:
            raise KernelError(f"no Triton form of the C function {name!r}")
        self.calls[name] = None
        passed = [self._passed(v, kind) for v, (kind, _) in zip(values, function.arguments, strict=True)]
        return Value(f"{name}({', '.join(passed)})", TYPES[function.result])

    def _passed(self, value: Value, kind: str) -> str:
        if kind == "int":
            return convert(value, "int32").text
        return bare(typed(convert(value, TYPES[kind]), self.shape).text)


def _number(token: str) -> Value:
    lower = token.lower()
    hexadecimal = lower.startswith("0x")
    if "." in lower or "p" in lower or (not hexadecimal and ("e" in lower or lower.endswith("f"))):
        digits = token.rstrip("fFlL")
        number = float.fromhex(digits) if hexadecimal else float(digits)
        return literal(number, "float32" if lower.endswith("f") else "float64")
    number = int(token.rstrip("uUlL"), 16 if hexadecimal else 10)
    return literal(number, "uint32" if lower.endswith("u") else "int32" if number < 2**31 else "uint32")


def safe(name: str) -> str:
    """A name of C that Python accepts as well."""
    return f"{name}_" if keyword.iskeyword(name) or name == "tl" else name


def bare(text: str) -> str:
    """Without the outermost parentheses, if they enclose the whole."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0 and position < len(text) - 1:
            return text
    return text[1:-1]


def function_text(headers: Headers, name: str) -> tuple[str, tuple[str, ...]]:
    """A function of the headers as a Triton function, and the names of those that it calls."""
    function = headers.functions[name]
    names = {n: Value(safe(n), "constexpr" if kind == "int" else TYPES[kind]) for kind, n in function.arguments}
    translator = Translator(headers, names)
    translator.statements(list(function.body), TYPES[function.result])
    arguments = [f"{safe(n)}: tl.constexpr" if kind == "int" else safe(n) for kind, n in function.arguments]
    body = "".join(f"    {line}\n" for line in translator.lines)
    return f"@triton.jit\ndef {name}({', '.join(arguments)}):\n{body}", tuple(translator.calls)
