"""Slides: cut from the pages by one list of rules, in one file each, with no network."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "notebooks" / "book"))
import slides  # noqa: E402

NAMES = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
PNG = base64.b64encode(b"an image").decode()


@pytest.fixture(scope="session")
def decks(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("slides")
    script = ROOT / "notebooks" / "book" / "slides.py"
    subprocess.run([sys.executable, script, out], check=True)
    return out


def page(decks: Path, name: str) -> BeautifulSoup:
    return BeautifulSoup((decks / f"{name}.html").read_text(), "html.parser")


def drawing(alt: str = "A line."):
    output = new_output("display_data", {"image/png": PNG}, metadata={"image/png": {"alt": alt}})
    return new_code_cell("draw()", outputs=[output])


def deck(*cells: str | nbformat.NotebookNode) -> list[tuple[str, str]]:
    """Title and text of the slides of a page; an image is its alt text in brackets."""
    cells = [new_markdown_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    found = []
    for slide in slides.Deck(new_notebook(cells=cells)).slides:
        soup = BeautifulSoup("\n".join(slide.parts), "html.parser")
        for image in soup.select("img"):
            image.replace_with(f"[{image['alt']}]")
        found.append((slide.title, " ".join(soup.text.split())))
    return found


def typed(cell: nbformat.NotebookNode, kind: str) -> nbformat.NotebookNode:
    cell.metadata["slideshow"] = {"slide_type": kind}
    return cell


def test_a_heading_its_first_sentence_and_a_figure_with_a_line_are_a_slide():
    found = deck(
        "# The page\n\nA promise. More of it.\n\n| a | table |\n|:--|:--|",
        "**You will be able to** read · write.\n\n**Time and machine**: long.",
        "## Bits\n\nA bit is a `0` or a 1. There are others.\n\nMore.\n\n$$b = 1$$",
        drawing(),
        "**What to see**: it rises. Look closer.\n\nAnd more.\n\n### Try it\n\nMove it.",
    )
    assert found == [
        ("The page", "A promise."),
        ("You will be able to", "read write"),
        ("Bits", "A bit is a 0 or a 1. [b = 1] [A line.] What to see: it rises."),
    ]


def test_a_second_figure_gets_a_slide_under_the_same_heading():
    assert deck("# A", drawing("One."), drawing("Two.")) == [("A", "[One.]"), ("A", "[Two.]")]
    found = deck("# A\n\n**You will be able to** do.", drawing("One."))
    assert [title for title, _ in found] == ["A", "You will be able to", "A"]


def test_exercises_and_what_was_learned_are_there_in_full():
    found = deck(
        "## Exercises\n\nFill them in. Or not.\n\n**1 (warm-up).** How many? And why?",
        new_code_cell("answer = None", metadata={"tags": ["exercise"]}),
        "**2 (open).** Go on.",
        "## What we learned\n\n- One.\n- Two. And three.\n\n## References\n\n- A paper.",
    )
    assert found == [
        ("Exercise 1 (warm-up)", "How many? And why?"),
        ("Exercise 2 (open)", "Go on."),
        ("What we learned", "One. Two. And three."),
    ]


def test_what_a_teacher_tagged_wins():
    found = deck(
        typed(new_markdown_cell("## Mine\n\nAll of this. Even this."), "slide"),
        typed(new_code_cell("print(1 < 2)"), "fragment"),
        typed(drawing(), "skip"),
        typed(new_markdown_cell("For me."), "notes"),
        typed(new_markdown_cell("Below the same heading."), "subslide"),
        drawing(),
    )
    assert found == [
        ("Mine", "All of this. Even this. print(1 < 2)"),
        ("Mine", "Below the same heading. [A line.]"),
    ]


def test_a_page_without_headings_or_cells_is_a_deck_still():
    assert deck() == [] and slides.Deck(new_notebook()).title == ""
    assert deck("Only text.") == [] and deck(drawing()) == [("", "[A line.]")]


def test_formulas_are_as_large_as_the_text_around_them():
    page = new_notebook(cells=[new_markdown_cell("# A\n\nLet $x$ be $\\frac{a}{b}$.")])
    html = slides.Deck(page).slides[0].parts[0]
    small, tall = (float(h) for h in re.findall(r"height:([\d.]+)em", html))
    assert 0.4 < small < 0.9 < tall < 2.2 and "pt" not in re.sub(r"base64,[\w+/=]+", "", html)


def test_links_lead_into_the_network_or_nowhere():
    part = slides.Deck(
        new_notebook(cells=[new_markdown_cell("# A\n\n[This](01.ipynb) and [that](https://a.b).")])
    )
    links = BeautifulSoup(part.slides[0].parts[0], "html.parser").select("a[href]")
    assert [link["href"] for link in links] == ["https://a.b"]


@pytest.mark.parametrize("name", NAMES)
def test_every_page_is_a_deck_with_its_figures(decks, name):
    soup = page(decks, name)
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    drawn = sum(len(slides.figures(cell)) for cell in notebook.cells)
    is_course = name != "14_notation_and_glossary"  # which is for looking things up
    assert len(soup.select(".figure")) == drawn and bool(drawn) == is_course
    assert all(section.h2.text for section in soup.select("section"))
    assert len(soup.select("section")) >= 10 or not is_course
    for code in soup.select("code, pre, style, script"):
        code.decompose()
    text = " ".join(section.text for section in soup.select("section"))
    assert not re.search(r"\$[^$\n]*[\\^_{][^$\n]*\$|\*\*|!\[", text), "Markdown left over"
    exercises = sum("exercise" in cell.metadata.get("tags", []) for cell in notebook.cells)
    assert sum(s.h2.text.startswith("Exercise ") for s in soup.select("section")) == exercises


@pytest.mark.parametrize("name", ["index", *NAMES])
def test_slides_load_nothing_from_outside(decks, name):
    soup = page(decks, name)
    assert not soup.select("script[src], link, iframe, object, embed")
    assert all(img["src"].startswith("data:") and img["alt"] for img in soup.select("img"))
    assert not re.search(r"@import|url\(", "".join(s.text for s in soup("style")))
    assert len((decks / f"{name}.html").read_bytes()) < 3_000_000


def test_the_index_leads_to_every_deck(decks):
    assert [a["href"] for a in page(decks, "index").select("a")] == [f"{n}.html" for n in NAMES]


def test_a_damaged_page_is_named(tmp_path, capsys):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "a.ipynb").write_text("{")
    assert slides.main([str(tmp_path / "out"), "--root", str(tmp_path)]) == 2
    assert "a.ipynb is no notebook" in capsys.readouterr().err
