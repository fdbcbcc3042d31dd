"""An image to be estimated again and again while something in the model is changed.

The latent is computed once; what comes out is an :class:`~dictco_lib.evaluation.estimate.Estimate`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dictco_lib.config import Y_STRIDE, Z_STRIDE
from dictco_lib.errors import ImageError
from dictco_lib.evaluation.estimate import Estimate, read_out
from dictco_lib.images import read_image
from dictco_lib.models import DictionaryCodec


@dataclass(frozen=True)
class Subject:
    """An image, (H, W, 3) uint8, sides multiples of 64, with its latent and its price of error."""

    pixels: np.ndarray
    y: Tensor
    level: Tensor
    lmbda: float


@dataclass(frozen=True)
class Outcome(Estimate):
    """What came out for a :class:`Subject`, with its price of error."""

    lmbda: float

    @property
    def cost(self) -> float:
        """The training loss in bits: bits + lmbda * mse * pixels."""
        return self.bits + self.lmbda * self.mse * Y_STRIDE**2 * self.y_bits[0].size


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
    """The middle of an image, cut to ``size`` and then to sides that are multiples of 64.

    Raises:
        ImageError: if nothing would be left.
    """
    sides = zip(pixels.shape[:2], size or pixels.shape[:2], strict=True)
    height, width = (min(has, want) // Z_STRIDE * Z_STRIDE for has, want in sides)
    if not height or not width:
        raise ImageError(f"an image of {pixels.shape[:2]} has no middle with sides of {Z_STRIDE}")
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


@torch.no_grad()
def prepare(model: DictionaryCodec, pixels: np.ndarray, quality: float) -> Subject:
    """Compute the latent of an image.

    Args:
        model: a variable-rate codec.
        pixels: (H, W, 3) uint8; its :func:`middle` is taken.
        quality: 0-100.
    """
    pixels = middle(pixels)
    x = read_image(pixels).pixels[None].to(next(model.parameters()).device)
    return Subject(pixels, model.g_a(x), model.level(quality, x), model.config.lmbda(quality))


@torch.no_grad()
def measure(model: DictionaryCodec, subject: Subject, *, bits_only: bool = False) -> Outcome:
    """Estimate the rate and reconstruct, with the model as it is now.

    Args:
        model: the codec.
        subject: the image.
        bits_only: do not reconstruct, which halves the time; mse, PSNR and cost are then NaN.
    """
    out = model.latent_codec(subject.y, subject.level)
    if not bits_only:
        out["x_hat"] = model.g_s(out["y_hat"])
    (found,) = read_out(model, out, [read_image(subject.pixels)])
    return Outcome(**vars(found), lmbda=subject.lmbda)
