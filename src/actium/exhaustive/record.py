"""A certificate in a few lines that can be kept beside the code, and whether a build still holds to it.

Stage: certificate → [record] ↔ build.
In: a certificate over all inputs, and the function. Out: plain data: the largest errors with their inputs, counts, and
digests of the bits that the function computes for all halves and for a sample of float32. Comparing digests takes
milliseconds; where another compiler or processor gives other bits, the sample is judged again by balls.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from actium.exhaustive.certify import trust
from actium.verify.certificate import Certificate, plain
from actium.verify.encodings import HALVES, finite_encodings, format_of, hex_text
from actium.verify.oracle import Oracle
from actium.verify.subject import Result, Runner, Subject
from actium.verify.sweep import curvature
from actium.verify.ulp import judged_error

SAMPLE = 1 << 16
_JUDGED = 1 << 11
_BUILD = ("compiler", "flags", "cpu", "cpu_capability", "torch", "python")


def compact(certificate: Certificate, subject: Subject) -> dict[str, Any]:
    """The record of a certificate over all inputs.

    Args:
        certificate: From `check_full`.
        subject: What it is about.

    Returns:
        Plain data for JSON.
    """
    facts = dict(certificate.properties["exhaustive"])
    trusted = facts.pop("trust")
    accuracy = {
        dtype: {
            name: {"max_ulp": a.max_ulp, "at": None if a.at is None else hex_text(a.at), "tested": a.tested}
            for name, a in rows.items()
        }
        for dtype, rows in certificate.accuracy.items()
    }
    findings = [
        {name: getattr(f, name) for name in ("check", "severity", "subject", "dtype", "count", "tested")}
        for f in certificate.findings
        if f.severity != "info"
    ]
    return plain(
        {
            "target": certificate.target,
            "formula": certificate.formula,
            "parameters": dict(subject.parameters),
            "verdict": certificate.verdict,
            "accuracy": accuracy,
            "findings": findings,
            "float32": facts,
            "digests": digests(subject),
            "trust": trusted,
        }
    )


def sample(dtype: torch.dtype) -> Tensor:
    """The inputs of a digest: all finite halves, or 2^16 float32 numbers spread over all encodings."""
    if dtype in HALVES:
        return finite_encodings(dtype)
    spread = (np.arange(SAMPLE, dtype=np.uint64) * 65_537 % (1 << 32)).astype(np.uint32)
    values = torch.from_numpy(spread.view(np.float32))
    return values[torch.isfinite(values)]


def digests(subject: Subject) -> dict[str, dict[str, str]]:
    """Digests of output and gradient, by format."""
    runner = Runner(subject)
    runner.find_layout()
    found: dict[str, dict[str, str]] = {}
    for dtype in (*HALVES, torch.float32):
        result = runner.run(sample(dtype))
        found[format_of(dtype).name] = {name: _digest(values) for name, values in _parts(result).items()}
    return found


def _parts(result: Result) -> dict[str, Tensor]:
    both = {"output": result.output, "gradient": result.gradient}
    return {name: values for name, values in both.items() if values is not None}


def _digest(values: Tensor) -> str:
    return hashlib.sha256(values.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()[:32]


def differences(record: Mapping[str, Any], subject: Subject) -> list[str]:
    """In what a build does not hold to a record; nothing if it does.

    Args:
        record: From `compact`.
        subject: The function as it is now.

    Returns:
        Sentences. Other bits on the machine of the record are a difference; on another they are judged by their errors.
    """
    now = digests(subject)
    other = [f"{d} {n}" for d, rows in record["digests"].items() for n, v in rows.items() if now[d].get(n) != v]
    if not other:
        return []
    here = trust(subject)
    if all(here[name] == record["trust"][name] for name in _BUILD):
        return [f"{record['target']}: other bits than certified, on the same machine: {', '.join(other)}"]
    return [text for dtype in record["digests"] for text in _beyond(record, subject, dtype)]


def _beyond(record: Mapping[str, Any], subject: Subject, dtype: str) -> list[str]:
    """Where a part of the sample is further off than was certified."""
    assert subject.formula is not None
    fmt = format_of(dtype)
    inputs = sample(fmt.dtype)
    inputs = inputs[:: max(1, len(inputs) // _JUDGED)].sort().values
    runner = Runner(subject)
    runner.find_layout()
    result = runner.run(inputs)
    x = inputs.double().numpy()
    table = Oracle(subject.formula, subject.parameters).table(x)
    smooth = np.where(table.slope_low == table.slope_high, table.slope, np.nan)
    with np.errstate(invalid="ignore", over="ignore"):
        sensitivity = {"output": np.nan_to_num(np.abs(x * smooth), posinf=0.0), "gradient": curvature(x, smooth)}
    found = []
    for name, values in _parts(result).items():
        exact = table.value if name == "output" else smooth
        error = judged_error(values.double().reshape(-1).numpy(), exact, sensitivity[name], fmt)
        # Another build may round otherwise: half a unit more is no other function.
        allowed = max(float(record["accuracy"][dtype][name]["max_ulp"]) + 0.5, 1.0)
        wrong = ~(error <= allowed) & ~np.isnan(exact)
        if wrong.any():
            at = int(np.argmax(np.where(wrong, np.nan_to_num(error, nan=np.inf), -1.0)))
            found.append(
                f"{record['target']} {name}, {dtype}: {error[at]:.3g} ULP at {hex_text(float(x[at]))}, "
                f"certified {record['accuracy'][dtype][name]['max_ulp']:.3g}"
            )
    return found
