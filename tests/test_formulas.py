"""TeX in the pages of the book: set as images, described by its source, or refused by name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

sys.path.insert(0, str(Path(__file__).parents[1] / "notebooks" / "book"))
from formulas import FormulaError, typeset  # noqa: E402


def test_formulas_become_images_that_say_what_they_are():
    html = typeset("Let $x_1$ be\n\n$$x' = \\lfloor x / f_s \\rfloor$$\n\nand $\\mu$.")
    images = BeautifulSoup(html, "html.parser").select("img")
    assert [p["alt"] for p in images] == ["x_1", "x' = \\lfloor x / f_s \\rfloor", "\\mu"]
    assert all(p["src"].startswith("data:image/svg+xml;base64,") for p in images)
    assert "$" not in html and "text-align:center" in html


def test_code_and_money_are_left_alone():
    for text in ("`a$b$c`", "```\n$x$\n```", "it costs $5 or $6", "a $ alone", "$ x $"):
        assert typeset(text) == text


def test_tex_that_nobody_can_set_is_named():
    with pytest.raises(FormulaError, match=r"\\begin\{cases\}.*cannot be typeset"):
        typeset("$\\begin{cases} x \\end{cases}$")
