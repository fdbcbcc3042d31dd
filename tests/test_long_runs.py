"""Runs without an end in advance: constant rates, branches that decay, saving by the clock."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dictco_lib.checkpoints import load_checkpoint
from dictco_lib.errors import RecipeError
from dictco_lib.models import DictionaryCodec, preset
from dictco_lib.training import trainer as trainer_module
from dictco_lib.training.data import DEMO, Batches, Share
from dictco_lib.training.loop import train
from dictco_lib.training.rates import rate_factor
from dictco_lib.training.recipe import Recipe, load_recipe
from dictco_lib.training.start import pca_start
from dictco_lib.training.trainer import VALIDATION_QUALITIES, Trainer
from dictco_lib.training.transforms import faster, transform_seconds, unrounded_psnr


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    return Recipe(
        model="nano",
        data=(DEMO,),
        out=str(tmp_path / "run"),
        steps=4,
        batch_size=2,
        crop=64,
        warmup=2,
        log_every=1,
        schedule="constant",
    )


def rows(recipe: Recipe, kind: str = "train") -> list[dict]:
    lines = Path(recipe.out, "log.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def test_a_constant_schedule_does_not_depend_on_its_end(recipe):
    for end in (4, 4000):
        assert [rate_factor(recipe, s, end) for s in range(4)] == [0.5, 1, 1, 1]
    decaying = replace(recipe, steps=10, decay_steps=4, final=0.1)
    factors = [rate_factor(decaying, s, 10) for s in range(11)]
    assert factors[2:7] == [1] * 5
    assert factors[6:] == sorted(factors[6:], reverse=True) and factors[-1] == pytest.approx(0.1)
    assert factors[7] == pytest.approx(0.1 + 0.9 * 0.5)  # a quarter of the way: 1 - sqrt(1 / 4)


def test_a_run_may_be_prolonged_as_if_it_had_always_been_long(recipe, tmp_path):
    train(recipe, "cpu", progress=False)
    longer = replace(recipe, steps=6)
    train(longer, "cpu", progress=False)
    whole = replace(longer, out=str(tmp_path / "whole"))
    train(whole, "cpu", progress=False)
    assert [r["loss"] for r in rows(recipe)] == [r["loss"] for r in rows(whole)]


def test_a_branch_decays_from_the_state_of_another_run_and_leaves_it_alone(recipe, tmp_path):
    trunk = train(recipe, "cpu", progress=False)
    before = trunk.state_path.read_bytes()
    branch = replace(
        recipe, branch=str(trunk.state_path), out=str(tmp_path / "branch"), decay_steps=3
    )
    done = train(branch, "cpu", progress=False)
    assert (done.begun, done.step) == (4, 7)
    assert trunk.state_path.read_bytes() == before
    assert [row["step"] for row in rows(branch)] == [5, 6, 7]
    rates = [row["lr"] / recipe.lr for row in rows(branch)]
    assert rates == sorted(rates, reverse=True) and rates[0] == pytest.approx(1)
    # its first step is the very one that the trunk would have made
    train(replace(recipe, steps=5), "cpu", progress=False)
    assert rows(branch)[0]["loss"] == rows(recipe)[4]["loss"]


def test_a_branch_that_was_cut_off_ends_like_one_that_was_not(recipe, tmp_path, monkeypatch):
    trunk = train(recipe, "cpu", progress=False)
    whole = replace(recipe, branch=str(trunk.state_path), out=str(tmp_path / "a"), decay_steps=4)
    cut = replace(whole, out=str(tmp_path / "b"), save_every=2)
    train(whole, "cpu", progress=False)
    step = Trainer.train_step

    def dying(self, x):
        if self.step == 7:
            raise KeyboardInterrupt
        return step(self, x)

    monkeypatch.setattr(Trainer, "train_step", dying)
    with pytest.raises(KeyboardInterrupt):
        train(cut, "cpu", progress=False)
    monkeypatch.undo()
    assert train(cut, "cpu", progress=False).begun == 4
    assert [(r["step"], r["loss"]) for r in rows(cut)] == [
        (r["step"], r["loss"]) for r in rows(whole)
    ]
    a, b = (load_checkpoint(f"{r.out}/last.safetensors") for r in (whole, cut))
    for key, value in a.named_parameters():
        assert torch.equal(value, b.get_parameter(key)), key


def test_a_branch_may_change_all_but_the_model(recipe, tmp_path):
    state = str(train(recipe, "cpu", progress=False).state_path)
    other = replace(recipe, branch=state, out=str(tmp_path / "other"), steps=5, seed=3)
    done = train(replace(other, crop=128, batch_size=1), "cpu", progress=False)
    assert done.step == 5
    with pytest.raises(RecipeError, match="shape"):
        train(replace(other, out=str(tmp_path / "c"), shape={"entries": 8}), "cpu", progress=False)
    with pytest.raises(RecipeError, match="begins at step 4 .* would end at 4"):
        train(replace(other, out=str(tmp_path / "e"), steps=4), "cpu", progress=False)
    gone = replace(other, out=str(tmp_path / "d"), branch=str(tmp_path / "none.pt"))
    with pytest.raises(RecipeError, match="correct `branch`"):
        train(gone, "cpu", progress=False)


def test_a_state_of_before_these_settings_goes_on(recipe):
    done = train(replace(recipe, schedule="cosine"), "cpu", progress=False)
    state = torch.load(done.state_path, weights_only=True)
    for name in ("qualities", "begun", "precision"):
        del state[name]
    for name in ("branch", "pca_lap", "decay_steps", "save_minutes"):
        del state["recipe"][name]
    torch.save(state | {"best": 0.5}, done.state_path)
    old = Trainer(replace(recipe, schedule="cosine", steps=6), "cpu")
    assert old.resume() and (old.step, old.begun) == (4, 0)
    assert old.best == float("inf")  # it was a mean over other qualities


def test_a_run_is_saved_by_the_clock(recipe):
    seldom = replace(recipe, save_every=10**6)
    saves = []
    listen = lambda trainer, entry: saves.append(trainer.state_path.exists())  # noqa: E731
    train(seldom, "cpu", progress=False, listener=listen)
    assert saves == [False] * 5  # only at its end
    often = replace(seldom, save_minutes=1e-6, out=recipe.out + "_often")
    saves.clear()
    train(often, "cpu", progress=False, listener=listen)
    assert saves == [False, False, True, True, True]


def test_validation_says_what_the_transforms_reach_unrounded(recipe):
    recipe = replace(recipe, steps=1, validation=(DEMO,), pca_start=True)
    trainer = train(recipe, "cpu", progress=False)
    (row,) = rows(recipe, "validation")
    assert [row[f"bpp@{q:g}"] for q in VALIDATION_QUALITIES] == sorted(
        row[f"bpp@{q:g}"] for q in VALIDATION_QUALITIES
    )
    assert row["psnr_unrounded"] > row["psnr@100"]
    x = torch.rand(1, 3, 70, 50)
    with torch.no_grad():
        x_hat = trainer.ema(x, 100)["x_hat"].clamp(0, 1)
    rounded = -10 * (x_hat - x).square().mean().log10().item()
    unrounded = unrounded_psnr(trainer.ema, x)
    assert unrounded > rounded
    # Another inverse gain, which g_s undoes: the same codec.
    trainer.ema.latent_codec.gain_y.log_inverse.data += 2
    trainer.ema.g_s.register_forward_pre_hook(lambda module, args: args[0] / math.exp(2))
    assert unrounded_psnr(trainer.ema, x) == pytest.approx(unrounded, abs=1e-4)


def test_auto_takes_the_faster_precision_and_a_run_keeps_it(recipe, monkeypatch):
    times = {"float32": 2.0, "bf16": 1.0}
    monkeypatch.setattr(trainer_module, "transform_seconds", lambda model, x: dict(times))
    auto = replace(recipe, precision="auto")
    assert train(auto, "cpu", progress=False).model.transform_dtype == torch.bfloat16
    assert [row["bf16"] for row in rows(auto)] == [1] * 4
    times.update(float32=0.9)  # noise
    assert train(replace(auto, steps=5), "cpu", progress=False).precision == "bf16"
    times.update(float32=0.01)  # another processor
    assert train(replace(auto, steps=6), "cpu", progress=False).precision == "float32"
    assert Trainer(replace(recipe, out=recipe.out + "_plain"), "cpu").precision == "float32"


def test_a_choice_is_kept_unless_it_is_clearly_slower():
    assert faster({"float32": 1.0, "bf16": 0.9}) == "bf16"
    assert faster({"float32": 1.0, "bf16": 0.9}, "float32") == "float32"
    assert faster({"float32": 2.0, "bf16": 0.9}, "float32") == "bf16"
    assert faster({"float32": 1.0, "bf16": 0.9}, "fp4") == "bf16"


def test_measuring_changes_nothing():
    torch.manual_seed(0)
    model = DictionaryCodec(replace(preset("nano"), batch_norm=True)).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    seconds = transform_seconds(model, torch.rand(2, 3, 64, 64))
    assert seconds.keys() == {"float32", "bf16"} and min(seconds.values()) > 0
    assert model.training and model.transform_dtype is None
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("lap", [0.0, 0.07])
def test_a_lapped_start_reconstructs_and_evens_the_noise(lap):
    torch.manual_seed(0)
    model = DictionaryCodec(preset("nano")).eval()
    x = Batches((DEMO,), Share(64), crop=128)[0][0]
    pca_start(model, x, lap)
    with torch.no_grad():
        y = model.g_a(x)
        inside = (slice(None), slice(None), slice(16, -16), slice(16, -16))
        error = (model.g_s(y) - x)[inside].square().mean()
        noise = torch.randn_like(y) * 1e-2
        seen = (model.g_s(y + noise) - model.g_s(y))[inside].square().sum() / noise[
            ..., 1:-1, 1:-1
        ].square().sum()
    assert -10 * error.log10() > 28  # 48 of 768 numbers are kept
    assert seen.item() == pytest.approx(1, abs=0.1)
    is_lapped = model.g_a[0].conv.weight[:12, :, 1, 1:5].any().item()
    assert is_lapped == (lap > 0)


def test_a_lapped_start_needs_fewer_bits_for_its_smooth_channels():
    x = Batches((DEMO,), Share(64), crop=128)[0][0]
    bits = []
    for lap in (0.0, 0.07):
        model = DictionaryCodec(preset("nano")).eval()
        pca_start(model, x, lap)
        with torch.no_grad():
            y = model.g_a(x)[..., 1:-1, 1:-1]
        # noise in each channel costs the image the same: bits of reverse water-filling
        bits.append((y.var((0, 2, 3)) / (10 / 255) ** 2).clamp(min=1).log2().sum().item())
    assert bits[1] < 0.99 * bits[0]


def test_these_settings_are_checked(tmp_path):
    path = tmp_path / "recipe.toml"
    good = 'model = "nano"\ndata = ["images"]\nout = "run"\n'
    for text, message in [
        ("pca_lap = 0.07", "part of pca_start"),
        ("pca_lap = -1.0\npca_start = true", "not be negative"),
        ('branch = "a"\nstart = "b"', "excludes branch"),
        ("decay_steps = 5", 'needs schedule "constant"'),
        ('schedule = "constant"\nsteps = 5\ndecay_steps = 6', "at most `steps`"),
        ("save_minutes = 0.0", "must be positive"),
    ]:
        path.write_text(good + text)
        with pytest.raises(RecipeError, match=message):
            load_recipe(path)
    path.write_text(good + 'schedule = "constant"\nbranch = "runs/state.pt"\ndecay_steps = 20000')
    recipe = load_recipe(path)
    assert recipe.branch == str(tmp_path / "runs" / "state.pt")
    assert recipe.settings()["branch"] == "state.pt"
    assert np.isclose(recipe.save_minutes, 10)
