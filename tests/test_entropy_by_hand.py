"""The page The entropy model, built by hand: its figures, and a case of its last exercise."""

from __future__ import annotations

import numpy as np
import pytest
from answers.entropy import BY_ROW, FOUND
from matplotlib import pyplot as plt

from dictco_lib.book import checks
from dictco_lib.book.plots import entropy as entropy_plots
from dictco_lib.book.plots.alt import alt_text


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_no_two_neighbours_in_either_diagonal():
    def other_diagonal(height, width):
        row, column = np.indices((height, width))
        return (row + column + 2 * (row // 2)) % 4  # (0, 1) and (1, 0) share a pass

    assert not checks.ex_entropy_4(other_diagonal)


def test_masks_are_told_by_how_much_they_know():
    said = alt_text(entropy_plots.known_places({"by row": BY_ROW, "nothing": np.zeros((5, 5))}))
    assert said.endswith("by row: 12 of 25; nothing: 0 of 25.")


def test_bars_say_what_y_and_z_take_together():
    figure = entropy_plots.step_bars(FOUND, own=1, places=10)
    assert alt_text(figure).endswith("fixed widths 1,000; hyperprior 750.")
    texts = [text.get_text().strip() for text in figure.axes[0].texts]
    assert texts == ["1,000 (100%)", "750 (75%)"]
