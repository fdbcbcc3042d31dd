"""The rate-distortion loss, with a trade-off per image."""

from __future__ import annotations

import torch
from torch import Tensor


def bits_per_image(likelihoods: dict[str, Tensor]) -> dict[str, Tensor]:
    """Information content of each image, in bits.

    Args:
        likelihoods: name -> probabilities, shape (B, C, H, W), in (0, 1].

    Returns:
        The same names -> bits, shape (B,).
    """
    return {name: -p.log2().sum(dim=(1, 2, 3)) for name, p in likelihoods.items()}


def rate_distortion(out: dict, x: Tensor, lmbda: Tensor) -> dict[str, Tensor]:
    """``bpp + lmbda * 255**2 * mse`` for each image.

    A larger lmbda gives more bits and better quality; the field's anchors are in
    :data:`dictco_lib.config.LMBDAS`.

    Args:
        out: what a model returned for ``x``.
        x: images, shape (B, 3, H, W).
        lmbda: trade-off of each image, shape (B,).

    Returns:
        ``loss``, ``bpp``, ``bpp_y``, ``bpp_z``, ``mse`` and ``psnr`` (dB), each of shape (B,).
    """
    pixels = x.shape[-2] * x.shape[-1]
    bits = bits_per_image(out["likelihoods"])
    mse = (out["x_hat"] - x).square().mean(dim=(1, 2, 3))
    bpp = sum(bits.values()) / pixels
    return {
        "loss": bpp + lmbda * 255**2 * mse,
        "bpp": bpp,
        "bpp_y": bits["y"] / pixels,
        "bpp_z": bits["z"] / pixels,
        "mse": mse,
        "psnr": -10 * torch.log10(mse.detach().clamp(min=1e-10)),
    }
