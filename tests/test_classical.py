"""Classical codecs: settings, files and reports."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

from dictco_lib.cli import main
from dictco_lib.errors import DictcoError
from dictco_lib.evaluation import classical
from dictco_lib.evaluation.anchors import anchors, measure_anchor
from dictco_lib.evaluation.classical import CODECS, decode_image, jpeg, jpeg_of_size, select
from dictco_lib.evaluation.curves import load_curve, load_per_image
from dictco_lib.evaluation.metrics import psnr

RUNNING = [key for key, codec in CODECS.items() if codec.problem() is None]
SHIPPED_WITH_PILLOW = [key for key, codec in CODECS.items() if codec.plugin is None]


@pytest.fixture
def crop(photo):
    return photo[:96, :112]


@pytest.fixture
def folder(tmp_path, photo, crop):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(crop).save(folder / "one.png")
    Image.fromarray(photo[100:180, 100:200]).save(folder / "two.png")
    return folder


def test_all_codecs_without_a_plugin_run_here():
    assert set(SHIPPED_WITH_PILLOW) <= set(RUNNING)


@pytest.mark.parametrize("key", RUNNING)
def test_more_bits_give_a_better_image(key, crop, tmp_path):
    Image.fromarray(crop).save(tmp_path / "a.png")
    rows = measure_anchor(CODECS[key], tmp_path / "a.png")
    ends = rows[0], rows[-1]
    assert ends[0]["bytes"] < ends[1]["bytes"] and ends[0]["psnr-rgb"] + 5 < ends[1]["psnr-rgb"]
    data = CODECS[key].encode(crop, CODECS[key].ladder[-1])
    assert rows[-1]["bytes"] == len(data)
    assert rows[-1]["bpp"] == pytest.approx(8 * len(data) / (96 * 112), abs=1e-6)
    assert rows[-1]["psnr-rgb"] == pytest.approx(psnr(crop, decode_image(data)), abs=1e-6)
    assert rows[-1]["ms-ssim-rgb"] is None  # too small for five scales
    assert Image.open(io.BytesIO(data)).format == CODECS[key].format


def test_the_settings_reach_the_files(crop):
    layers = {key: Image.open(io.BytesIO(CODECS[key].encode(crop, 40))).layer
              for key in ("jpeg_420", "jpeg_444")}  # fmt: skip
    assert layers["jpeg_420"][0][1:3] == (2, 2) and layers["jpeg_444"][0][1:3] == (1, 1)
    plain = io.BytesIO()
    Image.fromarray(crop).save(plain, "JPEG", quality=40, subsampling="4:2:0")
    assert len(jpeg(crop, 40)) < len(plain.getvalue())  # optimised Huffman tables
    # The colour transform of JPEG 2000: byte 9 of the COD marker segment.
    data = CODECS["jpeg2000"].encode(crop, 0.8)
    cod = data.index(b"\xff\x52")
    assert data[cod + 8] == 1 and data[cod + 13] == 0  # on; 0: the irreversible 9/7 wavelet
    tuned, default = (CODECS[key].encode(crop, 38) for key in ("avif_444_psnr", "avif_444"))
    assert tuned != default


def test_a_plugin_cannot_write_into_the_settings(crop, monkeypatch):
    def save(image, buffer, format, **options):  # as pillow-heif does
        options["advanced"]["chroma"] = 444

    monkeypatch.setattr(Image.Image, "save", save)
    CODECS["avif_444_psnr"].encode(crop, 30)
    assert CODECS["avif_444_psnr"].settings["advanced"] == {"tune": "psnr"}


def test_jpeg_of_size_finds_the_nearest_quality(crop):
    data, quality = jpeg_of_size(crop, 3000)
    others = [abs(len(jpeg(crop, q)) - 3000) for q in range(1, 96)]
    assert data == jpeg(crop, quality) and abs(len(data) - 3000) == min(others)


def test_a_report_has_the_layout_of_evaluate_and_names_settings_and_versions(folder, photo):
    Image.fromarray(photo).save(folder / "a.png")
    paths = sorted(folder.iterdir())
    reports = dict(anchors(["webp", "avif_444_psnr"], paths[:1]))
    report = reports["webp"]
    results = report["results"]
    assert [len(results[key]) for key in ("quality", "bpp", "psnr-rgb", "ms-ssim-rgb")] == [9] * 4
    assert report["settings"] == {"format": "WEBP", "quality": "q", "method": 6}
    assert report["versions"].keys() == {"Pillow", "libwebp"}
    assert reports["avif_444_psnr"]["versions"]["with"].count("aom") == 1
    (mixed,) = (report for _, report in anchors(["webp"], paths))
    assert [(r["image"], r["quality"]) for r in mixed["per_image"][:4]] == [
        ("a.png", 0), ("one.png", 0), ("two.png", 0), ("a.png", 5),
    ]  # fmt: skip
    at_5 = [row["bpp"] for row in mixed["per_image"] if row["quality"] == 5]
    assert mixed["results"]["bpp"][1] == pytest.approx(np.mean(at_5), abs=1e-6)
    # Two of the images have none, and take only themselves out of the mean.
    assert mixed["left_out"] == {"ms-ssim-rgb": ["one.png", "two.png"]}
    assert mixed["results"]["ms-ssim-rgb"] == results["ms-ssim-rgb"]


def test_any_number_of_workers_gives_the_same_reports(folder):
    paths = sorted(folder.iterdir())
    keys = ["jpeg_420", "webp"]
    assert list(anchors(keys, paths, workers=2)) == list(anchors(keys, paths))
    with pytest.raises(DictcoError, match="0 workers"):
        next(anchors(keys, paths, workers=0))


def test_families_and_variants_can_be_selected():
    assert select(["jpeg2000", "jpeg"]) == ["jpeg_420", "jpeg_444", "jpeg2000"]
    assert select(["avif_444_psnr"]) == ["avif_444_psnr"]
    with pytest.raises(DictcoError, match="no codec 'gif'; choose of jpeg, webp, avif"):
        select(["gif"])


def test_the_command_writes_reports_that_curves_read(capsys, folder, tmp_path):
    out = tmp_path / "out"
    assert main(["anchors", str(folder), "--codecs", "jpeg_420", "webp", "--out", str(out)]) == 0
    assert "jpeg_420 (JPEG 4:2:0): format=JPEG, quality=q" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["jpeg_420.json", "webp.json"]
    assert load_curve(out / "webp.json").name == "WebP"
    assert load_per_image(out / "jpeg_420.json").keys() == {"one.png", "two.png"}
    assert json.loads((out / "webp.json").read_text())["versions"]["libwebp"]


@pytest.mark.parametrize(
    ("key", "module", "package"),
    [("jxl", "pillow_jxl", "pillow-jxl-plugin"), ("heic_444_psnr", "pillow_heif", "pillow-heif")],
)
def test_a_missing_plugin_is_named(capsys, monkeypatch, folder, key, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    classical._register.cache_clear()
    assert main(["anchors", str(folder), "--codecs", key, "jpeg_420"]) == 0
    assert f"{key} is left out: the package {package} is missing" in capsys.readouterr().err
    assert main(["anchors", str(folder), "--codecs", key]) == 1
    assert "none of these codecs runs here" in capsys.readouterr().err


def test_a_image_that_a_format_cannot_hold_is_named(tmp_path):
    Image.new("RGB", (16400, 1)).save(tmp_path / "wide.png")
    with pytest.raises(DictcoError, match="wide.png: WebP: Pillow .* cannot write 16400x1 pixels"):
        measure_anchor(CODECS["webp"], tmp_path / "wide.png")
