"""The notebooks as a book of HTML pages with an index, which reads without a kernel or a network.

``make workbook`` runs ``python notebooks/book/book.py build/workbook``. Each page is written when
its notebook was executed; a second call executes only what changed since, or did not get done.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from dictco_lib.errors import DictcoError
from dictco_lib.files import write_atomic

import nbformat
from execution import Failure, Progress, cell_limit, digest_of, executed
from formulas import typeset
from jinja2 import Environment, FileSystemLoader
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html
from nbformat import NotebookNode
from nbformat import ValidationError as NotebookValidationError
from nbformat.v4 import new_markdown_cell, new_notebook

HERE = Path(__file__).parent
WIDGET = "application/vnd.jupyter.widget-view+json"
#: For a widget without images made beforehand: there is a still image near it.
STILL = '<p class="still">Here the running notebook has a control to move.</p>'


@dataclass
class Page:
    """What the index says of a notebook: title, promise, and what came of executing it."""

    path: Path
    title: str
    promise: str
    seconds: float | None = None
    failure: Failure | None = None
    is_written: bool = False

    @property
    def name(self) -> str:
        """The page's name, without a suffix."""
        return self.path.stem


def read_page(path: Path, out: Path) -> Page:
    """The title and the promise of a notebook; its name, if it does not begin with them."""
    page = Page(path, path.stem, "", is_written=(out / f"{path.stem}.html").exists())
    # A notebook without them, or that is none, is named when its turn comes.
    with contextlib.suppress(ValueError, IndexError, AttributeError, NotebookValidationError):
        first = nbformat.read(path, as_version=4).cells[0]
        heading, promise = first.source.split("\n\n")[:2]
        page.title, page.promise = heading.removeprefix("# "), markdown2html(promise)
    return page


def for_reading(notebook: NotebookNode) -> None:
    """Links lead to pages, formulas are set, and what needs a kernel gives way to what does not."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\]\((\w+)\.ipynb", r"](\1.html", cell.source)
            cell.source = re.sub(r"\]\(\.\./data/(\w+)\.md", r"](card_\1.html", cell.source)
            cell.source = typeset(cell.source)
        for output in cell.get("outputs", []):
            if WIDGET in output.get("data", {}):
                made = output.data.get("text/html", STILL)
                output.data = NotebookNode({"text/html": made})


class Book:
    """Writes the pages of a project into a folder; every file is replaced as a whole."""

    def __init__(self, root: Path, out: Path) -> None:
        self.root, self.out = root, out
        self.pages = [read_page(path, out) for path in sorted((root / "notebooks").glob("*.ipynb"))]
        self._exporter = HTMLExporter(template_file=str(HERE / "page.html.j2"))
        templates = Environment(loader=FileSystemLoader(HERE), autoescape=False)
        self._index = templates.get_template("index.html.j2")

    def write(self, *, execute: bool = True) -> list[Failure]:
        """Write a page for each notebook, the cards of the weights, and the index.

        Args:
            execute: run the notebooks; otherwise take the outputs that they were saved with.

        Returns:
            The notebooks that stopped; their pages end in the error, and the next call runs them.
        """
        self._write_cards()
        digest = digest_of(self.root) if execute else ""
        progress = Progress()
        for page in self.pages:
            if execute:
                keep = self.out / "executed" / page.path.name
                done = executed(page.path, keep, digest, progress)
                notebook, page.seconds, page.failure = done
            else:
                notebook = nbformat.read(page.path, as_version=4)
            self._write_page(page, notebook)
            self._write_index()
        return [page.failure for page in self.pages if page.failure]

    def _write_page(self, page: Page, notebook: NotebookNode) -> None:
        for_reading(notebook)
        notebook.metadata.title = page.title
        at = self.pages.index(page)
        before, after = self.pages[at - 1 : at], self.pages[at + 1 : at + 2]
        self._export(page.name, notebook, before=[*before, None][0], after=[*after, None][0])
        page.is_written = True

    def _write_cards(self) -> None:
        for card in sorted((self.root / "data").glob("*.md")):
            text = re.sub(r"\]\((\w+)\.md", r"](card_\1.html", card.read_text(encoding="utf-8"))
            notebook = new_notebook(cells=[new_markdown_cell(text)])
            self._export(f"card_{card.stem}", notebook, before=None, after=None)

    def _write_index(self) -> None:
        index = self._index.render(pages=self.pages)
        write_atomic(self.out / "index.html", index.encode())

    def _export(
        self, name: str, notebook: NotebookNode, *, before: Page | None, after: Page | None
    ) -> None:
        resources = {"before": before, "after": after, "metadata": {"name": name}}
        body, _ = self._exporter.from_notebook_node(notebook, resources)
        write_atomic(self.out / f"{name}.html", body.encode())


def main() -> int:
    """Write the book; 0, 1 if a notebook stopped, 130 if the user stopped it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder for the pages")
    parser.add_argument("--kept", action="store_true", help="take saved outputs, execute nothing")
    parser.add_argument("--root", type=Path, default=HERE.parents[1], help="the project")
    arguments = parser.parse_args()
    try:
        cell_limit()  # what is wrong with it is said before the work
        failures = Book(arguments.root, arguments.out).write(execute=not arguments.kept)
    except DictcoError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on with the notebook that was running")
        return 130
    print(f"open {arguments.out / 'index.html'}")
    for failure in failures:
        print(failure, file=sys.stderr)
    if failures:
        print(
            f"{len(failures)} notebooks stopped; the same command runs them again", file=sys.stderr
        )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
