"""Write an activation function once; get a fused, half-precision-safe, proven PyTorch op.

The names below are loaded when they are first used, so that `import actium` and the command line need not wait for
torch. Every activation of the catalogue is a name of this package: `actium.mish(x)`; its module is in `actium.nn`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from actium import errors as errors
    from actium import models as models
    from actium import nn as nn
    from actium.authoring import activation as activation
    from actium.authoring import formula as formula
    from actium.checking import check as check
    from actium.define import Activation as Activation
    from actium.gated import GatedActivation as GatedActivation
    from actium.gated import glu as glu
    from actium.models import gain as gain
    from actium.models import init_ as init_
    from actium.models import monitor as monitor
    from actium.models import param_groups as param_groups
    from actium.models import register as register
    from actium.models import swap as swap
    from actium.module import ActivationModule as ActivationModule
    from actium.symbolic.parameters import Parameter as Parameter
    from actium.symbolic.parameters import learnable as learnable

    # One line for each entry of the catalogue; a test compares.
    bounded_silu: Activation
    brelu: Activation
    celu: Activation
    clipped_relu: Activation
    custom_smooth: Activation
    elu: Activation
    gelu: Activation
    gelu_tanh: Activation
    hard_clip: Activation
    hardshrink: Activation
    hardsigmoid: Activation
    hardswish: Activation
    hardtanh: Activation
    identity: Activation
    isrlu: Activation
    isru: Activation
    leaky_relu: Activation
    learnable_leaky: Activation
    logsigmoid: Activation
    mish: Activation
    parametric_leaky: Activation
    polynomial: Activation
    prelu: Activation
    relu: Activation
    relu6: Activation
    relu_sigmoid: Activation
    rrelu: Activation
    scaled_activation: Activation
    scaled_sigmoid: Activation
    selu: Activation
    sigmoid: Activation
    sigmoid_neg_abs: Activation
    silu: Activation
    soft_clip: Activation
    soft_exponential: Activation
    softplus: Activation
    softplus_clip: Activation
    softshrink: Activation
    softsign: Activation
    square_relu: Activation
    srelu: Activation
    swish: Activation
    tanh: Activation
    tanh_clip: Activation
    tanh_exp: Activation
    tanhshrink: Activation
    threshold: Activation

_MODULES = frozenset({"errors", "nn", "catalogue", "models"})
_HOMES = {
    "Activation": "actium.define",
    "ActivationModule": "actium.module",
    "GatedActivation": "actium.gated",
    "Parameter": "actium.symbolic.parameters",
    "activation": "actium.authoring",
    "check": "actium.checking",
    "formula": "actium.authoring",
    "glu": "actium.gated",
    "gain": "actium.models",
    "init_": "actium.models",
    "learnable": "actium.symbolic.parameters",
    "monitor": "actium.models",
    "param_groups": "actium.models",
    "register": "actium.models",
    "swap": "actium.models",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _HOMES:
        found = getattr(importlib.import_module(_HOMES[name]), name)
    elif name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    else:
        from actium.catalogue import ENTRIES

        name_of = ENTRIES.aliases.get(name, name)
        if name_of not in ENTRIES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = ENTRIES[name_of].activation()
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    from actium.catalogue import ENTRIES

    return sorted({"__version__", *_MODULES, *_HOMES, *ENTRIES})
