"""The exercises of a page: how a cell of one is built, and the same as cells of nbgrader."""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from dictco_lib.errors import DictcoError

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

TAG = "exercise"
#: Points for the word behind an exercise's number: **2 (core).**
POINTS = {"warm-up": 1, "core": 2, "open": 3}
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"


class ExerciseError(DictcoError):
    """The cell of an exercise is not built as those that can be marked."""


@dataclass(frozen=True)
class Exercise:
    """The parts of a cell that ends in ``checks.ex_TOPIC_k(answer, ...)``.

    Args:
        name: of the checker.
        given: code before the answer that belongs to the question.
        answer: code from the answer on, where it is assigned; all code before the check, if not.
        check: the call of the checker.
        argument: what the checker is given as the answer: a name, or an expression.
    """

    name: str
    given: str
    answer: str
    check: str
    argument: str


def is_exercise(cell: NotebookNode) -> bool:
    """Whether a cell waits for an answer."""
    return TAG in cell.metadata.get("tags", [])


def checked(source: str, where: str = "a cell") -> Exercise | None:
    """The parts of a cell whose last statement is the call of a checker; None for another cell.

    Raises:
        ExerciseError: if a checker is called elsewhere, or it is no Python.
    """
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        raise ExerciseError(f"{where} is no Python: {error}") from None
    calls = [_checker(statement) for statement in body]
    if not any(calls):
        return None
    if not calls[-1] or sum(map(bool, calls)) > 1 or not body[-1].value.args:
        raise ExerciseError(f"{where}: expected one checks.ex_…(answer, …), and at the end")
    argument = ast.get_source_segment(source, body[-1].value.args[0])
    starts = [s.lineno for s in body if isinstance(s, ast.Assign) and _assigns(s, argument)]
    lines, first = source.split("\n"), (starts or [1])[0] - 1
    return Exercise(
        name=calls[-1],
        given="\n".join(lines[:first]).strip("\n"),
        answer="\n".join(lines[first : body[-1].lineno - 1]).strip("\n"),
        check=ast.get_source_segment(source, body[-1]),
        argument=argument,
    )


def _checker(statement: ast.stmt) -> str | None:
    """The name of the checker that a statement calls."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    name = call.func.attr if isinstance(getattr(call, "func", None), ast.Attribute) else ""
    return name if name.startswith("ex_") else None


def _assigns(statement: ast.Assign, name: str) -> bool:
    return any(isinstance(t, ast.Name) and t.id == name for t in statement.targets)


def cleared(page: NotebookNode) -> NotebookNode:
    """The page without anything that came of running it."""
    page.metadata.pop("widgets", None)
    for cell in page.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.metadata.pop("execution", None)
    return page


def solutions_of(page: NotebookNode) -> dict[str, Exercise]:
    """Name of a checker -> an exercise whose ``answer`` is the code that leads to it.

    The first takes with it what the page of solutions does before it.
    """
    found: dict[str, Exercise] = {}
    code: list[str] = []
    for cell in page.cells:
        if cell.cell_type != "code":
            continue
        exercise = checked(cell.source, f"cell {cell.get('id')} of the solutions")
        if exercise is None:
            code.append(cell.source)
            continue
        code += [exercise.given, exercise.answer]
        solution = "\n\n".join(filter(None, code))
        found[exercise.name], code = replace(exercise, given="", answer=solution), []
    return found


def for_nbgrader(page: NotebookNode, solutions: Mapping[str, Exercise], name: str) -> None:
    """Turn each exercise into an answer and a locked check with points, and lock all other code.

    Locked code runs as it was when it is marked, whatever was tried in it.

    Args:
        page: changed in place.
        solutions: name of a checker -> its solution, from :func:`solutions_of`.
        name: of the page, for messages.

    Raises:
        ExerciseError: if an exercise has another form, or its check stands on the page twice.
    """
    cells, text, seen = [], "", set()
    for i, cell in enumerate(page.cells):
        if is_exercise(cell):
            exercise = checked(cell.source, f"{name}, exercise in cell {i}")
            if exercise is None or exercise.name in seen or not _is_name(exercise.argument):
                raise ExerciseError(
                    f"{name}, exercise in cell {i}: expected a check of its own at the end, of a "
                    "named answer"
                )
            seen.add(exercise.name)
            cells += _marked(exercise, solutions.get(exercise.name), _points(text))
            continue
        if cell.cell_type == "code":
            _mark(cell, cell.get("id", f"cell-{i}"), locked=True)
        else:
            text = cell.source
        cells.append(cell)
    page.cells = cells


def _is_name(text: str) -> bool:
    return text.isidentifier() and not keyword.iskeyword(text)


def _points(text: str) -> int:
    """Of the exercise that a text ends with, by the word behind its number."""
    found = re.findall(rf"\*\*\d+ \(({'|'.join(POINTS)})\)", text)
    return POINTS[found[-1]] if found else POINTS["core"]


def _marked(exercise: Exercise, solution: Exercise | None, points: int) -> list[NotebookNode]:
    answer = new_code_cell("\n".join(filter(None, [exercise.answer, *_region(exercise, solution)])))
    _mark(answer, f"{exercise.name}_answer", solution=True)
    # A number is a mark; the import undoes a name that was taken for something else.
    check = new_code_cell(f"from dictco_lib.book import checks\n\n{points} * {exercise.check}")
    _mark(check, exercise.name, locked=True, points=points)
    if not exercise.given:
        return [answer, check]
    given = new_code_cell(exercise.given)
    _mark(given, f"{exercise.name}_given", locked=True)
    return [given, answer, check]


def _region(exercise: Exercise, solution: Exercise | None) -> list[str]:
    """What nbgrader replaces in the students' version."""
    if solution is None:
        return [BEGIN, END]
    is_named = solution.argument == exercise.argument
    last = "" if is_named else f"{exercise.argument} = {solution.argument}"
    return [BEGIN, solution.answer, last, END]


def _mark(
    cell: NotebookNode,
    name: str,
    *,
    locked: bool = False,
    solution: bool = False,
    points: int | None = None,
) -> None:
    """What nbgrader (schema 3) is to know of a cell."""
    cell.id = name
    told = {
        "grade": points is not None, "grade_id": name, "locked": locked, "schema_version": 3,
        "solution": solution, "task": False,
    }  # fmt: skip
    cell.metadata["nbgrader"] = NotebookNode(told | ({} if points is None else {"points": points}))
