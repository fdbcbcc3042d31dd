"""Distortion between two images."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from pytorch_msssim import ms_ssim as _ms_ssim
from scipy.ndimage import correlate1d
from ssimulacra2 import ssimulacra2 as _parts

from dictco_lib.config import MS_SSIM_MIN_SIDE, SSIMULACRA2_MIN_SIDE

#: What curves can be of, and the unit of each as it follows a number.
UNITS = {"PSNR": " dB", "MS-SSIM": " dB", "SSIMULACRA 2": ""}


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


def ssimulacra2(a: np.ndarray, b: np.ndarray) -> float | None:
    """SSIMULACRA 2.1 of two (H, W, 3) uint8 images in sRGB, of which ``a`` is the original.

    100 for equal images; its authors call 90 visually lossless, 70 high, 50 medium and 30 low
    quality; very bad images are below 0. None for images too small for six scales, over which
    the weights were fitted. Takes half a second and 0.2 GB for 768x512 pixels.

    Note:
        Colours, maps and weights are those of the package ``ssimulacra2``. Its blur is not used:
        it mirrors the image at two sides and ends in zeros at the others, so that a transposed
        image has another score. The reference ends in zeros at all four.

    Reference:
        Sneyers, "SSIMULACRA 2", github.com/cloudinary/ssimulacra2, 2023.
    """
    if min(a.shape[:2]) <= SSIMULACRA2_MIN_SIDE:
        return None
    found = _parts.Msssim()
    linear = [_parts.srgb_to_linear(image) for image in (a, b)]
    for _ in range(_parts.kNumScales):
        x, y = (_parts.make_positive_xyb(_parts.linear_rgb_to_xyb(image)) for image in linear)
        mean_x, mean_y, xx, yy, xy = map(_blurred, (x, y, x * x, y * y, x * y))
        scale = _parts.MsssimScale()
        scale.avg_ssim = _parts.ssim_map(mean_x, mean_y, xx, yy, xy)
        scale.avg_edgediff = _parts.edge_diff_map(x, mean_x, y, mean_y)
        found.scales.append(scale)
        linear = [_parts.downsample(image, 2, 2) for image in linear]
    return float(found.score())


def _blurred(planes: np.ndarray) -> np.ndarray:
    """Planes (H, W, C), blurred over H and W; outside of them is 0."""
    for axis in (0, 1):
        planes = correlate1d(planes, cosine_kernel(), axis=axis, mode="constant")
    return planes


@cache
def cosine_kernel(sigma: float = 1.5) -> np.ndarray:
    """The Gaussian that a recursive filter of three cosines makes: its impulse response.

    Args:
        sigma: standard deviation in samples; the variance of the kernel is its square.

    Returns:
        Weights that add up to 1; shape (11,) for the default, the outermost ones 0.

    Reference:
        Charalampidis, "Recursive implementation of the Gaussian filter using truncated cosine
        functions", IEEE Transactions on Signal Processing 64(14), 2016.
    """
    radius = round(3.2795 * sigma + 0.2546)
    omega = np.array([1, 3, 5]) * math.pi / (2 * radius)
    sums = np.array([1, -1, 1]) / np.tan(omega / 2)  # of a cosine over the window
    moments = np.array([1, -1, 1]) * sums**2 / np.sin(omega)
    free = np.cross(sums, moments)  # what neither sum nor variance decides
    free /= free[2]
    like = np.exp(-(sigma**2) * omega**2 / 2) / radius  # the Gaussian's own spectrum
    wanted = [1, radius**2 - sigma**2, free @ like]
    weights = np.linalg.solve([sums, moments, free], wanted)
    return weights @ np.cos(omega[:, None] * np.arange(-radius, radius + 1))
