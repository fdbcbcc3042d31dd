"""Pixels <-> latent, tile by tile: the transforms run in bounded memory, without seams."""

from __future__ import annotations

import torch
from torch import Tensor

from dictco_lib.errors import BadHeader, ImageError
from dictco_lib.models.codec import DictionaryCodec

LATENT_STRIDE = 16
#: Side of a tile in latent samples (16 pixels): larger pictures are coded tile by tile.
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
    return 0 if shape[0] * shape[1] <= tile * tile * 3 // 2 else tile


def tile_boxes(shape: tuple[int, int], tile: int) -> list[Box]:
    """Boxes in latent samples, row by row."""
    area = (min(tile, shape[0]) * min(tile, shape[1])) if tile else shape[0] * shape[1]
    if tile % 4 or area > MAX_TILE * MAX_TILE * 3 // 2:
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


def analyse(model: DictionaryCodec, x: Tensor, box: Box) -> Tensor:
    """The box of y, (1, M, h, w), of the padded picture x, (1, 3, 16H, 16W)."""
    shape = (x.shape[2] // LATENT_STRIDE, x.shape[3] // LATENT_STRIDE)
    outer, inner = _with_halo(box, shape)
    top, left, bottom, right = (LATENT_STRIDE * v for v in outer)
    y = model.g_a(_like_model(model, x[:, :, top:bottom, left:right]))
    return y[:, :, inner[0], inner[1]]


def synthesise(model: DictionaryCodec, y_hat: Tensor, boxes: list[Box]) -> Tensor:
    """The padded picture (3, 16H, 16W), not clamped, of y_hat (1, M, H, W)."""
    x_hat = torch.empty(3, *(LATENT_STRIDE * side for side in y_hat.shape[2:]))
    for box in boxes:
        top, left, bottom, right = (LATENT_STRIDE * v for v in box)
        x_hat[:, top:bottom, left:right] = _synthesise_box(model, y_hat, box)
    return x_hat


def _synthesise_box(model: DictionaryCodec, y_hat: Tensor, box: Box) -> Tensor:
    (top, left, bottom, right), inner = _with_halo(box, y_hat.shape[2:])
    x_hat = model.g_s(_like_model(model, y_hat[:, :, top:bottom, left:right]))[0]
    rows, cols = (slice(LATENT_STRIDE * s.start, LATENT_STRIDE * s.stop) for s in inner)
    return x_hat[:, rows, cols].float().cpu()


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
    return x.to(weight.device, weight.dtype, memory_format=torch.channels_last)
