"""Slides for the lecture, cut from the notebooks as they were saved; no network, no kernel.

``make slides`` runs ``python notebooks/book/slides.py build/slides``: a deck for each notebook.
What becomes of a block of a page is said once, in :data:`RULES`; a cell whose slide type is set in
JupyterLab (Slide, Sub-Slide, Fragment, Skip, Notes) goes there as a whole, or not at all.
"""

from __future__ import annotations

import argparse
import base64
import html
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from dictco_lib.errors import DictcoError, OutputError, foreign
from dictco_lib.files import write_atomic

import nbformat
from formulas import POINTS, typeset
from jinja2 import Environment, FileSystemLoader
from nbconvert.filters import markdown2html
from nbformat import NotebookNode

HERE = Path(__file__).parent
#: What a block of Markdown (text between empty lines) gives: pattern -> kind. The first that fits.
RULES = {
    r"#{1,3} (References|Try it|Exercises)\b": "pause",  # no words until the next heading
    r"#{1,3} (What we learned|Common mistakes)\b": "list",  # a slide with all that follows
    r"#{1,3} ": "slide",  # a heading: a slide with the first sentence that follows
    r"\*\*You will be able to\*\*": "aims",
    r"\*\*\d+ \([\w -]+\)": "exercise",  # a slide of its own
    r"\*\*What to see\*\*": "line",  # its first sentence, below the figure
    r"\$\$": "whole",  # a formula
    r"[|\-*>!`<]|\d+\. ": "skip",  # tables, lists, quotes, code
    r"": "text",  # the first sentence, if nothing was said below the heading yet
}
_FORMULA = re.compile(
    r"(?P<before><img src=\"data:image/svg\+xml;base64,(?P<svg>[\w+/=]+)\"[^>]*?style=\")"
    r"display:inline;vertical-align:-(?P<depth>[\d.]+)pt"
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z`*\[$(])")


@dataclass
class Slide:
    """A heading and what stands below it, as HTML."""

    title: str
    parts: list[str] = field(default_factory=list)
    has_figure: bool = False


class Deck:
    """The slides of a notebook, in order."""

    def __init__(self, notebook: NotebookNode) -> None:
        self.slides: list[Slide] = []
        self._heading = ""  # the last one of the page
        self._takes = "text"  # what the blocks below it are: text, list or nothing (pause)
        for cell in notebook.cells:
            self._add(cell, cell.metadata.get("slideshow", {}).get("slide_type"))

    @property
    def title(self) -> str:
        """Of the first slide, without marks."""
        return re.sub(r"<[^>]+>", "", self.slides[0].title) if self.slides else ""

    def _add(self, cell: NotebookNode, chosen: str | None) -> None:
        if chosen in ("skip", "notes"):
            return
        if chosen:
            self._whole(cell, begins=chosen in ("slide", "subslide"))
        elif cell.cell_type == "markdown":
            for block in re.split(r"\n\s*\n", cell.source.strip()):
                self._block(block)
        else:
            for figure in figures(cell):
                self._figure(figure)

    def _whole(self, cell: NotebookNode, *, begins: bool) -> None:
        """A cell that a teacher chose."""
        heading, text = "", cell.source
        if cell.cell_type == "markdown" and (found := re.match(r"#+ (.+)\n*", text)):
            heading, text = found[1], text[found.end() :]
        if begins or not self.slides:
            self._heading = heading or self._heading
            self._begin(self._heading)
        code = f"<pre>{html.escape(text)}</pre>"
        self.slides[-1].parts.append(_html(text) if cell.cell_type == "markdown" else code)
        for figure in figures(cell):
            self._figure(figure)

    def _begin(self, heading: str) -> None:
        self.slides.append(Slide(_inline(heading)))

    def _block(self, text: str) -> None:
        kind = next(kind for pattern, kind in RULES.items() if re.match(pattern, text))
        if kind in ("slide", "list", "pause"):
            self._takes = {"slide": "text"}.get(kind, kind)
            if kind != "pause":
                self._heading = text.partition("\n")[0].lstrip("# ")
                self._begin(self._heading)
        elif kind == "exercise":
            number, rest = re.match(r"\*\*(.+?)\.?\*\*\s*(.*)", text, re.DOTALL).groups()
            self._begin(f"Exercise {number}")
            self.slides[-1].parts.append(_html(rest))
        elif self._takes == "list":
            self.slides[-1].parts.append(_html(text))
        elif self._takes == "pause" or not self.slides:
            return
        elif kind == "aims":
            self._begin("You will be able to")
            aims = text.partition("**You will be able to**")[2].strip(" :.").split(" · ")
            self.slides[-1].parts.append(_html("\n".join(f"- {aim}" for aim in aims)))
        elif kind in ("line", "whole") or (kind == "text" and not self.slides[-1].parts):
            self.slides[-1].parts.append(_html(text if kind == "whole" else first_sentence(text)))

    def _figure(self, figure: str) -> None:
        is_other = self.slides and self.slides[-1].title != _inline(self._heading)
        if not self.slides or is_other or self.slides[-1].has_figure:
            self._begin(self._heading)
        self.slides[-1].parts.append(f'<div class="figure">{figure}</div>')
        self.slides[-1].has_figure = True


def figures(cell: NotebookNode) -> list[str]:
    """What a cell drew, as HTML that needs no kernel: images, and images to leaf through."""
    found = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if "image/png" in data:
            alt = html.escape(output.metadata.get("image/png", {}).get("alt", ""))
            png = "".join(data["image/png"].split())
            found.append(f'<img src="data:image/png;base64,{png}" alt="{alt}">')
        elif 'class="leaves"' in data.get("text/html", ""):
            found.append(data["text/html"])
    return found


def first_sentence(text: str) -> str:
    """Up to the first full stop, or the colon that ends a paragraph."""
    return _SENTENCE.split(" ".join(text.split()), maxsplit=1)[0]


def _html(text: str) -> str:
    # Pages lie elsewhere: only links into the network lead somewhere from a slide.
    text = re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?:)[^)]*\)", r"\1", text)
    return _FORMULA.sub(_scaled, markdown2html(typeset(text)))


def _scaled(found: re.Match) -> str:
    """A formula whose size follows that of the text, which is set in points for a page."""
    height = re.search(rb'height="([\d.]+)pt"', base64.b64decode(found["svg"]))
    sizes = (float(height[1]) / POINTS, float(found["depth"]) / POINTS)
    return found["before"] + "height:{:.3f}em;vertical-align:-{:.3f}em".format(*sizes)


def _inline(text: str) -> str:
    return re.sub(r"^<p>|</p>$", "", _html(text).strip())


def write_slides(root: Path, out: Path) -> list[str]:
    """Write a deck for each notebook, and an index of them; returns their names.

    Raises:
        DictcoError: if a notebook cannot be read, a formula set, or a file written.
    """
    templates = Environment(loader=FileSystemLoader(HERE), autoescape=False)
    template, decks = templates.get_template("slides.html.j2"), {}
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        with foreign(f"{path} is no notebook", OutputError, "mend it first"):
            notebook = nbformat.read(path, as_version=4)
        deck = decks[path.stem] = Deck(notebook)
        write_atomic(out / f"{path.stem}.html", template.render(deck=deck).encode())
    write_atomic(out / "index.html", template.render(decks=decks).encode())
    return list(decks)


def main(argv: list[str] | None = None) -> int:
    """Write the slides; 0, or 2 with a line that says what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder for the decks")
    parser.add_argument("--root", type=Path, default=HERE.parents[1], help="the project")
    args = parser.parse_args(argv)
    try:
        write_slides(args.root, args.out)
    except DictcoError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"open {args.out / 'index.html'}; arrow keys turn the slides, F is the whole screen")
    return 0


if __name__ == "__main__":
    sys.exit(main())
