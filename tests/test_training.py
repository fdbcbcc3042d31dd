"""The training loop: it learns, reaches every weight, resumes exactly, and names what is wrong."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from dictco_lib.checkpoints import load_checkpoint
from dictco_lib.config import preset
from dictco_lib.errors import RecipeError
from dictco_lib.models import DictionaryCodec
from dictco_lib.training.data import DEMO, Photos, batch, random_crop
from dictco_lib.training.loss import rate_distortion
from dictco_lib.training.recipe import Recipe, load_recipe
from dictco_lib.training.trainer import Trainer, train


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    return Recipe(
        model="nano",
        data=(DEMO,),
        out=str(tmp_path / "run"),
        steps=6,
        batch_size=2,
        crop=64,
        warmup=2,
        log_every=1,
        save_every=3,
        pca_start=True,
    )


@pytest.mark.parametrize("is_pca", [True, False])
def test_a_few_steps_lower_the_loss_on_one_batch(recipe, is_pca):
    trainer = Trainer(replace(recipe, pca_start=is_pca, warmup=1, steps=100, lr=1e-3))
    trainer.model.train()
    losses = []
    for _ in range(12):
        trainer.step = 0  # the same batch, the same noise
        losses.append(trainer.train_step()["loss"])
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["nano", "classroom"])
def test_gradients_reach_every_parameter(name):
    torch.manual_seed(0)
    model = DictionaryCodec(preset(name)).train()
    x = torch.rand(2, 3, 128, 128)
    out = model(x, torch.tensor([15.0, 85.0]))
    lmbda = torch.tensor([0.003, 0.03])
    rate_distortion(out, x, lmbda)["loss"].mean().backward()
    model.aux_loss().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.any() or "gain" in key, key


def test_gains_of_all_anchors_learn():
    model = DictionaryCodec(preset("nano")).train()
    x = torch.rand(5, 3, 64, 64)
    out = model(x, torch.tensor([10.0, 30.0, 50.0, 70.0, 90.0]))
    rate_distortion(out, x, torch.full((5,), 0.01))["loss"].mean().backward()
    for rows in (model.latent_codec.gain_y.log_gain, model.latent_codec.gain_y.log_inverse):
        assert rows.grad.any(dim=1).all()


def test_the_loss_is_the_one_of_the_papers():
    x = torch.zeros(1, 3, 8, 8)
    out = {
        "x_hat": torch.full_like(x, 0.1),
        "likelihoods": {"y": torch.full((1, 4, 1, 1), 0.5), "z": torch.full((1, 2, 1, 1), 0.25)},
    }
    terms = rate_distortion(out, x, torch.tensor([0.013]))
    assert terms["bpp"].item() == pytest.approx((4 + 4) / 64)
    assert terms["loss"].item() == pytest.approx(8 / 64 + 0.013 * 255**2 * 0.01, rel=1e-5)
    assert terms["psnr"].item() == pytest.approx(20, abs=1e-4)


def read_log(recipe: Recipe) -> list[dict]:
    with open(f"{recipe.out}/log.jsonl") as file:
        rows = [json.loads(line) for line in file]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def test_a_resumed_run_is_the_run_that_never_stopped(recipe, tmp_path):
    whole = train(recipe, progress=False)
    half = replace(recipe, out=str(tmp_path / "half"))
    torch.manual_seed(0)
    trainer = Trainer(half)
    trainer.model.train()
    for _ in range(3):
        trainer.train_step()
    trainer.out.mkdir()
    trainer.save()
    torch.manual_seed(12345)  # whatever the new process starts with
    resumed = train(half, progress=False)
    assert resumed.step == whole.step == 6
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[key]), key
    for key, value in whole.ema.state_dict().items():
        assert torch.equal(value, resumed.ema.state_dict()[key]), key
    assert read_log(recipe)[3:] == read_log(half)
    load_checkpoint(tmp_path / "half" / "last.safetensors")


def test_a_finished_run_is_left_alone(recipe):
    train(recipe, progress=False)
    before = read_log(recipe)
    train(recipe, progress=False)
    assert read_log(recipe) == before


def test_validation_is_logged_at_several_qualities(recipe):
    train(replace(recipe, steps=2, validation=(DEMO,), validate_every=2), progress=False)
    rows = [row for row in read_log(recipe) if row["kind"] == "validation"]
    assert len(rows) == 1
    assert rows[0]["bpp@0"] < rows[0]["bpp@50"] < rows[0]["bpp@100"]


def test_a_loss_that_is_not_finite_stops_the_run(recipe):
    trainer = Trainer(recipe)
    with torch.no_grad():
        trainer.model.g_s[0].bias[0] = float("nan")
    with pytest.raises(RecipeError, match="loss is nan at step 0"):
        trainer.train_step()


def test_a_batch_is_a_function_of_seed_and_step():
    photos = Photos((DEMO,))
    a, u = batch(photos, 7, size=3, crop=64, seed=1)
    b, v = batch(Photos((DEMO,)), 7, size=3, crop=64, seed=1)
    assert torch.equal(a, b) and torch.equal(u, v)
    assert a.shape == (3, 3, 64, 64) and 0 <= a.min() and a.max() <= 1
    assert not torch.equal(a, batch(photos, 8, size=3, crop=64, seed=1)[0])


def test_tar_shards_and_folders_are_read_and_damage_is_skipped(tmp_path, photo, caplog):
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "PNG")
    good, bad = buffer.getvalue(), buffer.getvalue()[:2000]
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for name, data in (("a.png", good), ("b.png", bad), ("notes.txt", b"text")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "c.png").write_bytes(good)
    photos = Photos((str(tmp_path / "shard.tar"), str(tmp_path / "more")))
    assert len(photos) == 3
    assert np.array_equal(photos.read(0), photo) and np.array_equal(photos.read(2), photo)
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert random_crop(photos, 64, rng).shape == (64, 64, 3)
    assert photos.damaged == {1}
    assert caplog.text.count("skipped damaged picture") == 1


def test_useless_data_is_named(tmp_path, photo):
    with pytest.raises(RecipeError, match="does not exist"):
        Photos((str(tmp_path / "none.tar"),))
    with pytest.raises(RecipeError, match="no pictures"):
        Photos((str(tmp_path),))
    (tmp_path / "text.tar").write_text("hello")
    with pytest.raises(RecipeError, match="neither a folder nor a tar"):
        Photos((str(tmp_path / "text.tar"),))
    Image.fromarray(photo[:32, :32]).save(tmp_path / "small.png")
    with pytest.raises(RecipeError, match="smaller than"):
        random_crop(Photos((str(tmp_path),)), 64, np.random.default_rng(0))


def test_recipes_are_checked(tmp_path):
    path = tmp_path / "recipe.toml"
    good = 'model = "nano"\ndata = ["pictures"]\nout = "run"\n'
    path.write_text(good)
    recipe = load_recipe(path)
    assert recipe.data == (str(tmp_path / "pictures"),) and recipe.out == str(tmp_path / "run")
    for text, message in [
        (good + "stepz = 3", "unknown keys"),
        ('model = "nano"', "missing keys"),
        (good + "crop = 100", "multiple of 64"),
        (good + "lmbda = 0.01", "remove lmbda"),
        (good.replace("nano", "dcae"), "needs a lmbda"),
        (good.replace('["pictures"]', '"pictures"'), "must be a list"),
        ("model = ", "no valid TOML"),
    ]:
        path.write_text(text)
        with pytest.raises(RecipeError, match=message):
            load_recipe(path)
    with pytest.raises(RecipeError, match="does not exist"):
        load_recipe(tmp_path / "none.toml")
