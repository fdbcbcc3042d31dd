"""Published layouts: what is accepted, what is refused, and the way back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dictco_lib.checkpoints import load_published, to_published
from dictco_lib.config import DCAE, DICTCO
from dictco_lib.errors import CheckpointError
from dictco_lib.models import DictionaryCodec

SMALL = {
    "N": 16,
    "M": 24,
    "groups": (8, 16),
    "widths": (8, 16, 24),
    "head_dims": (4, 8, 8),
    "blocks": (1, 2, 3),
    "hyper_head_dim": 8,
    "hyper_channels": 20,
    "entries": 6,
    "dictionary_dim": 16,
    "heads": 4,
    "context_channels": 12,
    "parameter_widths": (10, 14),
}


@pytest.fixture(params=[DCAE, DICTCO], ids=["dcae", "dictco"])
def model(request):
    model = DictionaryCodec(replace(request.param, **SMALL)).eval()
    for buffer in model.buffers():  # BatchNorm statistics that are not their defaults
        if buffer.is_floating_point() and buffer.dim() == 1 and buffer.numel() > 3:
            buffer.uniform_(0.5, 1.5)
    return model


def assert_same_function(a, b):
    x = torch.rand(2, 3, 64, 128)
    with torch.no_grad():
        torch.testing.assert_close(a(x)["x_hat"], b(x)["x_hat"], rtol=0, atol=0)


def test_sizes_are_read_from_the_tensors_and_nothing_is_lost_on_the_way_back(model):
    published = to_published(model)
    again = load_published(published)
    assert again.config == model.config
    assert not again.training
    assert_same_function(model, again)
    back = to_published(again)
    assert back.keys() == published.keys()
    assert all(torch.equal(back[key], published[key]) for key in published)


def test_wrappers_prefixes_and_files_are_accepted(model, tmp_path):
    published = to_published(model)
    wrapped = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in published.items()}}
    torch.save(wrapped, tmp_path / "model.pth.tar")
    assert_same_function(model, load_published(tmp_path / "model.pth.tar"))


def test_constants_may_be_missing_and_old_prior_names_are_known(model):
    published = to_published(model)
    old = {"matrices.": "_matrix", "biases.": "_bias", "factors.": "_factor"}
    state = {}
    for key, value in published.items():
        if key.endswith(("bound", "target", "_offset", "relative_position_index", "scale_table")):
            continue
        for new, spelling in old.items():
            key = key.replace(f"entropy_bottleneck.{new}", f"entropy_bottleneck.{spelling}")
        state[key] = value
    assert_same_function(model, load_published(state))


def test_either_spelling_of_the_aliased_tensors_is_enough():
    model = DictionaryCodec(replace(DICTCO, **SMALL)).eval()
    state = {k: v for k, v in to_published(model).items() if not k.startswith(("g_a.2", "g_s.1"))}
    assert_same_function(model, load_published(state))


def test_filled_compressai_tables_survive_the_round_trip(model):
    model.latent_codec.entropy_bottleneck.update(force=True)
    published = to_published(model)
    assert published["entropy_bottleneck._quantized_cdf"].numel() > 0
    back = to_published(load_published(published))
    assert torch.equal(
        back["entropy_bottleneck._quantized_cdf"], published["entropy_bottleneck._quantized_cdf"]
    )


def test_missing_unknown_and_misshapen_tensors_are_listed(model):
    state = to_published(model)
    state["surprise.weight"] = torch.zeros(1)
    del state["h_z_s1.0.bias"]
    state["lrp_transforms.1.2.bias"] = torch.zeros(3)
    with pytest.raises(CheckpointError) as error:
        load_published(state)
    for name in ("surprise.weight", "h_z_s1.0.bias", "lrp_transforms.1.2.bias"):
        assert name in str(error.value)


def test_foreign_content_is_refused_by_name(tmp_path):
    with pytest.raises(CheckpointError, match="no layout that is known"):
        load_published({"conv.weight": torch.zeros(3)})
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_published(tmp_path / "text.pth")
    with pytest.raises(CheckpointError, match="does not exist"):
        load_published(tmp_path / "none.pth")


def test_a_variable_rate_model_has_no_published_layout(nano):
    with pytest.raises(CheckpointError, match="no published layout"):
        to_published(nano)
