"""Distortion between two images."""

from __future__ import annotations

import math

import numpy as np
import torch
from pytorch_msssim import ms_ssim as _ms_ssim

from dictco_lib.config import MS_SSIM_MIN_SIDE


def squared_error(a: np.ndarray, b: np.ndarray) -> float:
    """Mean squared error over all channels of two uint8 images."""
    # Row by row: in float64 a large image would take eight times its memory, several times.
    rows = zip(a, b, strict=True)
    return sum(float(np.sum((p.astype(np.float64) - q) ** 2)) for p, q in rows) / a.size


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio over all channels of two uint8 images, in dB.

    Identical images give infinity.
    """
    return peak_ratio(squared_error(a, b))


def peak_ratio(mse: float) -> float:
    """The same of a mean squared error of 8-bit values; infinity for 0."""
    return math.inf if mse == 0 else 10 * math.log10(255**2 / mse)


def ms_ssim(a: np.ndarray, b: np.ndarray) -> float | None:
    """Multi-scale structural similarity of two (H, W, 3) uint8 images, 0-1, linear.

    None for images too small for five scales.

    Reference:
        Wang et al., "Multi-scale structural similarity for image quality assessment", 2003.
    """
    if min(a.shape[:2]) <= MS_SSIM_MIN_SIDE:
        return None
    x, y = (torch.from_numpy(p.astype(np.float32)).permute(2, 0, 1)[None] for p in (a, b))
    return float(_ms_ssim(x, y, data_range=255))


def decibels(similarity: float) -> float:
    """MS-SSIM on the scale of decibels, ``-10 log10(1 - ms_ssim)``; infinity for 1."""
    return math.inf if similarity >= 1 else -10 * math.log10(1 - similarity)
