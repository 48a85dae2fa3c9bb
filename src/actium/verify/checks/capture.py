"""Whether compilers see the function that eager PyTorch runs: `torch.compile` and `torch.export`.

Stage: subject → [checks] → certificate.
Dynamo and AOTAutograd capture the function, and what they captured runs operation by operation (`aot_eager`). The code
that Inductor would write for it is not built, and not judged.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from actium.verify.case import Case, case_finding
from actium.verify.certificate import Finding
from actium.verify.probe import batch, difference, weighted
from actium.verify.subject import Call, SubjectError, guarded, one_line

# What is imported on first use.
PRELOAD: tuple[str, ...] = (
    "torch._dynamo",
    "torch._functorch.aot_autograd",
    "torch._inductor.compile_fx",
    "torch._dynamo.backends.debugging",
    "torch.export._trace",
    "torch.export._unlift",
)
# Other operations may be chosen, which costs a few ULP of float32. Another approximation costs more than this.
_TOLERANCE = 2e-5
# A parameter's gradient is a sum over the batch, in whatever order.
_SUMMED = 1e-3
_ODD = (torch.nan, torch.inf, -torch.inf, 1e4, -1e4, 88.9, -88.9, 20.7, -20.7, 1e-6, -1e-6, 3.3)


class _Module(nn.Module):
    """A function as the module that `torch.export` insists on."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x)


class _Run(NamedTuple):
    """An output, and the gradients of input and parameters: None for each that has none."""

    output: Tensor
    slopes: list[Tensor | None]


@contextmanager
def _quiet() -> Iterator[None]:
    """Capture without a word, and leave no compiled code behind."""
    import torch._dynamo  # Here, because it takes a second or two that only these checks need.

    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        # On failure torch.export prints the graph.
        with guarded(), redirect_stderr(io.StringIO()):
            yield
    finally:
        torch._dynamo.reset()
        logging.disable(before)


def _odd(x: Tensor) -> Tensor:
    """An input of the same shape with large, small and non-finite numbers."""
    return torch.tensor(_ODD).repeat(x.numel() // len(_ODD) + 1)[: x.numel()].reshape(x.shape)


def _run(call: Call, x: Tensor, parameters: list[nn.Parameter]) -> _Run:
    leaf = x.clone().requires_grad_()
    output = call(leaf.clone())
    slopes: list[Tensor | None] = [None] * (1 + len(parameters))
    if output.requires_grad:
        slopes = list(torch.autograd.grad(weighted(output), [leaf, *parameters], allow_unused=True))
    return _Run(output.detach(), slopes)


def _compare(case: Case, other: Call, inputs: list[Tensor]) -> tuple[list[str], list[str]]:
    """How a captured form differs from the function: in outputs, and in gradients for the first input."""
    call = case.runner.plain()
    owned = dict(call.named_parameters()) if isinstance(call, nn.Module) else {}
    learned = {name: p for name, p in owned.items() if p.requires_grad}
    outputs, gradients = [], []
    for x in inputs:
        expected, got = _run(call, x, [*learned.values()]), _run(other, x, [*learned.values()])
        found = difference(x, got.output, expected.output, _TOLERANCE)
        outputs += [] if found is None else [f"the output of a {list(x.shape)} input differs: {found}"]
        for name, a, b in zip(["x", *learned], got.slopes, expected.slopes, strict=True):
            if x is not inputs[0] or (a is None and b is None):
                continue
            zero = torch.zeros_like(learned.get(name, x))
            where, tolerance = (x, _TOLERANCE) if name == "x" else (x[:0], _SUMMED)
            found = difference(where, zero if a is None else a, zero if b is None else b, tolerance)
            gradients += [] if found is None else [f"the gradient of {name} differs: {found}"]
    return outputs, gradients


def compile_(case: Case) -> Iterator[Finding]:
    """`compile`: the graph that `torch.compile(fullgraph=True)` captures, against the function itself."""
    x = batch(case)
    call, graphs = case.runner.plain(), []
    error, wrong = None, []
    try:
        # A copy, as a network would hand over: what is written in place must not be the caller's own tensor.
        with _compiled(lambda t: call(t.clone()), graphs) as compiled:
            outputs, gradients = _compare(case, compiled, [x, _odd(x)])
            wrong = outputs + gradients
    except SubjectError as raised:
        error = str(raised)
    if not graphs and not _compiles():
        case.blocked["compile"] = "torch.compile does not work, or is switched off, here"
    elif error is not None:
        fix = "keep to tensor operations: no .item(), no if on a tensor's values, no NumPy; the graph breaks there"
        yield case_finding(case, "compile", "warn", None, [f"fullgraph=True raises {error}"], 1, fix)
    elif wrong:
        fix = "do not ask is_compiling() for another formula, and keep nothing on self between calls"
        yield case_finding(case, "compile", "fail", None, wrong, 2, fix)


@contextmanager
def _compiled(function: Call, graphs: list[Any]) -> Iterator[Call]:
    """The function as one graph; what is captured is also put into `graphs`.

    Raises:
        SubjectError: If capturing it raises.
    """
    with _quiet():
        from torch._dynamo import config, lookup_backend

        run = lookup_backend("aot_eager_default_partitioner")

        def backend(graph: Any, inputs: Any) -> Any:
            graphs.append(graph)
            return run(graph, inputs)

        with config.patch(suppress_errors=False):
            yield torch.compile(function, backend=backend, fullgraph=True, dynamic=False)


def _compiles() -> bool:
    """Whether the compiler captures anything here: it may be switched off, or not know this Python."""
    graphs: list[Any] = []
    try:
        with _compiled(torch.neg, graphs) as compiled:
            compiled(torch.ones(2))
    except SubjectError:
        return False
    return bool(graphs)


def export(case: Case) -> Iterator[Finding]:
    """`export`: the program that `torch.export` makes with a free batch size, against the function itself."""
    x = batch(case)
    call = case.runner.plain()
    module = call if isinstance(call, nn.Module) else _Module(call)
    larger = torch.cat([x * 0.9, x])[: len(x) + len(x) // 2]
    try:
        with _quiet():
            program, refusal = _exported(module, x)
            outputs, gradients = _compare(case, program, [x, _odd(x), *([] if refusal else [larger])])
    except SubjectError as error:
        fix = "keep to tensor operations: no .item(), no if on a tensor's values, no NumPy"
        yield case_finding(case, "export", "warn", None, [f"raises {error}"], 1, fix)
        return
    if outputs:
        fix = "do not ask is_exporting() for another formula, and keep nothing on self between calls"
        yield case_finding(case, "export", "fail", None, outputs, 3, fix)
    elif gradients:
        text = [*gradients, "the program differentiates what was traced, so a hand-written backward is lost"]
        fix = "train the module, not the exported program; or let autograd derive the backward"
        yield case_finding(case, "export", "warn", None, text, 1, fix, "gradient")
    if refusal is not None:
        text = [f"a free batch size raises {refusal}; only a fixed one can be exported"]
        fix = "compute nothing from x.shape as a number; broadcast instead"
        yield case_finding(case, "export", "warn", None, text, 1, fix)


def _exported(module: nn.Module, x: Tensor) -> tuple[Call, str | None]:
    """The exported program, and what a free batch size raises."""
    free = ({0: torch.export.Dim.DYNAMIC},)
    try:
        return torch.export.export(module, (x,), dynamic_shapes=free).module(), None
    except Exception as error:
        return torch.export.export(module, (x,)).module(), one_line(error)


CHECKS: Mapping[str, Callable[[Case], Iterator[Finding]]] = {"compile": compile_, "export": export}
