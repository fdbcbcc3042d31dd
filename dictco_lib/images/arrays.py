"""Arrays and tensors to images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dictco_lib.errors import ImageError
from dictco_lib.images.image_data import ImageData

_ROWS = 256


def from_tensor(x: Tensor) -> ImageData:
    """A float tensor (3, H, W) in [0, 1].

    Raises:
        ImageError: if it is anything else.
    """
    if x.dim() == 4 and len(x) == 1:
        x = x[0]
    is_plain = x.layout == torch.strided and x.device.type != "meta"
    if not (is_plain and x.is_floating_point() and x.dim() == 3 and x.shape[0] == 3 and x.numel()):
        raise ImageError(
            f"got a {x.dtype} tensor of shape {tuple(x.shape)}, expected float (3, H, W) in [0, 1]"
        )
    if not bool(((x >= 0) & (x <= 1)).all()):
        raise ImageError(
            f"tensor values run from {x.min():.3g} to {x.max():.3g}, expected [0, 1]; "
            "divide by 255, or clamp"
        )
    x = x.detach().to("cpu", torch.float32)
    is_equal = bool((x[1] == x[0]).all()) and bool((x[2] == x[0]).all())
    return ImageData(x, is_grey=is_equal, is_rgb=is_equal)


def from_array(a: np.ndarray) -> ImageData:
    """An array (H, W), (H, W, 3) or (H, W, 4), uint8; or uint16 (H, W).

    Raises:
        ImageError: if it is anything else.
    """
    is_sixteen = a.dtype.kind == "u" and a.dtype.itemsize == 2
    if a.size and a.ndim == 2 and is_sixteen:
        return ImageData(np.array(a, np.uint16), is_grey=True, is_sixteen_bit=True)
    if not a.size or a.dtype != np.uint8 or a.ndim not in (2, 3) or a.shape[2:] not in _CHANNELS:
        raise ImageError(
            f"got a {a.dtype} array of shape {a.shape}, expected uint8 (H, W), (H, W, 3) or "
            f"(H, W, 4), or uint16 (H, W){_way_out(a)}"
        )
    pixels = np.array(a[..., :3] if a.ndim == 3 else a)
    alpha = np.array(a[..., 3]) if a.shape[2:] == (4,) else None
    alpha = None if alpha is None or (alpha == 255).all() else alpha
    if a.ndim == 2:
        return ImageData(pixels, is_grey=True, alpha=alpha)
    if is_grey(pixels):
        return ImageData(pixels[..., 0].copy(), is_grey=True, is_rgb=True, alpha=alpha)
    return ImageData(pixels, alpha=alpha)


_CHANNELS = ((), (3,), (4,))


def _way_out(a: np.ndarray) -> str:
    if a.dtype.kind == "f":
        return "; scale it and use .astype(numpy.uint8), or give a float tensor (3, H, W) in [0, 1]"
    if a.dtype == np.uint16 and a.ndim == 3:
        return "; divide by 257 for 8 bits"
    if a.ndim == 3 and a.shape[0] in (3, 4):
        return "; move the channels to the end"
    return ""


def is_grey(pixels: np.ndarray) -> bool:
    """Whether the three channels of a (H, W, 3) array are equal everywhere."""
    stripes = (pixels[top : top + _ROWS] for top in range(0, len(pixels), _ROWS))
    return all(bool((stripe == stripe[..., :1]).all()) for stripe in stripes)
