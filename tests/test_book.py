"""The HTML book: whole, linked, readable without a network and by readers who do not see."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def page(book: Path, name: str) -> BeautifulSoup:
    return BeautifulSoup((book / f"{name}.html").read_text(), "html.parser")


def test_the_index_lists_every_notebook_with_its_promise(book):
    entries = page(book, "index").select("li")
    assert [entry.a["href"] for entry in entries] == [f"{name}.html" for name in NAMES]
    titles = {name: entry.a.text for name, entry in zip(NAMES, entries, strict=True)}
    numbered = [name for name in NAMES if name[:2].isdigit()]
    assert numbered and all(titles[name].startswith(f"{name[:2]} ·") for name in numbered)
    assert all(len(entry.p.text) > 80 for entry in entries)


@pytest.mark.parametrize("name", ["index", *NAMES])
def test_pages_load_nothing_from_outside(book, name):
    soup = page(book, name)
    assert not soup.select("script[src], link[href], iframe, object, embed")
    assert all(img["src"].startswith("data:") for img in soup.select("img"))
    assert not re.search(r"@import|url\((?!['\"]?data:)", "".join(s.text for s in soup("style")))


@pytest.mark.parametrize("name", NAMES)
def test_pages_are_linked_in_order(book, name):
    at = NAMES.index(name)
    wanted = [*NAMES[max(at - 1, 0) : at], "index", *NAMES[at + 1 : at + 2]]
    for nav in page(book, name).select("nav"):
        assert [a["href"] for a in nav.select("a")] == [f"{w}.html" for w in wanted]


@pytest.mark.parametrize("name", NAMES)
def test_links_inside_the_book_lead_somewhere(book, name):
    for link in page(book, name).select("a[href]"):
        target = link["href"]
        if not target.startswith(("https://", "#")):
            assert (book / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("name", NAMES)
def test_every_image_has_an_alt_text(book, name):
    for image in page(book, name).select("img"):
        assert not image["alt"].startswith("No description"), image.parent


@pytest.mark.parametrize("name", NAMES)
def test_pages_hold_nothing_that_needs_a_kernel_or_a_typesetter(book, name):
    soup = page(book, name)
    assert not soup.select("script[type]"), "a saved widget"
    text = " ".join(cell.text for cell in soup.select(".jp-RenderedMarkdown"))
    assert "VBox(" not in soup.text
    assert not re.search(r"\$[^$\n]*[\\^_{][^$\n]*\$", text), "TeX: the pages typeset none"
