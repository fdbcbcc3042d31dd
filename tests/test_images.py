"""Pictures of every kind go in as the user means them, and come back the same way."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from dictco_lib.errors import ImageError
from dictco_lib.images import (
    demo_photos,
    pack_plane,
    read_picture,
    to_pil,
    to_uint8,
    unpack_plane,
    write_image,
)


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def test_rgb_arrays_images_and_tensors_are_the_same_picture(rgb):
    a = read_picture(rgb)
    b = read_picture(Image.fromarray(rgb))
    c = read_picture(a.pixels)
    assert a.size == (7, 5)
    assert torch.equal(a.pixels, b.pixels) and torch.equal(a.pixels, c.pixels)
    assert np.array_equal(to_uint8(a.pixels), rgb)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "LA", "RGBA"])
def test_modes_come_back(rgb, mode):
    image = Image.fromarray(rgb).convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(rgb[:, :, 0]))
    back = to_pil(read_picture(image))
    assert back.mode == {"1": "L"}.get(mode, mode)
    assert np.array_equal(np.array(back), np.array(image.convert(back.mode)))


def test_a_palette_is_resolved_with_its_transparency(rgb):
    image = Image.fromarray(rgb).quantize(8)
    assert to_pil(read_picture(image)).mode == "RGB"
    image.info["transparency"] = 3
    picture = read_picture(image)
    assert picture.alpha is not None and set(np.unique(picture.alpha)) <= {0, 255}


def test_a_fully_opaque_alpha_costs_nothing(rgb):
    assert read_picture(Image.fromarray(rgb).convert("RGBA")).alpha is None


def test_sixteen_bit_grey_keeps_its_range():
    values = np.array([[0, 1000], [40_000, 65_535]], np.uint16)
    picture = read_picture(values)
    assert picture.pixels.max() == 1.0
    back = np.array(to_pil(picture))
    assert back.dtype == np.uint16 and np.array_equal(back, values)


def test_exif_rotation_is_applied_once(rgb, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a title"
    Image.fromarray(rgb).save(tmp_path / "turned.png", exif=exif)
    picture = read_picture(tmp_path / "turned.png")
    assert picture.size == (5, 7)
    assert np.array_equal(to_uint8(picture.pixels), np.rot90(rgb, -1))
    kept = Image.Exif()
    kept.load(picture.exif)
    assert 0x0112 not in kept and kept[0x010E] == "a title"


def test_profiles_are_kept(rgb, tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(rgb).save(tmp_path / "in.png", icc_profile=profile)
    write_image(to_pil(read_picture(tmp_path / "in.png")), tmp_path / "out.png")
    assert Image.open(tmp_path / "out.png").info["icc_profile"] == profile


def test_what_would_be_lost_is_refused(rgb, tmp_path):
    with pytest.raises(ImageError, match="CMYK"):
        read_picture(Image.fromarray(rgb).convert("CMYK"))
    frames = [Image.fromarray(rgb), Image.fromarray(255 - rgb)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="holds 2 pictures"):
        read_picture(tmp_path / "moving.gif")


@pytest.mark.parametrize("bad", [np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4), np.int64)])
def test_strange_arrays_are_refused(bad):
    with pytest.raises(ImageError, match="expected uint8"):
        read_picture(bad)


def test_tensors_out_of_range_are_refused():
    with pytest.raises(ImageError, match="divide by 255"):
        read_picture(torch.full((3, 4, 4), 200.0))


def test_bad_files_are_named(tmp_path, rgb):
    with pytest.raises(ImageError, match="does not exist"):
        read_picture(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ImageError, match="no picture"):
        read_picture(tmp_path / "text.png")
    buffer = io.BytesIO()
    Image.fromarray(np.tile(rgb, (40, 40, 1))).save(buffer, "PNG")
    (tmp_path / "cut.png").write_bytes(buffer.getvalue()[: buffer.tell() // 2])
    with pytest.raises(ImageError, match="damaged"):
        read_picture(tmp_path / "cut.png")
    with pytest.raises(ImageError, match="folder"):
        read_picture(tmp_path)


def test_an_unwritable_mode_leaves_the_old_file(tmp_path, rgb):
    target = tmp_path / "out.jpg"
    target.write_bytes(b"old")
    with pytest.raises(ImageError, match="use .png"):
        write_image(Image.fromarray(rgb).convert("RGBA"), target)
    assert target.read_bytes() == b"old"
    with pytest.raises(ImageError, match="suffix"):
        write_image(Image.fromarray(rgb), tmp_path / "out.xyz")


def test_planes_round_trip_and_damage_is_named(rgb):
    plane = rgb[:, :, 0]
    assert np.array_equal(unpack_plane(pack_plane(plane), (7, 5)), plane)
    with pytest.raises(ImageError, match="alpha"):
        unpack_plane(pack_plane(plane), (8, 5))
    with pytest.raises(ImageError, match="alpha"):
        unpack_plane(b"nonsense", (7, 5))


def test_the_packaged_photographs_are_there():
    for name, path in demo_photos().items():
        assert min(read_picture(path).size) > 256, name
