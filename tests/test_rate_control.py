"""Rate control: sizes, rates and PSNR are hit on the real file, in a few passes."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from skimage import data

import dictco_lib
from dictco_lib import rate_control
from dictco_lib.bitstream import unpack
from dictco_lib.coding import encode
from dictco_lib.config import NANO
from dictco_lib.errors import QualityError, TargetError
from dictco_lib.evaluation.metrics import psnr, ssimulacra2
from dictco_lib.images import eight_bit, read_image
from dictco_lib.models import DictionaryCodec
from dictco_lib.rate_control import MAX_PASSES, encode_to, encode_to_average


@pytest.fixture
def passes(nano, monkeypatch):
    """Counts what the search costs: runs of g_a, and passes of the entropy model."""
    counts = {"g_a": 0, "entropy": 0, "g_s": 0}
    original = type(nano.latent_codec).compress_with_latent

    def spy(self, *args, **named):
        counts["entropy"] += 1
        return original(self, *args, **named)

    def add(name):
        return lambda *_: counts.update({name: counts[name] + 1})

    monkeypatch.setattr(type(nano.latent_codec), "compress_with_latent", spy)
    handles = [nano.get_submodule(n).register_forward_hook(add(n)) for n in ("g_a", "g_s")]
    yield counts
    for handle in handles:
        handle.remove()


def range_of(model, photo):
    return [encode(model, photo, q) for q in (0, 100)]


@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.97])
def test_bits_per_pixel_are_hit_within_one_percent(nano, photo, passes, part):
    small, large = (encoded.bpp for encoded in range_of(nano, photo))
    passes.update(dict.fromkeys(passes, 0))
    target = small * (large / small) ** part
    found = encode_to(nano, photo, bpp=target)
    assert 8 * len(found.data) / (301 * 203) == pytest.approx(target, rel=0.01)
    assert passes == {"g_a": 1, "entropy": found.passes, "g_s": 0}
    assert found.passes <= 6  # 12 are allowed; a smooth curve takes few
    assert not found.is_bound and found.psnr is None
    assert dictco_lib.decode(nano, found.data).size == (301, 203)


@pytest.mark.parametrize("part", [0.05, 0.5, 0.95])
def test_a_size_is_never_exceeded_and_nearly_used_up(nano, photo, part):
    small, large = (len(encoded.data) for encoded in range_of(nano, photo))
    limit = round(small * (large / small) ** part)
    found = encode_to(nano, photo, max_bytes=limit)
    assert 0.98 * limit <= len(found.data) <= limit
    assert found.passes <= 6


@pytest.mark.parametrize("part", [0.05, 0.5, 0.95])
def test_the_decoded_image_has_the_psnr_that_was_asked_for(nano, photo, passes, part):
    decoded = [dictco_lib.decode(nano, e.data) for e in range_of(nano, photo)]
    low, high = (psnr(photo, np.array(image)) for image in decoded)
    passes.update(dict.fromkeys(passes, 0))
    target = low + part * (high - low)
    found = encode_to(nano, photo, min_psnr=target)
    assert passes == {"g_a": 1, "entropy": found.passes, "g_s": found.passes}
    got = psnr(photo, np.array(dictco_lib.decode(nano, found.data)))
    assert target <= got <= target + 0.05
    assert found.psnr == got
    assert found.passes <= 6


@pytest.mark.parametrize("wish", [{"bpp": 0.8}, {"max_bytes": 8000}, {"min_psnr": 30.0}])
def test_the_shipped_model_keeps_the_promises(classroom, photo, wish):
    found = encode_to(classroom, photo, **wish)
    assert 0.792 <= found.bpp <= 0.808 or "bpp" not in wish
    assert 7840 <= len(found.data) <= 8000 or "max_bytes" not in wish
    got = psnr(photo, np.array(dictco_lib.decode(classroom, found.data)))
    assert 30 <= got <= 30.05 or "min_psnr" not in wish
    assert found.passes <= 6


def test_the_file_is_the_one_that_its_quality_gives(nano, photo):
    found = encode_to(nano, photo, bpp=1.0, tile=4)
    assert unpack(found.data).quality == found.quality
    assert found.data == encode(nano, photo, found.quality, tile=4).data
    assert sum(found.bits.values()) == 8 * len(found.data)


def test_each_tile_is_analysed_once(nano, photo, passes):
    tiles = 4 * 5  # 13 x 19 latent samples, padded to 16 x 20
    found = encode_to(nano, photo, min_psnr=27.0, tile=4)
    assert unpack(found.data).tile == 4
    assert found.passes > 1
    # Tiles this small are synthesised together: the whole image at once.
    assert passes == {"g_a": tiles, "entropy": found.passes * tiles, "g_s": found.passes}
    assert psnr(photo, np.array(dictco_lib.decode(nano, found.data))) == found.psnr


def test_all_that_is_in_the_file_counts(nano, photo):
    from PIL import Image

    image = Image.fromarray(photo)
    image.putalpha(Image.fromarray(photo[:, :, 1]))
    smallest = len(encode(nano, image, 0).data)
    found = encode_to(nano, image, max_bytes=smallest + 2000)
    assert 0.98 * (smallest + 2000) <= len(found.data) <= smallest + 2000
    assert dictco_lib.decode(nano, found.data).mode == "RGBA"


def test_grey_is_measured_as_it_is_shown(nano, photo):
    grey = photo[:, :, 0].copy()
    want = eight_bit(read_image(grey))
    assert np.array_equal(want, np.repeat(grey[:, :, None], 3, 2))
    found = encode_to(nano, grey, min_psnr=29.0)
    shown = np.array(dictco_lib.decode(nano, found.data))
    assert psnr(grey, shown) == pytest.approx(found.psnr, abs=1e-9)
    assert 29.0 <= found.psnr <= 29.05 or found.is_bound


def test_fast_files_keep_the_limit_too(nano, photo):
    found = encode_to(nano, photo, max_bytes=9000, fast=True)
    assert unpack(found.data).flags
    assert 0.98 * 9000 <= len(found.data) <= 9000


def test_more_than_quality_100_takes_is_quality_100(nano, photo):
    found = encode_to(nano, photo, max_bytes=10**7)
    assert found.quality == 100 and found.is_bound and found.passes == 2
    assert found.data == encode(nano, photo, 100).data


def test_less_than_quality_0_gives_is_quality_0(nano, photo):
    found = encode_to(nano, photo, min_psnr=5.0)
    assert found.quality == 0 and found.is_bound and found.psnr > 5
    assert found.data == encode(nano, photo, 0).data


@pytest.mark.parametrize(
    "wish", [{"bpp": 0.001}, {"bpp": 50.0}, {"max_bytes": 300}, {"min_psnr": 70.0}]
)
def test_what_is_out_of_range_is_named_with_the_range(nano, photo, passes, wish):
    with pytest.raises(TargetError, match="quality 0 gives .* quality 100 gives .*in between"):
        encode_to(nano, photo, **wish)
    assert passes["entropy"] <= 3


def test_tiny_images_get_the_step_below_the_limit(classroom, photo, passes):
    tiny = photo[:8, :8].copy()
    small, large = (len(encoded.data) for encoded in range_of(classroom, tiny))
    is_coarse = False
    for limit in range(small, large, 3):  # streams are whole 32-bit words: not all can be had
        passes["entropy"] = 0
        found = encode_to(classroom, tiny, max_bytes=limit)
        assert len(found.data) <= limit and passes["entropy"] <= MAX_PASSES
        assert found.is_bound == (len(found.data) < 0.98 * limit)
        is_coarse |= found.is_bound
    assert is_coarse, f"every size from {small} to {large} could be had"


def test_rates_between_two_steps_are_named_with_the_nearest(classroom, photo, passes):
    tiny = photo[:8, :8].copy()
    small, large = (len(encoded.data) for encoded in range_of(classroom, tiny))
    for size in range(small + 1, large):
        passes["entropy"] = 0
        try:
            found = encode_to(classroom, tiny, bpp=size / 8)
            assert found.bpp == pytest.approx(size / 8, rel=0.01)
        except TargetError as error:
            steps = re.findall(r"([\d.]+) bpp at quality", str(error))
            assert float(steps[0]) < size / 8 < float(steps[1])
            assert passes["entropy"] <= MAX_PASSES
            return
    pytest.fail(f"every size from {small} to {large} could be had")


def test_small_images_get_the_next_better_psnr(nano, photo, passes):
    tiny = photo[:16, :16].copy()
    low, high = (
        psnr(tiny, np.array(dictco_lib.decode(nano, e.data))) for e in range_of(nano, tiny)
    )
    for part in (0.2, 0.5, 0.8):
        passes["entropy"] = 0
        target = low + part * (high - low)
        found = encode_to(nano, tiny, min_psnr=target)
        assert target <= psnr(tiny, np.array(dictco_lib.decode(nano, found.data))) < target + 1.5
        assert passes["entropy"] == found.passes <= MAX_PASSES


def test_a_flat_image_may_come_back_without_error(nano):
    black = np.zeros((64, 64, 3), np.uint8)
    found = encode_to(nano, black, min_psnr=20.0)
    assert psnr(black, np.array(dictco_lib.decode(nano, found.data))) == found.psnr >= 20


@pytest.mark.parametrize(
    "wish",
    [{}, {"bpp": 1.0, "min_psnr": 30.0}, {"bpp": 0.0}, {"max_bytes": -4}, {"bpp": float("nan")}],
)
def test_one_sensible_target_is_required(nano, photo, wish):
    with pytest.raises(TargetError, match="exactly one|above 0"):
        encode_to(nano, photo, **wish)


def test_a_fixed_rate_model_has_no_rate_to_choose(photo):
    fixed = DictionaryCodec(replace(NANO, lmbdas=())).eval()
    with pytest.raises(TargetError, match="one fixed rate, so bpp"):
        encode_to(fixed, photo, bpp=1.0)


def test_a_wrong_quality_is_named_before_the_work(nano, photo, passes):
    with pytest.raises(QualityError):
        encode(nano, photo, 300)
    assert passes["g_a"] == 0


@pytest.mark.parametrize("target", [50, 65])
def test_the_decoded_image_has_the_ssimulacra2_that_was_asked_for(classroom, target):
    image = np.ascontiguousarray(data.astronaut()[:240, 100:356])
    found = encode_to(classroom, image, ssimulacra2=target)
    got = ssimulacra2(image, np.array(dictco_lib.decode(classroom, found.data)))
    assert target <= got <= target + 0.5
    assert found.ssimulacra2 == got and found.psnr is None and not found.is_bound
    assert found.passes <= 8


def test_ssimulacra2_of_a_small_image_is_refused_by_name(nano, photo):
    with pytest.raises(TargetError, match="sides above 224 pixels, the image has 301x203"):
        encode_to(nano, photo, ssimulacra2=50)


@pytest.fixture
def pictures(photo, tmp_path):
    """Three images of different sizes, of which one is a file."""
    Image.fromarray(photo[:90, :70]).save(tmp_path / "two.png")
    return {"one": photo, "two": tmp_path / "two.png", "three": photo[100:, 150:]}


@pytest.mark.parametrize("part", [0.05, 0.5, 0.95])
def test_several_images_meet_a_rate_together_at_one_quality(nano, pictures, passes, part):
    def rate(files):
        return 8 * sum(len(e.data) for e in files) / sum(e.width * e.height for e in files)

    small, large = (rate([encode(nano, x, q) for x in pictures.values()]) for q in (0, 100))
    target = small * (large / small) ** part
    passes.update(dict.fromkeys(passes, 0))
    found = encode_to_average(nano, pictures, target)
    assert passes["g_a"] == 3 and passes["entropy"] == 3 * found.passes
    assert 0.99 * target <= found.bpp <= target
    assert found.passes <= 6
    assert list(found.files) == list(pictures)
    assert rate(found.files.values()) == found.bpp
    assert found.size == sum(len(e.data) for e in found.files.values())
    for name, image in pictures.items():  # as if the quality had been given
        assert found.files[name].data == encode(nano, image, found.quality).data


def test_images_beyond_what_is_kept_are_analysed_again(nano, pictures, passes, monkeypatch):
    kept = encode_to_average(nano, pictures, 1.0)
    passes.update(dict.fromkeys(passes, 0))
    monkeypatch.setattr(rate_control, "KEPT_PIXELS", 90 * 70)
    again = encode_to_average(nano, pictures, 1.0)
    assert [e.data for e in again.files.values()] == [e.data for e in kept.files.values()]
    assert passes["g_a"] == 1 + 2 * kept.passes


def test_an_average_that_cannot_be_had_is_refused_by_name(nano, pictures, photo, tmp_path):
    for target in (1e-3, 1e3):
        with pytest.raises(TargetError, match=r"cannot be met: quality 0 gives .* bpp"):
            encode_to_average(nano, pictures, target)
    for nonsense in (0, -1, float("nan"), "much"):
        with pytest.raises(TargetError, match="above 0"):
            encode_to_average(nano, pictures, nonsense)
    with pytest.raises(TargetError, match="no images"):
        encode_to_average(nano, {}, 1.0)
    (tmp_path / "broken.png").write_bytes(b"hello")
    with pytest.raises(TargetError, match=r"broken fails \(.*the average is of all images"):
        encode_to_average(nano, pictures | {"broken": tmp_path / "broken.png"}, 1.0)
    fixed = DictionaryCodec(replace(NANO, lmbdas=())).eval()
    fixed.update()
    with pytest.raises(TargetError, match="fixed rate"):
        encode_to_average(fixed, {"one": photo}, 1.0)
