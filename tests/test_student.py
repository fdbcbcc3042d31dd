"""Copies for a class: nothing that was run, solutions only if asked for, exercises to mark."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from dictco_lib.book import checks

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "notebooks" / "book"))
import exercises  # noqa: E402
import student  # noqa: E402
from exercises import ExerciseError  # noqa: E402

PAGES = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
REFERENCE = "14_notation_and_glossary"  # for looking things up: it has no exercises
SECRETS = {name for name in vars(checks) if name.startswith("ex_")}


def read(files: dict[str, bytes]) -> dict[str, nbformat.NotebookNode]:
    found = {n: nbformat.reads(c.decode(), 4) for n, c in files.items() if n.endswith(".ipynb")}
    for notebook in found.values():
        nbformat.validate(notebook)
    return found


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "nbgrader"])
def nbgrader(request) -> bool:
    return request.param


@pytest.fixture(scope="module")
def bare(nbgrader):
    return student.student_files(ROOT, nbgrader=nbgrader)


@pytest.fixture(scope="module")
def solved(nbgrader):
    return student.student_files(ROOT, nbgrader=nbgrader, with_solutions=True)


def code_of(page) -> list[str]:
    return [cell.source for cell in page.cells if cell.cell_type == "code"]


def test_copies_hold_nothing_that_was_run(bare, solved):
    for files in (bare, solved):
        for page in read(files).values():
            assert "widgets" not in page.metadata
            for cell in page.cells:
                if cell.cell_type == "code":
                    assert not cell.outputs and cell.execution_count is None


def test_every_page_is_there_and_solutions_only_if_asked_for(nbgrader, bare, solved):
    names = {f"source/{n}/{n}.ipynb" if nbgrader else f"{n}.ipynb" for n in PAGES}
    assert read(bare).keys() == names
    extra = set() if nbgrader else {f"solutions/{n}.ipynb" for n in PAGES if n != REFERENCE}
    assert read(solved).keys() == names | extra
    texts = [content.decode() for name, content in bare.items() if name.endswith(".ipynb")]
    assert not any("solutions/" in text for text in texts)


def test_no_line_of_a_solution_is_in_a_copy_without_them(bare):
    """Lines that only the solutions hold, in pages or solutions as they are now."""
    pages = [nbformat.read(ROOT / "notebooks" / f"{n}.ipynb", 4) for n in PAGES]
    shown = "\n".join(source for page in pages for source in code_of(page))
    secret = set()
    for path in (ROOT / "notebooks" / "solutions").glob("*.ipynb"):
        for source in code_of(nbformat.read(path, 4)):
            secret |= {s for s in source.split("\n") if len(s) > 30 and s not in shown}
    assert len(secret) > 50
    given = "\n".join(source for page in read(bare).values() for source in code_of(page))
    assert not [line for line in secret if line in given]


def test_data_and_pages_are_found_from_where_a_copy_lies(bare, solved):
    for files in (bare, solved):
        for name, page in read(files).items():
            text = "\n".join(cell.source for cell in page.cells)
            folder = Path(name).parent
            for target in re.findall(r"\]\(([\w./]+\.(?:ipynb|md))", text):
                parts: list[str] = []
                for part in (folder / target).parts:
                    parts = parts[:-1] if part == ".." else [*parts, part]
                assert "/".join(parts) in files, (name, target)
            assert "../../data" not in text
            for near in re.findall(r"[\"']((?:\.\./)*)data/[\w{]", text):
                at = folder.parent if near else folder
                assert (at / "data" / "nano.toml").as_posix() in files, name


def test_plain_copies_end_in_a_report(nbgrader, bare):
    if nbgrader:
        return
    for name, page in read(bare).items():
        sources = code_of(page)
        if name == f"{REFERENCE}.ipynb":
            assert "checks" not in "".join(sources)
            continue
        assert sources[-1] == "checks.report();", name
        assert any("answer = None" in source for source in sources)
        # A report of what the checkers said is asked of the module that ran them.
        assert any(re.search(r"dictco_lib.book import .*\bchecks\b", s) for s in sources), name


def test_every_exercise_has_a_cell_for_the_answer_and_a_locked_one_with_points(nbgrader, bare):
    if not nbgrader:
        return
    marked, pages = set(), read(bare)
    for name, page in pages.items():
        told = {cell.metadata.nbgrader.grade_id: cell for cell in page.cells
                if "nbgrader" in cell.metadata}  # fmt: skip
        assert len(told) == len(code_of(page))  # all code is known, and none of it twice
        graded = [key for key, cell in told.items() if cell.metadata.nbgrader.grade]
        for key in graded:
            check, answer = told[key], told[f"{key}_answer"]
            assert check.metadata.nbgrader.locked and check.metadata.nbgrader.points in (1, 2, 3)
            assert f"* checks.{key}(answer" in check.source
            assert answer.metadata.nbgrader.solution and not answer.metadata.nbgrader.locked
            assert answer.source.startswith("answer = None")
            assert answer.source.endswith("### BEGIN SOLUTION\n### END SOLUTION")
        kinds = {name: cell.metadata.nbgrader for name, cell in told.items()}
        assert all(k.locked != k.solution for k in kinds.values())
        text = "".join(cell.source for cell in page.cells if cell.cell_type == "markdown")
        words = re.findall(r"\*\*\d+ \((warm-up|core|open)\)", text)
        points = [exercises.POINTS[word] for word in words]
        assert [told[key].metadata.nbgrader.points for key in graded] == points, name
        marked |= set(graded)
    # All exercises there are; not all checkers need a page yet, but each page's is one.
    assert marked and marked <= SECRETS


def test_with_solutions_every_answer_has_one_between_the_marks(nbgrader, solved):
    if not nbgrader:
        return
    for name, page in read(solved).items():
        for cell in page.cells:
            if cell.metadata.get("nbgrader", {}).get("solution"):
                region = cell.source.partition("### BEGIN SOLUTION\n")[2]
                body = region.removesuffix("### END SOLUTION")
                assert body != region and re.search(r"^(def )?answer\b", body, re.M), name
                assert "checks.ex_" not in body


PAGE = "**1 (open).** Why?"


def page_of(*sources: str, tag: str = "exercise") -> nbformat.NotebookNode:
    cells = [new_code_cell(s, metadata={"tags": [tag]}, id=f"c{i}") for i, s in enumerate(sources)]
    return new_notebook(cells=[new_markdown_cell(PAGE, id="q"), *cells])


@pytest.mark.parametrize(
    "sources",
    [
        ["answer = None"],
        ["checks.ex_quickstart_1(answer)\nprint(1)"],
        ["answer = None\nchecks.ex_quickstart_1(answer)\nchecks.ex_quickstart_2(answer)"],
        ["checks.ex_quickstart_1()"],
        ["checks.ex_quickstart_1(None)"],
        ["answer = \nchecks.ex_quickstart_1(answer)"],
        ["answer = 1\nchecks.ex_quickstart_1(answer)"] * 2,
    ],
)
def test_an_exercise_that_cannot_be_marked_is_named(sources):
    with pytest.raises(ExerciseError, match="00_page|no Python"):
        exercises.for_nbgrader(page_of(*sources), {}, "00_page")


def test_what_belongs_to_the_question_stays_out_of_the_answer():
    page = page_of("target = 3\nanswer = None  # hint\n\nchecks.ex_quickstart_1(answer, target);")
    exercises.for_nbgrader(page, {}, "00_page")
    told = [(c.metadata.nbgrader.grade_id, c.source) for c in page.cells[1:]]
    assert told[0] == ("ex_quickstart_1_given", "target = 3")
    assert told[1][1] == "answer = None  # hint\n### BEGIN SOLUTION\n### END SOLUTION"
    assert told[2][1].endswith("\n3 * checks.ex_quickstart_1(answer, target)")


def test_a_solution_under_another_name_gives_the_answer_its_name():
    solution = "best = [math.pi]\nchecks.ex_quickstart_1(best[0])"
    found = exercises.solutions_of(page_of("import math", solution, tag="x"))
    page = page_of("answer = None\nchecks.ex_quickstart_1(answer)")
    exercises.for_nbgrader(page, found, "00_page")
    names: dict = {}
    exec(page.cells[1].source, names)
    assert names["answer"] == names["math"].pi


def run(*arguments: str | Path) -> subprocess.CompletedProcess:
    script = ROOT / "notebooks" / "book" / "student.py"
    return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True)


def test_what_is_in_a_folder_stays_there(tmp_path):
    (tmp_path / "out").mkdir()
    done = run(
        tmp_path / "out", "--pages", "00_quickstart" if "00_quickstart" in PAGES else PAGES[0]
    )
    assert done.returncode == 0 and "1 notebooks, without solutions" in done.stdout
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = run(tmp_path / "out", "--with-solutions")
    assert done.returncode == 2 and "is not empty" in done.stderr
    assert kept == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "file").write_text("mine")
    assert run(tmp_path / "file").returncode == 2


def test_a_page_that_is_not_there_is_named_with_those_that_are(tmp_path):
    done = run(tmp_path / "out", "--pages", PAGES[0], "99_nothing")
    assert done.returncode == 2 and "'99_nothing'" in done.stderr and PAGES[0] in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_damaged_page_ends_before_anything_is_written(tmp_path):
    (tmp_path / "notebooks" / "solutions").mkdir(parents=True)
    (tmp_path / "notebooks" / "a.ipynb").write_text("{")
    done = run(tmp_path / "out", "--root", tmp_path)
    assert done.returncode == 2 and "a.ipynb is no notebook" in done.stderr
    assert not (tmp_path / "out").exists()
