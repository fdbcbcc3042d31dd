"""Comparisons compare like with like: one rate, the same images, the same measures."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from dictco_lib.checkpoints import save_checkpoint
from dictco_lib.cli import main
from dictco_lib.coding import encode
from dictco_lib.errors import CurveError, DictcoError
from dictco_lib.evaluation.anchors import anchors, measure_anchor
from dictco_lib.evaluation.bdrate import compare, compare_per_image
from dictco_lib.evaluation.classical import CODECS
from dictco_lib.evaluation.curves import load_curve, load_curves, load_per_image
from dictco_lib.evaluation.metrics import decibels
from dictco_lib.evaluation.rate import colour_bytes, rate
from dictco_lib.evaluation.rd import evaluate, save_report
from dictco_lib.evaluation.report import identity, image_names, remarks
from dictco_lib.files import data_file

QUALITIES = (10.0, 90.0)


def fill(folder: Path, photo: np.ndarray) -> Path:
    folder.mkdir()
    Image.fromarray(photo).save(folder / "a.png")
    Image.fromarray(photo[:, ::-1]).save(folder / "b.png")
    return folder


@pytest.fixture
def folder(photo, tmp_path):
    return fill(tmp_path / "photos", photo)


def images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def measured(nano, folder, qualities=QUALITIES, **options):
    return evaluate(nano, images(folder), qualities, folder=folder, **options)


# --- what a rate is -------------------------------------------------------------------------


def dressed(pixels: np.ndarray) -> dict[str, Image.Image]:
    """The same colours with what lies beside them."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    alpha = np.tile(np.arange(pixels.shape[1]) % 251, (pixels.shape[0], 1)).astype(np.uint8)
    found = {kind: Image.fromarray(pixels) for kind in ("profile", "alpha", "all")}
    for kind in ("alpha", "all"):
        found[kind].putalpha(Image.fromarray(alpha))
    for kind in ("profile", "all"):
        found[kind].info["icc_profile"] = profile
    exif = Image.Exif()
    exif[0x010E] = "a description of some length"
    found["all"].info["exif"] = exif.tobytes()
    return found


def test_what_lies_beside_the_colours_is_no_part_of_the_rate(nano, photo):
    plain = encode(nano, photo, 50.0).data
    size = photo.shape[1], photo.shape[0]
    assert rate(size, plain) == {
        "bytes": len(plain), "extra_bytes": 0, "bpp": 8 * len(plain) / photo[..., 0].size,
    }  # fmt: skip
    for kind, image in dressed(photo).items():
        data = encode(nano, image, 50.0, metadata=True).data
        row = rate(size, data)
        assert row["bpp"] == rate(size, plain)["bpp"], kind
        assert row["bytes"] == len(data) and row["extra_bytes"] == len(data) - len(plain) > 100
    grey = encode(nano, np.ascontiguousarray(photo[..., 0]), 50.0).data
    assert colour_bytes(grey) == len(grey)


def test_all_three_count_the_same(nano, photo, tmp_path):
    rows = {}
    for kind, image in (dressed(photo) | {"plain": Image.fromarray(photo)}).items():
        path = tmp_path / f"{kind}.png"
        image.save(path, **{k: image.info.get(k) for k in ("icc_profile", "exif")})
        for mode in ("real", "estimated"):
            (row,) = evaluate(nano, [path], (50.0,), mode=mode)["per_image"]
            rows.setdefault(mode, []).append((row["bpp"], row["psnr-rgb"]))
        row = measure_anchor(CODECS["jpeg_444"], path)[3]
        rows.setdefault("jpeg", []).append((row["bpp"], row["psnr-rgb"]))
        assert row["extra_bytes"] == 0
    for kind, found in rows.items():
        assert len(set(found)) == 1, kind


def test_a_report_tells_what_lies_beside(capsys, nano, photo, folder, tmp_path):
    dressed(photo)["alpha"].save(folder / "c.png")
    report = measured(nano, folder)
    extra = [row["extra_bytes"] for row in report["per_image"][:3]]
    assert extra[:2] == [0, 0] < [extra[2]] * 2
    assert report["results"]["extra_bytes"][0] == pytest.approx(extra[2] / 3)
    assert any(f"take {extra[2]} more bytes" in line for line in remarks(report))
    assert "without profile" in report["rate"]
    save_checkpoint(nano, tmp_path / "nano.safetensors")
    arguments = ["evaluate", folder, "--model", tmp_path / "nano.safetensors", "--quality", 50]
    assert main([str(a) for a in arguments]) == 0
    out = capsys.readouterr().out
    assert "+bytes" in out and "profiles, alpha and metadata take" in out


def test_a_grey_image_is_grey_for_every_codec(photo, tmp_path):
    grey = Image.fromarray(photo).convert("L")
    grey.save(tmp_path / "grey.png")
    for key in ("jpeg_420", "jpeg_444", "webp", "avif_444_psnr", "jpeg2000"):
        rows = measure_anchor(CODECS[key], tmp_path / "grey.png")
        data = CODECS[key].encode(np.asarray(grey), CODECS[key].ladder[-1])
        assert rows[-1]["bytes"] == len(data), key
        if key.startswith("jpeg"):
            assert Image.open(io.BytesIO(data)).mode == "L"
    rows = measure_anchor(CODECS["jpeg2000"], tmp_path / "grey.png")  # a ladder in bpp
    assert [row["bpp"] for row in rows] == pytest.approx([r["quality"] for r in rows], rel=0.05)


def test_sixteen_bits_are_measured_as_eight_by_all(nano, photo, tmp_path):
    deep = photo[..., 0].astype(np.uint16) * 256 + 99
    Image.fromarray(deep).save(tmp_path / "deep.png")
    (row,) = evaluate(nano, [tmp_path / "deep.png"], (50.0,))["per_image"]
    report = evaluate(nano, [tmp_path / "deep.png"], (50.0,))
    ((_, anchor),) = anchors(["jpeg_444"], [tmp_path / "deep.png"])
    assert anchor["pictures"] == report["pictures"]
    assert row["extra_bytes"] == 0 and 15 < row["psnr-rgb"] < 60


# --- names and identity ---------------------------------------------------------------------


def test_images_of_one_name_in_sub_folders_are_told_apart(nano, photo, folder):
    (folder / "deeper").mkdir()
    Image.fromarray(photo[::-1]).save(folder / "deeper" / "a.png")
    report = measured(nano, folder)
    names = ["a.png", "b.png", "deeper/a.png"]
    assert [row["image"] for row in report["per_image"][:3]] == names == list(report["pictures"])
    ((_, anchor),) = anchors(["jpeg_420"], images(folder), folder=folder)
    assert anchor["pictures"] == report["pictures"]
    shots = report["pictures"]
    assert shots["a.png"] == identity(photo) != shots["deeper/a.png"]


def test_a_image_listed_twice_counts_once(nano, folder):
    paths = images(folder)
    report = evaluate(nano, paths + paths[:1], (50.0,))
    assert [row["image"] for row in report["per_image"]] == ["a.png", "b.png"]
    ((_, anchor),) = anchors(["jpeg_420"], paths + paths)
    assert len(anchor["per_image"]) == 2 * len(CODECS["jpeg_420"].ladder)
    Image.open(folder / "a.png").save(folder / "copy.png")
    assert "counted twice: a.png, copy.png are the same" in remarks(measured(nano, folder, (50.0,)))
    assert image_names([folder / "a.png"]) == {folder / "a.png": "a.png"}


def test_the_order_of_folders_does_not_change_names(tmp_path):
    paths = [tmp_path / "x" / "a.png", tmp_path / "y" / "a.png"]
    assert list(image_names(paths).values()) == ["x/a.png", "y/a.png"]
    assert list(image_names(paths[:1], tmp_path).values()) == ["x/a.png"]


# --- means ----------------------------------------------------------------------------------


def test_a_small_image_takes_only_itself_out_of_the_mean(nano, photo, folder, tmp_path):
    whole = measured(nano, folder)
    Image.fromarray(photo[:160, :200]).save(folder / "small.png")  # 161 would do
    report = measured(nano, folder)
    assert report["left_out"] == {"ms-ssim-rgb": ["small.png"]}
    assert report["results"]["ms-ssim-rgb"] == whole["results"]["ms-ssim-rgb"]
    assert report["results"]["bpp"] != whole["results"]["bpp"]
    assert any("MS-SSIM of 2 of 3 images; without small.png" in x for x in remarks(report))
    save_report(report, tmp_path / "three.json")
    save_report(whole, tmp_path / "two.json")
    # A curve of MS-SSIM has the rates of the images that have it.
    three, two = (load_curve(tmp_path / f"{n}.json", "MS-SSIM") for n in ("three", "two"))
    assert (three.bpp, three.psnr) == (pytest.approx(two.bpp), pytest.approx(two.psnr))
    assert three.conditions.left_out == ("small.png",)
    assert compare(two, three).rate == pytest.approx(0, abs=1e-6)
    assert load_per_image(tmp_path / "three.json", "MS-SSIM").keys() == {"a.png", "b.png"}
    assert len(load_per_image(tmp_path / "three.json")) == 3
    with pytest.raises(CurveError, match="1 only in .*three.json: small.png"):
        compare(*(load_curve(tmp_path / f"{n}.json") for n in ("three", "two")))


def test_a_image_that_comes_back_unchanged_takes_only_itself_out(photo, folder, tmp_path):
    Image.new("RGB", (48, 64), (128, 128, 128)).save(folder / "flat.png")
    ((_, report),) = anchors(["jpeg_444"], images(folder))
    assert report["left_out"]["psnr-rgb"] == ["flat.png"]
    assert np.isfinite(report["results"]["psnr-rgb"]).all()
    assert any("PSNR of 2 of 3 images; without flat.png" in line for line in remarks(report))
    save_report(report, tmp_path / "three.json")
    (folder / "flat.png").unlink()
    ((_, whole),) = anchors(["jpeg_444"], images(folder))
    save_report(whole, tmp_path / "two.json")
    three, two = (load_curve(tmp_path / f"{n}.json") for n in ("three", "two"))
    assert three.bpp == pytest.approx(two.bpp, abs=1e-6)  # reports of anchors are rounded
    assert three.psnr == pytest.approx(two.psnr, abs=1e-6)
    assert load_per_image(tmp_path / "three.json").keys() == {"a.png", "b.png"}


def test_reports_of_small_images_only_have_no_ms_ssim(nano, photo, tmp_path):
    Image.fromarray(photo[:64, :64]).save(tmp_path / "a.png")
    report = evaluate(nano, [tmp_path / "a.png"], QUALITIES)
    assert "ms-ssim-rgb" not in report["results"]
    save_report(report, tmp_path / "r.json")
    with pytest.raises(CurveError, match="has no MS-SSIM"):
        load_curve(tmp_path / "r.json", "MS-SSIM")


@pytest.mark.parametrize("value", ["31", True, [1], {}, 10**400])
def test_a_value_that_is_no_number_is_damage(tmp_path, value):
    rows = [
        {"image": i, "quality": q, "bpp": q, "psnr-rgb": 30.0 + q}
        for q in (1.0, 2.0)
        for i in ("a", "b")
    ]
    rows[0]["psnr-rgb"], rows[1]["psnr-rgb"] = value, None
    data = {"results": {"bpp": [1.0, 2.0], "psnr-rgb": [31.0, 32.0]}, "per_image": rows}
    (tmp_path / "r.json").write_text(json.dumps(data))
    for load in (load_curve, load_per_image):
        with pytest.raises(CurveError, match="a needs one row|holds "):
            load(tmp_path / "r.json")


def test_a_report_of_before_with_a_small_image_gives_a_curve(tmp_path):
    rows = [
        {"image": i, "quality": q, "bpp": q + n, "psnr-rgb": 30.0 + q, "ms-ssim-rgb": s}
        for q in (1.0, 2.0)
        for n, (i, s) in enumerate((("a", 0.9 + q / 50), ("b", 0.9 + q / 30), ("small", None)))
    ]
    data = {"results": {"bpp": [2.0, 3.0], "psnr-rgb": [31.0, 32.0]}, "per_image": rows}
    (tmp_path / "r.json").write_text(json.dumps(data))
    curve = load_curve(tmp_path / "r.json", "MS-SSIM")
    assert curve.bpp == [1.5, 2.5]
    assert curve.psnr[0] == pytest.approx(decibels((0.92 + 0.9 + 1 / 30) / 2))
    assert load_curve(tmp_path / "r.json").bpp == [2.0, 3.0]


# --- comparing ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two(nano, photo, tmp_path_factory):
    """Files of two reports: of a and b; and of b, c, and another image called a."""
    tmp_path = tmp_path_factory.mktemp("two")
    folder = fill(tmp_path / "photos", photo)
    save_report(measured(nano, folder), tmp_path / "one.json")
    Image.fromarray(photo[::-1]).save(folder / "a.png")
    Image.fromarray(photo.transpose(1, 0, 2)).save(folder / "c.png")
    save_report(measured(nano, folder), tmp_path / "two.json")
    return [str(tmp_path / f"{name}.json") for name in ("one", "two")]


def test_reports_of_other_images_are_refused(capsys, two, tmp_path):
    assert main(["bdrate", *two]) == 1
    err = capsys.readouterr().err
    assert "of one name but not the same: a.png" in err
    assert "1 only in" in err and "two.json: c.png" in err and "--common" in err
    assert main(["plot", str(tmp_path / "rd.png"), *two]) == 0
    err = capsys.readouterr().err
    assert "warning" in err and "not the same: a.png" in err


def test_what_reports_share_can_be_compared(capsys, two, tmp_path):
    assert main(["bdrate", *two, "--common", "--per-image"]) == 0
    out, err = capsys.readouterr()
    assert "two.json (1 common images)" in out and "+0.00 % mean of 1 images" in out
    assert "a.png is left out" in err and "not the same: a.png" in err
    assert "c.png is left out: only one" in err
    one, other = load_curves(two, common=True)
    assert one.bpp == other.bpp and list(one.conditions.images) == ["b.png"]
    assert main(["plot", str(tmp_path / "rd.png"), *two, "--common"]) == 0
    assert "not the same" not in capsys.readouterr().err


def test_no_image_in_common_is_named(capsys, two):
    assert main(["bdrate", two[0], "published:vtm"]) == 1
    err = capsys.readouterr().err
    assert "published:vtm of 24" in err and "24 only in published:vtm: kodim01.png" in err
    for common in (["--common"], []):
        assert main(["bdrate", two[0], str(data_file("kodak_webp.json")), *common]) == 1
    assert "no image in common" in capsys.readouterr().err


def test_means_without_rows_cannot_be_cut(tmp_path, capsys):
    report = json.loads(data_file("classroom_kodak.json").read_text())
    del report["pictures"]["kodim05.png"]
    report["per_image"] = [r for r in report["per_image"] if r["image"] != "kodim05.png"]
    (tmp_path / "r.json").write_text(json.dumps(report))
    for other, text in (("published:vtm", "means of all"), ("kodak_jxl.json", "means only")):
        spec = other if ":" in other else str(data_file(other))
        assert main(["bdrate", spec, str(tmp_path / "r.json"), "--common"]) == 1
        assert text in capsys.readouterr().err
    whole = str(data_file("classroom_kodak.json"))
    assert main(["bdrate", whole, str(tmp_path / "r.json"), "--common"]) == 0
    assert "23 common images" in capsys.readouterr().out


def test_images_that_were_renamed_are_the_same(two, tmp_path):
    (tmp_path / "two.json").write_text(Path(two[0]).read_text().replace("a.png", "z.png"))
    found = compare(load_curve(two[0]), load_curve(tmp_path / "two.json"))
    assert found.rate == pytest.approx(0, abs=1e-6) and not found.unlike


def test_reports_of_before_are_compared_by_name(two, tmp_path):
    report = json.loads(Path(two[0]).read_text())
    for key in ("pictures", "left_out", "rate"):
        del report[key]
    for row in report["per_image"]:
        del row["extra_bytes"]
    (tmp_path / "old.json").write_text(json.dumps(report))
    found = compare(load_curve(two[0]), load_curve(tmp_path / "old.json"))
    assert found.rate == pytest.approx(0, abs=1e-6)
    assert any("in name only" in text for text in found.doubts())
    assert any("old.json counts whole files" in text for text in found.doubts())
    report["per_image"] = [row | {"width": 5} for row in report["per_image"]]
    (tmp_path / "old.json").write_text(json.dumps(report))
    with pytest.raises(CurveError, match="not the same: a.png, b.png"):
        compare(load_curve(two[0]), load_curve(tmp_path / "old.json"))
    found, failed = compare_per_image(load_per_image(two[0]), load_per_image(two[1]))
    assert list(found) == ["b.png"] and "not the same" in failed["a.png"]


def test_foreign_results_are_doubted(tmp_path, two):
    curve = {"bpp": [0.1, 5.0], "psnr": [5.0, 60.0]}
    (tmp_path / "foreign.json").write_text(json.dumps({"name": "x", "results": curve}))
    doubts = compare(load_curve(two[0]), load_curve(tmp_path / "foreign.json")).doubts()
    assert any("foreign.json does not say its images" in text for text in doubts)
    assert any("foreign.json does not say of which colours" in text for text in doubts)
    with pytest.raises(CurveError, match="does not say its images"):
        load_curves([two[0], str(tmp_path / "foreign.json")], common=True)


def test_other_modes_and_overruled_routers_are_named(capsys, nano, folder, tmp_path):
    real, estimated = tmp_path / "real.json", tmp_path / "estimated.json"
    save_report(measured(nano, folder), real)
    report = measured(nano, folder, mode="estimated")
    report["setup"]["gates"] = "uniform"
    save_report(report, estimated)
    for command in (["bdrate"], ["plot", str(tmp_path / "rd.png")]):
        assert main([*command, str(real), str(estimated)]) == 0
        err = capsys.readouterr().err
        assert "real.json holds bits of real files" in err and "estimated.json estimates" in err
        assert "estimated.json was measured with the router overruled (uniform)" in err
    assert main(["bdrate", str(real), str(estimated), "--per-image"]) == 0
    assert capsys.readouterr().err.count("(uniform)") == 1  # not once an image
    assert not compare(load_curve(real), load_curve(real)).unlike


@pytest.mark.parametrize("report", ["kodak_webp", "classroom_kodak", "pair/twin_kodak"])
def test_shipped_reports_and_published_curves_are_of_the_same_images(report):
    ours = load_curve(data_file(f"{report}.json"))
    assert len(ours.conditions.images) == 24 and ours.conditions.is_digested
    for spec in ("published:vtm", data_file("kodak_jpeg_420.json")):
        assert not compare(load_curve(spec), ours).unlike


# --- one policy for images that fail ------------------------------------------------------


def test_both_leave_out_and_name_what_cannot_be_measured(capsys, nano, folder, tmp_path):
    (folder / "bad.png").write_bytes((folder / "a.png").read_bytes()[:2000])
    (folder / "c.jpg").write_text("no image")
    save_checkpoint(nano, tmp_path / "nano.safetensors")
    ours, theirs = tmp_path / "ours.json", tmp_path / "out"
    model = ["--model", tmp_path / "nano.safetensors", "--quality", 20, 80, "--out", ours]
    commands = (
        ["evaluate", folder, *model],
        ["anchors", folder, "--codecs", "jpeg_420", "webp", "--out", theirs],
    )
    for command in commands:
        assert main([str(a) for a in command]) == 1
        err = capsys.readouterr().err
        assert "2 of 4 images failed and are left out: bad.png, c.jpg" in err
        assert err.count("is damaged") == 1 and "c.jpg is no image" in err
    for path in (ours, theirs / "jpeg_420.json", theirs / "webp.json"):
        report = json.loads(path.read_text())
        assert report["failed"].keys() == {"bad.png", "c.jpg"}
        assert report["pictures"].keys() == {"a.png", "b.png"}
    assert main(["bdrate", str(theirs / "jpeg_420.json"), str(ours)]) == 0


def test_a_image_that_one_codec_cannot_hold_fails_there_only(capsys, folder, tmp_path):
    wide = np.random.default_rng(0).integers(0, 255, (1, 164, 3), np.uint8)
    Image.fromarray(wide).resize((16400, 8)).save(folder / "wide.png")
    out = tmp_path / "out"
    arguments = ["anchors", folder, "--codecs", "jpeg_444", "webp", "--out", out]
    assert main([str(a) for a in arguments]) == 1
    assert "1 of 3 images failed and are left out: wide.png" in capsys.readouterr().err
    assert len(load_per_image(out / "jpeg_444.json")) == 3
    assert len(load_per_image(out / "webp.json")) == 2
    with pytest.raises(CurveError, match=r"1 failed in .*webp.json: wide.png"):
        compare(load_curve(out / "jpeg_444.json"), load_curve(out / "webp.json"))
    ((_, report),) = anchors(["webp"], [folder / "wide.png"])
    assert "results" not in report and list(report["failed"]) == ["wide.png"]
    with pytest.raises(DictcoError, match="none of the 1 images"):
        list(anchors(["webp"], [folder / "gone.png"]))
