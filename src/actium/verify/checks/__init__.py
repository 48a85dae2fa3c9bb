"""The vocabulary of certificates: every check id, what it finds, and whether this version runs it.

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
        implemented: Whether this version runs it.
    """

    family: Family
    severity: Literal["fail", "warn", "info"]
    finds: str
    implemented: bool = False


REGISTRY: dict[str, Check] = {
    "non-finite-output": Check("numerics", "fail", "NaN or inf where the exact value is finite in the dtype", True),
    "false-zero": Check("numerics", "warn", "0 where the exact value is a normal number", True),
    "precision-loss": Check("numerics", "warn", "an error above the budget", True),
    "nan-policy": Check("numerics", "warn", "a swallowed NaN, or f(±inf) that is not the limit", True),
    "non-finite-gradient": Check("gradients", "fail", "NaN or inf where the exact derivative is finite", True),
    "false-zero-gradient": Check("gradients", "warn", "gradient 0 where the exact one is a normal number", True),
    "masked-branch": Check("gradients", "fail", "a NaN gradient that leaks from an unselected branch", True),
    "wrong-gradient": Check("gradients", "fail", "a gradient that is not the derivative", True),
    "invalid-subgradient": Check("gradients", "warn", "a gradient at a kink outside the one-sided slopes", True),
    "wrong-parameter-gradient": Check("parameters", "fail", "a parameter gradient that is not the derivative"),
    "dead-parameter": Check("parameters", "fail", "a parameter whose gradient is None or 0 where it should not be"),
    "ineffective-parameter": Check("parameters", "warn", "a parameter that changes nothing but rounding noise"),
    "degenerate-parameter": Check("parameters", "warn", "a parameter value that makes the function NaN or constant"),
    "domain-violation": Check("parameters", "fail", "a region of inputs and parameters where the result is NaN"),
    "parameter-gradient-overflow": Check("parameters", "fail", "overflow in the reduction of a parameter gradient"),
    "unregistered-parameter": Check("parameters", "fail", "a parameter that the optimiser never sees"),
    "unregistered-constant": Check("parameters", "warn", "a tensor that `.to()` and `state_dict` never see"),
    "dtype-leak": Check("contract", "fail", "an output dtype that is not the input's", True),
    "autocast-inside": Check("contract", "warn", "autocast set inside the function, over the caller's setting"),
    "shape-change": Check("contract", "fail", "an output shape that is not the input's", True),
    "channel-axis": Check("contract", "fail", "per-channel parameters on the wrong axis"),
    "batch-coupling": Check("contract", "fail", "a row whose output depends on the other rows", True),
    "input-mutated": Check("contract", "fail", "an input tensor that was changed", True),
    "in-place": Check("contract", "fail", "an in-place variant that breaks leaves, residuals or saved tensors"),
    "constructor": Check("contract", "warn", "constructor arguments that are accepted and break later"),
    "duplicate": Check("identity", "info", "equals a known function", True),
    "claim": Check("identity", "fail", "a declared property that does not hold"),
    "dead-zone": Check("identity", "info", "the share of inputs without gradient, and output caps"),
    "double-backward": Check("composition", "fail", "second derivatives"),
    "forward-ad": Check("composition", "fail", "forward-mode derivatives"),
    "vmap": Check("composition", "fail", "torch.func.vmap"),
    "functional-grad": Check("composition", "fail", "torch.func.grad"),
    "compile": Check("composition", "fail", "torch.compile(fullgraph=True)"),
    "export": Check("composition", "fail", "torch.export"),
    "deepcopy": Check("composition", "fail", "copy.deepcopy"),
    "pickle": Check("composition", "fail", "pickle"),
    "state-dict": Check("composition", "fail", "a state_dict round trip"),
}

NOT_IMPLEMENTED = "not implemented in this version"
NOT_ASKED = "not asked for"
