"""Sliders show what the library computes, and compute it once."""

from __future__ import annotations

import base64
import io
import json

import ipywidgets as w
import numpy as np
from bs4 import BeautifulSoup
from PIL import Image

from dictco_lib.book import play, widgets
from dictco_lib.coding import decode, encode


def shown(image: w.Image) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(image.value)))


def test_the_quality_slider_shows_what_a_decoder_of_its_file_gets(nano, photo):
    slider, label, image = widgets.quality_slider(nano, photo, quality=30).children
    assert not slider.continuous_update
    for quality in (30, 80):
        slider.value = quality
        file = encode(nano, photo, quality)
        assert f"{len(file.data):,} bytes" in label.value
        assert np.array_equal(shown(image), np.asarray(decode(nano, file.data)))


def test_a_value_seen_before_is_not_computed_again():
    asked = []

    def code(value):
        asked.append(value)
        return np.full((4, 4, 3), value, np.uint8), f"{value}"

    slider, label, image = play.image_slider(code, w.IntSlider(1)).children
    for value in (2, 1, 2):
        slider.value = value
        assert label.value == str(value)
        assert np.all(shown(image) == value)
    assert asked == [1, 2]


def test_the_divider_shows_one_image_on_either_side():
    left, right = np.full((8, 200, 3), 10, np.uint8), np.full((8, 200, 3), 20, np.uint8)
    slider, label, image = widgets.divider(left, right, ("before", "after")).children
    for percent in (50, 0, 25, 100):
        slider.value = percent
        at, pixels = 2 * percent, shown(image)
        assert np.all(pixels[:, : max(at - 1, 0)] == 10)
        assert np.all(pixels[:, at + 1 :] == 20)
        assert np.all(pixels[:, max(at - 1, 0) : at + 1] == 255)
        assert label.value.startswith(f"{percent} %: before")
    assert np.all(left == 10) and np.all(right == 20)


def made_beforehand(widget: w.Widget) -> BeautifulSoup:
    """What stands on a page in the place of a widget."""
    bundle = widget._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle  # for the running notebook
    return BeautifulSoup(bundle["text/html"], "html.parser")


def frame(figure) -> np.ndarray:
    data = figure.img["src"].removeprefix("data:image/webp;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(int)


def test_the_page_shows_what_the_quality_slider_shows(nano, photo):
    widget = widgets.quality_slider(nano, photo, quality=30, alt="An astronaut.")
    soup = made_beforehand(widget)
    (slider,) = soup.select("input")
    assert json.loads(slider["data-names"]) == ["0", "25", "30", "50", "75", "100"]
    assert (slider["value"], slider["aria-valuetext"], soup.output.text) == ("2", "30", "30")
    figures = soup.select("figure")
    assert ["block" in figure["style"] for figure in figures] == [i == 2 for i in range(6)]
    for quality, figure in zip(json.loads(slider["data-names"]), figures, strict=True):
        file = encode(nano, photo, int(quality))
        assert f"{len(file.data):,} bytes" in figure.figcaption.text
        assert figure.img["alt"].startswith(f"An astronaut. {len(file.data):,} bytes")
        wanted = np.asarray(decode(nano, file.data)).astype(int)
        assert np.abs(frame(figure) - wanted).mean() < 3  # WebP is not lossless
    assert widget.children[1].value == figures[2].figcaption.decode_contents()


def test_several_sliders_choose_one_image():
    leaves = [
        play.Leaf(play.png_of(np.full((8, 8), 40 * i, np.uint8)), f"{i}", f"grey {i}")
        for i in range(6)
    ]
    html = play.with_sliders(leaves, {"row": ["a", "b"], "column": ["x", "y", "z"]}, [1, 0])
    soup = BeautifulSoup(html, "html.parser")
    assert [slider["data-stride"] for slider in soup.select("input")] == ["3", "1"]
    shown = [figure for figure in soup.select("figure") if "block" in figure["style"]]
    assert [figure.figcaption.text for figure in shown] == ["3"]
    assert abs(frame(shown[0]).mean() - 120) < 3


def test_a_slider_that_stays_where_it_is_has_none_on_the_page():
    def view(row, column):
        return play.Leaf(play.png_of(np.zeros((8, 8), np.uint8)), f"{row} {column}", "black")

    sliders = [w.IntSlider(1, 0, 9, description=name) for name in ("row", "column")]
    soup = made_beforehand(play.panel(sliders, view, [(0, 9)]))
    assert [json.loads(s["data-names"]) for s in soup.select("input")] == [["0", "1", "9"]]
    assert [caption.text for caption in soup.select("figcaption")] == ["0 1", "1 1", "9 1"]
