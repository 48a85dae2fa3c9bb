"""Triton kernels compiled for a real processor, which needs none: they build, and keep IEEE arithmetic."""

from __future__ import annotations

import re

import pytest

from actium.catalogue import get
from actium.kernels.described import flat_kernels, rows_kernels
from actium.kernels.gpu import sums
from actium.kernels.gpu.loading import load
from actium.kernels.gpu.printing import HEAD, LANES, OPTIONS, source

triton = pytest.importorskip("triton", reason="compiles with Triton")
if "nvidia" not in triton.backends.backends:
    pytest.skip("this Triton has no NVIDIA backend", allow_module_level=True)

STORED = {"float32": "*fp32", "bfloat16": "*bf16", "float16": "*fp16"}
CONSTANTS = {"BLOCK": 1024, "LANES": LANES, "BY_CHANNEL": False, "ONE_GRADIENT": False}
# Flushing of subnormal numbers, approximations, the division that is not IEEE's, and sums and products without a
# rounding of their own, which the assembler may fuse.
FORBIDDEN = re.compile(r"\.ftz|\.approx|div\.full|tanh\.|ex2\.|rcp\.r[^n]|(?:add|sub|mul)\.f(?:32|64)")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


def assembly(kernel, dtype: str = "float32", **known: int | bool | None) -> str:
    """PTX for compute capability 9.0, with some arguments known in advance."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    def kind(name: str) -> str:
        if name in known:
            return "constexpr"
        if name in ("partials", "sums"):
            return "*fp64"
        if name[:2] in ("i_", "o0", "o1"):
            return STORED[dtype]
        return "*fp32" if name[:2] == "q_" else "constexpr" if name.isupper() else "i32"

    signature = {name: kind(name) for name in kernel.arg_names}
    constants = {name: value for name, value in {**CONSTANTS, **known}.items() if name in signature}
    compiled = triton.compile(
        ASTSource(kernel, signature=signature, constexprs=constants),
        target=GPUTarget("cuda", 90, 32),
        options={"num_warps": 4, **OPTIONS},
    )
    assert compiled.asm["cubin"]
    return compiled.asm["ptx"]


@pytest.mark.parametrize(("name", "dtype"), [("mish", "bfloat16"), ("gelu", "float32"), ("isrlu", "float16")])
def test_a_flat_kernel_keeps_ieee_arithmetic(name, dtype):
    plan = get(name).activation().op.plan
    kernels = load(source(flat_kernels(plan, plan.mode(dtype)), dtype), ("forward", "backward"), False)
    for kernel in kernels.values():
        text = assembly(kernel, dtype)
        assert not FORBIDDEN.findall(text)
        assert "fma.rn.f32" in text
    if dtype == "bfloat16":
        assert "cvt.rn.bf16.f32" in text


def test_a_rows_kernel_and_its_sums_compile():
    plan = get("swish").activation().op.plan
    kernels = load(source(rows_kernels(plan, "c_half"), "bfloat16"), ("forward", "backward"), False)
    assert "add.rn.f64" in assembly(kernels["backward"], "bfloat16")
    assert "add.rn.f64" in assembly(load(sums.source(), ("finish",), False)["finish"])


@pytest.mark.parametrize("by_channel", [True, False])
def test_what_a_launch_fixes_compiles_too(by_channel):
    """Triton makes a constant of an argument that is 1 or None."""
    ones = dict.fromkeys(("channels", "inner", "pieces", "tiles", "items", "steps", "step_beta"), 1)
    plan = get("swish").activation().op.plan
    kernels = load(source(rows_kernels(plan, "c_half"), "bfloat16"), ("forward", "backward"), False)
    text = assembly(kernels["backward"], "bfloat16", **ones, BY_CHANNEL=by_channel, ONE_GRADIENT=True, o0=None)
    assert "add.rn.f64" in text
    assert "add.rn.f64" not in assembly(kernels["backward"], "bfloat16", **{**ones, "step_beta": 0}, partials=None)
    assert assembly(load(sums.source(), ("finish",), False)["finish"], rows=1, channels=1, inner=1, steps=1)


def test_the_search_for_inexact_instructions_can_fail():
    text = f"{HEAD}\n\n@triton.jit\ndef forward(i_x, o0):\n    tl.store(o0, tl.exp(tl.load(i_x)) / 3.1)\n"
    assert len(set(FORBIDDEN.findall(assembly(load(text, ("forward",), False)["forward"])))) >= 2
