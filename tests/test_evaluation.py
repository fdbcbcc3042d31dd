"""Metrics and rate-distortion reports."""

from __future__ import annotations

import math
import runpy
import sys

import numpy as np
import pytest
from PIL import Image

from dictco_lib.errors import ImageError
from dictco_lib.evaluation.metrics import ms_ssim, psnr
from dictco_lib.evaluation.rd import evaluate, pictures_in, save_report


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


@pytest.fixture
def report(nano, photo, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(photo).save(folder / "a.png")
    Image.fromarray(photo[:, ::-1]).save(folder / "b.png")
    (folder / "notes.txt").write_text("no picture")
    return evaluate(nano, pictures_in(folder), (10.0, 60.0, 100.0))


def test_a_report_counts_the_bytes_of_files(report):
    rows = report["per_image"]
    assert [(r["image"], r["quality"]) for r in rows[:3]] == [
        ("a.png", 10.0),
        ("b.png", 10.0),
        ("a.png", 60.0),
    ]
    for row in rows:
        assert row["bpp"] == pytest.approx(8 * row["bytes"] / (203 * 301))
        assert 0 < row["decode_network_s"] < row["decode_s"]
    assert report["results"]["bpp"][0] == pytest.approx((rows[0]["bpp"] + rows[1]["bpp"]) / 2)
    assert report["results"]["psnr-rgb"] == sorted(report["results"]["psnr-rgb"])


def test_compressais_plot_tool_reads_a_report(report, tmp_path, monkeypatch):
    save_report(report, tmp_path / "report.json")
    arguments = ["plot", "-f", str(tmp_path / "report.json"), "-o", str(tmp_path / "rd.png")]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setenv("MPLBACKEND", "agg")
    runpy.run_module("compressai.utils.plot", run_name="__main__")
    assert (tmp_path / "rd.png").stat().st_size > 5000


def test_empty_folders_are_named(tmp_path):
    with pytest.raises(ImageError, match="no pictures"):
        pictures_in(tmp_path)
    with pytest.raises(ImageError, match="no folder"):
        pictures_in(tmp_path / "none")
