"""Large images and parts of them: what is read, decoded and held is what is needed."""

from __future__ import annotations

import io
import subprocess
import sys
import textwrap
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

import dictco_lib
from dictco_lib.bitstream import ChunkType, pack, unpack
from dictco_lib.checkpoints import save_checkpoint
from dictco_lib.cli import main
from dictco_lib.coding import decode_image, decode_latent, encode, read_header, to_latent
from dictco_lib.errors import BadChecksum, BadHeader, BitstreamError, DictcoError, OptionError
from dictco_lib.evaluation.memory import large_image, measure_memory
from dictco_lib.images import pack_plane, read_image, rounded, unpack_plane, write_image
from dictco_lib.images.planes import image_samples
from dictco_lib.models.codec import pad_to_stride
from dictco_lib.tiles import HALO, analyse, cut, synthesise_tiles, tile_boxes, tiles_of

WIDTH, HEIGHT = 301, 203  # of the fixture, with tiles of 4 (64 pixels): 5 x 4 of them


def image_of(kind: str, photo: np.ndarray) -> object:
    if kind == "grey":
        return np.ascontiguousarray(photo[:, :, 1])
    if kind == "16 bits":
        return photo[:, :, 1].astype(np.uint16) * 257 + 3
    if kind == "alpha":
        image = Image.fromarray(photo)
        image.putalpha(Image.fromarray(np.ascontiguousarray(photo[:, :, 0])))
        return image
    return photo


@pytest.fixture(scope="module")
def tiled(nano, photo):
    return encode(nano, photo, 60, tile=4)


@pytest.mark.parametrize(
    ("kind", "tile"), [("colours", 4), ("alpha", 8), ("grey", 8), ("16 bits", 8), ("colours", 64)]
)
def test_a_crop_is_a_part_of_the_whole(nano, photo, kind, tile):
    encoded = encode(nano, image_of(kind, photo), 60, tile=tile)
    whole = dictco_lib.decode(nano, encoded)
    rng = np.random.default_rng(tile)
    crops = [(WIDTH - 1, HEIGHT - 1, 1, 1), (127, 128, 2, 1), (0, 150, WIDTH, 3)]
    for _ in range(2):
        x, y = int(rng.integers(WIDTH)), int(rng.integers(HEIGHT))
        crops.append((x, y, int(rng.integers(1, WIDTH - x + 1)), int(rng.integers(1, HEIGHT - y))))
    for x, y, width, height in crops:
        height = min(height, HEIGHT - y)
        part = dictco_lib.decode(nano, encoded, crop=(x, y, width, height))
        assert part.mode == whole.mode
        want = np.asarray(whole)[y : y + height, x : x + width]
        assert np.array_equal(np.asarray(part), want), (x, y, width, height)


def test_a_crop_keeps_the_profile_and_follows_slices(nano, photo, tmp_path):
    image = Image.fromarray(photo)
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.info["icc_profile"] = profile
    encoded = encode(nano, image, 60, tile=4)
    part = dictco_lib.decode(nano, encoded, crop=(70, 70, 20, 10), slices=1)
    whole = dictco_lib.decode(nano, encoded, slices=1)
    assert part.info["icc_profile"] == profile
    assert np.array_equal(part, np.asarray(whole)[70:80, 70:90])


def test_only_tiles_that_a_crop_needs_are_decoded(nano, tiled, monkeypatch):
    counts = {"decoded": 0, "synthesised": 0}
    original = type(nano.latent_codec).decompress

    def spy(*args):
        counts["decoded"] += 1
        return original(*args)

    monkeypatch.setattr(type(nano.latent_codec), "decompress", spy)

    def count(*_):
        counts["synthesised"] += 1

    handle = nano.g_s.register_forward_hook(count)
    try:
        # One tile in a corner, with two tiles of four samples beside and below: eight are seen.
        dictco_lib.decode(nano, tiled, crop=(0, 0, 64, 64))
        assert counts == {"decoded": 9, "synthesised": 1}
        counts.update(decoded=0, synthesised=0)
        dictco_lib.decode(nano, tiled)
        assert counts == {"decoded": 20, "synthesised": 1}  # so small tiles go together
    finally:
        handle.remove()


class Watched(io.BytesIO):
    """A file that counts what is read of it."""

    count = 0

    def read(self, *args):
        data = super().read(*args)
        self.count += len(data)
        return data


def test_only_bytes_that_a_crop_needs_are_read(nano, photo):
    big = np.tile(photo, (2, 3, 1))
    encoded = encode(nano, big, 60, tile=8)
    file = Watched(encoded.data)
    dictco_lib.decode(nano, file, crop=(0, 0, 100, 100))
    assert file.count < 0.4 * len(encoded.data)  # 4 of 32 tiles, the table twice
    file = Watched(encoded.data)
    assert read_header(file).width == 903
    assert file.count < 0.15 * len(encoded.data)


def test_damage_elsewhere_does_not_harm_a_crop_and_damage_inside_is_named(nano, tiled, tmp_path):
    last = bytearray(tiled.data)
    last[-1] ^= 1  # of the last slice of the last tile
    path = tmp_path / "damaged.dco"
    path.write_bytes(last)
    with pytest.raises(BadChecksum):
        dictco_lib.decode(nano, path)
    part = dictco_lib.decode(nano, path, crop=(0, 0, 64, 64))
    assert np.array_equal(part, np.asarray(dictco_lib.decode(nano, tiled))[:64, :64])
    with pytest.raises(BadChecksum):
        dictco_lib.decode(nano, path, crop=(WIDTH - 1, HEIGHT - 1, 1, 1))


def test_a_crop_of_a_cut_file_shows_what_is_there(nano, tiled):
    cut_off = tiled.data[:-30]
    with pytest.raises(BitstreamError, match="early"):
        dictco_lib.decode(nano, cut_off, crop=(0, 0, 10, 10))
    whole = dictco_lib.decode(nano, cut_off, partial=True)
    part = dictco_lib.decode(nano, cut_off, partial=True, crop=(5, 6, 70, 80))
    assert np.array_equal(part, np.asarray(whole)[6:86, 5:75])


@pytest.mark.parametrize(
    "crop",
    [(0, 0, 302, 1), (-1, 0, 5, 5), (0, 203, 1, 1), (0, 0, 0, 5), (10**30, 0, 1, 1)],
)
def test_a_crop_outside_the_image_is_named_with_its_size(nano, tiled, crop):
    with pytest.raises(OptionError, match="301x203"):
        dictco_lib.decode(nano, tiled, crop=crop)


def test_the_command_crops(nano, tiled, tmp_path, capsys):
    save_checkpoint(nano, tmp_path / "nano.safetensors")
    (tmp_path / "a.dco").write_bytes(tiled.data)
    arguments = [str(tmp_path / name) for name in ("a.dco", "a.png")]
    model = ["--model", str(tmp_path / "nano.safetensors")]
    assert main(["decompress", *arguments, "--crop", "70,30,100,40", *model]) == 0
    assert "100x40 RGB" in capsys.readouterr().out
    want = np.asarray(dictco_lib.decode(nano, tiled))[30:70, 70:170]
    assert np.array_equal(Image.open(tmp_path / "a.png"), want)
    for crop in ("1,2,3", "a,b,c,d", "0,0,9999,1", "1.5,0,1,1", "-1,0,5,5", "-.5,0,5,5"):
        for option in (["--crop", crop], [f"--crop={crop}"]):
            assert main(["decompress", *arguments, *option, *model]) == 1
            assert "dictco: error: " in (err := capsys.readouterr().err) and "crop" in err
    assert np.array_equal(Image.open(tmp_path / "a.png"), want)


@pytest.mark.parametrize("kind", ["colours", "grey", "16 bits"])
def test_tiles_are_padded_as_the_whole_would_be(nano, photo, kind):
    image = read_image(image_of(kind, photo))
    padded = pad_to_stride(image.pixels[None])
    whole = read_image(padded[0])
    for box in tile_boxes((16, 20), 4):
        assert torch.equal(analyse(nano, image, box), analyse(nano, whole, box))


def test_rounding_by_tiles_is_rounding_of_the_whole(nano, photo):
    for kind in ("colours", "grey", "16 bits"):
        image = read_image(image_of(kind, photo))
        data = encode(nano, image, 60, tile=8).data
        decoded, _ = decode_image(nano, data)
        y_hat, boxes = decode_latent(nano, unpack(data))
        floats = torch.empty(3, 256, 320)
        for (top, left, bottom, right), x in synthesise_tiles(
            nano, cut(y_hat, boxes), boxes, (16, 20)
        ):
            floats[:, 16 * top : 16 * bottom, 16 * left : 16 * right] = x
        x = floats[:, :HEIGHT, :WIDTH].clamp(0, 1)
        if kind == "colours":
            want = (x * 255).round().byte().permute(1, 2, 0).numpy()
        elif kind == "grey":
            want = (x.mean(0) * 255).round().byte().numpy()
        else:
            want = (x.double().mean(0) * 65535).round().numpy().astype(np.uint16)
        assert np.array_equal(decoded.samples, want)
        assert np.array_equal(rounded(x, kind != "colours", kind == "16 bits"), want)


def test_synthesis_asks_for_few_rows_ahead_and_never_for_the_whole(nano):
    rows, cols, tile = 10, 3, 12
    shape = (rows * tile, cols * tile)
    boxes = tile_boxes(shape, tile)
    asked = []

    def parts():
        for box in boxes:
            asked.append(box[0] // tile)
            yield box, torch.zeros(1, nano.config.M, tile, tile)

    shown = 0
    for box, x in synthesise_tiles(nano, parts(), boxes, shape):
        assert asked[-1] <= box[0] // tile + 1 + 1  # the row below, and the look at the next
        assert x.shape == (3, 16 * tile, 16 * tile)
        shown += 1
    assert shown == rows * cols


def test_tiles_smaller_than_the_halo_get_all_their_surroundings():
    boxes = tile_boxes((40, 40), 4)
    read, shown = tiles_of(boxes, (160, 160, 161, 161))
    assert [boxes[i] for i in shown] == [(8, 8, 12, 12)]
    tops = {boxes[i][0] for i in read}
    assert tops == {0, 4, 8, 12, 16} and HALO == 8
    assert len(read) == 25


def test_latents_in_memory_are_no_larger_than_their_tiles(nano, photo):
    for y in to_latent(nano, photo, tile=8).y:
        assert y.untyped_storage().nbytes() == 4 * y.numel()


def test_windows_of_planes_are_parts_of_them():
    rng = np.random.default_rng(0)
    plane = np.repeat(rng.integers(0, 256, (700, 40), dtype=np.uint8), 50, axis=1)  # some strips
    data = pack_plane(plane)
    assert zlib.decompress(data) == np.diff(plane, axis=1, prepend=np.uint8(0)).tobytes()
    assert np.array_equal(unpack_plane(data, (2000, 700)), plane)
    for window in ((0, 0, 1, 1), (523, 7, 526, 1999), (699, 0, 700, 2000), (10, 20, 690, 30)):
        top, left, bottom, right = window
        part = unpack_plane(data, (2000, 700), window)
        assert np.array_equal(part, plane[top:bottom, left:right])
    for damaged in (data + b"x", data[:-1], zlib.compress(plane.tobytes() + b"x")):
        with pytest.raises(BadHeader, match="alpha"):
            unpack_plane(damaged, (2000, 700))


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA"])
def test_samples_strip_by_strip_are_those_of_the_whole(photo, mode):
    image = Image.fromarray(np.tile(photo, (9, 3, 1))).convert(mode)
    assert np.array_equal(image_samples(image, "RGB"), np.asarray(image.convert("RGB")))


def test_a_file_of_the_same_image_is_the_same_by_halves_and_at_once(nano, photo):
    from dictco_lib.coding import code_latent

    encoded, y_hat = code_latent(nano, to_latent(nano, photo, tile=8), 60)
    assert encoded.data == encode(nano, photo, 60, tile=8).data
    assert y_hat.shape == (1, nano.config.M, 16, 20)
    assert code_latent(nano, to_latent(nano, photo, tile=8), 60, keep=False)[1] is None
    order = [chunk.type for chunk in unpack(encoded.data).chunks]
    assert order == sorted(order, key=[ChunkType.SUMS, ChunkType.Z, *range(16, 32)].index)
    assert pack(unpack(encoded.data)) == encoded.data


SCRIPT = """
    import re, sys
    import numpy as np
    from PIL import Image
    import dictco_lib
    from dictco_lib.images import write_image

    def peak():
        with open("/proc/self/status") as file:
            return int(re.search(r"VmHWM:\\s+(\\d+)", file.read())[1]) / 1024

    model = dictco_lib.load(sys.argv[1])
    for name in ("small", "large"):
        encoded = dictco_lib.encode(model, f"{name}.png", fast=True, tile=32)
        print(peak())
        write_image(dictco_lib.decode(model, encoded), f"{name}.back.png")
        print(peak())
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_grows_by_the_samples_of_the_image_and_little_else(nano, tmp_path):
    save_checkpoint(nano, tmp_path / "nano.safetensors")
    # Both are so large that a block of tiles lies amid others, with all its surroundings.
    for name, side in (("small", 2600), ("large", 5600)):
        write_image(Image.fromarray(large_image(side, side)), tmp_path / f"{name}.png")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), "nano.safetensors"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    _, small, encoding, decoding = map(float, done.stdout.split())
    # Pillow's image (4 bytes per pixel) and the samples (3), once; floats alone would take 12.
    # Against the peak after both ways of the small one: the larger of their constant parts.
    # Those differ by up to 60 MB from run to run, hence a second image that adds far more.
    growth = (5600**2 - 2600**2) / 2**20
    assert encoding - small < 9.5 * growth
    assert decoding - small < 9.5 * growth


@pytest.mark.slow
def test_the_measuring_tool_measures(nano, tmp_path):
    save_checkpoint(nano, tmp_path / "nano.safetensors")
    costs = list(measure_memory((0.01,), ("--model", str(tmp_path / "nano.safetensors"))))
    assert [cost.command for cost in costs] == ["compress", "decompress"]
    assert all(50 < cost.peak_mb < 5000 and 0.1 < cost.seconds < 300 for cost in costs)
    with pytest.raises(DictcoError, match="no-such-model"):
        list(measure_memory((0.01,), ("--model", str(tmp_path / "no-such-model"))))
    with pytest.raises(OptionError, match="above 0"):
        list(measure_memory((0,)))
