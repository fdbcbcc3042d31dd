"""Every figure comes with words for readers who do not see it."""

from __future__ import annotations

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from matplotlib import pyplot as plt

from dictco_lib.book import plots
from dictco_lib.book.plots.alt import alt_text
from dictco_lib.book.plots.bitstream import bit_maps

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
