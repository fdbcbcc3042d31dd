"""Planes that are kept without loss: alpha, and other bytes beside the colours."""

from __future__ import annotations

import io
import zlib

import numpy as np
from PIL import Image

from dictco_lib.errors import BadHeader, foreign

_AGAIN = "get the file again"


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


def image_samples(image: Image.Image, mode: str) -> np.ndarray:
    """An image's samples in a mode, (H, W, bands) uint8; (H, W) for one band.

    Strip by strip: Pillow converts, and hands over, by copies of the whole.
    """
    samples = np.empty((image.height, image.width, Image.getmodebands(mode)), np.uint8)
    for rows in strips(image.height, image.width):
        strip = image.crop((0, rows.start, image.width, rows.stop)).convert(mode)
        samples[rows] = np.asarray(strip).reshape(samples[rows].shape)
    return samples if samples.shape[2] > 1 else samples[:, :, 0]


def pack_plane(plane: np.ndarray) -> bytes:
    """A (H, W) uint8 plane without loss: differences along the rows, deflated."""
    # Differences halve the bytes of soft edges, and cost nothing for hard ones.
    engine = zlib.compressobj(9)
    parts = [
        engine.compress(np.diff(plane[rows], axis=1, prepend=np.uint8(0)).tobytes())
        for rows in strips(*plane.shape)
    ]
    return b"".join([*parts, engine.flush()])


def unpack_plane(
    data: bytes, size: tuple[int, int], window: tuple[int, int, int, int] | None = None
) -> np.ndarray:
    """The way back.

    Args:
        data: what :func:`pack_plane` made.
        size: the (width, height) that must come out.
        window: the part from ``top, left`` to ``bottom, right``, if only that is wanted: then
            rows below it are not looked at.

    Raises:
        BadHeader: if anything else comes out.
    """
    top, left, bottom, right = window or (0, 0, *size[::-1])
    if data.startswith(b"\x89PNG"):  # how the first files held it
        return _unpack_png_plane(data, size)[top:bottom, left:right].copy()
    width, height = size
    plane = np.empty((bottom - top, right - left), np.uint8)
    source = _Inflating(data, width * height)
    for rows in strips(bottom, width):
        strip = source.read((rows.stop - rows.start) * width)
        steps = np.frombuffer(strip, np.uint8).reshape(-1, width)
        kept = slice(max(rows.start, top), rows.stop)
        if kept.start < kept.stop:
            values = np.cumsum(steps[kept.start - rows.start :], axis=1, dtype=np.uint8)
            plane[kept.start - top : kept.stop - top] = values[:, left:right]
    if bottom == height:
        source.check_end()
    return plane


def strips(height: int, width: int) -> list[slice]:
    """Rows some at a time, about a million samples together."""
    step = max(1, 2**20 // width)
    return [slice(top, min(top + step, height)) for top in range(0, height, step)]


class _Inflating:
    """Deflated alpha that is read piece by piece."""

    def __init__(self, data: bytes, total: int) -> None:
        self.total = total
        self.rest = memoryview(data)
        self.engine = zlib.decompressobj()

    def read(self, count: int) -> bytes:
        parts = []
        while count and (part := self._some(count)):
            parts.append(part)
            count -= len(part)
        if count:
            raise BadHeader(f"alpha ends early, expected {self.total} bytes; {_AGAIN}")
        return b"".join(parts)

    def check_end(self) -> None:
        if self._some(1) or not self.engine.eof or self.engine.unused_data or self.rest:
            raise BadHeader(
                f"alpha does not end after the expected {self.total} bytes; get it again"
            )

    def _some(self, most: int) -> bytes:
        """At least one byte and at most so many; none at the end."""
        part = b""
        while not part and not self.engine.eof and (self.rest or self.engine.unconsumed_tail):
            tail = self.engine.unconsumed_tail
            if not tail:  # not all at once, for zlib copies what it leaves
                tail, self.rest = self.rest[: 2**16], self.rest[2**16 :]
            try:
                part = self.engine.decompress(tail, most)
            except zlib.error as error:
                raise BadHeader(f"alpha cannot be inflated ({error}); {_AGAIN}") from None
        return part


def _unpack_png_plane(data: bytes, size: tuple[int, int]) -> np.ndarray:
    with foreign("alpha cannot be read", BadHeader, "get the file again"):
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.size == size and image.mode == "L":
                return np.array(image)
            problem = f"{image.size} {image.mode} instead of {size} L"
    raise BadHeader(f"alpha cannot be read ({problem}); get the file again")
