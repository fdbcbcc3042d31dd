"""CompressAI's containerised layout: names, counts, values, and the way back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dictco_lib.checkpoints import (
    load_checkpoint,
    load_published,
    save_checkpoint,
    to_compressai,
    to_published,
)
from dictco_lib.cli import main
from dictco_lib.errors import CheckpointError
from dictco_lib.layers.meta import on_meta
from dictco_lib.models import Codec, preset

SMALL = ["nano_wacnn", "nano_stf", "nano_tcm", "nano_cca", "nano_saaf"]
#: Entries of the full-size ports.
ENTRIES = {"dcae": 1170, "saaf": 1386, "tcm": 1435, "tcm_auxt": 1491, "cca": 2384}
ENTRIES |= {"wacnn": 648, "stf": 856}


def fixed(name: str, **changes) -> Codec:
    torch.manual_seed(0)
    config = replace(preset(name), lmbdas=(), **changes)
    model = Codec(config).eval().requires_grad_(False)
    for parameter in model.parameters():  # zeros and ones would hide what is exchanged
        parameter.add_(0.01 * torch.randn_like(parameter))
    return model


@pytest.fixture(params=[*SMALL, "dcae"])
def model(request) -> Codec:
    if request.param == "dcae":
        return fixed("nano", experts=0, blocks=(1, 1, 1))
    return fixed(request.param)


def test_nothing_is_lost_on_the_way_there_and_back(model):
    theirs = to_compressai(model)
    again = load_published(theirs)
    want, got = to_published(model), to_published(again)
    assert got.keys() == want.keys()
    assert all(torch.equal(got[key], want[key]) for key in want)
    back = to_compressai(again)
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[key], theirs[key]) for key in theirs)
    x = torch.rand(1, 3, 64, 64)
    again.requires_grad_(False)  # torch has other kernels where gradients are wanted
    torch.testing.assert_close(again(x)["x_hat"], model(x)["x_hat"], rtol=0, atol=0)


@pytest.mark.parametrize(("name", "entries"), ENTRIES.items())
def test_full_size_ports_have_so_many_entries(name, entries):
    with on_meta():
        theirs = to_compressai(Codec(preset(name)))
    assert len(theirs) == entries
    known = (
        "g_",
        "latent_codec.",
        "shared_",
        "aux_",
        "diffusion_",
        "patch_",
        "layers.",
        "syn_",
        "end_",
    )
    assert all(key.startswith(known) for key in theirs)


def test_the_first_networks_see_means_before_scales():
    model = fixed("nano", experts=0, blocks=(1, 1, 1))
    s = model.config.hyper_channels
    ours = model.latent_codec.slices[1].mean[0].weight
    theirs = to_compressai(model)["latent_codec.y.channel_context.y1.mean_cc.0.weight"]
    assert torch.equal(theirs[:, :s], ours[:, s : 2 * s])
    assert torch.equal(theirs[:, s : 2 * s], ours[:, :s])
    assert torch.equal(theirs[:, 2 * s :], ours[:, 2 * s :])


def test_the_extra_layer_of_the_ports_attention_is_folded():
    model = fixed("nano_tcm")
    state = to_compressai(model)
    stem = next(key for key in state if key.endswith("msa.attn.proj.weight"))
    stem = stem.removesuffix("attn.proj.weight")
    extra = torch.randn_like(state[stem + "attn.proj.weight"])
    shift = torch.randn(len(extra))
    w, b = state[stem + "output_proj.weight"].clone(), state[stem + "output_proj.bias"].clone()
    state[stem + "attn.proj.weight"], state[stem + "attn.proj.bias"] = extra, shift
    again = to_compressai(load_published(state))
    torch.testing.assert_close(again[stem + "output_proj.weight"], w @ extra)
    torch.testing.assert_close(again[stem + "output_proj.bias"], w @ shift + b)
    assert torch.equal(again[stem + "attn.proj.weight"], torch.eye(len(extra)))


def test_copies_that_contradict_each_other_are_refused():
    state = to_compressai(fixed("nano_stf"))
    key = "latent_codec.y.latent_codec.y1.gaussian_conditional.scale_bound"
    state[key] = state[key] + 1
    with pytest.raises(CheckpointError, match="differs from .* should be a copy"):
        load_published(state)


def test_a_mixture_has_no_port():
    model = fixed("nano", batch_norm=True, blocks=(1, 1, 1))
    with pytest.raises(CheckpointError, match="CompressAI has no dictco"):
        to_compressai(model)


def test_the_command_converts_either_way_and_reports(tmp_path, capsys):
    model = fixed("nano_wacnn")
    model.update()
    ours, theirs, again = (tmp_path / name for name in ("a.safetensors", "b.pth", "c.safetensors"))
    save_checkpoint(model, ours)
    assert main(["convert", str(ours), str(theirs), "--to", "compressai", "--report"]) == 0
    out = capsys.readouterr().out
    assert "latent_codec.slices.0.mean.0.weight -> cc_mean_transforms.0.0.weight" in out
    assert main(["convert", str(theirs), str(again), "--to", "dco"]) == 0
    got, want = load_checkpoint(again).state_dict(), model.state_dict()
    assert all(torch.equal(got[key], want[key]) for key in want if "tables" not in key)
    assert main(["convert", str(ours), str(again), "--to", "published"]) == 1  # it exists
    assert "--force" in capsys.readouterr().err
