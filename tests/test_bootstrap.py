"""Intervals of BD-rates over the choice of images."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binom

from dictco_lib.cli import main
from dictco_lib.errors import CurveError
from dictco_lib.evaluation.bootstrap import bootstrap
from dictco_lib.evaluation.curves import load_curve, load_points
from dictco_lib.evaluation.metrics import decibels
from dictco_lib.files import data_file

BPP, PSNR = np.array([0.2, 0.4, 0.8, 1.6]), np.array([28.0, 31.0, 34.0, 37.0])


def points(factors):
    """Points of images that all have one curve, each with its rates times a factor."""
    pairs = zip(BPP, PSNR, strict=True)
    return np.array([[(b * factor, q) for factor in factors] for b, q in pairs])


def test_the_interval_is_that_of_a_binomial():
    # Half of the images need 0.8 of the anchor's bits, half as many as it: a draw of n images has
    # a BD-rate of -20 % times the share of the first, and their number is binomial.
    n = 40
    found = bootstrap(points([1] * n), points([0.8] * (n // 2) + [1] * (n // 2)), draws=4000)
    counts = binom.ppf([0.975, 0.025], n, 0.5)
    step = 20 / n
    assert [found.low, found.high] == pytest.approx(-20 * counts / n, abs=1.01 * step)
    assert (found.images, found.draws, found.level) == (n, 4000, 0.95)
    wider = bootstrap(points([1] * 10), points([0.8] * 5 + [1] * 5))
    assert wider.high - wider.low > 1.5 * (found.high - found.low)


def test_images_that_agree_leave_no_doubt_and_seeds_decide_the_draws():
    found = bootstrap(points([1.0, 2.0, 3.0]), points([0.5, 1.0, 1.5]), draws=50)
    assert [found.low, found.high] == pytest.approx([-50, -50])  # drawn in pairs, though unlike
    one, other = points([1] * 9), points(np.linspace(0.5, 1, 9))
    first, again, third = (bootstrap(one, other, draws=99, seed=s) for s in (0, 0, 1))
    assert first == again != third
    narrow = bootstrap(one, other, draws=99, level=0.5)
    assert first.low < narrow.low < narrow.high < first.high


def test_what_cannot_be_drawn_from_is_named():
    with pytest.raises(CurveError, match="1 images"):
        bootstrap(points([1]), points([1]))
    with pytest.raises(CurveError, match="shapes"):
        bootstrap(points([1, 1]), points([1, 1, 1]))
    with pytest.raises(CurveError, match="level 95"):
        bootstrap(points([1, 1]), points([1, 1]), level=95)
    falling = points([1, 1])[::-1] * [1, -1] + [0, 60]
    falling[1, 0, 1] -= 20
    with pytest.raises(CurveError, match="of 20 draws have no BD-rate: curve mean of a draw"):
        bootstrap(points([1, 1]), falling, draws=20)


def report(path, factor, names="abc", **more):
    rows = [
        {"image": n, "quality": i, "bpp": b * factor, "psnr-rgb": q, "ms-ssim-rgb": 0.9 + i / 50}
        for i, (b, q) in enumerate(zip(BPP, PSNR, strict=True))
        for n in names
    ]
    results = {"bpp": list(BPP * factor), "psnr-rgb": list(PSNR)}
    results |= {"ms-ssim-rgb": [0.9 + i / 50 for i in range(4)]}
    path.write_text(json.dumps({"results": results, "per_image": rows} | more))
    return str(path)


def test_points_are_paired_by_image_and_linear(tmp_path):
    one, other = report(tmp_path / "a.json", 1), report(tmp_path / "b.json", 0.5, "cbad")
    a, b = load_points(one, other, "MS-SSIM")
    assert a.shape == b.shape == (4, 3, 2)
    assert a[:, :, 0] == pytest.approx(2 * b[:, :, 0]) and a[1, 0, 1] == pytest.approx(0.92)
    means = load_curve(one, "MS-SSIM").psnr
    assert means == pytest.approx([decibels(v) for v in a[:, :, 1].mean(1)])


def test_the_command_prints_an_interval(tmp_path, capsys):
    one, other = report(tmp_path / "a.json", 1), report(tmp_path / "b.json", 0.5)
    assert main(["bdrate", one, other, "--bootstrap", "30"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line == "  -50.00 % to -50.00 %: 95% of 30 draws of 3 images, with repetition"
    means = ["published:vtm", "published:dcae"]
    assert main(["bdrate", *means, "--bootstrap"]) == 1
    assert "published:vtm holds means only" in capsys.readouterr().err


def test_the_twin_is_ahead_on_other_choices_of_images_too():
    twin, mixture = (str(data_file(f"pair/{n}_kodak.json")) for n in ("twin", "mixture"))
    found = bootstrap(*load_points(twin, mixture), draws=200)
    assert 1 < found.low < 1.92 < found.high < 3 and found.images == 24
