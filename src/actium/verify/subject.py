"""What is judged, and how it is run without being changed.

Stage: target → [subject] → sweep → checks.
In: any callable or module. Out: outputs and gradients for tensors, or the reason why there are none.
Code under judgement is foreign: it may raise, print warnings, modify its input, be random, or insist on a shape.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from actium.errors import TraceError
from actium.symbolic.graph import Formula
from actium.symbolic.trace import trace

Call = Callable[[Tensor], Tensor]
_SEED = 20190823


@dataclass(frozen=True)
class Construction:
    """How a module under judgement was made, so that it can be made again with other arguments.

    Attributes:
        cls: Its class.
        args: Positional arguments.
        kwargs: Keyword arguments.
        guessed: Names of the arguments that the caller did not give.
    """

    cls: type[nn.Module]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    guessed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Subject:
    """A function under judgement.

    Attributes:
        target: What to call it.
        call: The function: a tensor to a tensor.
        formula: What it is, if known; then the truth is ball arithmetic, else the function itself in float64.
        parameters: Numbers for the formula's parameters.
        module: The module that `call` runs, if it is one; it is copied, never changed.
        notes: Facts about how the target was made (constructor arguments, for example), for the certificate.
        construction: How `module` was made, if it was made from a class for this purpose.
        claims: Properties that its author declares: name → value.
        ejected: Makes what `actium eject` prints of the formula, a function like `call`, to see whether that is better.
    """

    target: str
    call: Call
    formula: Formula | None = None
    parameters: Mapping[str, float] = field(default_factory=dict)
    module: nn.Module | None = None
    notes: tuple[str, ...] = ()
    construction: Construction | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)
    ejected: Callable[[], Call] | None = None


def subject_of(target: str, function: Call) -> Subject:
    """The subject for a function or module, traced if it can be.

    Where tracing is impossible, or a parameter differs between channels, there is no formula: the function in
    float64 is then the truth, and a note says why.

    Args:
        target: What to call it.
        function: A function of one tensor, or a module.

    Returns:
        The subject.
    """
    module = function if isinstance(function, nn.Module) else None
    try:
        traced = trace(function)
    except TraceError as error:
        return Subject(target, function, module=module, notes=(f"not traced: {error}",))
    uneven = [name for name, values in traced.values.items() if len(set(values)) != 1]
    if uneven:
        note = f"not traced: parameter {', '.join(uneven)} is not one number"
        return Subject(target, function, module=module, notes=(note,))
    numbers = {name: values[0] for name, values in traced.values.items()}
    return Subject(target, function, traced.formula, numbers, module)


@dataclass(frozen=True)
class Result:
    """What one run gave.

    Attributes:
        output: The output, detached.
        gradient: The gradient with respect to the input for grad_output = 1, or None.
        gradient_error: Why there is no gradient, if autograd raised.
        operations: Names of the autograd nodes between output and input.
        mutated: Whether the input tensor was changed.
    """

    output: Tensor
    gradient: Tensor | None
    gradient_error: str | None
    operations: frozenset[str]
    mutated: bool


class SubjectError(Exception):
    """The code under judgement raised, or returned something that is not a tensor. The message is one line."""


def one_line(error: BaseException) -> str:
    """An exception as one line of at most 200 characters."""
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


@contextmanager
def guarded() -> Iterator[None]:
    """Run foreign code: its warnings are dropped, its randomness is seeded, and what it raises is a `SubjectError`."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), torch.enable_grad():
        warnings.simplefilter("ignore")
        torch.default_generator.manual_seed(_SEED)  # The state of other devices could not be put back.
        try:
            yield
        except SubjectError:
            raise
        except (Exception, SystemExit) as error:
            raise SubjectError(one_line(error)) from error


def operations_of(output: Tensor) -> frozenset[str]:
    """Names of the nodes in an output's autograd graph."""
    names: set[str] = set()
    seen: set[object] = set()
    stack = [output.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        names.add(node.name())
        stack.extend(following for following, _ in node.next_functions)
    return frozenset(names)


def evaluate(call: Call, x: Tensor, gradient: bool = True) -> Result:
    """Run a function on a copy of x, and its backward with grad_output = 1.

    The function gets a non-leaf copy, as it would inside a network, so an in-place one works and is noticed.

    Raises:
        SubjectError: If the function raises or does not return a tensor. A backward that raises is in the result.
    """
    with guarded():
        leaf = x.detach().clone()
        leaf.requires_grad_(gradient and leaf.is_floating_point())
        given = leaf.clone()
        version = given._version
        output = call(given)
        _require_ordinary(output)
        # A kernel that writes through a pointer, `.data` or NumPy leaves the version as it was.
        mutated = given._version != version or given.shape != x.shape or _differ(given.detach(), x)
        operations = operations_of(output)
        slope, error = _backward(output, leaf) if gradient else (None, None)
        return Result(output.detach(), slope, error, operations, mutated)


def _require_ordinary(output: Any) -> None:
    """Refuse what no network could use as an activation's output."""
    if not isinstance(output, Tensor):
        raise SubjectError(f"returned {type(output).__name__}, not a tensor")
    if output.is_nested or output.is_quantized or output.layout != torch.strided:
        raise SubjectError(f"returned a tensor that is not dense: {output.dtype}, {output.layout}")
    if output.is_complex():
        raise SubjectError(f"returned complex numbers ({output.dtype})")
    if output.device.type == "meta":
        raise SubjectError("returned a tensor without values, on the meta device")


def _differ(a: Tensor, b: Tensor) -> bool:
    return not torch.allclose(a, b.detach(), rtol=0.0, atol=0.0, equal_nan=True)


def _backward(output: Tensor, leaf: Tensor) -> tuple[Tensor | None, str | None]:
    if not output.requires_grad or not output.is_floating_point():
        return None, None
    try:
        (slope,) = torch.autograd.grad(output, leaf, torch.ones_like(output), allow_unused=True)
    except Exception as error:
        return None, one_line(error)
    return (None if slope is None else slope.detach()), None


class Runner:
    """Runs a subject in any dtype.

    A module is judged on a copy in evaluation mode. Where it does not take a dtype as it is, a copy converted
    with `.to(dtype)` is tried, and `refused` says so. One that its owner has converted is judged in float32.
    """

    def __init__(self, subject: Subject) -> None:
        subject = _in_float32(subject)
        self.subject = subject
        self.refused: dict[torch.dtype, str] = {}
        self.notes: list[str] = list(subject.notes)
        self._module = None if subject.module is None else self._evaluation_copy(subject.module)
        self._converted: dict[torch.dtype, nn.Module] = {}
        self._layout: Callable[[Call], Call] = _flat
        self.channels: int | None = None

    def _evaluation_copy(self, module: nn.Module) -> nn.Module:
        try:
            made = copy.deepcopy(module)
            made.eval()  # A `train` of somebody's own may return nothing.
            return made
        except Exception as error:
            self.notes.append(f"the module cannot be copied ({one_line(error)}), so it was judged as it is")
            return module

    def plain(self) -> Call:
        """The function itself, whatever shape it gets."""
        return self._module if self._module is not None else self.subject.call

    def as_is(self) -> Call:
        """The function of flat tensors: a layer of C channels gets them reshaped to what it accepts."""
        return self._layout(self.plain())

    def converted(self, dtype: torch.dtype) -> Call:
        """The function with its parameters converted to a dtype (a plain function has none)."""
        if self._module is None:
            return self.as_is()
        if dtype not in self._converted:
            try:
                self._converted[dtype] = copy.deepcopy(self._module).to(dtype)
            except Exception as error:
                raise SubjectError(one_line(error)) from error
        return self._layout(self._converted[dtype])

    def laid_out(self, call: Call) -> Call:
        """A function as one of flat tensors; see `as_is`."""
        return self._layout(call)

    def fresh_copy(self, dtype: torch.dtype | None = None) -> nn.Module:
        """A copy of the module, in evaluation mode, that the caller may change.

        Raises:
            SubjectError: If there is no module, or it cannot be copied or converted.
        """
        if self.subject.module is None:
            raise SubjectError("it is not a module")
        with guarded():
            made = copy.deepcopy(self.subject.module)
            made.eval()  # A `train` of somebody's own may return nothing.
            return made if dtype is None else made.to(dtype)

    def run(self, x: Tensor, gradient: bool = True) -> Result:
        """Evaluate, converting the module only if it refuses the dtype.

        Raises:
            SubjectError: If neither the function nor its converted copy takes the input.
        """
        if x.dtype not in self.refused:
            try:
                result = evaluate(self.as_is(), x, gradient)
                return result if result.output.dtype == x.dtype else self._as_in_a_network(x, gradient, result)
            except SubjectError as error:
                if self._module is None or x.dtype == torch.float32:
                    raise
                self.refused[x.dtype] = str(error)
        return evaluate(self.converted(x.dtype), x, gradient)

    def _as_in_a_network(self, x: Tensor, gradient: bool, promoted: Result) -> Result:
        """A module whose float32 parameters promote the result is judged as `.to(dtype)` makes it, if that keeps it."""
        if self._module is None:
            return promoted
        try:
            made = evaluate(self.converted(x.dtype), x, gradient)
        except SubjectError:
            return promoted
        return made if made.output.dtype == x.dtype else promoted

    def find_layout(self) -> str | None:
        """Find a shape in which the function takes many numbers at once; the error of the flat one if none works.

        One with as many numbers out as in is preferred: parameters of shape (C, 1, 1) make an image of a flat tensor.
        """
        x = torch.linspace(-2.0, 2.0, 48)
        first: str | None = None
        taken: list[tuple[Callable[[Call], Call], int | None]] = []
        for channels, shape in _layouts(self._module):
            self._layout = _flat if channels is None else _shaped(channels, shape)
            self.channels = channels
            try:
                output = evaluate(self.as_is(), x, gradient=False).output
            except SubjectError as error:
                first = first or str(error)
                continue
            if output.numel() == x.numel():
                return None
            taken.append((self._layout, channels))
        self._layout, self.channels = taken[0] if taken else (_flat, None)
        return None if taken else first


def _in_float32(subject: Subject) -> Subject:
    """The subject with a float32 copy of its module, if that has been converted to another dtype as a whole.

    Where only some parameters have another dtype, or a class makes them so, that is its author's doing, and is judged.
    """
    module = subject.module
    if module is None or subject.construction is not None:
        return subject
    try:
        with guarded():
            dtypes = {p.dtype for p in module.parameters() if p.dtype.is_floating_point}
            if len(dtypes) != 1 or torch.float32 in dtypes:
                return subject
            twin = copy.deepcopy(module).float()
    except SubjectError:
        return subject  # That it cannot be copied is noted elsewhere.
    dtype = str(dtypes.pop()).removeprefix("torch.")
    note = f"its parameters are {dtype}, so a copy converted with `.float()` was judged"
    return replace(subject, call=twin, module=twin, notes=(*subject.notes, note))


def obstacle(subject: Subject) -> str | None:
    """Why a callable is no activation: it takes no tensor of any tried shape, or does not keep the shape.

    A unit that halves one dimension (GLU) counts as one, and so does what mixes elements (softmax).
    """
    runner = Runner(subject)
    refusal = runner.find_layout()
    if refusal is not None:
        return f"takes no tensor of any tried shape: {refusal}"
    x = torch.linspace(-2.0, 2.0, 48)
    output = evaluate(runner.as_is(), x, gradient=False).output
    if output.numel() not in (x.numel(), x.numel() // 2):
        return f"keeps no shape: {x.numel()} numbers in, shape {tuple(output.shape)} out"
    return None


def _flat(call: Call) -> Call:
    return call


def _layouts(module: nn.Module | None) -> Iterator[tuple[int | None, tuple[int, ...]]]:
    """Flat first; then with the channels that a parameter's size suggests, in the usual ranks, and as (batch, 1, C)."""
    yield None, ()
    tensors = [] if module is None else [*module.parameters(), *module.buffers()]
    shapes = [t.shape for t in tensors if not is_lazy(t) and t.numel() > 1]
    # The largest dimension is usually the channels'; a linear layer may have more outputs than inputs.
    sizes = [*sorted({max(s) for s in shapes}), *sorted({d for s in shapes for d in s if d > 1})] or [4, 8]
    for channels in list(dict.fromkeys(sizes))[:4]:
        for tail in ((), (1, 1), (1,), (1, 1, 1)):
            yield channels, (-1, channels, *tail)
        yield channels, (-1, 1, channels)


def _shaped(channels: int, shape: tuple[int, ...]) -> Callable[[Call], Call]:
    def layout(call: Call) -> Call:
        def run(x: Tensor) -> Tensor:
            missing = -x.numel() % channels
            padded = torch.cat([x, x[-1:].expand(missing)]) if missing else x
            output = call(padded.reshape(shape))
            return output.reshape(-1)[: x.numel()] if output.numel() == padded.numel() else output

        return run

    return layout
