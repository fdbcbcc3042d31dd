"""A .dco file byte by byte: its fields by name and as coloured hex; where to cut and to hurt it."""

from __future__ import annotations

import html
import itertools
from dataclasses import dataclass, replace

from dictco_lib.bitstream import ChunkType, Container, Flag, Span, chunk_label, unpack

#: Light backgrounds for black text, in the hues of the book's figures.
_TINTS = {
    "header": "#fbe3b0",
    "type": "#cfe9f8",
    "length": "#a9d4ee",
    "CRC32": "#f6c7d9",
    "chunk": "#bfe8d8",
}
_BYTES_A_LINE = 24
_CELL = "padding:0 3px;white-space:nowrap;color:black;background:"


@dataclass(frozen=True)
class Field:
    """A span of the file with what it says, and its kind: header, type, length, CRC32 or chunk."""

    name: str
    start: int
    stop: int
    meaning: str
    kind: str


def read_fields(data: bytes) -> list[Field]:
    """Every field of a .dco file in order, without gaps.

    Raises:
        BitstreamError: one of its kinds, if the file is not intact.
    """
    container = unpack(data)
    return [
        Field(s.name, s.start, s.stop, _meaning(s, data[s.start : s.stop], container), _kind(s))
        for s in container.spans
    ]


def _kind(span: Span) -> str:
    last = span.name.split()[-1]
    if span.name.startswith("row") or last == "CRC32":
        return last
    known = {chunk_label(kind) for kind in ChunkType if kind != ChunkType.SLICE}
    return "chunk" if span.name in known or span.name.startswith("slice") else "header"


def _meaning(span: Span, raw: bytes, container: Container) -> str:
    if span.name.startswith("row"):
        chunk = container.chunks[int(span.name.split()[1])]
        values = {"type": chunk.label, "length": f"{len(chunk.data)} bytes", "CRC32": raw.hex()}
        return values[_kind(span)]
    flags = ", ".join(flag.name.lower() for flag in Flag if container.flags & flag)
    quality = "fixed rate" if container.quality is None else f"{container.quality:g}"
    return {
        "magic": repr(raw)[2:-1],
        "version": str(raw[0]),
        "fingerprint": "which weights can read this",
        "width": f"{container.width} pixels",
        "height": f"{container.height} pixels",
        "quality": quality,
        "flags": flags or "none",
        "tile": f"{16 * container.tile} pixels a side" if container.tile else "the whole image",
        "number of chunks": str(len(container.chunks)),
        "header CRC32": raw.hex(),
    }.get(span.name, f"{len(raw)} bytes")


def hex_view(data: bytes, highlight: int | None = None, *, keep: int = 12) -> str:
    """HTML: the bytes in hex, each field in the colour of its kind and with its number, and a list.

    Args:
        data: a .dco file.
        highlight: number of a field to frame.
        keep: how many bytes of a long chunk to show.
    """
    fields = read_fields(data)
    cells = [(i, text) for i, field in enumerate(fields) for text in _cells(i, field, data, keep)]
    lines = [cells[i : i + _BYTES_A_LINE] for i in range(0, len(cells), _BYTES_A_LINE)]
    dump = "<br>".join(
        " ".join(
            _stretch(fields[i], " ".join(text for _, text in stretch), i == highlight)
            for i, stretch in itertools.groupby(line, key=lambda cell: cell[0])
        )
        for line in lines
    )
    rows = "".join(_row(i, field, i == highlight) for i, field in enumerate(fields))
    mono = "font-family:monospace;font-size:12px;line-height:1.9;white-space:nowrap;overflow-x:auto"
    return (
        f'<div style="{mono}">{dump}</div>'
        f'<div style="columns:3 220px;font-size:12px;margin-top:8px">{rows}</div>'
    )


def _cells(number: int, field: Field, data: bytes, keep: int) -> list[str]:
    """Texts of a field's bytes; the first one carries its number, a long one ends early."""
    raw = data[field.start : field.stop]
    shown = raw if len(raw) <= 2 * keep else raw[:keep]
    texts = [f"{byte:02x}" for byte in shown]
    if texts:
        texts[0] = f"<sup>{number}</sup>{texts[0]}"
    return texts + ([f"… {len(raw) - keep} more"] if len(shown) < len(raw) else [])


def _stretch(field: Field, text: str, is_marked: bool) -> str:
    """Bytes of one field on one line."""
    tip = html.escape(f"{field.name}: {field.meaning}", quote=True)
    frame = ";outline:2px solid black;font-weight:bold" if is_marked else ""
    return f'<span title="{tip}" style="{_CELL}{_TINTS[field.kind]}{frame}">{text}</span>'


def _row(number: int, field: Field, is_marked: bool) -> str:
    name = html.escape(f"{number} {field.name}")
    label = f'<span style="{_CELL}{_TINTS[field.kind]}">{name}</span> {html.escape(field.meaning)}'
    return f"<div>{f'<b>{label}</b> &#9664;' if is_marked else label}</div>"


def prefix(data: bytes, slices: int) -> bytes:
    """The file cut off after so many slices; ``decode(…, partial=True)`` still shows it."""
    last = f"slice {slices - 1}" if slices else "z"
    return data[: max(f.stop for f in read_fields(data) if f.name == last)]


def flip_bit(data: bytes, bit: int) -> bytes:
    """The same bytes with one bit turned over; bits count from the lowest of the first byte."""
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def damage_chunk(container: Container, kind: int, bit: int) -> Container:
    """A container whose first chunk of a type has one bit turned over, all CRCs made right."""
    chunks = list(container.chunks)
    i = next(i for i, chunk in enumerate(chunks) if chunk.type == kind)
    chunks[i] = replace(chunks[i], data=flip_bit(chunks[i].data, bit))
    return replace(container, chunks=chunks)
