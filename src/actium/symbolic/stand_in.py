"""The tensor that a traced function sees: it records operations as a graph and holds no data.

Stage: used by `trace`. In: the torch calls that arrive through `__torch_function__`. Out: nodes.
It is a real tensor to Python and to torch's argument parser (a wrapper subclass without storage), so that
`isinstance(x, torch.Tensor)` holds and nothing in C++ mistakes it for something else. A call that slips past
`__torch_function__` arrives at `__torch_dispatch__` and is refused there.
"""

from __future__ import annotations

import linecache
import os
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from actium.errors import FormulaError, TraceError
from actium.symbolic import torch_names
from actium.symbolic.graph import Formula, Node, as_node, parameter, substitute, variable

MAX_OPERATIONS = 10_000

_HERE = os.path.dirname(os.path.abspath(__file__))
_TORCH = os.path.dirname(os.path.abspath(torch.__file__)) + os.sep
_STDLIB = sysconfig.get_paths()["stdlib"] + os.sep
_PACKAGES = tuple({sysconfig.get_paths()[key] + os.sep for key in ("purelib", "platlib")})
_APPLY = torch.autograd.Function.apply.__func__.__code__  # type: ignore[attr-defined]


def is_users(code: types.CodeType) -> bool:
    """Whether a frame's code is the user's, and not torch's, Python's or this package's."""
    file = code.co_filename
    if os.path.dirname(os.path.abspath(file)) == _HERE or file.startswith((_TORCH, "<frozen")):
        return False
    return not file.startswith(_STDLIB) or file.startswith(_PACKAGES)


def at_line(file: str, line: int, message: str) -> TraceError:
    """The exception for a line of somebody's code."""
    source = linecache.getline(file, line).strip()[:100]
    return TraceError(f"{os.path.basename(file)}:{line}: {message}" + (f"\n    {source}" if source else ""))


@dataclass
class Session:
    """One run of a traced function.

    Attributes:
        boundary: The code of the frame that started the run; frames beyond it are the caller's.
        count: Operations so far.
        casts: Whether a dtype cast of a value that depends on an input was seen.
        failed: The first error. Python's operators turn a TypeError, which a TraceError is, into
            "unsupported operand type(s)", so it is kept here.
    """

    boundary: types.CodeType
    count: int = 0
    casts: bool = False
    failed: TraceError | None = None

    def frames(self) -> Iterator[types.FrameType]:
        """Frames of the run, innermost first."""
        frame = sys._getframe(1)
        while frame is not None and frame.f_code is not self.boundary:
            yield frame
            frame = frame.f_back

    def error(self, message: str) -> TraceError:
        """The exception for the line of the user's code that is running now (torch's own line if there is none)."""
        outside = [f for f in self.frames() if os.path.dirname(os.path.abspath(f.f_code.co_filename)) != _HERE]
        users = [f for f in outside if is_users(f.f_code)]
        # A module of torch itself: its forward says more than the machinery that forward calls.
        modules = [f for f in outside if f.f_code.co_name == "forward"]
        frame = next(iter([*users, *modules, *outside]), None)
        made = TraceError(message) if frame is None else at_line(frame.f_code.co_filename, frame.f_lineno, message)
        self.failed = self.failed or made
        return made

    def enter(self) -> None:
        """Count an operation, and refuse those inside a custom backward.

        Raises:
            TraceError: If there were too many, or the operation is inside `torch.autograd.Function.apply`.
        """
        self.count += 1
        if self.count > MAX_OPERATIONS:
            raise self.error(f"more than {MAX_OPERATIONS:,} operations: a loop that does not end, or an unrolled one")
        if any(frame.f_code is _APPLY for frame in self.frames()):
            raise self.error(
                "torch.autograd.Function: its backward is written by hand and cannot be read as a formula; "
                "write the forward with plain torch operations and the derivative follows"
            )


class StandIn(torch.Tensor):
    """A tensor without data.

    Attributes:
        session: The run it belongs to.
        node: Its value for one element of the input; None if it only exists as a whole vector (a softmax of weights).
        lanes: For a value that does not depend on the input: its shape, and which entry of the original parameter
            each element is. None for a value that depends on the input.
        kind: The dtype that it claims.
        entry: The node of one entry, for a parameter with several; None if all elements are `node`.
    """

    session: Session
    node: Node | None
    lanes: torch.Tensor | None
    entry: Callable[[int], Node] | None
    kind: torch.dtype

    def __new__(
        cls,
        session: Session,
        node: Node | None,
        lanes: torch.Tensor | None = None,
        entry: Callable[[int], Node] | None = None,
    ) -> StandIn:
        """Make a stand-in; one that depends on the input has an arbitrary shape, which nothing can ask for."""
        dtype = torch.bool if node is not None and node.is_bool else torch.float32
        shape = (2, 2) if lanes is None else lanes.shape
        self = torch.Tensor._make_wrapper_subclass(cls, shape, dtype=dtype, device="cpu")  # type: ignore[attr-defined]
        self.session, self.node, self.lanes, self.entry = session, node, lanes, entry
        self.kind = dtype
        return self

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Record one call."""
        from actium.symbolic.operations import record

        return record(func, args, dict(kwargs or {}))

    @classmethod
    def __torch_dispatch__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Refuse what reached torch's core without being recorded."""
        stand_in = next(stand_ins(args, kwargs or {}))
        raise stand_in.session.error(torch_names.reason(str(func).split(".")[-2]))

    def __iter__(self) -> Iterator[Any]:
        if self.lanes is None:
            raise self.session.error(torch_names.reason("__iter__"))
        return iter(self.unbind(0))

    def __len__(self) -> int:
        if self.lanes is None:
            raise self.session.error(torch_names.reason("__len__"))
        return len(self.lanes)

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"<stand-in for {self.node!r}>"

    def __format__(self, spec: str) -> str:
        return repr(self)

    # `y += 1` writes in place; on a stand-in that has just one meaning, the one that torch gives it.
    def __iadd__(self, other: Any) -> StandIn:
        return self.become(self + other)

    def __isub__(self, other: Any) -> StandIn:
        return self.become(self - other)

    def __imul__(self, other: Any) -> StandIn:
        return self.become(self * other)

    def __itruediv__(self, other: Any) -> StandIn:
        return self.become(self / other)

    def __ipow__(self, other: Any) -> StandIn:
        return self.become(self**other)

    def become(self, other: StandIn) -> StandIn:
        """Take another's value, as an in-place operation does."""
        if self.lanes is not None:
            raise self.session.error("in-place write: a parameter or constant is changed while it is used")
        self.node, self.lanes, self.entry = other.node, other.lanes, other.entry
        return self

    def apply_formula(self, formula: Formula, inputs: Sequence[Any], parameters: Sequence[Any]) -> StandIn:
        """What an activation called on stand-ins is: its formula, with the operands' nodes in place of its names."""
        operands = [
            v.per_element() if isinstance(v, StandIn) else as_node(v)
            for v in (constant_of(self.session, v) if type(v) is torch.Tensor else v for v in (*inputs, *parameters))
        ]
        names = [*map(variable, formula.inputs), *map(parameter, formula.parameters)]
        return StandIn(self.session, substitute(formula.root, dict(zip(names, operands, strict=True))))

    def per_element(self) -> Node:
        """The node for use together with the input.

        Raises:
            TraceError: If this vector has no entry for each channel.
        """
        if self.lanes is None or self.entry is None:
            assert self.node is not None
            return self.node
        if self.node is None or not _is_channel(self.lanes):
            raise self.session.error(
                f"a parameter of shape {tuple(self.lanes.shape)} is used as a whole: "
                "it must have one element, or one for each channel, or be indexed"
            )
        return self.node


def _is_channel(lanes: torch.Tensor) -> bool:
    # Dimensions along which nothing changes come from expand; what is left must be the parameter, in order.
    for dim in range(lanes.dim()):
        first = lanes.narrow(dim, 0, 1)
        lanes = first if bool((lanes == first).all()) else lanes
    varying = sum(size > 1 for size in lanes.shape)
    return varying == 1 and torch.equal(lanes.flatten(), torch.arange(lanes.numel()))


def stand_ins(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[StandIn]:
    """The stand-ins among the arguments of a call, also those in lists."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, StandIn):
            yield value
        elif isinstance(value, list | tuple):
            yield from stand_ins(value, {})


def one_lane(shape: Sequence[int] = ()) -> torch.Tensor:
    """Lanes of a value that is the same everywhere."""
    return torch.zeros(tuple(shape), dtype=torch.int64, device="cpu")


def constant_of(session: Session, tensor: torch.Tensor) -> StandIn:
    """The stand-in of a plain tensor with one element.

    Raises:
        TraceError: If it has more, or would be trained.
    """
    from actium.symbolic.graph import const

    if tensor.numel() != 1:
        raise session.error(
            f"a tensor of shape {tuple(tensor.shape)} is an operand; "
            "only registered parameters and buffers may have several elements, one for each channel"
        )
    if tensor.requires_grad:
        raise session.error("a tensor that requires grad is not a registered parameter of the module: use nn.Parameter")
    try:
        return StandIn(session, const(float(tensor.item())), one_lane(tensor.shape))
    except (FormulaError, TypeError, RuntimeError) as e:
        raise session.error(f"a constant tensor cannot be used: {e}") from None
