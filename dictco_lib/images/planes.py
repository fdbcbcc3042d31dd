"""Planes that are kept without loss: alpha, and other bytes beside the colours."""

from __future__ import annotations

import io
import zlib

import numpy as np
from PIL import Image

from dictco_lib.errors import BadHeader, foreign


def inflate(data: bytes, limit: int, what: str) -> bytes:
    """Undo ``zlib.compress``, without ever making more than ``limit`` bytes.

    Raises:
        BadHeader: if the data is damaged or cut, or inflates to more.
    """
    engine = zlib.decompressobj()
    try:
        inflated = engine.decompress(data, limit + 1)
    except zlib.error as error:
        raise BadHeader(f"{what} cannot be inflated ({error}); get the file again") from None
    if len(inflated) > limit:
        raise BadHeader(f"{what} inflates to over {limit} bytes; get the file again")
    if not engine.eof:
        raise BadHeader(f"{what} ends early; get the file again")
    if engine.unused_data or not inflated:
        raise BadHeader(f"{what} is empty, or bytes follow it; get the file again")
    return inflated


def pack_plane(plane: np.ndarray) -> bytes:
    """A (H, W) uint8 plane without loss: differences along the rows, deflated."""
    # Differences halve the bytes of soft edges, and cost nothing for hard ones.
    return zlib.compress(np.diff(plane, axis=1, prepend=np.uint8(0)).tobytes(), 9)


def unpack_plane(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """The way back; ``size`` is the (width, height) that must come out.

    Raises:
        BadHeader: if anything else comes out.
    """
    if data.startswith(b"\x89PNG"):  # how the first files held it
        return _unpack_png_plane(data, size)
    width, height = size
    flat = inflate(data, width * height, "alpha")
    if len(flat) != width * height:
        raise BadHeader(f"alpha has {len(flat)} bytes, expected {width * height}; get it again")
    steps = np.frombuffer(flat, np.uint8).reshape(height, width)
    return np.cumsum(steps, axis=1, dtype=np.uint8)


def _unpack_png_plane(data: bytes, size: tuple[int, int]) -> np.ndarray:
    with foreign("alpha cannot be read", BadHeader, "get the file again"):
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.size == size and image.mode == "L":
                return np.array(image)
            problem = f"{image.size} {image.mode} instead of {size} L"
    raise BadHeader(f"alpha cannot be read ({problem}); get the file again")
