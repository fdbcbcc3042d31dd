"""Images of every kind go in as the user means them, and come back the same way."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps

from dictco_lib.errors import BadHeader, ImageError
from dictco_lib.images import (
    demo_images,
    image_size,
    pack_plane,
    read_image,
    to_pil,
    to_uint8,
    unpack_plane,
    write_image,
)
from dictco_lib.training.data import TrainingImages


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def test_rgb_arrays_images_and_tensors_are_the_same_image(rgb):
    a = read_image(rgb)
    b = read_image(Image.fromarray(rgb))
    c = read_image(a.pixels)
    assert a.size == (7, 5)
    assert torch.equal(a.pixels, b.pixels) and torch.equal(a.pixels, c.pixels)
    assert np.array_equal(to_uint8(a.pixels), rgb)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "LA", "RGBA"])
def test_modes_come_back(rgb, mode):
    image = Image.fromarray(rgb).convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(rgb[:, :, 0]))
    back = to_pil(read_image(image))
    assert back.mode == {"1": "L"}.get(mode, mode)
    assert np.array_equal(np.array(back), np.array(image.convert(back.mode)))


def test_a_palette_is_resolved_with_its_transparency(rgb):
    pil = Image.fromarray(rgb).quantize(8)
    assert to_pil(read_image(pil)).mode == "RGB"
    pil.info["transparency"] = 3
    image = read_image(pil)
    assert image.alpha is not None and set(np.unique(image.alpha)) <= {0, 255}


def test_a_fully_opaque_alpha_costs_nothing(rgb):
    assert read_image(Image.fromarray(rgb).convert("RGBA")).alpha is None


def test_sixteen_bit_grey_keeps_its_range():
    values = np.array([[0, 1000], [40_000, 65_535]], np.uint16)
    image = read_image(values)
    assert image.pixels.max() == 1.0
    back = np.array(to_pil(image))
    assert back.dtype == np.uint16 and np.array_equal(back, values)


def test_exif_rotation_is_applied_once(rgb, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a title"
    Image.fromarray(rgb).save(tmp_path / "turned.png", exif=exif)
    image = read_image(tmp_path / "turned.png")
    assert image.size == (5, 7)
    assert np.array_equal(to_uint8(image.pixels), np.rot90(rgb, -1))
    kept = Image.Exif()
    kept.load(image.exif)
    assert 0x0112 not in kept and kept[0x010E] == "a title"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_turns_as_in_pillow_and_leaves_the_image_as_it_was(rgb, orientation):
    image = Image.fromarray(rgb)
    image.getexif()[0x0112] = orientation
    want = np.array(ImageOps.exif_transpose(image))
    for _ in range(2):  # the second time as well
        assert np.array_equal(to_uint8(read_image(image).pixels), want)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"Exif\0\0no such thing", b"Exif\0\0II*\0\xff\0\0\0", b"?"])
def test_damaged_exif_is_no_exif(rgb, tmp_path, exif):
    Image.fromarray(rgb).save(tmp_path / "in.png", exif=exif)
    image = read_image(tmp_path / "in.png")
    assert image.exif is None and np.array_equal(to_uint8(image.pixels), rgb)


def test_exif_that_cannot_be_written_again_still_turns_the_image(rgb):
    pil = Image.fromarray(rgb)
    pil.getexif()[0x0112] = 6
    pil.getexif()[0x011A] = "not a number"
    image = read_image(pil)
    assert image.size == (5, 7) and image.exif is None and image.is_exif_damaged


def test_profiles_are_kept(rgb, tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(rgb).save(tmp_path / "in.png", icc_profile=profile)
    write_image(to_pil(read_image(tmp_path / "in.png")), tmp_path / "out.png")
    assert Image.open(tmp_path / "out.png").info["icc_profile"] == profile


def test_what_would_be_lost_is_refused(rgb, tmp_path):
    with pytest.raises(ImageError, match="CMYK"):
        read_image(Image.fromarray(rgb).convert("CMYK"))
    frames = [Image.fromarray(rgb), Image.fromarray(255 - rgb)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="holds 2 images"):
        read_image(tmp_path / "moving.gif")


def png(width: int, height: int, colour_type: int, depth: int, pixels: bytes, *more) -> bytes:
    """A PNG file, as Pillow does not write all kinds."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    parts = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


@pytest.mark.parametrize(
    "data",
    [
        png(2, 1, 2, 16, bytes(range(13))),  # RGB
        png(2, 1, 4, 16, bytes(range(9))),  # grey and alpha
        png(2, 1, 6, 16, bytes(range(17))),  # RGBA
        b"P6\n2 1\n65535\n" + bytes(range(12)),
        b"P3\n1 1\n65535\n1 2 3\n",
    ],
    ids=["RGB", "grey and alpha", "RGBA", "PPM", "plain PPM"],
)
def test_colours_of_sixteen_bits_are_refused(tmp_path, data):
    (tmp_path / "deep").write_bytes(data)
    with pytest.raises(ImageError, match="16 bits, of which only 8"):
        read_image(tmp_path / "deep")
    with Image.open(tmp_path / "deep") as image, pytest.raises(ImageError, match="only 8"):
        read_image(image)


def test_sixteen_bit_grey_with_a_transparent_value_is_refused(tmp_path):
    plain = png(2, 1, 0, 16, bytes(range(5)))
    (tmp_path / "grey.png").write_bytes(plain)
    assert read_image(tmp_path / "grey.png").is_sixteen_bit
    (tmp_path / "grey.png").write_bytes(png(2, 1, 0, 16, bytes(range(5)), (b"tRNS", b"\1\2")))
    with pytest.raises(ImageError, match="transparency"):
        read_image(tmp_path / "grey.png")


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_images_without_a_pixel_are_refused(size):
    with pytest.raises(ImageError, match="at least one pixel"):
        read_image(Image.new("RGB", size))


def test_the_first_image_of_a_phones_jpeg_is_the_image(rgb, tmp_path):
    photo, preview = (Image.new("RGB", size, "red") for size in ((64, 48), (16, 12)))
    photo.save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[preview])
    assert Image.open(tmp_path / "phone.jpg").n_frames == 2
    assert read_image(tmp_path / "phone.jpg").size == (64, 48)


@pytest.mark.parametrize("bad", [np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4), np.int64)])
def test_strange_arrays_are_refused(bad):
    with pytest.raises(ImageError, match="expected uint8"):
        read_image(bad)


def test_tensors_out_of_range_are_refused():
    with pytest.raises(ImageError, match="divide by 255"):
        read_image(torch.full((3, 4, 4), 200.0))


def test_bad_files_are_named(tmp_path, rgb):
    with pytest.raises(ImageError, match="does not exist"):
        read_image(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ImageError, match="no image"):
        read_image(tmp_path / "text.png")
    buffer = io.BytesIO()
    Image.fromarray(np.tile(rgb, (40, 40, 1))).save(buffer, "PNG")
    (tmp_path / "cut.png").write_bytes(buffer.getvalue()[: buffer.tell() // 2])
    with pytest.raises(ImageError, match="damaged"):
        read_image(tmp_path / "cut.png")
    with pytest.raises(ImageError, match="folder"):
        read_image(tmp_path)


def test_an_unwritable_mode_leaves_the_old_file(tmp_path, rgb):
    target = tmp_path / "out.jpg"
    target.write_bytes(b"old")
    with pytest.raises(ImageError, match="use .png"):
        write_image(Image.fromarray(rgb).convert("RGBA"), target)
    assert target.read_bytes() == b"old"
    with pytest.raises(ImageError, match="suffix"):
        write_image(Image.fromarray(rgb), tmp_path / "out.xyz")
    with pytest.raises(ImageError, match="suffix"):  # Pillow reads these only
        write_image(Image.fromarray(rgb), tmp_path / "out.psd")


@pytest.mark.parametrize(
    "suffix", [".png", ".tif", ".webp", ".tga", ".jp2", ".bmp", ".ppm", ".gif", ".avif"]
)
@pytest.mark.parametrize(
    ("kind", "keepers"),
    [
        ("alpha", (".png", ".tif", ".webp", ".tga", ".jp2")),
        ("16 bits", (".png", ".tif", ".jp2", ".ppm")),
    ],
)
def test_alpha_and_sixteen_bits_are_kept_or_refused(rgb, tmp_path, suffix, kind, keepers):
    image = Image.fromarray(rgb)
    if kind == "alpha":
        image.putalpha(7)
    else:
        image = Image.fromarray(np.arange(35, dtype=np.uint16).reshape(5, 7) * 1000)
    target = tmp_path / f"out{suffix}"
    if suffix not in keepers:
        with pytest.raises(ImageError, match=f"cannot keep the image's {kind}"):
            write_image(image, target)
        assert not target.exists()
        return
    write_image(image, target)
    with Image.open(target) as back:
        if kind == "alpha":
            assert set(np.unique(back.getchannel("A"))) == {7}
        else:
            assert np.array_equal(np.array(back), np.array(image))


@pytest.mark.parametrize(("suffix", "loss"), [(".webp", 0), (".jpg", 20), (".avif", 20)])
def test_a_decoded_image_loses_little_in_a_lossy_format(photo, tmp_path, suffix, loss):
    target = tmp_path / f"out{suffix}"
    write_image(Image.fromarray(photo), target)
    with Image.open(target) as back:
        error = (np.asarray(back.convert("RGB")).astype(float) - photo) ** 2
    assert error.mean() <= loss  # 35 dB and better


@pytest.mark.parametrize("orientation", [1, 6, 9])
@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".png", ".webp"])
def test_the_size_in_the_header_is_that_of_the_upright_image(photo, tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(photo).save(tmp_path / f"a{suffix}", exif=exif)
    image = read_image(tmp_path / f"a{suffix}")
    assert image_size(tmp_path / f"a{suffix}") == image.size


def test_whatever_pillow_raises_on_damage_has_a_name(tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "whole.avif")
    data = bytearray((tmp_path / "whole.avif").read_bytes())
    data[-2000:] = bytes(2000)  # Pillow: RuntimeError
    (tmp_path / "bad.avif").write_bytes(data)
    with pytest.raises(ImageError, match="damaged"):
        read_image(tmp_path / "bad.avif")
    photos = TrainingImages((str(tmp_path),))
    assert [photos.read(i) is None for i in range(2)] == [True, False]


@pytest.mark.parametrize("suffix", [".tif", ".jpg"])
def test_exif_that_a_format_cannot_hold_is_named(rgb, tmp_path, suffix):
    image = Image.fromarray(rgb)
    image.info["exif"] = b"Exif\0\0no such thing" + bytes(70_000)
    with pytest.raises(ImageError, match="use .png"):
        write_image(image, tmp_path / f"out{suffix}")
    assert not list(tmp_path.iterdir())


def test_planes_round_trip_and_damage_is_named(rgb):
    plane = rgb[:, :, 0]
    assert np.array_equal(unpack_plane(pack_plane(plane), (7, 5)), plane)
    for data, size in (
        (pack_plane(plane), (8, 5)),
        (pack_plane(plane), (7, 4)),
        (pack_plane(plane)[:-1], (7, 5)),
        (b"nonsense", (7, 5)),
    ):
        with pytest.raises(BadHeader, match="alpha"):
            unpack_plane(data, size)


def test_planes_of_the_first_files_are_read_and_their_damage_is_named(rgb):
    buffer = io.BytesIO()
    Image.fromarray(rgb[:, :, 0]).save(buffer, "PNG")
    assert np.array_equal(unpack_plane(buffer.getvalue(), (7, 5)), rgb[:, :, 0])
    huge = png(60_000, 60_000, 0, 8, b"")
    for data, size in (
        (buffer.getvalue(), (8, 5)),
        (buffer.getvalue()[:50], (7, 5)),
        (huge, (7, 5)),
        (huge, (60_000, 60_000)),
    ):
        with pytest.raises(BadHeader, match="alpha"):
            unpack_plane(data, size)


def test_planes_beyond_pillows_limit_come_back(rgb, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # stands for 179 million pixels
    image = Image.fromarray(rgb)
    image.putalpha(7)
    plane = read_image(np.array(image)).alpha
    assert np.array_equal(unpack_plane(pack_plane(plane), (7, 5)), plane)


def test_the_packaged_photographs_are_there():
    for name, path in demo_images().items():
        assert min(read_image(path).size) > 256, name
