"""Work, sight and estimates of every member: counted once, and the same wherever it is shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import dictco_lib
from dictco_lib.book.inspect import ablations
from dictco_lib.config import DCAE, NANO
from dictco_lib.entropy.heads import SplitHead
from dictco_lib.errors import OptionError, ShapeError
from dictco_lib.evaluation import reach
from dictco_lib.evaluation.complexity import (
    MeanCoder,
    count_macs,
    measure_rooms,
    outline,
    rooms_of,
    total_macs,
)
from dictco_lib.evaluation.estimate import estimate, per_place
from dictco_lib.evaluation.measure import estimated_rows
from dictco_lib.evaluation.timing import bench
from dictco_lib.images import eight_bit, read_image
from dictco_lib.layers.hooks import hooked
from dictco_lib.models import FAMILIES, PRESETS, Codec, wacnn
from dictco_lib.training.loss import bits_per_image

SMALL = [name for name in PRESETS if name.startswith("nano")]
FULL = [name for name, config in PRESETS.items() if not config.is_variable_rate]
PARTS = ("g_a", "h_a", "h_s", "slices", "g_s")
#: One dictionary for all slices, attention at every stride, a fixed rate.
SHARED = replace(NANO, experts=0, lmbdas=(), blocks=(1, 1, 1), name="shrunk")
CONFIGS = [PRESETS[name] for name in SMALL] + [SHARED]


@pytest.fixture(scope="module", params=SMALL)
def model(request) -> Codec:
    torch.manual_seed(0)
    model = Codec.from_preset(request.param).eval().requires_grad_(False)
    model.update()
    return model


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_rooms_hold_all_parameters_and_all_work(config):
    found = measure_rooms(config, 128, 192)
    model = Codec(config).eval().requires_grad_(False)
    codec = model.latent_codec
    elsewhere = ("latent_codec.entropy_bottleneck", "latent_codec.gain", "training_only")
    counted = [p.numel() for n, p in model.named_parameters() if not n.startswith(elsewhere)]
    assert sum(room.parameters for room in found) == sum(counted)
    with FlopCounterMode(display=False) as counter:  # with numbers, on a real image
        y = model.g_a(torch.rand(1, 3, 128, 192))
        level = torch.zeros(1) if config.lmbdas else None
        model.g_s(codec.run(MeanCoder(), level, y).latent)
    assert 2 * total_macs(found, PARTS) == counter.get_total_flops()
    last = {room.part: room for room in found if room.name != "side branch"}
    assert last["g_a"].shape == last["slices"].shape == (config.M, 8, 12)
    assert (last["g_a"].stride, last["h_a"].stride, last["g_s"].stride) == (16, 64, 1)
    assert last["g_s"].shape == (3, 128, 192)
    assert len({(room.part, room.name) for room in found}) == len(found)


def test_the_counter_agrees_with_counting_by_hand():
    room = measure_rooms(DCAE)[-1]  # three bottlenecks of 96 channels, then to 3
    bottleneck = 2 * 96 * 48 + 48 * 48 * 9
    assert room.macs == 256 * 384 * (3 * bottleneck + 96 * 3 * 25)


def test_fused_attention_is_counted_by_hand_too():
    (room,) = (r for r in measure_rooms(PRESETS["stf"]) if r.name == "attention at 1/16"
               and r.part == "g_a")  # fmt: skip
    c, tokens = 384, 4**2  # two blocks of 384 channels, windows of 4x4
    block = 12 * c**2 + 2 * tokens * c  # qkv, proj, MLP of four times; logits and values
    assert room.macs == 32 * 48 * 2 * block


def test_gdn_is_work():
    room = next(r for r in measure_rooms(PRESETS["wacnn"]) if r.name == "layers at 1/2")
    assert room.macs == 256 * 384 * 192**2


@pytest.mark.parametrize("name", FULL)
def test_full_sizes_are_measured_without_memory(name):
    model = outline(PRESETS[name])
    assert all(t.is_meta for t in (*model.parameters(), *model.buffers()))
    rooms = rooms_of(model)
    assert {room.part for room in rooms} == set(PARTS)
    assert all(room.macs for room in rooms if room.name != "up to 1/1")  # a shuffle may be one


def test_images_of_other_sizes_are_no_measure():
    with pytest.raises(ShapeError, match="multiples of 64"):
        measure_rooms(NANO, 100, 64)


def test_work_by_part_is_that_of_the_rooms(model):
    x = torch.rand(1, 3, 64, 64)
    parts = ablations.macs_by_part(model, x, 50)
    rooms = rooms_of(outline(model.config), 64, 64)
    assert sum(parts.values()) == total_macs(rooms, PARTS)
    has_dictionary = model.config.family in ("dictionary", "saaf")
    assert ("dictionaries" in parts) == has_dictionary
    assert ("supports" in parts) == (model.config.family in ("tcm", "cca"))


def test_sparse_work_is_less(nano):
    x = torch.rand(1, 3, 64, 64)
    dense = ablations.macs_by_part(nano, x, 50)
    with ablations.sparse(nano, 1):
        sparse = ablations.macs_by_part(nano, x, 50)
    assert sparse.pop("dictionaries") < dense.pop("dictionaries")
    assert sparse == dense


@pytest.mark.parametrize("name", SMALL)
def test_every_room_of_every_member_sees_something(name):
    torch.manual_seed(0)
    model = Codec.from_preset(name).eval().requires_grad_(False)
    found = reach.measure_reach(model, length=512)
    assert found.keys() == {(r.part, r.name) for r in measure_rooms(model.config, 64, 64)}
    assert found["h_a", "y to z"] >= max(n for (part, _), n in found.items() if part == "g_a")


def test_a_narrow_model_sees_as_far_as_its_full_size():
    config = PRESETS["wacnn"]
    found = reach.transform_reach(config)
    x = torch.rand(1, 3, 64, 512).requires_grad_()
    y = FAMILIES["wacnn"].analysis(config).requires_grad_(False)(x)
    assert found["g_a"] == reach.columns_seen(y, x)
    assert found["g_s"] == 256


def test_what_is_known_of_the_sight_of_dcae_and_cca():
    # Of a model of full size, measure_reach says the same.
    assert reach.transform_reach(PRESETS["dictco"]) == {"g_a": 1039, "g_s": 1056}
    assert reach.transform_reach(PRESETS["nano_cca"]) == {"g_a": None, "g_s": None}


def test_sight_of_transforms_leaves_random_numbers_alone():
    torch.manual_seed(3)
    want = torch.rand(1)
    torch.manual_seed(3)
    reach.transform_reach(PRESETS["nano_wacnn"])
    assert torch.equal(torch.rand(1), want)


def test_an_estimate_is_what_the_likelihoods_say(model, photo):
    image = read_image(photo[:65, :130])
    (found,) = estimate(model, [image], 50)
    out = model(image.pixels[None], 50, return_routing=True)
    bits = bits_per_image(out["likelihoods"])
    assert found.y_bits.shape == (len(model.config.groups), 8, 12)
    assert found.z_bits.shape == (2, 3)
    assert found.y_bits.sum() == pytest.approx(bits["y"].item(), rel=1e-5)
    assert found.z_bits.sum() == pytest.approx(bits["z"].item(), rel=1e-5)
    assert found.per_place().sum() == pytest.approx(found.bits)
    for mine, part in zip(
        found.y_bits, out["likelihoods"]["y"].split(model.config.groups, dim=1), strict=True
    ):
        np.testing.assert_allclose(mine, -part[0].log2().sum(0).numpy(), rtol=1e-4)
    assert len(found.gates) == len(out["routing"])
    assert found.pixels.shape == (65, 130, 3)
    error = np.mean((found.pixels.astype(float) - eight_bit(image)) ** 2)
    assert found.mse == pytest.approx(error)
    assert found.psnr == pytest.approx(10 * np.log10(255**2 / error))
    row = estimated_rows(model, [image], 50)[0]
    assert row["bpp"] == pytest.approx(found.bits / (65 * 130), rel=1e-4)
    assert row["psnr-rgb"] == pytest.approx(found.psnr, abs=0.01)
    is_mixture = model.config.experts > 1
    assert ("gate_entropy" in row) == is_mixture == (found.gate_entropy is not None)


def test_images_of_a_batch_are_estimated_each_for_itself(nano, crops):
    images = [read_image(crop) for crop in crops[:3]]
    together = estimate(nano, images, 50)
    for image, found in zip(images, together, strict=True):
        (alone,) = estimate(nano, [image], 50)
        assert found.bits == pytest.approx(alone.bits, rel=1e-3)
        assert found.psnr == pytest.approx(alone.psnr, abs=0.02)


def test_a_grey_image_comes_back_grey(nano, photo):
    (found,) = estimate(nano, [read_image(np.ascontiguousarray(photo[:64, :64, 1]))], 50)
    assert (found.pixels == found.pixels[..., :1]).all()


def test_bits_of_z_are_shared_out_among_its_places():
    y, z = np.zeros((4, 8)), np.array([[16.0, 32.0]])
    assert np.array_equal(per_place(y, z)[:, :4], np.ones((4, 4)))
    assert per_place(y, z).sum() == 48


def test_parts_are_switched_off_in_every_member(model, photo):
    image = read_image(photo[:64, :64])
    intact = ablations.reconstruct(model, image, 50)
    names = ablations.parts_of(model)
    means = ablations.mean_outputs(model, [image], (50,))
    for part in names:
        with ablations.switched_off(model, [part], means):
            changed = ablations.reconstruct(model, image, 50)
        is_same = np.array_equal(changed.bits, intact.bits)
        assert is_same == (part == "gains"), part  # untrained gains are one step anyway
    again = ablations.reconstruct(model, image, 50)
    assert np.array_equal(again.bits, intact.bits)
    for part in ablations.PARTS.keys() - set(names):
        with pytest.raises(OptionError, match=part), ablations.switched_off(model, [part]):
            pass


def test_hooks_see_change_and_leave(nano):
    conv = nn.Conv2d(1, 1, 1)
    x = torch.rand(1, 1, 2, 2)
    plain = conv(x)
    seen = []
    with hooked({"a": conv}, before=lambda key, inputs: (2 * inputs[0],)):
        torch.testing.assert_close(conv(x), conv.bias[:, None, None] + 2 * (plain - conv.bias))
    with pytest.raises(RuntimeError), hooked({"a": conv}, after=lambda *call: seen.append(call)):
        torch.testing.assert_close(conv(x), plain)  # what returns None changes nothing
        raise RuntimeError
    assert [key for key, _, _ in seen] == ["a"]
    assert torch.equal(conv(x), plain)
    assert not conv._forward_hooks and not conv._forward_pre_hooks


def test_the_parts_of_every_member_are_timed(model):
    seconds = bench(model, (64, 64), repeats=1)
    assert {"g_a", "g_s", "one float64 wide 3x3, ours"} <= seconds.keys()
    has_depthwise = model.config.family in ("dictionary", "saaf")
    assert ("one float64 depthwise, ours" in seconds) == has_depthwise


def test_counting_keeps_numbers_and_modes(nano):
    x = torch.rand(1, 3, 64, 64)
    before = nano(x, 50)["x_hat"]
    count_macs(nano, x, nano.level(50, x))
    assert torch.equal(nano(x, 50)["x_hat"], before)


def test_networks_of_ones_own_are_measured_alike():
    class Head(SplitHead):  # one net more, under a name that no member has
        def __init__(self, *args: object) -> None:
            super().__init__(*args)
            self.tint = nn.Conv2d(args[2], args[2], 1)

        def refine(self, prediction, y_bar):
            return self.tint(super().refine(prediction, y_bar))

    class Page:
        def __getattr__(self, name: str):
            return getattr(wacnn, name)

        def head(self, c: wacnn.Config, k: int) -> Head:
            support = c.M + sum(c.groups[: min(k, c.seen_slices)])
            nothing = (nn.Identity(), nn.Identity())
            return Head(nothing, support, c.groups[k], c.parameter_widths, min(k, c.seen_slices))

    config = PRESETS["nano_wacnn"]
    rooms = {(r.part, r.name): r for r in rooms_of(outline(config, Page()), 64, 64)}
    assert rooms["slices", "tint"].macs == 16 * sum(c**2 for c in config.groups)
    assert rooms.keys() - {("slices", "tint")} == {
        (r.part, r.name) for r in measure_rooms(config, 64, 64)
    }
    model = Codec(config, Page()).eval().requires_grad_(False)
    assert reach.measure_reach(model, 512)["slices", "tint"] >= 16 * 7


def test_hooks_and_counters_are_written_once():
    library = Path(dictco_lib.__file__).parent
    texts = {p.relative_to(library).as_posix(): p.read_text() for p in library.rglob("*.py")}
    # An exercise asks for a hook, and hangs the answer in.
    hooks = {name for name, text in texts.items() if "register_forward" in text}
    assert hooks == {"layers/hooks.py", "book/checks/ablations.py"}
    counters = {name for name, text in texts.items() if "import FlopCounterMode" in text}
    assert counters == {"evaluation/complexity.py"}
