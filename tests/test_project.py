"""The project's own files agree with each other."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

import dictco_lib
from dictco_lib.training.recipe import load_recipe

ROOT = Path(__file__).parents[1]
TOP_LEVEL = {"notebooks", "dictco_lib", "data", "figures", "tests", "environment.yml", "README.md"}
TOP_LEVEL |= {"pyproject.toml", "constraints.txt", "LICENSE", "Makefile", ".ci", ".gitignore"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> dict[str, str]:
    found = re.findall(r"^[\s-]*([\w.-]+)==(\S+)$", text, re.MULTILINE)
    return {normal(name): version for name, version in found}


def test_conda_users_get_the_same_versions():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    names = {normal(re.split(r"[<>=]", line)[0]) for line in wanted}
    constraints = pins((ROOT / "constraints.txt").read_text())
    environment = pins((ROOT / "environment.yml").read_text())
    assert environment.keys() == names
    assert all(constraints[name] == version for name, version in environment.items())
    assert "--constraint constraints.txt" in (ROOT / "environment.yml").read_text()


def test_every_pinned_version_installs_on_each_python_that_we_name():
    # Debian 12 has 3.11.2: what wants 3.11.5 stopped `make` there.
    wanted = ("3.11.0", "3.12.0")
    installed = {normal(d.name): d for d in metadata.distributions()}
    pinned = pins((ROOT / "constraints.txt").read_text()).keys() & installed.keys()
    needs = {name: installed[name].metadata["Requires-Python"] or "" for name in pinned}
    assert len(needs) > 50
    assert not {n: r for n, r in needs.items() if not all(v in SpecifierSet(r) for v in wanted)}


def test_the_top_level_is_the_fixed_one():
    try:
        listed = subprocess.run(
            ["git", "ls-tree", "--name-only", "HEAD"], cwd=ROOT, capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("git is not installed")
    if listed.returncode:
        pytest.skip("not a git checkout")
    assert set(listed.stdout.split()) <= TOP_LEVEL


#: From the faces down to what knows nothing; reports are measured on files, above coding.
ROOMS = (
    "cli commands book rate_control evaluation export plain coding chunks regions arguments tiles "
    "training checkpoints models entropy layers bitstream datasets images files progress config "
    "kinds limits errors memory cores threads"
).split()
IN_THE_BOOK = "widgets play checks plots inspect".split()


def test_imports_go_down_the_rooms_only():
    library = ROOT / "dictco_lib"
    assert_down(library, "dictco_lib", ROOMS)
    assert_down(library / "book", "dictco_lib.book", IN_THE_BOOK)


def assert_down(folder: Path, package: str, order: list[str]) -> None:
    for path in folder.rglob("*.py"):
        room = path.relative_to(folder).parts[0].removesuffix(".py")
        if room in ("__init__", "__main__"):  # doors
            continue
        for other in rooms_imported(path, package):  # inside functions, too
            assert order.index(other) >= order.index(room), f"{path} imports {other}"


def rooms_imported(path: Path, package: str) -> set[str]:
    """The rooms of a package that a file imports from, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    inside = {name.removeprefix(package + ".") for name in found if name.startswith(package + ".")}
    return {name.partition(".")[0] for name in inside} - {"__version__"}


def test_the_drawing_of_the_imports_sees_every_kind(tmp_path):
    text = "import dictco_lib.cli\nfrom dictco_lib.book import plots\ndef f():\n"
    text += "    from dictco_lib.coding import encode\n"
    (tmp_path / "a.py").write_text(text)
    assert rooms_imported(tmp_path / "a.py", "dictco_lib") == {"cli", "book", "coding"}
    assert rooms_imported(tmp_path / "a.py", "dictco_lib.book") == {"plots"}


def test_files_are_short():
    for path in (ROOT / "dictco_lib").rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 400, path


def test_recipes_are_valid():
    for path in (ROOT / "data").glob("*.toml"):
        load_recipe(path)


def test_every_public_name_can_be_imported():
    for name in dictco_lib.__all__:
        assert getattr(dictco_lib, name) is not None
    with pytest.raises(AttributeError):
        dictco_lib.nonsense  # noqa: B018
