"""Every member of the family, at a small size: through the one ring, to files and back."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import dictco_lib
from dictco_lib.bitstream import unpack
from dictco_lib.checkpoints import fingerprint, load_checkpoint, save_checkpoint
from dictco_lib.entropy.heads import SplitHead
from dictco_lib.errors import CheckpointError, ConfigError, WrongModel
from dictco_lib.models import FAMILIES, PRESETS, Codec, config_from_dict
from dictco_lib.training.loss import rate_distortion

SMALL = ["nano", "nano_wacnn", "nano_stf", "nano_tcm", "nano_cca", "nano_saaf"]


@pytest.fixture(scope="module", params=SMALL)
def model(request) -> Codec:
    torch.manual_seed(0)
    model = Codec.from_preset(request.param).eval().requires_grad_(False)
    model.update()
    return model


def test_every_family_has_a_small_preset_that_covers_all_rates():
    assert {PRESETS[name].family for name in SMALL} == set(FAMILIES)
    assert all(PRESETS[name].is_variable_rate for name in SMALL)


@pytest.mark.parametrize("size", [(1, 1), (65, 130)])
def test_any_size_goes_in_and_comes_out(model, size):
    out = model(torch.rand(2, 3, *size), 30.0, return_routing=True)
    assert out["x_hat"].shape == (2, 3, *size)
    rows, cols = (-(-side // 64) * 4 for side in size)
    assert out["para"]["y"].shape == (2, model.config.M, rows, cols)
    assert "training_loss" not in out
    has_dictionary = model.config.family in ("dictionary", "saaf")
    assert len(out["routing"]) == (len(model.config.groups) if has_dictionary else 0)


def test_files_decode_to_what_was_encoded_and_cost_what_was_estimated(model, photo):
    part = np.ascontiguousarray(photo[:130, :100])
    for quality in (10, 90):
        encoded = dictco_lib.encode(model, part, quality)
        assert dictco_lib.decode(model, encoded.data).size == (100, 130)
        x = torch.from_numpy(part).permute(2, 0, 1)[None] / 255
        bits = -sum(p.log2().sum() for p in model(x, quality)["likelihoods"].values()).item()
        real = sum(n for name, n in encoded.bits.items() if name == "z" or "slice" in name)
        # Two words close each stream. A random model predicts badly: what lies far outside its
        # distributions is escaped, at another price than the floor of the likelihood.
        streams = 1 + len(model.config.groups)
        assert abs(real - bits) < 0.1 * bits + 64 * streams


def test_the_first_slices_alone_decode_as_well(model, photo):
    data = dictco_lib.encode(model, photo[:70, :70], 50).data
    images = [np.asarray(dictco_lib.decode(model, data, slices=k)) for k in range(3)]
    assert not np.array_equal(images[0], images[2])


def test_a_slice_depends_on_earlier_slices_and_not_on_itself(model):
    torch.manual_seed(1)
    codec, groups = model.latent_codec, model.config.groups
    y = torch.randn(1, model.config.M, 4, 4, requires_grad=True)
    level = torch.tensor([2.0])
    out = codec(y, level)
    last = out["para"]["means"].split(groups, 1)[-1]
    # z sees all of y, so hold the side information: run the slices alone.
    from dictco_lib.entropy.gaussian import EstimatingCoder

    side = out["side"]
    held = type(side)(side.scales.detach(), side.means.detach())
    trace = codec.run_slices(held, EstimatingCoder(codec.entropy_bottleneck, codec.gaussian), y)
    (trace.means[-1].sum() + trace.scales[-1].sum()).backward()
    assert y.grad[:, : groups[0]].any() and not y.grad[:, -groups[-1] :].any()
    assert last.shape[1] == groups[-1]


def test_checkpoints_carry_the_family(model, tmp_path):
    path = tmp_path / "small.safetensors"
    save_checkpoint(model, path)
    again = load_checkpoint(path)
    assert again.config == model.config and fingerprint(again) == fingerprint(model)
    assert config_from_dict(model.config.to_dict()) == model.config


def test_one_step_lowers_the_loss_of_its_batch_and_moves_every_weight(model, crops):
    torch.manual_seed(0)
    # A residual that starts at zero hides what lies behind it.
    learner = copy.deepcopy(model).train().requires_grad_(True)
    for name, p in learner.named_parameters():
        if name.endswith((".beta", ".gamma")) and p.dim() == 4:
            p.data.fill_(0.1)
    learner.latent_codec.gain_z.log_gain.data.fill_(3)  # z of a random model rounds to nothing
    x, lmbda = crops[:2], torch.tensor([0.0067, 0.025])
    quality = torch.tensor([40.0, 80.0])

    def loss() -> torch.Tensor:
        torch.manual_seed(3)
        out = learner(x, quality)
        return rate_distortion(out, x, lmbda)["loss"].mean() + out["training_loss"]

    optimizer = torch.optim.SGD(learner.parameters(), lr=1e-4)
    before = loss()
    before.backward()
    # SAAF's decoder gate has a constant mean: no gradient, as published. The quantiles of z have
    # a loss of their own.
    exempt = ("quantiles", *(f"g_s.branch.{i}.attention" for i in range(4)))
    idle = [
        name for name, p in learner.named_parameters()
        if (p.grad is None or not p.grad.any()) and not any(part in name for part in exempt)
    ]  # fmt: skip
    assert not idle
    torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
    optimizer.step()
    assert loss() < before


@pytest.mark.parametrize(("name", "field"), [("nano_cca", "auxiliary"), ("nano_saaf", "denoiser")])
def test_parts_of_the_training_never_enter_a_stream(name, field, photo):
    torch.manual_seed(0)
    whole = Codec.from_preset(name).eval()
    bare = Codec(replace(whole.config, **{field: False})).eval()
    state = {k: v for k, v in whole.state_dict().items() if not k.startswith("training_only")}
    bare.load_state_dict(state)
    for model in (whole, bare):
        model.requires_grad_(False).update()
    assert whole.training_only is not None and bare.training_only is None
    assert fingerprint(whole) == fingerprint(bare)
    data = dictco_lib.encode(whole, photo[:64, :64], 50).data
    assert data == dictco_lib.encode(bare, photo[:64, :64], 50).data


def test_another_member_is_another_model(photo):
    torch.manual_seed(0)
    models = [Codec.from_preset(name).eval() for name in ("nano_wacnn", "nano_stf")]
    for model in models:
        model.update()
    data = dictco_lib.encode(models[0], photo[:64, :64], 50).data
    assert unpack(data).fingerprint == fingerprint(models[0])
    with pytest.raises(WrongModel):
        dictco_lib.decode(models[1], data)


@pytest.mark.parametrize(
    "values",
    [{"family": "vgg"}, {"family": 3}, {"family": "wacnn", "name": "x", "windows": [128, 4]},
     {"family": "stf", "name": "x", "depths": [1, 1]}, {"family": "cca", "name": "x", "heads": 4},
     {"family": ["cca"]}, []],
)  # fmt: skip
def test_configurations_of_members_are_checked(values):
    with pytest.raises(ConfigError):
        config_from_dict(values)


def test_a_page_of_ones_own_trains_and_codes_but_is_not_saved(tmp_path, photo):
    config = PRESETS["nano_wacnn"]

    def head(c, k):  # sees all earlier slices, not only the first
        support = c.M + sum(c.groups[:k])
        nothing = (torch.nn.Identity(), torch.nn.Identity())
        return SplitHead(nothing, support, c.groups[k], c.parameter_widths)

    own = SimpleNamespace(**vars(FAMILIES["wacnn"]) | {"head": head})
    torch.manual_seed(0)
    model = Codec(config, own).eval()
    model.update()
    part = np.ascontiguousarray(photo[:64, :64])
    encoded = dictco_lib.encode(model, part, 50)
    assert dictco_lib.decode(copy.deepcopy(model), encoded.data).size == (64, 64)
    with pytest.raises(CheckpointError, match="networks of its own"):
        save_checkpoint(model, tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())
