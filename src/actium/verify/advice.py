"""What to do about a finding, from the formula if it is known.

In: a case. Out: one sentence. Nothing is judged here.
"""

from __future__ import annotations

import numpy as np
import torch

from actium.symbolic.graph import Formula, Node, is_number, walk
from actium.verify.case import Case, is_off
from actium.verify.subject import SubjectError, guarded
from actium.verify.sweep import Quantity, Sweep

_TEXT_LIMIT = 120
# On so many of the inputs that a function is wrong on, its replacement is tried before it is recommended.
_TRIED = 512


def _is_exp(node: Node) -> bool:
    return node.op in ("exp", "exp2")


def _one_plus_exp(node: Node) -> bool:
    return node.op == "add" and any(is_number(a, 1.0) for a in node.args) and any(_is_exp(a) for a in node.args)


def unstable_piece(formula: Formula | None) -> str | None:
    """The first textbook pattern in a formula that overflows or cancels, and what computes it well."""
    for node in [] if formula is None else walk(formula.root):
        if node.op == "log" and _one_plus_exp(node.args[0]):
            return f"{node!r} overflows and cancels; use softplus, log1p(exp(-|u|)) + max(u, 0)"
        if node.op in ("div", "reciprocal") and _one_plus_exp(node.args[-1]):
            return f"{node!r} has a gradient of 0·inf where its exp overflows; use sigmoid"
        if node.op == "sub" and _is_exp(node.args[0]) and is_number(node.args[1], 1.0):
            return f"{node!r} cancels near 0; use expm1"
        if node.op == "div" and all(a.op in ("sub", "add") and any(map(_is_exp, a.args)) for a in node.args):
            return f"{node!r} is inf/inf where its exp overflows; use tanh"
    return None


def _eject(case: Case, quantity: Quantity) -> str | None:
    """To eject, where what that prints is right on the inputs that are wrong now."""
    formula = case.runner.subject.formula
    if formula is None or not _replacement_is_right(case, quantity):
        return None
    text = formula.text
    shown = f'"{text}"' if len(text) <= _TEXT_LIMIT else case.target
    return f"`actium eject {shown}` prints a module that computes this in float32 in a stable form"


def _replacement_is_right(case: Case, quantity: Quantity) -> bool:
    make = case.runner.subject.ejected
    off = np.flatnonzero(is_off(quantity))
    if make is None or not off.size:
        return False
    at = off[np.linspace(0, off.size - 1, min(off.size, _TRIED)).astype(np.intp)]
    x = torch.from_numpy(quantity.x[at]).to(quantity.fmt.dtype).requires_grad_()
    try:
        with guarded():
            y = make()(x)
            computed = y if quantity.name == "output" else torch.autograd.grad(y, x, torch.ones_like(y))[0]
    except SubjectError:
        return False
    parts = {name: getattr(quantity, name)[at] for name in ("x", "low", "high", "sensitivity")}
    return not is_off(Quantity(quantity.name, quantity.fmt, computed=computed.detach().double().numpy(), **parts)).any()


def for_numbers(case: Case, quantity: Quantity) -> str:
    """For overflow, cancellation and underflow."""
    known = [name for name in case.same_as if not name.startswith(("affine", "constant", "identity"))]
    if known:
        use = f"this is {known[0]}: use that, if it is not this very function"
        return f"{use}; or {_rewrite(case, quantity)}"
    return _rewrite(case, quantity)


def _rewrite(case: Case, quantity: Quantity) -> str:
    pattern = unstable_piece(case.runner.subject.formula)
    eject = _eject(case, quantity)
    if pattern is not None:
        return f"{pattern}; {eject}" if eject else pattern
    if quantity.fmt.bits == 16 and _helped_by_float32(case, quantity):
        wide = "compute in float32 and cast the result back once: f(x.float()).to(x.dtype)"
        return f"{eject}; or {wide}" if eject else wide
    return eject or "rewrite the function so that no intermediate result overflows or cancels"


def _helped_by_float32(case: Case, quantity: Quantity) -> bool:
    """Whether float32 itself is within its budget: else a cast would only carry its errors along."""
    swept = case.sweeps.get(torch.float32)
    if swept is None:
        return True
    wide = swept.output if quantity.name == "output" else swept.gradient
    return wide is not None and not is_off(wide).any()


def for_masked_branch(case: Case, swept: Sweep) -> str:
    """For NaN that autograd multiplies into a branch that was not selected."""
    safe = "give the unselected branch a harmless argument first: where(c, f(where(c, x, 1)), g(x))"
    eject = None if swept.gradient is None else _eject(case, swept.gradient)
    return f"{safe}; or {eject}" if eject else safe
