"""The package's face: names that load when used, and nothing heavy before."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import actium
from actium.catalogue import ENTRIES

HEAVY = ("torch", "numpy", "flint", "rich", "typer", "jinja2")
EXTRAS = ("sklearn", "scipy", "optuna", "sqlalchemy", "psycopg", "PIL")


def loaded_by(statement):
    code = f"import sys\n{statement}\nprint(*(m for m in {HEAVY + EXTRAS!r} if m in sys.modules))"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_by("import actium, actium.errors; actium.__version__") == []
    assert set(loaded_by("import actium; dir(actium)")) <= {"numpy"}


def test_the_package_and_its_command_line_load_no_extra():
    assert set(loaded_by("import actium.cli, actium.train, actium.nn; actium.check")) & set(EXTRAS) == set()


def test_that_test_would_notice_an_extra():
    assert "optuna" in loaded_by("import actium.train.extras as e; e.need('optuna', 'a test')")


def test_that_test_would_notice_torch():
    assert "torch" in loaded_by("import actium; actium.mish")


def test_every_public_name_resolves():
    for name in dir(actium):
        assert getattr(actium, name) is not None
    assert {"activation", "formula", "learnable", "Activation", "check", "nn", "errors"} <= set(dir(actium))
    assert set(ENTRIES) <= set(dir(actium))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="mush"):
        _ = actium.mush
    assert not hasattr(actium, "__wrapped__")


def test_the_names_that_type_checkers_see_are_those_of_the_catalogue():
    text = Path(actium.__file__).read_text(encoding="utf-8")
    declared = re.findall(r"^    (\w+): Activation$", text, re.MULTILINE)
    assert sorted(declared) == sorted(ENTRIES)


def test_names_are_the_same_object_every_time():
    assert actium.mish is actium.mish is ENTRIES["mish"].activation() is actium.well_documented


TORCH = [e for e in ENTRIES.values() if e.torch_name]


@pytest.mark.parametrize("entry", TORCH, ids=lambda e: e.name)
def test_functions_have_the_signature_of_torch(entry):
    ours = inspect.signature(getattr(actium, entry.name)).parameters
    try:
        theirs = inspect.signature(getattr(F, entry.torch_name)).parameters.values()
    except ValueError:  # a builtin; its documentation has the arguments
        line = getattr(F, entry.torch_name).__doc__.strip().splitlines()[0]
        names = [part.split("=")[0].strip() for part in line[line.index("(") + 1 : line.index(")")].split(",")]
    else:
        names = [p.name for p in theirs]
        for p in theirs:
            if p.default is not inspect.Parameter.empty and (entry.name, p.name) != ("softplus", "threshold"):
                assert ours[p.name].default == p.default
    assert list(ours)[: len(names)] == names


CALLS = [
    ("hardtanh", (-0.5, 0.25, False)),
    ("leaky_relu", (0.2, False)),
    ("elu", (0.5, False)),
    ("threshold", (0.1, 20.0, False)),
    ("softplus", (2.0, 20.0)),
    ("relu", (False,)),
    ("silu", (False,)),
    ("rrelu", (0.1, 0.3, False, False)),
    ("hardshrink", (0.7,)),
    ("softshrink", (0.7,)),
    ("celu", (0.7, False)),
]


@pytest.mark.parametrize(("name", "args"), CALLS, ids=[c[0] for c in CALLS])
def test_functions_take_the_positional_arguments_of_torch(name, args):
    x = torch.linspace(-3, 3, 101)
    torch.testing.assert_close(getattr(actium, name)(x, *args), getattr(F, name)(x, *args))
    torch.testing.assert_close(getattr(actium, name)(input=x), getattr(F, name)(x) if name != "threshold" else x.relu())


def test_inplace_is_the_last_positional_argument():
    x = torch.linspace(-3, 3, 101)
    assert actium.leaky_relu(x, 0.2, True) is x
