"""The notebooks as a book of HTML pages with an index, which reads without a kernel or a network.

``make workbook`` runs ``python notebooks/book/book.py build/workbook``.
"""

from __future__ import annotations

import argparse
import re
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
from jinja2 import Environment, FileSystemLoader
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook

HERE = Path(__file__).parent
NOTEBOOKS = HERE.parent
WIDGET = "application/vnd.jupyter.widget-view+json"
#: Every widget has a still picture near it, so a page needs no more than this in its place.
STILL = '<p class="still">Here the running notebook has a control to move.</p>'


@dataclass
class Page:
    """A notebook, ready to be written: its name, title, promise, and seconds if it was run."""

    name: str
    title: str
    promise: str
    notebook: NotebookNode
    seconds: float | None


def read_page(path: Path, *, execute: bool) -> Page:
    """A notebook with its kept outputs, or executed from top to bottom."""
    notebook = nbformat.read(path, as_version=4)
    heading, promise = notebook.cells[0].source.split("\n\n")[:2]
    seconds = None
    if execute:
        start = time.perf_counter()
        resources = {"metadata": {"path": str(path.parent)}}
        quiet = ["--log-level=40"]  # errors only, amid the seconds that are printed
        NotebookClient(
            notebook, timeout=300, resources=resources, store_widget_state=False,
            extra_arguments=quiet,
        ).execute()  # fmt: skip
        seconds = time.perf_counter() - start
    for_reading(notebook)
    title = heading.removeprefix("# ")
    notebook.metadata.title = title
    return Page(path.stem, title, markdown2html(promise), notebook, seconds)


def for_reading(notebook: NotebookNode) -> None:
    """Links lead to pages, and a line stands where a widget needs a kernel."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\]\((\w+)\.ipynb", r"](\1.html", cell.source)
            cell.source = re.sub(r"\]\(\.\./data/(\w+)\.md", r"](card_\1.html", cell.source)
        for output in cell.get("outputs", []):
            if WIDGET in output.get("data", {}):
                output.data = NotebookNode({"text/html": STILL})


def write_book(out: Path, *, execute: bool = True) -> list[Page]:
    """Write a page for each notebook, the cards of the weights, and the index.

    Args:
        out: the folder to write to.
        execute: run the notebooks; otherwise take the outputs that they were saved with.
    """
    out.mkdir(parents=True, exist_ok=True)
    exporter = HTMLExporter(template_file=str(HERE / "page.html.j2"))
    pages = []
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        print(path.name, end=" ", flush=True)
        pages.append(read_page(path, execute=execute))
        print("" if pages[-1].seconds is None else f"{pages[-1].seconds:.0f} s")
    for before, page, after in zip([None, *pages], pages, [*pages[1:], None], strict=False):
        resources = {"before": before, "after": after, "metadata": {"name": page.name}}
        body, _ = exporter.from_notebook_node(page.notebook, resources)
        (out / f"{page.name}.html").write_text(body, encoding="utf-8")
    for card in sorted((NOTEBOOKS.parent / "data").glob("*.md")):
        notebook = new_notebook(cells=[new_markdown_cell(card.read_text())])
        resources = {"before": None, "after": None, "metadata": {"name": f"card_{card.stem}"}}
        body, _ = exporter.from_notebook_node(notebook, resources)
        (out / f"card_{card.stem}.html").write_text(body, encoding="utf-8")
    templates = Environment(loader=FileSystemLoader(HERE), autoescape=False)
    index = templates.get_template("index.html.j2").render(pages=pages)
    (out / "index.html").write_text(index, encoding="utf-8")
    return pages


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder for the pages")
    parser.add_argument("--kept", action="store_true", help="take saved outputs, execute nothing")
    arguments = parser.parse_args()
    write_book(arguments.out, execute=not arguments.kept)
    print(f"open {arguments.out / 'index.html'}")
