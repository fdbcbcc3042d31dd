"""What teachers are told: it is about the pages, commands and packages that there are."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml
from test_project import normal, pins

ROOT = Path(__file__).parents[1]
TEACHING = ROOT / "notebooks" / "teaching"
TEXTS = sorted(TEACHING.glob("*.md"))
PLAN = (TEACHING / "plan.md").read_text()
GUIDE = (TEACHING / "README.md").read_text()
PAGES = {path.stem: path for path in (ROOT / "notebooks").glob("*.ipynb")}
del PAGES["14_notation_and_glossary"]  # for looking things up
#: Sections that every page has, and that take no minutes of a session.
USUAL = {"Questions", "What we learned", "Common mistakes", "References"}


def prose(text: str) -> str:
    """A Markdown text without what is code."""
    return re.sub(r"```.*?```|^ {4}[^\n]*$|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)


def links(text: str) -> list[str]:
    """Where a Markdown text leads."""
    text = prose(text)
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.M)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    found = links(path.read_text())
    assert found
    for target in found:
        if not target.startswith("https://"):
            assert (path.parent / target.partition("#")[0]).is_file(), target


def test_links_are_seen_wherever_they_stand():
    text = "[a](b.md) and `[c](d)`\n\n    [e](f)\n\n[g]: h.ipynb\n```\n[i](j)\n```\n![k](l.png)"
    assert links(text) == ["b.md", "l.png", "h.ipynb"]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_every_name_of_a_link_is_there_once(path):
    text = prose(path.read_text())
    defined = re.findall(r"^\[([^\]]+)\]: ", text, re.M)
    used = re.findall(r"\[([^\]\n]+)\](?![(:\]])", text)
    assert len(set(defined)) == len(defined) and set(used) == set(defined)


def sessions() -> dict[str, str]:
    """Page -> its part of the plan."""
    where = dict(re.findall(r"^\[([^\]]+)\]: \.\./(\w+)\.ipynb$", PLAN, re.M))
    parts = re.split(r"^## ", PLAN, flags=re.M)[1:]
    named = {re.match(r"\d+\. \[(.+?)\]", part): part for part in parts}
    return {where[found[1]]: part for found, part in named.items() if found}


def sections(path: Path) -> list[str]:
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return [name for name in re.findall(r"^## (.+)$", text, re.M) if name not in USUAL]


def test_every_page_has_a_session():
    assert sessions().keys() == PAGES.keys()


@pytest.mark.parametrize("name", sorted(PAGES))
def test_minutes_are_given_for_the_sections_of_a_page_and_add_up(name):
    part = sessions()[name]
    total, line = re.search(r"\*\*Minutes \((\d+)\)\*\*: (.+)", part).groups()
    minutes = dict(re.fullmatch(r"(.+) (\d+)", entry).groups() for entry in line.split(" · "))
    assert list(minutes) == sections(PAGES[name]), name
    assert sum(map(int, minutes.values())) == int(total) <= 90


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_session_has_goal_misconceptions_and_the_answer_to_its_open_exercise(name):
    part = sessions()[name]
    assert "**Goal**: " in part and part.count("\n| ") >= 4  # a head and three rows
    cells = nbformat.read(PAGES[name], as_version=4).cells
    is_open = any(re.search(r"\*\*\d+ \(open\)", cell.source) for cell in cells)
    assert ("**Open exercise" in part) == is_open


def test_each_text_is_read_in_twenty_minutes():
    assert all(len(path.read_text().split()) < 20 * 200 for path in TEXTS)


def test_commands_are_those_there_are():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    text = PLAN + GUIDE + (ROOT / "README.md").read_text()
    assert set(re.findall(r"(?:^ {4}|`)make ([a-z-]+)", text, re.M)) <= targets
    helped = [sys.executable, "-m", "dictco_lib", "--help"]
    commands = subprocess.run(helped, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    for name in re.findall(r"`dictco (\w+)", PLAN + GUIDE):
        assert re.search(rf"^ +{name} ", commands, re.M), name
    for script in re.findall(r"python (notebooks/\S+\.py)", GUIDE):
        assert (ROOT / script).is_file()
    student = ROOT / "notebooks" / "book" / "student.py"
    helped = [sys.executable, student, "--help"]
    options = subprocess.run(helped, capture_output=True, text=True, check=True).stdout
    given = set(re.findall(r"WITH=\"?(--[^\"\n]+)", GUIDE))
    assert given
    for option in re.findall(r"--[\w-]+", " ".join(given)):
        assert option in options


def test_a_cloud_needs_only_what_environment_yml_names():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = (d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    options = [line for line in pip if line.startswith("-")]
    # Builders copy the repository before they install when a line names a part of it.
    assert options == ["--constraint constraints.txt", "--editable .[dev]"]
    assert all(re.fullmatch(r"[\w.-]+==\S+", line) for line in pip if line not in options)
    assert any(str(d).startswith("python=") for d in environment["dependencies"])


def test_the_first_cell_of_a_foreign_server_takes_a_folder_or_an_address():
    (cell,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    from IPython.core.inputtransformer2 import TransformerManager

    code = TransformerManager().transform_cell(cell)
    assert "run_line_magic('pip', 'install --quiet {SOURCE}')" in code
    assert isinstance(ast.parse(code).body[0], ast.Assign)


def test_what_teachers_may_add_is_pinned_and_in_nobodys_way():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = {normal(re.split(r"[<>=]", n)[0]) for n in project["optional-dependencies"]["teach"]}
    assert extra <= pins((ROOT / "constraints.txt").read_text()).keys()
    assert not extra & pins((ROOT / "environment.yml").read_text()).keys()
