"""Curves, published ones and our own: reading, comparing, drawing."""

from __future__ import annotations

import json
import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgba

from dictco_lib.book import plots, widgets
from dictco_lib.book.plots.rd import bd_area, rate_and_cost, rd_panels, signed_bars
from dictco_lib.cli import main
from dictco_lib.errors import CurveError
from dictco_lib.evaluation.bdrate import Curve, compare, compare_per_image
from dictco_lib.evaluation.curves import load_curve, load_per_image
from dictco_lib.evaluation.published import published, published_names, record
from dictco_lib.files import data_file

BPP, PSNR = [0.2, 0.4, 0.8, 1.6], [28.0, 31.0, 34.0, 37.0]


def write(path, results, **more):
    path.write_text(json.dumps({"results": results, **more}))
    return path


def test_half_the_rate_is_minus_fifty_percent():
    # log-rate over PSNR is a straight line here, so any interpolation is exact; an octave is 3 dB.
    result = compare(Curve("a", BPP, PSNR), Curve("b", [b / 2 for b in BPP], PSNR))
    assert result.rate == pytest.approx(-50, abs=1e-9)
    assert result.psnr == pytest.approx(3, abs=1e-9)
    assert (result.low, result.high, result.share, result.points) == (28, 37, 1, 4)
    assert not result.doubts()


def test_dcae_saves_what_its_paper_says_against_vtm():
    # The paper says -17.0 %; its points are rounded to 0.001 bpp and 0.01 dB, and our value,
    # -16.98, must round to the published digit.
    result = compare(published("VTM"), published("DCAE"))
    assert round(result.rate, 1) == -17.0
    assert len(result.doubts()) == 2  # three points of VTM lie in 42 % of the range of both


# BD-rates against VTM that were computed apart from this code (pchip, whole overlap).
@pytest.mark.parametrize(
    ("name", "rate"),
    [("saaf", -17.37), ("cca", -13.73), ("tcm-large", -11.73), ("elic2022", -7.02),
     ("wacnn", -4.55), ("stf", -4.13), ("bmshj2018-hyperprior", 30.49), ("bpg", 21.99)],
)  # fmt: skip
def test_published_curves_have_their_known_rates(name, rate):
    assert compare(published("vtm"), published(name)).rate == pytest.approx(rate, abs=0.005)


def test_measured_curves_have_their_known_rates():
    jpeg = load_curve(data_file("kodak_jpeg_420.json"))
    wanted = {"webp": -36.43, "avif_444_psnr": -54.99, "jpeg2000": -44.70, "jxl": -28.21,
              "heic_444_psnr": -48.43}  # fmt: skip
    for name, rate in wanted.items():
        found = compare(jpeg, load_curve(data_file(f"kodak_{name}.json"))).rate
        assert found == pytest.approx(rate, abs=0.005)


def test_every_published_curve_names_its_source():
    assert len(published_names()) == 25
    for name in published_names():
        assert published(name).is_published and record(name)["source"].startswith("github.com/")
    with pytest.raises(CurveError, match="no published curve 'vvc'; known on Kodak are vtm, hm"):
        published("vvc")
    with pytest.raises(CurveError, match="MS-SSIM"):
        published("dcae-msssim")


def test_points_are_sorted_by_rate():
    shuffled = Curve("a", [0.8, 0.2, 1.6, 0.4], [34, 28, 37, 31])
    assert (shuffled.bpp, shuffled.psnr) == (BPP, PSNR)


@pytest.mark.parametrize(
    ("bpp", "psnr", "message"),
    [
        ([0.2, 0.4], [28], "2 values of bpp and 1 of PSNR"),
        ([0.2, "0.4"], [28, 29], "holds '0.4'"),
        ([0.2, 0.4], [28, None], "holds None"),
        ([0.2, 0.4], [28, math.inf], "holds inf"),
        ([0.2, True], [28, 29], "holds True"),
        ([0.0, 0.4], [28, 29], "bpp 0"),
        ([], [], "expected a list"),
        (0.3, 30, "expected a list"),
    ],
)
def test_damaged_curves_are_named(tmp_path, bpp, psnr, message):
    path = write(tmp_path / "a.json", {"bpp": bpp, "psnr-rgb": psnr})
    with pytest.raises(CurveError, match=message):
        load_curve(path)


@pytest.mark.parametrize(
    ("bpp", "psnr", "message"),
    [
        ([0.2, 0.4, 0.8], [28, 27.5, 34], "PSNR goes from 28.0000 to 27.5000 at 0.4000 bpp"),
        ([0.2, 0.4, 0.4], [28, 29, 34], "rate goes from 0.4000 to 0.4000"),
        ([0.2], [28], "is one point"),
        ([0.2, 0.4], [38, 41], "do not overlap"),
    ],
)
def test_curves_that_cannot_be_compared_are_named(bpp, psnr, message):
    with pytest.raises(CurveError, match=message):
        compare(Curve("a", BPP, PSNR), Curve("b", bpp, psnr))


def test_a_small_overlap_is_doubted():
    high = Curve("b", [1.0, 2.0, 4.0, 8.0], [36.0, 39.0, 42.0, 45.0])
    share, points = compare(Curve("a", BPP, PSNR), high).doubts()
    assert "36.0-37.0 dB, is only 6%" in share
    assert "has 1 of its points" in points
    far = Curve("c", [3.2, 6.4], [30.0, 36.0])
    assert math.isnan(compare(Curve("a", BPP, PSNR), far).psnr)  # no rate in common


@pytest.mark.parametrize("text", ["[]", "{", "{}", '{"results": {"bpp": [1]}}', '{"results": 3}'])
def test_files_without_a_curve_are_named(tmp_path, text):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(CurveError, match="no RD curve"):
        load_curve(tmp_path / "c.json")


def rows(images, factor=1.0):
    points = enumerate(zip(BPP, PSNR, strict=True))
    return [
        {"image": i, "quality": n, "bpp": factor * b, "psnr": q}
        for n, (b, q) in points
        for i in images
    ]


@pytest.fixture
def two_reports(tmp_path):
    results = {"bpp": BPP, "psnr-rgb": PSNR}
    bumpy = rows(["z.png"]) + [{"image": "z.png", "quality": 3, "bpp": 2.0, "psnr": 30.0}]
    bumpy.pop(-2)
    one = write(tmp_path / "one.json", results, name="codec", per_image=rows("abp") + bumpy)
    two = rows("a", 0.5) + rows("b", 0.9) + rows(["z.png"]) + rows("q")
    return one, write(tmp_path / "two.json", results, name="codec", per_image=two)


def test_images_are_compared_one_by_one(two_reports):
    found, failed = compare_per_image(*map(load_per_image, two_reports))
    assert {image: round(r.rate, 6) for image, r in found.items()} == {"a": -50.0, "b": -10.0}
    assert list(failed) == ["z.png"] and "PSNR goes from" in failed["z.png"]


def test_bdrate_prints_mean_and_extremes_and_warns(capsys, two_reports):
    assert main(["bdrate", *map(str, two_reports), "--per-image", "--common"]) == 0
    out, err = capsys.readouterr()
    assert "two.json (3 common images)" in out
    assert "-30.00 % mean of 2 images, -50.00 % to -10.00 %" in out
    assert all(f"{name} is left out" in err for name in ("z.png", "q", "p"))
    assert main(["bdrate", "published:VTM", "published:DCAE"]) == 0
    out, err = capsys.readouterr()
    assert "-16.98 %" in out and "29.2-37.9" in out
    assert "only 42% of the range" in err and "has 3 of its points" in err


def test_curves_of_ms_ssim_are_compared_and_drawn(capsys, tmp_path):
    similarity = [0.9, 0.95, 0.975, 0.9875]
    for name, factor in (("one", 1.0), ("two", 0.5)):
        bpp = [factor * b for b in BPP]
        points = zip(bpp, similarity, strict=True)
        images = [{"image": "a.png", "bpp": b, "psnr": 1, "ms-ssim-rgb": s} for b, s in points]
        results = {"bpp": bpp, "psnr-rgb": PSNR, "ms-ssim-rgb": similarity}
        write(tmp_path / f"{name}.json", results, name=name, per_image=images)
    files = [str(tmp_path / f"{name}.json") for name in ("one", "two")]
    assert main(["bdrate", *files, "--metric", "ms-ssim", "--per-image"]) == 0
    out = capsys.readouterr().out
    assert "same MS-SSIM" in out and "10.0-19.0" in out and "-50.00 % mean of 1 images" in out
    assert main(["plot", str(tmp_path / "rd.png"), *files, "--metric", "ms-ssim"]) == 0
    assert (tmp_path / "rd.png").stat().st_size > 10_000


def test_reports_without_rows_are_named(capsys, tmp_path):
    assert main(["bdrate", "published:hm", "published:vtm", "--per-image"]) == 1
    assert "published:hm has no rows" in capsys.readouterr().err
    with pytest.raises(CurveError, match="no image can be compared"):
        compare_per_image({"a": Curve("a", BPP, PSNR)}, {})
    write(tmp_path / "r.json", {"bpp": BPP, "psnr": PSNR}, per_image=[{"image": "a"}])
    with pytest.raises(CurveError, match="lacks image, bpp or PSNR"):
        load_per_image(tmp_path / "r.json")


def test_each_known_codec_has_a_look_of_its_own():
    styles = [tuple(style.values()) for style in plots.CODEC_STYLES.values()]
    assert len(set(styles)) == len(styles)
    assert {published(name).name for name in published_names()} <= plots.CODEC_STYLES.keys()
    for path in data_file("kodak_webp.json").parent.glob("kodak_*.json"):
        assert load_curve(path).name in plots.CODEC_STYLES


def test_published_curves_are_dashed_and_the_axis_ends_where_asked():
    curves = {"JPEG 4:2:0": (BPP, PSNR), "AV1": (BPP, PSNR), "mine": (BPP, PSNR)}
    axis = plots.rd_curves(curves, published={"AV1"}, max_bpp=1.0).axes[0]
    assert [line.get_linestyle() for line in axis.lines] == ["-", "--", "-"]
    assert axis.lines[1].get_linewidth() < axis.lines[0].get_linewidth()
    assert axis.get_xlim() == (0, 1) and axis.get_ylim() == (27.5, 34.5)
    plt.close(axis.figure)


def test_two_reports_of_one_codec_are_both_drawn(two_reports, tmp_path, monkeypatch):
    drawn = {}
    original = plots.rd_curves
    monkeypatch.setattr(plots, "rd_curves", lambda c, **kw: drawn.update(c) or original(c, **kw))
    files = [*map(str, two_reports), "published:av1"]
    assert main(["plot", str(tmp_path / "rd.png"), *files]) == 0
    assert list(drawn) == ["codec, one", "codec, two", "AV1"]
    assert (tmp_path / "rd.png").stat().st_size > 5000


def test_curves_of_ms_ssim_are_in_decibels(tmp_path):
    both = {"bpp": BPP, "psnr-rgb": PSNR, "ms-ssim-rgb": [0.9, 0.95, 0.99, 0.999]}
    curve = load_curve(write(tmp_path / "a.json", both), metric="MS-SSIM")
    assert curve.psnr == pytest.approx([10, 13.0103, 20, 30], abs=1e-4)
    # The paper's own dB are taken as they are; its models were trained for them.
    assert published("dcae-msssim", "MS-SSIM").psnr[0] == pytest.approx(13.59, abs=0.01)
    half = Curve("half", [b / 2 for b in BPP], curve.psnr, metric="MS-SSIM")
    assert compare(curve, half).rate == pytest.approx(-50, abs=1e-9)


def test_metrics_are_not_mixed(tmp_path):
    file = write(tmp_path / "a.json", {"bpp": BPP, "psnr-rgb": PSNR})
    with pytest.raises(CurveError, match="has no MS-SSIM"):
        load_curve(file, metric="MS-SSIM")
    with pytest.raises(CurveError, match="no metric 'ssim'; choose PSNR or MS-SSIM"):
        load_curve(file, metric="ssim")
    with pytest.raises(CurveError, match="is one of PSNR and has no MS-SSIM"):
        published("dcae", "MS-SSIM")
    with pytest.raises(CurveError, match="a curve of PSNR, b one of MS-SSIM"):
        compare(Curve("a", BPP, PSNR), Curve("b", BPP, PSNR, metric="MS-SSIM"))
    bad = {"bpp": BPP, "psnr": PSNR, "ms-ssim": [0.9, None, 0.99, 1.0]}
    with pytest.raises(CurveError, match="holds None"):
        load_curve(write(tmp_path / "b.json", bad), metric="MS-SSIM")


def test_rates_between_the_points_are_those_of_bd_rate():
    vtm, dcae = published("vtm"), published("dcae")
    assert vtm.rates_at(vtm.psnr) == pytest.approx(vtm.bpp)
    found = compare(vtm, dcae)
    grid = np.linspace(found.low, found.high, 2001)
    log_ratio = np.log(dcae.rates_at(grid) / vtm.rates_at(grid))
    by_hand = 100 * (math.exp(log_ratio.mean()) - 1)
    assert by_hand == pytest.approx(found.rate, abs=0.01)
    with pytest.raises(CurveError, match="says nothing of 20.00 to 30.00 dB"):
        dcae.rates_at([20.0, 30.0])


def test_figures_of_the_evaluation_notebook_are_drawn():
    vtm, dcae = published("vtm"), published("dcae")
    figure = bd_area(vtm, dcae, 30, 37)
    assert figure.axes[0].get_yscale() == "log"
    bars = signed_bars({"a": -10.0, "b": 4.0, "c": -3.0}, "BD-rate (%)", means="c")
    colors = [bar.get_facecolor() for bar in bars.axes[0].patches]
    assert colors == [to_rgba(color) for color in (plots.BLUE, plots.VERMILION, plots.BLACK)]
    bars = signed_bars({"a": -10.0, "b": 4.0}, "%", intervals={"b": (3.0, 6.0)}).axes[0]
    assert [list(line.get_xdata()) for line in bars.lines][0] == [3.0, 6.0]
    costs = rate_and_cost({"WebP": (2.0, 0.1, 0.5)}, {"SAAF": (1300.0, -17.0)}, "32 dB")
    left, right = costs.axes
    assert left.get_xscale() == "log" and left.get_ylabel() == "bits per pixel at 32 dB"
    assert [text.get_text() for axis in costs.axes for text in axis.texts] == ["WebP", "SAAF"]
    assert [list(line.get_xdata()) for line in left.lines] == [[0.1, 2.0], [2.0], [0.1]]
    assert right.lines[0].get_xdata()[0] == 1300
    panels = rd_panels({"PSNR": {"AV1": (BPP, PSNR)}, "MS-SSIM": {"AV1": (BPP, PSNR)}}, 1.0)
    assert [axis.get_ylabel() for axis in panels.axes] == ["PSNR", "MS-SSIM"]
    assert plots.png(figure)[:4] == b"\x89PNG"
    assert figure.number not in plt.get_fignums()
    plt.close("all")


def test_the_curve_picker_draws_what_is_picked(monkeypatch):
    drawn = []
    original = plots.rd_curves
    monkeypatch.setattr(plots, "rd_curves", lambda c, **kw: drawn.append(c) or original(c, **kw))
    curves = [published(name) for name in ("vtm", "dcae", "elic2022")]
    box = widgets.curve_picker(curves, ["DCAE (CVPR 2025)"], anchor="VTM (VVC)")
    select, anchor = box.children[0].children
    assert list(drawn[-1]) == ["VTM (VVC)", "DCAE (CVPR 2025)"]
    assert "-16.98 %" in box.children[1].value
    select.value = ["ELIC (CVPR 2022)"]
    assert list(drawn[-1]) == ["VTM (VVC)", "ELIC (CVPR 2022)"]
    assert "-7.02 %" in box.children[1].value
    anchor.value = "DCAE (CVPR 2025)"
    assert list(drawn[-1]) == ["DCAE (CVPR 2025)", "ELIC (CVPR 2022)"]
    far = Curve("far", [1, 2], [60, 70])
    box = widgets.curve_picker([*curves, far], ["far"], anchor="VTM (VVC)")
    assert "do not overlap" in box.children[1].value
    assert not plt.get_fignums()
