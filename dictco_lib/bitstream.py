"""The .dco container: bytes <-> structure. Knows no model.

Layout of a .dco file, integers little-endian, ``v`` a LEB128 variable-length integer::

    magic 4 | version 1 | fingerprint 8 | width v | height v | quality 2 | flags 1 | tile v
    | number of chunks v | table: (type 1, length v, CRC32 4) per chunk | header CRC32 4
    | the chunks' bytes, in table order

``quality`` counts hundredths; 0xFFFF stands for a fixed-rate model. ``tile`` is the side of a
tile in latent samples (16 pixels); 0 stands for a single tile. Chunks come in this order, those
of tiles in tile order: the sums, the guards of all tiles or none, a map of qualities where they
vary by place, all z, then slice 0 of all tiles, and so on; then what lies beside the latent, each
at most once. Any prefix of the file past z decodes to a coarser image. What no encoder writes is
refused: it hides bytes, or costs time.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from dictco_lib.config import Y_STRIDE, Z_STRIDE
from dictco_lib.errors import (
    BadChecksum,
    BadHeader,
    BadMagic,
    BadVersion,
    BitstreamError,
    Truncated,
)
from dictco_lib.limits import MAX_PIXELS_VARIABLE, MAX_SIDE, max_pixels

MAGIC = b"DCO\x1a"
VERSION = 1
MAX_CHUNKS = 2**16
FIXED_RATE = 0xFFFF
GUARD_BYTES = 6  # of a bin of the guard
_WORD = 4  # streams are made of words of 32 bits, at least one
_GET_AGAIN = "get the file again"


class Sliceable(Protocol):
    """Bytes, or what gives them piece by piece: ``len(x)`` and ``x[start:stop]``."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice) -> bytes: ...


class ChunkType(IntEnum):
    """What a chunk holds; slice k has type ``SLICE + k``."""

    Z = 1
    GUARD = 2
    SUMS = 3
    ALPHA = 4
    PROFILE = 5
    EXIF = 6
    MAP = 7  # of qualities: see dictco_lib/regions.py
    SLICE = 16


class Flag(IntEnum):
    """Bits that say how the image is given back."""

    GREY = 1
    SIXTEEN_BIT = 2
    FAST = 4  # coded in float32: to be read back by the same software on the same machine
    EQUAL = 8  # with GREY: given back as three equal channels, as it came


def chunk_label(kind: int) -> str:
    """Name of a chunk type for people."""
    if kind >= ChunkType.SLICE:
        return f"slice {kind - ChunkType.SLICE}"
    return ChunkType(kind).name.lower()


@dataclass(frozen=True)
class Chunk:
    """A typed piece of the file."""

    type: int
    data: bytes

    @property
    def label(self) -> str:
        """Name for people."""
        return chunk_label(self.type)


@dataclass(frozen=True)
class Span:
    """A named piece of a file: bytes ``start`` to ``stop``."""

    name: str
    start: int
    stop: int


@dataclass
class Container:
    """A .dco file in memory; :func:`unpack` says where each field lay."""

    fingerprint: bytes
    width: int
    height: int
    quality: float | None
    flags: int = 0
    tile: int = 0
    chunks: list[Chunk] = field(default_factory=list)
    header_bytes: int = 0
    spans: list[Span] = field(default_factory=list, compare=False)

    def of_type(self, kind: int) -> list[bytes]:
        """Data of all chunks of a type, in order."""
        return [chunk.data for chunk in self.chunks if chunk.type == kind]


def pack(container: Container) -> bytes:
    """Bytes of a .dco file.

    Raises:
        BadHeader: if a number of the header is one that :func:`unpack` refuses; the chunks are
            taken as they are.
    """
    quality = FIXED_RATE if container.quality is None else round(container.quality * 100)
    _check_header(
        container.width, container.height, quality, container.flags, len(container.chunks)
    )
    header = b"".join(
        [
            MAGIC,
            bytes([VERSION]),
            container.fingerprint,
            _varint(container.width),
            _varint(container.height),
            struct.pack("<HB", quality, container.flags),
            _varint(container.tile),
            _varint(len(container.chunks)),
        ]
        + [
            bytes([c.type]) + _varint(len(c.data)) + struct.pack("<I", zlib.crc32(c.data))
            for c in container.chunks
        ]
    )
    crc = struct.pack("<I", zlib.crc32(header))
    return b"".join([header, crc, *(chunk.data for chunk in container.chunks)])


def unpack(
    data: Sliceable,
    *,
    partial: bool = False,
    tiles: Callable[[Container], Collection[int]] | None = None,
) -> Container:
    """Read a .dco file, checking every bound before anything is allocated.

    Args:
        data: the file: bytes, or what gives them piece by piece.
        partial: accept a file that ends early, and leave out what is not complete.
        tiles: tells from the header which tiles are wanted; all if left out. Chunks of other
            tiles are neither read nor checked: they come out empty.

    Raises:
        BadMagic, BadVersion, BadHeader, BadChecksum, Truncated: as their names say.
    """
    reader = Reader(data)
    container, table = _read_header(reader)
    wanted = None if tiles is None else frozenset(tiles(container))
    container.chunks = _read_chunks(reader, table, partial, wanted)
    container.spans = reader.spans
    return container


def unpack_header(data: Sliceable) -> Container:
    """Like :func:`unpack`, but without chunks: what comes behind the header is not looked at."""
    return _read_header(Reader(data))[0]


def _read_header(reader: Reader) -> tuple[Container, list[tuple[int, int, int]]]:
    """The header, and per chunk its type, length and CRC32."""
    magic = reader.data[: len(MAGIC)]
    if not magic or magic != MAGIC[: len(magic)]:
        raise BadMagic(
            f"the file begins with {magic!r}, a .dco file with {MAGIC!r}; "
            "give a file made by `dictco compress`"
        )
    reader.take(len(MAGIC), "magic")
    version = reader.byte("version")
    if version != VERSION:
        raise BadVersion(
            f"the file has format version {version}, this library reads {VERSION}; "
            "decode it with the dictco_lib that wrote it"
        )
    fingerprint = reader.take(8, "fingerprint")
    width, height = reader.varint("width"), reader.varint("height")
    quality = struct.unpack("<H", reader.take(2, "quality"))[0]
    flags, tile = reader.byte("flags"), reader.varint("tile")
    count = reader.varint("number of chunks")
    _check_header(width, height, quality, flags, count)
    table = []
    for i in range(count):
        kind, length = reader.byte(f"row {i} type"), reader.varint(f"row {i} length")
        table.append((kind, length, reader.crc(f"row {i} CRC32")))
    crc = zlib.crc32(reader.data[: reader.at])
    if reader.crc("header CRC32") != crc:
        raise BadChecksum(f"the header does not match its checksum; {_GET_AGAIN}")
    _check_table(table, _tiles(width, height, tile))
    container = Container(
        fingerprint=fingerprint,
        width=width,
        height=height,
        quality=None if quality == FIXED_RATE else quality / 100,
        flags=flags,
        tile=tile,
        header_bytes=reader.at,
    )
    return container, table


def _check_header(width: int, height: int, quality: int, flags: int, count: int) -> None:
    most = max_pixels()
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= most):
        raise BadHeader(
            f"the header says {width}x{height} pixels, expected sides from 1 to {MAX_SIDE} and at "
            f"most {most} pixels; {_GET_AGAIN}, or raise the limit ({MAX_PIXELS_VARIABLE})"
        )
    if quality > 10_000 and quality != FIXED_RATE:
        raise BadHeader(f"the header says quality {quality / 100}, expected 0-100; {_GET_AGAIN}")
    if flags & ~sum(Flag):
        raise BadHeader(f"the header has unknown flags {flags:#x}; update dictco_lib")
    if flags & Flag.EQUAL and flags & (Flag.GREY | Flag.SIXTEEN_BIT) != Flag.GREY:
        raise BadHeader(f"the header's flags {flags:#x} contradict each other; {_GET_AGAIN}")
    if flags & Flag.SIXTEEN_BIT and not flags & Flag.GREY:
        raise BadHeader(f"the header says 16 bits of colour, expected grey; {_GET_AGAIN}")
    if count > MAX_CHUNKS:
        raise BadHeader(
            f"the header says {count} chunks, expected at most {MAX_CHUNKS}; {_GET_AGAIN}, or "
            "encode with larger tiles"
        )


def latent_shape(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the latent of an image of this width and height."""
    width, height = size
    return tuple(-(-side // Z_STRIDE) * Z_STRIDE // Y_STRIDE for side in (height, width))


def is_one_tile(shape: tuple[int, int], tile: int) -> bool:
    """Whether encoders make one tile of a latent of this shape: it is not much larger than one."""
    return shape[0] * shape[1] <= tile * tile * 3 // 2


def _tiles(width: int, height: int, tile: int) -> int:
    """How many tiles an image has; BadHeader for a side that no encoder chooses."""
    down, across = latent_shape((width, height))
    if tile % 4 or (tile and is_one_tile((down, across), tile)):
        raise BadHeader(
            f"the header says tiles of {tile} latent samples in a latent of {down}x{across}, where "
            f"encoders make no such tiles; {_GET_AGAIN}"
        )
    return -(-down // tile) * -(-across // tile) if tile else 1


def _check_table(table: list[tuple[int, int, int]], tiles: int) -> None:
    """Raise BadHeader unless these are the chunks that encoders write, in their order."""
    kinds = [kind for kind, _, _ in table]
    if unknown := sorted({kind for kind in kinds if kind < ChunkType.SLICE} - set(ChunkType)):
        raise BadHeader(f"unknown chunk type {unknown[0]}; update dictco_lib")
    slices = len({kind for kind in kinds if kind >= ChunkType.SLICE})
    guards = tiles * (ChunkType.GUARD in kinds)
    maps = int(ChunkType.MAP in kinds)
    if 1 + guards + maps + tiles * (1 + slices) > len(kinds) or not slices:
        raise BadHeader(
            f"the file has {len(kinds)} chunks, too few for {tiles} tiles of {slices} slices; "
            f"{_GET_AGAIN}"
        )
    wanted = [ChunkType.SUMS, *[ChunkType.GUARD] * guards, *[ChunkType.MAP] * maps]
    wanted += [ChunkType.Z] * tiles
    wanted += [ChunkType.SLICE + k for k in range(slices) for _ in range(tiles)]
    extra = set(ChunkType) - {*wanted, ChunkType.GUARD, ChunkType.MAP, ChunkType.SLICE}
    for i, (kind, length, _) in enumerate(table):
        if i < len(wanted) and kind != wanted[i] or i >= len(wanted) and kind not in extra:
            raise BadHeader(f"chunk {i} is {chunk_label(kind)!r} out of place; {_GET_AGAIN}")
        extra.discard(kind)
        if not _is_length(kind, length, 2 * tiles * (slices + 1)):
            raise BadHeader(
                f"chunk {chunk_label(kind)!r} has {length} bytes, which no encoder writes; "
                f"{_GET_AGAIN}"
            )
    if guards and not any(length for kind, length, _ in table if kind == ChunkType.GUARD):
        raise BadHeader(f"the file has guards that guard nothing; {_GET_AGAIN}")


def _is_length(kind: int, length: int, sums: int) -> bool:
    """Whether a chunk can have so many bytes."""
    if kind == ChunkType.SUMS:
        return length == sums
    if kind == ChunkType.GUARD:
        return length % GUARD_BYTES == 0
    if kind == ChunkType.Z or kind >= ChunkType.SLICE:
        return length > 0 and length % _WORD == 0
    return length > 0


def _read_chunks(
    reader: Reader, table: list, partial: bool, wanted: frozenset[int] | None
) -> list[Chunk]:
    needed = sum(length for _, length, _ in table)
    left = len(reader.data) - reader.at
    if left < needed and not partial:
        raise Truncated(
            f"the file ends {needed - left} bytes early ({len(reader.data)} of "
            f"{reader.at + needed}); {_GET_AGAIN}, or decode what is there with --partial"
        )
    if left > needed:
        raise BitstreamError(f"{left - needed} bytes follow the last chunk; {_GET_AGAIN}")
    chunks = []
    seen: Counter[int] = Counter()
    for kind, length, crc in table:
        if len(reader.data) - reader.at < length:
            break
        number, seen[kind] = seen[kind], seen[kind] + 1
        is_of_tile = kind in (ChunkType.Z, ChunkType.GUARD) or kind >= ChunkType.SLICE
        if wanted is not None and is_of_tile and number not in wanted:
            reader.at += length
            chunks.append(Chunk(kind, b""))
            continue
        chunk = Chunk(kind, reader.take(length, chunk_label(kind)))
        if zlib.crc32(chunk.data) != crc:
            raise BadChecksum(f"chunk {chunk.label!r} does not match its checksum; {_GET_AGAIN}")
        chunks.append(chunk)
    return chunks


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class Reader:
    """Walks through a file, and notes what it was told it reads."""

    def __init__(self, data: Sliceable) -> None:
        self.data = data
        self.at = 0
        self.spans: list[Span] = []

    def take(self, n: int, name: str = "") -> bytes:
        """The next n bytes, noted as ``name``; Truncated if there are fewer."""
        if self.at + n > len(self.data):
            raise Truncated(
                f"the file ends at byte {len(self.data)}, at least {self.at + n} were expected; "
                f"{_GET_AGAIN}"
            )
        self.at += n
        self.spans.append(Span(name, self.at - n, self.at))
        return self.data[self.at - n : self.at]

    def byte(self, name: str) -> int:
        """The next byte."""
        return self.take(1, name)[0]

    def crc(self, name: str) -> int:
        """The next four bytes, a checksum."""
        return struct.unpack("<I", self.take(4, name))[0]

    def varint(self, name: str) -> int:
        """The next LEB128 number, in its shortest form."""
        start, value = self.at, 0
        for i in range(5):
            byte = self.byte(name)
            value |= (byte & 0x7F) << 7 * i
            if byte < 0x80:
                if not byte and i:
                    raise BadHeader(f"a number in the header is written too long; {_GET_AGAIN}")
                self.spans[-1 - i :] = [Span(name, start, self.at)]
                return value
        raise BadHeader(f"a number in the header has more than 5 bytes; {_GET_AGAIN}")
