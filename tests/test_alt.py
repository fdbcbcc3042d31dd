"""Every figure comes with words for readers who do not see it."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup
from IPython.core.interactiveshell import InteractiveShell
from matplotlib import pyplot as plt

from dictco_lib.book import plots
from dictco_lib.book.plots.alt import alt_text
from dictco_lib.book.plots.bitstream import bit_maps

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
GREY = np.zeros((16, 16, 3), np.uint8)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_images_are_told_by_their_captions():
    assert alt_text(plots.image_row([GREY, GREY], ["original", "8 bytes"])) == (
        "2 images: original; 8 bytes."
    )
    maps = {"slice 0": np.ones((2, 2))}
    assert alt_text(bit_maps(GREY, maps)) == "Image: slice 0. Colours: bits per 16x16 pixels."


def test_charts_are_told_by_axes_and_names():
    curves = {"WebP": ([1, 2], [3, 4]), "JPEG 4:2:0": ([1, 2], [3, 4])}
    assert alt_text(plots.rd_curves(curves)) == (
        "Chart, x: rate (bits per pixel), y: PSNR, RGB (dB), showing WebP; JPEG 4:2:0."
    )
    assert alt_text(plots.bit_bars({"header": 80, "z": 240}, 100)) == (
        "Chart, x: bits per pixel of the image, "
        "showing header, 10 bytes, 25.0%; z, 30 bytes, 75.0%."
    )


def test_numbers_on_axes_are_not_names():
    figure, axis = plt.subplots()
    axis.set(xscale="log", xlabel="error", xlim=(1e-17, 1))
    assert alt_text(figure) == "Chart, x: error."


def test_a_figure_may_speak_for_itself():
    figure, _ = plt.subplots()
    figure.set_label("A staircase: the quantiser.")
    assert alt_text(figure) == "A staircase: the quantiser."


def test_what_there_is_to_see_comes_first_and_numbers_follow():
    plots.bit_bars({"header": 80, "z": 240}, 100)
    plots.describe("Two bars, the lower one three times as long.")
    assert alt_text(plt.gcf()) == (
        "Two bars, the lower one three times as long. Chart, x: bits per pixel of the image, "
        "showing header, 10 bytes, 25.0%; z, 30 bytes, 75.0%."
    )


def test_a_notebook_gets_the_alt_text_with_the_figure(monkeypatch):
    shell = InteractiveShell()
    monkeypatch.setattr("dictco_lib.book.plots.alt.get_ipython", lambda: shell)
    plots.use_style()
    figure = plots.image_row([GREY], ["original"])
    _, metadata = shell.display_formatter.format(figure)
    assert metadata["image/png"]["alt"] == "Image: original."


#: How a description begins that nobody wrote: names and numbers of the figure, and no more.
AUTOMATIC = re.compile(r"(\d+ images|Image|Chart)(:|,|\.| “|$)|Rows of small images:")


def told(notebook) -> list[str]:
    """The alternative texts of all images of a notebook."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                found.append(output.metadata.get("image/png", {}).get("alt", ""))
            soup = BeautifulSoup(data.get("text/html", ""), "html.parser")
            found += [image.get("alt", "") for image in soup.select("img")]
    return found


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_figure_says_by_hand_what_there_is_to_see(path):
    for text in told(nbformat.read(path, as_version=4)):
        assert not AUTOMATIC.match(text), text
        assert len(text) >= 40, text


def test_what_nobody_wrote_is_found():
    plots.bit_bars({"header": 80, "z": 240}, 100)
    plots.image_row([GREY], ["original"])
    plots.image_row([GREY, GREY], ["original", "decoded"])
    plots.patch_rows({"a": [GREY]})
    plt.subplots()
    assert all(AUTOMATIC.match(alt_text(plt.figure(i))) for i in plt.get_fignums())
    plots.describe("Nothing but black.")
    assert not AUTOMATIC.match(alt_text(plt.gcf()))
