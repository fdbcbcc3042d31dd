"""What a file says of its colours is kept, or refused, or named; never lost in silence."""

from __future__ import annotations

import base64
import io
import os
import struct
import subprocess
import sys
import threading
import warnings
import zlib

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms, PngImagePlugin

import dictco_lib
from dictco_lib.bitstream import Flag, pack, unpack
from dictco_lib.cli import main
from dictco_lib.errors import BadHeader, DictcoError, ImageError, LossWarning, OptionError
from dictco_lib.images import image_size, read_image, to_pil, write_image
from dictco_lib.images.boxes import heif
from dictco_lib.images.icc import (
    ADOBE_RGB,
    SRGB,
    SRGB_CURVE,
    colour_space,
    looks_like_srgb,
    make_profile,
)
from dictco_lib.images.quiet import quiet_pillow
from dictco_lib.limits import max_pixels
from dictco_lib.plain import plain_losses

# 16x16 pixels of libavif at 10 bits a channel, and of OpenJPEG's 10-bit grey: a ramp to white.
AVIF_10_BITS = base64.b64decode(
    "AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUEAAADrbWV0YQAAAAAAAAAhaGRscgAAAAAAAAAAcGlj"
    "dAAAAAAAAAAAAAAAAAAAAAAOcGl0bQAAAAAAAQAAAB5pbG9jAAAAAEQAAAEAAQAAAAEAAAETAAAAPQAAAChp"
    "aW5mAAAAAAABAAAAGmluZmUCAAAAAAEAAGF2MDFDb2xvcgAAAABqaXBycAAAAEtpcGNvAAAAFGlzcGUAAAAA"
    "AAAAEAAAABAAAAAQcGl4aQAAAAADCgoKAAAADGF2MUOBIEAAAAAAE2NvbHJuY2x4AAIAAgAGgAAAABdpcG1h"
    "AAAAAAAAAAEAAQQBAoMEAAAARW1kYXQSAAoIOAz/28CAgaQyLxPCYyaAAPAoCAB1iAxm2Pumn1nLKgtBQVjh"
    "Fsxev7H4rkdFCk05kPkeKYKECpJA"
)
J2K_10_BITS = base64.b64decode(
    "/0//UQApAAAAAAAQAAAAEAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAABCQEB/1IADAAAAAEAAQQEAAH/XAAH"
    "QFBYWGD/ZAAlAAFDcmVhdGVkIGJ5IE9wZW5KUEVHIHZlcnNpb24gMi41LjT/kAAKAAAAAABrAAH/k9+yGBIs"
    "QqeXlbEwhZbgFKLNWwDFHoUqRFVCWyBYHEeS7wyvLE24SwVB8LK7A1zaxoAqpGftf2aKYlGlgtrqvWpnR1R9"
    "4T/AHwiwfaDwAIg2oZl55z2mNGCRSCJHf//Z"
)
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" dc:t="sun"/>'
    b"</x:xmpmeta>"
)


def png(width: int, height: int, colour_type: int, depth: int, rows: bytes, *more) -> bytes:
    """A PNG file, as Pillow does not write all kinds."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    parts = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def saved(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def tiff(pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, metadata=None, **options)
    return buffer.getvalue()


def in_srgb(image: Image.Image) -> np.ndarray:
    """What a colour-managed viewer shows."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    target = ImageCms.createProfile("sRGB")
    return np.asarray(ImageCms.profileToProfile(image, source, target, 1, outputMode="RGB"))


def gamma(value: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(value * 1e5))


def primaries(values) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", *(round(v * 1e5) for v in values))


def profile_chunk(profile: bytes) -> tuple[bytes, bytes]:
    return b"iCCP", b"x\0\0" + zlib.compress(profile)


COLOUR = b"\0" + bytes([200, 100, 50, 1, 2, 3])
GREY = b"\0" + bytes([5, 187])
ADOBE = make_profile(ADOBE_RGB, (2.2,), is_grey=False)
DARK_GREY = make_profile(SRGB, (1.5,), is_grey=True)


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


# --- what colours mean, outside of ICC


def test_a_made_profile_says_what_the_numbers_say():
    linear = Image.new("RGB", (1, 1), (55, 128, 255))
    linear.info["icc_profile"] = make_profile(SRGB, (1.0,), is_grey=False)
    # sRGB's own curve: 12.92 x below 0.0031, else 1.055 x^(1/2.4) - 0.055
    want = [round(255 * (1.055 * (v / 255) ** (1 / 2.4) - 0.055)) for v in (55, 128, 255)]
    assert np.abs(in_srgb(linear)[0, 0].astype(int) - want).max() <= 1
    assert looks_like_srgb(make_profile(SRGB, (SRGB_CURVE,), is_grey=False))
    assert looks_like_srgb(make_profile(SRGB, (SRGB_CURVE,), is_grey=True))
    assert looks_like_srgb(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert not looks_like_srgb(ADOBE) and not looks_like_srgb(DARK_GREY)
    # Green of Adobe RGB lies outside sRGB, its red on the same corner.
    wide = Image.new("RGB", (1, 1), (255, 0, 0))
    wide.info["icc_profile"] = ADOBE
    assert in_srgb(wide)[0, 0, 0] == 255


@pytest.mark.parametrize(
    ("chunks", "is_kept"),
    [
        ([gamma(0.45455)], False),
        ([gamma(0.45455), primaries(SRGB)], False),
        ([gamma(1.0), (b"sRGB", b"\0")], False),
        ([(b"cICP", bytes([1, 13, 0, 1]))], False),
        ([(b"cICP", bytes([2, 2, 0, 1]))], False),
        ([gamma(1.0)], True),
        ([gamma(0.55)], True),
        ([primaries(ADOBE_RGB)], True),
        ([gamma(0.45455), primaries(ADOBE_RGB)], True),
        ([(b"cICP", bytes([12, 13, 0, 1]))], True),
        ([(b"cICP", bytes([9, 14, 0, 1]))], True),
        ([(b"cICP", bytes([1, 8, 0, 1]))], True),
    ],
)
def test_colour_chunks_of_png_become_a_profile_unless_they_say_srgb(nano, chunks, is_kept):
    for kind, rows in ((2, COLOUR), (0, GREY)):
        data = png(2, 1, kind, 8, rows, *chunks)
        image = dictco_lib.decode(nano, dictco_lib.encode(nano, data).data)
        assert image.mode == ("RGB" if kind else "L")
        assert ("icc_profile" in image.info) == is_kept
        if is_kept:
            assert colour_space(image.info["icc_profile"]) == ("RGB" if kind else "GRAY")
            in_srgb(image)  # a profile that lcms takes


def test_gamma_one_is_shown_lighter_than_untagged():
    image = to_pil(read_image(png(2, 1, 2, 8, COLOUR, gamma(1.0))))
    assert (in_srgb(image)[0, 0] > [220, 160, 110]).all()
    with Image.open(io.BytesIO(png(2, 1, 2, 8, COLOUR, gamma(1.0)))) as opened:
        converted = opened.convert("RGB")  # in memory only, and Pillow still knows
    assert read_image(converted).profile == image.info["icc_profile"]


def test_the_order_of_precedence_is_that_of_png():
    with_gamma = read_image(png(2, 1, 2, 8, COLOUR, gamma(1.0), profile_chunk(ADOBE)))
    assert with_gamma.profile == ADOBE
    p3 = (b"cICP", bytes([12, 13, 0, 1]))
    alone = read_image(png(2, 1, 2, 8, COLOUR, p3))
    both = read_image(png(2, 1, 2, 8, COLOUR, p3, profile_chunk(ADOBE)))
    assert both.profile == alone.profile != ADOBE
    srgb = read_image(png(2, 1, 2, 8, COLOUR, (b"cICP", bytes([1, 13, 0, 1])), gamma(1.0)))
    assert srgb.profile is None


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ((9, 16, 0, 1), "PQ"),
        ((9, 18, 0, 1), "HLG"),
        ((1, 13, 0, 0), "narrow range"),
        ((77, 13, 0, 1), "primaries 77"),
        ((1, 17, 0, 1), "transfer 17"),
    ],
)
def test_colours_that_no_profile_here_can_say_are_refused(code, message):
    with pytest.raises(ImageError, match=message):
        read_image(png(2, 1, 2, 8, COLOUR, (b"cICP", bytes(code))))


@pytest.mark.parametrize("chunk", [gamma(0), primaries([0] * 8), primaries([0.3] * 8)])
def test_impossible_colours_are_left_out_and_named(chunk):
    image = read_image(png(2, 1, 2, 8, COLOUR, chunk))
    assert image.profile is None and "no possible ones" in image.notes[0]


def patched(data: bytes, mark: bytes, offset: int, new: bytes) -> bytes:
    at = data.index(mark) + offset
    return data[:at] + new + data[at + len(new) :]


def test_nclx_of_avif_is_kept_or_refused(rgb):
    data = saved(Image.fromarray(rgb), "AVIF")
    assert read_image(data).profile is None  # Pillow writes sRGB
    p3 = read_image(patched(data, b"nclx", 4, bytes([0, 12, 0, 13])))
    assert p3.profile == read_image(png(2, 1, 2, 8, COLOUR, (b"cICP", b"\x0c\x0d\0\1"))).profile
    with pytest.raises(ImageError, match="PQ"):
        read_image(patched(data, b"nclx", 4, bytes([0, 9, 0, 16])))
    own = saved(Image.fromarray(rgb), "AVIF", icc_profile=ADOBE)
    assert read_image(own).profile == ADOBE


@pytest.mark.parametrize("camera", [{0xA001: 65535, 0xA005: {1: "R03"}}, {0xA001: 2}])
def test_adobe_rgb_of_a_camera_is_kept(rgb, camera):
    exif = Image.Exif()
    exif[0x8769] = camera
    for form in ("JPEG", "WEBP", "PNG"):
        image = read_image(saved(Image.fromarray(rgb), form, exif=exif))
        assert colour_space(image.profile) == "RGB" and not looks_like_srgb(image.profile)
    plain = Image.Exif()
    plain[0x8769] = {0xA001: 1, 0xA005: {1: "R98"}}
    assert read_image(saved(Image.fromarray(rgb), "JPEG", exif=plain)).profile is None
    tagged = read_image(saved(Image.fromarray(rgb), "JPEG", exif=exif, icc_profile=ADOBE))
    assert tagged.profile == ADOBE


def test_colour_tags_of_tiff_are_kept(rgb):
    numbers = [round(v * 1e5) for v in ADOBE_RGB]
    pairs = tuple(v for n in numbers for v in (n, 100_000))
    tags = [(318, "2I", 2, pairs[:4], True), (319, "2I", 6, pairs[4:], True)]
    adobe = read_image(tiff(rgb, photometric="rgb", extratags=tags))
    assert adobe.profile and not looks_like_srgb(adobe.profile)
    table = tuple(int(65535 * (v / 255) ** 1.0) for v in range(256))
    linear = read_image(tiff(rgb[..., 0], extratags=[(301, "H", 256, table, True)]))
    assert colour_space(linear.profile) == "GRAY"
    assert in_srgb(to_pil(linear)).mean() > rgb[..., 0].mean() + 20
    wrong = read_image(tiff(rgb[..., 0], extratags=[(301, "H", 7, table[:7], True)]))
    assert wrong.profile is None and "no possible" in wrong.notes[0]


def bmp(rgb: np.ndarray, kind: int, values=(0,) * 12, profile: bytes = b"") -> bytes:
    """A BMP with the fifth header, which has places for colours."""
    height, width = rgb.shape[:2]
    rows = b"".join(row.tobytes() + bytes(-3 * width % 4) for row in rgb[::-1, :, ::-1])
    at = 14 + 124
    info = struct.pack("<IiiHHIIiiII", 124, width, height, 1, 24, 0, len(rows), 0, 0, 0, 0)
    info += struct.pack("<4I", 0, 0, 0, 0) + struct.pack("<I", kind)
    info += struct.pack("<9i3I", *values)
    info += struct.pack("<IIII", 0, 124 + len(rows), len(profile), 0)
    head = b"BM" + struct.pack("<IHHI", at + len(rows) + len(profile), 0, 0, at)
    return head + info + rows + profile


def test_colour_fields_of_bmp_are_kept(rgb):
    assert read_image(bmp(rgb, 0x73524742)).profile is None  # "sRGB"
    assert read_image(bmp(rgb, 0)).profile is None  # calibrated, and nothing is given
    assert read_image(bmp(rgb, 0x4D424544, profile=ADOBE)).profile == ADOBE
    ends = [0.4124, 0.2126, 0.0193, 0.3576, 0.7152, 0.1192, 0.1805, 0.0722, 0.9505]
    values = [round(v * 2**30) for v in ends] + [round(2.2 * 2**16)] * 3
    assert read_image(bmp(rgb, 0, values)).profile is None
    linear = read_image(bmp(rgb, 0, values[:9] + [2**16] * 3))
    assert linear.profile and in_srgb(to_pil(linear)).mean() > rgb.mean() + 20
    with pytest.raises(ImageError, match="another file"):
        read_image(bmp(rgb, 0x4C494E4B))


def test_profiles_that_pillow_does_not_hand_out_are_found(rgb):
    gif = saved(Image.fromarray(rgb[..., 0]), "GIF")
    blocks = b"".join(
        bytes([len(part)]) + part for part in (DARK_GREY[i : i + 255] for i in range(0, 9999, 255))
        if part
    )  # fmt: skip
    at = 13 + 3 * 2 ** ((gif[10] & 7) + 1)
    block = b"\x21\xff\x0bICCRGBG1012" + blocks + b"\0"
    assert read_image(gif[:at] + block + gif[at:]).profile == DARK_GREY
    jp2 = saved(Image.fromarray(rgb), "JPEG2000")
    at = jp2.index(b"colr") - 4
    colr = struct.pack(">I4s3B", 11 + len(ADOBE), b"colr", 2, 0, 0) + ADOBE
    head = jp2.index(b"jp2h") - 4
    grown = struct.pack(">I", struct.unpack_from(">I", jp2, head)[0] + len(colr) - 15)
    data = jp2[:head] + grown + jp2[head + 4 : at] + colr + jp2[at + 15 :]
    assert read_image(data).profile == ADOBE


# --- bits


def test_deep_avif_is_refused(tmp_path):
    (tmp_path / "deep.avif").write_bytes(AVIF_10_BITS)
    with Image.open(tmp_path / "deep.avif") as image:
        for source in (AVIF_10_BITS, tmp_path / "deep.avif", image):
            with pytest.raises(ImageError, match="10 bits, of which only 8"):
                read_image(source)
        image.load()  # the decoder's bytes are gone, the file is there
        with pytest.raises(ImageError, match="10 bits"):
            read_image(image)


def test_the_depth_of_a_heif_is_that_of_its_primary_image():
    assert heif(AVIF_10_BITS).depth == 10
    assert heif(patched(AVIF_10_BITS, b"pixi", 9, b"\x08\x08\x08")).depth == 10  # of av1C
    twelve = patched(AVIF_10_BITS, b"av1C", 6, b"\x60")
    assert heif(twelve).depth == 12
    for end in range(0, len(AVIF_10_BITS), 7):
        heif(AVIF_10_BITS[:end])  # damaged: no error of its own


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("kind", ["u2", "i2", "f4", "u1"])
def test_no_tiff_is_coded_as_garbage(rgb, compression, planar, kind):
    for channels in (2, 3, 4):
        for photometric in ("minisblack", "miniswhite", "rgb")[: 1 + 2 * (channels > 2)]:
            pixels = np.dstack([rgb, rgb])[..., :channels].astype(kind)
            stored = pixels if planar == "contig" else np.moveaxis(pixels, 2, 0)
            options = {"photometric": photometric, "compression": compression}
            options["planarconfig"] = planar
            colours = 3 if photometric == "rgb" else 1
            if channels > colours:
                options["extrasamples"] = ["unassalpha"] + [0] * (channels - colours - 1)
            try:
                image = read_image(tiff(stored, **options))
            except ImageError:
                assert (kind, channels) != ("u1", 3) or photometric != "rgb"
                continue
            assert kind in ("u1", "u2") and np.array_equal(
                np.asarray(to_pil(image)), pixels.squeeze()
            )


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_white_is_zero_is_turned_round_at_every_depth(compression):
    deep = np.array([[0, 1000], [40_000, 65_535]], np.uint16)
    data = tiff(deep, photometric="miniswhite", compression=compression)
    image = read_image(data)
    assert np.array_equal(np.asarray(to_pil(image)), 65535 - deep)
    data = tiff((deep >> 8).astype(np.uint8), photometric="miniswhite", compression=compression)
    assert np.array_equal(np.asarray(to_pil(read_image(data))), 255 - (deep >> 8))
    bits = tiff(deep > 5000, photometric="miniswhite")
    assert np.array_equal(np.asarray(to_pil(read_image(bits))), np.where(deep > 5000, 0, 255))


def test_twelve_bit_grey_has_twelve_bit_white():
    samples = bytes([0xFF, 0xF0, 0x00, 0x80, 0x0F, 0xFF])  # 4095, 0, 2048, 4095
    fields = [(256, 4), (257, 1), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (279, 6)]
    directory = struct.pack("<H", len(fields)) + b"".join(
        struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in fields
    )
    data = b"II*\0" + struct.pack("<I", 14) + samples + directory + bytes(4)
    values = np.asarray(to_pil(read_image(data)))
    assert values.tolist() == [[65535, 0, round(2048 * 65535 / 4095), 65535]]


def test_ten_bit_grey_has_ten_bit_white(tmp_path):
    assert np.asarray(to_pil(read_image(b"P5\n2 1\n1023\n\x03\xff\0\0"))).tolist() == [[65535, 0]]
    values = np.asarray(to_pil(read_image(J2K_10_BITS)))
    ramp = np.linspace(0, 65535, 256).reshape(16, 16)
    assert values.max() == 65535 and np.abs(values - ramp).max() <= 65535 / 1023 / 2 + 1
    assert np.asarray(to_pil(read_image(b"P5\n2 1\n100\n\x64\x32"))).tolist() == [[255, 128]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"P6\n1 1\n1023\n" + bytes(6), "10 bits, of which only 8"),
        (b"Pf\n1 1\n-1.0\n" + bytes(4), "would clip"),
        (tiff(np.zeros((4, 4), np.float32)), "would clip"),
        (tiff(np.zeros((4, 4), np.int16)), "signed"),
        (tiff(np.zeros((4, 4), np.uint32)), "32 bits, of which only 16"),
        (tiff(np.zeros((4, 4, 3), np.uint16), photometric="rgb"), "16 bits, of which only 8"),
        (
            tiff(np.zeros((4, 4, 4), np.uint8), photometric="rgb", extrasamples=["unspecified"]),
            "1 extra channels",
        ),
        (saved(Image.new("CMYK", (4, 4)), "JPEG"), "ImageCms.profileToProfile"),
        (saved(Image.new("LAB", (4, 4)), "TIFF"), "createProfile"),
        (saved(Image.new("YCbCr", (4, 4)), "TIFF"), r"image.convert\('RGB'\)"),
        (saved(Image.new("RGB", (64, 64)), "ICO"), "5 images of an icon"),
        (saved(Image.new("RGB", (8, 8)), "DDS"), "format DDS"),
        (tiff(np.zeros((4, 4), np.uint8), subfiletype=1), "raw photo"),
    ],
)
def test_what_would_be_lost_is_refused_with_a_way_out_that_fits(data, message):
    with pytest.raises(ImageError, match=message):
        read_image(data)


def test_sgi_of_sixteen_bits_is_refused():
    head = struct.pack(">HBBHHHHII", 474, 0, 2, 2, 2, 2, 1, 0, 65535).ljust(512, b"\0")
    with pytest.raises(ImageError, match="16 bits, of which only 8"):
        read_image(head + bytes(8))


def test_small_grey_values_that_are_transparent_are_found():
    rows = b"\0" + bytes([0b00011011])
    image = read_image(png(4, 1, 0, 2, rows, (b"tRNS", b"\0\1")))
    assert image.alpha.tolist() == [[255, 0, 255, 255]]
    assert to_pil(image).getchannel("L").tobytes() == bytes([0, 85, 170, 255])


# --- grey, and the profile that fits


def test_three_equal_channels_come_back_equal_and_three(nano, rgb):
    grey = np.repeat(rgb[:, :, :1], 3, 2)
    floats = torch.from_numpy(grey.astype(np.float32) / 255).permute(2, 0, 1)
    for source in (grey, Image.fromarray(grey), saved(Image.fromarray(grey), "PNG"), floats):
        back = dictco_lib.decode(nano, dictco_lib.encode(nano, source, 20).data)
        pixels = np.asarray(back)
        assert back.mode == "RGB" and (pixels == pixels[..., :1]).all()
    grey = np.dstack([grey, rgb[..., 0]])
    assert dictco_lib.decode(nano, dictco_lib.encode(nano, grey, 20).data).mode == "RGBA"


def test_a_grey_gif_comes_back_grey(nano, rgb):
    for form in ("GIF", "PNG"):
        image = Image.fromarray(rgb[..., 0]).convert("P")
        image.putpalette([v for v in range(256) for _ in range(3)])
        back = dictco_lib.decode(nano, dictco_lib.encode(nano, saved(image, form), 20).data)
        assert back.mode == "L"


def test_flags_that_contradict_each_other_are_refused(nano, rgb):
    container = unpack(dictco_lib.encode(nano, rgb, 10).data)
    for flags in (Flag.EQUAL, Flag.EQUAL | Flag.GREY | Flag.SIXTEEN_BIT):
        container.flags = int(flags)
        with pytest.raises(BadHeader, match="contradict"):
            pack(container)


@pytest.mark.parametrize(
    ("kind", "depth", "rows", "profile", "mode", "note"),
    [
        (2, 8, COLOUR, ADOBE, "RGB", None),
        (0, 8, GREY, DARK_GREY, "L", None),
        (0, 16, b"\0\1\2\3\4", DARK_GREY, "I;16", None),
        (2, 8, b"\0\3\3\3\4\4\4", ADOBE, "RGB", None),
        (0, 8, GREY, ADOBE, "RGB", "grey comes back as RGB"),
        (2, 8, b"\0\3\3\3\4\4\4", DARK_GREY, "L", "comes back as grey"),
        (2, 8, COLOUR, DARK_GREY, "RGB", "for GRAY and does not fit"),
        (0, 16, b"\0\1\2\3\4", ADOBE, "I;16", "for RGB and does not fit"),
        (2, 8, COLOUR, b"profile" * 50, "RGB", "damaged"),
    ],
)
def test_a_profile_fits_the_pixels_or_is_named(
    nano, tmp_path, kind, depth, rows, profile, mode, note
):
    image = read_image(png(2, 1, kind, depth, rows, profile_chunk(profile)))
    assert (note in image.notes[0]) if note else not image.notes
    decoded = dictco_lib.decode(nano, dictco_lib.encode(nano, image).data)
    assert decoded.mode == mode
    is_kept = not note or "comes back" in note
    assert decoded.info.get("icc_profile") == (profile if is_kept else None)
    write_image(decoded, tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as back:
        assert back.mode == mode and back.info.get("icc_profile") == decoded.info.get("icc_profile")


def test_a_profile_that_cannot_be_inflated_is_named():
    image = read_image(png(2, 1, 2, 8, COLOUR, (b"iCCP", b"x\0\0nonsense")))
    assert image.profile is None and "damaged" in image.notes[0]


def test_grey_files_of_the_first_versions_come_back_as_images_that_readers_open(nano, rgb):
    image = read_image(rgb[..., 0])
    image.profile = ADOBE  # as they kept it
    back = dictco_lib.decode(nano, dictco_lib.encode(nano, image).data)
    assert back.mode == "RGB" and back.info["icc_profile"] == ADOBE


# --- metadata


def test_metadata_holds_resolution_and_xmp_and_no_structure(nano, rgb, tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "a title"
    exif[0x8825] = {1: "N", 2: (52.0, 30.0, 0.0)}
    image = Image.fromarray(rgb)
    note = PngImagePlugin.PngInfo()
    note.add_itxt("XML:com.adobe.xmp", XMP.decode())
    sources = {
        "jpg": saved(image, "JPEG", dpi=(300, 300), exif=exif, xmp=XMP),
        "png": saved(image, "PNG", dpi=(300, 300), exif=exif, pnginfo=note),
        "tif": saved(image, "TIFF", dpi=(300, 300), exif=exif.tobytes()),
    }
    for suffix, data in sources.items():
        encoded = dictco_lib.encode(nano, data, metadata=True)
        decoded = dictco_lib.decode(nano, encoded.data)
        for target in ("png", "jpg", "tif", "webp", "avif"):
            assert write_image(decoded, tmp_path / f"o.{target}") == ()
            with Image.open(tmp_path / f"o.{target}") as back:
                tags = back.getexif()
                assert tags[0x010E] == "a title" and tags.get_ifd(0x8825)[1] == "N"
                dpi = back.info.get("dpi") or (tags[282], tags[283])
                assert [round(float(v)) for v in dpi] == [300, 300]
                if suffix != "tif":
                    xmp = back.info.get("xmp")
                    assert b'dc:t="sun"' in xmp and b'Orientation="1"' in xmp
                assert back.size == decoded.size
        kept = Image.Exif()
        kept.load(decoded.info["exif"])
        assert set(kept) <= {0x010E, 0x8825, 282, 283, 296, 700}
        assert not dictco_lib.decode(nano, dictco_lib.encode(nano, data).data).info


def test_a_turned_image_is_turned_once_and_its_metadata_with_it(rgb, tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[282], exif[283], exif[296] = 6, 300.0, 150.0, 2
    exif[0x8769] = {0xA002: 60, 0xA003: 40}
    for form in ("JPEG", "TIFF", "PNG", "WEBP", "AVIF"):
        image = to_pil(read_image(saved(Image.fromarray(rgb), form, exif=exif.tobytes())))
        assert image.size == (40, 60), form
        tags = image.getexif()
        assert (tags[282], tags[283]) == (150, 300), form
        assert tags.get_ifd(0x8769)[0xA002] == 40
        write_image(image, tmp_path / "again.jpg")
        assert read_image(tmp_path / "again.jpg").size == (40, 60)


def test_xmp_turns_where_nothing_else_does_and_only_once(nano, rgb):
    assert read_image(saved(Image.fromarray(rgb), "JPEG", xmp=XMP)).size == (40, 60)
    image = read_image(saved(Image.fromarray(rgb), "AVIF", xmp=XMP))
    assert image.size == (60, 40)  # AVIF files turn by their own boxes alone
    encoded = dictco_lib.encode(nano, saved(Image.fromarray(rgb), "WEBP", xmp=XMP), metadata=True)
    again = saved(dictco_lib.decode(nano, encoded.data), "WEBP", xmp=image_xmp(encoded, nano))
    assert read_image(again).size == (40, 60)


def image_xmp(encoded, model) -> bytes:
    return dictco_lib.decode(model, encoded.data).info["xmp"]


def test_metadata_without_a_place_are_named_if_they_were_asked_for(nano, rgb):
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Title", "sun")
    pil = Image.fromarray(rgb)
    for data, name in (
        (saved(pil, "JPEG", comment=b"hello"), "a comment"),
        (saved(pil, "PNG", pnginfo=texts), "1 texts"),
        (saved(pil, "TIFF", tiffinfo={33723: b"caption"}), "IPTC"),
    ):
        image = read_image(data)
        assert not image.losses(metadata=False) and name in image.losses(metadata=True)[0]
        with pytest.warns(LossWarning, match=name):
            dictco_lib.encode(nano, data, metadata=True)


def test_pixels_that_are_not_square_are_named(rgb):
    image = Image.fromarray(rgb)
    for data in (
        saved(image, "JPEG", dpi=(300, 150)),
        saved(image, "TIFF", dpi=(300, 150)),
        png(2, 1, 2, 8, COLOUR, (b"pHYs", struct.pack(">IIB", 2, 1, 0))),
    ):
        assert "0.5 times as wide" in read_image(data).notes[0]


# --- several images in one file


def test_what_lies_beside_the_image_is_named(rgb):
    image = Image.fromarray(rgb)
    photo = saved(image, "MPO", save_all=True, append_images=[Image.fromarray(rgb[:10])])
    assert "1 further images" in read_image(photo).notes[0]
    ultra = saved(image, "JPEG", xmp=b'<x xmlns:hdrgm="ns" hdrgm:Version="1.0"/>')
    assert "gain map" in read_image(ultra).notes[0]
    live = saved(image, "JPEG", xmp=b'<x GCamera:MotionPhoto="1"/>')
    assert "film" in read_image(live).notes[0]
    mapped = png(2, 1, 2, 8, COLOUR, (b"gmAP", bytes(9)), (b"caBX", bytes(99)))
    assert "gain map" in read_image(mapped).losses(metadata=False)[0]
    assert "content credentials" in read_image(mapped).losses(metadata=True)[1]
    layers = tiff(rgb, photometric="rgb", extratags=[(37724, "B", 4, b"8BIM", True)])
    assert "layers" in read_image(layers).notes[0]


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_several_frames_are_refused(rgb, form):
    more = {"save_all": True, "append_images": [Image.fromarray(255 - rgb)]}
    with pytest.raises(ImageError, match="holds 2 images"):
        read_image(saved(Image.fromarray(rgb), form, **more))


# --- writing


@pytest.mark.parametrize(
    ("suffix", "problem"),
    [
        (".bmp", "colour profile; use .png"),
        (".ppm", "colour profile; use .png"),
        (".tga", "colour profile; use .png"),
        (".gif", "colours; use .png"),
        (".jp2", "colour profile; use .png"),
        (".ico", "size, 60x40; use .png"),
        (".pdf", "read again"),
        (".png", None),
        (".tif", None),
        (".jpg", None),
        (".webp", None),
        (".avif", None),
    ],
)
def test_writers_keep_the_image_or_are_refused(rgb, tmp_path, suffix, problem):
    image = Image.fromarray(rgb)
    image.info["icc_profile"] = ADOBE
    target = tmp_path / f"out{suffix}"
    if problem:
        with pytest.raises(ImageError, match=problem):
            write_image(image, target)
        assert not list(tmp_path.iterdir())
        return
    write_image(image, target)
    with Image.open(target) as back:
        assert back.info["icc_profile"] == ADOBE and back.size == image.size


def test_an_srgb_profile_is_no_loss(rgb, tmp_path):
    image = Image.fromarray(rgb)
    image.info["icc_profile"] = make_profile(SRGB, (SRGB_CURVE,), is_grey=False)
    write_image(image, tmp_path / "out.ppm")
    with Image.open(tmp_path / "out.ppm") as back:
        assert np.array_equal(np.asarray(back), rgb)


def test_a_png_that_no_reader_opens_is_not_written(rgb, tmp_path):
    noise = np.random.default_rng(0).bytes(2**20)
    large = struct.pack(">I", len(ADOBE + noise)) + ADOBE[4:] + noise
    image = Image.fromarray(rgb)
    image.info["icc_profile"] = large
    with pytest.raises(ImageError, match="use .tif"):
        write_image(image, tmp_path / "out.png")
    write_image(image, tmp_path / "out.tif")
    assert read_image(tmp_path / "out.tif").profile == large
    assert read_image(png(2, 1, 2, 8, COLOUR, profile_chunk(large))).profile == large


def test_metadata_that_a_format_cannot_hold_are_named(rgb, tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "a title"
    image = Image.fromarray(rgb)
    image.info |= {"exif": exif.tobytes(), "xmp": XMP}
    notes = write_image(image, tmp_path / "out.bmp")
    assert any("EXIF" in n for n in notes) and any("XMP" in n for n in notes)


# --- the limit, and Pillow's voice


def test_the_limit_is_ours_and_can_be_raised(rgb, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # stands for 89 million
    write_image(Image.fromarray(rgb), tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").size == image_size(tmp_path / "a.png") == (60, 40)
    monkeypatch.setenv("DICTCO_MAX_PIXELS", "2399")
    with pytest.raises(ImageError, match="DICTCO_MAX_PIXELS=2400"):
        read_image(tmp_path / "a.png")
    monkeypatch.setenv("DICTCO_MAX_PIXELS", "2400")
    assert read_image(tmp_path / "a.png").size == (60, 40)
    for nonsense in ("much", "-1", "0", "9" * 99, "1e9"):
        monkeypatch.setenv("DICTCO_MAX_PIXELS", nonsense)
        with pytest.raises(OptionError, match="whole number"):
            max_pixels()


def test_the_limit_holds_for_coding_too(nano, rgb, monkeypatch):
    data = dictco_lib.encode(nano, rgb).data
    monkeypatch.setenv("DICTCO_MAX_PIXELS", "2399")
    with pytest.raises(ImageError, match="the limit is"):
        dictco_lib.encode(nano, rgb)
    with pytest.raises(BadHeader, match="DICTCO_MAX_PIXELS"):
        dictco_lib.decode(nano, data)


def test_no_library_speaks_and_nothing_of_it_stays(tmp_path, rgb):
    damaged = bytearray(tiff(rgb, photometric="rgb", compression="zlib"))
    damaged[len(damaged) // 2 :] = bytes(len(damaged) - len(damaged) // 2)
    (tmp_path / "bad.tif").write_bytes(damaged)
    exif = saved(
        Image.fromarray(rgb), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x0f\x01\2\0\xff"
    )
    (tmp_path / "exif.jpg").write_bytes(exif)
    code = """
import sys
from PIL import Image, PngImagePlugin
from dictco_lib.images import read_image, image_size
Image.MAX_IMAGE_PIXELS = 1000
for name in sys.argv[1:]:
    image_size(name)
    try:
        read_image(name)
    except Exception as error:
        assert type(error).__name__ == "ImageError", error
assert Image.MAX_IMAGE_PIXELS == 1000 and PngImagePlugin.MAX_TEXT_CHUNK == 2**20
print("still here", file=sys.stderr)
"""
    names = [str(tmp_path / "bad.tif"), str(tmp_path / "exif.jpg")]
    run = subprocess.run(
        [sys.executable, "-c", code, *names], capture_output=True, text=True, check=True
    )
    assert run.stderr == "still here\n" and not run.stdout


def test_pillow_is_quiet_for_several_threads_and_itself_afterwards(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with quiet_pillow():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with quiet_pillow():
        thread.start()
        assert inside.wait(10)
    assert Image.MAX_IMAGE_PIXELS is None  # the other one still reads
    leave.set()
    thread.join()
    assert Image.MAX_IMAGE_PIXELS == 1000
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", stacklevel=1)


# --- what is taken


def test_a_image_is_taken_in_every_form(rgb, tmp_path):
    write_image(Image.fromarray(rgb), tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    with (tmp_path / "a.png").open("rb") as file:
        sources = [tmp_path / "a.png", str(tmp_path / "a.png"), data, bytearray(data)]
        sources += [memoryview(data), io.BytesIO(data), file]
        sources += [Image.fromarray(rgb), rgb, rgb[::-1][::-1], np.asfortranarray(rgb)]
        for source in sources:
            assert np.array_equal(np.asarray(to_pil(read_image(source))), rgb)
    deep = np.arange(12, dtype=">u2").reshape(3, 4)
    assert np.array_equal(np.asarray(to_pil(read_image(deep))), deep)


@pytest.mark.parametrize(
    "source",
    [
        None, 7, 1.5, [1, 2], {}, object(), "", "a\0b.png", "x" * 5000, b"", b"nonsense",
        io.StringIO("text"), io.BytesIO(b""), np.float32(3), np.zeros(()), np.zeros((2, 2, 3)),
        np.zeros((0, 3, 3), "u1"), np.zeros((2, 2), bool), np.zeros((2, 2, 3), "u2"),
        np.array("a"), np.zeros((2, 2), object), torch.zeros(3), torch.zeros(3, 0, 2),
        torch.zeros(3, 2, 2, dtype=torch.uint8), torch.zeros(3, 2, 2, dtype=torch.complex64),
        torch.zeros(2, 3, 4, 4), torch.full((3, 2, 2), float("nan")),
        torch.zeros(3, 2, 2, device="meta"), torch.zeros(3, 2, 2).to_sparse(),
    ],
)  # fmt: skip
def test_what_is_no_image_has_a_named_error(source):
    with pytest.raises(ImageError):
        read_image(source)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in the file system")
def test_a_pipe_is_no_image_and_nobody_waits_for_it(tmp_path):
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(ImageError, match="pipe or a device"):
        read_image(tmp_path / "x.png")
    assert image_size(tmp_path / "x.png") is None


def test_closed_and_write_only_files_have_a_named_error(tmp_path):
    file = (tmp_path / "w").open("wb")
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(file)
    file.close()
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(file)


# --- the commands


def test_the_commands_name_losses_in_one_line(tmp_path, rgb, capsys):
    image = Image.fromarray(rgb)
    data = saved(image, "MPO", save_all=True, append_images=[image], comment=b"hello")
    (tmp_path / "a.jpg").write_bytes(data)
    assert main(["compress", str(tmp_path / "a.jpg"), str(tmp_path / "a.dco"), "--metadata"]) == 0
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 2 and "further images" in lines[0] and "a comment" in lines[1]


def test_reading_first_is_asking_first(nano, rgb):
    data = png(2, 1, 2, 8, COLOUR, gamma(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dictco_lib.encode(nano, rgb)
        dictco_lib.encode(nano, read_image(data))  # whoever has the image has its notes
    with pytest.warns(LossWarning, match="no possible ones"):
        dictco_lib.encode(nano, data)


def test_damage_of_any_kind_has_a_name(rgb):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rgb)
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "a title", 6
    files = [
        saved(image, form, exif=exif.tobytes(), icc_profile=ADOBE)
        for form in ("PNG", "JPEG", "TIFF", "WEBP", "AVIF")
    ]
    files += [saved(image, form) for form in ("GIF", "BMP", "JPEG2000", "PPM", "SGI", "ICO")]
    files += [bmp(rgb, 0x4D424544, profile=ADOBE), tiff(rgb, photometric="rgb"), AVIF_10_BITS]
    for data in files:
        for _ in range(25):
            bad = bytearray(data)
            for _ in range(int(rng.integers(1, 6))):
                bad[int(rng.integers(min(len(bad), 1500)))] = int(rng.integers(256))
            try:
                to_pil(read_image(bytes(bad[: int(rng.integers(8, len(bad) + 1))])))
            except DictcoError:
                pass


def test_rgb_jpeg_and_rgba_palettes_are_what_they_say(rgb):
    smooth = np.array(Image.fromarray(rgb[:4, :6]).resize((60, 40)))
    data = saved(Image.fromarray(smooth), "JPEG", keep_rgb=True, quality=98)
    back = np.asarray(to_pil(read_image(data))).astype(int)
    assert np.abs(back - smooth).mean() < 3
    image = Image.new("P", (2, 1))
    image.putpalette([1, 2, 3, 0, 4, 5, 6, 255], "RGBA")
    image.putpixel((1, 0), 1)
    assert np.asarray(to_pil(read_image(image))).tolist() == [[[1, 2, 3, 0], [4, 5, 6, 255]]]


def test_a_plain_file_that_forgets_grey_says_so(rgb, tmp_path):
    image = read_image(rgb[..., 0])
    assert "grey" in plain_losses(image)[0] and not plain_losses(read_image(rgb))


def test_notes_of_the_maker_and_places_travel(nano, rgb):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x8769] = {0x927C: b"MAKER\0\1\2\3" * 9, 0x9003: "2020:01:01 00:00:00", 0x9286: b"hi"}
    exif[0x8825] = {1: "N", 2: (52.0, 30.0, 0.5), 29: "2020:01:01"}
    exif[256], exif[273], exif[65000] = 999, 8, "private"
    data = saved(Image.fromarray(rgb), "JPEG", exif=exif.tobytes())
    back = dictco_lib.decode(nano, dictco_lib.encode(nano, data, metadata=True).data).getexif()
    assert set(back) == {0x010F, 0x8769, 0x8825, 65000}
    assert back.get_ifd(0x8769)[0x927C] == b"MAKER\0\1\2\3" * 9
    assert back.get_ifd(0x8825)[2] == (52.0, 30.0, 0.5)


# --- what only the bytes tell: bands, orders, shapes and images that Pillow does not hand out


def boxed(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def jp2(pixels: np.ndarray, colour: bytes, more: bytes = b"") -> bytes:
    """A JPEG 2000 file with another colour box, and boxes behind it."""
    data = saved(Image.fromarray(pixels), "JPEG2000")
    at = data.index(b"jp2h") - 4
    stop = at + struct.unpack_from(">I", data, at)[0]
    header = boxed(b"jp2h", data[at + 8 : at + 30] + boxed(b"colr", colour) + more)
    return data[:at] + header + data[stop:]


def channels(*rows: tuple[int, int, int]) -> bytes:
    return boxed(
        b"cdef", struct.pack(">H", len(rows)) + b"".join(struct.pack(">HHH", *r) for r in rows)
    )


IN_SRGB = b"\1\0\0" + struct.pack(">I", 16)
STRAIGHT = [(0, 0, 1), (1, 0, 2), (2, 0, 3)]


@pytest.mark.parametrize(
    ("colour", "more", "message"),
    [
        (b"\4\0\0" + bytes(16), b"", "method 4"),
        (b"\5\0\0\x09\x10\0\0", b"", "method 5"),
        (IN_SRGB, channels((0, 0, 3), (1, 0, 2), (2, 0, 1)), "in an order"),
        (IN_SRGB, channels(*STRAIGHT, (3, 2, 0)), "premultiplied"),
        (IN_SRGB, channels(*STRAIGHT, (3, 65535, 65535)), "unspecified"),
    ],
)
def test_channels_of_jpeg_2000_are_as_usual_or_refused(rgb, colour, more, message):
    pixels = np.dstack([rgb, rgb[..., 0]]) if "(3" in repr(more) or len(more) > 30 else rgb
    with pytest.raises(ImageError, match=message):
        read_image(jp2(pixels, colour, more))


def test_usual_channels_of_jpeg_2000_are_read(rgb):
    assert (read_image(jp2(rgb, IN_SRGB, channels(*STRAIGHT))).samples == rgb).all()
    rgba = np.dstack([rgb, rgb[..., 0]])
    image = read_image(jp2(rgba, IN_SRGB, channels(*STRAIGHT, (3, 1, 0))))
    assert (image.samples == rgb).all() and (image.alpha == rgb[..., 0]).all()
    data = bytearray(saved(Image.fromarray(rgb[..., 0]), "JPEG2000"))
    data[data.index(b"\xff\x4f\xff\x51") + 42] |= 0x80
    with pytest.raises(ImageError, match="signed"):
        read_image(bytes(data))


def icon(*images: bytes) -> bytes:
    head, at = struct.pack("<HHH", 0, 1, len(images)), 6 + 16 * len(images)
    for data in images:
        head += struct.pack("<BBBBHHII", 60, 40, 0, 0, 1, 32, len(data), at)
        at += len(data)
    return head + b"".join(images)


def test_an_icon_is_judged_by_the_image_in_it(rgb):
    image = Image.fromarray(rgb)
    assert read_image(icon(saved(image, "PNG", icc_profile=ADOBE))).profile == ADOBE
    dark = png(2, 1, 2, 8, COLOUR, gamma(1.0))
    assert read_image(icon(dark)).profile == read_image(dark).profile != None  # noqa: E711
    with pytest.raises(ImageError, match="16 bits"):
        read_image(icon(png(1, 1, 2, 16, bytes(7))))
    with pytest.raises(ImageError, match="2 images of an icon"):  # of one size
        read_image(icon(saved(image, "PNG"), saved(image.quantize(4), "PNG")))


def bitmap(bits: int, method: int, pixels: bytes, masks: bytes = b"") -> bytes:
    head = struct.pack(
        "<IiiHHIIiiII", 40 + 16 * (len(masks) == 16), 4, 1, 1, bits, method, 0, 0, 0, 0, 0
    )
    at = 14 + len(head + masks)
    return b"BM" + struct.pack("<IHHI", at + len(pixels), 0, 0, at) + head + masks + pixels


@pytest.mark.parametrize(
    ("data", "is_named"),
    [
        (bitmap(32, 0, b"\1\2\3\x40" * 2 + b"\4\5\6\0" * 2), True),
        (bitmap(32, 0, b"\1\2\3\xff" * 3 + b"\4\5\6\x80"), True),
        (bitmap(32, 0, b"\1\2\3\0" * 4), False),
        (bitmap(32, 0, b"\1\2\3\xff" * 4), False),
        (bitmap(16, 3, bytes(8), struct.pack("<IIII", 0x7C00, 0x3E0, 0x1F, 0x8000)), True),
        (bitmap(16, 3, bytes(8), struct.pack("<IIII", 0x7C00, 0x3E0, 0x1F, 0)), False),
    ],
)
def test_a_band_of_a_bmp_that_may_be_alpha_is_named(data, is_named):
    image = read_image(data)
    assert image.alpha is None and bool(image.notes) == is_named


def test_several_images_in_a_pnm_are_refused():
    for data in (b"P5\n2 1\n255\nab", b"P6 1 1 255\nabc", b"P4\n9 1\nab", b"P5\n1 1\n1000\nab"):
        read_image(data + b"\n")  # what follows is no image
        with pytest.raises(ImageError, match="second image"):
            read_image(data + data)


def test_what_a_tiff_leaves_open_is_refused(rgb):
    half = np.stack([np.arange(256)] * 3).astype(np.uint16)
    with pytest.raises(ImageError, match="8-bit values"):
        read_image(tiff(rgb[..., 0], photometric="palette", colormap=half))
    assert read_image(tiff(rgb[..., 0], photometric="palette", colormap=half * 257)).is_grey
    data = tiff(rgb[..., 0])
    with pytest.raises(ImageError, match="0 is black or white"):
        read_image(data.replace(struct.pack("<HH", 262, 3), struct.pack("<HH", 261, 3)))


def test_a_loaded_image_still_tells_what_its_tags_say(rgb):
    deep = rgb[..., 0].astype(np.uint16) * 257
    with Image.open(io.BytesIO(tiff(deep, photometric="miniswhite"))) as image:
        image.load()
        assert (read_image(image).samples == 65535 - deep).all()


def test_unspecified_code_points_say_nothing():
    unspecified = (b"cICP", b"\2\2\0\1")
    image = read_image(png(2, 1, 2, 8, COLOUR, unspecified, profile_chunk(ADOBE)))
    assert image.profile == ADOBE
    assert read_image(png(2, 1, 2, 8, COLOUR, unspecified, gamma(1.0))).profile
    assert read_image(png(2, 1, 2, 8, COLOUR, unspecified)).profile is None


def test_shapes_of_pixels_and_crops_without_a_place_are_named(rgb):
    gif = bytearray(saved(Image.fromarray(rgb[..., 0]), "GIF"))
    gif[12] = 113
    assert "2 times as wide" in read_image(bytes(gif)).notes[0]
    data = b"".join(
        boxed(b"ipma", struct.pack(">IIHBBB", 0, 1, 1, 2, 1, 2)) if kind == b"ipma" else
        boxed(b"ipco", boxed(b"pasp", struct.pack(">II", 2, 1)) + boxed(b"clap", bytes(32)))
        for kind in (b"ipco", b"ipma")
    )  # fmt: skip
    meta = bytes(4) + boxed(b"pitm", bytes(5) + b"\1") + boxed(b"iprp", data)
    for is_cut, count in ((True, 1), (False, 2)):
        notes = heif(boxed(b"meta", meta), is_cut=is_cut).notes
        assert len(notes) == count and "2 times as wide" in notes[0]


def test_avif_keeps_its_colours_and_a_changed_resolution_is_named(rgb, tmp_path):
    write_image(Image.fromarray(rgb), tmp_path / "a.avif")
    with Image.open(tmp_path / "a.avif") as image:
        assert np.abs(np.asarray(image).astype(int) - rgb).max() <= 8
    image = Image.fromarray(rgb)
    image.info["dpi"] = (300.0, 300.0)
    assert "resolution" in write_image(image, tmp_path / "a.pcx")[0]
    assert not write_image(image, tmp_path / "a.jpg")
