"""A picture in memory, and what it looks like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor


@dataclass
class Picture:
    """A picture ready for coding.

    ``samples`` is what it is made of: uint8 (H, W, 3) or (H, W), uint16 (H, W), or a float32
    tensor (3, H, W) in [0, 1]. 8 bits stay 8 bits: floats of a large picture would take four
    times its memory, so they are made of what is looked at (:attr:`pixels` for the whole).
    ``alpha`` is (H, W) uint8 or None.
    """

    samples: np.ndarray | Tensor
    is_grey: bool = False
    is_sixteen_bit: bool = False
    alpha: np.ndarray | None = None
    profile: bytes | None = None
    exif: bytes | None = None
    is_exif_damaged: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        height, width = self.samples.shape[-2:] if self._is_float else self.samples.shape[:2]
        return width, height

    @property
    def pixels(self) -> Tensor:
        """All of it as a float32 tensor (3, H, W) in [0, 1]."""
        if self._is_float:
            return self.samples
        if self.samples.dtype == np.uint16:
            x = torch.from_numpy((self.samples / 65535).astype(np.float32))
        else:
            x = torch.from_numpy(self.samples.astype(np.float32) / 255)
        return x.permute(2, 0, 1) if x.dim() == 3 else x.expand(3, -1, -1)

    @property
    def _is_float(self) -> bool:
        return isinstance(self.samples, Tensor)


def to_pil(picture: Picture) -> Image.Image:
    """The picture as users know it: RGB(A), L(A) or 16-bit grey, with its profile and EXIF."""
    x = picture.pixels.clamp(0, 1)
    if picture.is_sixteen_bit:
        grey = (x.double().mean(0) * 65535).round().numpy().astype(np.uint16)
        image = Image.fromarray(grey)
    elif picture.is_grey:
        image = Image.fromarray((x.mean(0) * 255).round().byte().numpy())
    else:
        image = Image.fromarray(to_uint8(x))
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    if picture.profile:
        image.info["icc_profile"] = picture.profile
    if picture.exif:
        image.info["exif"] = picture.exif
    return image


def eight_bit(picture: Picture) -> np.ndarray:
    """The colours of a picture as they are shown, (H, W, 3) uint8; grey has three equal ones."""
    x = picture.pixels.clamp(0, 1)
    return to_uint8(x.mean(0).expand_as(x) if picture.is_grey else x)


def to_uint8(x: Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] -> (H, W, 3) uint8."""
    return (x.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
