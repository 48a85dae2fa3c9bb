"""Calls of activation functions inside a model's forward: found, and replaced, while the model runs.

Stage: model → [functional] → swap, init. In: modules. Out: hooks, and a record of each place that calls one.
PyTorch's `TorchFunctionMode` sees every call of `F.relu(x)`, `torch.relu(x)` and `x.relu()`. It is on only inside the
forward of the modules that were handed over, of each by itself, so that activation checkpointing, which runs a part
of a model again, sees the same functions.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from actium.catalogue import ENTRIES
from actium.errors import SwapError

# Files between a call and what is told of it.
_BETWEEN = frozenset(
    [__file__, *(str(Path(torch.__file__).parent / f) for f in ("nn/functional.py", "overrides.py", "_tensor.py"))]
)


@functools.cache
def functions_of(name: str) -> dict[Callable[..., Any], bool]:
    """Every function of PyTorch that computes an entry, and whether it works in place by its name."""
    found: dict[Callable[..., Any], bool] = {}
    for space in (F, torch, Tensor, torch.special):
        for label, inplace in ((name, False), (f"{name}_", True)):
            function = getattr(space, label, None)
            if callable(function):
                found[function] = inplace
    if name == "sigmoid":
        found[torch.special.expit] = False
    return found


@functools.cache
def entry_of_function() -> dict[Callable[..., Any], str]:
    """Function of PyTorch → name of the entry."""
    return {f: e.name for e in ENTRIES.values() if e.torch_name for f in functions_of(e.torch_name)}


@dataclass(frozen=True)
class Call:
    """A place that calls a function.

    Attributes:
        module: Path of the module in whose forward it is.
        function: Its name, such as `relu`.
        where: File and line.
    """

    module: str
    function: str
    where: str


class Interceptor:
    """Hooks on modules between which calls of chosen functions go to a handler.

    Args:
        functions: Which functions.
        handle: Called with the function, its arguments and the call's place, outside the interception; what it
            returns is the result.

    A copy (`copy.deepcopy`, pickle) of a hooked model has a copy of this.
    """

    def __init__(
        self,
        functions: Iterable[Callable[..., Any]],
        handle: Callable[[Any, tuple[Any, ...], dict[str, Any], Call], Any],
    ) -> None:
        self.functions = frozenset(functions)
        self.handle = handle
        self._handles: list[Any] = []
        self._local = threading.local()

    def attach(self, model: nn.Module, skip: Iterable[nn.Module] = ()) -> None:
        """Put hooks on every module; inside those of `skip` nothing is intercepted."""
        suspended = {id(m) for m in skip}
        for name, module in model.named_modules():
            path = None if id(module) in suspended else name
            self._handles.append(module.register_forward_pre_hook(_Enter(self, path), prepend=True))
            self._handles.append(module.register_forward_hook(_Leave(self), always_call=True))

    def detach(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    @property
    def _stack(self) -> list[tuple[str | None, _Mode | None]]:
        if not hasattr(self._local, "stack"):
            self._local.stack = []
        return self._local.stack

    def enter(self, path: str | None) -> None:
        """A forward begins; `path` is None where nothing is to be intercepted."""
        if "torch._dynamo" in sys.modules:
            _keep_compiler_out()
        stack = self._stack
        quiet = bool(stack) and stack[-1][0] is None
        if path is None or quiet:
            stack.append((None, None))
            return
        mode = _Mode(self) if not stack else None
        if mode is not None:
            mode.__enter__()
        stack.append((path, mode))

    def leave(self) -> None:
        """A forward has ended, or failed."""
        stack = self._stack
        if stack:
            mode = stack.pop()[1]
            if mode is not None:
                mode.__exit__(None, None, None)

    def perform(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a call gives, inside the interception."""
        stack = self._stack
        path = stack[-1][0] if stack else None
        if path is None or function not in self.functions:
            return function(*args, **kwargs)
        return self.handle(function, args, kwargs, Call(path, function.__name__, _caller()))

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_local"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _local=threading.local())


# What to call while something is compiled. Making it needs the compiler, which takes seconds to load; whoever compiles
# has loaded it before a forward begins.
_untraced: list[Callable[..., Any]] = [Interceptor.perform]


def _keep_compiler_out() -> None:
    if _untraced[0] is Interceptor.perform:
        _untraced[0] = torch.compiler.disable(Interceptor.perform)


class _Mode(TorchFunctionMode):
    def __init__(self, interceptor: Interceptor) -> None:
        super().__init__()
        self.interceptor = interceptor

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.compiler.is_dynamo_compiling():  # the model runs with breaks in its graph, of which this is one
            return _untraced[0](self.interceptor, func, args, kwargs or {})
        return self.interceptor.perform(func, args, kwargs or {})


@dataclass
class _Enter:
    interceptor: Interceptor
    path: str | None

    def __call__(self, module: nn.Module, args: Any) -> None:
        if torch.compiler.is_compiling():
            raise SwapError(
                "functional calls that were replaced by swap are seen when the model runs, not when it is compiled or "
                "exported: write the call as a module (self.act = nn.ReLU()), or leave it with functional=False"
            )
        self.interceptor.enter(self.path)


@dataclass
class _Leave:
    interceptor: Interceptor

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        self.interceptor.leave()


def _caller() -> str:
    """File and line of the call."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename in _BETWEEN:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
