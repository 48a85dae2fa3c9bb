"""Whether the function composes with the rest of PyTorch: transforms, compilation, copies, files.

Stage: subject → [checks] → certificate.
Autograd's transforms are here, compilers in `capture.py`, copies and files in `copies.py`. A transform that raises is a
`warn`: who needs it learns so at once. One that silently gives something else than plain code is a `fail`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from actium.verify.case import Case, case_finding
from actium.verify.certificate import Finding
from actium.verify.checks import capture, contract, copies
from actium.verify.oracle import Oracle
from actium.verify.probe import Probe, batch, difference, probe, typical, weighted, weights
from actium.verify.subject import SubjectError, guarded, operations_of

# What these checks import on first use: seconds of it, worth having before a process is forked.
PRELOAD: tuple[str, ...] = ("torch._decomp.decompositions_for_jvp", *capture.PRELOAD)

_DIFFERENTIABLE = "write the backward with differentiable operations on what ctx.save_for_backward kept"
_COMPOSITE = "use plain PyTorch operations, or a Function with setup_context and generate_vmap_rule = True"
# Here a saturating function hardly bends any more.
_TAILS = (-33.1, -24.7, -17.3, -9.1, 9.1, 17.3, 24.7, 33.1)
_STEP = 2.0**-5
# The node that once_differentiable leaves. autograd.grad walks around it and finds no derivative; backward() raises.
_ONCE = "torch::autograd::Error"


# --- Second derivatives -----------------------------------------------------------------------------------


def double_backward(case: Case) -> Iterator[Finding]:
    """`double-backward`: the derivative of the backward pass, against differences of the backward pass."""
    tested = probe(case)
    truth = tested.differences(tested.gradient)
    smooth = ~truth.isnan()
    if not smooth.any():
        raise SubjectError("no point at which the gradient is smooth was found")
    try:
        by_input, by_grad_output = _second(tested, tested.x)
    except SubjectError as error:
        fix = f"{_DIFFERENTIABLE}, without once_differentiable; a gradient penalty needs it"
        yield case_finding(case, "double-backward", "warn", None, [f"raises {error}"], 1, fix, "gradient")
        return
    wrong = []
    expected = torch.where(smooth, truth, by_input)
    found = difference(tested.x, by_input, expected, max(1e-4, 10 * tested.tolerance), tested.noise)
    if found is not None:
        wrong.append(f"the second derivative is not the derivative of the backward pass: {found}")
    expected = _where_known(tested.pushed_forward(), by_grad_output)
    found = difference(tested.x, by_grad_output, expected, tested.tolerance)
    if found is not None:
        wrong.append(f"the derivative of the backward pass by grad_output is wrong: {found}")
    if wrong:
        fix = f"{_DIFFERENTIABLE}; what .data, detach() or no_grad() touches in it counts as a constant"
        yield case_finding(case, "double-backward", "fail", None, wrong, len(tested.x), fix, "gradient")
    else:
        yield from _lost_tails(case, tested, by_input)


def _second(tested: Probe, x: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of (backward pass · direction) by the input and by grad_output; what has no graph is 0.

    Raises:
        SubjectError: If either backward raises.
    """
    with guarded():
        leaf = x.clone().requires_grad_()
        output = tested.call(leaf)
        grad_output = weights(output.detach()).requires_grad_()
        (slope,) = torch.autograd.grad(output, leaf, grad_output, create_graph=True)
        if not slope.requires_grad:
            return torch.zeros_like(leaf), torch.zeros_like(grad_output)
        if _ONCE in operations_of(slope):
            raise SubjectError("when backward() reaches it, which once_differentiable forbids")
        direction = tested.direction[: len(x)]
        found = torch.autograd.grad(slope, (leaf, grad_output), direction, allow_unused=True)
        by_input, by_grad_output = (
            torch.zeros_like(v) if f is None else f for v, f in zip((leaf, grad_output), found, strict=True)
        )
        return by_input.detach(), by_grad_output.detach()


def _lost_tails(case: Case, tested: Probe, usual: Tensor) -> Iterator[Finding]:
    """Far out, where differences of the backward pass are differences of zeros, the formula's slopes know more."""
    if not isinstance(case.reference, Oracle) or tested.narrow or contract.coupling(case):
        return
    x = torch.tensor(_TAILS, dtype=torch.float64)
    places = torch.cat([x + k * _STEP for k in (-2, -1, 1, 2)])
    order = places.argsort()
    slopes = torch.empty_like(places)
    slopes[order] = torch.from_numpy(case.reference.table(places[order].numpy()).slope)
    a, b, c, d = slopes.chunk(4)
    exact = (8 * (c - b) - (d - a)) / (12 * _STEP)
    # Below the rounding of slopes, and of usual second derivatives, there is nothing to be lost.
    noise = torch.finfo(torch.float64).eps * (32 * b.abs() / _STEP + typical(usual))
    try:
        by_input, _ = _second(tested, x)
    except SubjectError:
        return
    got = by_input / (weights(x) * tested.direction[: len(x)])
    lost = (exact.abs() >= noise) & ~((got - exact).abs() <= exact.abs() / 2)
    if lost.any():
        at = int(torch.where(lost, exact.abs(), -1.0).argmax())
        where = ", ".join(f"{v:g}" for v in x[lost].tolist())
        worst = f"at {x[at]:g} it is {got[at]:.3g} instead of {exact[at]:.3g}"
        text = f"in float64 the second derivative is lost at x = {where}: {worst}"
        fix = "compute the slope from x by a form that does not cancel or switch to a straight line; see `actium eject`"
        yield case_finding(case, "double-backward", "warn", "float64", [text], len(x), fix, "gradient")


# --- Functional transforms --------------------------------------------------------------------------------


def forward_ad(case: Case) -> Iterator[Finding]:
    """`forward-ad`: `torch.func.jvp` against the backward pass, row by row; custom operators may give zeros."""
    tested = probe(case)
    expected = tested.pushed_forward()
    fix = f"{_COMPOSITE}; a custom operator has no forward-mode rule, and its tangent is silently 0"
    try:
        with guarded():
            output, tangent, *_ = torch.func.jvp(tested.call, (tested.x,), (tested.direction,))
    except SubjectError as error:
        yield case_finding(case, "forward-ad", "warn", None, [f"jvp raises {error}"], 1, fix, "gradient")
        return
    wrong = []
    found = difference(tested.x, output, tested.output(tested.x), tested.tolerance)
    if found is not None:
        wrong.append(f"jvp changes the output: {found}")
    found = difference(tested.x, tangent, _where_known(expected, tangent), tested.tolerance)
    # A wrong backward is the business of `wrong-gradient`: forward mode may be the one that is right.
    if found is not None and not _is_derivative(tested, tangent):
        wrong.append(f"jvp is not the derivative: {found}")
    if wrong:
        yield case_finding(case, "forward-ad", "fail", None, wrong, len(tested.x), fix, "gradient")


def _where_known(expected: Tensor, got: Tensor) -> Tensor:
    """What is expected; what was got where that is unknown, outside the domain."""
    comparable = got.shape == expected.shape and got.dtype == expected.dtype
    return torch.where(expected.isnan(), got, expected) if comparable else expected


def _is_derivative(tested: Probe, tangent: Tensor) -> bool:
    truth = tested.differences(tested.output)
    smooth = ~truth.isnan()
    expected = torch.where(smooth, truth, tangent)
    found = difference(tested.x, tangent, expected, max(1e-6, 10 * tested.tolerance), tested.noise)
    return bool(smooth.any()) and found is None


def vmap(case: Case) -> Iterator[Finding]:
    """`vmap`: a batch on either dimension against a loop over it, for the function and for its gradient."""
    tested = probe(case)
    # As many rows as columns: a rule that takes the wrong dimension for the batch must not be saved by the shape.
    x = tested.x[::3]
    rows = torch.stack([x.roll(i) * (0.9 + 0.004 * i) for i in range(min(len(x), 64))])
    expected = torch.stack([tested.output(row) for row in rows])
    raised, wrong = [], []
    for name, dim, given in (("", 0, rows), (" with in_dims=1", 1, rows.t())):
        try:
            with guarded():
                got = torch.func.vmap(tested.call, in_dims=dim)(given)
        except SubjectError as error:
            raised.append(f"vmap{name} raises {error}")
            break
        found = difference(rows, got, expected, tested.tolerance)
        wrong += [] if found is None else [f"vmap{name} differs from a loop: {found}"]
    if not raised and not wrong:
        raised, wrong = _per_sample(tested, rows)
    if wrong:
        fix = "return the right out_dims from Function.vmap, or let generate_vmap_rule = True write it"
        yield case_finding(case, "vmap", "fail", None, wrong, 3, fix)
    elif raised:
        fix = f"{_COMPOSITE}; branch with torch.where on elements, not with if on tensors"
        yield case_finding(case, "vmap", "warn", None, raised, 3, fix)


def _per_sample(tested: Probe, rows: Tensor) -> tuple[list[str], list[str]]:
    """What vmap of grad raises, and how it differs from a loop of backward passes: per-sample gradients."""
    try:
        expected = torch.stack([tested.gradient(row) for row in rows])
        with guarded():
            torch.func.grad(tested.weighted)(rows[0])
    except SubjectError:
        return [], []  # Without vmap it does not work either, which is the business of `functional-grad`.
    try:
        with guarded():
            got = torch.func.vmap(torch.func.grad(tested.weighted))(rows)
    except SubjectError as error:
        return [f"vmap(grad) raises {error}"], []
    found = difference(rows, got, expected, tested.tolerance)
    return [], [] if found is None else [f"vmap(grad) differs from a loop: {found}"]


def functional_grad(case: Case) -> Iterator[Finding]:
    """`functional-grad`: `torch.func.grad`, and grad of grad, against autograd."""
    tested = probe(case)
    expected = tested.gradient(tested.x)
    try:
        with guarded():
            got = torch.func.grad(tested.weighted)(tested.x)
    except SubjectError as error:
        yield case_finding(case, "functional-grad", "warn", None, [f"grad raises {error}"], 1, _COMPOSITE, "gradient")
        return
    found = difference(tested.x, got, expected, tested.tolerance)
    wrong = [] if found is None else [f"grad differs from backward: {found}"]
    raised: list[str] = []
    for more in (_twice(tested), _by_parameters(case)):
        raised, wrong = raised + more[0], wrong + more[1]
    if wrong:
        yield case_finding(case, "functional-grad", "fail", None, wrong, 3, _COMPOSITE, "gradient")
    elif raised:
        yield case_finding(case, "functional-grad", "warn", None, raised, 3, _COMPOSITE, "gradient")


def _twice(tested: Probe) -> tuple[list[str], list[str]]:
    """What grad of grad raises, and how it differs from double backward."""
    first = torch.func.grad(tested.weighted)
    try:
        expected, _ = _second(tested, tested.x)
    except SubjectError:
        return [], []  # Plain autograd cannot do it either, which is the business of `double-backward`.
    try:
        with guarded():
            got = torch.func.grad(lambda x: (first(x) * tested.direction).sum())(tested.x)
    except SubjectError as error:
        return [f"grad of grad raises {error}"], []
    found = difference(tested.x, got, expected, tested.tolerance)
    return [], [] if found is None else [f"grad of grad differs from double backward: {found}"]


def _by_parameters(case: Case) -> tuple[list[str], list[str]]:
    """What grad by a module's parameters raises, and how it differs from backward."""
    module = case.runner.plain()
    owned = dict(module.named_parameters()) if isinstance(module, nn.Module) else {}
    learned = {name: p for name, p in owned.items() if p.requires_grad}
    if not learned or not isinstance(module, nn.Module):
        return [], []
    x = batch(case)

    def loss(values: dict[str, Tensor]) -> Tensor:
        return weighted(torch.func.functional_call(module, values, (x.clone(),)))

    with guarded():
        slopes = torch.autograd.grad(weighted(module(x.clone())), [*learned.values()], allow_unused=True)
    try:
        with guarded():
            got = torch.func.grad(loss)({name: p.detach() for name, p in learned.items()})
    except SubjectError as error:
        return [f"grad by parameters raises {error}"], []
    wrong = []
    for slope, (name, p) in zip(slopes, learned.items(), strict=True):
        found = difference(x[:0], got[name], torch.zeros_like(p) if slope is None else slope, 1e-3)
        wrong += [] if found is None else [f"grad by {name} differs from backward: {found}"]
    return [], wrong


CHECKS: Mapping[str, Callable[[Case], Iterator[Finding]]] = {
    "double-backward": double_backward,
    "forward-ad": forward_ad,
    "vmap": vmap,
    "functional-grad": functional_grad,
    **capture.CHECKS,
    **copies.CHECKS,
}
