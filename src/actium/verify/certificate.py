"""The verdict with its evidence, and how it is written down.

Stage: checks → [certificate] → terminal, JSON, HTML.
In: findings and measurements. Out: frozen records whose JSON form is the schema `actium.certificates/1`.
"""

from __future__ import annotations

import functools
import math
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from actium.errors import RecordError
from actium.verify.records import read

Severity = Literal["fail", "warn", "info"]
Verdict = Literal["pass", "warn", "fail"]
SCHEMA = "actium.certificates/1"
_RANK = {"fail": 0, "warn": 1, "info": 2}


def plain(value: Any) -> Any:
    """A value that strict JSON can hold: non-finite numbers become "nan", "inf" and "-inf".

    Example:
        >>> plain({"got": float("-inf"), "region": (0.5, 1.0)})
        {'got': '-inf', 'region': [0.5, 1.0]}
    """
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


@dataclass(frozen=True)
class Worst:
    """The input at which a finding is worst."""

    x: float
    x_hex: str
    got: float
    expected: float
    ulp: float


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    Attributes:
        check: Id, from `checks.REGISTRY`.
        severity: How bad it is.
        subject: `output`, `gradient`, `parameter:NAME` or `module`.
        dtype: In which format, or None if it does not depend on one.
        device: Where it was computed.
        count: How many inputs (or cases) are affected.
        tested: Of how many.
        worst: The worst input, if it is about inputs.
        region: Smallest and largest input of the contiguous affected region around the worst.
        message: One paragraph for people.
        suggestion: What to do about it.
    """

    check: str
    severity: Severity
    subject: str
    dtype: str | None
    count: int
    tested: int
    message: str
    device: str = "cpu"
    worst: Worst | None = None
    region: tuple[float, float] | None = None
    suggestion: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The finding in the schema's field order."""
        worst = None if self.worst is None else vars(self.worst)
        names = ("check", "severity", "subject", "dtype", "device", "count", "tested")
        return plain(
            {name: getattr(self, name) for name in names}
            | {"worst": worst, "region": self.region, "message": self.message, "suggestion": self.suggestion}
        )

    def __str__(self) -> str:
        lines = [f"{self.severity}  {self.check}  {self.message}"]
        if self.suggestion:
            lines.append(f"      try: {self.suggestion}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Accuracy:
    """The largest error of one quantity in one format.

    Attributes:
        max_ulp: In ULP, conditioned near roots; see `ulp.judged_error`. Infinite if a result was not finite.
        at: The input, or None if nothing could be compared.
        tested: How many inputs were compared.
    """

    max_ulp: float
    at: float | None
    tested: int


@dataclass(frozen=True)
class Certificate:
    """Everything that was found out about one target.

    Attributes:
        profile: The error along the axis and sampled curves, for pictures; `verify/profile.py` describes it. Empty if
            nothing was swept.
    """

    target: str
    formula: str | None
    reference: Literal["ball", "float64"]
    findings: tuple[Finding, ...] = ()
    accuracy: Mapping[str, Mapping[str, Accuracy]] = field(default_factory=dict)
    checks_run: tuple[str, ...] = ()
    checks_not_run: Mapping[str, str] = field(default_factory=dict)
    same_as: tuple[str, ...] = ()
    properties: Mapping[str, Any] = field(default_factory=dict)
    saved_bytes_per_element: Mapping[str, float] = field(default_factory=dict)
    profile: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """The worst severity found; `info` alone is a pass."""
        found = {f.severity for f in self.findings}
        return "fail" if "fail" in found else "warn" if "warn" in found else "pass"

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong: there may be warnings."""
        return self.verdict != "fail"

    def of(self, check: str) -> tuple[Finding, ...]:
        """The findings of one check."""
        return tuple(f for f in self.findings if f.check == check)

    def to_json(self) -> dict[str, Any]:
        """The object of the schema, ready for `json.dumps(…, allow_nan=False)`."""
        accuracy = {d: {q: vars(a) for q, a in rows.items()} for d, rows in self.accuracy.items()}
        return {
            "target": self.target,
            "verdict": self.verdict,
            "formula": self.formula,
            "reference": self.reference,
            "findings": [f.to_json() for f in self.findings],
            "accuracy": plain(accuracy),
            "checks_run": list(self.checks_run),
            "checks_not_run": dict(self.checks_not_run),
            "same_as": list(self.same_as),
            "properties": plain(dict(self.properties)),
            "saved_bytes_per_element": plain(dict(self.saved_bytes_per_element)),
            "profile": plain(dict(self.profile)),
        }

    @classmethod
    def from_json(cls, value: Any) -> Certificate:
        """The certificate of an object that `to_json` made; `properties` stay as JSON has them.

        Args:
            value: The object.

        Returns:
            The certificate; its `to_json` gives the same object again.

        Raises:
            RecordError: If it is not such an object.

        Example:
            >>> certificate = Certificate("silu", "x * sigmoid(x)", "ball", checks_run=("dtype-leak",))
            >>> Certificate.from_json(certificate.to_json()) == certificate
            True
        """
        made = read(cls, value, derived=frozenset({"verdict"}))
        if value.get("verdict", made.verdict) != made.verdict:
            raise RecordError(f"verdict: the findings make it {made.verdict!r}, got {value['verdict']!r}")
        return made

    def __str__(self) -> str:
        lines = [f"{self.target}: {self.verdict}"]
        if self.formula is not None:
            lines.append(f"  formula   {self.formula}")
        lines.append(f"  reference {self.reference}")
        for dtype, rows in self.accuracy.items():
            parts = [f"{q} {a.max_ulp:.3g} ULP at {a.at!r}" for q, a in rows.items() if a.at is not None]
            lines.append(f"  {dtype:9} {', '.join(parts) or 'nothing to compare'}")
        lines += [f"  {line}" for f in sort_findings(self.findings) for line in str(f).splitlines()]
        lines.append(f"  {len(self.checks_run)} checks run, {len(self.checks_not_run)} not run")
        reasons: dict[str, list[str]] = {}
        for check, reason in self.checks_not_run.items():
            reasons.setdefault(reason, []).append(check)
        lines += [f"  not run ({reason}): {', '.join(checks)}" for reason, checks in reasons.items()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from actium.report.html import fragment

        return fragment(self)


def sort_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The worst first; otherwise in the order found."""
    return tuple(sorted(findings, key=lambda f: _RANK[f.severity]))


@functools.lru_cache(maxsize=1)
def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # Not Linux; the standard library knows a coarser name.
    return platform.processor() or platform.machine()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("actium")
    except PackageNotFoundError:
        return "not installed"


def environment(kernels: str | None = None) -> dict[str, Any]:
    """What the results may depend on.

    Args:
        kernels: Which kernels the judged code used, in words; the checker itself does not know.

    Returns:
        A dict for the `environment` block of the schema.
    """
    import torch  # Here, so that certificates can be read and shown without it.

    return {
        "actium": _version(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "kernels": kernels,
    }


def document(certificates: Iterable[Certificate], environment: Mapping[str, Any]) -> dict[str, Any]:
    """The whole JSON object: schema, environment and certificates."""
    return {
        "schema": SCHEMA,
        "environment": plain(dict(environment)),
        "certificates": [c.to_json() for c in certificates],
    }
