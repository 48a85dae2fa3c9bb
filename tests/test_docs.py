"""The pages say what is so: the places that they name exist, the checks are those that run, the counts add up."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

import actium
from actium.verify.checks import REGISTRY

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "actium"
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
# Names of files that stand for the reader's own.
PLACEHOLDERS = {"my_model.py", "path.py"}
# docs/design.md says that there are none of these, and why.
ABSENT = {"formula/", "activation.py"}

PATH = re.compile(r"(?P<path>\.?[\w-][\w./-]*)(?::(?P<name>\*|[A-Za-z_][\w.-]*))?")
FILE = re.compile(r".*\.(py|md|h|c|json|toml|txt|yml|yaml|html)")
MACHINE_PATH = re.compile(r"(?<![\w.])(/(home|work|root|Users|tmp)/\w|[A-Za-z]:\\\w)")


# --- Places ----------------------------------------------------------------------------------------------------


def words_of_code(text: str) -> set[str]:
    """What stands in backticks, in blocks of code and in the targets of links, word by word."""
    blocks = re.findall(r"^```.*?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    spans = [*blocks, *re.findall(r"`([^`]+)`", rest), *re.findall(r"\]\(([^)#]+)", rest)]
    return {word.strip(",;()\"'") for span in spans for word in span.split()}


def places(text: str) -> list[tuple[str, str | None]]:
    """(path, name) of everything in code that looks like a file or a folder."""
    found = []
    for word in words_of_code(text):
        match = PATH.fullmatch(word.rstrip("."))
        if (
            match
            and ("/" in match["path"] or FILE.fullmatch(match["path"]))
            and match["path"] not in PLACEHOLDERS | ABSENT
        ):
            found.append((match["path"], match["name"]))
    return sorted(found, key=str)


def locate(path: str) -> Path | None:
    """A file or folder of the repository; inside the package a path may start there, a mere name anywhere."""
    whole = [base / path for base in (ROOT, PACKAGE) if (base / path).exists()]
    return next(iter(whole or ([] if "/" in path else sorted(PACKAGE.rglob(path)))), None)


@functools.cache
def names_in(file: Path) -> frozenset[str]:
    """What a Python file defines, members as `Class.member`; a catalogue file also defines its entries."""
    names: set[str] = set()

    def collect(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                collect(node.body, f"{prefix}{node.name}.")
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            names.update(prefix + t.id for t in targets if isinstance(t, ast.Name))

    tree = ast.parse(file.read_text(encoding="utf-8"))
    collect(tree.body, "")
    for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "Entry"):
        values = {k.arg: k.value for k in call.keywords}
        names.update(ast.literal_eval(v) for k, v in values.items() if k == "name" and isinstance(v, ast.Constant))
    return frozenset(names)


def problem(path: str, name: str | None) -> str | None:
    """What is wrong with a place, if something is."""
    file = locate(path)
    if file is None:
        return f"{path} does not exist"
    if name in (None, "*"):
        return None
    known = names_in(file) if file.suffix == ".py" else set(re.findall(r"[\w-]+", file.read_text(encoding="utf-8")))
    return None if name in known else f"{path} has no {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_place_that_a_page_names_exists(page: Path):
    wrong = [found for place in places(page.read_text(encoding="utf-8")) if (found := problem(*place))]
    assert not wrong


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("see `docs/nothing.md`", "docs/nothing.md does not exist"),
        ("see [this](docs/nothing.md)", "docs/nothing.md does not exist"),
        ("run `actium check examples/pasted.py:Nothing`", "examples/pasted.py has no Nothing"),
        ("```\nactium check examples/pasted.py:Nothing\n```", "examples/pasted.py has no Nothing"),
        ("`nn.py:AdaptiveMixture.nothing`", "nn.py has no AdaptiveMixture.nothing"),
        ("`catalogue/gates.py:relu`", "catalogue/gates.py has no relu"),
    ],
)
def test_a_place_that_does_not_exist_is_found(text: str, says: str):
    assert [problem(*place) for place in places(text)] == [says]


def test_the_names_that_the_design_rejects_are_not_in_use():
    assert [path for path in sorted(ABSENT) if locate(path)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_no_page_names_a_folder_of_somebodys_machine(page: Path):
    assert not MACHINE_PATH.search(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("text", ["/home/somebody/actium", "in `/work/actium`", r"C:\Users", "cd /tmp/x"])
def test_a_folder_of_somebodys_machine_is_found(text: str):
    assert MACHINE_PATH.search(text)


# --- Requirements ------------------------------------------------------------------------------------------------


def table_rows(text: str) -> list[list[str]]:
    """The cells of every row of every table, headings and rules aside."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|-")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


@functools.cache
def requirements() -> str:
    return (ROOT / "docs" / "requirements.md").read_text(encoding="utf-8")


@functools.cache
def items() -> list[list[str]]:
    return [row for row in table_rows(requirements()) if row[0].isdigit()]


def state(where: str) -> str:
    """here, part or not there."""
    here, _, missing = where.partition("not there:")
    return ("part" if "`" in here else "not there") if missing else "here"


def test_each_of_the_87_requirements_stands_in_one_row():
    assert [int(row[0]) for row in items()] == list(range(1, 88))


def test_each_requirement_is_short_and_has_a_place_or_says_that_it_is_not_there():
    for number, item, where, _ in items():
        assert len(item.removeprefix("✘ ").split()) <= 12, number
        assert state(where) == "not there" or places(where), number
        assert "planned" not in where, number


def test_each_false_claim_is_put_right():
    assert all(right for _, item, _, right in items() if "✘" in item)


def test_the_counts_of_requirements_are_those_of_the_table():
    states = [state(row[2]) for row in items()]
    words = [f"{states.count('here')} are here", f"{states.count('part')} are here in part"]
    words += [f"{states.count('not there')} are not there", f"({sum('✘' in row[1] for row in items())} items marked ✘)"]
    intro = " ".join(requirements().split("## ")[0].split())
    assert [w for w in words if w not in intro] == []


# --- Checks ------------------------------------------------------------------------------------------------------


@functools.cache
def checks() -> str:
    return (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")


def section(check_id: str) -> str:
    """The text under a check's heading."""
    found = re.search(rf"^### `{re.escape(check_id)}`\n(.*?)(?=^##|\Z)", checks(), re.MULTILINE | re.DOTALL)
    assert found, f"docs/checks.md has no section on {check_id}"
    return found[1]


def test_the_table_of_checks_is_the_registry():
    documented = [row for row in table_rows(checks()) if row[0].startswith("`") and row[0].strip("`") in REGISTRY]
    assert documented == [[f"`{i}`", c.family, c.severity, c.finds] for i, c in REGISTRY.items()]


def test_every_check_has_a_section():
    assert re.findall(r"^### `(.+)`$", checks(), re.MULTILINE) == list(REGISTRY)


def finds(target: str, check_id: str) -> bool:
    """Whether the checker reports this; no check depends on what others have found, so it runs alone."""
    return bool(actium.check(target, dtypes=("bfloat16",), only=(check_id,)).of(check_id))


@pytest.mark.parametrize("check_id", REGISTRY)
def test_the_examples_of_a_check_are_found_by_it(check_id: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    targets = [t.strip('"') for t in re.findall(r"^`actium check ([^`]+)`:", section(check_id), re.MULTILINE)]
    assert targets
    assert "**Do** " in section(check_id)
    for target in targets:
        assert finds(target, check_id), target


def test_what_a_check_does_not_find_is_noticed():
    assert not finds("torch.nn:Tanh", "non-finite-output")
