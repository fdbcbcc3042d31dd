"""The page Entropy coding by hand: its figures, what it leafs through, the model it holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from answers.coding import COUNTS
from bs4 import BeautifulSoup
from matplotlib import pyplot as plt

from dictco_lib.book import play
from dictco_lib.book.inspect.fixed import fixed_rate
from dictco_lib.book.plots import coding as coding_plots
from dictco_lib.book.plots.alt import alt_text
from dictco_lib.coding import encode
from dictco_lib.errors import ConfigError, QualityError
from dictco_lib.images import read_image
from dictco_lib.models import Codec
from dictco_lib.plain import decode_plain, encode_plain


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_the_intervals_end_where_the_word_lies():
    said = alt_text(coding_plots.nested_intervals(COUNTS, "BANANA"))
    assert "from 0.912109 to 0.914307" in said
    assert "7 bars" in said


def test_the_coloured_numbers_show_the_way_as_far_as_it_is_drawn():
    figure = coding_plots.coloured_numbers(COUNTS, [8, 16, 45, 3799], rows=7)
    assert alt_text(figure).endswith("Arrows lead from 8 to 16 to 45.")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert [t for t in texts if t] == [f"{'AAAANNNB'[x % 8]} {x}" for x in range(56)]


def test_curves_of_excess_name_their_coders():
    figure = coding_plots.excess_curves([10, 100], {"range coder": [30, 40], "ANS": [50]}, 1e-4)
    assert "range coder from 30 to 40 bits; ANS from 50 to 50 bits" in alt_text(figure)


def test_leaves_are_images_of_which_one_is_shown():
    leaves = [play.leaf(coding_plots.nested_intervals(COUNTS, w), f"<{w}>") for w in ("A", "AN")]
    soup = BeautifulSoup(play.leaf_through(leaves, "letters", start=1).data, "html.parser")
    slider = soup.find("input")
    assert (slider["max"], slider["value"]) == ("1", "1")
    shown = ["block" in figure["style"] for figure in soup.select("figure")]
    assert shown == [False, True]
    assert [caption.text for caption in soup.select("figcaption")] == ["<A>", "<AN>"]
    for image in soup.select("img"):
        assert image["src"].startswith("data:image/webp;base64,")
        assert "3 letters" not in image["alt"] and "bars side by side" in image["alt"]
    assert not plt.get_fignums()


def test_a_model_held_at_a_quality_computes_the_same(classroom, photo):
    x = read_image(photo[:128, :192]).pixels[None]
    for quality in (0, 47, 100):
        fixed = fixed_rate(classroom, quality)
        with torch.no_grad():
            want, got = classroom(x, quality), fixed(x)
        for name in "yz":
            bits = [-out["likelihoods"][name].log2().sum() for out in (want, got)]
            torch.testing.assert_close(*bits, rtol=1e-3, atol=0.5)
        torch.testing.assert_close(want["x_hat"], got["x_hat"], rtol=0, atol=0.02)


def test_a_model_held_at_a_quality_writes_plain_files(classroom, photo):
    fixed = fixed_rate(classroom, 50)
    plain = encode_plain(fixed, photo)
    file = encode(classroom, photo, 50).data
    image = np.asarray(decode_plain(fixed, plain))
    assert image.shape == photo.shape
    assert 0.8 < len(plain) / len(file) < 1.6  # it pads to 128 pixels, with black


def test_what_cannot_be_held_at_a_quality_is_refused(classroom):
    with pytest.raises(ConfigError, match="of the family 'wacnn'"):
        fixed_rate(Codec.from_preset("nano_wacnn"), 50)
    with pytest.raises(QualityError, match="has one fixed rate"):
        fixed_rate(fixed_rate(classroom, 50), 50)
    with pytest.raises(QualityError, match="outside 0-100"):
        fixed_rate(classroom, 101)
