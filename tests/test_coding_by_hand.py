"""The page Entropy coding by hand: its checkers, its figures, what it leafs through."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from matplotlib import pyplot as plt

from dictco_lib.book import checks, play
from dictco_lib.book.inspect.fixed import fixed_rate
from dictco_lib.book.plots import coding as coding_plots
from dictco_lib.book.plots.alt import describe
from dictco_lib.coding import encode
from dictco_lib.errors import ConfigError, QualityError
from dictco_lib.images import read_picture
from dictco_lib.models import Codec
from dictco_lib.plain import decode_plain, encode_plain

COUNTS = {"A": 4, "N": 3, "B": 1}
LETTERS = {"X": 5, "Y": 2, "Z": 1}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def take(minus=True, place=True):
    """The right way to take a letter off, or one that forgets something."""

    def way(x):
        row, left = divmod(x, 8)
        letter, start, count = next(
            (s, c, f) for s, c, f in (("X", 0, 5), ("Y", 5, 2), ("Z", 7, 1)) if left < c + f
        )
        return letter, count * row + (left if place else 0) - (start if minus and place else 0)

    return way


def shortest(low, width):
    for size in range(9):
        unit = 2 ** (64 - 8 * size)
        if (-(-low // unit) + 1) * unit <= low + width:
            return (-(-low // unit)).to_bytes(size, "big")
    raise AssertionError


def some_number_inside(low, width):
    """Bytes that are right if zeros follow, and only then."""
    for size in range(9):
        unit = 2 ** (64 - 8 * size)
        if -(-low // unit) * unit < low + width:
            return (-(-low // unit)).to_bytes(size, "big")
    raise AssertionError


@pytest.mark.parametrize(
    ("check", "answer", "context", "said"),
    [
        (checks.ex_coding_1, 3 / 128, (COUNTS, "NAB"), "right!"),
        (checks.ex_coding_1, -math.log2(3 / 128), (COUNTS, "NAB"), "in bits"),
        (checks.ex_coding_1, 8 / 8, (COUNTS, "NAB"), "multiply"),
        (checks.ex_coding_1, 1 / 8, (COUNTS, "NAB"), "is not it"),
        (checks.ex_coding_1, 0.5 + 3 / 8 * 7 / 16, (COUNTS, "NAB"), "begins"),
        (checks.ex_coding_1, "3/128", (COUNTS, "NAB"), "could not use your answer"),
        (checks.ex_coding_2, take(), (LETTERS,), "right!"),
        (checks.ex_coding_2, take(minus=False), (LETTERS,), "subtract where the counts"),
        (checks.ex_coding_2, take(place=False), (LETTERS,), "of its row"),
        (checks.ex_coding_2, lambda x: ("X", x // 8), (LETTERS,), "not back to"),
        (checks.ex_coding_2, lambda x: ("XYZ"[x % 3], x // 8), (LETTERS,), "is painted"),
        (checks.ex_coding_2, lambda x: x // 8, (LETTERS,), "could not use your answer"),
        (checks.ex_coding_3, 20, (1e-5,), "right!"),
        (checks.ex_coding_3, 21, (1e-5,), "are wasted"),
        (checks.ex_coding_3, 24, (1e-5,), "are wasted"),
        (checks.ex_coding_3, 19, (1e-5,), "so will 20"),
        (checks.ex_coding_3, 20.35, (1e-5,), "not a whole number"),
        (checks.ex_coding_4, shortest, (), "right!"),
        (checks.ex_coding_4, lambda low, width: low.to_bytes(8, "big"), (), "would do"),
        (checks.ex_coding_4, lambda low, width: low.to_bytes(8, "big")[:4], (), "goes on with 0s"),
        (checks.ex_coding_4, lambda low, width: b"", (), "outside"),
        (checks.ex_coding_4, some_number_inside, (), "if 0xff follows"),
        (checks.ex_coding_4, None, (), "not done yet"),
    ],
)
def test_right_and_wrong_answers_are_judged(capsys, check, answer, context, said):
    assert check(answer, *context) is (said == "right!")
    assert said in capsys.readouterr().out


def test_the_intervals_end_where_the_word_lies():
    said = describe(coding_plots.nested_intervals(COUNTS, "BANANA"))
    assert "from 0.912109 to 0.914307" in said
    assert "7 bars" in said


def test_the_painted_numbers_show_the_way_as_far_as_it_is_drawn():
    figure = coding_plots.painted_numbers(COUNTS, [8, 16, 45, 3799], rows=7)
    assert describe(figure).endswith("Arrows lead from 8 to 16 to 45.")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert [t for t in texts if t] == [f"{'AAAANNNB'[x % 8]} {x}" for x in range(56)]


def test_curves_of_excess_name_their_coders():
    figure = coding_plots.excess_curves([10, 100], {"range coder": [30, 40], "ANS": [50]}, 1e-4)
    assert "range coder from 30 to 40 bits; ANS from 50 to 50 bits" in describe(figure)


def test_leaves_are_pictures_of_which_one_is_shown():
    leaves = [play.leaf(coding_plots.nested_intervals(COUNTS, w), f"<{w}>") for w in ("A", "AN")]
    soup = BeautifulSoup(play.leaf_through(leaves, "letters", start=1).data, "html.parser")
    slider = soup.find("input")
    assert (slider["max"], slider["value"]) == ("1", "1")
    shown = ["block" in figure["style"] for figure in soup.select("figure")]
    assert shown == [False, True]
    assert [caption.text for caption in soup.select("figcaption")] == ["<A>", "<AN>"]
    for picture in soup.select("img"):
        assert picture["src"].startswith("data:image/png;base64,")
        assert "3 letters" not in picture["alt"] and "bars side by side" in picture["alt"]
    assert not plt.get_fignums()


def test_a_model_held_at_a_quality_computes_the_same(classroom, photo):
    x = read_picture(photo[:128, :192]).pixels[None]
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
    picture = np.asarray(decode_plain(fixed, plain))
    assert picture.shape == photo.shape
    assert 0.8 < len(plain) / len(file) < 1.6  # it pads to 128 pixels, with black


def test_what_cannot_be_held_at_a_quality_is_refused(classroom):
    with pytest.raises(ConfigError, match="of the family 'wacnn'"):
        fixed_rate(Codec.from_preset("nano_wacnn"), 50)
    with pytest.raises(QualityError, match="has one fixed rate"):
        fixed_rate(fixed_rate(classroom, 50), 50)
    with pytest.raises(QualityError, match="outside 0-100"):
        fixed_rate(classroom, 101)
