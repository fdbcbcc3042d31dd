"""Exercises of notebook 06, Rate-distortion evaluation."""

from __future__ import annotations

import math

import numpy as np

from dictco_lib.book.checks.checker import checker
from dictco_lib.evaluation.bdrate import Curve, compare


@checker
def ex_06_1(answer: float, size: int, width: int, height: int) -> str | None:
    """Is this the bpp of a file of so many bytes?"""
    want = 8 * size / (width * height)
    if abs(answer - want) <= 1e-3 * want:
        return None
    if answer < want:
        return f"{answer:.4f} is too low: divide by the pixels of the photo, not of the padded one"
    return f"{answer:.4f} is too high: a byte has 8 bits, and a pixel counts once for all channels"


@checker
def ex_06_2(answer: float, psnrs: list[float]) -> str | None:
    """Is this the PSNR of the mean squared error of pictures with these PSNRs?"""
    want = -10 * math.log10(float(np.mean(10 ** (-np.asarray(psnrs) / 10))))
    if abs(answer - want) <= 0.005:
        return None
    if abs(answer - float(np.mean(psnrs))) <= 0.005:
        return f"{answer:.2f} dB is the mean of the PSNRs; average the squared errors instead"
    return f"{answer:.2f} dB is not it; mse = 255**2 * 10 ** (-psnr / 10), and its mean goes back"


@checker
def ex_06_3(answer: float, anchor: Curve, test: Curve) -> str | None:
    """Is this the BD-PSNR of a curve against the anchor?"""
    want = compare(anchor, test).psnr
    if abs(answer - want) <= 0.01:
        return None
    if abs(answer + want) <= 0.01:
        return f"{answer:+.3f} dB has the wrong sign: a better curve has a PSNR above the anchor's"
    return (
        f"{answer:+.3f} dB is not it; integrate PSNR over the logarithm of the rate, over the "
        "rates that both curves cover"
    )


@checker
def ex_06_4(answer: tuple[Curve, Curve]) -> str | None:
    """Do the two curves cross, by 2 % or more on both sides?"""
    first, second = answer
    found = compare(first, second)
    grid = np.linspace(found.low, found.high, 200)
    ratio = second.rates_at(grid) / first.rates_at(grid)
    if ratio.min() > 0.98:
        return f"{second.name} never saves 2 % against {first.name}"
    if ratio.max() < 1.02:
        return f"{second.name} never costs 2 % more than {first.name}"
    return None
