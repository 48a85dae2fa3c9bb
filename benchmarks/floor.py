"""What the arithmetic of the kernels has to cost, and what it costs: operations over measured peaks, on one core.

Counted are the vector operations for one element, forward and backward, of the form that moderate inputs take: the
kernels are run on symbols, so that what is computed once counts once. Three things can be the limit: products and
multiply-adds, divisions and square roots, all operations together; the peak of each is that of a loop that does
nothing else. A division also keeps products waiting; how many, a loop of both tells. The floor is the longest of the
three. Measured beside it: the kernels on 4,096 elements, in the caches.

From the floor follows what a grid of `speed.py --full` can reach at best: every cell as fast as autograd's own work
(`view_as`, whose kernel is empty), plus the longer of its bytes at the copy's bandwidth and its operations on all
cores.
Run: `python benchmarks/floor.py [--quick]`.
"""

from __future__ import annotations

import ctypes
import functools
import inspect
import itertools
import math
import re
import time
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from common import command_line, machine, save
from speed import SMOOTH
from tables import by_processor

from actium.bench.records import geometric_mean
from actium.catalogue import ENTRIES
from actium.kernels import cpu, toolchain
from actium.kernels.described import flat_kernels
from actium.kernels.dispatch import Library, float_array
from actium.kernels.gpu import printing
from actium.kernels.loops import Kernel

DTYPES = ("float32", "bfloat16", "float16")
ELEMENTS = 4096
SIZES = {"16Ki": 1 << 14, "256Ki": 1 << 18, "1Mi": 1 << 20, "16Mi": 1 << 24}

# Independent chains, more than the processor can have under way: throughput, not latency. And the clock of kernels, for
# a call from Python takes as long as a thousand elements.
DRIVER = """#include "block.h"
typedef float v __attribute__((vector_size(4 * ACT_VECTOR)));
typedef int w __attribute__((vector_size(4 * ACT_VECTOR)));
#define FEW(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6)
#define EACH(X) FEW(X) X(7) X(8) X(9)
#define MAKE(i) v a##i = m; w b##i = k;
#define SUM(i) sum += a##i[0] + (float)b##i[0];
#define LOOP(name, steps) \\
  float name(const float *p, long count) { \\
    const v m = p[0] - (v){0}; const w k = (int)p[1] - (w){0}; float sum = 0; \\
    EACH(MAKE) for (long n = 0; n < count; n++) { steps } EACH(SUM) return sum; \\
  }
#define PRODUCT(i) a##i *= m; __asm__("" : "+x"(a##i));
#define DIVISION(i) a##i /= m; __asm__("" : "+x"(a##i));
#define MIXED(i) PRODUCT(i) b##i += k; __asm__("" : "+x"(b##i));
LOOP(products, EACH(PRODUCT))
LOOP(divisions, EACH(DIVISION))
LOOP(mixed, FEW(MIXED)) /* two vectors each: more would not fit 16 registers */
LOOP(joint, FEW(PRODUCT) DIVISION(7) FEW(PRODUCT) DIVISION(8) FEW(PRODUCT) DIVISION(9))
int lanes(void) { return ACT_VECTOR; }

typedef void (*forward)(const void *, void *, int64_t, const float *, int, int);
typedef void (*backward)(const void *, const void *, void *, int64_t, const float *, int, int);
void both(forward f, backward b, const void *x, const void *grad, void *y, void *slope, int64_t n, const float *p,
          int times) {
  for (int k = 0; k < times; k++) {
    f(x, y, n, p, 1, 0);
    b(x, grad, slope, n, p, 1, 0);
  }
}
"""


@functools.cache
def driver() -> ctypes.CDLL:
    """The loops above."""
    return toolchain.load(DRIVER, cpu.headers())


def peaks(turns: int) -> dict[str, float]:
    """Operations per nanosecond on one core: products, divisions, all kinds together.

    And as `slots` the products that could have been computed in the time that a division keeps their units busy.
    """
    library = driver()
    numbers, count = float_array((1.0, 0.0)), 200_000
    found = {}
    for name, operations in (("products", 10), ("divisions", 10), ("mixed", 14), ("joint", 24)):
        loop = getattr(library, name)
        loop.restype, loop.argtypes = ctypes.c_float, [ctypes.c_void_p, ctypes.c_long]
        best = min(_seconds(functools.partial(loop, numbers, count)) for _ in range(turns))
        found[name] = operations * count * library.lanes() / best / 1e9
    possible = found["products"] * 24 / found.pop("joint")  # in the time of 21 products and 3 divisions
    return found | {"slots": max(0.0, (possible - 21) / 3)}


def _seconds(call: Any) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


# --- Operations ---------------------------------------------------------------------------------------------


class Symbol:
    """A value that is known by how it was made; the same way twice is the same value, and costs once."""

    def __init__(self, key: tuple, counts: Counter[tuple]) -> None:
        self.key, self.counts = key, counts

    def made(self, name: str, *others: object) -> Symbol:
        """What an operation makes of this and others."""
        keys = (self.key, *(o.key if isinstance(o, Symbol) else ("constant", o) for o in others))
        if all(k[0] == "constant" for k in keys):
            return Symbol(("constant", name, *keys), self.counts)
        key = (name, *keys)
        self.counts[key] += 1
        return Symbol(key, self.counts)

    def to(self, kind: str, bitcast: bool = False) -> Symbol:
        """Another view of the bits is free; a conversion is not."""
        free = bitcast or {kind, self.key[0]} <= {"int32", "uint32"} or kind == "float32"
        if self.key[0] == "constant":
            return self
        return Symbol((kind, self.key), self.counts) if free else self.made(f"to {kind}")

    def __neg__(self) -> Symbol:
        return self if self.key[0] == "constant" else Symbol(("neg", self.key), self.counts)  # part of a multiply-add


def _operator(name: str) -> Any:
    return lambda self, *others: self.made(name, *others)


for _name in ("add", "sub", "mul", "truediv", "and", "or", "xor", "lshift", "rshift", "invert"):
    setattr(Symbol, f"__{_name}__", _operator(_name))
    setattr(Symbol, f"__r{_name}__", _operator(f"r{_name}"))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Symbol, f"__{_name}__", _operator(_name))


class Place:
    """An address, a size or a mask: costs nothing."""

    def __init__(self, name: str) -> None:
        self.name = name

    def same(self, *_: object, **__: object) -> Place:
        return self

    __add__ = __sub__ = __mul__ = __lt__ = to = same


def operations(kernel: Kernel, dtype: str) -> Counter[str]:
    """Vector operations for one element, by what limits them, without loads and stores; a conversion is one."""
    counts: Counter[tuple] = Counter()
    text = printing.source((kernel,), dtype).replace("@triton.jit", "")
    stored: list[tuple] = []
    names = _language(counts, stored)
    exec(re.sub(r"^import .*$", "", text, flags=re.MULTILINE), names)
    function = names[kernel.name]
    for name, called in list(names.items()):
        if name.startswith("act_"):
            names[name] = functools.partial(_on_symbols, called, counts)
    function(**{name: name != "ONE_GRADIENT" and Place(name) for name in inspect.signature(function).parameters})
    found: Counter[str] = Counter()
    for key in _below(stored) & set(counts):
        found["all"] += 1
        found["products"] += key[0] in ("mul", "rmul", "fma")
        found["divisions"] += key[0] in ("div_rn", "sqrt_rn")
    return found


def _below(keys: list[tuple]) -> set[tuple]:
    """The keys and all that they are made of."""
    found, left = set[tuple](), list(keys)
    while left:
        key = left.pop()
        if key not in found:
            found.add(key)
            left += [part for part in key if isinstance(part, tuple)]
    return found


def _on_symbols(function: Any, counts: Counter[tuple], *operands: Any) -> Any:
    """Call it with symbols in place of numbers."""
    return function(*(o if isinstance(o, Symbol) else Symbol(("constant", o), counts) for o in operands))


def _language(counts: Counter[tuple], stored: list[tuple]) -> dict[str, Any]:
    """What stands for Triton: everything makes symbols. What a parameter decides is asked once: the answer is yes."""

    def function(name: str) -> Any:
        def call(*operands: Any) -> Symbol:
            first = next(o for o in operands if isinstance(o, Symbol))
            return first.made(name, *operands)

        return call

    kinds = ("int16", "uint16", "int32", "uint32", "int64", "float16", "bfloat16", "float32", "constexpr")
    made = SimpleNamespace(**{kind: kind for kind in kinds})

    def where(condition: Any, yes: Any, no: Any) -> Any:
        known = not any(key[0] == "input" and key[1].startswith("i_") for key in _below([condition.key]))
        return yes if known else condition.made("where", yes, no)

    for name in ("fma", "abs", "div_rn", "sqrt_rn", "minimum", "maximum", "floor"):
        setattr(made, name, function(name))
    made.where = where
    made.arange = made.program_id = lambda *_: Place("lane")
    made.load = lambda place, mask=None: Symbol(("input", place.name), counts)
    made.full = lambda shape, value, kind: value
    made.store = lambda _, value, **__: stored.append(value.key)
    return {"tl": made}


# --- Time ---------------------------------------------------------------------------------------------------


def row_of(name: str, dtype: str, peak: dict[str, float], measured: float) -> dict[str, object]:
    """Forward and backward of one function: operations, nanoseconds an element at least, and measured."""
    plan = ENTRIES[name].activation().op.plan
    total: Counter[str] = Counter()
    for kernel in flat_kernels(plan, plan.mode(dtype)):
        outputs = kernel.outputs if kernel.midrange is None else kernel.midrange.roots
        total += operations(replace(kernel, outputs=outputs, midrange=None), dtype)
    products = total["products"] + peak["slots"] * total["divisions"]
    floor = max(products / peak["products"], total["divisions"] / peak["divisions"], total["all"] / peak["mixed"])
    row: dict[str, object] = {
        "function": name,
        "dtype": dtype,
        **{k: total[k] for k in ("products", "divisions", "all")},
    }
    return row | {"floor": round(floor, 4), "measured": round(measured, 4), "share": round(floor / measured, 3)}


def in_cache(name: str, dtype: str, turns: int) -> float:
    """Nanoseconds an element of forward and backward on one thread, at the entry's defaults."""
    entry = ENTRIES[name]
    library = Library(entry.activation().op.plan, dtype).flat()
    x, grad = (torch.randn(ELEMENTS).to(getattr(torch, dtype)) for _ in range(2))
    results = torch.empty_like(x), torch.empty_like(x)
    values = float_array(tuple(entry.defaults.values()))
    addresses = [ctypes.c_void_p(t.data_ptr()) for t in (x, grad, *results)]
    arguments = [library.forward, library.backward, *addresses, ctypes.c_int64(ELEMENTS), values, 100]
    return min(_seconds(functools.partial(driver().both, *arguments)) for _ in range(turns)) / 100 / ELEMENTS * 1e9


def fastest(rounds: int) -> dict[tuple[str, str], float]:
    """All of them, several times over: another process on the same core slows seconds in a row."""
    found: dict[tuple[str, str], float] = {}
    for _ in range(rounds):
        for cell in itertools.product(SMOOTH, DTYPES):
            found[cell] = min(found.get(cell, math.inf), in_cache(*cell, turns=10))
    return found


def autograd(turns: int) -> float:
    """Seconds of a forward and backward whose kernels do nothing."""
    leaf, grad = torch.randn(64, requires_grad=True), torch.randn(64)

    def both() -> None:
        for _ in range(100):
            leaf.view_as(leaf).backward(grad)
            leaf.grad = None

    return min(_seconds(both) for _ in range(turns)) / 100


def reachable(rows: list[dict], call: float) -> dict[str, dict[str, float]]:
    """Geometric means of the newest grid's cells on this processor: measured, and if each took its floor."""
    cpu_name = machine()["cpu"]
    grid = next((r for r in by_processor("grid") if r["machine"]["cpu"] == cpu_name), None)
    if grid is None:
        return {}
    floors = {(row["function"], row["dtype"]): row["floor"] * 1e-9 for row in rows}
    ratios: dict[str, tuple[list[float], list[float]]] = {}
    for row in grid["results"]["rows"]:
        if row["group"] == "smooth":
            moved = min(1.0, row["share_of_copy"]) * row["actium"] * 1e-6
            work = floors[row["function"], row["dtype"]] * SIZES[row["size"]] / grid["machine"]["threads"]
            for size in (row["size"], "all"):
                measured, best = ratios.setdefault(size, ([], []))
                measured.append(row["ratio"])
                best.append(row["torch"] * 1e-6 / (call + max(moved, work)))
    means = {size: [round(geometric_mean(r), 2) for r in pair] for size, pair in ratios.items()}
    return {size: {"measured": measured, "at the floor": best} for size, (measured, best) in means.items()}


def main() -> None:
    options = command_line(__doc__)
    options.add_argument("--quick", action="store_true", help="few turns, nothing written")
    turns = 10 if options.parse_args().quick else 60
    peak, call = peaks(turns), autograd(turns)
    print("peaks, operations a nanosecond, and products a division:", {k: round(v, 1) for k, v in peak.items()})
    print(f"a forward and backward without kernels: {call * 1e6:.1f} µs")
    measured = fastest(1 if turns == 10 else 20)
    heads = f"{'products':>9}{'divisions':>10}{'all':>5}{'floor ns':>10}{'measured':>10}{'share':>7}"
    print(f"{'function':12}{'dtype':10}{heads}")
    rows = []
    for (name, dtype), nanoseconds in measured.items():
        rows.append(row := row_of(name, dtype, peak, nanoseconds))
        numbers = "{products:>9}{divisions:>10}{all:>5}{floor:>10}{measured:>10}{share:>7.0%}"
        print(f"{name:12}{dtype:10}" + numbers.format(**row), flush=True)
    best = reachable(rows, call)
    for size, means in best.items():
        print(f"grid, {size}: {means}")
    if turns > 10:
        peak = {k: round(v, 2) for k, v in peak.items()}
        save("floor", {"peaks": peak, "autograd_microseconds": round(call * 1e6, 2), "rows": rows, "grid": best})


if __name__ == "__main__":
    main()
