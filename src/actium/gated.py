"""`glu`: gated units, act(gate)·up in one pass, of two tensors or of the halves of one.

Stage: Activation → [gated unit] → nn.Module. In: an activation. Out: a callable with a fused forward and backward that
keeps its inputs and nothing else. It has the two wings of `op.py`: a plain dense tensor goes to a kernel behind a node
of autograd, everything else (functorch levels, duals, subclasses, compiling, exporting, meta) to torch operations.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from actium.authoring import activation as trace_activation
from actium.define import Activation
from actium.errors import DeviceError, DtypeError, ParameterError, ShapeError
from actium.kernels import front
from actium.kernels.dispatch import Library
from actium.kernels.halves import Halves, Kernels
from actium.kernels.plain import is_compiling, is_dynamo_compiling, is_grad_enabled, is_plain
from actium.op import Op, ParameterValue, any_gradients, differentiable
from actium.symbolic.graph import Formula, mul, substitute, variable
from actium.symbolic.latex import to_latex
from actium.symbolic.parameters import Parameter

if TYPE_CHECKING:
    from actium.gated_module import GatedModule

Which = Literal["first", "second"]
# What a call takes by name: a parameter of the same name could not be given.
_RESERVED = frozenset({"dim", "gate", "channel_dim"})
# Entries of the catalogue that do more than their formula says.
_NO_GATE = {"brelu": "its sign follows from the channel", "rrelu": "it draws its slopes in training"}


class GatedActivation:
    """A gated unit: act(gate)·up.

    Call it on two tensors, `unit(gate, up)`, or on one, `unit(x, dim=-1)`, whose halves along `dim` they are. As in
    `torch.nn.functional.glu` the second half is the gate, unless `gate="first"` says otherwise: projections of Llama
    and its relatives that are fused into one have the gate first.

    Args:
        activation: The function of the gate; elementwise.

    Attributes:
        activation: That function.
        op: The formula of two inputs.
        name: The activation's name and `_glu`.
    """

    def __init__(self, activation: Activation) -> None:
        taken = [p.name for p in activation.parameters if p.name in _RESERVED]
        if taken:
            raise ParameterError(f"{activation.name}: a gated unit takes {taken[0]!r} itself; rename the parameter")
        entry = getattr(activation, "entry", None)
        if entry is not None and entry.calling in _NO_GATE:
            raise ParameterError(f"{activation.name}: {_NO_GATE[entry.calling]}, so it cannot be a gate")
        self.activation = activation
        self.name = self.__name__ = f"{activation.name}_glu"
        gate, up = (_free_name(n, activation.formula.parameters) for n in ("gate", "up"))
        root = substitute(activation.formula.root, {variable(activation.formula.inputs[0]): variable(gate)})
        self.formula = Formula(mul(root, variable(up)), (gate, up), activation.formula.parameters)
        self.__doc__ = f"{self.name}({gate}, {up}) = {self.formula}"
        self.op = Op(self.formula, {p.name: p.init for p in activation.parameters}, self.name)
        self._kernels = Kernels(self.op.plan)
        self._doors: dict[tuple[front.Kind, tuple[float, ...]], Any] = {}
        self._opened: set[tuple[Any, torch.dtype]] = set()  # keys of doors, and the formats that each knows
        _ = self.op.eager_function  # made now, because torch.compile could not trace the making

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The activation's parameters."""
        return self.activation.parameters

    # -- calling -----------------------------------------------------------------------------------

    def __call__(
        self,
        input: Tensor,
        up: Tensor | None = None,
        /,
        *,
        dim: int | None = None,
        gate: Which | None = None,
        channel_dim: int | None = None,
        **parameters: ParameterValue,
    ) -> Tensor:
        """act(gate)·up.

        Args:
            input: The gate, if `up` is given, of any shape; else the tensor that holds both, of at least one dimension.
                float16, bfloat16, float32 or float64; any device.
            up: The other factor, of the same shape, dtype and device as the gate.
            dim: The dimension of `input` to be halved; its size is even. The last if not given.
            gate: Which half is the gate, "first" or "second"; the second if not given, as in PyTorch.
            channel_dim: The dimension of the output that parameters of shape (C,) belong to.
            **parameters: The activation's parameters by name: numbers, or tensors of shape (1,) or (C,).

        Returns:
            A tensor of the gate's shape and dtype; of half the size along `dim`, if there was one tensor.

        Raises:
            ShapeError: If the size along `dim` is odd, `input` has no dimension, or two tensors differ in shape.
            DtypeError: If an input is not a dense floating-point tensor, or two differ in dtype.
            DeviceError: If two tensors are on different devices.
            ParameterError: If a parameter is unknown or outside its range, or `dim` or `gate` come with two tensors.
            ChannelError: If a parameter's size does not match the channel dimension.

        Example:
            >>> import torch, actium
            >>> swiglu = actium.glu(actium.silu)
            >>> x = torch.tensor([[1.0, 2.0, -89.0, 0.0]])
            >>> swiglu(x, gate="first") - swiglu(x[:, :2], x[:, 2:])
            tensor([[0., 0.]])
        """
        values = self.activation.values(**parameters)
        if up is None:
            return self.halves(
                input, values, -1 if dim is None else dim, "second" if gate is None else gate, channel_dim
            )
        if dim is not None or gate is not None:
            given = "dim" if dim is not None else "gate"
            raise ParameterError(f"{self.name}: {given}= chooses halves of one tensor; with two, the gate is the first")
        return self.two(input, up, values, channel_dim)

    def two(
        self, gate: Tensor, up: Tensor, values: tuple[ParameterValue, ...], channel_dim: int | None = None
    ) -> Tensor:
        """The unit of two tensors, with the values of all parameters in order; raises as a call does."""
        door = None if is_dynamo_compiling() else self._doors.get(("two", values))  # type: ignore[arg-type]
        if door is not None and (y := door(gate, up)) is not None:
            return y
        for t in (gate, up):
            if not isinstance(t, Tensor):
                raise DtypeError(f"{self.name}: expected a tensor, got {type(t).__name__}; write dim=… by name")
        record = next((t for t in (gate, up) if hasattr(type(t), "apply_formula")), None)
        if record is not None:  # the stand-in of a trace
            return record.apply_formula(self.formula, (gate, up), values)  # type: ignore[attr-defined]
        self._compare(gate, up)
        y = self.op.many((gate, up), values, channel_dim)
        self._remember("two", gate, values)
        return y

    def _compare(self, gate: Tensor, up: Tensor) -> None:
        if gate.shape != up.shape:
            raise ShapeError(
                f"{self.name}: the gate is {tuple(gate.shape)}, up is {tuple(up.shape)}; they have one shape "
                "(nothing is broadcast: call .expand_as() if that is meant)"
            )
        if gate.dtype != up.dtype:
            raise DtypeError(f"{self.name}: the gate is {gate.dtype}, up is {up.dtype}; convert one of them")
        if gate.device != up.device:
            raise DeviceError(f"{self.name}: the gate is on {gate.device}, up on {up.device}; move one of them")

    def halves(
        self,
        x: Tensor,
        values: tuple[ParameterValue, ...],
        dim: int = -1,
        gate: Which = "second",
        channel_dim: int | None = None,
    ) -> Tensor:
        """The unit of the halves of one tensor, with the values of all parameters in order; raises as a call does."""
        door = None if is_dynamo_compiling() else self._doors.get(("halves", values))  # type: ignore[arg-type]
        if door is not None and (y := door(x, dim, gate_is_first(self.name, gate))) is not None:
            return y
        call = Halves(self.op, self._kernels, self._dimension(x, dim), gate_is_first(self.name, gate), channel_dim)
        if is_compiling() or not is_plain(x) or not all(type(p) is float or is_plain(p) for p in values):
            return self.op.many(call.split(x), values, channel_dim)
        self.op.check((x,) if all(type(p) is float for p in values) else call.split(x), values, channel_dim)
        self._remember("halves", x, values)
        if is_grad_enabled() and any(isinstance(t, Tensor) and t.requires_grad for t in (x, *values)):
            return _FusedHalves.apply(call, x, *values)  # type: ignore[no-any-return]
        return call.forward(x, values)

    def _remember(self, kind: front.Kind, x: Tensor, values: tuple[ParameterValue, ...]) -> None:
        """Open the compiled front door for these numbers, where it is built; as a key, −0.0 would find that of 0.0."""
        if is_dynamo_compiling() or front.module() is None or not x.is_cpu or x.dtype not in front.DTYPES:
            return
        numbers = tuple(p for p in values if type(p) is float)
        if len(numbers) < len(values) or 0.0 in numbers or ((kind, numbers), x.dtype) in self._opened:
            return
        library = self.op.kernels.library(x.dtype) if kind == "two" else self._kernels.library(x.dtype)
        if library is None:
            return
        if (kind, numbers) not in self._doors:
            if len(self._doors) > 256:  # parameters that change all the time
                self._doors.clear()
                self._opened.clear()
            gradient = any_gradients if kind == "two" else functools.partial(_halves_gradient, self._kernels)
            self._doors[kind, numbers] = front.make(numbers, functools.partial(gradient, self.op, numbers), kind)
        kernels = library.flat() if isinstance(library, Library) else library
        front.add(self._doors[kind, numbers], x.dtype, kernels.forward, kernels.backward)
        self._opened.add(((kind, numbers), x.dtype))

    def _dimension(self, x: Tensor, dim: int) -> int:
        """`dim`, not negative, checked."""
        if not isinstance(x, Tensor):
            raise DtypeError(f"{self.name}: expected a tensor, got {type(x).__name__}")
        if hasattr(type(x), "apply_formula"):
            x.chunk(2, dim)  # the stand-in of a trace says that this is no elementwise function
        if x.layout is not torch.strided:
            self.op.check((x,), (), None)  # says so
        count = x.dim()
        if count == 0:
            raise ShapeError(f"{self.name}: a tensor without dimensions has no halves; give two: unit(gate, up)")
        if isinstance(dim, bool) or not isinstance(dim, int):
            raise ParameterError(f"{self.name}: dim must be an integer, got {dim!r}")
        if not -count <= dim < count:
            raise ShapeError(f"{self.name}: dim={dim} does not exist in an input of shape {tuple(x.shape)}")
        if x.shape[dim] % 2:
            raise ShapeError(
                f"{self.name}: dimension {dim} of the input {tuple(x.shape)} has size {x.shape[dim]}, which is odd; "
                "gate and up are its halves"
            )
        return dim % count

    def module(
        self,
        *,
        dim: int = -1,
        gate: Which = "second",
        channels: int | None = None,
        channel_dim: int | None = None,
        learn: tuple[str, ...] = (),
        **values: float,
    ) -> GatedModule:
        """An `nn.Module` of this unit.

        Args:
            dim: The dimension to be halved.
            gate: Which half is the gate.
            channels: Give each learnable parameter this many values, one per channel of the output.
            channel_dim: The output's dimension they belong to; needed with `channels` above 1.
            learn: Names of further parameters to train.
            **values: Other initial values than the definition's.

        Returns:
            The module. It takes one tensor or two.

        Example:
            >>> import actium
            >>> actium.glu(actium.silu).module(gate="first")
            GatedModule(
              dim=-1, gate='first'
              (activation): silu()
            )
        """
        from actium.gated_module import GatedModule

        options = {"channels": channels, "channel_dim": channel_dim, "learn": learn, **values}
        return GatedModule(self.activation, dim, gate, **options)

    # -- what can be said about it -----------------------------------------------------------------

    def derivative(self, wrt: str = "gate") -> GatedActivation | Activation:
        """∂(act(gate)·up)/∂wrt: by the gate or a parameter a gated unit again, by `up` the activation.

        Example:
            >>> import actium
            >>> unit = actium.glu(actium.tanh)
            >>> print(unit.derivative("gate"), "and", unit.derivative("up"))
            sech(gate)**2 * up and tanh(x)
        """
        gate, up = self.formula.inputs
        if wrt == up:
            return self.activation
        return glu(self.activation.derivative(None if wrt == gate else wrt))

    def latex(self) -> str:
        """The formula in LaTeX."""
        return to_latex(self.formula)

    def source(
        self, language: Literal["c", "torch"] = "c", dtype: str = "float32", form: Literal["two", "halves"] = "halves"
    ) -> str:
        """The generated source: of the C kernels for a dtype and a form of call, or of the torch function."""
        if language == "torch":
            from actium.kernels.eager import function_source

            arguments = (*self.formula.inputs, *self.formula.parameters)
            return function_source(self.name, arguments, (self.op.plan.value("soft"),))
        if language != "c" or form not in ("two", "halves"):
            raise ValueError(f"source({language!r}, form={form!r}): choose 'c' or 'torch', and 'two' or 'halves'")
        return self._kernels.source(dtype) if form == "halves" else Library(self.op.plan, dtype).source()

    def __str__(self) -> str:
        return self.formula.text

    def __repr__(self) -> str:
        signature = "".join(f", {p.name}={p.init:g}" for p in self.parameters)
        return f"<actium {self.name}({', '.join(self.formula.inputs)}{signature}) = {self.formula}>"

    def __reduce__(self) -> Any:
        return glu, (self.activation,)

    def __deepcopy__(self, memo: dict[int, Any]) -> GatedActivation:
        return self  # immutable


def glu(activation: Activation | str | Callable[..., Any] = "sigmoid") -> GatedActivation:
    """Make a gated unit, act(gate)·up, of an activation.

    Args:
        activation: An activation, a name of the catalogue, or a function of one tensor as `actium.activation` takes it.
            `"sigmoid"` gives GLU (Dauphin et al. 2017, arXiv:1612.08083), `"silu"` SwiGLU, `"gelu"` GEGLU, `"relu"`
            ReGLU and `"identity"` the bilinear unit (Shazeer 2020, arXiv:2002.05202).

    Returns:
        The unit, to be called as `unit(gate, up)` or `unit(x, dim=-1)`.

    Raises:
        TargetError: If the catalogue has no such name.
        TraceError: If the function has no elementwise formula.
        ParameterError: If the activation cannot be a gate.

    Example:
        >>> import torch, actium
        >>> actium.glu(actium.silu)(torch.tensor([1.0, 2.0]), gate="first")
        tensor([1.4621])
    """
    if isinstance(activation, Tensor):
        raise ParameterError("glu makes a unit of an activation; apply it: glu()(x), or torch.nn.functional.glu(x)")
    if isinstance(activation, str):
        from actium.catalogue import get

        activation = get(activation).activation()
    return _unit_of(activation if isinstance(activation, Activation) else trace_activation(activation))


# Kept, so that `glu(silu)(x)` in a loop derives nothing anew.
@functools.lru_cache(maxsize=256)
def _unit_of(activation: Activation) -> GatedActivation:
    return GatedActivation(activation)


def _free_name(name: str, taken: tuple[str, ...]) -> str:
    while name in taken:
        name += "_"
    return name


def gate_is_first(name: str, gate: str) -> bool:
    """Whether the first half is the gate.

    Raises:
        ParameterError: If `gate` is neither "first" nor "second".
    """
    if gate not in ("first", "second"):
        raise ParameterError(f"{name}: gate is 'first' or 'second', got {gate!r}")
    return gate == "first"


class _FusedHalves(torch.autograd.Function):
    """Forward keeps the one tensor; backward recomputes and writes both halves of its gradient in one pass."""

    @staticmethod
    def forward(ctx: Any, call: Halves, x: Tensor, *parameters: Any) -> Tensor:  # type: ignore[override]
        ctx.call = call
        ctx.floats = tuple(None if isinstance(p, Tensor) else p for p in parameters)
        ctx.save_for_backward(x, *(p for p in parameters if isinstance(p, Tensor)))
        return call.forward(x, parameters)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        call: Halves = ctx.call
        x, *rest = ctx.saved_tensors
        tensors = iter(rest)
        parameters = tuple(next(tensors) if f is None else f for f in ctx.floats)
        needed = ctx.needs_input_grad[1:]
        return None, *_gradients_of_halves(call, x, grad, parameters, needed)


def _gradients_of_halves(
    call: Halves, x: Tensor, grad: Tensor, parameters: tuple[ParameterValue, ...], needed: tuple[bool, ...]
) -> list[Tensor | None]:
    """The gradients of the one tensor and of the parameters, for whatever autograd sends."""
    if not is_grad_enabled() and is_plain(grad):
        return call.backward(x, grad, parameters, needed)
    both = (needed[0], *needed)
    gate, up, *others = differentiable(call.op, call.split(x), grad, parameters, call.channel_dim, both)
    return [None if gate is None or up is None else call.join(gate, up), *others]


def _halves_gradient(
    kernels: Kernels,
    op: Op,
    values: tuple[float, ...],
    operands: tuple[Tensor, int, bool],
    grad: Tensor,
    wanted: tuple[bool, ...],
) -> tuple[Tensor | None]:
    """What the compiled front door asks for: the gradient of the one tensor."""
    x, dim, first = operands
    needed = (*wanted, *(False for _ in values))
    return (_gradients_of_halves(Halves(op, kernels, dim, first, None), x, grad, values, needed)[0],)
