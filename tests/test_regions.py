"""Quality by place: gains follow a map, the map travels in the file, everything else goes on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

import dictco_lib
from dictco_lib.bitstream import Chunk, ChunkType, pack, unpack
from dictco_lib.book.inspect.bitstream import border_step
from dictco_lib.chunks import map_of
from dictco_lib.cli import main
from dictco_lib.coding import code_latent, decode, encode, to_latent
from dictco_lib.errors import BadHeader, OptionError, QualityError
from dictco_lib.images import pack_plane
from dictco_lib.models import Codec
from dictco_lib.rate_control import encode_to
from dictco_lib.regions import ELSEWHERE, level_at, quality_map, read_regions

BOX = (64, 32, 96, 80)


def psnr(a, b) -> float:
    return 10 * np.log10(255**2 / np.mean((np.float64(a) - np.float64(b)) ** 2))


@pytest.fixture(scope="module")
def coffee() -> np.ndarray:
    return np.ascontiguousarray(data.coffee()[80:272, 150:406])


def inside(image) -> np.ndarray:
    x, y, width, height = BOX
    return np.asarray(image)[y : y + height, x : x + width]


def outside(image) -> np.ndarray:
    kept = np.ones(np.asarray(image).shape[:2], bool)
    x, y, width, height = BOX
    kept[y - 16 : y + height + 16, x - 16 : x + width + 16] = False
    return np.asarray(image)[kept]


def test_a_region_gets_its_quality_and_the_rest_keeps_its_own(classroom, coffee):
    low, high = (encode(classroom, coffee, quality) for quality in (20, 90))
    mixed = encode(classroom, coffee, 20, regions=[(BOX, 90)])
    assert len(low.data) < len(mixed.data) < len(high.data)
    shown = {name: decode(classroom, e.data) for name, e in (("l", low), ("h", high), ("m", mixed))}
    for part, like in ((inside, "h"), (outside, "l")):
        wanted = psnr(part(shown[like]), part(coffee))
        assert abs(psnr(part(shown["m"]), part(coffee)) - wanted) < 0.7
    # The map costs a few bytes, and the bits add up to the file.
    assert mixed.bits["map"] < 8 * 40 and sum(mixed.bits.values()) == 8 * len(mixed.data)


def test_a_lower_quality_saves_bits_there(classroom, coffee):
    whole = encode(classroom, coffee, 70)
    mixed = encode(classroom, coffee, 70, regions=[(BOX, 0)])
    assert len(mixed.data) < len(whole.data)


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee"])
def test_no_border_shows_where_a_quality_ends(classroom, name):
    """Even between the lowest and the highest: against the photo's, steps are as low as beside."""
    photo = np.ascontiguousarray(getattr(data, name)()[:256, 100:356])
    shown = np.asarray(decode(classroom, encode(classroom, photo, 0, regions=[(BOX, 100)]).data))
    ratio = {d: border_step(shown, BOX, d) / border_step(photo, BOX, d) for d in (-2, 0, 2)}
    assert ratio[0] < 1.15 * max(ratio[-2], ratio[2])
    edged = shown.copy()
    inside(edged)[:] = np.clip(inside(edged).astype(int) + 10, 0, 255)  # it would be seen
    assert border_step(edged, BOX) / border_step(photo, BOX) > 1.15 * max(ratio[-2], ratio[2])


def test_steps_across_a_border_are_those_of_the_pixels_that_touch():
    box = np.zeros((20, 30, 3), np.uint8)
    box[5:13, 4:18] = 10
    assert [border_step(box, (4, 5, 14, 8), d) for d in (-2, 0, 2)] == [0, 10, 0]
    for shift, touching in (((0, 1), 26), ((0, -1), 26), ((1, 0), 14), ((-1, 0), 14)):  # of 44
        moved = np.roll(box, shift, (0, 1))
        assert border_step(moved, (4, 5, 14, 8)) == pytest.approx(10 * touching / 44)
    for wrong in ((0, 5, 14, 8), (4, 5, 26, 8), (4, 0, 14, 8), (4, 12, 14, 8)):
        with pytest.raises(OptionError, match="no border"):
            border_step(box, wrong)
    with pytest.raises(OptionError, match="no border"):
        border_step(box, (4, 5, 14, 8), -4)


def test_a_map_of_one_quality_is_that_quality(nano, coffee):
    everywhere = [((0, 0, 256, 192), 60)]
    mapped, plain = encode(nano, coffee, 10, regions=everywhere), encode(nano, coffee, 60)
    streams = [
        [c.data for c in unpack(e.data).chunks if c.type not in (ChunkType.MAP, ChunkType.GUARD)]
        for e in (mapped, plain)
    ]
    assert streams[0] == streams[1]
    assert decode(nano, mapped.data).tobytes() == decode(nano, plain.data).tobytes()


def test_tiles_crops_slices_and_cut_files_follow_the_map(nano, coffee):
    regions = [(BOX, 95), ((200, 100, 56, 92), 5)]
    whole = encode(nano, coffee, 40, regions=regions)
    tiled = encode(nano, coffee, 40, regions=regions, tile=4)
    assert unpack(tiled.data).tile == 4
    shown = np.asarray(decode(nano, tiled.data))
    assert psnr(shown, decode(nano, whole.data)) > 25
    part = np.asarray(decode(nano, tiled.data, crop=(70, 40, 60, 50)))
    assert (part == shown[40:90, 70:130]).all()
    coarse = decode(nano, whole.data, slices=1)
    cut = whole.data[: len(whole.data) - len(unpack(whole.data).chunks[-1].data)]
    assert np.asarray(coarse).shape == np.asarray(decode(nano, cut, partial=True)).shape


def test_a_mask_blends(nano, coffee, tmp_path):
    grey = np.zeros(coffee.shape[:2], np.uint8)
    grey[:, 64:128], grey[:, 128:] = 128, 255
    Image.fromarray(grey).save(tmp_path / "mask.png")
    for mask in (grey, tmp_path / "mask.png"):
        plane = map_of(unpack(encode(nano, coffee, 20, regions=[(mask, 80)]).data))
        assert plane.shape == (12, 16)
        assert set(plane[:, :4].flat) == {ELSEWHERE} and set(plane[:, 8:].flat) == {80}
        assert set(plane[:, 4:8].flat) == {50}


def test_later_regions_lie_on_top_and_every_place_touched_counts(nano, photo):
    image = dictco_lib.images.read_image(photo)  # 301 x 203
    regions = read_regions(nano, [((0, 0, 301, 203), 50), ((15, 15, 2, 2), 90)], image)
    plane = quality_map(regions, 33.33)
    assert plane.shape == (16, 20)
    assert (plane[:2, :2] == 90).all() and (plane == 90).sum() == 4
    assert (plane[:13, :19] >= 50).all()
    levels = level_at(nano, 33.33, plane, (0, 0, 16, 20))
    assert levels.dtype == torch.float64 and levels.shape == (1, 16, 20)
    assert levels[0, 15, 19] == nano.level(33.33, torch.empty(1, dtype=torch.float64))[0]


def test_a_target_searches_the_quality_of_the_rest(nano, coffee):
    found = encode_to(nano, coffee, max_bytes=9000, regions=[(BOX, 90)])
    assert len(found.data) <= 9000 and unpack(found.data).of_type(ChunkType.MAP)
    encoded, y_hat = code_latent(nano, to_latent(nano, coffee, regions=[(BOX, 90)]), 30)
    assert y_hat.isfinite().all()
    assert encoded.data == encode(nano, coffee, 30, regions=[(BOX, 90)]).data


@pytest.mark.parametrize(
    ("regions", "error", "message"),
    [
        ([((0, 0, 10, 10), 101)], QualityError, "101, expected a whole number"),
        ([((0, 0, 10, 10), 50.5)], QualityError, "expected a whole number"),
        ([((0, 0, 10, 10), float("nan"))], QualityError, "expected a whole number"),
        ([((0, 0, 10, 10), None)], QualityError, "expected a whole number"),
        ([((0, 0, 302, 10), 50)], OptionError, "has 301x203 pixels"),
        ([((-1, 0, 10, 10), 50)], OptionError, "x, y, width and height"),
        ([((0, 0, 0, 10), 50)], OptionError, "x, y, width and height"),
        ([((0, 0, 10), 50)], OptionError, "x, y, width and height"),
        ([((0, 0, 10, 1.5), 50)], OptionError, "expected a whole number"),
        ([(np.zeros((4, 4), np.uint8), 50)], OptionError, "mask has 4x4 pixels"),
        ([5], OptionError, "expected .place, quality"),
        ("0,0,10,10:50", OptionError, "expected a list"),
        ([((0, 0, 1, 1), 1)] * 1001, OptionError, "give a mask"),
    ],
)
def test_what_is_no_region_is_named(nano, photo, regions, error, message):
    with pytest.raises(error, match=message):
        encode(nano, photo, 50, regions=regions)


def test_a_model_without_gains_refuses(photo):
    fixed = Codec.from_preset("nano")
    config = type(fixed.config).from_dict(fixed.config.to_dict() | {"lmbdas": []})
    torch.manual_seed(0)
    fixed = Codec(config).eval()
    fixed.update()
    with pytest.raises(QualityError, match="no gains"):
        encode(fixed, photo, regions=[((0, 0, 10, 10), 50)])


@pytest.mark.parametrize("what", ["no quality", "nothing", "short", "cut", "twice"])
def test_a_map_that_no_encoder_writes_is_refused(nano, photo, what):
    container = unpack(encode(nano, photo, 50, regions=[((0, 0, 32, 32), 90)]).data)
    at = next(i for i, c in enumerate(container.chunks) if c.type == ChunkType.MAP)
    plane = map_of(container)
    bad = {
        "no quality": pack_plane(np.full_like(plane, 101)),
        "nothing": pack_plane(np.full_like(plane, ELSEWHERE)),
        "short": pack_plane(plane[:-1]),
        "cut": container.chunks[at].data[:-3],
        "twice": container.chunks[at].data,
    }[what]
    container.chunks[at] = Chunk(ChunkType.MAP, bad)
    if what == "twice":
        container.chunks.insert(at, container.chunks[at])
    with pytest.raises(BadHeader):
        decode(nano, pack(container))


def test_the_command_line_takes_boxes_and_masks(tmp_path, coffee, capsys):
    Image.fromarray(coffee).save(tmp_path / "a.png")
    mask = np.zeros(coffee.shape[:2], np.uint8)
    mask[100:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    source, target = str(tmp_path / "a.png"), str(tmp_path / "a.dco")
    ask = ["compress", source, target, "--quality", "20", "--region", "64,32,96,80:90"]
    assert main([*ask, "--region", f"{tmp_path / 'mask.png'}:0"]) == 0
    assert main(["inspect", target]) == 0
    said = capsys.readouterr().out
    assert "regions  0 on " in said and "90 on " in said and "map" in said
    assert main(["decompress", target, str(tmp_path / "b.png")]) == 0
    for text in ("64,32,96,80", ":90", "64,32,96,80:x", "nowhere.png:50", "1,2,3:50"):
        assert main(["compress", source, str(tmp_path / "c.dco"), "--region", text]) != 0
        assert not (tmp_path / "c.dco").exists()
    assert main(["compress", source, str(tmp_path / "c.bin"), "--region", "0,0,9,9:50"]) != 0
    assert "--region would be ignored" in capsys.readouterr().err
