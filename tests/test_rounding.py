"""Training for weights of 8 bits: what a step sees is what a validation and the file hold."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from dictco_lib.checkpoints import (
    export,
    fingerprint,
    is_halved,
    load_checkpoint,
    save_checkpoint,
)
from dictco_lib.checkpoints.native import read_info
from dictco_lib.checkpoints.rows8 import is_in_rows8, is_matrix, rounded
from dictco_lib.errors import RecipeError
from dictco_lib.training.data import DEMO
from dictco_lib.training.loop import train, validation_crops
from dictco_lib.training.loss import rate_distortion
from dictco_lib.training.recipe import Recipe
from dictco_lib.training.rounding import rounded_copy, run_rounded
from dictco_lib.training.trainer import Trainer

TRAINED = {"recipe": {"weight_bits": 8}}


@pytest.fixture
def recipe(tmp_path, photo) -> Recipe:
    (tmp_path / "validation").mkdir()
    Image.fromarray(photo).save(tmp_path / "validation" / "photo.png")
    return Recipe(
        model="nano", data=(DEMO,), validation=(str(tmp_path / "validation"),),
        out=str(tmp_path / "run"), steps=4, batch_size=2, crop=64, warmup=1, log_every=1,
        save_every=2, validate_every=4, weight_bits=8, schedule="constant", pca_start=True,
    )  # fmt: skip


def rd_loss(out: dict, x: torch.Tensor) -> torch.Tensor:
    return rate_distortion(out, x, torch.full((len(x),), 0.01))["loss"].mean()


def test_a_step_sees_the_very_weights_that_export_writes(nano, crops, tmp_path):
    save_checkpoint(nano, tmp_path / "whole.safetensors", info=TRAINED)
    export(tmp_path / "whole.safetensors", tmp_path / "small.safetensors", rows8=True)
    small = load_checkpoint(tmp_path / "small.safetensors")
    model, before = copy.deepcopy(nano), dict(nano.named_parameters())
    quality = torch.tensor([20.0, 80.0])
    with torch.no_grad():
        seen, plain = run_rounded(model, crops[:2], quality), model(crops[:2], quality)
        written = small(crops[:2], quality)
    assert torch.equal(seen["x_hat"], written["x_hat"])
    assert not torch.equal(seen["x_hat"], plain["x_hat"])
    for key, value in rounded_copy(model).named_parameters():
        assert torch.equal(value, small.get_parameter(key)), key
        assert torch.equal(model.get_parameter(key), before[key]), key
        assert (value - before[key]).abs().max() <= before[key].abs().max() / 250, key


def test_the_gradient_is_that_at_the_rounded_weights(nano, crops):
    model = copy.deepcopy(nano).requires_grad_(True)
    fixed = rounded_copy(model)
    quality = torch.tensor([20.0, 80.0])
    rd_loss(run_rounded(model, crops[:2], quality), crops[:2]).backward()
    rd_loss(fixed(crops[:2], quality), crops[:2]).backward()
    assert model.g_a[0].conv.weight.grad.any() and model.g_s[0].weight.grad.any()
    for key, parameter in model.named_parameters():
        if not key.endswith("quantiles"):  # they take their own loss
            assert torch.equal(parameter.grad, fixed.get_parameter(key).grad), key


def test_rows_have_255_values_and_keep_their_layout():
    for shape in [(40, 20, 5, 5), (4, 32, 64), (96, 80)]:
        value = torch.randn(shape)
        if len(shape) == 4:
            value = value.to(memory_format=torch.channels_last)
        result = rounded(value)
        rows = result.flatten(0, 1) if len(shape) == 3 else result.flatten(1)
        whole = rows / rows.abs().amax(1, keepdim=True) * 127
        assert (whole - whole.round()).abs().max() < 1e-3
        assert result.stride() == value.stride()
        assert torch.equal(rounded(result), result)
    assert torch.equal(rounded(torch.zeros(80, 80)), torch.zeros(80, 80))


def test_what_was_trained_is_what_is_measured_and_what_the_small_file_holds(recipe, tmp_path):
    trainer = train(recipe, "cpu", progress=False)
    last, small = Path(recipe.out) / "last.safetensors", tmp_path / "small.safetensors"
    export(last, small, rows8=True)
    one, other = load_checkpoint(last), load_checkpoint(small)
    assert fingerprint(one) == fingerprint(other)
    for key, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key
    plain = Trainer(replace(recipe, weight_bits=0, out=str(tmp_path / "none")), "cpu")
    log = (Path(recipe.out) / "log.jsonl").read_text().splitlines()
    logged = json.loads(log[-1])
    for ema, is_same in ((other, True), (trainer.ema, False)):
        plain.ema = ema
        measured = plain.validate(validation_crops(recipe.validation))
        wanted = pytest.approx({key: logged[key] for key in measured}, rel=1e-5)
        assert (measured == wanted) == is_same


def test_all_matrices_of_such_a_model_are_stored_in_8_bits_and_of_others_those_of_entropy(
    nano, tmp_path
):
    sizes = []
    for info in (TRAINED, {"recipe": {"weight_bits": 0}}, {"recipe": "8"}, {}):
        save_checkpoint(nano, tmp_path / "whole.safetensors", info=info)
        export(tmp_path / "whole.safetensors", tmp_path / "small.safetensors", rows8=True)
        state = load_file(tmp_path / "small.safetensors")
        for key, value in nano.named_parameters():
            is_small = key.startswith("latent_codec.") or info is TRAINED
            kind = torch.int8 if is_small else torch.float16
            assert state[key].dtype == (kind if is_matrix(value) else torch.float32), key
        assert is_halved(tmp_path / "small.safetensors")
        assert read_info(tmp_path / "small.safetensors")["info"] == info
        sizes.append((tmp_path / "small.safetensors").stat().st_size)
    assert sizes[0] < 0.92 * sizes[1] and max(sizes[1:]) - min(sizes[1:]) < 64


def test_a_run_with_rounding_goes_on_as_if_it_had_not_stopped(recipe, tmp_path):
    recipe = replace(recipe, validation=(), threads=1)
    whole = train(recipe, "cpu", progress=False)
    parts = replace(recipe, out=str(tmp_path / "parts"))
    train(replace(parts, steps=2), "cpu", progress=False)
    resumed = train(parts, "cpu", progress=False)
    for ours, theirs in ((whole.model, resumed.model), (whole.ema, resumed.ema)):
        for key, value in ours.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[key]), key
    # The weights that learn keep their fine digits.
    kernel = whole.ema.g_s[0].weight
    assert is_in_rows8("g_s.0.weight", kernel, transforms=True)
    assert not torch.equal(kernel, rounded(kernel))
    with pytest.raises(RecipeError, match="weight_bits .was 8, is 0"):
        train(replace(recipe, weight_bits=0, steps=5), "cpu", progress=False)


@pytest.mark.parametrize("shape", [None, {"experts": 0, "entries": 64}])  # the latter: shared
def test_a_step_changes_the_matrices_with_bf16_and_accumulation_too(recipe, shape):
    settings = {"precision": "bf16", "accumulate": 2, "shape": shape}
    trainer = Trainer(replace(recipe, **settings), "cpu")
    before = copy.deepcopy(trainer.model)
    values = trainer.train_step(trainer.batches[0][0])
    assert values["loss"] < 20
    changed = [
        not torch.equal(value, before.get_parameter(key))
        for key, value in trainer.model.named_parameters()
        if is_matrix(value)
    ]
    assert sum(changed) > 0.9 * len(changed)
