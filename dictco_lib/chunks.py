"""What lies in the chunks of a .dco file: streams of tiles, alpha, profile and EXIF."""

from __future__ import annotations

import zlib

import numpy as np

from dictco_lib.bitstream import Chunk, ChunkType, Container, Flag, latent_shape
from dictco_lib.entropy.guard import pack_guard, unpack_guard
from dictco_lib.entropy.streams import LatentStreams
from dictco_lib.errors import BadHeader, ImageError, Truncated
from dictco_lib.images import ImageData, inflate, pack_plane, unpack_plane
from dictco_lib.regions import check_map
from dictco_lib.tiles import Box

MAX_METADATA = 2**24


def flags_of(image: ImageData, fast: bool) -> int:
    """The header's flags."""
    flags = Flag.GREY if image.is_grey else 0
    flags |= Flag.SIXTEEN_BIT if image.is_sixteen_bit else 0
    flags |= Flag.EQUAL if image.is_rgb else 0
    return flags | (Flag.FAST if fast else 0)


def latent_chunks(streams: list[LatentStreams], plane: np.ndarray | None = None) -> list[Chunk]:
    """The streams of all tiles and a map of qualities, in the order of the container."""
    sums = np.array([s.sums for s in streams], "<u2").tobytes()
    chunks = [Chunk(ChunkType.SUMS, sums)]
    if any(s.guard for s in streams):
        chunks += [Chunk(ChunkType.GUARD, pack_guard(s.guard)) for s in streams]
    if plane is not None:
        chunks.append(Chunk(ChunkType.MAP, pack_plane(plane)))
    chunks += [Chunk(ChunkType.Z, s.z) for s in streams]
    for k in range(len(streams[0].slices)):
        chunks += [Chunk(ChunkType.SLICE + k, s.slices[k]) for s in streams]
    return chunks


def extra_chunks(image: ImageData, metadata: bool) -> list[Chunk]:
    """Alpha and profile, and EXIF if ``metadata`` is kept.

    Raises:
        ImageError: if no decoder would accept them.
    """
    chunks = []
    if metadata and image.is_exif_damaged:
        raise ImageError("the image's EXIF data is damaged; encode without metadata")
    kept = {ChunkType.PROFILE: image.profile, ChunkType.EXIF: image.exif if metadata else None}
    for kind, data in kept.items():
        if data and len(data) > MAX_METADATA:
            raise ImageError(
                f"the image's {kind.name.lower()} has {len(data)} bytes, a .dco file keeps up "
                f"to {MAX_METADATA}; remove it"
            )
        if data:
            chunks.append(Chunk(kind, zlib.compress(data, 9)))
    if image.alpha is not None:
        chunks.append(Chunk(ChunkType.ALPHA, pack_plane(image.alpha)))
    return chunks


def latent_streams(
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


def map_of(container: Container) -> np.ndarray | None:
    """The map of qualities, (H, W) uint8 over the places of y; None where there is none."""
    found = container.of_type(ChunkType.MAP)
    if not found:
        return None
    rows, columns = latent_shape((container.width, container.height))
    plane = unpack_plane(found[0], (columns, rows))
    check_map(plane, container.quality)
    return plane


def image_of(container: Container, samples: np.ndarray, window: Box) -> ImageData:
    """The decoded window of an image, with what lies beside the colours."""

    def inflated(kind: ChunkType) -> bytes | None:
        found = container.of_type(kind)
        return inflate(found[0], MAX_METADATA, kind.name.lower()) if found else None

    alpha = container.of_type(ChunkType.ALPHA)
    if alpha and container.flags & Flag.SIXTEEN_BIT:
        raise BadHeader("the file says 16 bits and holds alpha, which no image does; get it again")
    size = (container.width, container.height)
    return ImageData(
        samples,
        is_grey=bool(container.flags & Flag.GREY),
        is_sixteen_bit=bool(container.flags & Flag.SIXTEEN_BIT),
        alpha=unpack_plane(alpha[0], size, window) if alpha else None,
        profile=inflated(ChunkType.PROFILE),
        exif=inflated(ChunkType.EXIF),
        is_rgb=bool(container.flags & Flag.EQUAL),
    )
