"""The vocabulary of certificates: every check id, and what it finds.

Stage: sweep → [checks] → certificate.
Each family file holds functions that take a `Case` and give findings. Severity means the same for everybody's code,
PyTorch's own included:

- `fail`: wrong, and a user's training can break. A non-finite result where the exact one is finite, for an input that
  a float16 preactivation can hold (|x| ≤ 65,504); an error of more than 1/16 (halves) or 1/1024 (float32) of
  max(|exact|, |x|, 1) there, or of max(|exact|, 1) for a gradient; a gradient that is not the derivative; an output
  of another dtype or shape; a modified input.
- `warn`: worse than it could be. The same beyond 65,504, and smaller errors above the budget: 1 ULP for halves
  (computing in float32 and rounding once gives 0.5), 4 ULP for float32; a zero where the exact result is normal.
- `info`: worth knowing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["numerics", "gradients", "parameters", "contract", "identity", "composition"]


@dataclass(frozen=True)
class Check:
    """A check id.

    Attributes:
        family: The file in which it lives.
        severity: What its findings usually are.
        finds: What it finds, in one line.
    """

    family: Family
    severity: Literal["fail", "warn", "info"]
    finds: str


REGISTRY: dict[str, Check] = {
    "non-finite-output": Check("numerics", "fail", "NaN or inf where the exact value is finite in the dtype"),
    "false-zero": Check("numerics", "warn", "0 where the exact value is a normal number"),
    "precision-loss": Check("numerics", "warn", "an error above the budget"),
    "nan-policy": Check("numerics", "warn", "a swallowed NaN, or f(±inf) that is not the limit"),
    "non-finite-gradient": Check("gradients", "fail", "NaN or inf where the exact derivative is finite"),
    "false-zero-gradient": Check("gradients", "warn", "gradient 0 where the exact one is a normal number"),
    "masked-branch": Check("gradients", "fail", "a NaN gradient that leaks from an unselected branch"),
    "wrong-gradient": Check("gradients", "fail", "a gradient that is not the derivative"),
    "invalid-subgradient": Check("gradients", "warn", "a gradient at a kink outside the one-sided slopes"),
    "wrong-parameter-gradient": Check("parameters", "fail", "a parameter gradient that is not the derivative"),
    "dead-parameter": Check("parameters", "fail", "a gradient that is None or 0 where it should not be"),
    "ineffective-parameter": Check("parameters", "warn", "a parameter that changes nothing but rounding noise"),
    "degenerate-parameter": Check("parameters", "warn", "a value that makes the function NaN or constant"),
    "domain-violation": Check("parameters", "fail", "a region of inputs and parameters where the result is NaN"),
    "parameter-gradient-overflow": Check("parameters", "fail", "NaN or inf in a parameter's gradient or sum"),
    "unregistered-parameter": Check("parameters", "fail", "a parameter that the optimiser never sees"),
    "unregistered-constant": Check("parameters", "warn", "a tensor that `.to()` and `state_dict` never see"),
    "dtype-leak": Check("contract", "fail", "an output dtype that is not the input's"),
    "autocast-inside": Check("contract", "warn", "autocast set inside the function, over the caller's setting"),
    "shape-change": Check("contract", "fail", "an output shape that is not the input's"),
    "channel-axis": Check("contract", "fail", "per-channel parameters on the wrong axis"),
    "batch-coupling": Check("contract", "fail", "a row whose output depends on the other rows"),
    "input-mutated": Check("contract", "fail", "an input tensor that was changed"),
    "in-place": Check("contract", "fail", "an in-place variant that breaks leaves, residuals or saved tensors"),
    "constructor": Check("contract", "warn", "constructor arguments that are accepted and break later"),
    "duplicate": Check("identity", "info", "equals a known function"),
    "claim": Check("identity", "fail", "a declared property that does not hold"),
    "dead-zone": Check("identity", "info", "the share of inputs without gradient, and output caps"),
    "double-backward": Check("composition", "fail", "a second derivative that is not that of the backward pass"),
    "forward-ad": Check("composition", "warn", "torch.func.jvp that raises, or differs from the backward pass"),
    "vmap": Check("composition", "warn", "torch.func.vmap that raises, or differs from a loop"),
    "functional-grad": Check("composition", "warn", "torch.func.grad that raises, or differs from autograd"),
    "compile": Check("composition", "warn", "torch.compile(fullgraph=True) that raises, or changes results"),
    "export": Check("composition", "warn", "torch.export that raises, or changes results"),
    "deepcopy": Check("composition", "fail", "a copy that fails, differs, or shares its parameters"),
    "pickle": Check("composition", "warn", "a saved and loaded module that fails, or differs"),
    "state-dict": Check("composition", "fail", "a state_dict that does not restore the outputs"),
}

NOT_ASKED = "not asked for"
