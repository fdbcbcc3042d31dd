"""Copies of the notebooks for a class: without outputs, and without solutions unless asked for.

``python notebooks/book/student.py FOLDER`` (``make student``) writes plain copies that report what
was right; with ``--nbgrader`` it writes the folder of an nbgrader course, whose exercises it marks.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from dictco_lib.errors import DictcoError, OptionError, OutputError, foreign, listed
from dictco_lib.files import check_writable, write_atomic

import nbformat
from exercises import cleared, for_nbgrader, is_exercise, solutions_of
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

HERE = Path(__file__).parent
#: What a page may read beside itself; weights come with the library.
DATA = ("*.json", "*.jsonl", "*.toml", "*.md", "pair/*.json", "pair/*.jsonl")
REPORT = "## Report\n\nRun the last cell when you are done: it says what is right, and saves it."
#: What nbgrader is told; https://nbgrader.readthedocs.io has the rest.
CONFIG = '''"""Settings of this course. From this folder:

nbgrader generate_assignment NAME    the students' version in release/, without solutions
nbgrader autograde NAME              marks what lies in submitted/STUDENT/NAME/
nbgrader export                      the marks as grades.csv
"""

c = get_config()
c.CourseDirectory.course_id = "dictco"
c.ClearSolutions.code_stub = {"python": "# your answer here"}
c.ExecutePreprocessor.timeout = 1500  # seconds for a cell; ends what hangs, not what is slow
c.Execute.timeout = 1500
# Students may try other numbers in the cells of a page; what is marked runs with the original ones.
c.LockCells.lock_readonly_cells = False
# A check that was deleted is put back, and marked.
c.OverwriteCells.add_missing_cells = True
'''


def read_pages(folder: Path, names: Iterable[str] = ()) -> dict[str, NotebookNode]:
    """The notebooks of a folder by name, without outputs; all of them if none is named.

    Raises:
        OptionError: if there is none of a name, or none at all.
        OutputError: if one cannot be read.
    """
    paths = {path.stem: path for path in sorted(folder.glob("*.ipynb"))}
    unknown = [name for name in names if name not in paths]
    if unknown or not paths:
        raise OptionError(
            f"no page {listed(unknown)} in {folder}; there is {listed(paths) or 'none at all'}"
        )
    return {name: _read(paths[name]) for name in (names or paths)}


def _read(path: Path) -> NotebookNode:
    with foreign(f"{path} is no notebook", OutputError, "nothing was written; mend it first"):
        return cleared(nbformat.read(path, as_version=4))


def student_files(
    root: Path, *, nbgrader: bool = False, with_solutions: bool = False, names: Iterable[str] = ()
) -> dict[str, bytes]:
    """What a class gets: path in its folder -> content.

    Args:
        root: the project.
        nbgrader: a course folder instead of plain copies.
        with_solutions: with them; for nbgrader in the answers' cells of ``source/``, which it
            takes out of what students get.
        names: of pages; all if empty.

    Raises:
        DictcoError: if a page is missing, or an exercise has not the form that can be marked.
    """
    pages = read_pages(root / "notebooks", names)
    solutions = {}
    if with_solutions:
        found = read_pages(root / "notebooks" / "solutions")
        solutions = {name: page for name, page in found.items() if name in pages}
    source = root / "data"
    data = {
        path.relative_to(source).as_posix(): path.read_bytes()
        for form in DATA
        for path in source.glob(form)
    }
    make = _course if nbgrader else _copies
    return make(pages, solutions, data)


def _copies(
    pages: dict[str, NotebookNode], solutions: dict[str, NotebookNode], data: dict[str, bytes]
) -> dict[str, bytes]:
    files = {f"data/{name}": content for name, content in data.items()}
    for name, page in pages.items():
        _move(page, keep_solutions=name in solutions)
        last = max((i for i, cell in enumerate(page.cells) if is_exercise(cell)), default=None)
        if last is not None:
            report = [new_markdown_cell(REPORT), new_code_cell("checks.report();")]
            page.cells[last + 1 : last + 1] = _with_ids(report)
        files[f"{name}.ipynb"] = _bytes(page)
    for name, page in solutions.items():
        _move(page, keep_solutions=True)
        files[f"solutions/{name}.ipynb"] = _bytes(page)
    return files


def _course(
    pages: dict[str, NotebookNode], solutions: dict[str, NotebookNode], data: dict[str, bytes]
) -> dict[str, bytes]:
    files = {"nbgrader_config.py": CONFIG.encode()}
    for name, page in pages.items():
        answers = solutions_of(solutions[name]) if name in solutions else {}
        for_nbgrader(page, answers, name)
        _move(page, keep_solutions=False, is_course=True)
        files[f"source/{name}/{name}.ipynb"] = _bytes(page)
        if any(re.search(r"\bdata/|[\"']data\b", cell.source) for cell in page.cells):
            files |= {f"source/{name}/data/{key}": content for key, content in data.items()}
    return files


def _move(page: NotebookNode, *, keep_solutions: bool, is_course: bool = False) -> None:
    """Paths and links of a page, for where its copy lies."""
    far = "{1,2}" if is_course else ""
    for cell in page.cells:
        # data/ is one folder nearer; for code that came from a page of solutions, two.
        cell.source = re.sub(rf"(?:\.\./){far}data\b", "data", cell.source)
        if cell.cell_type != "markdown":
            continue
        if not keep_solutions:
            cell.source = re.sub(r"[^.\n]*\bsolutions/\S*\.ipynb\S*[ ]?", "", cell.source)
        if is_course:
            cell.source = re.sub(r"\]\((\w+)\.ipynb", r"](../\1/\1.ipynb", cell.source)


def _with_ids(cells: list[NotebookNode]) -> list[NotebookNode]:
    """Names instead of random numbers: the same copies each time."""
    for i, cell in enumerate(cells):
        cell.id = f"report-{i}"
    return cells


def _bytes(page: NotebookNode) -> bytes:
    return (nbformat.writes(page) + "\n").encode()


def write_new(files: dict[str, bytes], out: Path) -> None:
    """Write files into a folder that is new or empty.

    Raises:
        OutputError: if something is there, or it cannot be written.
    """
    check_writable(out, "folder")
    if out.exists() and any(out.iterdir()):
        raise OutputError(
            f"{out} is not empty, and what is there (answers, marks) stays; give another folder"
        )
    for name, content in files.items():
        write_atomic(out / name, content)


def main(argv: list[str] | None = None) -> int:
    """Write the copies; 0, or 2 with a line that says what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--nbgrader", action="store_true", help="a course folder of nbgrader")
    parser.add_argument("--with-solutions", action="store_true", help="leave them in")
    parser.add_argument("--pages", nargs="+", default=[], metavar="NAME", help="only these")
    parser.add_argument("--root", type=Path, default=HERE.parents[1], help="the project")
    args = parser.parse_args(argv)
    try:
        files = student_files(
            args.root, nbgrader=args.nbgrader, with_solutions=args.with_solutions, names=args.pages
        )
        write_new(files, args.out)
    except DictcoError as error:
        print(error, file=sys.stderr)
        return 2
    count = sum(name.endswith(".ipynb") for name in files)
    print(
        f"{args.out}: {count} notebooks, {'with' if args.with_solutions else 'without'} solutions"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
