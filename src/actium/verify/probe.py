"""Points, weights and comparisons for the checks that hold one way of computing something against another.

Stage: subject → [probe] → checks.
In: a case. Out: a function of a flat tensor, and where to compare. A random function has no such points, and no probe.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from actium.verify.case import Case, number
from actium.verify.reference import is_narrow
from actium.verify.subject import Call, SubjectError, evaluate, guarded

RANDOM = "the function is random: two runs differ"
NO_GRADIENT = "there is no gradient to compare with"
# Largest step of the differences at points of size 1; and how far two estimates may be apart at a smooth point.
_STEP, _SMOOTH = 2.0**-7, 1e-5


@dataclass(frozen=True)
class Probe:
    """A function and where to compare it.

    Attributes:
        call: The function of flat tensors. It gets a copy, so an in-place one cannot spoil the comparison.
        x: The points: off every round number, since kinks sit on those.
        narrow: Whether the function rounds to float32 inside.
    """

    call: Call
    x: Tensor
    narrow: bool

    @property
    def tolerance(self) -> float:
        """How well two ways of computing the same must agree, relative to its size."""
        return 1e-3 if self.narrow else 1e-7

    @property
    def noise(self) -> float:
        """What rounding does to differences of numbers around 1."""
        return 128 * torch.finfo(torch.float32 if self.narrow else torch.float64).eps / _STEP

    @property
    def direction(self) -> Tensor:
        """A positive number for each point, unlike its neighbour's."""
        return 1.0 + 0.4 * torch.cos(1.0 + 2.3 * torch.arange(len(self.x), dtype=self.x.dtype))

    def weighted(self, x: Tensor) -> Tensor:
        """The scalar whose gradient is `gradient`."""
        return weighted(self.call(x))

    def output(self, x: Tensor) -> Tensor:
        """What the function gives, without a graph."""
        with guarded():
            return self.call(x).detach()

    def gradient(self, x: Tensor) -> Tensor:
        """What the backward pass gives for `weights`.

        Raises:
            SubjectError: If there is no gradient.
        """
        with guarded():
            leaf = x.clone().requires_grad_()
            output = self.call(leaf)
            return _slope(output, leaf, weights(output.detach()))

    def pushed_forward(self) -> Tensor:
        """The Jacobian, a backward pass for each row, times `direction`; NaN where output or gradient is not finite.

        Beyond the edge of a domain the slope is NaN, and so is 0 times it in the rows of all the other outputs.

        Raises:
            SubjectError: If there is no gradient, or a finite one nowhere.
        """
        with guarded():
            leaf = self.x.clone().requires_grad_()
            output = self.call(leaf)
            inside = _slope(output, leaf, weights(output.detach())).isfinite()
            known = output.detach().isfinite()
            if output.shape == self.x.shape:
                known &= inside
            if not known.any():
                raise SubjectError("output and gradient are finite at none of the tried points")
            rows = torch.eye(output.numel(), dtype=output.dtype)
            slopes = (_slope(output, leaf, row.reshape(output.shape)) for row in rows)
            products = [torch.where(inside, slope, 0) @ self.direction for slope in slopes]
            found = torch.stack(products).reshape(output.shape).to(output.dtype)
            return torch.where(known, found, torch.nan)

    def differences(self, function: Call) -> Tensor:
        """The derivative of a function along `direction` by Richardson's differences; NaN beside a kink."""
        centre, v = function(self.x), self.direction
        central, bends = [], []
        for step in (_STEP, _STEP / 2, _STEP / 4):
            right, left = function(self.x + step * v), function(self.x - step * v)
            central.append((right - left) / (2 * step))
            bends.append(((right - centre) - (centre - left)).abs() / step)
        first, best = (4 * central[1] - central[0]) / 3, (4 * central[2] - central[1]) / 3
        coarse = max(_SMOOTH, self.tolerance) * (best.abs() + typical(best))
        # (f(x+h) − 2f(x) + f(x−h))/h shrinks with h where f is smooth, and does not at a kink.
        smooth = ((best - first).abs() <= coarse) & (bends[2] <= 0.5 * bends[0] + coarse)
        return torch.where(smooth, (16 * best - first) / 15, torch.nan)


def weights(output: Tensor) -> Tensor:
    """A `grad_output`: positive, each number unlike its neighbour's, and rising, so that sums do not cancel."""
    steps = torch.arange(output.numel(), dtype=output.dtype).reshape(output.shape)
    return 0.6 + 0.8 * steps / max(output.numel(), 1) + 0.2 * torch.sin(0.5 + 1.7 * steps)


def weighted(output: Tensor) -> Tensor:
    """The sum of an output, weighted with `weights`."""
    return (output * weights(output.detach())).sum()


def _slope(output: Tensor, leaf: Tensor, grad_output: Tensor) -> Tensor:
    if not output.requires_grad:
        raise SubjectError(NO_GRADIENT)
    (slope,) = torch.autograd.grad(output, leaf, grad_output, retain_graph=True, allow_unused=True)
    if slope is None:
        raise SubjectError(NO_GRADIENT)
    return slope.detach()


def probe(case: Case) -> Probe:
    """The probe of a target, in float64 where it takes that.

    Raises:
        SubjectError: If the function is random, or cannot be run.
    """
    channels = case.runner.channels or 1
    x = torch.linspace(-4.1373, 3.9291, channels * -(-72 // channels), dtype=torch.float64)
    try:
        call = case.runner.converted(torch.float64)
        output = evaluate(call, x, gradient=False).output
    except SubjectError:
        call, x = case.runner.as_is(), x.float()
        output = evaluate(call, x, gradient=False).output
    if is_random(call, x):
        raise SubjectError(RANDOM)
    # What rounds to float32 inside has 24 bits, and its differences fewer.
    narrow = output.dtype != torch.float64 or is_narrow(output.numpy().reshape(-1))
    return Probe(lambda t: call(t.clone()), x, narrow)


def batch(case: Case) -> Tensor:
    """A float32 batch of four rows (or, failing that, one row) that the function takes as it stands.

    Raises:
        SubjectError: If it takes none, or is random.
    """
    call, channels = case.runner.plain(), case.runner.channels or 8
    for shape in ((4, channels), (4, channels, 3), (4, channels, 2, 2), (48,)):
        x = torch.linspace(-4.1373, 3.9291, torch.Size(shape).numel()).reshape(shape)
        try:
            evaluate(call, x, gradient=False)
        except SubjectError:
            continue
        if is_random(call, x):
            raise SubjectError(RANDOM)
        return x
    raise SubjectError("it takes no batch of any tried shape")


def is_random(call: Call, x: Tensor) -> bool:
    """Whether runs from different seeds differ."""
    outputs = []
    for seed in (1, 2):
        with guarded():
            torch.default_generator.manual_seed(seed)  # That of a GPU is the caller's; see `guarded`.
            outputs.append(call(x.clone()).detach())
    return difference(x, outputs[0], outputs[1], 1e-6) is not None


def typical(values: Tensor) -> Tensor:
    """The mean size of the finite numbers in a tensor."""
    finite = values[values.isfinite()].abs()
    return finite.mean() if finite.numel() else values.new_tensor(0.0)


def difference(x: Tensor, got: Tensor, expected: Tensor, tolerance: float, noise: float = 0.0) -> str | None:
    """Where two results differ most, in words; None if they agree.

    Args:
        x: The inputs; named where they are as many as the outputs.
        got: One result.
        expected: The other, NaN where it has to be NaN.
        tolerance: What is allowed, relative to the value and to the usual value.
        noise: What is allowed in any case.
    """
    if got.shape != expected.shape or got.dtype != expected.dtype:
        return f"got {_kind(got)}, expected {_kind(expected)}"
    a, b = got.detach().double().flatten(), expected.detach().double().flatten()
    rounding = 4 * torch.finfo(got.dtype).eps if got.is_floating_point() else 0.0
    allowed = tolerance * (b.abs() + typical(b)) + rounding + noise
    same = (a == b) | (a.isnan() & b.isnan()) | ((a - b).abs() <= allowed)
    if bool(same.all()):
        return None
    at = int(torch.where(same, -1.0, (a - b).abs().nan_to_num(nan=torch.inf)).argmax())
    place = f" x = {number(float(x.flatten()[at]))}:" if x.numel() == a.numel() else ""
    worst = f"worst{place} got {number(float(a[at]))}, expected {number(float(b[at]))}"
    return f"{int((~same).sum()):,} of {a.numel():,}, {worst}"


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
