"""Activations that do not compose with the rest of PyTorch, and some that do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from mutants import Specimen
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable


def _silu_slope(x: Tensor) -> Tensor:
    s = torch.sigmoid(x)
    return s * (1 + x * (1 - s))


# --- Custom Functions -------------------------------------------------------------------------------------


class _OldStyle(Function):
    """SiLU as it has been pasted since 2018: ctx in forward, right in eager mode, and unknown to torch.func."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grads[0] * _silu_slope(x)


class _Once(_OldStyle):
    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grads[0] * _silu_slope(x)


class _SavesTheGate(Function):
    """SiLU that saves σ(x) as well: for autograd an intermediate result of forward is a constant."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        gate = torch.sigmoid(x)
        ctx.save_for_backward(x, gate)
        return x * gate

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        x, gate = ctx.saved_tensors
        return grads[0] * gate * (1 + x * (1 - gate))


class _WithoutGraph(_OldStyle):
    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grads[0].data * _silu_slope(x.data)


class _ConstantGradOutput(_OldStyle):
    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grads[0].detach() * _silu_slope(x)


class _Root(Function):
    """A square root, which has no slope for half of all numbers; its root is a constant for autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        root = torch.sqrt(x)
        ctx.save_for_backward(x, root)
        return 1 * root

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        _, root = ctx.saved_tensors
        return grads[0] / (2 * root)


class _RootOfConstantGrad(_Root):
    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        x, _ = ctx.saved_tensors
        return grads[0].detach() / (2 * torch.sqrt(x))


class _NewStyle(Function):
    """SiLU that torch.func knows: nothing to be found but the missing forward mode."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grads[0] * _silu_slope(x)


class _ForwardMode(_NewStyle):
    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return tangents[0] * _silu_slope(x)


class _WrongForwardMode(_NewStyle):
    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return tangents[0] * torch.sigmoid(x)


class _WrongBatch(_NewStyle):
    """Its batching rule says that the batch is dimension 0, wherever it is."""

    generate_vmap_rule = False

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int], x: Tensor) -> tuple[Tensor, int]:
        return _WrongBatch.apply(x), 0


class _StraightThrough(_OldStyle):
    """Hard tanh with a slope where it has none: right as intended, and lost in a traced program."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clamp(-1, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


old_style = _OldStyle.apply
once = _Once.apply
saves_the_gate = _SavesTheGate.apply
without_graph = _WithoutGraph.apply
constant_grad_output = _ConstantGradOutput.apply
new_style = _NewStyle.apply
forward_mode = _ForwardMode.apply
wrong_forward_mode = _WrongForwardMode.apply
wrong_batch = _WrongBatch.apply
straight_through = _StraightThrough.apply


@torch.library.custom_op("actium_tests::silu", mutates_args=())
def custom_op(x: Tensor) -> Tensor:
    """SiLU as a custom operator: an opaque box for every transform."""
    return x * torch.sigmoid(x)


def _keep(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _custom_backward(ctx: Any, grad: Tensor) -> Tensor:
    (x,) = ctx.saved_tensors
    return grad * _silu_slope(x)


custom_op.register_fake(torch.empty_like)
custom_op.register_autograd(_custom_backward, setup_context=_keep)


# --- Functions that ask where they are ------------------------------------------------------------------------


def branches_on_values(x: Tensor) -> Tensor:
    return torch.tanh(x) if x.abs().max() < 100 else x.clamp(-1, 1)


def through_numpy(x: Tensor) -> Tensor:
    """GELU whose constant is read off the data."""
    return F.gelu(x) * float(x.detach().numel() / max(x.detach().numpy().size, 1))


def approximate_when_compiled(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh" if torch.compiler.is_compiling() else "none")


def approximate_under_functorch(x: Tensor) -> Tensor:
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor(x)
    return F.gelu(x, approximate="tanh" if wrapped else "none")


def knows_the_batch(x: Tensor) -> Tensor:
    """A constant for each row, made for as many rows as it sees when it is traced."""
    return x * torch.ones(int(x.shape[0]) if x.dim() else 1, dtype=x.dtype).mean()


# --- Modules that do not survive ----------------------------------------------------------------------------


class Gate(nn.Module):
    """x·σ(βx), as it should be."""

    def __init__(self, beta: float = 1.25) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.tensor(beta))

    def forward(self, x: Tensor) -> Tensor:
        return (x * torch.sigmoid(self.beta * x)).to(x.dtype)


class GraphOnSelf(Gate):
    """Keeps a tensor with a graph, which cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.doubled = 2 * self.beta


class Closure(Gate):
    """Keeps a lambda that holds the first self for ever: a copy computes with the original's parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.function = lambda x: x * torch.sigmoid(self.beta * x)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class FixedGate(nn.Module):
    """The same with β in a buffer, and a lambda over it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("beta", torch.tensor(1.25))
        self.function = lambda x: x * torch.sigmoid(self.get_buffer("beta") * x)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Shallow(Gate):
    """Copies itself without its parameters."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Shallow:
        twin = type(self)()
        twin.beta = self.beta
        return twin


class Forgetful(Gate):
    """Is rebuilt from its class alone: whatever was learned is gone."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()


class Lambda(Gate):
    """Keeps a lambda that is harmless, but has no name by which pickle could find it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = lambda u: torch.sigmoid(u)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.beta * x)


class Lazy(nn.Module):
    """Makes its parameter in the first forward: a new instance does not know it."""

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "beta"):
            self.beta = nn.Parameter(torch.ones(()))
        return x * torch.sigmoid(self.beta * x)


class Unregistered(nn.Module):
    """Keeps what it learns in a list, which no state_dict holds."""

    def __init__(self) -> None:
        super().__init__()
        self.betas = [torch.ones((), requires_grad=True)]

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.betas[0] * x)


class Cached(Gate):
    """Remembers exp(β) from the first call on."""

    def __init__(self) -> None:
        super().__init__()
        self.cache: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.cache is None:
            self.cache = self.beta.detach().exp()
        return x * torch.sigmoid(self.cache * x)


class ForgetsOnLoading(Gate):
    """Ignores what it is told to load."""

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        return


class ObjectInState(Gate):
    """Saves an object that a safe loader refuses."""

    def get_extra_state(self) -> Any:
        return partial(torch.sigmoid)

    def set_extra_state(self, state: Any) -> None:
        self.function = state


MUTANTS: dict[str, Specimen] = {
    "once_differentiable": Specimen("double-backward", once, None, "warn"),
    "an intermediate result saved": Specimen("double-backward", saves_the_gate, None),
    "backward on .data": Specimen("double-backward", without_graph, None),
    "grad_output detached": Specimen("double-backward", constant_grad_output, None),
    "root saved": Specimen("double-backward", _Root.apply, None),
    "grad_output of a root detached": Specimen("double-backward", _RootOfConstantGrad.apply, None),
    "softplus beyond its threshold": Specimen("double-backward", F.softplus, "softplus(x)", "warn"),
    "old style in forward mode": Specimen("forward-ad", old_style, None, "warn"),
    "custom_op in forward mode": Specimen("forward-ad", custom_op, None),
    "wrong jvp": Specimen("forward-ad", wrong_forward_mode, None),
    "branches on values, vmapped": Specimen("vmap", branches_on_values, None, "warn"),
    "batch dimension ignored": Specimen("vmap", wrong_batch, None),
    "old style under grad": Specimen("functional-grad", old_style, None, "warn"),
    "approximate under functorch": Specimen("functional-grad", approximate_under_functorch, None),
    "branches on values, compiled": Specimen("compile", branches_on_values, None, "warn"),
    "Function with jvp, compiled": Specimen("compile", forward_mode, None, "warn"),
    "approximate when compiled": Specimen("compile", approximate_when_compiled, None),
    "branches on values, exported": Specimen("export", branches_on_values, None, "warn"),
    "fixed batch size": Specimen("export", knows_the_batch, None, "warn"),
    "hand-written backward lost": Specimen("export", straight_through, None, "warn"),
    "approximate when exported": Specimen("export", approximate_when_compiled, None),
    "graph on self": Specimen("deepcopy", GraphOnSelf(), None),
    "closure over self": Specimen("deepcopy", Closure(), None),
    "closure over self with a buffer": Specimen("deepcopy", FixedGate(), None),
    "shallow copy": Specimen("deepcopy", Shallow(), None),
    "rebuilt from its class": Specimen("deepcopy", Forgetful(2.0), None),
    "lambda on self": Specimen("pickle", Lambda(), None, "warn"),
    "pickled without its parameters": Specimen("pickle", Forgetful(2.0), None),
    "parameter made in forward": Specimen("state-dict", Lazy(), None),
    "parameter in a list": Specimen("state-dict", Unregistered(), None),
    "cached value": Specimen("state-dict", Cached(), None),
    "ignores what it loads": Specimen("state-dict", ForgetsOnLoading(), None),
    "object in the state": Specimen("state-dict", ObjectInState(), None, "warn"),
}

# Each check must accept the functions here; the ids are what is rightly found all the same.
SOUND: dict[str, tuple[Callable[[Tensor], Tensor], frozenset[str]]] = {
    "silu": (F.silu, frozenset()),
    "composite": (lambda x: x * torch.sigmoid(x), frozenset()),
    "piecewise linear": (lambda x: torch.where(x > 0, x, 0.1 * x), frozenset()),
    "step": (torch.sign, frozenset()),
    "in place": (nn.SiLU(inplace=True), frozenset()),
    "root": (torch.sqrt, frozenset()),
    "float32 inside": (lambda x: F.mish(x.float()).to(x.dtype), frozenset()),
    "float32 out": (lambda x: F.silu(x.float()), frozenset()),
    "saturated nearly everywhere": (lambda x: 0.01 * torch.tanh(x / 0.01), frozenset()),
    "parameter": (Gate(), frozenset()),
    "channels": (nn.PReLU(3), frozenset()),
    "gated": (nn.GLU(), frozenset()),
    "softmax": (nn.Softmax(-1), frozenset()),
    "network": (nn.Sequential(nn.BatchNorm1d(3), nn.Tanhshrink(), nn.PReLU(3)), frozenset()),
    "Function without forward mode": (new_style, frozenset({"forward-ad"})),
    "Function with forward mode": (forward_mode, frozenset({"compile"})),
}
