"""C → Triton: every function of the headers has the same bits in both; what is no part of the subset is refused."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
import torch

from actium.errors import KernelError
from actium.kernels import cpu, toolchain
from actium.kernels.gpu.c_text import Headers, tokens
from actium.kernels.gpu.printing import HEAD, functions, headers
from actium.kernels.gpu.translate import BUILTINS, Translator, Value, function_text, literal
from samples import bits

pytest.importorskip("triton", reason="the kernels are run by Triton's interpreter")

FLOATS = {
    name: len(f.arguments)
    for name, f in headers().functions.items()
    if f.result == "float" and all(kind == "float" for kind, _ in f.arguments) and name not in BUILTINS
}


def inputs(count: int) -> list[torch.Tensor]:
    """Numbers over all exponents and both signs, and pairs of moderate ones; the special ones among them."""
    generator = torch.Generator().manual_seed(0)
    encodings = torch.randint(-(2**31), 2**31, (4, 1 << 14), generator=generator, dtype=torch.int64)
    moderate = torch.randn(4, 1 << 14, generator=generator) * 30
    special = torch.tensor([0.0, -0.0, 1.0, -1.0, torch.inf, -torch.inf, torch.nan, 1e-45, -1e-45, 3e38, -3e38, 1e-38])
    pairs = torch.stack([special.repeat_interleave(12), *[special.repeat(12)] * 3])
    return list(torch.cat([encodings.to(torch.int32).view(torch.float32), moderate, pairs], 1).contiguous())[:count]


@pytest.fixture(scope="module")
def in_c():
    """Each function over arrays, as C."""
    if not toolchain.kernels_enabled():
        pytest.skip("needs a C compiler to compare with")
    text = ['#include "hot.h"']
    for name, count in FLOATS.items():
        arrays = ", ".join(f"const float* x{k}" for k in range(count))
        values = ", ".join(f"x{k}[i]" for k in range(count))
        text.append(
            f"void of_{name}(float* y, int n, {arrays}) {{ for (int i = 0; i < n; i++) y[i] = {name}({values}); }}"
        )
    library = toolchain.load("\n".join(text), cpu.headers())

    def call(name: str, xs: list[torch.Tensor]) -> torch.Tensor:
        y = torch.empty_like(xs[0])
        getattr(library, f"of_{name}")(
            ctypes.c_void_p(y.data_ptr()), xs[0].numel(), *(ctypes.c_void_p(x.data_ptr()) for x in xs)
        )
        return y

    return call


@pytest.fixture(scope="module")
def in_triton():
    """Each function over arrays, as Triton."""
    from actium.kernels.gpu.loading import load

    text = [HEAD, *functions(FLOATS)]
    for name, count in FLOATS.items():
        arrays = ", ".join(f"x{k}" for k in range(count))
        values = ", ".join(f"tl.load(x{k} + at, mask=at < n)" for k in range(count))
        text.append(
            f"@triton.jit\ndef of_{name}(y, n, {arrays}, BLOCK: tl.constexpr):\n"
            f"    at = tl.arange(0, BLOCK)\n    tl.store(y + at, {name}({values}), mask=at < n)\n"
        )
    kernels = load("\n\n".join(text), tuple(f"of_{name}" for name in FLOATS), True)

    def call(name: str, xs: list[torch.Tensor]) -> torch.Tensor:
        y = torch.empty_like(xs[0])
        with np.errstate(all="ignore"):
            kernels[f"of_{name}"][(1,)](y, y.numel(), *xs, BLOCK=1 << 16)
        return y

    return call


@pytest.mark.parametrize("name", FLOATS)
def test_a_function_has_the_same_bits_in_c_and_in_triton(name, in_c, in_triton):
    if toolchain.status().cpu_features and not {"fma", "neon"} & set(toolchain.status().cpu_features):
        pytest.skip("without fused multiply-add, C rounds twice")
    xs = inputs(FLOATS[name])
    got, expected = in_triton(name, xs), in_c(name, xs)
    same = (bits(got) == bits(expected)) | (got.isnan() & expected.isnan())
    at = int((~same).nonzero()[0]) if not same.all() else 0
    assert same.all(), f"{name}{tuple(float(x[at]) for x in xs)}: {got[at]} in Triton, {expected[at]} in C"


def test_the_comparison_can_fail(in_c, in_triton):
    xs = inputs(1)
    assert not torch.equal(bits(in_triton("act_expm1", xs)), bits(in_c("act_exp", xs)))


def test_no_function_is_left_out():
    """All but those that look at memory, which Triton has of its own, and the conversions of whole blocks."""
    assert len(FLOATS) >= 60
    for name in headers().functions:
        if name not in BUILTINS:
            assert f"def {name}(" in function_text(headers(), name)[0]


@pytest.mark.parametrize(
    ("c", "triton", "type"),
    [
        ("x * y + 1.0f", "(x * y) + 1.0", "float32"),
        ("ACT_FMA(x, y, -z)", "tl.fma(x, y, (-z))", "float32"),
        ("x / y", "tl.div_rn(x, y)", "float32"),
        ("__builtin_sqrtf(x)", "tl.sqrt_rn(x)", "float32"),
        ("x < y ? 1.0f : 0x1.8p+1f", "tl.where((x < y), tl.full((), 1.0, tl.float32), 3.0)", "float32"),
        ("(float)((x > 0.0f) - (x < 0.0f))",
         "((x > 0.0).to(tl.int32) - (x < 0.0).to(tl.int32)).to(tl.float32)", "float32"),
        ("(uint32_t)n << 23", "n.to(tl.uint32) << 23", "uint32"),
        ("(int32_t)0xff800000", "-0x800000", "int32"),
        ("1u - 2u", "0xffffffff", "uint32"),
        ("(double)x * 0.1", "x.to(tl.float64) * 0.1", "float64"),
        ("!(x == x) | (y < x)", "(~(x == x)) | (y < x)", "bool"),
        ("0.1f", "0.1", "float32"),
        ("-__builtin_inff()", 'float("-inf")', "float32"),
    ],
)  # fmt: skip
def test_expressions(c, triton, type):
    from actium.kernels.gpu.translate import bare

    names = {n: Value(n, "float32") for n in "xyz"} | {"n": Value("n", "int32")}
    value = Translator(headers(), names).expression(tokens(c))
    assert (bare(value.text), value.type) == (triton, type)


def test_a_float_literal_is_rounded_once():
    for text in ("1.17549435e-38f", "0.1f", "16777217.0f", "3.4028234e38f"):
        value = Translator(headers(), {}).expression(tokens(text))
        assert np.float32(float(value.text)) == np.float32(text.rstrip("f")) == value.number
    assert literal(2**31, "int32").number == -(2**31)


@pytest.mark.parametrize(
    "c",
    [
        "if (x) return x;",
        "float t = x;",
        "x = y;",
        "for (;;) {}",
        "const float t = libm(x);",
        "const float t = unknown;",
        "const int t = n / n;",
        "const float t = x y;",
        "const float t = (x;",
        "const float t = x[0];",
        "const float t = x @ y;",
    ],
)
def test_what_is_not_in_the_subset_is_refused(c):
    names = {n: Value(n, "float32") for n in "xy"} | {"n": Value("n", "int32")}
    with pytest.raises(KernelError):
        Translator(headers(), names).statements(tokens(c))


def test_macros_expand_as_the_preprocessor_does():
    text = """
    #define TABLE 1.0f, 2.0f, \\
        3.0f
    #define PASTE(n, x, ...) H##n(x, __VA_ARGS__)
    #define H2(x, a, b, c) (a + (b + c * x) * x)
    ACT_FN float f(float x) { /* a comment */ return PASTE(2, x, TABLE); }
    """
    found = function_text(Headers.read(text), "f")[0]
    assert found.endswith("return 1.0 + ((2.0 + (3.0 * x)) * x)\n")
