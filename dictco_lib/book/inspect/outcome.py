"""What the entropy model makes of a picture: gates, bits of each place, error.

Made to be measured again and again while something in the model is changed: the latent is
computed once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dictco_lib.config import Z_STRIDE
from dictco_lib.errors import ImageError
from dictco_lib.images import read_picture, to_uint8
from dictco_lib.models import DictionaryCodec


@dataclass(frozen=True)
class Subject:
    """A picture, (H, W, 3) uint8, sides multiples of 64, with its latent and its price of error."""

    pixels: np.ndarray
    y: Tensor
    level: Tensor
    lmbda: float


@dataclass(frozen=True)
class Outcome:
    """What came out for a :class:`Subject`.

    ``gates``: per slice (K, H/16, W/16). ``y_bits``: estimated bits of each slice and place,
    (slices, H/16, W/16). ``z_bits``: of the side information. ``mse``: of 8-bit RGB.
    """

    gates: list[np.ndarray]
    y_bits: np.ndarray
    z_bits: float
    mse: float
    lmbda: float

    @property
    def bits(self) -> float:
        """Estimated bits of the whole picture."""
        return float(self.y_bits.sum()) + self.z_bits

    @property
    def psnr(self) -> float:
        """In dB, of 8-bit RGB."""
        return float(10 * np.log10(255**2 / self.mse))

    @property
    def cost(self) -> float:
        """The training loss in bits: bits + lmbda * mse * pixels."""
        return self.bits + self.lmbda * self.mse * 256 * self.y_bits[0].size


@dataclass(frozen=True)
class Change:
    """From one outcome to another: bits and cost in percent of the bits, PSNR in dB."""

    bits: float
    psnr: float
    cost: float


def change(before: Outcome, after: Outcome) -> Change:
    """How much more ``after`` takes than ``before``."""
    return Change(
        100 * (after.bits / before.bits - 1),
        after.psnr - before.psnr,
        100 * (after.cost - before.cost) / before.bits,
    )


def middle(pixels: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
    """The middle of a picture, cut to ``size`` and then to sides that are multiples of 64.

    Raises:
        ImageError: if nothing would be left.
    """
    sides = zip(pixels.shape[:2], size or pixels.shape[:2], strict=True)
    height, width = (min(has, want) // Z_STRIDE * Z_STRIDE for has, want in sides)
    if not height or not width:
        raise ImageError(f"a picture of {pixels.shape[:2]} has no middle with sides of {Z_STRIDE}")
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


@torch.no_grad()
def prepare(model: DictionaryCodec, pixels: np.ndarray, quality: float) -> Subject:
    """Compute the latent of a picture.

    Args:
        model: a variable-rate codec.
        pixels: (H, W, 3) uint8; its :func:`middle` is taken.
        quality: 0-100.
    """
    pixels = middle(pixels)
    x = read_picture(pixels).pixels[None].to(next(model.parameters()).device)
    return Subject(pixels, model.g_a(x), model.level(quality, x), model.config.lmbda(quality))


@torch.no_grad()
def measure(model: DictionaryCodec, subject: Subject, *, bits_only: bool = False) -> Outcome:
    """Estimate the rate and reconstruct, with the model as it is now.

    Args:
        model: the codec.
        subject: the picture.
        bits_only: do not reconstruct, which halves the time; mse, PSNR and cost are then NaN.
    """
    out = model.latent_codec(subject.y, subject.level)
    bits = {name: -p[0].log2() for name, p in out["likelihoods"].items()}
    parts = [part.sum(0) for part in bits["y"].split(model.config.groups)]
    return Outcome(
        gates=[gates[0].cpu().numpy() for gates in out["routing"]],
        y_bits=torch.stack(parts).cpu().numpy(),
        z_bits=bits["z"].sum().item(),
        mse=math.nan if bits_only else _mse(model.g_s(out["y_hat"])[0], subject.pixels),
        lmbda=subject.lmbda,
    )


def _mse(x_hat: Tensor, pixels: np.ndarray) -> float:
    return float(np.mean((to_uint8(x_hat).astype(np.float64) - pixels) ** 2))
