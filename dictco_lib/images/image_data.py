"""An image in memory, and what it looks like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dictco_lib.images.icc import colour_space
from dictco_lib.images.metadata import attach


@dataclass
class ImageData:
    """An image ready for coding.

    ``samples`` is what it is made of: uint8 (H, W, 3) or (H, W), uint16 (H, W), or a float32
    tensor (3, H, W) in [0, 1]. 8 bits stay 8 bits: floats of a large image would take four
    times its memory, so they are made of what is looked at (:attr:`pixels` for the whole).
    ``alpha`` is (H, W) uint8 or None. ``is_rgb`` says that a grey image came as three equal
    channels, and is given back so. ``notes`` are what was left out, ``unkept`` the metadata for
    which a .dco file has no place; see :meth:`losses`.
    """

    samples: np.ndarray | Tensor
    is_grey: bool = False
    is_sixteen_bit: bool = False
    alpha: np.ndarray | None = None
    profile: bytes | None = None
    exif: bytes | None = None
    is_exif_damaged: bool = False
    is_rgb: bool = False
    notes: tuple[str, ...] = ()
    unkept: tuple[str, ...] = ()

    def losses(self, metadata: bool) -> tuple[str, ...]:
        """What a file of this image does not hold, one line each; no lines, no loss.

        Args:
            metadata: whether the file is to hold metadata.
        """
        if not (metadata and self.unkept):
            return self.notes
        return (*self.notes, f"metadata that no .dco file holds: {', '.join(self.unkept)}")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        height, width = self.samples.shape[-2:] if self._is_float else self.samples.shape[:2]
        return width, height

    @property
    def pixels(self) -> Tensor:
        """All of it as a float32 tensor (3, H, W) in [0, 1]."""
        return self.window((0, 0, *self.size[::-1]))

    def window(self, box: tuple[int, int, int, int]) -> Tensor:
        """The part from ``top, left`` to ``bottom, right``, as :attr:`pixels` would have it."""
        top, left, bottom, right = box
        if self._is_float:
            return self.samples[:, top:bottom, left:right]
        part = self.samples[top:bottom, left:right]
        if part.dtype == np.uint16:
            x = torch.from_numpy((part / 65535).astype(np.float32))
        else:
            x = torch.from_numpy(part.astype(np.float32) / 255)
        return x.permute(2, 0, 1) if x.dim() == 3 else x.expand(3, -1, -1)

    @property
    def _is_float(self) -> bool:
        return isinstance(self.samples, Tensor)


def blank(size: tuple[int, int], is_grey: bool, is_sixteen_bit: bool) -> np.ndarray:
    """Room for the samples of an image of this kind; ``size`` is width and height."""
    shape = size[::-1] if is_grey or is_sixteen_bit else (*size[::-1], 3)
    return np.empty(shape, np.uint16 if is_sixteen_bit else np.uint8)


def rounded(x: Tensor, is_grey: bool, is_sixteen_bit: bool) -> np.ndarray:
    """Floats (3, H, W) as the samples that an image of this kind has; see :func:`blank`."""
    x = x.clamp(0, 1).contiguous()  # in one layout, the mean of three adds up in one order
    if is_sixteen_bit:
        return (x.double().mean(0) * 65535).round().cpu().numpy().astype(np.uint16)
    if is_grey:
        return (x.mean(0) * 255).round().byte().cpu().numpy()
    return to_uint8(x)


def to_pil(image: ImageData) -> Image.Image:
    """The image as users know it: RGB(A), L(A) or 16-bit grey, with its profile and EXIF."""
    pil = Image.fromarray(_samples(image, image.is_sixteen_bit))
    space = colour_space(image.profile)
    # Files of the first versions may hold grey with a profile for RGB: no reader takes that.
    if pil.mode == "L" and (image.is_rgb or space == "RGB"):
        pil = pil.convert("RGB")
    if image.alpha is not None:
        pil.putalpha(Image.fromarray(image.alpha))
    if image.profile and space == ("RGB" if pil.mode[0] == "R" else "GRAY"):
        pil.info["icc_profile"] = image.profile
    attach(pil, image.exif)
    return pil


def eight_bit(image: ImageData) -> np.ndarray:
    """The colours of an image as they are shown, (H, W, 3) uint8; grey has three equal ones.

    It may be the image's own array: copy it before you write to it.
    """
    samples = _samples(image, False)
    if samples.dtype == np.uint16:
        # A table, because floats of a large image would take eight times its memory.
        samples = ((np.arange(65536) + 128) // 257).astype(np.uint8)[samples]
    return samples if samples.ndim == 3 else np.repeat(samples[:, :, None], 3, 2)


def _samples(image: ImageData, is_sixteen_bit: bool) -> np.ndarray:
    """What :func:`rounded` gives of it; nothing is made anew of what is rounded already."""
    if isinstance(image.samples, Tensor):
        return rounded(image.samples, image.is_grey, is_sixteen_bit)
    if image.is_grey and image.samples.ndim == 3:
        return np.ascontiguousarray(image.samples[:, :, 0])
    return image.samples


def to_uint8(x: Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] -> (H, W, 3) uint8."""
    return (x.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
