"""Exercises of the page Rate-distortion evaluation."""

from __future__ import annotations

import math

import numpy as np
from scipy.interpolate import PchipInterpolator

from dictco_lib.book.checks.checker import checker, number, slip
from dictco_lib.evaluation.bdrate import Curve, compare
from dictco_lib.evaluation.published import published, published_names

#: What the image of the first exercise is padded to a multiple of.
_STRIDE = 64


@checker
def ex_rd_1(answer: float, size: int, width: int, height: int) -> str | None:
    """Is this the bpp of a file of so many bytes?"""
    answer, want = number(answer), 8 * size / (width * height)
    share = width * height / math.prod(-(-side // _STRIDE) * _STRIDE for side in (width, height))
    slips = {
        "divide by the pixels of the photo, not of the padded one": want * share,
        "a byte has 8 bits": want / 8,
        "a byte has 8 bits, and the photo's pixels count, not those of the padded one": (
            want * share / 8
        ),
        "a pixel counts once for all three channels": want / 3,
        "a pixel counts once for all three channels, and not the padded ones": want * share / 3,
        "upside down: bits over pixels": 1 / want,
        "that is how many times smaller than raw pixels the file is": 24 / want,
        "those are the bits of the file; divide by the pixels of the photo": 8 * size,
    }
    if abs(answer - want) <= 1e-3 * want:
        return None
    return slip(answer, slips, 1e-3) or (
        f"{answer:.4f} is not it: bits of the file over pixels of the photo"
    )


@checker
def ex_rd_2(answer: float, psnrs: list[float]) -> str | None:
    """Is this the PSNR of the mean squared error of images with these PSNRs?"""
    answer, values = number(answer), np.asarray(psnrs)
    mse = 10 ** (-values / 10)  # of 255**2

    def decibels(error: float) -> float:
        return float(-10 * np.log10(error))

    want = decibels(mse.mean())
    slips = {
        f"{answer:.2f} dB is the mean of the PSNRs; average the squared errors instead": (
            values.mean()
        ),
        "the errors are added, not averaged: divide by their number": decibels(mse.sum()),
        "that is the mean of the *roots*; average squared errors": 2
        * decibels(np.sqrt(mse).mean()),
        "the sign is wrong: a small error is a large PSNR": -want,
        "with log10 of 255 in place of 255**2": want - decibels(1 / 255),
        "20 in place of 10: an mse is squared already": 2 * want,
    }
    if abs(answer - want) <= 0.005:
        return None
    return slip(answer, slips, 2e-4) or (
        f"{answer:.2f} dB is not it; mse = 255**2 * 10 ** (-psnr / 10), and its mean goes back"
    )


@checker
def ex_rd_3(answer: float, anchor: Curve, test: Curve) -> str | None:
    """Is this the BD-PSNR of a curve against the anchor?"""
    answer, found = number(answer), compare(anchor, test)
    rates = max(anchor.bpp[0], test.bpp[0]), min(anchor.bpp[-1], test.bpp[-1])
    low, high = np.log(rates)
    linear = [PchipInterpolator(c.bpp, c.psnr).integrate(*rates) for c in (test, anchor)]
    slips = {
        f"{answer:+.3f} dB has the wrong sign: a better curve has a PSNR above the anchor's": (
            -found.psnr
        ),
        "that is the BD-rate, in percent; the question is for dB at equal rate": found.rate,
        "that is the area; divide it by the width of the range": found.psnr * (high - low),
        "that is over the rate itself; take its logarithm, as BD-rate does": (
            (linear[0] - linear[1]) / (rates[1] - rates[0])
        ),
    }
    if abs(answer - found.psnr) <= 0.01:
        return None
    return slip(answer, slips, 0.01) or (
        f"{answer:+.3f} dB is not it; integrate PSNR over the logarithm of the rate, over the "
        "rates that both curves cover"
    )


@checker
def ex_rd_4(answer: tuple[Curve, Curve]) -> str | None:
    """Do the two published curves cross, by 2 % or more on both sides?"""
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        return "expected two curves: (published(...), published(...))"
    for curve in answer:
        if not isinstance(curve, Curve):
            return f"expected curves, got {curve!r:.40}; published(name) gives one"
        if not any(curve == published(name) for name in published_names()):
            return f"{curve.name} is no published curve in PSNR; published_names() has them all"
    first, second = answer
    found = compare(first, second)
    grid = np.linspace(found.low, found.high, 200)
    ratio = second.rates_at(grid) / first.rates_at(grid)
    if first == second:
        return "twice the same curve"
    if ratio.min() > 0.98:
        return f"{second.name} never saves 2 % against {first.name}"
    if ratio.max() < 1.02:
        return f"{second.name} never costs 2 % more than {first.name}"
    return None
