"""Replace activations in a model: modules, and calls of functions in its forwards.

Stage: model → [swap] → the same model. In: a model, what to replace and with what. Out: a report that lists every
place and can undo it. Rewrites no source code: functional calls are replaced while the model runs (functional.py).
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

import actium.nn
from actium.catalogue.build import CatalogueActivation
from actium.define import Activation
from actium.errors import ParameterError, SwapError
from actium.gated_module import GatedModule
from actium.models.functional import Call, Interceptor, entry_of_function, functions_of
from actium.models.init import run_sample
from actium.models.making import (
    Spec,
    accepted,
    clean,
    function_of,
    is_compiled,
    make,
    maker,
    name_of,
    named_activations,
    torch_classes,
)

Old = type[nn.Module] | tuple[type[nn.Module], ...] | str | Callable[..., Any]

# Where a module keeps its hooks. The dicts are handed on as they are, so that a handle's remove() still finds them.
_HOOKS = (
    "_backward_hooks",
    "_backward_pre_hooks",
    "_forward_hooks",
    "_forward_hooks_always_called",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_is_full_backward_hook",
)


@dataclass(frozen=True)
class Site:
    """One place that was replaced.

    Attributes:
        kind: "module", or "function" for a call in a forward.
        module: Path of the module; of a call, of the module in whose forward it is.
        old: What was there.
        new: What is there now.
        where: File and line of a call, "" for a module.
    """

    kind: Literal["module", "function"]
    module: str
    old: str
    new: str
    where: str = ""

    def __str__(self) -> str:
        return f"{self.module or 'the model'}: {self.old} → {self.new}" + (f" at {self.where}" if self.where else "")


@dataclass
class SwapReport:
    """What `swap` did; a context manager that undoes it at the end.

    Attributes:
        sites: Every place, modules first; calls of functions are added when they first run.
        notes: What to know.
    """

    sites: list[Site] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _undo: list[Callable[[], None]] = field(default_factory=list, repr=False)

    def undo(self) -> None:
        """Put everything back as it was. Parameters that the old and new modules share keep what they learned."""
        while self._undo:
            self._undo.pop()()

    def __enter__(self) -> SwapReport:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()

    def __str__(self) -> str:
        return "\n".join([*map(str, self.sites), *self.notes]) or "nothing was replaced so far"


def swap(
    model: nn.Module, old: Old, new: Spec, *, functional: bool = True, sample: Any = None, **parameters: Any
) -> SwapReport:
    """Replace activations throughout a model, in place.

    A new module takes over the old one's training mode, hooks, device and dtype, and every parameter of the same name
    and shape (the very object, so that an optimizer keeps its state). Between a class of `torch.nn` and the entry of
    the same name the arguments are kept too; otherwise only `inplace`. A module in several places stays one module.

    Calls of functions are replaced while the model runs: hooks switch a `TorchFunctionMode` on inside its forwards. It
    sees `F.relu(x)`, `torch.relu(x)`, `x.relu()` and their in-place forms (which then copy), also under activation
    checkpointing, DDP and `copy.deepcopy`; it does not see scripted code, C++ extensions, a method of the model
    that is called by itself without its forward, or the model under `torch.compile` and `torch.export`, where it
    raises instead of computing the old function.

    Args:
        model: The model.
        old: What to replace: a class (that class exactly: ReLU6 is not a Hardtanh here) or several; a function such as
            `F.relu`, for calls only; a pattern of module paths, such as "layer1.*.relu"; or a predicate of
            (path, module).
        new: What to put there: an activation, a name of the catalogue, a class, a module (each place gets a copy), or a
            function without arguments that makes one.
        functional: Whether a class also stands for the calls of its function.
        sample: An input (or a tuple or dict of arguments) to run once, as at evaluation, so that the report lists calls
            of functions at once.
        **parameters: Arguments for the constructor of each new module.

    Returns:
        The report; `report.undo()`, or a `with` block, puts everything back.

    Raises:
        SwapError: If nothing matches, the model itself is what is to be replaced, or a gated unit cannot have the new
            function.
        ParameterError: If `new` or `old` is none of the above.

    Example:
        >>> import actium
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 2), nn.ReLU())
        >>> with actium.swap(model, nn.ReLU, actium.mish) as report:
        ...     print(report)
        1: ReLU → Mish
        3: ReLU → Mish
        >>> model[1]
        ReLU(inplace=True)
    """
    report = SwapReport()
    matches, functions = _matcher(old, functional)
    try:
        made = _replace_modules(model, matches, new, parameters, report)
        if functions:
            _replace_calls(model, functions, new, parameters, made, report)
            if sample is not None:
                run_sample(model, sample)
        if not report.sites and (not functions or sample is not None):
            known = sorted({type(m).__name__ for _, m in named_activations(model)})
            raise SwapError(
                f"nothing in the model matches {name_of(old)}; its activation modules are: {', '.join(known) or 'none'}"
            )
    except BaseException:
        report.undo()
        raise
    return report


def _matcher(old: Old, functional: bool) -> tuple[Callable[[str, nn.Module], bool], dict[Callable[..., Any], bool]]:
    """A predicate of (path, module), and the functions whose calls count."""
    if isinstance(old, str):
        return lambda path, _: fnmatch.fnmatchcase(path, old), {}
    if isinstance(old, type):
        old = (old,)
    if isinstance(old, tuple):
        if not old or not all(isinstance(c, type) and issubclass(c, nn.Module) for c in old):
            raise ParameterError(f"what to replace must be classes of modules, got {old!r}")
        classes = frozenset(old)
        functions: dict[Callable[..., Any], bool] = {}
        for name in (_function_name(c) for c in old if functional):
            functions |= functions_of(name) if name else {}
        return lambda _, module: type(module) in classes, functions
    if old in entry_of_function():
        known = functions_of(entry_of_function()[old])
        return lambda *_: False, known
    if isinstance(old, Activation) or not callable(old):
        raise ParameterError(
            f"what to replace is a class, a function of PyTorch, a pattern or a predicate, got {old!r}"
        )
    return lambda path, module: bool(old(path, module)), {}


def _function_name(cls: type[nn.Module]) -> str | None:
    entry = torch_classes().get(cls)
    return entry.torch_name if entry is not None else None


# --- Modules --------------------------------------------------------------------------------------------------


def _replace_modules(
    model: nn.Module,
    matches: Callable[[str, nn.Module], bool],
    new: Spec,
    parameters: dict[str, Any],
    report: SwapReport,
) -> list[nn.Module]:
    made: dict[int, nn.Module] = {}
    for path, module in list(model.named_modules(remove_duplicate=False)):
        if not matches(clean(path), module) or id(module) in {id(m) for m in made.values()}:
            continue
        parent_path, _, name = path.rpartition(".")
        if not path or path.endswith("_orig_mod"):
            raise SwapError(
                f"the model itself is a {type(module).__name__}, with nothing around it: use the new module"
            )
        parent = model.get_submodule(parent_path)
        if parent._modules.get(name) is not module:
            continue  # inside something already replaced
        if id(module) not in made:
            made[id(module)] = _successor(module, new, parameters, model, parent)
        fresh = made[id(module)]
        try:
            report._undo.append(_put(parent, name, module, fresh))
        except ParameterError as error:  # a gated unit that cannot have this function
            raise SwapError(f"{clean(path)}: {error}") from None
        report.sites.append(Site("module", clean(path), type(module).__name__, fresh._get_name()))
    return list(made.values())


def _successor(old: nn.Module, new: Spec, parameters: dict[str, Any], model: nn.Module, parent: nn.Module) -> nn.Module:
    arguments: dict[str, Any] = {"inplace": getattr(old, "inplace", False)}
    build = maker(new)
    if getattr(build, "__name__", "") == type(old).__name__:  # nn.LeakyReLU(0.2) → actium.nn.LeakyReLU(0.2)
        plain = int | float | str | bool
        arguments |= {k: v for k in accepted(build) if isinstance(v := getattr(old, k, None), plain)}
    _refuse_unknown(parameters, build, new)
    fresh = make(new, **(arguments | parameters))
    like = next((t for m in (old, parent, model) for t in m.parameters() if t.is_floating_point()), None)
    if like is not None:
        fresh.to(device=like.device, dtype=like.dtype)
    for name, parameter in old.named_parameters(recurse=False):
        mine = fresh._parameters.get(name)
        if mine is not None and mine.shape == parameter.shape:
            fresh._parameters[name] = parameter
    fresh.train(old.training)
    for name in _HOOKS:
        if name in old.__dict__:
            fresh.__dict__[name] = old.__dict__[name]
    return fresh


def _refuse_unknown(parameters: dict[str, Any], build: Callable[..., nn.Module], new: Spec) -> None:
    known = accepted(build)
    unknown = [n for n in parameters if n not in known and "values" not in known]
    if unknown:
        raise ParameterError(
            f"{name_of(new)} takes no {unknown[0]!r}; it takes: {', '.join(sorted(known)) or 'nothing'}"
        )


def _put(parent: nn.Module, name: str, old: nn.Module, fresh: nn.Module) -> Callable[[], None]:
    """Put a module in its place; returns what puts the old one back."""
    _assign(parent, name, fresh)
    # TransformerEncoderLayer remembers at construction that its activation is ReLU or GELU, and then computes that one
    # in its fast path, whatever module is there.
    flag = parent.__dict__.get("activation_relu_or_gelu")
    if flag is not None:
        parent.activation_relu_or_gelu = 0  # type: ignore[assignment]

    def restore() -> None:
        if parent._modules.get(name) is fresh:  # else somebody has replaced it since
            old.train(fresh.training)
            _assign(parent, name, old)
        if flag is not None:
            parent.activation_relu_or_gelu = flag

    return restore


def _assign(parent: nn.Module, name: str, child: nn.Module) -> None:
    if isinstance(parent, GatedModule):
        setattr(parent, name, child)  # it makes its unit of the new function, or says that it cannot
    else:
        parent._modules[name] = child


# --- Calls of functions -------------------------------------------------------------------------------------------


class _Replacement:
    """Handles intercepted calls; picklable with the model."""

    def __init__(
        self, functions: dict[Callable[..., Any], bool], new: Spec, parameters: dict[str, Any], sites: list[Site]
    ) -> None:
        self.functions, self.new, self.parameters, self.sites = functions, new, parameters, sites
        self.function: Callable[..., Tensor] | None = None
        self.known: set[Call] = set()

    def __call__(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], call: Call) -> Any:
        if call not in self.known:
            self._record(call)
        assert self.function is not None
        x, *rest = args if args else (kwargs["input"],)
        inplace = self.functions[function] or bool(kwargs.get("inplace", False)) or _asks_inplace(function, rest)
        given = {k: v for k, v in kwargs.items() if k not in ("input", "inplace")}
        same = isinstance(self.function, CatalogueActivation) and (
            self.function.entry.name == entry_of_function()[function]
        )
        extra = (rest, given) if same else ((), {})
        if not inplace:
            return self.function(x, *extra[0], **extra[1])
        if extra[0] and isinstance(extra[0][-1], bool):
            extra = (extra[0][:-1], extra[1])
        # The code may use x itself afterwards, and a gradient may need what x was.
        return x.copy_(self.function(x.clone(), *extra[0], **extra[1]))

    def _record(self, call: Call) -> None:
        try:
            if self.function is None:
                self.function = function_of(self.new) if not self.parameters else make(self.new, **self.parameters)
        except ParameterError as error:
            raise SwapError(
                f"{call.module or 'the model'} calls {call.function} at {call.where}: {error}; write it as a module, "
                "or leave it as it is with functional=False"
            ) from None
        self.known.add(call)
        self.sites.append(Site("function", clean(call.module), call.function, name_of(self.new), call.where))


def _asks_inplace(function: Any, rest: list[Any]) -> bool:
    """Whether the last positional argument is `inplace=True`, as the functions of `torch.nn.functional` take it."""
    return bool(rest) and rest[-1] is True and getattr(function, "__module__", "") == "torch.nn.functional"


def _replace_calls(
    model: nn.Module,
    functions: dict[Callable[..., Any], bool],
    new: Spec,
    parameters: dict[str, Any],
    made: list[nn.Module],
    report: SwapReport,
) -> None:
    interceptor = Interceptor(functions, _Replacement(functions, new, parameters, report.sites))
    ours = [m for m in model.modules() if isinstance(m, actium.nn.CatalogueModule)]
    interceptor.attach(model, skip=[*made, *ours])
    report._undo.append(interceptor.detach)
    compiled = any(is_compiled(m) for m in model.modules())
    if compiled:
        report.notes.append("the model is compiled: calls of functions are not replaced there, they raise")
