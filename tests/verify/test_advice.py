"""What a finding advises to do is tried before it is said."""

import pytest
import torch

import actium
from actium.symbolic.parse import parse
from actium.verify.run import check
from actium.verify.subject import Subject

FORMULA = parse("log(1 + exp(x))")


def naive(x: torch.Tensor) -> torch.Tensor:
    return torch.log(1 + torch.exp(x))


def advised(certificate) -> list[str]:
    numeric = [f for f in certificate.findings if f.check in ("non-finite-output", "non-finite-gradient")]
    assert numeric
    return [f.suggestion for f in numeric]


def test_eject_is_advised_where_it_helps():
    assert all("actium eject" in text for text in advised(actium.check("log(1 + exp(x))", dtypes=["float16"])))


def test_it_is_not_advised_where_no_rewrite_helps():
    certificate = actium.check("(1 - cos(x)) / x / x", dtypes=["float16"])
    assert not any("actium eject" in (f.suggestion or "") for f in certificate.findings)


def _fails(x: torch.Tensor) -> torch.Tensor:
    raise ValueError("no")


@pytest.mark.parametrize("replacement", [None, naive, _fails, lambda x: torch.nn.functional.softplus(x.float())])
def test_a_replacement_is_advised_only_if_it_is_right(replacement):
    make = None if replacement is None else lambda: replacement
    certificate = check(Subject("naive", naive, FORMULA, ejected=make), dtypes=["float16"], only=["non-finite-output"])
    right = replacement is not None and replacement not in (naive, _fails)
    assert ["actium eject" in text for text in advised(certificate)] == [right]
