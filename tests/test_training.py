"""The training loop: it learns, reaches every weight, resumes exactly, and names what is wrong."""

from __future__ import annotations

import copy
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dictco_lib.checkpoints import fingerprint, load_checkpoint, save_checkpoint
from dictco_lib.cli import main
from dictco_lib.config import LMBDAS, LMBDAS_MS_SSIM, NANO
from dictco_lib.errors import CheckpointError, ConfigError, RecipeError
from dictco_lib.models import PRESETS, DictionaryCodec, preset
from dictco_lib.training.data import DEMO, Batches, Share, TrainingImages, random_crop, uniforms
from dictco_lib.training.loop import train, validation_crops
from dictco_lib.training.loss import load_teacher, rate_distortion, unlike_teacher
from dictco_lib.training.recipe import Recipe, load_recipe
from dictco_lib.training.routing import balance_loss, routing_statistics
from dictco_lib.training.trainer import Trainer

ROOT = Path(__file__).parents[1]


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
    )


@pytest.mark.parametrize("is_pca", [True, False])
def test_a_few_steps_lower_the_loss_on_one_batch(recipe, is_pca):
    trainer = Trainer(replace(recipe, pca_start=is_pca, warmup=1, steps=100, lr=1e-3), "cpu")
    x, _ = trainer.batches[0]
    losses = []
    for _ in range(12):
        trainer.step = 0  # the same batch, the same noise
        losses.append(trainer.train_step(x)["loss"])
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


def test_gains_of_all_lambdas_learn():
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
    """The log without what a clock decides."""
    with open(f"{recipe.out}/log.jsonl") as file:
        rows = [json.loads(line) for line in file]
    clocks = ("seconds", "images_per_s", "time/")
    return [{k: v for k, v in row.items() if not k.startswith(clocks)} for row in rows]


def kill_at(recipe: Recipe, step: int) -> None:
    """Train in a process of its own, which SIGKILL ends in the middle of a step."""
    script = f"""
import os, signal
from dictco_lib.training import loop
from dictco_lib.training.recipe import Recipe
from dictco_lib.training.trainer import Trainer
update = Trainer.update_ema
def dying(self):
    if self.step == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
    update(self)
Trainer.update_ema = dying
loop.train(Recipe(**{recipe.to_dict()!r}), "cpu", progress=False)
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 4])
def test_a_killed_run_continues_with_bit_equal_losses(recipe, tmp_path, photo, step):
    Image.fromarray(photo).save(tmp_path / "validation.png")
    recipe = replace(recipe, save_every=2, log_every=3, validate_every=4, pca_start=True)
    recipe = replace(recipe, validation=(str(tmp_path),), data=(DEMO,))
    whole = train(recipe, "cpu", progress=False)
    killed = replace(recipe, out=str(tmp_path / "killed"))
    kill_at(killed, step)
    torch.manual_seed(12345)  # whatever the new process starts with
    resumed = train(killed, "cpu", progress=False)
    assert resumed.step == whole.step == 6
    assert read_log(killed) == read_log(recipe)
    for ours, theirs in ((whole.model, resumed.model), (whole.ema, resumed.ema)):
        for key, value in ours.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[key]), key
    for name in ("last", "best"):
        a, b = (load_checkpoint(f"{r.out}/{name}.safetensors") for r in (recipe, killed))
        assert fingerprint(a) == fingerprint(b)


@pytest.mark.parametrize("times", [1, 2])
def test_a_run_that_is_asked_to_stop_saves_its_step_first(recipe, tmp_path, monkeypatch, times):
    whole = train(recipe, "cpu", progress=False)
    stopped = replace(recipe, out=str(tmp_path / "stopped"), save_every=100)
    update = Trainer.update_ema

    def asked(self):
        for _ in range(times if self.step == 4 else 0):
            os.kill(os.getpid(), signal.SIGINT)
        update(self)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # where it is ignored, too
    try:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Trainer, "update_ema", asked)
            train(stopped, "cpu", progress=False)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    if times == 2:  # the second time at once
        assert not (tmp_path / "stopped" / "state.pt").exists()
        return
    state = torch.load(tmp_path / "stopped" / "state.pt", weights_only=True)
    assert 0 < state["step"] < 6
    resumed = train(stopped, "cpu", progress=False)
    assert resumed.step == 6 and read_log(stopped) == read_log(recipe)
    for key, value in whole.ema.state_dict().items():
        assert torch.equal(value, resumed.ema.state_dict()[key]), key


def test_a_half_written_line_of_the_log_is_dropped(recipe):
    train(replace(recipe, steps=3), "cpu", progress=False)
    with open(f"{recipe.out}/log.jsonl", "a") as file:
        file.write('{"kind": "train", "st')
    train(recipe, "cpu", progress=False)
    assert [row["step"] for row in read_log(recipe)] == [1, 2, 3, 4, 5, 6]


def test_a_run_goes_on_only_with_its_own_settings(recipe):
    train(replace(recipe, steps=3), "cpu", progress=False)
    with pytest.raises(RecipeError, match=r"crop \(was 64, is 128\), seed \(was 0, is 1\)"):
        train(replace(recipe, crop=128, seed=1), "cpu", progress=False)
    lowered = replace(recipe, lr=1e-4, transform_lr=1e-5)
    trainer = train(lowered, "cpu", progress=False)
    assert [g["peak_lr"] for g in trainer.optimizer.param_groups] == [1e-5, 1e-4, 5e-3]


def test_a_damaged_state_is_named(recipe):
    trainer = train(replace(recipe, steps=3), "cpu", progress=False)
    data = trainer.state_path.read_bytes()
    trainer.state_path.write_bytes(data[: len(data) // 2])
    with pytest.raises(RecipeError, match="remove it to start again"):
        train(recipe, "cpu", progress=False)


def test_a_finished_run_is_left_alone(recipe):
    train(recipe, "cpu", progress=False)
    before = read_log(recipe)
    train(recipe, "cpu", progress=False)
    assert read_log(recipe) == before


def test_validation_is_logged_at_several_qualities(recipe):
    train(replace(recipe, steps=2, validation=(DEMO,), validate_every=2), "cpu", progress=False)
    rows = [row for row in read_log(recipe) if row["kind"] == "validation"]
    assert len(rows) == 1
    assert rows[0]["bpp@0"] < rows[0]["bpp@50"] < rows[0]["bpp@100"]


@pytest.mark.parametrize("is_gradient", [True, False])
def test_what_is_not_finite_stops_the_run_and_leaves_the_weights(recipe, is_gradient):
    trainer = Trainer(recipe, "cpu")
    x, _ = trainer.batches[0]
    if is_gradient:
        trainer.model.g_s[0].bias.register_hook(lambda g: g * float("inf"))
    else:
        x[0, 0, 0, 0] = float("nan")
    before = copy.deepcopy(trainer.model.state_dict())
    with pytest.raises(RecipeError, match="not finite at step 0; the batch and the weights are in"):
        trainer.train_step(x)
    for key, value in trainer.model.state_dict().items():
        assert torch.equal(value, before[key]), key
    bad = torch.load(f"{recipe.out}/bad_batch.pt", weights_only=True)
    assert torch.equal(bad["x"].isnan(), x.isnan()) and bad["step"] == 0
    assert len(bad["quality"]) == len(bad["lmbda"]) == len(x)


def test_a_batch_is_a_function_of_seed_and_step():
    batches = Batches((DEMO,), Share(3), crop=64, seed=1)
    a, _ = batches[7]
    assert torch.equal(a, Batches((DEMO,), Share(3), crop=64, seed=1)[7][0])
    assert a.shape == (3, 3, 64, 64) and 0 <= a.min() and a.max() <= 1
    assert not torch.equal(a, batches[8][0])
    u = uniforms(7, size=4, seed=1)
    assert torch.equal(u, uniforms(7, size=4, seed=1))
    assert sorted((4 * u).int().tolist()) == [0, 1, 2, 3]  # every quarter once


def test_workers_and_shares_see_the_same_images():
    whole = [x for x, _ in Batches((DEMO,), Share(4), crop=64, scale=0.5).from_step(2, 5)]
    ahead = [x for x, _ in Batches((DEMO,), Share(4), crop=64, scale=0.5).from_step(2, 5, 2)]
    assert torch.equal(torch.stack(whole), torch.stack(ahead))
    for rank in range(2):
        share = Share(4, rank, processes=2, accumulate=2)
        assert share.indices() == [rank, 2 + rank]
        part = Batches((DEMO,), share, crop=64, scale=0.5)[2][0]
        assert torch.equal(part, whole[0][share.indices()])


def test_accumulation_gives_the_gradients_of_the_whole_batch(recipe):
    recipe = replace(recipe, batch_size=4, routing="aux")
    gradients = []
    for accumulate in (1, 2, 4):
        trainer = Trainer(replace(recipe, accumulate=accumulate), "cpu")
        values = trainer._backward(trainer.batches[0][0], *trainer.draw(0))
        gradients.append({k: p.grad for k, p in trainer.model.named_parameters()} | values)
    for other in gradients[1:]:
        for key, value in gradients[0].items():
            torch.testing.assert_close(other[key], value, rtol=1e-3, atol=1e-5, msg=key)


def test_a_batch_that_cannot_be_shared_is_refused(recipe):
    with pytest.raises(RecipeError, match="cannot be shared evenly"):
        Trainer(replace(recipe, batch_size=3, accumulate=2), "cpu")


def test_multistep_and_cosine_schedules(recipe):
    multistep = Trainer(replace(recipe, schedule="multistep", milestones=(4, 5), decay=0.5), "cpu")
    assert [multistep.schedule(s) for s in range(6)] == [0.5, 1, 1, 1, 0.5, 0.25]
    cosine = Trainer(replace(recipe, final=0.1), "cpu")
    factors = [cosine.schedule(s) for s in range(2, 7)]
    assert factors == sorted(factors, reverse=True) and factors[0] == 1
    assert factors[-1] == pytest.approx(0.1)


def test_training_goes_on_from_a_checkpoint(recipe, tmp_path):
    first = train(recipe, "cpu", progress=False)
    start = f"{recipe.out}/last.safetensors"
    second = replace(recipe, pca_start=False, start=start, out=str(tmp_path / "second"))
    begun = Trainer(second, "cpu")
    for key, value in first.ema.named_parameters():
        assert torch.equal(value, begun.model.get_parameter(key)), key
    with pytest.raises(RecipeError, match="another shape"):
        Trainer(replace(second, model="classroom"), "cpu")


def test_ms_ssim_can_be_trained_on(recipe):
    recipe = replace(recipe, distortion="ms-ssim", crop=192, steps=1)
    train(recipe, "cpu", progress=False)
    row = read_log(recipe)[0]
    assert 0 < row["ms_ssim"] < 1
    x = torch.rand(1, 3, 192, 192)
    likelihoods = {"y": torch.ones(1, 1, 1, 1), "z": torch.ones(1, 1, 1, 1)}
    terms = rate_distortion({"x_hat": x, "likelihoods": likelihoods}, x, torch.ones(1), "ms-ssim")
    assert terms["loss"].item() == pytest.approx(0, abs=1e-6)


def test_a_mix_is_half_of_each_distortion_at_the_lambdas_that_stand_side_by_side():
    x = torch.rand(3, 3, 192, 192, generator=torch.manual_seed(0))
    out = {"x_hat": (x + 0.1 * torch.rand_like(x)).clamp(0, 1)}
    out["likelihoods"] = {name: torch.full((3, 1, 1, 1), 0.5) for name in "yz"}
    levels = [0, 3, 5]
    mse, similarity = (
        rate_distortion(out, x, torch.tensor([lmbdas[i] for i in levels]), distortion)["loss"]
        for lmbdas, distortion in ((LMBDAS, "mse"), (LMBDAS_MS_SSIM, "ms-ssim"))
    )
    mix = rate_distortion(out, x, torch.tensor([LMBDAS[i] for i in levels]), "mix")
    torch.testing.assert_close(mix["loss"], (mse + similarity) / 2)
    assert (mix["loss"] > mix["bpp"]).all() and {"psnr", "ms_ssim"} <= mix.keys()


def test_a_mix_can_be_trained_on(recipe):
    train(replace(recipe, distortion="mix", crop=192, steps=1), "cpu", progress=False)
    assert 0 < read_log(recipe)[0]["ms_ssim"] < 1


@pytest.fixture
def taught(recipe, tmp_path):
    """A recipe whose teacher has its student's shape, and that teacher."""
    teacher = DictionaryCodec(recipe.config).eval()
    path = tmp_path / "teacher.safetensors"
    save_checkpoint(teacher, path)
    return replace(recipe, pca_start=False, teacher=str(path), teacher_weight=2.0), teacher


def test_a_teacher_pulls_and_stays_as_it_was(taught):
    recipe, teacher = taught
    recipe = replace(recipe, steps=15, warmup=1, log_every=5, lr=2e-3, transform_lr=2e-3)
    alone = replace(recipe, teacher=None, out=recipe.out + "_alone")
    x = Trainer(recipe, "cpu").batches[0][0]
    lmbda = torch.full((len(x),), NANO.lmbda(50))
    apart = []
    for r in (recipe, alone):
        train(r, "cpu", progress=False)
        student = load_checkpoint(Path(r.out) / "last.safetensors")
        assert student.state_dict().keys() == teacher.state_dict().keys()  # it holds no teacher
        with torch.no_grad():
            apart.append(unlike_teacher(student(x, 50), teacher(x, 50), lmbda).mean().item())
    assert apart[0] < 0.9 * apart[1]
    assert "unlike_teacher" in read_log(recipe)[0] and "unlike_teacher" not in read_log(alone)[0]
    again = load_checkpoint(recipe.teacher)
    assert all(map(torch.equal, again.parameters(), teacher.parameters()))


def test_what_a_teacher_adds_is_its_image_at_the_price_of_x_and_the_relative_distance_of_y():
    x = torch.rand(2, 3, 64, 64, generator=torch.manual_seed(0))
    y, lmbda = torch.randn(2, 4, 4, 4), torch.tensor([0.01, 0.02])
    out = {"x_hat": x + 0.1, "para": {"y": 1.5 * y}}
    mine = unlike_teacher(out, {"x_hat": x, "para": {"y": y}}, lmbda)
    torch.testing.assert_close(mine, lmbda * 255**2 * 0.01 + 0.25)
    narrow = {"x_hat": x, "para": {"y": y[:, :2]}}  # another latent: the image alone
    torch.testing.assert_close(unlike_teacher(out, narrow, lmbda), lmbda * 255**2 * 0.01)


def test_a_teacher_of_other_rates_is_refused(taught):
    recipe, _ = taught
    other = replace(recipe, model="dcae", lmbda=0.013, batch_size=1)
    with pytest.raises(RecipeError, match="lambdas"):
        load_teacher(other)
    with pytest.raises(RecipeError, match="squared error"):
        replace(recipe, distortion="ms-ssim", crop=192)
    with pytest.raises(CheckpointError):
        load_teacher(replace(recipe, teacher="nowhere.safetensors"))


def test_validation_images_too_small_for_ms_ssim_are_named_at_the_start(recipe, tmp_path, photo):
    Image.fromarray(photo[:100]).save(tmp_path / "small.png")
    recipe = replace(recipe, distortion="ms-ssim", crop=192, validation=(str(tmp_path),))
    with pytest.raises(RecipeError, match="sides above 160"):
        train(recipe, "cpu", progress=False)


def test_a_process_may_train_on_the_cpu_after_a_gpu(recipe):
    from accelerate.state import PartialState

    Trainer(recipe, "cpu")
    PartialState._shared_state["device"] = torch.device("cuda:0")  # as a run there leaves it
    assert Trainer(recipe, "cpu").device.type == "cpu"


def test_images_that_training_cannot_read_well_are_left_out(tmp_path, photo):
    Image.fromarray(photo[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    twice = TrainingImages((str(tmp_path), str(tmp_path)))
    with pytest.raises(RecipeError, match="16-bit"):
        random_crop(twice, 64, np.random.default_rng(0))


def test_bf16_lowers_the_transforms_only(recipe):
    trainer = Trainer(replace(recipe, precision="bf16"), "cpu")
    seen = {}
    for name, module in trainer.model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(
                lambda m, i, out, name=name: seen.update({name: out.dtype})
            )
    values = trainer.train_step(trainer.batches[0][0])
    assert np.isfinite(values["loss"])
    between = [
        n for n in seen if n.startswith("g_") and trainer.model.get_submodule(n).stride[0] == 2
    ]
    inner = [n for n in seen if n.startswith("g_") and n not in between]
    assert between and {seen[n] for n in between} == {torch.float32}  # they hold pixels and latents
    assert inner and {seen[n] for n in inner} == {torch.bfloat16}
    assert {d for n, d in seen.items() if n.startswith("latent_codec")} == {torch.float32}


def test_lpips_says_what_it_needs(recipe, monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(RecipeError, match="pip install lpips"):
        Trainer(replace(recipe, perceptual=0.1), "cpu")


def test_routing_statistics_tell_load_and_doubt():
    sure = torch.zeros(2, 4, 3, 3)
    sure[:, 1] = 1
    statistics = routing_statistics([torch.full((2, 4, 3, 3), 0.25), sure])
    torch.testing.assert_close(
        statistics, torch.tensor([[0.25, 0.25, 0.25, 0.25, 2.0], [0, 1, 0, 0, 0]])
    )


def test_the_auxiliary_loss_evens_the_load():
    logits = torch.zeros(1, 3, 4, 4)
    logits[:, 0] = 2.0
    logits.requires_grad_()
    for _ in range(200):
        gates = logits.softmax(1)
        load = routing_statistics([gates])[:, :-1]
        (gradient,) = torch.autograd.grad(balance_loss([gates], load), logits)
        logits = (logits - 20 * gradient).detach().requires_grad_()
    torch.testing.assert_close(logits.softmax(1).mean((0, 2, 3)), torch.full((3,), 1 / 3))


def test_the_selection_bias_wakes_an_expert_that_nobody_chose(recipe, monkeypatch):
    monkeypatch.setitem(PRESETS, "nano", replace(preset("nano"), top_k=1))
    recipe = replace(recipe, routing="bias", routing_weight=0.05)
    trainer = Trainer(recipe, "cpu")
    heads = [head.attention for head in trainer.model.latent_codec.slices]
    for head in heads:
        torch.nn.init.zeros_(head.router[-1].weight)
        head.router[-1].bias.data = torch.tensor([1.0, 0.0, 0.0, 0.0])
    trainer.weights = []  # the router itself stays
    trainer.optimizer.param_groups.clear()
    x, _ = trainer.batches[0]
    first = trainer.train_step(x)
    assert first["load/0/0"] == 1
    loads = []
    for _ in range(40):
        values = trainer.train_step(x)
        loads.append([values[f"load/0/{e}"] for e in range(4)])
    np.testing.assert_allclose(np.mean(loads[-16:], axis=0), 0.25, atol=0.1)
    assert all(head.selection_bias.argmin() == 0 for head in heads)


def test_throughput_and_its_parts_are_logged(recipe):
    train(replace(recipe, steps=2), "cpu", progress=False)
    with open(f"{recipe.out}/log.jsonl") as file:
        row = json.loads(file.readline())
    parts = [row[f"time/{part}"] for part in ("data", "forward", "backward")]
    assert row["images_per_s"] > 0 and min(parts) > 0 and sum(parts) == pytest.approx(1)


def test_a_listener_hears_every_entry(recipe):
    heard = []
    train(recipe, "cpu", progress=False, listener=lambda trainer, entry: heard.append(entry))
    assert [entry["step"] for entry in heard] == [0, 1, 2, 3, 4, 5, 6]
    assert heard[0]["kind"] == "start"


def test_validation_crops_of_small_images_are_whole(tmp_path, photo):
    Image.fromarray(photo[:100, :300]).save(tmp_path / "small.png")
    (crop,) = validation_crops((str(tmp_path),))
    assert crop.shape == (1, 3, 100, 256)


def test_tar_shards_and_folders_are_read_and_damage_is_named(recipe, tmp_path, photo, caplog):
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
    sources = (str(tmp_path / "shard.tar"), str(tmp_path / "more"))
    photos = TrainingImages(sources)
    assert len(photos) == 3
    assert np.array_equal(photos.read(0), photo) and np.array_equal(photos.read(2), photo)
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert random_crop(photos, 64, rng).shape == (64, 64, 3)
    assert list(photos.damaged) == [f"{tmp_path}/shard.tar/b.png"]
    recipe = replace(recipe, data=sources, steps=4, batch_size=4, workers=2)
    train(recipe, "cpu", progress=False)
    assert caplog.text.count("skipped damaged image") == 1
    assert f"{tmp_path}/shard.tar/b.png" in caplog.text
    assert read_log(recipe)[-1]["damaged"] == 1


def test_useless_data_is_named(tmp_path, photo):
    with pytest.raises(RecipeError, match="does not exist"):
        TrainingImages((str(tmp_path / "none.tar"),))
    with pytest.raises(RecipeError, match="no images"):
        TrainingImages((str(tmp_path),))
    (tmp_path / "text.tar").write_text("hello")
    with pytest.raises(RecipeError, match="neither a folder nor a tar"):
        TrainingImages((str(tmp_path / "text.tar"),))
    Image.fromarray(photo[:32, :32]).save(tmp_path / "small.png")
    with pytest.raises(RecipeError, match="smaller than"):
        random_crop(TrainingImages((str(tmp_path),)), 64, np.random.default_rng(0))


def test_recipes_are_checked(tmp_path):
    path = tmp_path / "recipe.toml"
    good = 'model = "nano"\ndata = ["images"]\nout = "run"\n'
    path.write_text(good)
    recipe = load_recipe(path)
    assert recipe.data == (str(tmp_path / "images"),) and recipe.out == str(tmp_path / "run")
    for text, message in [
        (good + "stepz = 3", "unknown keys"),
        ('model = "nano"', "missing keys"),
        (good + "crop = 100", "multiple of 64"),
        (good + "lmbda = 0.01", "remove lmbda"),
        (good.replace("nano", "dcae"), "needs a lmbda"),
        (good.replace('["images"]', '"images"'), "must be a list"),
        ("model = ", "no valid TOML"),
        (good + "steps = 0", "must be positive"),
        (good + 'steps = "many"', "expected int"),
        (good + "steps = true", "expected int"),
        (good + "lr = nan", "expected float"),
        (good + "threads = 1.5", "expected int"),
        (good + "pca_start = 1", "expected true or false"),
        (good + "ema_decay = 1.0", "less than 1"),
        (good + "seed = -1", "not be negative"),
        (good + "scale = 2.0", "at most 1"),
        (good + 'precision = "fp4"', "choose one of"),
        (good + "weight_bits = 4", "weight_bits = 4: choose one of"),
        (good + "weight_bits = 8.0", "expected int"),
        (good + "weight_bits = true", "expected int"),
        (good + 'distortion = "ms-ssim"', "MS-SSIM needs 192"),
        (good + 'schedule = "multistep"', "needs some"),
        (good + 'start = "a"\npca_start = true', "excludes pca_start"),
        (good + 'routing = "bias"', "top_k > 0"),
        ('model = "dcae"\nlmbda = 0.01\ndata = []\nout = "a"\nrouting = "aux"', "no experts"),
        ('model = "dictco"\nlmbda = 0.01\ndata = []\nout = "a"\npca_start = true', "BatchNorm"),
    ]:
        path.write_text(text)
        with pytest.raises(RecipeError, match=message):
            load_recipe(path)
    with pytest.raises(RecipeError, match="does not exist"):
        load_recipe(tmp_path / "none.toml")


def test_settings_on_the_command_line_replace_the_recipes(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(
        'model = "nano"\ndata = ["images"]\nout = "run"\nseed = 3\n[shape]\nexperts = 2\n'
    )
    changes = ["seed=4", 'out="other"', "shape.entries=8", "shape.top_k=1", 'routing="bias"']
    recipe = load_recipe(path, changes)
    assert (recipe.seed, recipe.out) == (4, str(tmp_path / "other"))
    assert recipe.shape == {"experts": 2, "entries": 8, "top_k": 1}
    assert recipe.config == replace(NANO, name="nano_variant", experts=2, entries=8, top_k=1)
    assert load_recipe(path).seed == 3
    with pytest.raises(RecipeError, match="unknown keys"):
        load_recipe(path, ["seeds=4"])
    with pytest.raises(RecipeError, match="'out=other' is no valid TOML"):
        load_recipe(path, ["out=other"])
    with pytest.raises(ConfigError, match="unknown"):
        load_recipe(path, ["shape.layers=4"])
    with pytest.raises(RecipeError, match="model = .*expected text"):
        load_recipe(path, ["model.x=1"])


def test_a_start_that_cannot_fill_the_latent_is_named(recipe):
    wide = replace(recipe, start=None, pca_start=True, shape={"M": 160, "groups": [160]})
    with pytest.raises(RecipeError, match="fill only 128 of the 160 channels"):
        Trainer(wide, "cpu")


def test_a_variant_is_trained_and_a_dense_start_may_go_on_sparse(recipe, tmp_path):
    wide = replace(recipe, steps=1, shape={"entries": 8}, out=str(tmp_path / "wide"))
    trainer = train(wide, progress=False)
    assert trainer.model.config.entries == 8
    start = str(trainer.out / "last.safetensors")
    sparse = replace(wide, start=start, out=str(tmp_path / "sparse"), router_lr=1e-2)
    sparse = replace(sparse, shape={"entries": 8, "top_k": 1}, routing="bias")
    assert train(sparse, progress=False).optimizer.param_groups[-1]["peak_lr"] == 1e-2
    back = replace(wide, start=str(tmp_path / "sparse/last.safetensors"), out=str(tmp_path / "b"))
    assert train(back, progress=False).model.config.top_k == 0
    other = replace(sparse, shape={"entries": 4}, routing="none", out=str(tmp_path / "other"))
    with pytest.raises(RecipeError, match="another shape"):
        Trainer(other)


def test_bench_times_training_steps_against_the_plain_loop(recipe, tmp_path, capsys):
    path = tmp_path / "recipe.toml"
    path.write_text('model = "nano"\ndata = ["scikit-image"]\nout = "run"\ncrop = 64\n')
    assert main(["bench", "--recipe", str(path), "--repeats", "1", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("plain (float32, eager, contiguous)") and "1.00x" in lines[1]
    assert lines[-2].startswith("as the recipe says")
    assert not (tmp_path / "run").exists()
