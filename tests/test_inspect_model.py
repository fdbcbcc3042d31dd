"""Looks into a model: rooms add up, attention by hand equals the layers, entries find places."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dictco_lib.book import widgets
from dictco_lib.book.inspect import entries, rooms, structure
from dictco_lib.book.inspect.windows import place_weights
from dictco_lib.config import NANO
from dictco_lib.images import read_image
from dictco_lib.layers.attention import WindowAttention
from dictco_lib.layers.hooks import watching
from dictco_lib.models import DictionaryCodec


@pytest.fixture
def x(photo) -> torch.Tensor:
    return read_image(photo[:128, :192]).pixels[None]


def shrunk_dcae():
    """One dictionary for all slices, attention at every stride, a fixed rate."""
    return replace(NANO, experts=0, lmbdas=(), blocks=(1, 1, 1), name="shrunk")


def test_reach_is_that_of_kernels_and_windows():
    model = DictionaryCodec(NANO).eval().requires_grad_(False)
    reach = rooms.measure_reach(model, length=1024)
    assert reach["g_a", "down to 1/2"] == 1 + 4 + 2 * 2
    assert reach["g_a", "down to 1/4"] == 9 + 4 * 2 + 2 * 4
    # 15 places for the dictionary (7x7 aggregate, 7x7 gate, 3x3 MLP); three 3x3 kernels more.
    assert reach["slices", "dictionary attention"] == 16 * 15
    assert reach["slices", "means"] == reach["slices", "LRP"] == 16 * 21
    assert reach["g_a", "attention at 1/8"] >= 64
    table = rooms.rooms_table(rooms.measure_rooms(NANO), reach)
    assert table.count("\n") == len(reach) + 4


def test_influence_is_the_squared_jacobian():
    conv = nn.Conv2d(1, 3, 3, padding=1, bias=False)
    found = rooms.influence(conv, torch.rand(1, 1, 9, 9), (4, 5), draws=400)
    want = conv.weight.square().sum((0, 1))
    torch.testing.assert_close(found[3:6, 4:7], want, rtol=0.3, atol=0.02)
    assert not found[:3].any() and not found[:, 7:].any()


@pytest.mark.parametrize("shifted", [False, True])
def test_attention_weights_are_those_of_the_layer(shifted):
    layer = WindowAttention(12, 6, 4, shifted=shifted).requires_grad_(False)
    nn.init.normal_(layer.bias)
    tokens = torch.randn(1, 8, 12, 12)
    values = layer.qkv(tokens)[0, ..., 24:].unflatten(-1, (2, 6))  # (H, W, h, d)
    want = layer(tokens)[0]
    for place in [(0, 0), (3, 7), (7, 11)]:
        weights = place_weights(layer, tokens, *place)
        torch.testing.assert_close(weights.sum((1, 2)), torch.ones(2))
        assert (weights > 0).any(0).sum() <= 16
        read = torch.einsum("hij,ijhd->hd", weights, values).flatten()
        torch.testing.assert_close(layer.proj(read), want[place])


def test_watching_keeps_calls_and_leaves_nothing_behind(nano, x):
    head = nano.latent_codec.slices[0]
    with watching({"lrp": head.lrp, "attention": head.attention}) as seen:
        out = nano(x, 50)
    assert seen["lrp"].output.shape == (1, nano.config.groups[0], 8, 12)
    assert seen["attention"].output.shape[1] == nano.config.context_channels
    assert not head.lrp._forward_hooks
    assert out["x_hat"].shape == x.shape


@pytest.mark.parametrize("config", [NANO, shrunk_dcae()], ids=["mixture", "shared"])
def test_entry_weights_add_up_within_each_expert(config, x):
    model = DictionaryCodec(config).eval()
    quality = 50 if config.lmbdas else None
    weights = entries.entry_weights(model, x, 1, quality)
    assert weights.shape == (config.heads, config.experts or 1, config.entries, 8, 12)
    torch.testing.assert_close(weights.sum(2), torch.ones_like(weights[:, :, 0]))


def test_properties_tell_simple_images_apart():
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::4] = 255
    upright, lying = (
        entries.properties(p)["upright edges"] for p in (stripes, stripes.swapaxes(0, 1))
    )
    assert (upright > 0.5).all() and (lying < -0.5).all()
    blue = np.zeros((16, 16, 3), np.uint8)
    blue[:8, :, 2] = 255
    found = entries.properties(blue)
    assert found["blue"] == pytest.approx(0.5) and found["bright above"] > 0
    assert found["red"] == 0


def test_correlations_find_the_entry_that_was_made_for_it():
    rng = np.random.default_rng(0)
    measures = [{"a": rng.normal(size=(4, 5))} for _ in range(2)]
    weights = [torch.from_numpy(rng.random((2, 3, 4, 4, 5))) for _ in range(2)]
    for w, m in zip(weights, measures, strict=True):
        w[1, 2, 3] = torch.from_numpy(2 * m["a"] + 7)
    found = entries.correlations(weights, measures)["a"]
    assert found.shape == (2, 3, 4)
    assert found[1, 2, 3] == pytest.approx(1) and np.unravel_index(found.argmax(), found.shape) == (
        1,
        2,
        3,
    )


def test_top_places_are_the_largest_and_lie_apart():
    maps = [np.zeros((6, 6)), np.zeros((6, 6))]
    maps[0][2, 2], maps[0][2, 3], maps[1][0, 5] = 3, 2, 1
    assert structure.top_places(maps, count=2) == [(0, 2, 2), (1, 0, 5)]
    assert len(structure.top_places(maps, count=100)) <= 8
    photo = np.arange(96 * 96 * 3, dtype=np.uint8).reshape(96, 96, 3)
    assert np.array_equal(structure.patch(photo, 2, 3, side=16), photo[32:48, 48:64])
    assert structure.patch(photo, 0, 5).shape == (48, 48, 3)


def test_the_window_picker_redraws(photo):
    layer = WindowAttention(12, 6, 4, shifted=True).requires_grad_(False)
    view = widgets.window_picker(photo[:64, :96], {"block": (layer, torch.randn(1, 8, 12, 12))})
    (row, _), image = view.children[0].children, view.children[1]
    before = image.value
    row.value = 5
    assert image.value != before
    row.value = 0
    assert image.value == before
