"""The questions of a page: eight, each with an answer that a reader unfolds."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup

PATHS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
#: Pages without questions, as they have no exercises.
WITHOUT = {
    "14_notation_and_glossary",
}
TAGS = ("details", "summary")
FOLDED = re.compile(
    r"^<details><summary>(?P<question>.*?)</summary>\n\n(?P<answer>.*?)\n\n</details>$",
    re.MULTILINE | re.DOTALL,
)


def faults_of(cells: list[str]) -> list[str]:
    """What is wrong with the questions of a page, given its markdown cells in order."""
    heads = [cell.partition("\n")[0] for cell in cells]
    if heads.count("## Questions") != 1 or "## Exercises" not in heads:
        return ["a page has one cell ## Questions and one ## Exercises"]
    at, faults = heads.index("## Questions"), []
    if heads[at + 1 : at + 2] != ["## Exercises"]:
        faults.append("the questions stand directly before the exercises")
    text = cells[at]
    counts = {text.count(part) for tag in TAGS for part in (f"<{tag}>", f"</{tag}>")}
    folded = list(FOLDED.finditer(text))
    if counts != {8} or len(folded) != 8:
        faults.append(f"{len(folded)} questions with whole tags and blank lines, not 8")
    for number, found in enumerate(folded, 1):
        if not re.fullmatch(rf"{number}\. \S.*\?", found["question"]):
            faults.append(f"question {number} is not '{number}. ...?': {found['question']}")
        if not found["answer"].strip():
            faults.append(f"question {number} has no answer")
    return faults


def page_of(*pairs: tuple[str, str]) -> list[str]:
    folded = [f"<details><summary>{q}</summary>\n\n{a}\n\n</details>" for q, a in pairs]
    return ["# A page", "\n\n".join(["## Questions", *folded]), "## Exercises\n\nFill in."]


GOOD = [(f"{i}. Why `y`?", "So.\n\nAnd so.") for i in range(1, 9)]


def test_a_page_with_eight_questions_and_answers_passes():
    assert faults_of(page_of(*GOOD)) == []


@pytest.mark.parametrize(
    "cells",
    [
        page_of(*GOOD[:7]),
        page_of(*GOOD, ("9. And?", "No.")),
        page_of(*GOOD[:7], ("8. Because.", "So.")),
        page_of(*GOOD[:7], ("8. ?", "So.")),
        page_of(*GOOD[:7], ("9. Why?", "So.")),
        page_of(*GOOD[:7], ("8. Why?", " ")),
        [cell.replace("</details>", "", 1) for cell in page_of(*GOOD)],
        [cell.replace("</summary>\n\n", "</summary>\n", 1) for cell in page_of(*GOOD)],
        [cell.replace("</details>", "</details>\n\n</details>", 1) for cell in page_of(*GOOD)],
        page_of(*GOOD)[::-1],
        [page_of(*GOOD)[1], "A cell between.", "## Exercises"],
        ["# A page", "## Exercises"],
        [*page_of(*GOOD), page_of(*GOOD)[1]],
    ],
)
def test_a_page_with_a_fault_is_named(cells):
    assert faults_of(cells)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_page_asks_eight_questions(path):
    cells = nbformat.read(path, as_version=4).cells
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    if path.stem in WITHOUT:
        assert not any(text.startswith("## Questions") for text in texts), "take it off the list"
        pytest.skip("has no questions")
    assert faults_of(texts) == []
    kinds = [(cell.cell_type, cell.source.partition("\n")[0]) for cell in cells]
    at = kinds.index(("markdown", "## Questions"))
    assert kinds[at + 1] == ("markdown", "## Exercises"), "code stands between them"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_book_folds_the_answers(book, path):
    soup = BeautifulSoup((book / f"{path.stem}.html").read_text(), "html.parser")
    folded = soup.select(".jp-RenderedMarkdown details")
    assert len(folded) == (0 if path.stem in WITHOUT else 8)
    for number, one in enumerate(folded, 1):
        assert not one.has_attr("open")
        question = one.find("summary", recursive=False)
        assert question.text.startswith(f"{number}. ") and question.text.endswith("?")
        # Markdown is set in an answer, as everywhere: no backtick is left to be seen.
        assert one.find("p") and "`" not in one.text, one.text
