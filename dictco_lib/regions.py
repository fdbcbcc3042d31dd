"""Quality by place: what a user asks for, the map that a file carries, the levels it stands for.

A map has one byte for each place of y (16x16 pixels): a whole quality from 0 to 100, or
:data:`ELSEWHERE` for the quality in the header. The gains of y and z follow it, place by place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dictco_lib.arguments import as_number, level_of, whole_number
from dictco_lib.bitstream import latent_shape
from dictco_lib.config import Y_STRIDE
from dictco_lib.errors import BadHeader, OptionError, QualityError, quoted
from dictco_lib.images import ImageData, read_image
from dictco_lib.models.codec import DictionaryCodec
from dictco_lib.tiles import Box

ELSEWHERE = 255
_MAX_REGIONS = 1000


@dataclass(frozen=True)
class Region:
    """Where a quality holds: ``weight``, (H, W) float64 from 0 to 1, one for each place of y."""

    weight: np.ndarray
    quality: int


def read_regions(model: DictionaryCodec, regions: object, image: ImageData) -> list[Region]:
    """Check what a user asks for, and spread it over the places of y.

    Args:
        model: the codec, which needs gains.
        regions: pairs of a place and a whole quality from 0 to 100. A place is ``(x, y, width,
            height)`` in pixels, or a mask as large as the image (whatever
            :func:`~dictco_lib.images.read_image` takes): white stands for the quality, black for
            what holds elsewhere, grey for in between.
        image: what is to be coded.

    Raises:
        QualityError: if the model has one fixed rate, or a quality is not one.
        OptionError: if a place is none, or not inside the image.
    """
    if not regions:
        return []
    if not model.config.is_variable_rate:
        raise QualityError(
            f"model {model.config.name!r} has no gains, so its quality cannot vary by place; take "
            "a variable-rate model, or leave the regions out"
        )
    if not isinstance(regions, Sequence) or isinstance(regions, (str, bytes)):
        raise OptionError(f"regions is {quoted(regions)}, expected a list of (place, quality)")
    if len(regions) > _MAX_REGIONS:
        raise OptionError(f"got {len(regions)} regions, at most {_MAX_REGIONS}: give a mask")
    return [_region(region, image) for region in regions]


def _region(region: object, image: ImageData) -> Region:
    try:
        place, quality = region
    except (TypeError, ValueError):
        raise OptionError(f"got the region {quoted(region)}, expected (place, quality)") from None
    number = as_number(quality)
    if number is None or not 0 <= number <= 100 or number != int(number):
        raise QualityError(
            f"the quality of a region is {quoted(quality)}, expected a whole number from 0 to 100"
        )
    is_box = isinstance(place, Sequence) and not isinstance(place, (str, bytes))
    weight = _of_box(place, image.size) if is_box else _of_mask(place, image.size)
    return Region(weight, int(number))


def _of_box(place: Sequence, size: tuple[int, int]) -> np.ndarray:
    """1 at every place that the box touches."""
    box = [whole_number(side, "a side of the region") for side in place]
    expected = "expected x, y, width and height of a part of the image, which has"
    ok = len(box) == 4 and min(box) >= 0 and min(box[2:]) > 0
    ok = ok and box[0] + box[2] <= size[0] and box[1] + box[3] <= size[1]
    if not ok:
        raise OptionError(
            f"the region is {quoted(tuple(box))}, {expected} {size[0]}x{size[1]} pixels"
        )
    x, y, width, height = box
    weight = np.zeros(latent_shape(size))
    rows, columns = (
        slice(start // Y_STRIDE, -(-(start + length) // Y_STRIDE))
        for start, length in ((y, height), (x, width))
    )
    weight[rows, columns] = 1
    return weight


def _of_mask(place: object, size: tuple[int, int]) -> np.ndarray:
    """How white the mask is in the 16x16 pixels of every place."""
    mask = read_image(place)
    if mask.size != size:
        raise OptionError(
            f"the mask has {mask.size[0]}x{mask.size[1]} pixels, the image {size[0]}x{size[1]}; "
            "make them equal"
        )
    grey = mask.pixels.double().mean(0)[None, None]
    rows, columns = (Y_STRIDE * side for side in latent_shape(size))
    padding = (0, columns - size[0], 0, rows - size[1])
    grey = F.pad(grey, padding, mode="replicate")
    return F.avg_pool2d(grey, Y_STRIDE)[0, 0].numpy()


def quality_map(regions: Sequence[Region], quality: float) -> np.ndarray | None:
    """The map of a file whose header has this quality, (H, W) uint8; None without regions.

    Later regions lie on top of earlier ones.
    """
    if not regions:
        return None
    values = np.full(regions[0].weight.shape, float(quality))
    is_touched = np.zeros(values.shape, bool)
    for region in regions:
        values += region.weight * (region.quality - values)
        is_touched |= region.weight > 0
    return np.where(is_touched, values.round(), ELSEWHERE).astype(np.uint8)


def check_map(plane: np.ndarray, quality: float | None) -> None:
    """Raise BadHeader for a map that no encoder writes."""
    if quality is None:
        raise BadHeader("the file has a map of qualities and no quality; get the file again")
    if ((plane > 100) & (plane != ELSEWHERE)).any() or (plane == ELSEWHERE).all():
        raise BadHeader("the file's map holds what is no quality; get the file again")


def level_at(
    model: DictionaryCodec, quality: float | None, plane: np.ndarray | None, box: Box
) -> Tensor | None:
    """Levels of a tile: (1,) for one quality, (1, h, w) float64 where a map says more.

    Args:
        model: the codec.
        quality: that of the header.
        plane: the map of the whole image, if there is one.
        box: the tile.
    """
    if plane is None:
        return level_of(model, quality)
    top, left, bottom, right = box
    part = plane[top:bottom, left:right].astype(np.float64)
    part[part == ELSEWHERE] = quality
    device = next(model.parameters()).device
    return torch.from_numpy(part)[None].to(device) / 100 * (len(model.config.lmbdas) - 1)
