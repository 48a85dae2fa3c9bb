"""Kinds of faults, each injected into a sound implementation, and the check ids that may reject it.

A kind gives None where it would change no result of a function: such a mutant would not be a mutant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import isfinite

import torch
from by_hand import Made, Map, Original, made_of
from torch import Tensor

from actium.as_written import as_written
from actium.symbolic.graph import Formula, const, number_of, rebuild, remake

Mutant = Callable[[Tensor], Tensor]
VALUE = frozenset({"precision-loss", "false-zero"})
LOST = VALUE | {"non-finite-output"}
SLOPE = frozenset({"wrong-gradient"})
PIECEWISE = ("elu", "selu", "hardswish", "square_relu", "leaky_relu")
STRAIGHT = ("hardswish", "square_relu", "leaky_relu")


@dataclass(frozen=True)
class Fault:
    """A mutant maker, and the ids of which at least one must reject what it makes (`warn` or worse)."""

    make: Callable[[Original], Mutant | None]
    ids: frozenset[str]


FAULTS: dict[str, Fault] = {}


def fault(name: str, ids: frozenset[str] | set[str]) -> Callable[[Callable[[Original], Mutant | None]], object]:
    def register(make: Callable[[Original], Mutant | None]) -> object:
        FAULTS[name] = Fault(make, frozenset(ids))
        return make

    return register


def after(name: str, ids: frozenset[str] | set[str], unless: tuple[str, ...] = ()) -> Callable:
    """A fault in the finished output: `change(x, y)`."""

    def register(change: Callable[[Tensor, Tensor], Tensor]) -> object:
        def make(o: Original) -> Mutant | None:
            made = o.made
            return None if o.name in unless else replace(made, output=lambda x: change(x, made.output(x)))

        return fault(name, ids)(make)

    return register


def after_gradient(name: str, ids: frozenset[str] | set[str], unless: tuple[str, ...] = ()) -> Callable:
    """A fault in the finished gradient: `change(x, gradient)`."""

    def register(change: Callable[[Tensor, Tensor], Tensor]) -> object:
        def make(o: Original) -> Mutant | None:
            made = o.made
            return None if o.name in unless else replace(made, gradient=lambda x, g: change(x, made.gradient(x, g)))

        return fault(name, ids)(make)

    return register


def of_value(name: str, ids: frozenset[str] | set[str], unless: tuple[str, ...] = ()) -> Callable:
    """A fault in the formula: `change(original)` gives value and slope in float64."""

    def register(change: Callable[[Original], tuple[Map, Map]]) -> object:
        return fault(name, ids)(lambda o: None if o.name in unless else made_of(*change(o)))

    return register


# --- The formula is another one ---------------------------------------------------------------------------------


@of_value("a constant in front, 1e-4 too small", VALUE)
def _outer(o: Original):
    return lambda x: o.value(x) * (1 - 1e-4), lambda x: o.slope(x) * (1 - 1e-4)


@of_value("a constant at x, 1e-4 too large", VALUE)
def _inner(o: Original):
    return lambda x: o.value(x * (1 + 1e-4)), lambda x: o.slope(x * (1 + 1e-4)) * (1 + 1e-4)


def _with_constants(formula: Formula, factor: float) -> Formula | None:
    """The formula with the first constant that is no integer times a factor."""
    wanted = [n for n in formula.nodes if n.is_const and isfinite(number_of(n)) and number_of(n) % 1]

    def visit(node, args):
        return const(number_of(node) * factor) if wanted and node == wanted[0] else remake(node, args)

    return Formula(rebuild(formula.root, visit), formula.inputs) if wanted else None


def _graph(factor: float) -> Callable[[Original], Mutant | None]:
    def make(o: Original) -> Mutant | None:
        changed = _with_constants(o.formula, factor)
        if changed is None:
            return None
        call = as_written(changed)
        return lambda x: call(x.double()).to(x.dtype)

    return make


FAULTS["the formula's constant, 1e-4 too large"] = Fault(_graph(1 + 1e-4), VALUE)
FAULTS["the formula's constant, 1e-4 too small"] = Fault(_graph(1 - 1e-4), VALUE)


@fault("parameters or constants swapped", VALUE)
def _swapped(o: Original):
    return None if o.swapped is None else (lambda x: o.swapped(x.double()).to(x.dtype))


@fault("branches swapped", LOST | SLOPE)
def _branches(o: Original):
    if o.sides is None:
        return None
    left, left_slope, right, right_slope = o.sides
    return made_of(
        lambda x: torch.where(x > o.joint, left(x), right(x)),
        lambda x: torch.where(x > o.joint, left_slope(x), right_slope(x)),
    )


@fault("left branch dropped", VALUE)
def _only_right(o: Original):
    return None if o.sides is None else made_of(o.sides[2], o.sides[3])


@fault("right branch dropped", LOST)
def _only_left(o: Original):
    return None if o.sides is None else made_of(o.sides[0], o.sides[1])


@fault("joint 1e-3 too far right", VALUE | SLOPE)
def _moved(o: Original):
    if o.sides is None:
        return None
    left, left_slope, right, right_slope = o.sides
    at = o.joint + 1e-3
    return made_of(
        lambda x: torch.where(x > at, right(x), torch.where(x > o.joint, left(x), o.value(x))),
        lambda x: torch.where(x > at, right_slope(x), torch.where(x > o.joint, left_slope(x), o.slope(x))),
    )


@of_value("clamped to [-6, 6]", VALUE)
def _clamped(o: Original):
    return lambda x: o.value(x.clamp(-6, 6)), lambda x: torch.where(x.abs() <= 6, o.slope(x), 0.0)


@of_value("mirrored left of -1", VALUE)
def _mirrored(o: Original):
    def value(x):
        return torch.where(x < -1, o.value(-x), o.value(x))

    return value, lambda x: torch.where(x < -1, -o.slope(-x), o.slope(x))


@of_value("tail cut at 4", VALUE, unless=STRAIGHT)
def _cut(o: Original):
    # Beyond it the function is taken for what it tends to: a straight line through its last value.
    at = torch.tensor(4.0, dtype=torch.float64)
    ends = {s: (o.value(s * at), o.slope(s * 50 * at).round()) for s in (-1, 1)}

    def line(x, s):
        return ends[s][0] + ends[s][1] * (x - s * at)

    return (
        lambda x: torch.where(x > 4, line(x, 1), torch.where(x < -4, line(x, -1), o.value(x))),
        lambda x: torch.where(x > 4, ends[1][1], torch.where(x < -4, ends[-1][1], o.slope(x))),
    )


# --- It is computed badly ---------------------------------------------------------------------------------------


@fault("the textbook form, in float32", LOST)
def _textbook(o: Original):
    return None if o.unstable is None else (lambda x: o.unstable(x.float()).to(x.dtype))


@fault("computed in the input's dtype", VALUE | {"non-finite-output", "false-zero-gradient", "non-finite-gradient"})
def _narrow(o: Original):
    # Three straight lines lose nothing: a product and a sum of halves are rounded once each.
    if o.name in ("square_relu", "leaky_relu"):
        return None
    return Made(o.value, lambda x, g: g * o.slope(x))


@fault("left in float32", {"dtype-leak"})
def _no_cast(o: Original):
    return lambda x: o.made(x.double() if x.dtype == torch.float64 else x.float())


@after("subnormal results flushed", VALUE)
def _flush_subnormals(x, y):
    return torch.where(y.abs() < torch.finfo(y.dtype).smallest_normal, 0.0, y)


@after("results below 1e-6 flushed", VALUE)
def _flush(x, y):
    return torch.where(y.abs() < 1e-6, torch.zeros_like(y), y)


@after("rounded twice, through a narrower format", LOST)
def _twice(x, y):
    narrower = {torch.float16: torch.bfloat16, torch.float32: torch.float16}
    return y.to(narrower.get(y.dtype, y.dtype)).to(y.dtype)


@after("tails with 1e-3 of error", VALUE)
def _rough(x, y):
    return torch.where(x.abs() > 3, y * (1 + 1e-3), y)


@after("five steps off in one binade", VALUE)
def _steps(x, y):
    if y.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        return y
    integers = torch.int32 if y.dtype == torch.float32 else torch.int16
    moved = (y.view(integers) + 5).view(y.dtype)
    return torch.where((y.abs() >= 0.25) & (y.abs() < 0.5), moved, y)


@after("intermediate square overflows", {"non-finite-output"})
def _square(x, y):
    return y + 0 * (x * x)


@after("bfloat16 only: 2 % too large", VALUE)
def _one_dtype(x, y):
    return y * 1.02 if y.dtype == torch.bfloat16 else y


@after("one float16 number", VALUE)
def _one_number(x, y):
    return torch.where(x == 0.73779296875, y * 1.01, y) if y.dtype == torch.float16 else y


@after("output's sign, for 1 < x < 2", VALUE)
def _sign(x, y):
    return torch.where((x > 1) & (x < 2), -y, y)


# --- It depends on the place --------------------------------------------------------------------------------------


def _index(x: Tensor) -> Tensor:
    return torch.arange(x.numel()).reshape(x.shape)


@after("last lanes: 1 % too large", VALUE | {"batch-coupling"})
def _tail(x, y):
    return torch.where(_index(x) >= x.numel() // 16 * 16, y * 1.01, y)


@after("last lanes: 1e-4 too large", VALUE | {"batch-coupling"})
def _faint_tail(x, y):
    return torch.where(_index(x) >= x.numel() // 16 * 16, y.double() * (1 + 1e-4), y.double()).to(y.dtype)


@after("every 16th element: 1e-3 too large", VALUE | {"batch-coupling"})
def _lane(x, y):
    return torch.where(_index(x) % 16 == 5, y * (1 + 1e-3), y)


@after("beyond the 4096th element", VALUE)
def _far(x, y):
    return torch.where(_index(x) >= 4096, y * (1 + 1e-3), y)


@after("the first element", VALUE | {"batch-coupling"})
def _first(x, y):
    return torch.where(_index(x) == 0, y + 1, y)


@after("tensors of fewer than 16 elements", VALUE)
def _small(x, y):
    return y * 1.01 if x.numel() < 16 else y


@fault("where no gradient is wanted", VALUE)
def _without_gradient(o: Original):
    return lambda x: o.made(x) if x.requires_grad else o.made(x) * 1.01


@after("float64 only: 1e-5 too large", VALUE)
def _wide(x, y):
    return y * (1 + 1e-5) if y.dtype == torch.float64 else y


@after("float64 only: NaN beyond 100", {"non-finite-output"})
def _wide_nan(x, y):
    return torch.where(x.abs() > 100, torch.nan, y) if y.dtype == torch.float64 else y


# --- NaN, infinity, and the input ---------------------------------------------------------------------------------


@fault("NaN swallowed", {"nan-policy"})
def _swallowed(o: Original):
    return replace(o.made, output=lambda x: o.made.output(torch.nan_to_num(x, nan=0.0, posinf=None, neginf=None)))


@after("NaN swallowed in the last lanes", {"nan-policy"})
def _swallowed_in_tail(x, y):
    return torch.where((_index(x) >= x.numel() // 16 * 16) & x.isnan(), 0.0, y)


@after("another limit at minus infinity", {"nan-policy"})
def _limit(x, y):
    return torch.where(x == -torch.inf, 3.0, y)


@after("another limit in the last lanes", {"nan-policy"})
def _limit_in_tail(x, y):
    return torch.where((_index(x) >= x.numel() // 16 * 16) & (x == -torch.inf), 3.0, y)


@after("NaN at plus infinity", {"nan-policy"})
def _no_limit(x, y):
    return torch.where(x == torch.inf, torch.nan, y)


@fault("the input is overwritten", {"input-mutated"})
def _overwritten(o: Original):
    def call(x: Tensor) -> Tensor:
        y = o.made(x)
        with torch.no_grad():
            x.clamp_(min=0)
        return y

    return call


@fault("the input is overwritten behind autograd's back", {"input-mutated"})
def _overwritten_unseen(o: Original):
    def call(x: Tensor) -> Tensor:
        y = o.made(x)
        x.data.clamp_(min=0)
        return y

    return call


# --- The gradient -------------------------------------------------------------------------------------------------


@after_gradient("gradient's sign", SLOPE)
def _gradient_sign(x, g):
    return -g


@after_gradient("backward 5e-4 too large", SLOPE)
def _off(x, g):
    return g * (1 + 5e-4)


@after_gradient("backward 5e-4 too large for |x| > 2", SLOPE | {"precision-loss"})
def _off_outside(x, g):
    return torch.where(x.abs() > 2, g * (1 + 5e-4), g)


@fault("detached", SLOPE)
def _detached(o: Original):
    return lambda x: o.made(x.detach())


@fault("half of the gradient: a factor is detached", SLOPE)
def _half_detached(o: Original):
    return lambda x: 0.5 * o.made(x) + 0.5 * o.made(x.detach())


@fault("backward from the rounded output", {"false-zero-gradient", "precision-loss"})
def _from_output(o: Original):
    if o.from_output is None:
        return None
    made = o.made

    def gradient(x: Tensor, g: Tensor) -> Tensor:
        return g * o.from_output(made.output(x))

    return replace(made, gradient=gradient)


@after_gradient("gradient at the joint", {"invalid-subgradient"})
def _at_joint(x, g):
    return torch.where(x == 0, g + 3, g)


@after_gradient("NaN gradient at 0", {"non-finite-gradient"})
def _nan_at_zero(x, g):
    return torch.where(x == 0, torch.nan, g)


@after_gradient("gradient overflows", {"non-finite-gradient"})
def _gradient_overflow(x, g):
    return g + 0 * (x * x)


@after_gradient("gradients below 1e-8 flushed", {"false-zero-gradient"}, unless=("leaky_relu", "hardswish"))
def _gradient_flush(x, g):
    return torch.where(g.abs() < 1e-8, torch.zeros_like(g), g)


@after_gradient("one float16 gradient", {"invalid-subgradient", "precision-loss"})
def _one_gradient(x, g):
    return torch.where(x == 0.73779296875, g * 1.01, g) if x.dtype == torch.float16 else g


@after_gradient("bfloat16 gradient 2 % too large", {"precision-loss"})
def _one_dtype_gradient(x, g):
    return g * 1.02 if x.dtype == torch.bfloat16 else g


@after_gradient("gradient in the last lanes", SLOPE | {"precision-loss", "false-zero-gradient"})
def _gradient_tail(x, g):
    return torch.where(_index(x) >= x.numel() // 16 * 16, g * 1.01, g)


@after_gradient("float64 only: infinite gradient beyond 100", {"non-finite-gradient"})
def _wide_gradient(x, g):
    return torch.where(x.abs() > 100, torch.inf, g) if g.dtype == torch.float64 else g


@fault("NaN leaks from the other branch", {"masked-branch"})
def _masked(o: Original):
    return lambda x: torch.where(x.abs() > 20, o.made(x), o.made(x) + 0.0 * torch.exp(x * x))


class _Stale:
    """Saves the input of the call before."""

    def __init__(self, o: Original) -> None:
        self.o, self.made = o, o.made
        self.now, self.last = torch.zeros(1), torch.zeros(1)

    def __call__(self, x: Tensor) -> Tensor:
        self.last, self.now = self.now, x.detach()
        return Made(self.made.output, self.gradient)(x)

    def gradient(self, x: Tensor, g: Tensor) -> Tensor:
        before = self.last.reshape(-1).to(x.dtype)
        return self.made.gradient(before[_index(x) % before.numel()], g)


@fault("a stale input is saved", SLOPE | {"precision-loss", "false-zero-gradient", "non-finite-gradient"})
def _stale(o: Original):
    return _Stale(o)


@fault("grad_output ignored", SLOPE)
def _ignores_grad(o: Original):
    return Made(o.made.output, lambda x, g: o.made.gradient(x, torch.ones_like(g)))


@fault("grad_output squared", SLOPE)
def _squares_grad(o: Original):
    return Made(o.made.output, lambda x, g: o.made.gradient(x, g * g))


@fault("grad_output overwritten", SLOPE)
def _overwrites_grad(o: Original):
    def gradient(x: Tensor, g: Tensor) -> Tensor:
        own = g.contiguous()  # Meant as a copy, which it is not for most.
        return own.copy_(o.made.gradient(x, own))

    return Made(o.made.output, gradient)


@fault("grad_output multiplied in place", SLOPE)
def _multiplies_grad(o: Original):
    return Made(o.made.output, lambda x, g: g.copy_(o.made.gradient(x, g)))  # Raises for an expanded scalar.


@fault("NaN where grad_output is negative", SLOPE)
def _root_of_grad(o: Original):
    return Made(o.made.output, lambda x, g: o.made.gradient(x, g.sqrt() * g.sqrt()))


def _bare(t: Tensor, like: Tensor) -> Tensor:
    """What a kernel sees that was handed a bare pointer: the storage from the first element on."""
    room = t.untyped_storage().nbytes() // t.element_size() - t.storage_offset()
    flat = torch.as_strided(t, (min(t.numel(), room),), (1,), t.storage_offset())
    return torch.cat([flat, flat.new_zeros(like.numel() - flat.numel())]).reshape(like.shape)


@fault("strides of grad_output ignored", SLOPE)
def _strides_of_grad(o: Original):
    return Made(o.made.output, lambda x, g: o.made.gradient(x, _bare(g, x)))


@fault("strides of the saved input ignored", SLOPE)
def _strides_of_input(o: Original):
    return Made(o.made.output, lambda x, g: o.made.gradient(_bare(x, x), g))


@fault("strides ignored in four dimensions", SLOPE)
def _strides_of_images(o: Original):
    def gradient(x: Tensor, g: Tensor) -> Tensor:
        return o.made.gradient(_bare(x, x), _bare(g, x)) if x.dim() == 4 else o.made.gradient(x, g)

    return Made(o.made.output, gradient)


def mutants_of(original: Original) -> Iterator[tuple[str, Mutant, frozenset[str]]]:
    """Every fault that changes something in this function."""
    for name, kind in FAULTS.items():
        mutant = kind.make(original)
        if mutant is not None:
            yield name, mutant, kind.ids
