"""Two files whose folders have modules of one name never get each other's."""

from __future__ import annotations

from pathlib import Path

import pytest

from actium.errors import TargetError
from actium.targets import resolve

pytestmark = pytest.mark.usefixtures("modules")


def folder(path: Path, number: float, code: str = "from helper_of_two import K") -> Path:
    path.mkdir()
    (path / "helper_of_two.py").write_text(f"K = {number}\n")
    (path / "act_of_two.py").write_text(f"{code}\ndef f(x):\n    return K * x\n")
    return path / "act_of_two.py"


def test_the_module_of_another_folder_is_refused_not_used(tmp_path: Path):
    old, new = folder(tmp_path / "old", 1.0), folder(tmp_path / "new", 2.0)
    assert resolve(f"{old}:f").value(1.0) == 1.0
    with pytest.raises(TargetError, match=r"needs the module 'helper_of_two' of .*new.*taken by .*old"):
        resolve(f"{new}:f")
    assert resolve(f"{old}:f").value(1.0) == 1.0  # The same folder again is no other one.


@pytest.mark.parametrize(
    "code",
    [
        "import helper_of_two as h; K = h.K",
        "import importlib; K = importlib.import_module('helper_of_two').K",
        "from between_of_two import K",
        "from part_of_two.inside import K",
        "K = 2.0\ndef g(x):\n    from helper_of_two import K\n    return K * x",
    ],
)
def test_an_import_of_any_form_is_seen(tmp_path: Path, code: str):
    resolve(f"{folder(tmp_path / 'old', 1.0)}:f")
    new = folder(tmp_path / "new", 2.0, code)
    (new.parent / "between_of_two.py").write_text("from helper_of_two import K\n")
    (new.parent / "part_of_two").mkdir()
    (new.parent / "part_of_two" / "inside.py").write_text("from helper_of_two import K\n")
    with pytest.raises(TargetError, match="helper_of_two"):
        resolve(f"{new}:f")


def test_a_package_of_another_folder_is_refused(tmp_path: Path):
    places = []
    for name, number in (("old", 1.0), ("new", 2.0)):
        place = folder(tmp_path / name, 0.0, "from part_of_two.inside import K")
        (place.parent / "part_of_two").mkdir()
        (place.parent / "part_of_two" / "inside.py").write_text(f"K = {number}\n")
        places.append(place)
    assert resolve(f"{places[0]}:f").value(1.0) == 1.0
    with pytest.raises(TargetError, match="part_of_two"):
        resolve(f"{places[1]}:f")


@pytest.mark.parametrize(("first", "second"), [("", "below"), ("below", "")])
def test_one_folder_may_be_in_the_other(tmp_path: Path, first: str, second: str):
    folder(tmp_path / "outer", 1.0)
    folder(tmp_path / "outer" / "below", 2.0)
    resolve(f"{tmp_path / 'outer' / first / 'act_of_two.py'}:f")
    with pytest.raises(TargetError, match="helper_of_two"):
        resolve(f"{tmp_path / 'outer' / second / 'act_of_two.py'}:f")


def test_what_is_not_imported_or_is_the_same_file_is_no_mixture(tmp_path: Path):
    resolve(f"{folder(tmp_path / 'old', 1.0)}:f")
    assert resolve(f"{folder(tmp_path / 'alone', 0.0, 'K = 3.0')}:f").value(1.0) == 3.0
    linked = folder(tmp_path / "linked", 0.0)
    linked.with_name("helper_of_two.py").unlink()
    linked.with_name("helper_of_two.py").symlink_to(tmp_path / "old" / "helper_of_two.py")
    assert resolve(f"{linked}:f").value(1.0) == 1.0


def test_an_installed_module_stays_what_it_is(tmp_path: Path):
    place = folder(tmp_path / "own", 0.0, "import torch\nK = 4.0")
    (place.parent / "torch.py").write_text("")
    assert resolve(f"{place}:f").value(1.0) == 4.0


def test_a_module_here_is_not_one_of_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    resolve(f"{folder(tmp_path / 'old', 1.0)}:f")
    folder(tmp_path / "new", 2.0, "K = 2.0")
    monkeypatch.chdir(tmp_path / "new")
    with pytest.raises(TargetError, match=r"taken by .*old"):
        resolve("act_of_two:f")


def test_a_file_that_imports_from_its_package_is_told_its_name(tmp_path):
    folder = tmp_path / "kit" / "sub"
    folder.mkdir(parents=True)
    for place in (tmp_path / "kit", folder):
        (place / "__init__.py").touch()
    (folder / "acts.py").write_text("from .other import gate\n")
    with pytest.raises(TargetError, match=rf"kit\.sub\.acts:NAME, from the folder {tmp_path}"):
        resolve(f"{folder / 'acts.py'}:gate")
