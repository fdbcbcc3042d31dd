"""Pixels <-> latent, tile by tile: the transforms run in bounded memory, without seams."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dictco_lib.bitstream import is_one_tile, latent_shape
from dictco_lib.config import Y_STRIDE
from dictco_lib.cores import free_cores
from dictco_lib.errors import BadHeader, ImageError
from dictco_lib.images import ImageData, blank, rounded
from dictco_lib.layers.walk import tensors_of
from dictco_lib.layers.winograd import coarse_sums
from dictco_lib.memory import kept_memory, release_memory
from dictco_lib.models.codec import DictionaryCodec

#: Side of a tile in latent samples (16 pixels): larger images are coded tile by tile.
TILE = 64
MAX_TILE = 128  # bounds the memory that a file can ask for
#: Latent samples of true surroundings that the transforms see around a tile, so that seams vanish.
HALO = 8

Box = tuple[int, int, int, int]  # top, left, bottom, right


def tile_side(shape: tuple[int, int], tile: int) -> int:
    """The tile side that a latent of this shape is coded with; 0 stands for a single tile."""
    if not 0 < tile <= MAX_TILE or tile % 4:
        raise ImageError(
            f"tile side {tile} must be a multiple of 4 latent samples up to {MAX_TILE}"
        )
    return 0 if is_one_tile(shape, tile) else tile


def tile_boxes(shape: tuple[int, int], tile: int) -> list[Box]:
    """Boxes in latent samples, row by row."""
    largest = (min(tile, shape[0]), min(tile, shape[1])) if tile else shape
    if tile % 4 or not is_one_tile(largest, MAX_TILE):
        raise BadHeader(
            f"tiles of {tile} latent samples in a latent of {shape[0]}x{shape[1]}: expected a "
            f"multiple of 4 up to {MAX_TILE}; get the file again"
        )
    rows, cols = (range(0, side, tile or side) for side in shape)
    return [
        (
            top,
            left,
            min(top + (tile or shape[0]), shape[0]),
            min(left + (tile or shape[1]), shape[1]),
        )
        for top in rows
        for left in cols
    ]


def tiles_of(boxes: list[Box], window: Box) -> tuple[list[int], list[int]]:
    """Which tiles a window of the image, in pixels, needs.

    Returns:
        Numbers of the tiles to decode, and of those among them to synthesise: the window lies
        in these, and the others are their surroundings.
    """
    shown = [i for i, box in enumerate(boxes) if _overlap(_in_pixels(box), window)]
    top, left, bottom, right = zip(*(boxes[i] for i in shown), strict=True)
    seen = (min(top) - HALO, min(left) - HALO, max(bottom) + HALO, max(right) + HALO)
    return [i for i, box in enumerate(boxes) if _overlap(box, seen)], shown


def analyse(model: DictionaryCodec, image: ImageData, box: Box) -> Tensor:
    """The box of the image's y, (1, M, h, w).

    Beyond its edges, the image goes on with its last row and column.
    """
    outer, inner = _with_halo(box, latent_shape(image.size))
    width, height = image.size
    top, left, bottom, right = _in_pixels(outer)
    x = image.window((top, left, min(bottom, height), min(right, width)))[None]
    x = F.pad(x, (0, max(0, right - width), 0, max(0, bottom - height)), mode="replicate")
    with free_cores(), kept_memory(), coarse_sums():
        y = model.transform(model.g_a, _like_model(model, x))
    # A copy: a part of the whole would keep its surroundings in memory.
    return y[:, :, inner[0], inner[1]].contiguous(memory_format=torch.channels_last)


def joined(boxes: list[Box]) -> list[Box]:
    """The same places in boxes of about ``TILE``: many small ones would see mostly surroundings.

    The halo of a tile of 4 has 25 times its area: a small file could ask for hours.
    """
    blocks: dict[tuple[int, int], Box] = {}
    for box in boxes:
        key = (box[0] // TILE, box[1] // TILE)
        top, left, bottom, right = blocks.get(key, box)
        blocks[key] = (
            min(top, box[0]), min(left, box[1]), max(bottom, box[2]), max(right, box[3])
        )  # fmt: skip
    return sorted(blocks.values())


def synthesise_tiles(
    model: DictionaryCodec,
    parts: Iterable[tuple[Box, Tensor]],
    boxes: list[Box],
    shape: tuple[int, int],
) -> Iterator[tuple[Box, Tensor]]:
    """Pixels of tiles, not clamped, each as soon as its surroundings are there.

    Args:
        model: a codec.
        parts: tiles of y_hat, (1, M, h, w), row by row; rows of equal columns. Few are asked
            for ahead, and few are kept: memory grows with the width of the image alone.
        boxes: the tiles to synthesise, in the same order; :func:`tiles_of` tells which parts
            these need.
        shape: height and width of the latent.

    Yields:
        Box and pixels, (3, 16h, 16w) float32.
    """
    waiting = deque(boxes)
    band = None  # rows of y_hat from ``start`` on
    for (start_of_row, bottom), tiles in groupby(parts, key=lambda part: part[0][0::2]):
        tiles = list(tiles)
        left = tiles[0][0][1]
        row = torch.cat([y_hat for _, y_hat in tiles], dim=3)
        if band is None:
            band, start = row, start_of_row
        else:
            unused = max(0, waiting[0][0] - HALO - start) if waiting else 0
            band, start = torch.cat([band[:, :, unused:], row], dim=2), start + unused
        while waiting and min(waiting[0][2] + HALO, shape[0]) <= bottom:
            box = waiting.popleft()
            yield box, _synthesise_box(model, band, (start, left), box, shape)


def _synthesise_box(
    model: DictionaryCodec, band: Tensor, origin: tuple[int, int], box: Box, shape: tuple[int, int]
) -> Tensor:
    (top, left, bottom, right), inner = _with_halo(box, shape)
    y, x = origin
    y_hat = band[:, :, top - y : bottom - y, left - x : right - x]
    with free_cores(), kept_memory(), coarse_sums():
        x_hat = model.transform(model.g_s, _like_model(model, y_hat))[0]
    rows, cols = (slice(Y_STRIDE * s.start, Y_STRIDE * s.stop) for s in inner)
    return x_hat[:, rows, cols].float().cpu()


def synthesise(
    model: DictionaryCodec,
    parts: Iterable[tuple[Box, Tensor]],
    boxes: list[Box],
    size: tuple[int, int],
    kind: tuple[bool, bool],
    window: Box | None = None,
) -> np.ndarray:
    """The samples of an image, rounded tile by tile.

    Args:
        model: a codec.
        parts: as for :func:`synthesise_tiles`, like ``boxes``.
        boxes: the tiles to synthesise; the window lies in them.
        size: width and height of the image.
        kind: whether it is grey, and of 16 bits.
        window: what is wanted of it, in pixels; all of it if left out.

    Returns:
        What :func:`dictco_lib.images.rounded` makes of the window's pixels.
    """
    window = window or (0, 0, *size[::-1])
    samples = blank((window[3] - window[1], window[2] - window[0]), *kind)
    for box, x in synthesise_tiles(model, parts, joined(boxes), latent_shape(size)):
        tile = _in_pixels(box)
        top, left, bottom, right = _overlap(tile, window)
        part = x[:, top - tile[0] : bottom - tile[0], left - tile[1] : right - tile[1]]
        rows = slice(top - window[0], bottom - window[0])
        samples[rows, left - window[1] : right - window[1]] = rounded(part, *kind)
        _release(model)
    return samples


def inside(box: Box) -> tuple[slice, ...]:
    """Where a tile lies in the latent of the whole image, (1, M, H, W)."""
    top, left, bottom, right = box
    return slice(None), slice(None), slice(top, bottom), slice(left, right)


def cut(y_hat: Tensor, boxes: list[Box]) -> Iterator[tuple[Box, Tensor]]:
    """The tiles of a whole latent, as :func:`synthesise` takes them."""
    return ((box, y_hat[inside(box)]) for box in boxes)


@contextmanager
def timed(model: DictionaryCodec, seconds: dict[str, float], name: str) -> Iterator[None]:
    """Time a step of a model, and leave no freed memory to the next, if it is much."""
    start = time.perf_counter()
    yield
    _release(model)
    seconds[name] += time.perf_counter() - start


def _release(model: DictionaryCodec) -> None:
    release_memory(lambda: sum(tensor.nbytes for tensor in tensors_of(model)))


def _in_pixels(box: Box) -> Box:
    return tuple(Y_STRIDE * side for side in box)


def _overlap(a: Box, b: Box) -> Box | None:
    """What two boxes share; None if nothing."""
    top, left = max(a[0], b[0]), max(a[1], b[1])
    bottom, right = min(a[2], b[2]), min(a[3], b[3])
    return (top, left, bottom, right) if top < bottom and left < right else None


def _with_halo(box: Box, shape: tuple[int, int]) -> tuple[Box, tuple[slice, slice]]:
    """The box grown by the halo, and where the box lies in it."""
    top, left, bottom, right = box
    outer_top, outer_left = max(0, top - HALO), max(0, left - HALO)
    outer = (outer_top, outer_left, min(shape[0], bottom + HALO), min(shape[1], right + HALO))
    inner = (
        slice(top - outer_top, bottom - outer_top),
        slice(left - outer_left, right - outer_left),
    )
    return outer, inner


def _like_model(model: DictionaryCodec, x: Tensor) -> Tensor:
    weight = next(model.g_a.parameters())
    return x.to(weight.device, weight.dtype)
