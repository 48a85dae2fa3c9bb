"""Declared properties and dead zones: what is false is found, what is true is accepted."""

from __future__ import annotations

import copy
import pickle
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from identity_mutants import MUTANTS, SOUND, Declared

import actium
from actium import cli
from actium.catalogue import ENTRIES
from actium.errors import CheckError
from actium.symbolic.parse import parse
from actium.verify import Certificate, Subject, check
from actium.verify.case import Case
from actium.verify.certificate import Finding
from actium.verify.checks import properties
from actium.verify.claims import PROPERTIES, claims_of, claims_of_texts
from actium.verify.oracle import Oracle
from actium.verify.reference import Float64Reference
from actium.verify.subject import Runner

IDS = ("claim", "dead-zone")


def properties_of(call, text: str | None, claims) -> tuple[list[Finding], dict[str, str]]:
    """What the check finds, and what became of each claim, without sweeping anything."""
    runner = Runner(Subject("target", call, None if text is None else parse(text), claims=claims))
    reference = Float64Reference(runner.converted(torch.float64)) if text is None else Oracle(parse(text))
    case = Case(runner, reference)
    assert runner.find_layout() is None
    found = list(properties.claim(case))
    return found, case.facts.get("claims", {})


def judge(call, text: str | None = None, claims=None, dtypes=("float16",)) -> Certificate:
    subject = Subject("target", call, None if text is None else parse(text), claims=claims or {})
    return check(subject, dtypes=dtypes, only=IDS)


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_rejected_and_the_finding_says_why(name: str) -> None:
    mutant: Declared = MUTANTS[name]
    if mutant.check == "dead-zone" or "nonzero_gradient" in mutant.claims:
        found = judge(mutant.call, mutant.formula, mutant.claims).of(mutant.check)
    else:
        found, _ = properties_of(mutant.call, mutant.formula, mutant.claims)
    (found,) = found
    assert found.severity == mutant.severity
    assert mutant.says in found.message
    assert found.suggestion


@pytest.mark.parametrize("name", SOUND)
def test_what_is_true_is_accepted(name: str) -> None:
    call, text, claims = SOUND[name]
    found, states = properties_of(call, text, claims)
    assert not found, found
    assert len(states) == sum(v is not False for v in claims.values())
    if text is None:
        assert {s for s in states.values() if s != "proven"} <= {"open: not refuted by measurement"}
    elif name != "cosine bump":
        assert set(states.values()) == {"proven"}


def test_a_gradient_that_is_never_0_is_not_refuted() -> None:
    certificate = judge(lambda x: 1.0 * x, "x", {"nonzero_gradient": True})
    assert not certificate.of("claim")
    assert "claim" in certificate.checks_run
    assert certificate.properties["claims"] == {"nonzero_gradient": "open: not refuted on any tested input"}


def test_what_is_proven_in_a_window_only_stays_open() -> None:
    _, states = properties_of(torch.cos, "cos(x)", {"range": [-1, 1]})
    assert states == {"range=[-1, 1]": "open: proven on (-16, 16) only"}


def test_every_property_is_refuted_by_some_mutant() -> None:
    claimed = {name for m in MUTANTS.values() for name in m.claims}
    assert set(PROPERTIES) <= claimed


def test_without_declared_properties_the_check_does_not_run_and_says_so() -> None:
    certificate = judge(F.silu, "silu(x)")
    assert certificate.checks_not_run["claim"] == "no property is declared"
    assert "claim" not in certificate.checks_run


@pytest.mark.parametrize(("call", "text"), [(torch.tanh, "tanh(x)"), (F.mish, None), (F.leaky_relu, "leaky_relu(x)")])
def test_a_gradient_that_fades_or_leaks_or_is_0_at_a_minimum_is_no_dead_zone(call, text) -> None:
    assert not judge(call, text, dtypes=("bfloat16",)).of("dead-zone")


def test_the_certificate_holds_the_main_statements_of_the_proof() -> None:
    shown = judge(F.relu6, "relu6(x)").to_json()["properties"]["proof"]
    assert shown["range"] == {"low": 0.0, "high": 6.0}
    assert shown["kinks"] == [0.0, 6.0]
    assert shown["monotone"] == "increasing"
    assert judge(F.relu).properties.get("proof") is None


# --- Where claims come from ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["silu", "relu6", "tanh", "soft_clip", "elu", "sigmoid_neg_abs", "threshold"])
def test_catalogue_entries_are_held_to_what_they_declare(name: str) -> None:
    states = actium.check(name, only=IDS, dtypes=("float16",)).properties["claims"]
    assert "kinks" in " ".join(states)
    assert set(states.values()) == {"proven"}
    assert len(states) == len(claims_of(ENTRIES[name].claims()))


def test_declarations_hold_for_the_default_values_only() -> None:
    certificate = actium.check("hardtanh(-2.0, 3.0)", only=IDS, dtypes=("float16",))
    assert certificate.checks_not_run["claim"] == "no property is declared"


def test_an_attribute_declares_for_functions_classes_and_modules() -> None:
    def plain(x):
        return x * torch.sigmoid(x)

    class Module(torch.nn.Module):
        __actium_claims__: ClassVar = {"odd": True}

        def forward(self, x):
            return plain(x)

    plain.__actium_claims__ = {"range": (-0.25, 1e9)}
    for target, says in ((plain, "range"), (Module(), "odd")):
        (found,) = actium.check(target, only=IDS, dtypes=("float16",)).of("claim")
        assert f"declared {says}" in found.message


def test_an_activation_declares_where_it_is_made() -> None:
    def plain(x, slope=actium.learnable(0.5)):
        return torch.where(x < 0, slope * x, x)

    plain.__actium_claims__ = {"monotone": "increasing"}
    made = actium.activation(plain, claims={"odd": True})
    assert made.claims == {"monotone": "increasing", "odd": True}
    for target in (made, made.module(), pickle.loads(pickle.dumps(made)), copy.deepcopy(made.module())):
        certificate = actium.check(target, only=IDS, dtypes=("float16",))
        (found,) = certificate.of("claim")
        assert "declared odd" in found.message
        states = certificate.properties["claims"]
        assert states["monotone=increasing"] == "proven"
        assert states["odd"].startswith("refuted")
    other = actium.check(made.module(slope=1.0), only=IDS, dtypes=("float16",))
    assert other.checks_not_run["claim"] == "no property is declared"


def test_a_file_may_declare_where_it_defines(tmp_path: Path) -> None:
    code = 'import actium\nhalf = actium.formula("max(x, 0) / 2", claims={"range": "[0, 1)"})\n'
    (tmp_path / "declares_a_range.py").write_text(code)
    (found,) = actium.check(f"{tmp_path}/declares_a_range.py:half", only=IDS, dtypes=("float16",)).of("claim")
    assert "declared range" in found.message


@pytest.mark.parametrize("claims", [{"colour": True}, {"lipschitz": -1}, {"range": "wide"}, ["odd"]])
def test_what_cannot_be_declared_is_refused_at_once(claims: Any) -> None:
    with pytest.raises(CheckError):
        actium.formula("tanh(x)", claims=claims)
    with pytest.raises(CheckError):
        actium.activation(claims=claims)(torch.tanh)


def test_a_broken_attribute_is_a_finding_and_no_crash() -> None:
    class Hostile(torch.nn.Module):
        def forward(self, x):
            return torch.relu(x)

    module = Hostile()
    module.__actium_claims__ = 3
    (found,) = actium.check(module, only=IDS, dtypes=("float16",)).of("claim")
    assert "mapping" in found.message


def test_the_caller_may_claim_too() -> None:
    certificate = actium.check("silu", claims={"lipschitz": 1.0}, only=IDS, dtypes=("float16",))
    (found,) = certificate.of("claim")
    assert "1.0998" in found.message
    with pytest.raises(CheckError, match="known are range"):
        actium.check("silu", claims={"colour": True})


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        ({"range": [0]}, "claim range"),
        ({"range": "0..1"}, "claim range"),
        ({"range": [0, float("nan")]}, "claim range"),
        ({"lipschitz": -1}, "claim lipschitz"),
        ({"lipschitz": True}, "claim lipschitz"),
        ({"monotone": "up"}, "claim monotone"),
        ({"odd": "yes"}, "claim odd"),
        ({"kinks": 0.5}, "claim kinks"),
        ({"monoton": True}, "did you mean monotone"),
        ([("odd", True)], "mapping"),
    ],
)
def test_a_malformed_claim_is_refused_with_what_is_expected(claims, says: str) -> None:
    with pytest.raises(CheckError, match=says):
        claims_of(claims)


def test_claims_are_read_from_the_command_line() -> None:
    given = claims_of_texts(["odd", "range=[0, 1)", "kinks=[0, 6]", "lipschitz = 1.5", "nonzero-gradient"])
    assert [str(c) for c in claims_of(given)] == [
        "odd",
        "range=[0, 1)",
        "kinks=(0.0, 6.0)",
        "lipschitz=1.5",
        "nonzero_gradient",
    ]
    for text in ("", "=1", "odd=no", "range"):
        with pytest.raises(CheckError):
            claims_of_texts([text])


@pytest.mark.usefixtures("server")
def test_the_command_line_holds_a_target_to_claims(monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    def run(*claims: str) -> tuple[int, str, str]:
        options = ["--check", "claim", "--dtype", "bfloat16", *(part for c in claims for part in ("--claim", c))]
        monkeypatch.setattr(sys, "argv", ["actium", "check", "tanh", *options])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return int(stopped.value.code or 0), *capfd.readouterr()

    assert run("range=(-1, 1)", "odd")[0] == 0
    code, out, _ = run("range=[0, 1]", "odd")
    assert code == 1
    assert "declared range=[0, 1]" in " ".join(out.split())
    code, _, err = run("round")
    assert code == 2
    assert "no property is called 'round'" in err
