"""A module on trial: its parameters are moved, and its outputs and their gradients watched.

Stage: subject → [trial] → checks on parameters.
In: a runner, and a dtype. Out: arrays with a row for each sample. A sample of an elementwise function is one number,
once for each channel; of any other it is a vector. The module is a copy, so the subject is never moved.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from actium.verify.oracle import Floats
from actium.verify.reference import extrapolated
from actium.verify.subject import Call, Runner, SubjectError, evaluate, guarded
from actium.verify.sweep import Mask, usual

# Tensors beyond these many are not judged: a whole network is no activation function.
MOST = 16
_VECTOR = 8
# A parameter of 0 is moved as if its size were this.
_LEAST_SIZE = 2.0**-4


@dataclass(frozen=True)
class Precision:
    """What can be expected of derivatives.

    Attributes:
        step: Of the differences, relative to the parameter.
        smooth: How well two differences agree where the function is smooth.
        tolerance: How far a right gradient may be from the difference, relative to it and to its usual size.
        noise: What rounding may change in an output, relative to it.
    """

    step: float
    smooth: float
    tolerance: float
    noise: float


# A parameter that moves a float32 result by no more than this, relative to it, moves nothing but noise.
INVISIBLE = 2.0**-21

Indices = npt.NDArray[np.intp]

WIDE = Precision(2.0**-10, 2.0**-22, 5e-7, 2.0**-48)
NARROW = Precision(2.0**-5, 2.0**-12, 2.0**-9, 2.0**-22)


@dataclass(frozen=True, eq=False)
class Learnable:
    """A parameter on trial."""

    name: str
    tensor: nn.Parameter

    @property
    def text(self) -> str:
        """Its value, or the range of its values."""
        values = self.tensor.detach()
        low, high = float(values.min()), float(values.max())
        return f"{low:.4g}" if low == high else f"{low:.4g}…{high:.4g}"


def nearby(p: Learnable) -> Iterator[Tensor]:
    """Values that training may give a parameter: no element changes sign, and no two move alike."""
    base = p.tensor.detach()
    random = torch.rand(base.numel(), generator=torch.Generator().manual_seed(17)).reshape(base.shape).to(base.dtype)
    away = torch.where(base < 0, -1.0, 1.0) * (0.75 + 0.5 * random)
    for step in (1.0, 0.1):
        yield base + step * away
    for share in (0.75, -0.75, 0.1, -0.1):
        yield base + share * away * torch.where(base == 0, 1.0, base.abs())


def points() -> Floats:
    """Where activations bend, and every other binade up to 2^15; numbers of 8 bits, so that every format has them."""
    inner = np.arange(-19, 20) * (13 / 32)
    tails = np.ldexp(19 / 16, np.arange(-7, 16))
    return np.unique(np.concatenate([inner, -tails, tails])).astype(np.float64)


class Trial:
    """One copy of a module, in one dtype.

    Args:
        runner: Of the subject.
        elementwise: Whether an output depends on its own input only.
        dtype: Of the inputs.
        convert: Whether the module is converted to it as well.

    Raises:
        SubjectError: If there is no copy, or it does not take the samples.
    """

    def __init__(self, runner: Runner, elementwise: bool, dtype: torch.dtype, convert: bool = True) -> None:
        self.module = runner.fresh_copy(dtype if convert else None)
        self.elementwise = elementwise
        self.width = runner.channels or 1
        self.call = runner.laid_out(self.module)
        self.x, self.inputs = _rows(self.width) if elementwise else _vectors(self.width)
        self.inputs = self.inputs.to(dtype)
        first = evaluate(self.call, self.inputs[0], gradient=False).output
        self.dtype = first.dtype
        self._size = first.numel()
        if elementwise and self._size != self.width:
            raise SubjectError(f"{self.width} numbers in, {self._size} out")
        generator = torch.Generator().manual_seed(11)
        random = torch.rand((len(self.x), self._size), generator=generator, dtype=torch.float64)
        # Neither 1 nor all of one sign: a backward that ignores `grad_output`, or takes its mean, is then seen.
        self.cotangents: Floats = ((0.5 + random) * torch.sign(random - 0.4)).numpy()
        named = [(n, p) for n, p in self.module.named_parameters() if p.requires_grad and p.is_floating_point()]
        self.parameters = [Learnable(n, p) for n, p in named if p.numel()][:MOST]
        self.left_out = [n for n, _ in named[MOST:]]

    # --- Outputs --------------------------------------------------------------------------------------

    def outputs(self) -> Floats:
        """Outputs at the present parameters, (samples, outputs of one).

        Raises:
            SubjectError: If the module raises.
        """
        return self._outputs_of(self.inputs)

    def _outputs_of(self, inputs: Tensor) -> Floats:
        if not self.elementwise:
            return np.stack([self._output(row) for row in inputs])
        flat = self._output(inputs.reshape(-1))
        if flat.size != self.cotangents.size:
            raise SubjectError(f"{inputs.numel()} numbers in, {flat.size} out")
        return flat.reshape(self.cotangents.shape)

    def _output(self, x: Tensor) -> Floats:
        output = evaluate(self.call, x, gradient=False).output
        if output.is_complex():
            raise SubjectError("it returns complex numbers")
        return output.double().reshape(-1).numpy()

    @functools.cached_property
    def at_rest(self) -> Floats:
        """Outputs at the parameters' own values."""
        return self.outputs()

    @functools.cached_property
    def precision(self) -> Precision:
        """Wide, unless it computes in float32 or less whatever it is given."""
        if self.dtype != torch.float64:
            return NARROW
        values = self._outputs_of(self.inputs * (1 + 2.0**-20 / 3))  # With the short numbers there is no rounding.
        with np.errstate(over="ignore"):
            single = values.astype(np.float32).astype(np.float64)
        steps = len(np.unique(values)) <= 16  # Few distinct values say nothing of the precision.
        return WIDE if steps or not np.array_equal(values, single, equal_nan=True) else NARROW

    @property
    def inner(self) -> Mask:
        """The samples where activations bend."""
        return np.abs(self.x) <= 8

    def usual_size(self, values: Floats) -> float:
        """The mean size of outputs, or of derivatives, where activations bend."""
        return usual(np.broadcast_to(self.x.reshape(-1, *[1] * (values.ndim - 1)), values.shape), values)

    def differ(self, a: Floats, b: Floats, noise: float) -> Mask:
        """Where outputs differ by more than `noise` of their size; NaN differs from numbers, and not from NaN."""
        size = max(self.usual_size(a), self.usual_size(b))
        with np.errstate(invalid="ignore"):
            near = np.abs(a - b) <= noise * np.maximum(np.maximum(np.abs(a), np.abs(b)), size)
        return ~(near | (a == b) | (np.isnan(a) & np.isnan(b)))

    # --- Moving ---------------------------------------------------------------------------------------

    @contextmanager
    def moved(self, values: Mapping[Learnable, Tensor]) -> Iterator[None]:
        """Give parameters other values for a while."""
        before = {p: p.tensor.detach().clone() for p in values}
        try:
            for p, value in values.items():
                p.tensor.data.copy_(value)
            yield
        finally:
            for p, value in before.items():
                p.tensor.data.copy_(value)

    def outputs_at(self, p: Learnable, value: Tensor) -> Floats:
        """Outputs with one parameter moved."""
        with self.moved({p: value}):
            return self.outputs()

    def outputs_with_all(self, p: Learnable, value: float) -> Floats:
        """Outputs with every element of one parameter at one value."""
        return self.outputs_at(p, torch.full_like(p.tensor, value))

    # --- Derivatives ----------------------------------------------------------------------------------

    def slopes(self, p: Learnable, along: Tensor, rough: bool = False) -> Floats:
        """Derivatives of the outputs along a direction, from the function's own differences.

        Args:
            p: The parameter.
            along: The direction.
            rough: Whether to give them where rounding leaves no more than their order of magnitude, too.

        Returns:
            As `outputs`; NaN where the function has a kink, or is not known well enough.
        """
        base, like = p.tensor.detach().clone(), along.reshape(p.tensor.shape).to(p.tensor.dtype)
        size = float((base.abs() * (like != 0)).max())
        precise = self.precision
        found = np.full(self.cotangents.shape, math.nan)
        # One size for a parameter near 0 is too large for some functions, another too small for others.
        for length in sorted({size, max(size, _LEAST_SIZE)} - {0.0}):
            if not np.isnan(found).any():
                break
            h = precise.step * length
            slope, scale = extrapolated(
                lambda t, h=h: self.outputs_at(p, base + t * h * like), h, self.usual_size, precise.smooth
            )
            with np.errstate(invalid="ignore"):
                noisy = (precise.noise * np.abs(self.at_rest) > precise.tolerance * h * scale) & (not rough)
            found = np.where(np.isnan(found) & ~noisy, slope, found)
        return found

    @functools.cached_property
    def gradients(self) -> Mapping[Learnable, Floats | None]:
        """∂(cotangent · output)/∂parameter for each sample, (samples, elements); None where none ever arrives.

        Raises:
            SubjectError: If forward or backward raises.
        """
        return dict(zip(self.parameters, self.gradients_at(np.arange(len(self.x))), strict=True))

    def gradients_at(self, chosen: Indices) -> list[Floats | None]:
        """The gradient of each parameter for some samples, each by itself: a NaN must not spoil the others."""
        tensors = [p.tensor for p in self.parameters]
        given = [(self.inputs[i], torch.from_numpy(self.cotangents[i])) for i in chosen]
        if self.elementwise:
            with guarded():
                rows = [self._backward(x, c, tensors) for x, c in given]
        else:
            rows = []
            for x, c in given:
                with guarded():  # Each from the same seed, as `outputs` runs them.
                    rows.append(self._backward(x, c, tensors))
        return [_stacked([row[i] for row in rows], p) for i, p in enumerate(self.parameters)]

    def summed(self, chosen: Mask | Indices) -> list[Floats | None]:
        """The gradient of each parameter of an elementwise function, summed over some samples by its own backward.

        Raises:
            SubjectError: If forward or backward raises.
        """
        with guarded():
            cotangent = torch.from_numpy(self.cotangents[chosen].reshape(-1))
            found = self._backward(
                self.inputs[torch.from_numpy(chosen)].reshape(-1), cotangent, [p.tensor for p in self.parameters]
            )
        return [None if g is None else g.numpy() for g in found]

    def summed_in_images(self, chosen: Indices) -> Iterator[tuple[str, list[Floats | None]]]:
        """As `summed`, for images of a multiple of 8 samples: how image and `grad_output` lie in memory, and the sums.

        Nothing where images are refused or give other values, which is the business of `shape-change`.
        """
        if not len(chosen):
            return
        channels = self.width if self.width > 1 else 2

        def image(rows: Tensor) -> Tensor:
            return rows.reshape(2, 2, -1, channels).permute(0, 3, 1, 2)  # In memory, the channels are last.

        x, at_rest = image(self.inputs[torch.from_numpy(chosen)]), image(torch.from_numpy(self.at_rest[chosen]))
        cotangent = image(torch.from_numpy(self.cotangents[chosen]))
        for how, given, upstream in (
            ("a 4-d tensor", x.contiguous(), cotangent.contiguous()),
            ("a channels_last tensor", x, cotangent.contiguous()),
            ("a 4-d tensor with a channels_last grad_output", x.contiguous(), cotangent),
        ):
            try:
                output = evaluate(self.module, given, gradient=False).output.double()
                if output.shape != x.shape or not torch.allclose(output, at_rest, 1e-3, 1e-5, equal_nan=True):
                    continue
                with guarded():
                    found = self._backward(given, upstream, [p.tensor for p in self.parameters], self.module)
            except SubjectError:
                continue
            yield how, [None if g is None else g.numpy() for g in found]

    def _backward(
        self, x: Tensor, cotangent: Tensor, tensors: list[nn.Parameter], call: Call | None = None
    ) -> tuple[Tensor | None, ...]:
        output = (call or self.call)(x.clone())
        if not output.requires_grad or not tensors:
            return (None,) * len(tensors)
        given = cotangent.to(output.dtype).reshape(output.shape)
        found = torch.autograd.grad(output, tensors, given, allow_unused=True)
        return tuple(None if g is None else g.detach().to_dense().double().reshape(-1) for g in found)

    def gradient_of(self, p: Learnable, x: Tensor, cotangent: float = 1.0) -> Floats | None:
        """The gradient of one parameter, summed over a flat input, with one number as `grad_output`.

        Raises:
            SubjectError: If forward or backward raises.
        """
        with guarded():
            size = x.numel() * self._size // self.inputs.shape[1]
            (slope,) = self._backward(x, torch.full((size,), cotangent), [p.tensor])
        return None if slope is None else slope.numpy()


def _stacked(rows: list[Tensor | None], p: Learnable) -> Floats | None:
    if all(row is None for row in rows):
        return None
    nothing = torch.zeros(p.tensor.numel(), dtype=torch.float64)
    return torch.stack([nothing if r is None else r for r in rows]).numpy()


def _rows(width: int) -> tuple[Floats, Tensor]:
    x = points()
    return x, torch.from_numpy(x).reshape(-1, 1).repeat(1, width)


def _vectors(width: int) -> tuple[Floats, Tensor]:
    generator = torch.Generator().manual_seed(7)
    sizes = torch.tensor([0.5, 1.0, 2.0, 3.0, 4.0, 8.0], dtype=torch.float64).reshape(-1, 1)
    random = torch.randn((len(sizes), _VECTOR * width), generator=generator, dtype=torch.float64)
    return np.zeros(len(sizes)), sizes * random
