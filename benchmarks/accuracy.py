"""Accuracy of torch.nn's functions and of actium's, against ball arithmetic.

Every float16 and bfloat16 number, and a sample over all exponents of float32; output and gradient; finite inputs. The
error is in units in the last place of the exact value, floored at the smallest normal number. Counted beside it: inputs
whose result is 0 although the exact one is a normal number, and non-finite results of finite exact ones.
Run: `python benchmarks/accuracy.py`.
"""

from __future__ import annotations

import torch
from common import command_line, save

import actium

FUNCTIONS = {
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "silu": "SiLU",
    "gelu": "GELU",
    "mish": "Mish",
    "elu": "ELU",
    "softplus": "Softplus",
    "softsign": "Softsign",
    "logsigmoid": "LogSigmoid",
    "tanhshrink": "Tanhshrink",
    "hardswish": "Hardswish",
}
DTYPES = ("float16", "bfloat16", "float32")


def row(target: str) -> dict[str, object]:
    """Largest errors and counts of one target."""
    certificate = actium.check(target).to_json()
    found: dict[str, object] = {"target": target, "verdict": certificate["verdict"]}
    for dtype in DTYPES:
        for subject in ("output", "gradient"):
            found[f"{dtype} {subject} ulp"] = certificate["accuracy"][dtype][subject]["max_ulp"]
    for finding in certificate["findings"]:
        key = f"{finding['dtype']} {finding['check']}"
        if finding["check"].startswith(("false-zero", "non-finite")):
            found[key] = finding["count"]
    return found


def short(value: object) -> str:
    """A number in few characters."""
    if isinstance(value, str):
        return value
    return f"{value:.2f}" if value < 100 else f"{value:.1e}"


def main() -> None:
    command_line(__doc__).parse_args()
    torch.set_num_threads(2)
    rows = []
    head = "".join(f"{d[:2] + d[-2:]} {s[:4]:>5} " for d in ("fp16", "bf16", "fp32") for s in ("output", "grad"))
    print(f"{'target':24}{'':8}{head}")
    for name, reference in FUNCTIONS.items():
        for target in (f"torch.nn:{reference}", name):
            found = row(target)
            rows.append(found)
            cells = "".join(f"{short(found[f'{d} {s} ulp']):>10} " for d in DTYPES for s in ("output", "gradient"))
            counts = ", ".join(f"{k} {v}" for k, v in found.items() if "false" in k or "non-finite" in k)
            print(f"{target:24}{found['verdict']:8}{cells} {counts}")
    save("accuracy", rows)


if __name__ == "__main__":
    main()
