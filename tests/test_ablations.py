"""Parts switched off: only what should change changes, and everything comes back."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from dictco_lib.book import widgets
from dictco_lib.book.inspect import ablations
from dictco_lib.book.inspect.ablations import PARTS, Means, mean_outputs, switched_off
from dictco_lib.book.inspect.routing import only, rerouted
from dictco_lib.book.plots import ablations as figures
from dictco_lib.coding import decode, encode
from dictco_lib.errors import BitstreamError, OptionError
from dictco_lib.images import read_image
from dictco_lib.models import DictionaryCodec, preset


@pytest.fixture
def image(photo):
    return read_image(photo[:128, :192])


@pytest.fixture(scope="module")
def means(classroom, photo) -> Means:
    return mean_outputs(classroom, [read_image(photo[:128, 100:228])], (0, 100))


def run(model, image) -> dict:
    with torch.no_grad():
        return model(image.pixels[None].to(next(model.parameters())), 50, return_routing=True)


def same(a: dict, b: dict) -> bool:
    return torch.equal(a["x_hat"], b["x_hat"]) and all(
        torch.equal(a["likelihoods"][name], b["likelihoods"][name]) for name in "yz"
    )


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("is_mean", [False, True], ids=["zero", "mean"])
def test_every_part_changes_something_and_comes_back(classroom, image, means, part, is_mean):
    before = run(classroom, image)
    with switched_off(classroom, [part], means if is_mean else None):
        assert not same(before, run(classroom, image))
    assert same(before, run(classroom, image))


def test_parts_come_back_after_an_exception(classroom, image):
    before = run(classroom, image)
    with pytest.raises(KeyError), switched_off(classroom, PARTS):
        raise KeyError
    assert same(before, run(classroom, image))
    modules = list(classroom.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in modules)


def test_without_lrp_the_latent_is_what_was_rounded(classroom, image):
    codec, x = classroom.latent_codec, image.pixels[None]
    level = classroom.level(50, x)
    with torch.no_grad(), switched_off(classroom, ["LRP"]):
        out = codec(classroom.g_a(x), level)
    para = out["para"]
    rounded = (para["y"] - para["means"]).round() + para["means"]
    torch.testing.assert_close(out["y_hat"], rounded * codec.gain_y.inverse(level))


def test_without_hyperprior_z_is_free_and_says_nothing(classroom, image):
    with switched_off(classroom, ["hyperprior"]):
        before = run(classroom, image)
        with classroom.latent_codec.h_a.register_forward_hook(lambda module, args, z: z + 3):
            assert same(before, run(classroom, image))
    assert (before["likelihoods"]["z"] == 1).all()


def test_without_earlier_slices_each_slice_is_predicted_from_z_alone(classroom, image):
    groups = classroom.config.groups
    start = sum(groups[:1])

    def change(module, args, output):  # of what slice 0 hands to the others
        return output + 1

    with switched_off(classroom, ["slices"]):
        before = run(classroom, image)["para"]["means"][:, start:]
        with classroom.latent_codec.slices[0].lrp.register_forward_hook(change):
            after = run(classroom, image)["para"]["means"][:, start:]
    assert torch.equal(before, after)


def test_without_router_all_gates_are_equal(classroom, image):
    with switched_off(classroom, ["router"]):
        assert all((gates == 1 / 4).all() for gates in run(classroom, image)["routing"])


def test_means_are_those_of_what_the_parts_hand_on(classroom, photo):
    x = read_image(photo[:64, :64])
    seen = {}
    codec = classroom.latent_codec
    attention = codec.slices[2].attention
    hooks = [
        codec.h_mean.register_forward_hook(lambda m, a, out: seen.update(h_mean=out)),
        attention.register_forward_hook(lambda m, a, out: seen.update(context=out[0], query=a[0])),
    ]
    for hook in hooks:
        with hook:
            run(classroom, x)
    means = mean_outputs(classroom, [x], [50])
    torch.testing.assert_close(means["h_mean"], seen["h_mean"].mean((0, 2, 3))[:, None, None])
    torch.testing.assert_close(means["slices.2.attention.fc_out"], seen["context"].mean((0, 2, 3)))
    earlier = seen["query"][:, 2 * classroom.config.hyper_channels :]
    torch.testing.assert_close(means["slices.2"], earlier.mean((0, 2, 3))[:, None, None])


def test_switches_add_up_in_any_order(classroom, image, means):
    parts = ("hyperprior", "context", "gains")
    outs = []
    for order in itertools.permutations(parts):
        with switched_off(classroom, order, means):
            outs.append(run(classroom, image))
    assert all(same(outs[0], out) for out in outs)


def test_files_of_an_ablated_model_decode_inside_and_leave_nothing_behind(classroom, photo):
    pixels = photo[:64, :64]
    data = encode(classroom, pixels, 50).data
    with switched_off(classroom, ["dictionary", "LRP"]):
        other = encode(classroom, pixels, 50).data
        image = np.asarray(decode(classroom, other))
    assert other != data and image.shape == pixels.shape
    assert encode(classroom, pixels, 50).data == data
    with pytest.raises(BitstreamError):
        decode(classroom, other)


@pytest.mark.parametrize(
    ("change", "part"),
    [({}, "lpr"), ({"experts": 1, "entries": 64}, "router"), ({"lmbdas": ()}, "gains")],
)
def test_parts_that_a_model_lacks_are_named(change, part):
    model = DictionaryCodec(replace(preset("nano"), **change)).eval()
    with pytest.raises(OptionError, match=part), switched_off(model, [part]):
        pass


def test_an_outcome_has_all_bits_of_a_image(classroom, photo):
    image = read_image(photo[:100, :100])  # padded to 128x128
    found = ablations.reconstruct(classroom, image, 50)
    curve = ablations.rd_curves(classroom, {"a": image}, [50])["a"]
    assert found.bits.shape == (8, 8) and found.pixels.shape == (100, 100, 3)
    assert found.bits.sum() / 100**2 == pytest.approx(curve.bpp[0], rel=1e-4)
    assert found.psnr == pytest.approx(curve.psnr[0], abs=1e-3)


def test_a_sparse_evaluation_gives_the_numbers_of_the_dense_one(classroom, image):
    # In float64: sums of another order would, in float32, now and then round a symbol otherwise.
    model = copy.deepcopy(classroom).double()
    for k in (1, 2, 4):
        with rerouted(model, ablations.strongest(k)):
            dense = run(model, image)
        with ablations.sparse(model, k):
            sparse = run(model, image)
        torch.testing.assert_close(dense["x_hat"], sparse["x_hat"], atol=1e-9, rtol=0)
        assert all(((gates > 0).sum(1) == k).all() for gates in sparse["routing"])
    assert "attend" not in vars(model.latent_codec.slices[0].attention)


def test_an_expert_that_nobody_chose_is_no_trouble(classroom, image):
    attention = classroom.latent_codec.slices[0].attention
    q = torch.randn(1, 2, 3, classroom.config.dictionary_dim)
    gates = only(2)(torch.full((1, 2, 3, 4), 0.25))
    with torch.no_grad():
        torch.testing.assert_close(
            ablations.sparse_attend(attention, q, attention.experts, gates),
            attention.attend(q, attention.experts, gates),
        )


def test_arithmetic_is_that_of_the_formula():
    config = preset("nano")
    counts = ablations.macs_by_part(DictionaryCodec(config).eval(), torch.rand(2, 3, 64, 60), 50)
    places = 2 * 4 * 4
    entries = config.experts * config.entries
    assert counts["dictionaries"] == 2 * places * entries * config.dictionary_dim * 3
    assert all(n > 0 for n in counts.values())


def test_figures_show_what_they_are_given(photo):
    costs = {"dictionary": {"zeros": [9, -12], "means": [1, 2]}, "router": {"zeros": [0.1, 400.0]}}
    axis = figures.cost_dots(costs, "%").axes[0]
    assert [text.get_text() for text in axis.texts] == ["-1.5", "+200.1", "+1.5"]
    maps = {"a": np.full((8, 8), 3.0), "b": np.full((8, 8), -5.0)}
    *panels, bar = figures.extra_bits(photo[:128, :128], maps).axes
    assert len(panels) == 3 and bar.get_ylim() == (-5, 5)
    bars = figures.marked_bars({"a": 1, "b": 3}, "%", "b").axes[0]
    assert [text.get_text() for text in bars.texts] == [" 25.0 %", " 75.0 %"]


def test_the_panel_answers_every_control(classroom, image, means):
    panel = widgets.ablation_panel(classroom, image, means)
    box, fill, slider, label, figure = panel.children
    said = [label.value]
    assert "+0.0%, +0.00 dB" in said[0]
    for control, value in ((box.children[0], True), (fill, "zeros"), (slider, 80)):
        before = figure.value
        control.value = value
        said.append(label.value)
        assert figure.value != before
    assert len(set(said)) == 4
    box.children[0].value, fill.value, slider.value = False, "means", 50
    assert label.value == said[0]
