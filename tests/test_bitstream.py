"""The container: round trip, and every kind of damage to its named error."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dictco_lib import bitstream
from dictco_lib.bitstream import (
    MAX_CHUNKS,
    Chunk,
    ChunkType,
    Container,
    pack,
    unpack,
)
from dictco_lib.errors import (
    BadChecksum,
    BadHeader,
    BadMagic,
    BadVersion,
    BitstreamError,
    Truncated,
)
from dictco_lib.plain import PlainFile, pack_plain, unpack_plain


def container(**changes) -> Container:
    values = {
        "fingerprint": b"12345678",
        "width": 301,
        "height": 203,
        "quality": 61.25,
        "flags": 1,
        "tile": 0,
        "chunks": [
            Chunk(ChunkType.SUMS, b"sumsum"),
            Chunk(ChunkType.Z, b"z" * 40),
            Chunk(ChunkType.SLICE, b"first" * 40),
            Chunk(ChunkType.SLICE + 1, b"last"),
        ],
    }
    return Container(**values | changes)


def test_everything_comes_back():
    data = pack(container())
    again = unpack(data)
    assert again == container(header_bytes=again.header_bytes)
    assert len(data) == again.header_bytes + 250
    assert unpack(pack(container(quality=None))).quality is None


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 2**14), st.integers(1, 2**14))
def test_any_header_comes_back(quality, width, height):
    again = unpack(pack(container(quality=quality / 100, width=width, height=height)))
    assert (again.quality, again.width, again.height) == (quality / 100, width, height)


def test_every_truncation_is_named():
    data = pack(container())
    for end in range(len(data)):
        with pytest.raises((Truncated, BadMagic)):
            unpack(data[:end])
    with pytest.raises(Truncated, match="bytes early"):
        unpack(data[:-1])


def test_a_cut_file_gives_its_complete_chunks_on_request():
    data = pack(container())
    kinds = [chunk.type for chunk in unpack(data[:-100], partial=True).chunks]
    assert kinds == [ChunkType.SUMS, ChunkType.Z]


def test_every_flipped_bit_is_found():
    data = bytearray(pack(container()))
    for i in range(len(data)):
        data[i] ^= 1 << i % 8
        with pytest.raises(BitstreamError):
            unpack(bytes(data))
        data[i] ^= 1 << i % 8
    unpack(bytes(data))


def test_a_flipped_payload_bit_names_its_chunk():
    data = bytearray(pack(container()))
    data[-5] ^= 1
    with pytest.raises(BadChecksum, match="slice 0"):
        unpack(bytes(data))


def test_foreign_files_and_other_versions_are_named():
    with pytest.raises(BadMagic, match="dictco compress"):
        unpack(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(BadMagic):
        unpack(b"")
    data = bytearray(pack(container()))
    data[4] = 9
    with pytest.raises(BadVersion, match="version 9"):
        unpack(bytes(data))


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 0},
        {"width": 2**31},
        {"width": 2**16, "height": 2**16},
        {"flags": 0x80},
        {"quality": 100.01},
        {"chunks": [Chunk(ChunkType.Z, b"")] * (MAX_CHUNKS + 1)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_absurd_headers_are_neither_written_nor_read(monkeypatch, changes):
    with pytest.raises(BadHeader):
        pack(container(**changes))
    with monkeypatch.context() as patch:
        patch.setattr(bitstream, "_check_header", lambda *header: None)
        data = pack(container(**changes))
    with pytest.raises(BadHeader):
        unpack(data)


def test_an_absurd_chunk_length_is_truncation():
    chunks = container().chunks
    sums = Chunk(ChunkType.SUMS, b"sums")
    data = pack(container(chunks=[sums, chunks[1], Chunk(ChunkType.SLICE, bytes(2**20))]))
    with pytest.raises(Truncated):
        unpack(data[:1000])


def test_unknown_chunks_and_left_over_bytes_are_refused():
    with pytest.raises(BadHeader, match="unknown chunk type 9"):
        unpack(pack(container(chunks=[Chunk(9, b"?")])))
    with pytest.raises(BitstreamError, match="follow"):
        unpack(pack(container()) + b"x")


def test_plain_files_round_trip_and_name_their_damage():
    file = PlainFile(203, 301, b"y" * 77, b"z" * 5)
    data = pack_plain(file)
    assert data[:8] == (203).to_bytes(2, "big") + (301).to_bytes(2, "big") + (77).to_bytes(4, "big")
    assert unpack_plain(data) == file
    with pytest.raises(Truncated):
        unpack_plain(data[:-1])
    with pytest.raises(BadHeader, match="follow"):
        unpack_plain(data + b"x")
    with pytest.raises(BadHeader):
        pack_plain(PlainFile(70_000, 1, b"", b""))
