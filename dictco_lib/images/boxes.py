"""Files made of boxes, AVIF, HEIF and JPEG 2000: depth and colours as their bytes say."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from dictco_lib.images.facts import Facts, not_square
from dictco_lib.images.meaning import from_cicp

_NESTED = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"jp2h": 0}  # bytes before the inner boxes
_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_JP2_COLOURS = {0: "bilevel", 12: "CMYK", 15: "bilevel", 16: "sRGB", 17: "grey", 18: "sYCC"}


def boxes(data: bytes, start: int = 0, stop: int | None = None) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each box; ends where a length makes no sense."""
    stop = len(data) if stop is None else stop
    while start + 8 <= stop:
        length, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if length == 1 and start + 16 <= stop:
            length, head = struct.unpack_from(">Q", data, start + 8)[0], 16
        length = length or stop - start
        if length < head or start + length > stop:
            return
        yield kind, data[start + head : start + length]
        start += length


def _first(data: bytes, kind: bytes) -> bytes:
    return next((content for name, content in boxes(data) if name == kind), b"")


def heif(data: bytes, is_cut: bool = True) -> Facts:
    """What an AVIF or HEIF file says of its primary image.

    Args:
        data: the file.
        is_cut: whether its reader gives only what the file wants shown (its clean aperture).
    """
    facts = Facts()
    meta = _first(data, b"meta")[_NESTED[b"meta"] :]
    iprp = _first(meta, b"iprp")
    properties = list(boxes(_first(iprp, b"ipco")))
    belongs = _associations(_first(iprp, b"ipma"))
    primary = _primary(_first(meta, b"pitm"))
    wanted = [primary, *_derived_from(_first(meta, b"iref"), primary)]
    mine = [properties[i - 1] for i in belongs.get(primary, ()) if 0 < i <= len(properties)]
    parts = [
        properties[i - 1] for w in wanted for i in belongs.get(w, ()) if 0 < i <= len(properties)
    ]
    depths = [depth for kind, content in parts for depth in _depths(kind, content)]
    if not depths:  # a sequence, or a layout of its own: the deepest configuration counts
        depths = [d for k in (b"av1C", b"hvcC", b"pixi") for d in _scan_depths(data, k)]
    facts.depth = max(depths, default=8)
    for kind, content in mine:
        if kind == b"colr" and content[:4] == b"nclx" and len(content) >= 11:
            facts.meaning = from_cicp(*struct.unpack_from(">HH", content, 4))
        elif kind == b"pasp" and len(content) >= 8:
            across, down = struct.unpack_from(">II", content)
            if across and down and across != down:
                facts.notes.append(not_square(across / down))
        elif kind == b"clap" and not is_cut:
            facts.notes.append("its crop (clean aperture) is left out, its whole is kept")
    _name_companions(facts, properties, meta)
    return facts


def _name_companions(facts: Facts, properties: list, meta: bytes) -> None:
    kinds = {item[8:12] for name, item in boxes(_first(meta, b"iinf")[6:]) if name == b"infe"}
    if b"tmap" in kinds:
        facts.notes.append("its HDR gain map is left out")
    auxiliary = {content[4:].split(b"\0")[0] for kind, content in properties if kind == b"auxC"}
    if others := auxiliary - set(_ALPHA):
        names = sorted({name.decode("latin-1").rsplit(":", 1)[-1] for name in others})
        facts.notes.append(f"its auxiliary images are left out ({', '.join(names)[:80]})")


def _primary(pitm: bytes) -> int:
    if len(pitm) < 6:
        return -1
    return struct.unpack_from(">I", pitm, 4)[0] if pitm[0] and len(pitm) >= 8 else (
        struct.unpack_from(">H", pitm, 4)[0]
    )  # fmt: skip


def _associations(ipma: bytes) -> dict[int, list[int]]:
    """Item -> numbers of its properties, from 1."""
    found: dict[int, list[int]] = {}
    try:
        version, is_wide = ipma[0], ipma[3] & 1
        count, at = struct.unpack_from(">I", ipma, 4)[0], 8
        for _ in range(count):
            item = struct.unpack_from(">I" if version else ">H", ipma, at)[0]
            at += 4 if version else 2
            number, at = ipma[at], at + 1
            form, mask = (">H", 0x7FFF) if is_wide else (">B", 0x7F)
            step = struct.calcsize(form)
            values = [struct.unpack_from(form, ipma, at + step * k)[0] for k in range(number)]
            found.setdefault(item, []).extend(v & mask for v in values)
            at += step * number
    except (IndexError, struct.error):
        pass  # damaged: what was found counts, and the reader has the last word
    return found


def _derived_from(iref: bytes, item: int) -> list[int]:
    """The items that a grid or an overlay is put together of."""
    form = ">I" if iref[:1] and iref[0] else ">H"
    step = struct.calcsize(form)
    for kind, content in boxes(iref[4:]):
        values = [v[0] for v in struct.iter_unpack(form, content[: step * (len(content) // step)])]
        if kind == b"dimg" and step == 2 and values[:1] == [item]:
            return values[2:]
        if kind == b"dimg" and step == 4 and values[:1] == [item]:
            count = struct.unpack_from(">H", content, 4)[0]
            return list(struct.unpack_from(f">{count}I", content, 6)) if (
                len(content) >= 6 + 4 * count
            ) else []  # fmt: skip
    return []


def _depths(kind: bytes, content: bytes) -> list[int]:
    if kind == b"pixi" and len(content) > 5:
        return list(content[5 : 5 + content[4]])
    if kind == b"av1C" and len(content) > 2:
        is_high, is_twelve = content[2] >> 6 & 1, content[2] >> 5 & 1
        return [12 if is_twelve else 10 if is_high else 8]
    if kind == b"hvcC" and len(content) > 18:
        return [8 + (content[17] & 7), 8 + (content[18] & 7)]
    return []


def _scan_depths(data: bytes, kind: bytes) -> list[int]:
    found, at = [], data.find(kind)
    while at >= 0:
        found += _depths(kind, data[at + 4 : at + 64])
        at = data.find(kind, at + 4)
    return found


def jpeg2000(data: bytes) -> Facts:
    """What a JP2 file or a bare codestream says."""
    facts = Facts()
    at = data.find(b"\xff\x4f\xff\x51")
    if at >= 0 and len(data) >= at + 42:
        count = struct.unpack_from(">H", data, at + 40)[0]
        sizes = data[at + 42 : at + 42 + 3 * count : 3]
        facts.depth = max(((s & 0x7F) + 1 for s in sizes), default=8)
        if any(s & 0x80 for s in sizes):
            facts.kind = "signed"
        if facts.depth < 8:  # Pillow moves the bits up here too, so that white is grey
            facts.refusal = f"JPEG 2000 samples of {facts.depth} bits; save it as PNG"
        if 8 < facts.depth < 16:  # Pillow moves the bits up, and leaves the low ones 0
            facts.white = (2**facts.depth - 1) << (16 - facts.depth)
    if data[:4] == b"\xff\x4f\xff\x51":
        return facts
    header = _first(data, b"jp2h")
    _jp2_colours(facts, _first(header, b"colr"))
    if (channels := _first(header, b"cdef")) and not _is_usual(channels):
        facts.refusal = (
            "JPEG 2000 channels in an order or of a kind (premultiplied alpha, unspecified) that "
            "Pillow does not heed; save it as PNG"
        )
    if any(kind == b"uuid" and content[:16] == _XMP_UUID for kind, content in boxes(data)):
        facts.unkept.append("XMP in a JPEG 2000 box")
    return facts


def _jp2_colours(facts: Facts, colour: bytes) -> None:
    """Heed the first of the boxes that say what the colours are; readers skip the others."""
    if colour[:1] in (b"\2", b"\3"):
        facts.profile = colour[3:]
    elif colour[:1] == b"\1" and len(colour) >= 7:
        number = struct.unpack_from(">I", colour, 3)[0]
        if number not in _JP2_COLOURS:
            facts.refusal = f"JPEG 2000 colour space {number}; convert it to sRGB first"
    elif colour:
        facts.refusal = f"JPEG 2000 colours by method {colour[0]}; convert it to sRGB first"


def _is_usual(channels: bytes) -> bool:
    """Colours in their order, and after them alpha for all of them, if any."""
    found = sorted(struct.iter_unpack(">HHH", channels[2 : 2 + 6 * ((len(channels) - 2) // 6)]))
    has_alpha = bool(found) and found[-1][1:] == (1, 0)
    colours = found[:-1] if has_alpha else found
    return all(channel == (i, 0, i + 1) for i, channel in enumerate(colours))
