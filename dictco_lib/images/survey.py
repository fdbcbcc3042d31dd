"""What each kind of file says of itself, read from its own bytes and not from its reader."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from PIL import Image, ImageFile

from dictco_lib.images.boxes import heif, jpeg2000
from dictco_lib.images.facts import Facts, not_square
from dictco_lib.images.icc import Curve
from dictco_lib.images.meaning import Meaning, from_cicp, from_png, from_tiff

_HEAD = 2**16
_PNG_MARK = b"\x89PNG\r\n\x1a\n"


def survey(image: Image.Image) -> Facts:
    """Read what the file behind an image says; an image without one is what it holds.

    A file of a format that is not in :data:`READERS` is refused: nobody looked what it loses.
    """
    if not isinstance(image, ImageFile.ImageFile) or image.format is None:
        return Facts()
    if image.format not in READERS:
        return Facts(
            refusal=f"format {image.format}, of which this library does not know what would be "
            "lost; save it as PNG"
        )
    with _bytes_of(image) as file:
        return READERS[image.format](image, file)


@contextmanager
def _bytes_of(image: ImageFile.ImageFile) -> Iterator[BinaryIO]:
    """The file that an image came from, from its start; an empty one once it is gone."""
    name = image.filename
    if name and os.path.isfile(name):
        with open(name, "rb") as file:
            yield file
        return
    file = getattr(image, "fp", None)
    try:
        before = file.tell()
        file.seek(0)
    except (AttributeError, OSError, ValueError):  # loaded and closed
        yield io.BytesIO()  # what the image itself remembers, the tags of a TIFF, still counts
        return
    try:
        yield file
    finally:
        file.seek(before)


def _png(image: ImageFile.ImageFile, file: BinaryIO) -> Facts:
    facts = Facts()
    if file.read(8) != _PNG_MARK:
        return facts
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        data = file.read(length) if length <= 64 else b""
        file.seek(length - len(data) + 4, os.SEEK_CUR)
        if kind == b"IHDR" and len(data) >= 10:
            facts.depth = data[8] if data[9] != 3 else 8  # of a palette, the colours have 8
            if data[9] == 0 and data[8] in (2, 4):
                facts.transparent_scale = 255 // (2 ** data[8] - 1)
        elif kind == b"cICP" and len(data) >= 4:
            facts.meaning = from_cicp(data[0], data[1], is_first=True)
            if not data[3]:
                facts.refusal = "colours of narrow range (cICP); expand them to full range first"
        elif kind == b"gmAP":
            facts.notes.append("its HDR gain map is left out")
        elif kind == b"caBX":
            facts.unkept.append("content credentials")
        elif kind == b"IEND":
            break
    facts.depth = max(facts.depth, 8)
    return facts


def _jpeg(image: ImageFile.ImageFile, file: BinaryIO) -> Facts:
    facts = Facts()
    xmp = image.info.get("xmp") or b""
    if b"hdrgm:Version" in xmp or b"hdr-gain-map" in xmp or b"HDRGainMap" in xmp:
        facts.notes.append("its HDR gain map is left out")
    if b"MotionPhoto=" in xmp or b"MicroVideo=" in xmp or b"<GCamera:MotionPhoto>" in xmp:
        facts.notes.append("its film (motion photo) is left out")
    if b"HasExtendedXMP" in xmp:
        facts.notes.append("its extended XMP (depth map or the like) is left out")
    if (frames := getattr(image, "n_frames", 1)) > 1:
        facts.notes.append(
            f"its {frames - 1} further images (previews, depth, gain map or second view) are "
            "left out"
        )
    return facts


def _tiff(image: ImageFile.ImageFile, file: BinaryIO) -> Facts:
    tags = image.tag_v2
    facts = Facts(meaning=from_tiff(tags))
    bits, formats = tags.get(258, (1,)), tags.get(339, (1,))
    facts.depth = max(8, *bits)
    kinds = {1: "unsigned", 2: "signed", 3: "float", 4: "unsigned"}
    facts.kind = next((kinds.get(f, "complex") for f in formats if f != 1), "unsigned")
    facts.is_inverted = tags.get(262) == 0 and facts.depth > 8
    if facts.depth == 12:
        facts.white = 4095
    extra = tuple(tags.get(338, ()))
    if any(e == 0 for e in extra) or len(extra) > 1:
        facts.refusal = (
            f"{len(extra)} extra channels that are no alpha, and would be lost; save the colours "
            "alone, and the channels as images of their own"
        )
    if tags.get(284) == 2 and tags.get(277) == 2:  # Pillow takes a wrong plane for the alpha
        facts.refusal = "grey and alpha in planes of their own (planar TIFF); save it as PNG"
    if 50706 in tags or tags.get(262) in (32803, 34892) or tags.get(254, 0) & 1:
        facts.refusal = "a raw photo's data, or only its preview; develop it to PNG or JPEG first"
    for tag, what in ((330, "its sub-images"), (37724, "its layers"), (291, "its grey curve")):
        if tag in tags:
            facts.notes.append(f"{what} {'is' if tag == 291 else 'are'} left out")
    if 262 not in tags:
        facts.refusal = (
            "no tag that says whether 0 is black or white; save it as PNG with a program that "
            "shows it as you mean it"
        )
    if tags.get(262) == 3 and 0 < max(tags.get(320, (0,))) < 256:  # readers show it as black
        facts.refusal = "a palette of 8-bit values, where TIFF has 16-bit ones; save it as PNG"
    if 33723 in tags or 34377 in tags:
        facts.unkept.append("IPTC or Photoshop data")
    return facts


def _pnm(image: ImageFile.ImageFile, file: BinaryIO) -> Facts:
    words: list[bytes] = []
    for line in file.read(_HEAD).split(b"\n"):
        words += line.split(b"#")[0].split()
        if len(words) >= 4:
            break
    if image.mode == "F":
        return Facts(kind="float", depth=32)
    if _has_second_pnm(image, words, file):
        return Facts(refusal="a second image behind the first; save the one you want as PNG")
    if words[:1] in ([b"P1"], [b"P4"]) or len(words) < 4 or not words[3].isdigit():
        return Facts()
    return Facts(depth=max(8, int(words[3]).bit_length()))


def _has_second_pnm(image: ImageFile.ImageFile, words: list[bytes], file: BinaryIO) -> bool:
    """Whether binary samples are followed by another header: such files are legal."""
    if words[:1] not in ([b"P4"], [b"P5"], [b"P6"]) or not image.tile:
        return False
    row = (image.width + 7) // 8
    if words[0] != b"P4":
        is_wide = len(words) > 3 and words[3].isdigit() and int(words[3][:9]) > 255
        row = image.width * (3 if words[0] == b"P6" else 1) * (1 + is_wide)
    file.seek(image.tile[0].offset + row * image.height)
    mark = file.read(3)
    return mark[:1] == b"P" and mark[1:2].isdigit() and mark[2:].isspace()


def _bmp(image: ImageFile.ImageFile, file: BinaryIO) -> Facts:
    data = file.read(14 + 124)
    base = 14 if data[:2] == b"BM" else 0
    facts = Facts()
    size = struct.unpack_from("<I", data, base)[0] if len(data) >= base + 4 else 0
    if _has_hidden_band(image, data[base:], file):
        facts.notes.append("its fourth channel, which BMP files call unused, is left out")
    if size < 108 or len(data) < base + 108:
        return facts
    kind = struct.unpack_from("<I", data, base + 56)[0]
    if kind == 0:
        facts.meaning = _bmp_meaning(struct.unpack_from("<9i3I", data, base + 60))
    elif kind == 0x4D424544 and size >= 124 and len(data) >= base + 124:  # "MBED"
        at, length = struct.unpack_from("<II", data, base + 112)
        file.seek(base + at)
        facts.profile = file.read(min(length, 2**24))
    elif kind == 0x4C494E4B:  # "LINK"
        facts.refusal = "a colour profile in another file; convert it to sRGB first"
    return facts


def _has_hidden_band(image: ImageFile.ImageFile, head: bytes, file: BinaryIO) -> bool:
    """Whether a BMP has values beside its colours that Pillow does not hand out.

    Many programs write alpha where the format has padding.
    """
    if len(head) < 40 or "A" in image.getbands():
        return False
    size, bits, method = struct.unpack_from("<I10xHI", head)
    has_mask = method == 3 and size >= 56 and len(head) >= 56
    if bits == 16:
        return has_mask and any(head[52:56])
    if bits != 32 or (method == 3 and not has_mask):
        return False
    file.seek(image.tile[0].offset if image.tile else 0)
    found: set[int] = set()
    for _ in range(image.height):
        found |= set(file.read(4 * image.width)[3::4])
    file.seek(0)
    return bool(found - {0}) and bool(found - {255})


def _bmp_meaning(values: tuple[int, ...]) -> Meaning | None:
    xyz = [[v / 2**30 for v in values[i : i + 3]] for i in (0, 3, 6)]
    gammas = [v / 2**16 for v in values[9:]]
    curves: tuple[Curve, ...] | None = tuple(gammas) if all(0.1 < g < 10 for g in gammas) else None
    if any(sum(p) <= 0 for p in xyz):
        return Meaning(None, curves) if curves else None
    white = [sum(p[i] for p in xyz) for i in range(3)]
    pairs = [(p[0] / sum(p), p[1] / sum(p)) for p in [white, *xyz]]
    return Meaning(tuple(v for pair in pairs for v in pair), curves)


def _gif(image: ImageFile.ImageFile, file: BinaryIO) -> Facts:
    """A GIF's blocks up to its first image; a profile lies in one of them."""
    facts = Facts()
    head = file.read(13)
    if len(head) == 13 and head[12] not in (0, 49):  # 49 stands for 64 of 64
        facts.notes.append(not_square((head[12] + 15) / 64))
    if len(head) == 13 and head[10] & 0x80:
        file.seek(3 * 2 ** ((head[10] & 7) + 1), os.SEEK_CUR)
    while file.read(1) == b"\x21":
        label = file.read(1)
        blocks = []
        while length := file.read(1)[:1]:
            if not length[0]:
                break
            blocks.append(file.read(length[0]))
        if label == b"\xff" and blocks[:1] == [b"ICCRGBG1012"]:
            facts.profile = b"".join(blocks[1:])
    return facts


def _ico(image: ImageFile.ImageFile, file: BinaryIO) -> Facts:
    head = file.read(22)
    count = struct.unpack_from("<H", head, 4)[0] if len(head) == 22 else 0
    if count > 1:
        return Facts(
            refusal=f"{count} images of an icon, a .dco file holds one; save the one you want "
            "as PNG"
        )
    if not count:
        return Facts()
    file.seek(struct.unpack_from("<I", head, 18)[0])
    inner = io.BytesIO(file.read(struct.unpack_from("<I", head, 14)[0]))
    if inner.getvalue()[:8] != _PNG_MARK:
        return Facts()
    with Image.open(inner, formats=["PNG"]) as inner_image:  # its meaning, Pillow leaves there
        inner.seek(0)
        facts = _png(inner_image, inner)
        facts.meaning = facts.meaning or from_png(inner_image.info)
        facts.profile = inner_image.info.get("icc_profile")
    return facts


def _qoi(image: ImageFile.ImageFile, file: BinaryIO) -> Facts:
    facts = Facts()
    if file.read(14)[13:14] == b"\1":  # Pillow and others write so of all images
        facts.notes.append("its header says linear light; as it hardly ever is, it is kept as sRGB")
    return facts


def _sgi(image: ImageFile.ImageFile, file: BinaryIO) -> Facts:
    return Facts(depth=8 * max(1, (file.read(4) + bytes(4))[3]))


def _plain(image: ImageFile.ImageFile, file: BinaryIO) -> Facts:
    return Facts()


#: Pillow's names of the formats that are understood -> what reads their facts.
READERS: dict[str, Callable[[ImageFile.ImageFile, BinaryIO], Facts]] = {
    "AVIF": lambda image, file: heif(file.read(), is_cut=False),
    "BMP": _bmp,
    "DIB": _bmp,
    "GIF": _gif,
    "HEIF": lambda image, file: heif(file.read()),
    "ICO": _ico,
    "JPEG": _jpeg,
    "JPEG2000": lambda image, file: jpeg2000(file.read()),
    "MPO": _jpeg,
    "PCX": _plain,
    "PNG": _png,
    "PPM": _pnm,
    "QOI": _qoi,
    "SGI": _sgi,
    "TGA": _plain,
    "TIFF": _tiff,
    "WEBP": _plain,
    "XBM": _plain,
}
