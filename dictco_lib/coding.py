"""Image <-> file: cut in tiles, code, pack; and the way back.

Images are worked on tile by tile, between their 8-bit samples and the bytes of the file: what
grows with the image is those two and, where several qualities are tried, its latent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dictco_lib.arguments import (
    check_codec,
    check_model,
    file_bytes,
    rate_of,
    whole_number,
    window_of,
)
from dictco_lib.bitstream import (
    Chunk,
    Container,
    Flag,
    latent_shape,
    pack,
    unpack,
    unpack_header,
)
from dictco_lib.checkpoints import fingerprint
from dictco_lib.chunks import (
    extra_chunks,
    flags_of,
    image_of,
    latent_chunks,
    latent_streams,
    map_of,
)
from dictco_lib.entropy.slices import Coder
from dictco_lib.entropy.streams import DecodingCoder, LatentStreams, Tables
from dictco_lib.errors import ImageError
from dictco_lib.images import ImageData, read_aloud, to_pil
from dictco_lib.limits import size_problem
from dictco_lib.models.codec import DictionaryCodec
from dictco_lib.regions import Region, level_at, quality_map, read_regions
from dictco_lib.tiles import (
    TILE,
    Box,
    analyse,
    cut,
    inside,
    synthesise,
    tile_boxes,
    tile_side,
    tiles_of,
    timed,
)


@dataclass(frozen=True)
class Encoded:
    """A .dco file in memory, and what it took to make it.

    ``bits`` maps header, z, each slice and the other chunks to their bits in the file; they add
    up to ``8 * len(data)``. ``seconds`` tells network and entropy coding apart.
    """

    data: bytes
    width: int
    height: int
    quality: float | None
    bits: dict[str, int]
    seconds: dict[str, float]

    @property
    def bpp(self) -> float:
        """Bits of the file per pixel of the image."""
        return 8 * len(self.data) / (self.width * self.height)


@dataclass(frozen=True)
class Tiled:
    """An image to encode, cut in tiles.

    ``shape`` is that of its latent, in which ``boxes`` are; ``extra`` are the chunks beside it.
    """

    image: ImageData
    shape: tuple[int, int]
    tile: int
    boxes: list[Box]
    extra: list[Chunk]
    regions: list[Region]


@dataclass(frozen=True)
class Latent(Tiled):
    """An image after the analysis transform: all of a file that no quality changes.

    ``y`` holds one latent (1, M, h, w) per box, together about 3 bytes per pixel for the model
    that ships; ``seconds`` is what the transform took.
    """

    y: list[Tensor]
    seconds: float


@torch.no_grad()
def encode(
    model: DictionaryCodec,
    image: object,
    quality: float | None = None,
    *,
    metadata: bool = False,
    fast: bool = False,
    tile: int = TILE,
    regions: Sequence = (),
) -> Encoded:
    """Compress an image.

    Args:
        model: a loaded codec.
        image: whatever :func:`dictco_lib.images.read_image` takes: a path, bytes, an
            open file, a PIL image, an array or a tensor. Alpha is kept without loss, colour
            profiles are kept; what is left out is named by a LossWarning.
        quality: 0-100; 50 if left out. Fixed-rate models take none.
        metadata: keep EXIF data, resolution and XMP too.
        fast: code in float32: quicker, but only this software on this machine reads it back.
        tile: side of a tile in latent samples, a multiple of 4.
        regions: where another quality holds: see :func:`dictco_lib.regions.read_regions`, as in
            ``[((x, y, width, height), 90)]``. A map of a few bytes tells the decoder.

    Raises:
        ImageError, QualityError, NotUpdatedError: as their names say; OptionError for another
            argument that is wrong.
    """
    check_codec(model)
    if quality is None and model.config.is_variable_rate:
        quality = 50.0
    quality, _ = rate_of(model, quality)  # a wrong quality is named before the work begins
    tiled = _tiled(model, image, metadata, tile, regions)
    plane = quality_map(tiled.regions, quality)
    seconds = {"network": 0.0, "entropy coding": 0.0}
    streams: list[LatentStreams] = []
    for box in tiled.boxes:
        with timed(model, seconds, "network"):
            y = _analyse(model, tiled.image, box)
        with timed(model, seconds, "entropy coding"):
            level = level_at(model, quality, plane, box)
            streams += model.latent_codec.compress(y, level, _precision(fast))
    return _file(model, tiled, streams, quality, plane, fast, seconds)


@torch.no_grad()
def to_latent(
    model: DictionaryCodec,
    image: object,
    metadata: bool = False,
    tile: int = TILE,
    regions: Sequence = (),
) -> Latent:
    """The first half of :func:`encode`, with its arguments: read, cut in tiles, analyse."""
    check_codec(model)
    tiled = _tiled(model, image, metadata, tile, regions)
    seconds, y = {"network": 0.0}, []
    for box in tiled.boxes:
        with timed(model, seconds, "network"):
            y.append(_analyse(model, tiled.image, box))
    return Latent(**vars(tiled), y=y, seconds=seconds["network"])


@torch.no_grad()
def code_latent(
    model: DictionaryCodec,
    latent: Latent,
    quality: float | None,
    fast: bool = False,
    *,
    keep: bool = True,
) -> tuple[Encoded, Tensor | None]:
    """The second half of :func:`encode`: one pass of the entropy model, and the file.

    Returns:
        The file, and the y_hat that a decoder will have, shape (1, M, H, W), or None if it is
        not to be kept: it takes as much memory as the latent.
    """
    seconds = {"network": latent.seconds, "entropy coding": 0.0}
    quality, _ = rate_of(model, quality)
    plane = quality_map(latent.regions, quality)
    y_hat = torch.empty(1, model.config.M, *latent.shape) if keep else None
    codec, streams = model.latent_codec, []
    for y, box in zip(latent.y, latent.boxes, strict=True):
        level = level_at(model, quality, plane, box)
        with timed(model, seconds, "entropy coding"):
            more, part = codec.compress_with_latent(y, level, _precision(fast), keep=keep)
        streams += more
        if keep:
            y_hat[inside(box)] = part
    return _file(model, latent, streams, quality, plane, fast, seconds), y_hat


def _tiled(
    model: DictionaryCodec, source: object, metadata: bool, tile: int, regions: Sequence
) -> Tiled:
    model.check_eval()
    tile = whole_number(tile, "tile")
    image = read_aloud(source, metadata)
    if problem := size_problem(*image.size):
        raise ImageError(f"the image has {problem}")
    shape = latent_shape(image.size)
    tile = tile_side(shape, tile)
    extra, places = extra_chunks(image, metadata), read_regions(model, regions, image)
    return Tiled(image, shape, tile, tile_boxes(shape, tile), extra, places)


def _analyse(model: DictionaryCodec, image: ImageData, box: Box) -> Tensor:
    y = analyse(model, image, box)
    if y.is_cuda:  # the call returned before the work was done
        torch.cuda.synchronize(y.device)
    return y


def _file(
    model: DictionaryCodec,
    tiled: Tiled,
    streams: list[LatentStreams],
    quality: float | None,
    plane: np.ndarray | None,
    fast: bool,
    seconds: dict[str, float],
) -> Encoded:
    width, height = tiled.image.size
    container = Container(
        fingerprint=fingerprint(model),
        width=width,
        height=height,
        quality=quality,
        flags=flags_of(tiled.image, fast),
        tile=tiled.tile,
        chunks=latent_chunks(streams, plane) + tiled.extra,
    )
    data = pack(container)
    bits: dict[str, int] = {"header": 0}
    for chunk in container.chunks:
        bits[chunk.label] = bits.get(chunk.label, 0) + 8 * len(chunk.data)
    bits["header"] = 8 * len(data) - sum(bits.values())
    return Encoded(data, width, height, quality, bits, seconds)


def decode(
    model: DictionaryCodec,
    source: object,
    *,
    slices: int | None = None,
    partial: bool = False,
    crop: tuple[int, int, int, int] | None = None,
) -> Image.Image:
    """Decompress a .dco file to a PIL image.

    Args:
        model: the codec that made the file.
        source: the file: bytes or the like, a path, an open binary file, or what :func:`encode`
            returned.
        slices: use only so many slices of the latent (progressive decoding).
        partial: accept a file that was cut off, and show what is there.
        crop: x, y, width and height of the part that is wanted, in pixels. Only the tiles that
            it touches, and those around them, are read and decoded.

    Returns:
        The image in its own mode: RGB, grey, 16-bit grey, with alpha and profile.

    Raises:
        BitstreamError: one of its kinds, if the file is not intact, or made by another model.
        OptionError: if another argument is wrong, such as a crop that is not inside.
    """
    return to_pil(decode_image(model, source, slices=slices, partial=partial, crop=crop)[0])


def decode_image(
    model: DictionaryCodec,
    source: object,
    *,
    slices: int | None = None,
    partial: bool = False,
    crop: tuple[int, int, int, int] | None = None,
) -> tuple[ImageData, dict[str, float]]:
    """Like :func:`decode`, but returns the samples and the seconds it took."""
    check_codec(model)
    seconds = {"entropy coding": 0.0, "network": 0.0}
    tiles = None if crop is None else _tiles_in(crop)
    with timed(model, seconds, "network"):
        with file_bytes(source, whole=crop is None) as data:
            container = unpack(data, partial=partial, tiles=tiles)
        window = window_of(crop, container)
        boxes = _boxes(container)
        wanted, shown = tiles_of(boxes, window)
        parts = _decoded(model, container, wanted, slices, partial, seconds)
        image = _synthesised(model, container, parts, [boxes[i] for i in shown], window)
    seconds["network"] -= seconds["entropy coding"]
    return image, seconds


def read_header(source: object) -> Container:
    """The header of a .dco file, without chunks; ``source`` as for :func:`decode`."""
    with file_bytes(source, whole=False) as data:
        return unpack_header(data)


def _tiles_in(crop: object) -> Callable[[Container], Collection[int]]:
    return lambda container: tiles_of(_boxes(container), window_of(crop, container))[0]


def _boxes(container: Container) -> list[Box]:
    return tile_boxes(latent_shape((container.width, container.height)), container.tile)


def _decoded(
    model: DictionaryCodec,
    container: Container,
    wanted: list[int],
    slices: int | None,
    partial: bool,
    seconds: dict[str, float],
    coder: Callable[[Tables, list[LatentStreams], tuple], Coder] = DecodingCoder,
) -> Iterator[tuple[Box, Tensor]]:
    """Some tiles of y_hat, (1, M, h, w), with their boxes, one after the other."""
    model.check_eval()
    check_model(model, container)
    slices = None if slices is None else whole_number(slices, "slices")
    boxes = _boxes(container)
    streams = latent_streams(container, len(boxes), len(model.config.groups), slices, partial)
    plane = map_of(container)
    dtype = _precision(bool(container.flags & Flag.FAST))
    for i in wanted:
        top, left, bottom, right = boxes[i]
        size = (bottom - top, right - left)
        level = level_at(model, container.quality, plane, boxes[i])
        with timed(model, seconds, "entropy coding"):
            y_hat = model.latent_codec.decompress([streams[i]], size, level, dtype, coder)
        yield boxes[i], y_hat


@torch.no_grad()
def decode_latent(
    model: DictionaryCodec,
    container: Container,
    *,
    slices: int | None = None,
    partial: bool = False,
    coder: Callable[[Tables, list[LatentStreams], tuple], Coder] = DecodingCoder,
) -> tuple[Tensor, list[Box]]:
    """The first half of :func:`decode_image`: everything that is entropy coded.

    Args:
        model: the codec that made the file.
        container: the file, unpacked.
        slices: use only so many slices of the latent.
        partial: accept slices that are not there.
        coder: makes the coder of each tile; the default proves what it reads.

    Returns:
        y_hat, shape (1, M, H, W), and the tiles' boxes in it.
    """
    boxes = _boxes(container)
    everything = list(range(len(boxes)))
    seconds = {"entropy coding": 0.0}
    y_hat = torch.empty(1, model.config.M, *latent_shape((container.width, container.height)))
    for box, part in _decoded(model, container, everything, slices, partial, seconds, coder):
        y_hat[inside(box)] = part
    return y_hat, boxes


def from_latent(
    model: DictionaryCodec, container: Container, y_hat: Tensor, boxes: list[Box]
) -> ImageData:
    """The second half of :func:`decode_image`: synthesis, and what lies beside."""
    window = window_of(None, container)
    return _synthesised(model, container, cut(y_hat, boxes), boxes, window)


@torch.no_grad()
def _synthesised(
    model: DictionaryCodec,
    container: Container,
    parts: Iterator[tuple[Box, Tensor]],
    boxes: list[Box],
    window: Box,
) -> ImageData:
    kind = bool(container.flags & Flag.GREY), bool(container.flags & Flag.SIXTEEN_BIT)
    size = (container.width, container.height)
    samples = synthesise(model, parts, boxes, size, kind, window)
    return image_of(container, samples, window)


def _precision(fast: bool) -> torch.dtype:
    return torch.float32 if fast else torch.float64
