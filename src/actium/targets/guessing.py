"""Sensible values for arguments that nobody gave.

Stage: parameters of a constructor or function → [guesses] → found.
In: what `inspect` knows of the arguments without default. Out: a few sets of values to try in order, by the name and
annotation of each. The certificate says what was guessed, so a reader can judge whether it makes sense.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args, get_origin

from torch import nn

from actium.errors import TargetError

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

# The size of everything that counts features. The layouts that the checker tries have it too.
CHANNELS = 8

# First match wins, on the whole name in lower case. Several values: the next is tried where the first does not work.
_NAMES: tuple[tuple[str, tuple[Any, ...]], ...] = (
    # A second tensor, data or a name of something: no value makes sense.
    (r"y|other|others|target|targets|label|labels|mask|gate|gates|query|key|value_tensor|context|residual|skip", ()),
    (r"name|path|file|filename|config|cfg|args|device|dtype|parent|model|generator|optimizer|state", ()),
    (r"act(ivation)?(_?(fn|func|function|layer|module|type|cls|class))?|non_?linearity|fn|func|function|base|inner", (
        nn.ReLU(), nn.ReLU, "relu",
    )),
    (r"activations|functions|modules|layers|acts", ([nn.ReLU(), nn.Tanh()],)),
    (r"normalized_shape|shape|input_shape|in_shape|size|param_shape|parameters?_shape", ((CHANNELS,), CHANNELS)),
    (r"dim|axis", (CHANNELS, -1, 1)),
    (r"\w*(kernel_size|kernel|window)", (3,)),
    (r"(num_)?(groups|pieces|pools?|units|heads|splits|experts|knots|terms|order|degree|n|k|m|p_order)|pool_size", (
        2, 4,
    )),
    (r"\w*(features|channels|neurons|planes|embed\w*|hidden\w*|width|inp|oup|d_model|c1|c2|nf|ch|units)", (CHANNELS,)),
    (r"(num|n|nb)_\w+|\w*(count|size|length|dim|dims)", (CHANNELS, 2)),
    (r"(\w+_)?(eps|epsilon|tol)", (1e-5,)),
    (r"(\w+_)?(min|low|lower|left|minimum|lo|min_val(ue)?|a_min)(_\w+)?", (-1.0,)),
    (r"(\w+_)?(max|high|upper|right|maximum|hi|cap|ceil\w*|bound|limit|max_val(ue)?|clip)(_\w+)?", (1.0,)),
    (r"(\w+_)?(inplace|bias|learnable|trainable|train(ing)?|use_\w+|is_\w+)", (False,)),
    (r"(\w+_)?(alpha|beta|gamma|delta|theta|lambda?|lambd|mu|nu|rho|tau|sigma|omega|phi|psi|zeta|eta)\d*", (0.5,)),
    (r"(\w+_)?(slope|scale|threshold|weight|rate|factor|coef\w*|val(ue)?|shift|offset|p|prob|temp\w*)\d*", (0.5, 2)),
    (r"[a-z]\d?", (0.5, 2, CHANNELS)),
)  # fmt: skip
_ANYTHING: tuple[Any, ...] = (0.5, CHANNELS, 2)


def guesses(needed: Sequence[inspect.Parameter], target: str) -> Iterator[dict[str, Any]]:
    """Sets of values, the most sensible first.

    Raises:
        TargetError: If an argument is of a kind for which no value makes sense.
    """
    values = {p.name: _values(p) for p in needed}
    hopeless = [p.name for p in needed if not values[p.name]]
    if hopeless:
        every = ", ".join(f"{p.name}=…" for p in needed)
        raise TargetError(
            f"{target} needs arguments: {', '.join(values)}; nothing sensible is known for {', '.join(hopeless)}. "
            f"Give them as literals: {target}({every})"
        )
    for turn in range(max(map(len, values.values()))):
        yield {name: options[min(turn, len(options) - 1)] for name, options in values.items()}


def _values(parameter: inspect.Parameter) -> tuple[Any, ...]:
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        return ()
    annotation = parameter.annotation
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    kind = _kind(annotation)
    if kind == "none":
        return ()
    named = next((v for pattern, v in _NAMES if re.fullmatch(pattern, parameter.name.lower())), None)
    if kind == "bool":
        return (False,)
    if kind in ("int", "float"):
        numbers = tuple(v for v in named or () if isinstance(v, int | float) and not isinstance(v, bool))
        fitting = tuple(v for v in numbers if isinstance(v, int)) if kind == "int" else tuple(map(float, numbers))
        return fitting or ((2,) if kind == "int" else (0.5,))
    return _ANYTHING if named is None else named


def _kind(annotation: Any) -> str:
    """What an annotation says: bool, int, float, none (a kind that cannot be guessed) or nothing."""
    if annotation is inspect.Parameter.empty:
        return "any"
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    words = set(re.findall(r"\w+", text))
    for kind in ("float", "int", "bool"):
        if kind in words and not words & {"tuple", "Tuple", "list", "List", "Sequence", "Tensor"}:
            return kind
    return "none" if words & {"Tensor", "str", "dict", "Dict", "Path", "ndarray"} else "any"
