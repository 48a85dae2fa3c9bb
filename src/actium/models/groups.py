"""Groups for an optimizer that keep activation parameters out of weight decay.

Stage: model → [groups] → optimizer. In: a model. Out: a list of dicts. Makes no optimizer, changes no parameter.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from actium.errors import ParameterError
from actium.models.making import clean, is_activation


def param_groups(
    model: nn.Module,
    weight_decay: float,
    *,
    activation_lr: float | None = None,
    activations: tuple[type[nn.Module], ...] = (),
) -> list[dict[str, Any]]:
    """Split a model's parameters for an optimizer, so that weight decay leaves activations alone.

    Decay pulls a learned slope or threshold towards 0, which is not a neutral value for it: at a clip's threshold of 0
    the function is constant. Three groups, empty ones left out:

    - `weights`: everything with two or more dimensions; decayed;
    - `norms and biases`: everything else with at most one dimension; not decayed;
    - `activations`: whatever belongs to an activation module, of any shape; not decayed.

    Args:
        model: The model, before or after DDP, FSDP2 or `torch.compile` (FSDP1 flattens parameters: call this before).
        weight_decay: For the first group; 0 or more.
        activation_lr: A learning rate for the activations' group; the optimizer's own if not given.
        activations: Classes of your own to treat as activations, besides those of actium, `torch.nn`, transformers
            and timm.

    Returns:
        Groups with `params`, `weight_decay`, `name` and `param_names`. A shared parameter is in one group only, once;
        if any of its owners is an activation, in that of the activations. Frozen parameters are left out.

    Raises:
        ParameterError: If `weight_decay` is negative or not a number.

    Example:
        >>> import torch, actium
        >>> model = nn.Sequential(nn.Linear(4, 8), actium.nn.PReLU(8), nn.Linear(8, 2))
        >>> [(g["name"], g["weight_decay"], g["param_names"]) for g in actium.param_groups(model, 0.1)]
        [('weights', 0.1, ['0.weight', '2.weight']), ('norms and biases', 0.0, ['0.bias', '2.bias']), \
('activations', 0.0, ['1.weight'])]
        >>> optimizer = torch.optim.AdamW(actium.param_groups(model, 0.1), lr=1e-3)
    """
    if isinstance(weight_decay, bool) or not isinstance(weight_decay, int | float) or not weight_decay >= 0:
        raise ParameterError(f"weight_decay must be a number of 0 or more, got {weight_decay!r}")
    owned = {id(p) for m in model.modules() if is_activation(m, activations) for p in m.parameters()}
    groups: dict[str, dict[str, Any]] = {
        "weights": {"weight_decay": float(weight_decay)},
        "norms and biases": {"weight_decay": 0.0},
        "activations": {"weight_decay": 0.0},
    }
    if activation_lr is not None:
        groups["activations"]["lr"] = activation_lr
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        kind = "activations" if id(p) in owned else "weights" if p.dim() > 1 else "norms and biases"
        groups[kind].setdefault("params", []).append(p)
        groups[kind].setdefault("param_names", []).append(clean(name))
    return [{"name": name, **group} for name, group in groups.items() if "params" in group]
