"""Forward + backward of gated units against PyTorch's expressions and against torch.compile of them, in one run.

Two forms: the halves of one tensor (`F.glu(x)`, `F.silu(gate) * up` of `x.chunk(2, -1)`) and two tensors. PyTorch keeps
gate, up and act(gate) for the backward pass, writes act(gate) to memory, and joins the halves' gradients; a fused unit
keeps its input. Run: `python benchmarks/gated.py [--quick] [--no-compile]`. Ratios above 1 mean faster.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from common import chosen, command_line, interleaved, save

import actium
from actium.bench.records import geometric_mean

UNITS = {
    "glu": ("sigmoid", torch.sigmoid),
    "swiglu": ("silu", F.silu),
    "geglu": ("gelu", F.gelu),
    "reglu": ("relu", F.relu),
}
# Rows and features of the output: a feed-forward block, narrow heads, channels of 8.
SHAPES = {"64x1024": (64, 1024), "512x4096": (512, 4096), "2048x4096": (2048, 4096), "131072x8": (131072, 8)}
COMPILED = "512x4096"  # every compile takes seconds
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def halves_of(name, reference):
    """PyTorch's expression of one tensor: F.glu where that is it."""
    if name == "glu":
        return lambda x: F.glu(x, -1)

    def call(x):
        gate, up = x.chunk(2, -1)
        return reference(gate) * up

    return call


def step(function, inputs, grad):
    """One forward and backward, gradients released as an optimiser would."""

    def run():
        function(*inputs).backward(grad)
        for x in inputs:
            x.grad = None

    return run


def cases(name, act, reference, rows, features, dtype):
    """The forms of a unit at one shape: PyTorch's function, ours, and the inputs."""
    unit = actium.glu(act)
    whole = torch.randn(rows, 2 * features).to(dtype).requires_grad_()
    pair = [torch.randn(rows, features).to(dtype).requires_grad_() for _ in range(2)]
    ours = unit if name == "glu" else lambda x: unit(x, gate="first")
    yield "halves", halves_of(name, reference), ours, [whole]
    yield "two", lambda gate, up: reference(gate) * up, unit, pair


def measured(units: list[str], seconds: float, compiles: bool) -> Iterator[dict]:
    """A row for every unit, shape, format and form."""
    for name in units:
        act, reference = UNITS[name]
        for shape_name, shape in SHAPES.items():
            for dtype_name, dtype in DTYPES.items():
                for form, theirs, ours, inputs in cases(name, act, reference, *shape, dtype):
                    grad = torch.randn(shape).to(dtype)
                    calls = {"torch": step(theirs, inputs, grad), "actium": step(ours, inputs, grad)}
                    if compiles and shape_name == COMPILED:
                        torch.compiler.reset()
                        calls["compile"] = step(torch.compile(theirs), inputs, grad)
                    samples = interleaved(calls, seconds)
                    times = {n: samples.median(n) for n in calls}
                    row = {"unit": name, "form": form, "shape": shape_name, "dtype": dtype_name}
                    row |= {k: round(v * 1e6, 1) for k, v in times.items()}
                    row["ratio"] = round(times["torch"] / times["actium"], 3)
                    if "compile" in times:
                        row["ratio_to_compile"] = round(times["compile"] / times["actium"], 3)
                    yield row


def line_of(row: dict) -> str:
    """One line on the terminal."""
    text = f"{row['unit']:8}{row['form']:8}{row['shape']:>11} {row['dtype']:9}"
    text += f"{row['torch']:10.0f}{row['actium']:10.0f}{row['ratio']:7.2f}"
    return text + (f"{row['compile']:12.0f}{row['ratio_to_compile']:7.2f}" if "compile" in row else "")


def summary_of(rows: list[dict]) -> dict[str, dict[str, float]]:
    """Geometric means and the worst ratios of each form."""
    summary = {}
    for form in ("halves", "two"):
        for key in ("ratio", "ratio_to_compile"):
            ratios = [row[key] for row in rows if row["form"] == form and key in row]
            end = key.removeprefix("ratio")
            if ratios:
                found = {f"geometric_mean{end}": round(geometric_mean(ratios), 3), f"worst{end}": min(ratios)}
                summary[form] = summary.get(form, {}) | found
    return summary


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--quick", action="store_true", help="short samples, nothing written")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile")
    parser.add_argument("--only", default="", help="comma-separated units, nothing written")
    options = parser.parse_args()
    units = chosen(parser, options.only, UNITS)
    head = f"{'torch µs':>10}{'actium µs':>10}{'ratio':>7}{'compile µs':>12}{'ratio':>7}"
    print(f"{'unit':8}{'form':8}{'shape':>11} {'dtype':9}{head}")
    rows = []
    for row in measured(units, 0.15 if options.quick else 0.6, not options.no_compile):
        print(line_of(row), flush=True)
        rows.append(row)
    summary = summary_of(rows)
    print(summary)
    if not options.quick and not options.only:
        save("gated", {"summary": summary, "rows": rows})


if __name__ == "__main__":
    main()
