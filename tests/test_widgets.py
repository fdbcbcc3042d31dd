"""Sliders show what the library computes, and compute it once."""

from __future__ import annotations

import io

import ipywidgets as w
import numpy as np
from PIL import Image

from dictco_lib.book import widgets
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

    slider, label, image = widgets.image_slider(code, w.IntSlider(1)).children
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
