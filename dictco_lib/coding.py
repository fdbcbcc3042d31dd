"""Image <-> file: pad, tile, code, pack; and the way back."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dictco_lib.bitstream import (
    MAX_PIXELS,
    MAX_SIDE,
    Chunk,
    ChunkType,
    Container,
    Flag,
    pack,
    unpack,
)
from dictco_lib.checkpoints import fingerprint
from dictco_lib.entropy.guard import pack_guard, unpack_guard
from dictco_lib.entropy.slices import Coder
from dictco_lib.entropy.streams import DecodingCoder, LatentStreams, Tables
from dictco_lib.errors import BadHeader, ImageError, Truncated, WrongModel
from dictco_lib.images import Picture, inflate, pack_plane, read_picture, to_pil, unpack_plane
from dictco_lib.models.codec import STRIDE, DictionaryCodec, pad_to_stride
from dictco_lib.tiles import (
    LATENT_STRIDE,
    TILE,
    Box,
    analyse,
    synthesise,
    tile_boxes,
    tile_side,
)

MAX_METADATA = 2**24


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
        """Bits of the file per pixel of the picture."""
        return 8 * len(self.data) / (self.width * self.height)


@dataclass(frozen=True)
class Latent:
    """A picture after the analysis transform: all of a file that no quality changes.

    ``y`` holds one latent (1, M, h, w) per box, together about 3 bytes per pixel for the model
    that ships; ``extra`` the chunks beside the latent, ``seconds`` what the transform took.
    """

    picture: Picture
    shape: tuple[int, int]
    tile: int
    boxes: list[Box]
    y: list[Tensor]
    extra: list[Chunk]
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
) -> Encoded:
    """Compress a picture.

    Args:
        model: a loaded codec.
        image: whatever :func:`dictco_lib.images.read_picture` takes: a path, PIL image, array
            or tensor. Alpha is kept without loss, colour profiles are kept.
        quality: 0-100; 50 if left out. Fixed-rate models take none.
        metadata: keep EXIF data too.
        fast: code in float32: quicker, but only this software on this machine reads it back.
        tile: side of a tile in latent samples, a multiple of 4.

    Raises:
        ImageError, QualityError, NotUpdatedError: as their names say.
    """
    if quality is None and model.config.is_variable_rate:
        quality = 50.0
    _level(model, quality)  # a wrong quality is named before the work begins
    return code_latent(model, to_latent(model, image, metadata, tile), quality, fast)[0]


@torch.no_grad()
def to_latent(
    model: DictionaryCodec, image: object, metadata: bool = False, tile: int = TILE
) -> Latent:
    """The first half of :func:`encode`, with its arguments: read, pad, analyse."""
    model.check_eval()
    picture = read_picture(image)
    if picture.size[0] * picture.size[1] > MAX_PIXELS or max(picture.size) > MAX_SIDE:
        raise ImageError(
            f"the picture has {picture.size[0]}x{picture.size[1]} pixels, a .dco file holds sides "
            f"up to {MAX_SIDE} and {MAX_PIXELS} pixels; cut it"
        )
    extra = _extra_chunks(picture, metadata)
    start = time.perf_counter()
    x = pad_to_stride(picture.pixels[None])
    shape = (x.shape[2] // LATENT_STRIDE, x.shape[3] // LATENT_STRIDE)
    tile = tile_side(shape, tile)
    boxes = tile_boxes(shape, tile)
    y = [analyse(model, x, box) for box in boxes]
    if y[0].is_cuda:  # the calls returned before the work was done
        torch.cuda.synchronize(y[0].device)
    seconds = time.perf_counter() - start
    return Latent(picture, shape, tile, boxes, y, extra, seconds)


@torch.no_grad()
def code_latent(
    model: DictionaryCodec, latent: Latent, quality: float | None, fast: bool = False
) -> tuple[Encoded, Tensor]:
    """The second half of :func:`encode`: one pass of the entropy model, and the file.

    Returns:
        The file, and the y_hat that a decoder will have, shape (1, M, H, W).
    """
    start = time.perf_counter()
    if quality is not None:
        quality = round(float(quality), 2)  # the file holds hundredths
    level = _level(model, quality)
    dtype = torch.float32 if fast else torch.float64
    y_hat = torch.empty(1, model.config.M, *latent.shape)
    streams = []
    for y, box in zip(latent.y, latent.boxes, strict=True):
        part, y_hat[_inside(box)] = model.latent_codec.compress_with_latent(y, level, dtype)
        streams += part
    width, height = latent.picture.size
    container = Container(
        fingerprint=fingerprint(model),
        width=width,
        height=height,
        quality=quality,
        flags=_flags(latent.picture, fast),
        tile=latent.tile,
        chunks=_latent_chunks(streams) + latent.extra,
    )
    data = pack(container)
    bits: dict[str, int] = {"header": 0}
    for chunk in container.chunks:
        bits[chunk.label] = bits.get(chunk.label, 0) + 8 * len(chunk.data)
    bits["header"] = 8 * len(data) - sum(bits.values())
    seconds = {"network": latent.seconds, "entropy coding": time.perf_counter() - start}
    return Encoded(data, width, height, quality, bits, seconds), y_hat


def decode(
    model: DictionaryCodec, data: bytes, *, slices: int | None = None, partial: bool = False
):
    """Decompress a .dco file to a PIL image.

    Args:
        model: the codec that made the file.
        data: the file's bytes.
        slices: use only so many slices of the latent (progressive decoding).
        partial: accept a file that was cut off, and show what is there.

    Returns:
        The picture in its own mode: RGB, grey, 16-bit grey, with alpha and profile.

    Raises:
        BitstreamError: one of its kinds, if the file is not intact, or made by another model.
    """
    return to_pil(decode_picture(model, data, slices=slices, partial=partial)[0])


def decode_picture(
    model: DictionaryCodec, data: bytes, *, slices: int | None = None, partial: bool = False
) -> tuple[Picture, dict[str, float]]:
    """Like :func:`decode`, but returns the float pixels and the seconds it took."""
    start = time.perf_counter()
    container = unpack(data, partial=partial)
    y_hat, boxes = decode_latent(model, container, slices=slices, partial=partial)
    middle = time.perf_counter()
    picture = from_latent(model, container, y_hat, boxes)
    seconds = {"entropy coding": middle - start, "network": time.perf_counter() - middle}
    return picture, seconds


@torch.no_grad()
def decode_latent(
    model: DictionaryCodec,
    container: Container,
    *,
    slices: int | None = None,
    partial: bool = False,
    coder: Callable[[Tables, list[LatentStreams], tuple], Coder] = DecodingCoder,
) -> tuple[Tensor, list[Box]]:
    """The first half of :func:`decode_picture`: everything that is entropy coded.

    Args:
        model: the codec that made the file.
        container: the file, unpacked.
        slices: use only so many slices of the latent.
        partial: accept slices that are not there.
        coder: makes the coder of each tile; the default proves what it reads.

    Returns:
        y_hat, shape (1, M, H, W), and the tiles' boxes in it.
    """
    model.check_eval()
    check_model(model, container)
    shape = tuple(
        -(-side // STRIDE) * STRIDE // LATENT_STRIDE for side in (container.height, container.width)
    )
    boxes = tile_boxes(shape, container.tile)
    streams = _latent_streams(container, len(boxes), len(model.config.groups), slices, partial)
    level = _level(model, container.quality)
    dtype = torch.float32 if container.flags & Flag.FAST else torch.float64
    y_hat = torch.empty(1, model.config.M, *shape)
    for box, stream in zip(boxes, streams, strict=True):
        top, left, bottom, right = box
        size = (bottom - top, right - left)
        y_hat[_inside(box)] = model.latent_codec.decompress([stream], size, level, dtype, coder)
    return y_hat, boxes


@torch.no_grad()
def from_latent(
    model: DictionaryCodec, container: Container, y_hat: Tensor, boxes: list[Box]
) -> Picture:
    """The second half of :func:`decode_picture`: synthesis, crop, and what lies beside."""
    x_hat = synthesise(model, y_hat, boxes)
    return _picture(container, x_hat[:, : container.height, : container.width].clamp(0, 1))


def check_model(model: DictionaryCodec, container: Container) -> None:
    """Raise WrongModel unless the file was made by this model."""
    own = fingerprint(model)
    if container.fingerprint != own:
        raise WrongModel(
            f"the file was made by model {container.fingerprint.hex()}, loaded is "
            f"{model.config.name!r} {own.hex()}; give the checkpoint that made it (--model)"
        )
    if (container.quality is None) == model.config.is_variable_rate:
        raise BadHeader("the file's quality does not fit the model's kind; get the file again")


def _level(model: DictionaryCodec, quality: float | None) -> Tensor | None:
    """The level of encoder and decoder alike, in float64: the gain of z depends on it."""
    weight = next(model.parameters())
    return model.level(quality, torch.empty(1, dtype=torch.float64, device=weight.device))


def _inside(box: Box) -> tuple[slice, ...]:
    """Where a tile lies in the latent of the whole picture."""
    top, left, bottom, right = box
    return slice(None), slice(None), slice(top, bottom), slice(left, right)


def _flags(picture: Picture, fast: bool) -> int:
    flags = Flag.GREY if picture.is_grey else 0
    flags |= Flag.SIXTEEN_BIT if picture.is_sixteen_bit else 0
    return flags | (Flag.FAST if fast else 0)


def _latent_chunks(streams: list[LatentStreams]) -> list[Chunk]:
    sums = np.array([s.sums for s in streams], "<u2").tobytes()
    chunks = [Chunk(ChunkType.SUMS, sums)]
    if any(s.guard for s in streams):
        chunks += [Chunk(ChunkType.GUARD, pack_guard(s.guard)) for s in streams]
    chunks += [Chunk(ChunkType.Z, s.z) for s in streams]
    for k in range(len(streams[0].slices)):
        chunks += [Chunk(ChunkType.SLICE + k, s.slices[k]) for s in streams]
    return chunks


def _extra_chunks(picture: Picture, metadata: bool) -> list[Chunk]:
    chunks = []
    if metadata and picture.is_exif_damaged:
        raise ImageError("the picture's EXIF data is damaged; encode without metadata")
    kept = {ChunkType.PROFILE: picture.profile, ChunkType.EXIF: picture.exif if metadata else None}
    for kind, data in kept.items():
        if data and len(data) > MAX_METADATA:
            raise ImageError(
                f"the picture's {kind.name.lower()} has {len(data)} bytes, a .dco file keeps up "
                f"to {MAX_METADATA}; remove it"
            )
        if data:
            chunks.append(Chunk(kind, zlib.compress(data, 9)))
    if picture.alpha is not None:
        chunks.append(Chunk(ChunkType.ALPHA, pack_plane(picture.alpha)))
    return chunks


def _latent_streams(
    container: Container, tiles: int, groups: int, wanted: int | None, partial: bool
) -> list[LatentStreams]:
    """Streams of each tile; slices that are not wanted or not there are left out everywhere."""
    sums = b"".join(container.of_type(ChunkType.SUMS))
    guards = container.of_type(ChunkType.GUARD) or [b""] * tiles
    z = container.of_type(ChunkType.Z)
    if len(sums) != 2 * tiles * (groups + 1) or len(z) != tiles or len(guards) != tiles:
        kind = Truncated if partial else BadHeader
        raise kind(
            f"the file holds z for {len(z)} of {tiles} tiles and {len(sums)} bytes of checksums; "
            "nothing can be shown before these are there: get the file again"
        )
    table = np.frombuffer(sums, "<u2").reshape(tiles, groups + 1).tolist()
    per_slice = [container.of_type(ChunkType.SLICE + k) for k in range(groups)]
    complete = next((k for k, data in enumerate(per_slice) if len(data) != tiles), groups)
    if complete < groups and not partial:
        raise BadHeader(f"slice {complete} is not complete; get the file again")
    if wanted is not None:
        if not 0 <= wanted <= groups:
            raise BadHeader(f"{wanted} slices were asked for, the model has 0 to {groups}")
        complete = min(complete, wanted)
    return [
        LatentStreams(
            z=z[t],
            slices=[per_slice[k][t] for k in range(complete)],
            sums=table[t],
            guard=unpack_guard(guards[t]),
        )
        for t in range(tiles)
    ]


def _picture(container: Container, pixels: Tensor) -> Picture:
    def inflated(kind: ChunkType) -> bytes | None:
        found = container.of_type(kind)
        return inflate(found[0], MAX_METADATA, kind.name.lower()) if found else None

    alpha = container.of_type(ChunkType.ALPHA)
    if alpha and container.flags & Flag.SIXTEEN_BIT:
        raise BadHeader(
            "the file says 16 bits and holds alpha, which no picture does; get it again"
        )
    return Picture(
        pixels,
        is_grey=bool(container.flags & Flag.GREY),
        is_sixteen_bit=bool(container.flags & Flag.SIXTEEN_BIT),
        alpha=unpack_plane(alpha[0], (container.width, container.height)) if alpha else None,
        profile=inflated(ChunkType.PROFILE),
        exif=inflated(ChunkType.EXIF),
    )
