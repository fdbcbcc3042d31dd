"""The page The entropy model, built by hand: its checkers and its figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from dictco_lib.book import checks
from dictco_lib.book.plots import entropy as entropy_plots
from dictco_lib.book.plots.alt import describe

FOUND = {"fixed widths": (1000.0, 0.0), "hyperprior": (700.0, 50.0)}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def normal(mean, width):
    return torch.distributions.Normal(mean, width)


def share(y, mean, width):
    return normal(mean, width).cdf(y + 0.5) - normal(mean, width).cdf(y - 0.5)


def price(y, mean, width):
    return -share(y, mean, width).log2()


def nats(y, mean, width):
    return -share(y, mean, width).log()


def height_of_the_curve(y, mean, width):
    return -normal(mean, width).log_prob(y) / math.log(2)


def off_by_half(y, mean, width):
    return -(normal(mean, width).cdf(y + 1) - normal(mean, width).cdf(y)).log2()


BY_ROW = np.zeros((5, 5))
BY_ROW[:2] = BY_ROW[2, :2] = 1
ONE_MORE, ONE_LESS, ITSELF = BY_ROW.T.copy(), BY_ROW.T.copy(), BY_ROW.T.copy()
ONE_MORE[3, 2] = ITSELF[2, 2] = 1
ONE_LESS[4, 1] = 0


def in_squares(height, width):
    row, column = np.indices((height, width))
    return 2 * (row % 2) + column % 2


def by_rows(height, width):
    return np.indices((height, width))[0] % 4


def checkerboard(height, width):
    return np.indices((height, width)).sum(0) % 2


@pytest.mark.parametrize(
    ("check", "answer", "context", "said"),
    [
        (checks.ex_entropy_1, 300.0, (FOUND,), "right!"),
        (checks.ex_entropy_1, 250.0, (FOUND,), "with its z paid"),
        (checks.ex_entropy_1, -300.0, (FOUND,), "sign is wrong"),
        (checks.ex_entropy_1, 50.0, (FOUND,), "does cost"),
        (checks.ex_entropy_1, 1000.0, (FOUND,), "is not it"),
        (checks.ex_entropy_2, price, (), "right!"),
        (checks.ex_entropy_2, nats, (), "nats"),
        (checks.ex_entropy_2, share, (), "a probability"),
        (checks.ex_entropy_2, height_of_the_curve, (), "height of the curve"),
        (checks.ex_entropy_2, off_by_half, (), "off by half"),
        (checks.ex_entropy_2, lambda *known: -price(*known), (), "sign is wrong"),
        (checks.ex_entropy_2, lambda y, mean, width: price(y, 0 * mean, width), (), "for y = -3"),
        (checks.ex_entropy_2, lambda *known: price(*known).sum(), (), "a number for each"),
        (checks.ex_entropy_2, lambda y: y, (), "could not use your answer"),
        (checks.ex_entropy_3, BY_ROW.T, (), "right!"),
        (checks.ex_entropy_3, BY_ROW, (), "row by row"),
        (checks.ex_entropy_3, ONE_MORE, (), "row 3, column 2 is not decoded yet"),
        (checks.ex_entropy_3, ONE_LESS, (), "row 4, column 1 is known, too"),
        (checks.ex_entropy_3, ITSELF, (), "the place itself"),
        (checks.ex_entropy_3, BY_ROW.T / 12, (), "0 and 1 only"),
        (checks.ex_entropy_3, np.ones((3, 3)), (), "expected 5 rows"),
        (checks.ex_entropy_4, in_squares, (), "right!"),
        (checks.ex_entropy_4, checkerboard, (), "(one 1 below, 1 to the right)"),
        (checks.ex_entropy_4, by_rows, (), "(one 0 below, 1 to the right)"),
        (checks.ex_entropy_4, lambda h, w: in_squares(h, w) + 1, (), "numbered 0 to 3"),
        (checks.ex_entropy_4, lambda h, w: in_squares(w, h), (), "expected the shape"),
        (checks.ex_entropy_4, in_squares(4, 4), (), "could not use your answer"),
        (checks.ex_entropy_4, None, (), "not done yet"),
    ],
)
def test_right_and_wrong_answers_are_judged(capsys, check, answer, context, said):
    assert check(answer, *context) is (said == "right!")
    assert said in capsys.readouterr().out


def test_no_two_neighbours_in_either_diagonal():
    def other_diagonal(height, width):
        row, column = np.indices((height, width))
        return (row + column + 2 * (row // 2)) % 4  # (0, 1) and (1, 0) share a pass

    assert not checks.ex_entropy_4(other_diagonal)


def test_masks_are_told_by_how_much_they_know():
    said = describe(entropy_plots.known_places({"by row": BY_ROW, "nothing": np.zeros((5, 5))}))
    assert said.endswith("by row: 12 of 25; nothing: 0 of 25.")


def test_bars_say_what_y_and_z_take_together():
    figure = entropy_plots.step_bars(FOUND, own=1, places=10)
    assert describe(figure).endswith("fixed widths 1,000; hyperprior 750.")
    texts = [text.get_text().strip() for text in figure.axes[0].texts]
    assert texts == ["1,000 (100%)", "750 (75%)"]
