"""PyTorch's own activations: never a fail, and their real weaknesses by number."""

from __future__ import annotations

import functools

import pytest
from torch import nn

from actium.checking import check
from actium.verify.certificate import Certificate, Finding

MODULES: dict[str, nn.Module] = {
    "Threshold": nn.Threshold(0.1, 20.0),
    "ReLU": nn.ReLU(),
    "ReLU in place": nn.ReLU(inplace=True),
    "RReLU": nn.RReLU(),
    "Hardtanh": nn.Hardtanh(),
    "ReLU6": nn.ReLU6(),
    "Sigmoid": nn.Sigmoid(),
    "Hardsigmoid": nn.Hardsigmoid(),
    "Tanh": nn.Tanh(),
    "SiLU": nn.SiLU(),
    "Mish": nn.Mish(),
    "Hardswish": nn.Hardswish(),
    "ELU": nn.ELU(),
    "CELU": nn.CELU(),
    "SELU": nn.SELU(),
    "GLU": nn.GLU(),
    "GELU": nn.GELU(),
    "GELU tanh": nn.GELU(approximate="tanh"),
    "Hardshrink": nn.Hardshrink(),
    "LeakyReLU": nn.LeakyReLU(),
    "LogSigmoid": nn.LogSigmoid(),
    "Softplus": nn.Softplus(),
    "Softshrink": nn.Softshrink(),
    "PReLU": nn.PReLU(),
    "PReLU 3": nn.PReLU(3),
    "PReLU 8": nn.PReLU(8),
    "Softsign": nn.Softsign(),
    "Tanhshrink": nn.Tanhshrink(),
    "Softmin": nn.Softmin(dim=-1),
    "Softmax": nn.Softmax(dim=-1),
    "Softmax2d": nn.Softmax2d(),
    "LogSoftmax": nn.LogSoftmax(dim=-1),
}


@functools.cache
def certificate_of(name: str) -> Certificate:
    return check(MODULES[name], name=name)


@pytest.mark.parametrize("name", MODULES)
def test_none_of_them_fails(name: str):
    certificate = certificate_of(name)
    assert certificate.passed, str(certificate)
    assert all(f.suggestion for f in certificate.findings if f.severity == "warn")


def found(name: str, check_id: str, subject: str, dtype: str) -> Finding:
    (finding,) = [f for f in certificate_of(name).of(check_id) if (f.subject, f.dtype) == (subject, dtype)]
    return finding


# Measured before this checker existed, by sweeps that share no code with it.
WEAKNESSES = (
    ("GELU", "false-zero", "output", "float32"),  # 0 below -5.54
    ("GELU", "precision-loss", "output", "bfloat16"),
    ("GELU tanh", "non-finite-gradient", "gradient", "bfloat16"),  # NaN on 16,384 inputs
    ("Sigmoid", "false-zero-gradient", "gradient", "float16"),  # s(1 - s) from 8.32
    ("Tanh", "false-zero-gradient", "gradient", "bfloat16"),  # from 3.47
    ("SiLU", "false-zero", "output", "bfloat16"),  # below -88.7
    ("Tanhshrink", "false-zero", "output", "bfloat16"),  # x - tanh(x): 9,728 inputs
    ("Softsign", "false-zero-gradient", "gradient", "bfloat16"),  # 14,056 inputs
    ("Hardswish", "non-finite-output", "output", "bfloat16"),  # from 5.7e37
)


@pytest.mark.parametrize(("name", "check_id", "subject", "dtype"), WEAKNESSES)
def test_a_known_weakness_shows_as_a_warning(name: str, check_id: str, subject: str, dtype: str):
    assert found(name, check_id, subject, dtype).severity == "warn"


def test_the_counts_are_those_of_independent_sweeps():
    assert found("GELU tanh", "non-finite-gradient", "gradient", "bfloat16").count == 16_384
    assert found("Tanhshrink", "false-zero", "output", "bfloat16").count == 9_728
    assert found("Softsign", "false-zero-gradient", "gradient", "bfloat16").count == 14_056
    tanh = found("Tanh", "false-zero-gradient", "gradient", "float16").region
    assert tanh is not None
    assert tanh[1] == -4.5078125  # the exact slope is a normal float16 down to x = -5.54
