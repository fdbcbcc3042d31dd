"""What a model makes of an image without making a file: bits, gates, reconstruction, error.

The one estimate of the project: reports in estimated mode, looks into the router, ablations and
their exercises all read it. It holds for every member of the family.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dictco_lib.config import Y_STRIDE, Z_STRIDE
from dictco_lib.evaluation.metrics import peak_ratio, squared_error
from dictco_lib.images import ImageData, eight_bit
from dictco_lib.models import Codec
from dictco_lib.training.routing import gate_entropy


@dataclass(frozen=True)
class Estimate:
    """One image; maps are those of the padded image.

    ``y_bits``: bits of each slice and place, (slices, H/16, W/16). ``z_bits``: of each place of
    the side information, (H/64, W/64). ``gates``: per slice (K, H/16, W/16), 1 everywhere where
    all share a dictionary; an empty list without one. ``pixels``: the reconstruction, (H, W, 3)
    uint8, and ``mse`` its mean squared error in 8 bits; None and NaN if nothing was reconstructed.
    """

    y_bits: np.ndarray
    z_bits: np.ndarray
    gates: list[np.ndarray]
    pixels: np.ndarray | None
    mse: float

    @property
    def bits(self) -> float:
        """Bits of the whole image."""
        return float(self.y_bits.sum() + self.z_bits.sum())

    @property
    def psnr(self) -> float:
        """In dB, of 8-bit RGB; infinity for an image that comes back unchanged."""
        return peak_ratio(self.mse)

    @property
    def gate_entropy(self) -> float | None:
        """How undecided the router is, in bits: mean over slices and places; None without one."""
        if not self.gates or len(self.gates[0]) < 2:
            return None
        return float(np.mean([gate_entropy(torch.from_numpy(g)).mean().item() for g in self.gates]))

    def per_place(self) -> np.ndarray:
        """Bits of each 16x16 pixels, (H/16, W/16): all slices, and z's part."""
        return per_place(self.y_bits.sum(0), self.z_bits)


def per_place(y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Bits of y at each place, (H, W), and those of z, (H/4, W/4), shared out among its places."""
    ratio = Z_STRIDE // Y_STRIDE
    return y + np.kron(z, np.full((ratio, ratio), 1 / ratio**2))


@torch.no_grad()
def estimate(
    model: Codec,
    images: Sequence[ImageData],
    quality: float | None = None,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> list[Estimate]:
    """Estimate a batch of images of one size, in the precision of the weights.

    Args:
        model: any member, whole or with something in it changed.
        images: of one size, any from 1x1.
        quality: 0-100 for a variable-rate model.
        memory_format: ``torch.channels_last`` is quicker for most, and adds up in another order.
    """
    x = torch.stack([image.pixels for image in images])
    x = x.to(next(model.parameters()), memory_format=memory_format)
    return read_out(model, model(x, quality, return_routing=True), images)


def read_out(model: Codec, out: dict, images: Sequence[ImageData]) -> list[Estimate]:
    """One estimate for each image of a batch.

    Args:
        model: whose output it is.
        out: what the codec returned, or its latent codec: without ``x_hat`` there are no pixels.
        images: those that went in.
    """
    y, z = (-out["likelihoods"][name].detach().log2() for name in ("y", "z"))
    parts = y.split(model.config.groups, dim=1)
    y_bits = torch.stack([part.double().sum(1) for part in parts], dim=1).cpu().numpy()
    z_bits = z.double().sum(1).cpu().numpy()
    return [
        Estimate(
            y_bits[i],
            z_bits[i],
            [gates[i].detach().cpu().numpy() for gates in out["routing"]],
            *_seen(out.get("x_hat"), i, image),
        )
        for i, image in enumerate(images)
    ]


def _seen(x_hat: Tensor | None, i: int, image: ImageData) -> tuple[np.ndarray | None, float]:
    """The image that came back as it is shown, and its error."""
    if x_hat is None:
        return None, math.nan
    samples = x_hat[i].detach().float().cpu().clamp(0, 1)
    pixels = eight_bit(replace(image, samples=samples))
    return pixels, squared_error(pixels, eight_bit(image))
