"""The pages The model (1) to (3): their figures, and what their checkers lean on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from answers.model_entropy import geometric, written
from matplotlib import pyplot as plt

from dictco_lib.book import checks
from dictco_lib.book.checks.model_attention import _shifted
from dictco_lib.book.checks.model_entropy import table_bits
from dictco_lib.book.plots import entropy as entropy_plots
from dictco_lib.book.plots import model as drawings
from dictco_lib.book.plots.alt import alt_text
from dictco_lib.config import CLASSROOM, DCAE, NANO
from dictco_lib.entropy.gaussian import LOG_SCALES, scale_bins
from dictco_lib.layers.attention import WindowAttention
from dictco_lib.models import DictionaryCodec


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_the_use_of_a_table_is_told_by_its_first_row_and_lower_half():
    scales, numbers = LOG_SCALES.exp().numpy(), np.ones(64)
    bits = np.arange(64.0)
    figure = entropy_plots.table_use(scales, numbers, bits)
    assert "row 0 has 2% of the symbols and 0% of the bits" in alt_text(figure)
    assert alt_text(figure).endswith("lower half of the rows has 25% of the bits.")
    ticks = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert ticks[0] == "0\n(0.11)" and ticks[-1] == "56\n(108)"


def test_a_map_of_influence_is_as_wide_as_it_is_asked_to_be():
    grey = np.zeros((32, 48, 3), np.uint8)
    figure = drawings.influence_maps(grey, {"y": np.ones((32, 48))}, [(0, 0, 16)], width=4)
    assert figure.get_figwidth() == 4


def test_a_table_of_ones_own_costs_what_the_library_s_rows_cost():
    symbols, scales = written(None)
    same = table_bits(symbols, scales, LOG_SCALES.exp().numpy())
    assert same == pytest.approx(table_bits(symbols, scales), rel=1e-9)
    rows = scale_bins(torch.tensor(scales).log())
    normal = torch.distributions.Normal(0.0, LOG_SCALES.exp()[rows])
    x = torch.tensor(symbols)
    share = (normal.cdf(-x.abs() + 0.5) - normal.cdf(-x.abs() - 0.5)).clamp(min=1e-9)
    assert same == pytest.approx(float(-share.log2().sum()), rel=1e-4)
    order = np.random.default_rng(1).permutation(12)
    table = geometric(0.13, 18, 12)
    assert table_bits(symbols, scales, table[order]) == table_bits(symbols, scales, table)


@pytest.mark.parametrize("config", [CLASSROOM, DCAE, NANO], ids=lambda config: config.name)
@pytest.mark.parametrize("k", [1, 2])
def test_a_support_is_counted_as_the_model_builds_it(config, k):
    with torch.device("meta"):
        head = DictionaryCodec(config).latent_codec.slices[k]
    assert checks.ex_model_entropy_2(head.mean[0].in_channels, config, k)


def test_who_shares_a_shifted_window_is_what_the_layer_says():
    layer = WindowAttention(4, 4, 4, shifted=True).requires_grad_(False)
    x = torch.randn(1, 12, 12, 4)
    for place in [(0, 0), (1, 2), (5, 6), (11, 1), (7, 11)]:
        moved = x.clone().requires_grad_()
        layer.requires_grad_(True)(moved)[0, place[0], place[1]].sum().backward()
        sees = moved.grad[0].abs().sum(-1) > 0
        want = [[_shifted(place, (r, c), 4) for c in range(12)] for r in range(12)]
        assert torch.equal(sees, torch.tensor(want)), place
