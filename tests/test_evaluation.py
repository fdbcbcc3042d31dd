"""Metrics and rate-distortion reports."""

from __future__ import annotations

import copy
import io
import json
import math
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from ssimulacra2 import compute_ssimulacra2
from ssimulacra2 import ssimulacra2 as package

from dictco_lib.checkpoints import fingerprint, save_checkpoint
from dictco_lib.cli import main
from dictco_lib.errors import CurveError, DictcoError, ImageError, QualityError
from dictco_lib.evaluation import sharding
from dictco_lib.evaluation.classical import CODECS
from dictco_lib.evaluation.classical import decode_image as decode
from dictco_lib.evaluation.curves import load_curve, load_per_image
from dictco_lib.evaluation.measure import batches
from dictco_lib.evaluation.metrics import cosine_kernel, decibels, ms_ssim, psnr, ssimulacra2
from dictco_lib.evaluation.rd import (
    evaluate,
    images_in,
    save_report,
)


def test_psnr_is_the_definition(photo):
    assert psnr(photo, photo) == math.inf
    assert psnr(np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)) == 0
    assert psnr(np.zeros((1, 1, 3), np.uint8), np.full((1, 1, 3), 1, np.uint8)) == pytest.approx(
        48.1308, abs=1e-4
    )


def test_ms_ssim_needs_five_scales(photo):
    assert ms_ssim(photo, photo) == pytest.approx(1)
    noise = np.random.default_rng(0).integers(0, 60, photo.shape)
    noisy = np.clip(photo.astype(int) + noise, 0, 255).astype(np.uint8)
    assert 0.3 < ms_ssim(photo, noisy) < 0.999
    assert ms_ssim(photo[:100], photo[:100]) is None
    assert decibels(0.99) == pytest.approx(20)
    assert decibels(1.0) == math.inf


@pytest.fixture(scope="module")
def jpegs():
    """A photograph of 256x225, and what JPEG makes of it at three qualities."""
    pixels = np.ascontiguousarray(data.astronaut()[:225, 100:356])
    return pixels, [decode(CODECS["jpeg_420"].encode(pixels, q)) for q in (10, 50, 95)]


def test_ssimulacra_2_is_a_scale_of_quality(jpegs, photo):
    pixels, decoded = jpegs
    assert ssimulacra2(pixels, pixels) == 100
    scores = [ssimulacra2(pixels, image) for image in decoded]
    assert scores == sorted(scores) and scores[0] < 20 and scores[-1] > 85
    # All four borders are treated alike (those of the package are not).
    turned = (image.transpose(1, 0, 2) for image in (pixels, decoded[1]))
    assert ssimulacra2(*turned) == pytest.approx(scores[1], abs=1e-9)
    assert ssimulacra2(pixels[:224], decoded[0][:224]) is None  # too small for six scales


def test_ssimulacra_2_is_that_of_the_package_but_for_its_borders(jpegs, monkeypatch):
    pixels, decoded = jpegs
    files = [io.BytesIO() for _ in range(2)]
    for image, file in zip((pixels, decoded[2]), files, strict=True):
        Image.fromarray(image).save(file, "ppm")
    theirs = compute_ssimulacra2(*files)
    assert 0.01 < abs(ssimulacra2(pixels, decoded[2]) - theirs) < 1
    monkeypatch.setattr("dictco_lib.evaluation.metrics._blurred", package.blur_image)
    assert ssimulacra2(pixels, decoded[2]) == pytest.approx(theirs, abs=1e-9)


def test_the_blur_of_ssimulacra_2_is_what_the_recursive_filter_computes():
    kernel = cosine_kernel(1.5)
    offsets = np.arange(-5, 6)
    assert kernel.sum() == pytest.approx(1) and kernel @ offsets == pytest.approx(0)
    assert kernel @ offsets**2 == pytest.approx(1.5**2)
    gaussian = np.exp(-(offsets**2) / (2 * 1.5**2))
    assert abs(kernel - gaussian / gaussian.sum()).max() < 0.005
    # Three cosines: a linear recurrence of order six without its input gives every next weight.
    omega = np.array([1, 3, 5]) * np.pi / 10
    recurrence = np.poly(np.concatenate([np.exp(1j * omega), np.exp(-1j * omega)])).real
    assert np.convolve(kernel, recurrence, "valid") == pytest.approx(np.zeros(5), abs=1e-12)


@pytest.fixture
def folder(photo, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(photo).save(folder / "a.png")
    Image.fromarray(photo[:, ::-1]).save(folder / "b.png")
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def report(nano, folder):
    return evaluate(nano, images_in(folder), (10.0, 60.0, 100.0))


def test_a_report_counts_the_bytes_of_files(report):
    rows = report["per_image"]
    assert [(r["image"], r["quality"]) for r in rows[:3]] == [
        ("a.png", 10.0),
        ("b.png", 10.0),
        ("a.png", 60.0),
    ]
    for row in rows:
        assert (row["width"], row["height"]) == (301, 203)
        assert row["bpp"] == pytest.approx(8 * row["bytes"] / (203 * 301))
        assert row["ms-ssim-db"] == pytest.approx(-10 * math.log10(1 - row["ms-ssim-rgb"]))
        for verb in ("encode", "decode"):
            network, entropy = row[f"{verb}_network_s"], row[f"{verb}_entropy_s"]
            assert min(network, entropy) > 0
            assert row[f"{verb}_s"] == pytest.approx(network + entropy)
        assert 50 < row["peak_memory_mb"] < 50_000
    results = report["results"]
    for key in ("bpp", "psnr-rgb", "ms-ssim-rgb", "decode_network_s"):
        assert results[key][0] == pytest.approx((rows[0][key] + rows[1][key]) / 2)
    assert results["ms-ssim-db"][0] == pytest.approx(decibels(results["ms-ssim-rgb"][0]))
    assert results["psnr-rgb"] == sorted(results["psnr-rgb"])


def test_a_report_tells_how_to_make_it_again(report, nano):
    setup = report["setup"]
    assert setup["model"] == "nano" and setup["fingerprint"] == fingerprint(nano).hex()
    assert setup["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert (setup["mode"], setup["processes"], setup["device"][:3]) == ("real", 1, "cpu")
    assert setup["seconds"] > sum(row["encode_s"] for row in report["per_image"])


# The bound is that of test_real_bits_are_estimated_bits in test_coding.py.
def test_estimated_bits_are_a_little_below_real_ones(report, nano, folder):
    estimated = evaluate(nano, images_in(folder), (10.0, 60.0, 100.0), mode="estimated")
    assert "estimated" in estimated["name"] and estimated["setup"]["mode"] == "estimated"
    assert estimated["results"].keys() >= {"bpp", "psnr-rgb", "ms-ssim-rgb", "forward_s"}
    for real, row in zip(report["per_image"], estimated["per_image"], strict=True):
        assert (row["image"], row["quality"]) == (real["image"], real["quality"])
        pixels = row["width"] * row["height"]
        assert 0 < (real["bpp"] - row["bpp"]) * pixels < 0.01 * row["bpp"] * pixels + 8 * 128
        assert row["psnr-rgb"] == pytest.approx(real["psnr-rgb"], abs=0.01)


def test_a_model_in_training_mode_is_not_measured(nano, folder):
    nano.train()
    try:
        with pytest.raises(DictcoError, match="eval"):
            evaluate(nano, images_in(folder), (50.0,), mode="estimated")
    finally:
        nano.eval()


def test_batches_hold_images_of_equal_upright_size(nano, photo, folder):
    Image.fromarray(photo[:80, :70]).save(folder / "c.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(np.rot90(photo).copy()).save(folder / "d.png", exif=turned)
    paths = images_in(folder)
    names = [[path.stem for path in batch] for batch in batches(paths, 2)]
    assert names == [["a", "b"], ["d"], ["c"]]
    assert [len(batch) for batch in batches(paths, 1)] == [1, 1, 1, 1]
    single = evaluate(nano, paths, (50.0,), mode="estimated")["per_image"]
    batched = evaluate(nano, paths, (50.0,), mode="estimated", batch_size=3)["per_image"]
    assert [row["image"] for row in batched] == ["a.png", "b.png", "c.png", "d.png"]
    for one, row in zip(single, batched, strict=True):
        assert row["bpp"] == pytest.approx(one["bpp"], rel=1e-4)
        assert row["psnr-rgb"] == pytest.approx(one["psnr-rgb"], abs=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_estimates_what_a_cpu_estimates(nano, folder):
    options = {"mode": "estimated", "batch_size": 2}
    want = evaluate(nano, images_in(folder), (50.0,), **options)["results"]
    got = evaluate(copy.deepcopy(nano).cuda(), images_in(folder), (50.0,), **options)["results"]
    assert got["bpp"] == pytest.approx(want["bpp"], rel=1e-3)
    assert got["psnr-rgb"] == pytest.approx(want["psnr-rgb"], abs=0.01)


def test_mistakes_are_not_blamed_on_images(nano, folder):
    with pytest.raises(QualityError):
        evaluate(nano, images_in(folder), (101.0,))
    with pytest.raises(DictcoError, match="mode 'guessed'"):
        evaluate(nano, images_in(folder), mode="guessed")
    (folder / "c.png").write_text("no image")
    with pytest.raises(DictcoError, match="none of the 1 images .*c.png"):
        evaluate(nano, [folder / "c.png"], (50.0,))


@pytest.mark.parametrize("mode", ["real", "estimated"])
def test_damaged_images_are_named_and_left_out(capsys, nano, folder, tmp_path, mode):
    save_checkpoint(nano, tmp_path / "nano.safetensors")
    damaged = (folder / "a.png").read_bytes()[:2000]  # its header is whole
    (folder / "aa.png").write_bytes(damaged)
    (folder / "c.jpg").write_text("no image")
    out = tmp_path / "report.json"
    arguments = ["evaluate", folder, "--model", tmp_path / "nano.safetensors", "--out", out]
    arguments += ["--mode", mode, "--quality", 20, 80, "--device", "cpu"]
    assert main([str(a) for a in arguments]) == 1
    error = capsys.readouterr().err
    assert "2 of 4 images failed and are left out: aa.png, c.jpg" in error
    report = json.loads(out.read_text())
    assert report["failed"].keys() == {"aa.png", "c.jpg"}
    assert [row["image"] for row in report["per_image"]] == ["a.png", "b.png"] * 2
    assert (report["setup"]["folder"], report["setup"]["checkpoint"]) == (
        "photos",
        "nano.safetensors",
    )


def without_machine_numbers(report):
    def keep(values):
        return {k: v for k, v in values.items() if not k.endswith("_s") and k != "peak_memory_mb"}

    rows = [keep(row) for row in report["per_image"]]
    return keep(report["results"]), rows, report["failed"].keys()


def test_batches_are_dealt_out_whole(nano, photo, folder):
    Image.fromarray(photo[:80, :70]).save(folder / "c.png")
    sent: list[list] = []

    class First(sharding.Team):
        def gather(self, items):
            sent.append(items)
            return items

    class Second(sharding.Team):
        def gather(self, items):
            return sent.pop(0) + items

    options = {"mode": "estimated", "batch_size": 2}
    alone = evaluate(nano, images_in(folder), (20.0, 80.0), **options)
    evaluate(nano, images_in(folder), (20.0, 80.0), **options, team=First(0, 2))
    shared = evaluate(nano, images_in(folder), (20.0, 80.0), **options, team=Second(1, 2))
    assert without_machine_numbers(shared) == without_machine_numbers(alone)


@pytest.mark.slow
def test_two_processes_give_the_table_of_one(capsys, nano, photo, folder, tmp_path):
    save_checkpoint(nano, tmp_path / "nano.safetensors")
    Image.fromarray(photo[:100, :90]).save(folder / "c.png")
    (folder / "d.png").write_text("no image")
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    arguments = ["evaluate", folder, "--model", tmp_path / "nano.safetensors", "--device", "cpu"]
    arguments += ["--quality", 20, 80, "--out"]
    # --multi_gpu is how accelerate starts several processes on one machine, CPU or not; its --cpu
    # starts one. Port 0 means a free one; HF_HOME keeps a user's configuration away.
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    launch += ["--num_processes", 2, "--num_machines", 1, "--mixed_precision", "no"]
    launch += ["--dynamo_backend", "no", "--main_process_port", 0, "-m", "dictco_lib"]
    done = subprocess.run(
        [str(a) for a in (*launch, *arguments, two)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        env=os.environ | {"HF_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 1 and "1 of 4 images failed" in done.stderr, done.stderr
    assert done.stdout.count("PSNR dB") == 1  # only one of them prints
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # what each of the two has; more would add in another order
    try:
        assert main([str(a) for a in (*arguments, one)]) == 1
    finally:
        torch.set_num_threads(threads)
    alone, shared = (json.loads(path.read_text()) for path in (one, two))
    assert (alone["setup"]["processes"], shared["setup"]["processes"]) == (1, 2)
    assert without_machine_numbers(shared) == without_machine_numbers(alone)
    assert len(shared["per_image"]) == 6


def test_a_process_that_works_alone_initialises_nothing(monkeypatch):
    def refuse(*args, **options):
        raise AssertionError("a process group was asked for")

    monkeypatch.setattr("accelerate.PartialState", refuse)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with sharding.join_team("cpu") as team:
        assert (team.index, team.count, team.device) == (0, 1, torch.device("cpu"))
        assert team.gather(list(team.share("abc"))) == ["a", "b", "c"]
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("metric", ["psnr-rgb", "ms-ssim-rgb"])
def test_compressais_plot_tool_draws_a_report(report, tmp_path, monkeypatch, metric):
    save_report(report, tmp_path / "report.json")
    arguments = ["plot", "-f", str(tmp_path / "report.json"), "-o", str(tmp_path / "rd.png")]
    monkeypatch.setattr(sys, "argv", [*arguments, "-m", metric, "--backend", "matplotlib"])
    monkeypatch.setenv("MPLBACKEND", "agg")
    runpy.run_module("compressai.utils.plot", run_name="__main__")
    assert np.asarray(Image.open(tmp_path / "rd.png").convert("L")).std() > 5


def test_infinite_values_are_null_in_a_report_and_make_no_curve(report, tmp_path):
    report["results"]["psnr-rgb"][2] = math.inf
    save_report(report, tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["results"]["psnr-rgb"][2] is None
    with pytest.raises(DictcoError, match="holds None"):
        load_curve(tmp_path / "report.json")


def test_rows_of_old_and_new_reports_are_curves_of_images(report, tmp_path):
    save_report(report, tmp_path / "report.json")
    curves = load_per_image(tmp_path / "report.json")
    assert curves.keys() == {"a.png", "b.png"} and len(curves["a.png"].bpp) == 3
    shipped = Path(__file__).parents[1] / "data" / "classroom_kodak.json"
    assert len(load_curve(shipped).bpp) == 6 and len(load_per_image(shipped)) == 24


def test_empty_folders_are_named(tmp_path):
    with pytest.raises(ImageError, match="no images"):
        images_in(tmp_path)
    with pytest.raises(ImageError, match="no folder"):
        images_in(tmp_path / "none")


def test_ssimulacra_2_is_in_reports_on_demand_and_makes_curves(
    capsys, nano, jpegs, photo, tmp_path
):
    save_checkpoint(nano, tmp_path / "nano.safetensors")
    (tmp_path / "photos").mkdir()
    Image.fromarray(jpegs[0]).save(tmp_path / "photos" / "large.png")
    Image.fromarray(photo).save(tmp_path / "photos" / "small.png")
    plain, ours = tmp_path / "plain.json", tmp_path / "ours.json"
    arguments = ["evaluate", tmp_path / "photos", "--quality", 0, 50, 100, "--device", "cpu"]
    arguments += ["--model", tmp_path / "nano.safetensors", "--mode", "estimated", "--out"]
    assert main([str(a) for a in (*arguments, plain)]) == 0
    assert "ssimulacra2" not in json.loads(plain.read_text())["per_image"][0]
    assert main([str(a) for a in (*arguments, ours, "--ssimulacra2")]) == 0
    printed = capsys.readouterr().out
    assert "SSIMUL. 2" in printed
    assert "SSIMULACRA 2 of 1 of 2 images; without small.png (a side up to 224)" in printed
    report = json.loads(ours.read_text())
    assert report["setup"]["versions"]["ssimulacra2"] == "0.3.0"
    large = [row["ssimulacra2"] for row in report["per_image"] if row["image"] == "large.png"]
    assert report["results"]["ssimulacra2"] == large == sorted(large)
    assert load_per_image(ours, "SSIMULACRA 2").keys() == {"large.png"}

    arguments = ["anchors", tmp_path / "photos", "--codecs", "jpeg_420", "--ssimulacra2", "--out"]
    assert main([str(a) for a in (*arguments, tmp_path / "anchors")]) == 0
    assert "SSIMULACRA 2" in capsys.readouterr().out
    jpeg = tmp_path / "anchors" / "jpeg_420.json"
    assert load_curve(jpeg, "SSIMULACRA 2").metric == "SSIMULACRA 2"
    metric = ["--metric", "ssimulacra2"]
    assert main(["bdrate", str(jpeg), str(jpeg), *metric, "--per-image"]) == 0
    out, err = capsys.readouterr()
    assert "same SSIMULACRA 2" in out and "+0.00 %" in out and "dB" not in out + err
    assert main(["plot", str(tmp_path / "rd.png"), str(jpeg), str(ours), *metric]) == 0
    for command in (
        ["bdrate", str(jpeg), str(plain)],
        ["plot", str(tmp_path / "b.png"), str(plain)],
    ):
        assert main([*command, *metric]) == 1
        assert "dictco evaluate FOLDER --ssimulacra2 --out" in capsys.readouterr().err
    with pytest.raises(CurveError, match="--ssimulacra2"):
        load_per_image(plain, "SSIMULACRA 2")
