"""A class marked by nbgrader itself: copies made, answers handed in, marks read.

It is in no environment that must be there: ``make teach`` makes one and runs this file.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "notebooks" / "book"))
import student  # noqa: E402
from exercises import is_exercise  # noqa: E402

pytestmark = pytest.mark.slow
#: Written when the environment is whole.
INSTALLED = ROOT / "build" / "teach" / "installed"
PAGE = "02_coding_by_hand"
#: Exercise -> its points; and code of a right and of a wrong answer that no solution page holds.
POINTS = {"ex_coding_1": 1, "ex_coding_2": 2, "ex_coding_3": 2, "ex_coding_4": 3}
TAKE = """
def answer(x):
    {noise}
    letter, size, begin = ("X", 5, 0) if x % 8 < 5 else ("Y", 2, 5) if x % 8 < 7 else ("Z", 1, 7)
    return letter, x // 8 * size + x % 8 - begin
"""
RIGHT = {
    "ex_coding_1": "answer = 1 / 8 * 3 / 8 * 4 / 8",
    "ex_coding_2": TAKE.format(noise="import warnings; warnings.warn('slow')"),
    "ex_coding_3": "answer = 10 + 10",
    "ex_coding_4": "",
}
WRONG = {
    "ex_coding_1": "answer = 3 / 8 + 4 / 8 + 1 / 8",
    "ex_coding_2": "1 / 0",
    "ex_coding_3": "checks = None\nanswer = 28",
    "ex_coding_4": "answer = lambda low, width: b''",
}


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python of an environment that has nbgrader."""
    given = os.environ.get("DICTCO_NBGRADER")
    if given or find_spec("nbgrader"):
        return Path(given or sys.executable).absolute()
    if not INSTALLED.is_file():
        pytest.skip(
            "nbgrader is not installed: `make teach` makes an environment with it; or set "
            "DICTCO_NBGRADER to the Python of one"
        )
    return INSTALLED.parent / "bin" / "python"


def nbgrader(python: Path, course: Path, *arguments: str) -> str:
    """Run a command of nbgrader in the folder of a course; what it printed."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",  # it calls alembic by name
        "HOME": str(course),
    }
    done = subprocess.run(
        [python, *arguments], cwd=course, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


READ = """
import json, sys
from nbgrader.api import Gradebook
with Gradebook("sqlite:///gradebook.db") as book:
    print(json.dumps({
        handed.student.id: {grade.name: grade.score for grade in handed.notebooks[0].grades}
        for handed in book.assignment_submissions(sys.argv[1])
    }))
"""


def marks(python: Path, course: Path, page: str) -> dict[str, dict[str, float]]:
    nbgrader(python, course, "-m", "nbgrader", "autograde", page)
    return json.loads(nbgrader(python, course, "-c", READ, page))


def small_project(folder: Path) -> Path:
    """A project whose page is a real one, with its imports and exercises only: seconds to run."""
    for part in ("notebooks", "notebooks/solutions"):
        (folder / part).mkdir(parents=True)
        notebook = nbformat.read(ROOT / part / f"{PAGE}.ipynb", 4)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        notebook.cells = [
            cell for cell in notebook.cells
            if cell is code[0] or cell.cell_type == "markdown" or is_exercise(cell)
            or part.endswith("solutions")
        ]  # fmt: skip
        nbformat.write(notebook, folder / part / f"{PAGE}.ipynb")
    return folder


def hand_in(course: Path, name: str, change) -> None:
    """Change a copy of what students get, as one of them would, and hand it in."""
    notebook = nbformat.read(course / "release" / PAGE / f"{PAGE}.ipynb", 4)
    change(notebook, {cell.id: cell for cell in notebook.cells})
    folder = course / "submitted" / name / PAGE
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / f"{PAGE}.ipynb")


def answer(code: dict[str, str]):
    def change(_, cells):
        for name, text in code.items():
            cells[f"{name}_answer"].source += f"\n{text}"

    return change


def tamper(notebook, cells) -> None:
    """Wrong answers, and checks that are changed or gone."""
    answer(WRONG)(notebook, cells)
    cells["ex_coding_1"].source = "1"
    cells["ex_coding_4"].source = "pass"
    notebook.cells.remove(cells["ex_coding_3"])
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    first.source = "class checks:\n    ex_coding_2 = staticmethod(lambda *a: 1)"


@pytest.fixture(scope="module")
def course(python, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("class")
    project = small_project(folder / "project")
    files = student.student_files(project, nbgrader=True, with_solutions=True)
    student.write_new(files, folder / "course")
    nbgrader(python, folder / "course", "-m", "nbgrader", "generate_assignment", PAGE)
    return folder / "course"


def test_students_get_no_solution(course):
    released = (course / "release" / PAGE / f"{PAGE}.ipynb").read_text()
    notebook = nbformat.reads(released, 4)
    assert (
        "SOLUTION" not in released
        and "SOLUTION" in (course / "source" / PAGE / f"{PAGE}.ipynb").read_text()
    )
    answers = [cell for cell in notebook.cells if cell.id.endswith("_answer")]
    assert [cell.id for cell in answers] == [f"{name}_answer" for name in POINTS]
    for cell in answers:
        assert cell.source.startswith("answer = None  # hint")
        assert cell.source.endswith("# your answer here")


def test_right_answers_get_the_points_and_wrong_ones_none(python, course):
    hand_in(course, "right", answer(RIGHT))
    hand_in(course, "wrong", answer(WRONG))
    hand_in(course, "blank", answer({}))
    hand_in(course, "tampered", tamper)
    solved = course / "submitted" / "solved" / PAGE
    shutil.copytree(course / "source" / PAGE, solved)
    found = marks(python, course, PAGE)
    none = dict.fromkeys(POINTS, 0)
    assert found["solved"] == POINTS
    assert found["right"] == POINTS | {"ex_coding_4": 0}  # left out
    assert found["wrong"] == found["blank"] == found["tampered"] == none
    assert nbgrader(python, course, "-m", "nbgrader", "export") is not None
    rows = (course / "grades.csv").read_text()
    assert f"{PAGE},,,solved,,,,8.0,0.0,8.0,8.0" in rows


@pytest.mark.skipif(
    os.environ.get("DICTCO_NBGRADER_PAGES") != "all",
    reason="a minute a page: DICTCO_NBGRADER_PAGES=all, as `make teach` sets it",
)
@pytest.mark.parametrize("page", sorted(p.stem for p in (ROOT / "notebooks").glob("*.ipynb")))
def test_the_solutions_of_a_page_get_all_its_points(python, tmp_path, page):
    files = student.student_files(ROOT, nbgrader=True, with_solutions=True, names=[page])
    student.write_new(files, tmp_path / "course")
    nbgrader(python, tmp_path / "course", "-m", "nbgrader", "generate_assignment", page)
    source = tmp_path / "course" / "source" / page
    shutil.copytree(source, tmp_path / "course" / "submitted" / "solved" / page)
    found = marks(python, tmp_path / "course", page)["solved"]
    told = nbformat.read(source / f"{page}.ipynb", 4).cells
    points = {c.id: c.metadata.nbgrader.get("points") for c in told if "nbgrader" in c.metadata}
    assert found == {name: worth for name, worth in points.items() if worth}
