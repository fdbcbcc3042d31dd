"""Answers to the exercises of the page Rate-distortion evaluation."""

from __future__ import annotations

import math

import numpy as np
from scipy.interpolate import PchipInterpolator

from answers import Exercise
from dictco_lib.evaluation.bdrate import Curve, compare
from dictco_lib.evaluation.published import published

VTM, DCAE, ELIC, TCM = (published(name) for name in ("vtm", "dcae", "elic2022", "tcm-small"))
PIXELS, PADDED = 500 * 333, 512 * 384
LOW, HIGH = max(VTM.bpp[0], DCAE.bpp[0]), min(VTM.bpp[-1], DCAE.bpp[-1])


def area(way) -> float:
    """Integral of the difference in PSNR over way(rate)."""
    vtm, dcae = (
        PchipInterpolator(way(np.array(c.bpp)), c.psnr).integrate(way(LOW), way(HIGH))
        for c in (VTM, DCAE)
    )
    return dcae - vtm


def bd_psnr() -> float:
    return area(np.log) / math.log(HIGH / LOW)


def mse(psnrs) -> np.ndarray:
    return 255**2 * 10 ** (-np.array(psnrs) / 10)


def decibels(error) -> float:
    return 10 * math.log10(255**2 / error)


EXERCISES = {
    "ex_rd_1": Exercise(
        context=lambda w: (8325, 500, 333),
        right=[lambda *c: 8 * 8325 / PIXELS, lambda *c: 0.4],
        wrong={
            "padded": (lambda *c: 8 * 8325 / PADDED, "not of the padded one"),
            "bytes": (lambda *c: 8325 / PIXELS, "a byte has 8 bits"),
            "bytes, padded": (lambda *c: 8325 / PADDED, "8 bits, and the photo's pixels"),
            "channels": (lambda *c: 8 * 8325 / PIXELS / 3, "once for all three channels"),
            "channels, padded": (lambda *c: 8 * 8325 / PADDED / 3, "and not the padded ones"),
            "upside down": (lambda *c: PIXELS / 8325 / 8, "upside down"),
            "times smaller": (lambda *c: 3 * PIXELS / 8325, "how many times smaller"),
            "bits": (lambda *c: 8 * 8325, "divide by the pixels"),
            "no idea": (lambda *c: 0.7, "is not it"),
        },
    ),
    "ex_rd_2": Exercise(
        context=lambda w: ([30.0, 40.0],),
        right=[lambda p: decibels(mse(p).mean()), lambda p: 32.596],
        wrong={
            "mean": (lambda p: 35.0, "the mean of the PSNRs"),
            "sum": (lambda p: decibels(mse(p).sum()), "divide by their number"),
            "roots": (lambda p: decibels(np.sqrt(mse(p)).mean() ** 2), "mean of the *roots*"),
            "sign": (lambda p: -decibels(mse(p).mean()), "sign is wrong"),
            "255": (lambda p: 10 * math.log10(255 / mse(p).mean()), "255**2"),
            "20": (lambda p: 2 * decibels(mse(p).mean()), "squared already"),
            "the worst": (lambda p: 30.0, "is not it"),
            "the mse": (lambda p: mse(p).mean(), "is not it"),
        },
    ),
    "ex_rd_3": Exercise(
        context=lambda w: (VTM, DCAE),
        right=[lambda *c: bd_psnr()],
        wrong={
            "sign": (lambda *c: -bd_psnr(), "wrong sign"),
            "BD-rate": (lambda *c: compare(VTM, DCAE).rate, "the BD-rate"),
            "area": (lambda *c: area(np.log), "divide it by the width"),
            "linear": (lambda *c: area(lambda r: r) / (HIGH - LOW), "take its logarithm"),
            "no idea": (lambda *c: 3.0, "is not it"),
        },
    ),
    "ex_rd_4": Exercise(
        right=[lambda: (ELIC, TCM), lambda: [published("hm"), published("mbt2018-mean")]],
        wrong={
            "one is better": (lambda: (VTM, DCAE), "never costs 2 % more"),
            "one is worse": (lambda: (DCAE, VTM), "never saves 2 %"),
            "twice the same": (lambda: (ELIC, ELIC), "twice the same"),
            "made up": (
                lambda: (Curve("a", [1, 2], [30, 35]), Curve("b", [1.2, 1.8], [30, 35])),
                "no published curve",
            ),
            "the other measure": (
                lambda: (published("dcae-msssim", "MS-SSIM"), ELIC),
                "no published curve",
            ),
            "names": (lambda: ("elic2022", "tcm-small"), "expected curves"),
            "one": (lambda: ELIC, "expected two curves"),
            "three": (lambda: (ELIC, TCM, VTM), "expected two curves"),
        },
    ),
}
