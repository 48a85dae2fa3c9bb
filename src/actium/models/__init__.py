"""Activations inside a model: layers with them, initialisation for them, swapping, watching and naming them.

Stage: Activation, nn.Module → [models] → training. In: models. Out: models, groups for optimizers, records.
Layers live here and not in `actium.nn`, whose names are those of the catalogue: a layer takes any activation, so it
stands above them.
"""

from __future__ import annotations

from actium.errors import QuadratureError, ShapeError, SwapError
from actium.models.callbacks import hf_callback, lightning_callback
from actium.models.gains import Moments, gain, moments
from actium.models.groups import param_groups
from actium.models.init import InitReport, init_
from actium.models.layers import MLP, ClipCNN, NormActivation, activation_stats
from actium.models.monitoring import Monitor, monitor
from actium.models.registry import act_layer, register
from actium.models.swapping import Site, SwapReport, swap

__all__ = [
    "MLP",
    "ClipCNN",
    "InitReport",
    "Moments",
    "Monitor",
    "NormActivation",
    "QuadratureError",
    "ShapeError",
    "Site",
    "SwapError",
    "SwapReport",
    "act_layer",
    "activation_stats",
    "gain",
    "hf_callback",
    "init_",
    "lightning_callback",
    "moments",
    "monitor",
    "param_groups",
    "register",
    "swap",
]
