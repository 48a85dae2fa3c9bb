"""Plan → Triton source of its kernels.

Stage: plan → [Triton text] → loading → launch. In: `cpu.Kernel`s, the same descriptions that are printed as C. Out:
Python text that stands by itself: the functions of `math.h` and `hot.h` that are used, then the kernels. Two layouts:

* flat: every parameter is one number; the tensors are runs of n elements, in whatever order memory has them;
* rows: parameters have one value per channel; the tensors are (outer, channels, inner) in memory order. Sums (parameter
  gradients) are added up in double, each lane of a program for itself, and come out as partial sums (see `sums.py`).

A kernel's form for moderate numbers is left out: it pays where a processor takes one branch for a whole block.
Every kernel computes in float32 and rounds once. A gradient that is one number for all elements is read once.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

from actium.errors import KernelError
from actium.kernels import cpu
from actium.kernels.forms import expressions
from actium.kernels.gpu.c_text import Headers, tokens
from actium.kernels.gpu.translate import Translator, Value, bare, function_text, typed
from actium.kernels.loops import Kernel
from actium.symbolic.graph import IDENTIFIER, Node

DTYPES = ("float32", "bfloat16", "float16")
# How many elements a program of a rows kernel handles at a time. Part of the order of its sums, and so never tuned.
LANES = 1024

# Triton would fuse products and sums of its own accord, and each of its versions others.
OPTIONS = {"enable_fp_fusion": False}

HEAD = '''"""Written by actium."""

import triton
import triton.language as tl
'''

COPY_SIGN = """@triton.jit
def act_copysign_(a, b):
    sign = b.to(tl.int32, bitcast=True) & -0x80000000
    return ((a.to(tl.int32, bitcast=True) & 0x7fffffff) | sign).to(tl.float32, bitcast=True)
"""


@functools.cache
def headers() -> Headers:
    """What the headers of the C kernels define."""
    found = cpu.headers()
    return Headers.read(found["math.h"], found["hot.h"])


def source(kernels: tuple[Kernel, ...], dtype: str, interpreted: bool = False) -> str:
    """Triton text of a module with these kernels for one dtype.

    Args:
        kernels: What to print.
        dtype: "float32", "bfloat16" or "float16".
        interpreted: For Triton's interpreter, which cuts a bfloat16 off where it should round. Its tensors are then
            passed as integers, and rounded by the C kernels' function. Nothing else differs.

    Raises:
        KernelError: If the dtype has no kernels, a name is none, or a graph is not lowered.
    """
    if dtype not in DTYPES:
        raise KernelError(f"no kernel for {dtype}: it has {', '.join(DTYPES)}")
    integers = interpreted and dtype == "bfloat16"
    calls: dict[str, None] = dict.fromkeys(["act_from_bf16", "act_to_bf16"]) if integers else {}
    printed = [_kernel(k, dtype, calls) for k in kernels]
    return "\n\n".join([HEAD, *functions(calls), *_conversions(dtype, integers), *printed])


def functions(calls: Iterable[str]) -> list[str]:
    """Text of functions of the headers, each after those that it calls."""
    done: dict[str, str] = {}

    def visit(name: str) -> None:
        if name in done:
            return
        text, inner = (COPY_SIGN, ()) if name == "act_copysign_" else function_text(headers(), name)
        for n in inner:
            visit(n)
        done[name] = text

    for name in calls:
        visit(name)
    return list(done.values())


def _conversions(dtype: str, integers: bool) -> list[str]:
    widened = "act_from_bf16(x)" if integers else "x.to(tl.float32)"
    rounded = "act_to_bf16(x)" if integers else f"x.to(tl.{dtype})"
    made = {"widened": widened, "rounded": rounded}
    return [f"@triton.jit\ndef {name}(x):\n    return {text}\n" for name, text in made.items()]


def _kernel(kernel: Kernel, dtype: str, calls: dict[str, None]) -> str:
    for name in (*kernel.inputs, *kernel.parameters):
        if not IDENTIFIER.match(name):
            raise KernelError(f"{name!r} cannot be a name in Triton")
    lines, results = _computation(kernel, dtype != "float32", calls)
    return _flat(kernel, lines, results) if kernel.layout == "flat" else _rows(kernel, lines, results)


def _computation(kernel: Kernel, narrow: bool, calls: dict[str, None]) -> tuple[list[str], list[str]]:
    """Triton statements, and the expression of each output and sum."""
    leaves = {Node("input", (), n): f"in_{n}" for n in kernel.inputs}
    leaves |= {Node("param", (), n): f"p_{n}" for n in kernel.parameters}
    statements, results = expressions((*kernel.outputs, *kernel.sums), leaves, narrow)
    names = {name: Value(name, "float32") for name in leaves.values()}
    shape = "(BLOCK,)" if kernel.layout == "flat" else "(LANES,)"
    translator = Translator(headers(), names, shape)
    for statement in statements:
        translator.statements(tokens(str(statement)))
    values = [translator.expression(tokens(result)) for result in results]
    calls |= translator.calls
    return translator.lines, [bare(typed(value, shape).text) for value in values]


def _tensors(kernel: Kernel) -> list[str]:
    return [*(f"i_{n}" for n in kernel.inputs), *(f"o{k}" for k in range(len(kernel.outputs)))]


def _loads(kernel: Kernel) -> list[str]:
    lines = []
    for name in kernel.inputs:
        each = f"widened(tl.load(i_{name} + start + lane, mask=inside))"
        if len(kernel.inputs) > 1 and name == kernel.inputs[-1]:
            each = f"widened(tl.load(i_{name})) if ONE_GRADIENT else {each}"
        lines.append(f"in_{name} = {each}")
    return lines


def _stores(kernel: Kernel, results: list[str]) -> list[str]:
    lines = []
    for k, result in enumerate(results[: len(kernel.outputs)]):
        lines += [f"if o{k} is not None:", f"    tl.store(o{k} + start + lane, rounded({result}), mask=inside)"]
    return lines


def _flat(kernel: Kernel, lines: list[str], results: list[str]) -> str:
    arguments = [*_tensors(kernel), *(f"q_{n}" for n in kernel.parameters), "n"]
    body = [
        "lane = tl.arange(0, BLOCK)",
        "start = tl.program_id(0).to(tl.int64) * BLOCK",
        "inside = lane < n - start",
        *(f"p_{n} = tl.full((BLOCK,), tl.load(q_{n}), tl.float32)" for n in kernel.parameters),
        *_loads(kernel),
        *lines,
        *_stores(kernel, results),
    ]
    constants = "BLOCK: tl.constexpr, ONE_GRADIENT: tl.constexpr"
    return f"@triton.jit\ndef {kernel.name}({', '.join(arguments)}, {constants}):\n" + _indented(body)


def _rows(kernel: Kernel, lines: list[str], results: list[str]) -> str:
    sums = range(len(kernel.sums))
    parameters = [name for n in kernel.parameters for name in (f"q_{n}", f"step_{n}")]
    shape = "partials, total, period, channels, inner, pieces, tiles, items, steps"
    constants = "LANES: tl.constexpr, BY_CHANNEL: tl.constexpr, ONE_GRADIENT: tl.constexpr"
    terms = results[len(kernel.outputs) :]
    loop = [
        "item = (group * steps + step).to(tl.int64)",
        "if BY_CHANNEL:",
        "    piece = item % pieces",
        "    start = (item // pieces * channels + channel) * inner + piece * LANES",
        "    inside = lane < tl.where(item < items, inner - piece * LANES, 0)",
        "else:",
        "    start = item * period + first",
        "    inside = (first + lane < period) & (lane < total - start)",
        *_loads(kernel),
        *lines,
        *_stores(kernel, results),
        *(f"sum{k} += tl.where(inside, {t}, 0.0).to(tl.float64)" for k, t in enumerate(terms)),
    ]
    body = [
        "lane = tl.arange(0, LANES)",
        "tile = tl.program_id(0) % tiles",
        "group = tl.program_id(0) // tiles",
        "groups = tl.num_programs(0) // tiles",
        "first = (tile + 0 * period) * LANES  # as wide as period",
        "channel = tile if BY_CHANNEL else (first + lane) // inner % channels",
        *(f"p_{n} = {_channel_value(n)}" for n in kernel.parameters),
        *(f"sum{k} = tl.full((LANES,), 0.0, tl.float64)" for k in sums),
        "for step in range(steps):",
        *(f"    {line}" for line in loop),
        *_partials(len(kernel.sums)),
    ]
    arguments = ", ".join([*_tensors(kernel), *parameters, shape, constants])
    return f"@triton.jit\ndef {kernel.name}({arguments}):\n" + _indented(body)


def _channel_value(name: str) -> str:
    value = f"tl.load(q_{name} + channel * step_{name})"
    return f"tl.full((LANES,), {value}, tl.float32) if BY_CHANNEL else {value}"


def _partials(count: int) -> list[str]:
    """A partial sum for each lane; None where nobody asks for them."""
    if not count:
        return []
    lines = ["if partials is not None:"]
    for k in range(count):
        first = f"({k} * groups + group).to(tl.int64)"
        lines += [
            "    if BY_CHANNEL:",
            f"        tl.store(partials + ({first} * channels + channel) * LANES + lane, sum{k})",
            "    else:",
            f"        tl.store(partials + {first} * period + first + lane, sum{k}, mask=first + lane < period)",
        ]
    return lines


def _indented(lines: list[str]) -> str:
    return "".join(f"    {line}\n" for line in lines)
