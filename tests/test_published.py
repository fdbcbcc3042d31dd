"""Published layouts: what is accepted, what is refused, and the way back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dictco_lib.checkpoints import (
    fingerprint,
    load_checkpoint,
    load_published,
    save_checkpoint,
    to_published,
)
from dictco_lib.config import DCAE, DICTCO
from dictco_lib.entropy.rans import compress_plain, decompress_plain
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


@pytest.mark.parametrize("leaf", ["target", "likelihood_lower_bound.bound", "scale_bound"])
def test_other_constants_are_another_function_and_refused(model, leaf):
    state = to_published(model)
    names = [key for key in state if key.endswith(leaf)]
    assert names
    for name in names:
        for wrong in (state[name] * 2, state[name].repeat(2), state[name] + torch.nan):
            with pytest.raises(CheckpointError, match=f"wrong .*{leaf}"):
                load_published(state | {name: wrong})


def test_constants_without_values_and_rounded_ones_are_accepted(model):
    state = to_published(model)
    names = [key for key in state if key.endswith(("target", "bound", "position_index"))]
    zeros = {name: torch.zeros_like(state[name]) for name in names}
    assert_same_function(model, load_published(state | zeros))
    rounded = {name: state[name].bfloat16() for name in names if "index" not in name}
    assert_same_function(model, load_published(state | rounded))


def test_a_checkpoint_in_half_precision_is_accepted(model):
    def rounded(value):
        return value.half() if value.is_floating_point() else value

    state = {key: rounded(value) for key, value in to_published(model).items()}
    again = load_published(state)
    assert torch.equal(again.g_a[0].conv.weight, model.g_a[0].conv.weight.half().float())


def test_one_tensor_with_two_values_is_refused():
    state = to_published(DictionaryCodec(replace(DICTCO, **SMALL)))
    for name in ("m_up3.1.conv_up.bias", "m_down1.0.layers.0.msa.relative_position_index"):
        with pytest.raises(CheckpointError, match="one tensor, but hold different values"):
            load_published(state | {name: state[name] + 1})
    with pytest.raises(CheckpointError, match="there twice"):
        load_published(state | {"module.h_a.2.bias": state["h_a.2.bias"] + 1})


def test_another_position_index_is_refused():
    state = to_published(DictionaryCodec(replace(DICTCO, **SMALL)))
    name = "h_a.1.layers.0.msa.relative_position_index"
    with pytest.raises(CheckpointError, match=f"wrong .*{name}"):
        load_published(state | {name: state[name].T.contiguous()})
    with pytest.raises(CheckpointError, match="unknown .*h_x.relative_position_index"):
        load_published(state | {"h_x.relative_position_index": state[name]})


def test_no_harm_to_a_weight_goes_unnamed(model):
    state = to_published(model)
    name = "h_a.2.weight"
    bad = state[name].clone()
    bad[0, 0, 0, 0] = float("inf")
    for wrong in (bad, state[name].int(), state[name].to_sparse(), state[name].to("meta")):
        with pytest.raises(CheckpointError, match=f"wrong .*{name}"):
            load_published(state | {name: wrong})
    with pytest.raises(CheckpointError, match="unknown .*'7'"):
        load_published(state | {7: torch.zeros(1)})


def test_any_tensor_may_be_misshapen_and_the_error_has_a_name(model):
    state = to_published(model)
    special = [k for k in state if k.startswith(("entropy_bottleneck._", "gaussian_cond"))]
    for name in {*list(state)[::200], *special}:
        for wrong in (torch.zeros(()), torch.zeros(2, 3), "weights"):
            with pytest.raises(CheckpointError):
                load_published(state | {name: wrong})


def test_tables_that_would_crash_the_published_coder_are_refused(model):
    model.latent_codec.entropy_bottleneck.update(force=True)
    state = to_published(model)
    cdf, length, offset = (
        f"entropy_bottleneck.{leaf}" for leaf in ("_quantized_cdf", "_cdf_length", "_offset")
    )
    for harm in (
        {cdf: state[cdf].flip(1)},
        {cdf: state[cdf][:-1]},
        {cdf: state[cdf].float()},
        {length: state[length] + 1000},
        {length: state[length] - state[length]},
        {offset: state[offset][:0]},
        {"gaussian_conditional.scale_table": torch.tensor([2.0, 1.0])},
    ):
        with pytest.raises(CheckpointError, match="tables|scale_table"):
            load_published(state | harm)


def test_loading_keeps_the_random_numbers_of_the_caller(model):
    state = to_published(model)
    torch.manual_seed(3)
    want = torch.rand(1)
    torch.manual_seed(3)
    load_published(state)
    assert torch.equal(torch.rand(1), want)


def test_what_could_not_be_read_back_is_not_written():
    for other in ({"blocks": (0, 2, 3)}, {"residual_blocks": 0}, {"top_k": 2}):
        with pytest.raises(CheckpointError, match="no published layout"):
            to_published(DictionaryCodec(replace(DICTCO, **(SMALL | other))))


def test_plain_strings_are_made_with_tables_of_the_weights_at_hand(model, tmp_path):
    # The first call must not leave tables behind that no longer fit after training.
    x = torch.rand(1, 3, 128, 128)
    with torch.no_grad():
        compress_plain(model.latent_codec, model.g_a(x))
        prior = model.latent_codec.entropy_bottleneck
        for matrix in prior.matrices:
            matrix += 0.5
        prior.quantiles += 0.3
        y_string, z_string = compress_plain(model.latent_codec, model.g_a(x))
        save_checkpoint(model, tmp_path / "trained.safetensors")
        fresh = load_checkpoint(tmp_path / "trained.safetensors")
        assert compress_plain(fresh.latent_codec, fresh.g_a(x)) == (y_string, z_string)
        decoded = decompress_plain(fresh.latent_codec, y_string, z_string, (2, 2))
    assert decoded.shape == (1, SMALL["M"], 8, 8)


def test_update_drops_tables_of_older_weights(model):
    model.latent_codec.entropy_bottleneck.update(force=True)
    brought = load_published(to_published(model))
    assert brought.latent_codec.entropy_bottleneck.quantized_cdf.numel()
    brought.update()
    assert not brought.latent_codec.entropy_bottleneck.quantized_cdf.numel()


def test_plain_coding_in_training_mode_changes_nothing(model):
    y = torch.randn(1, SMALL["M"], 8, 8)
    want = compress_plain(model.latent_codec, y)
    before = fingerprint(model)
    model.train()
    assert compress_plain(model.latent_codec, y) == want
    decompress_plain(model.latent_codec, *want, (2, 2))
    assert fingerprint(model) == before
    assert model.training
