"""What the experts follow: outcomes, structures, fair chance, attention inside an expert."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dictco_lib.book import widgets
from dictco_lib.book.inspect.attention import expert_attention, in_use
from dictco_lib.book.inspect.outcome import Outcome, Subject, change, measure, middle, prepare
from dictco_lib.book.inspect.routing import choice_bits, given, only, rerouted, sharpened
from dictco_lib.book.inspect.structure import (
    agreement,
    moved,
    mutual_information,
    quartiles,
    rank_correlation,
    shuffled,
    structures,
    top_patches,
)
from dictco_lib.errors import ImageError
from dictco_lib.training.loss import rate_distortion


@pytest.fixture(scope="module")
def subject(classroom, photo) -> Subject:
    return prepare(classroom, photo[:130, :200], 50)


@pytest.fixture(scope="module")
def outcome(classroom, subject) -> Outcome:
    return measure(classroom, subject)


def test_the_middle_of_a_image_has_whole_places(photo):
    assert middle(photo).shape == (192, 256, 3)
    cut = middle(photo, (70, 128))
    np.testing.assert_array_equal(cut, photo[69:133, 86:214])
    with pytest.raises(ImageError, match="no middle"):
        middle(photo[:50])


def test_an_outcome_is_what_the_model_says_of_the_image(classroom, subject, outcome):
    x = torch.from_numpy(subject.pixels).permute(2, 0, 1)[None] / 255
    out = classroom(x, 50)
    parts = out["likelihoods"]["y"].split(classroom.config.groups, dim=1)
    y_bits = [-part.log2().sum().item() for part in parts]
    assert outcome.y_bits.sum((1, 2)) == pytest.approx(y_bits, rel=1e-5)
    lmbda = torch.tensor([classroom.config.lmbda(50)])
    loss = rate_distortion(out, x, lmbda)
    pixels = subject.pixels[..., 0].size
    assert outcome.bits == pytest.approx(loss["bpp"].item() * pixels, rel=1e-5)
    # That loss knows no 8-bit pixels.
    assert outcome.cost == pytest.approx(loss["loss"].item() * pixels, rel=2e-3)
    quick = measure(classroom, subject, bits_only=True)
    assert quick.bits == outcome.bits and math.isnan(quick.cost)


def test_a_change_is_counted_in_percent_of_the_bits(classroom, subject, outcome):
    assert change(outcome, outcome) == change(outcome, measure(classroom, subject))
    with rerouted(classroom, only(0)):
        forced = measure(classroom, subject)
    found = change(outcome, forced)
    assert found.bits == pytest.approx(100 * (forced.bits - outcome.bits) / outcome.bits)
    assert found.psnr == pytest.approx(forced.psnr - outcome.psnr)
    price = subject.lmbda * (forced.mse - outcome.mse) * subject.pixels[..., 0].size
    assert found.cost == pytest.approx(found.bits + 100 * price / outcome.bits)


def test_powers_of_gates_go_from_uniform_to_the_winner():
    gates = torch.tensor([0.5, 0.25, 0.25]).reshape(1, 1, 1, 3)
    for power, want in {
        0: [1 / 3] * 3, 1: [0.5, 0.25, 0.25], 2: [2 / 3, 1 / 6, 1 / 6], math.inf: [1, 0, 0],
    }.items():  # fmt: skip
        torch.testing.assert_close(sharpened(power)(gates).flatten(), torch.tensor(want).float())


def test_given_experts_take_their_places():
    gates = given(torch.tensor([[0, 2], [1, 1]]))(torch.full((2, 2, 2, 3), 1 / 3))
    assert gates.argmax(-1).tolist() == [[[0, 2], [1, 1]]] * 2 and gates.sum() == 8


def test_a_place_tells_all_about_a_chosen_expert_and_nothing_about_constant_gates():
    chosen = torch.eye(4).reshape(4, 2, 2)
    assert choice_bits([chosen]) == pytest.approx(2)
    constant = torch.tensor([0.7, 0.1, 0.1, 0.1]).reshape(4, 1, 1).expand(4, 2, 2)
    assert choice_bits([constant, constant]) == pytest.approx(0, abs=1e-6)


def test_structures_find_what_was_drawn():
    image = np.full((32, 64, 3), 100, np.uint8)
    image[:, 8:] = 200  # an upright edge through the first column of places
    image[:16, 48:] = np.random.default_rng(0).integers(0, 255, (16, 16, 1))
    image[16:, 48:] = (200, 100, 50)
    found = structures(image)
    assert {m.shape for m in found.values()} == {(2, 4)}
    assert np.unravel_index(found["texture"].argmax(), (2, 4)) == (0, 3)
    assert found["straightness"][0, 0] > 0.99 and found["straightness"][0, 3] < 0.5
    assert found["edges"][0, 1] < 1e-9 < found["edges"][0, 0] < found["edges"][0, 3]
    assert found["warmth"][1, 3] == pytest.approx(150 / 255)
    assert found["saturation"][:, :3].max() == 0


def test_mutual_information_of_known_labels():
    a = np.array([0, 0, 1, 1])
    assert mutual_information(a, a) == pytest.approx(1)
    assert mutual_information(a, np.array([0, 1, 0, 1])) == pytest.approx(0)
    assert rank_correlation([a], [np.exp(a)]) == pytest.approx(1)
    assert [q.tolist() for q in quartiles([np.arange(4.0), np.arange(4.0, 8)])] == [
        [0, 0, 1, 1],
        [2, 2, 3, 3],
    ]


def test_smooth_maps_agree_by_chance_more_when_moved_than_when_shuffled():
    down, across = np.mgrid[:16, :24]
    smooth = [down + across + 0.0, down - 0.5 * across]
    labels = [(across > 12).astype(int), (down > 8).astype(int)]
    fair = agreement(labels, smooth)
    naive = agreement(labels, smooth, chance=shuffled)
    assert fair.bits == naive.bits > fair.by_chance.mean() > 5 * naive.by_chance.mean()
    assert not fair.is_real and naive.is_real  # what shuffling would call a discovery
    assert agreement(quartiles(smooth), smooth).is_real


@pytest.mark.parametrize("chance", [moved, shuffled])
def test_chance_keeps_every_label(chance):
    maps = [np.arange(12).reshape(3, 4), np.arange(12, 18).reshape(2, 3)]
    found = chance(maps, np.random.default_rng(1))
    assert [m.shape for m in found] == [(3, 4), (2, 3)]
    assert sorted(np.concatenate([m.ravel() for m in found])) == list(range(18))


def test_top_patches_come_from_the_highest_places_and_lie_inside(photo):
    maps = [np.zeros((12, 16)), np.zeros((12, 16))]
    maps[0][0, 0], maps[0][1, 1], maps[1][5, 6] = 3, 2, 1  # the second is too near the first
    images = [photo[:192, :256], photo[:192, :256][::-1]]
    first, second = top_patches(images, maps, 2)
    np.testing.assert_array_equal(first, images[0][:48, :48])
    np.testing.assert_array_equal(second, images[1][64:112, 80:128])


def test_attention_within_experts_and_gates_make_the_context(classroom, subject, outcome):
    attention = classroom.latent_codec.slices[2].attention
    seen = []
    hook = attention.proj.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0]))
    maps = expert_attention(classroom, subject)
    hook.remove()
    h, w = outcome.y_bits[0].shape
    assert {m.shape for m in maps} == {(h, w, 4, 4, 32)}
    for m in maps:
        np.testing.assert_allclose(m.sum(-1), 1, rtol=1e-5)
        assert ((in_use(m) > 0.999) & (in_use(m) < 32.001)).all()
    values = attention.norm_dictionary(attention.experts).detach().unflatten(-1, (4, -1))
    context = np.einsum("yxhkn,kyx,knhd->yxhd", maps[2], outcome.gates[2], values.numpy())
    np.testing.assert_allclose(context.reshape(h, w, -1), seen[0].detach(), rtol=1e-3, atol=1e-4)
    assert not any(head.attention.to_query._forward_hooks for head in classroom.latent_codec.slices)


def test_the_pickers_follow_their_sliders(classroom, subject, outcome):
    box = widgets.expert_picker(subject, outcome, 1)
    (slices, expert, opacity), (label, image) = box.children[0].children, box.children[1:]
    said, drawn = label.value, image.value
    expert.value = 2
    assert f"{outcome.gates[1][2].mean():.3f}" in label.value != said
    assert image.value != drawn
    said, drawn = label.value, image.value
    opacity.value = 20
    assert label.value == said and image.value != drawn
    slices.value = 3
    assert f"{outcome.y_bits[3].sum():,.0f} bits" in label.value

    maps = expert_attention(classroom, subject)
    box = widgets.attention_picker(subject, outcome, maps)
    (_, _, row, column), (label, image) = box.children[0].children, box.children[1:]
    said, drawn = label.value, image.value
    row.value, column.value = 0, 1
    assert f"gate {outcome.gates[0][0, 0, 1]:.3f}" in label.value != said
    assert image.value != drawn
