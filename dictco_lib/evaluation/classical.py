"""Classical codecs to stand beside."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """A baseline JPEG 4:2:0 file with optimised Huffman tables, from (H, W, 3) uint8."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(
        buffer, "JPEG", quality=quality, optimize=True, subsampling="4:2:0"
    )
    return buffer.getvalue()


def jpeg_of_size(pixels: np.ndarray, size: int) -> tuple[bytes, int]:
    """The JPEG whose size is nearest to ``size`` bytes, and its quality (1-95)."""
    low, high = 1, 95
    while low < high:  # the first quality that reaches the size
        middle = (low + high) // 2
        if len(jpeg(pixels, middle)) < size:
            low = middle + 1
        else:
            high = middle
    near = [(jpeg(pixels, q), q) for q in {max(1, low - 1), low}]
    return min(near, key=lambda pair: abs(len(pair[0]) - size))


def decode_image(data: bytes) -> np.ndarray:
    """Pixels of any file that Pillow reads, (H, W, 3) uint8."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
