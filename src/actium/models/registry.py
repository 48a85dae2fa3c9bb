"""Names for activations of one's own, here and in transformers.

Stage: activation → [register] → layers, swap, transformers. In: a name and an activation. Out: an entry in the table of
names. Changes no model.
"""

from __future__ import annotations

import functools
from typing import Any

from torch import nn

from actium.catalogue import find
from actium.errors import ParameterError
from actium.models.making import REGISTERED, Spec, make, maker


def register(name: str, act: Spec, *, hf: bool = False, replace: bool = False) -> None:
    """Give an activation a name that `swap`, `gain` and the layers of `actium.models` understand.

    With `hf=True`, transformers does too: `hidden_act="name"` in a configuration. Register before the model is made,
    and again before it is loaded: a saved configuration holds the name only.

    Args:
        name: The name; not one of the catalogue's.
        act: The activation, a module's class, or a function without arguments that makes a module.
        hf: Also enter it into `transformers.activations.ACT2FN`.
        replace: Allow a name that is taken.

    Raises:
        ParameterError: If the name is taken, or no identifier; or `act` makes no module.
        ImportError: With `hf=True`, if transformers is not installed.

    Example:
        >>> import actium
        >>> actium.register("mish2", actium.formula("x * tanh(softplus(2 * x))", name="mish2"), replace=True)
        >>> actium.models.MLP([4, 8, 2], "mish2").layers[1]
        mish2()
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise ParameterError(f"{name!r} is no name: letters, digits and _, not starting with a digit")
    if find(name) is not None:
        raise ParameterError(f"{name!r} is an activation of the catalogue; choose another name")
    if name in REGISTERED and REGISTERED[name] is not act and not replace:
        raise ParameterError(f"{name!r} is registered already; choose another name, or replace=True")
    make(act)
    if hf:
        _enter_into_transformers(name, act, replace)
    REGISTERED[name] = act


def _enter_into_transformers(name: str, act: Spec, replace: bool) -> None:
    from transformers.activations import ACT2FN  # pyright: ignore[reportMissingImports]

    if name in ACT2FN and name not in REGISTERED and not replace:
        raise ParameterError(f"{name!r} is an activation of transformers; choose another name, or replace=True")
    # The table calls what it holds with keyword arguments, which there are none of.
    ACT2FN[name] = functools.partial(_made, maker(act))


def _made(build: Any) -> nn.Module:
    return build()


def act_layer(act: Spec) -> type[nn.Module]:
    """A class that makes modules of an activation, for arguments such as timm's `act_layer=`.

    Args:
        act: As for `register`. The classes of `actium.nn` can be given to timm as they are.

    Returns:
        A class whose instances are the modules; it takes `inplace` and ignores what the activation does not know.

    Example:
        >>> import actium
        >>> layer = act_layer(actium.formula("x * tanh(exp(x))", name="tanhexp"))
        >>> layer(inplace=True)
        tanhexp(inplace=True)
    """

    class ActLayer(nn.Module):
        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            return make(act, **kwargs)

    return ActLayer
