"""Image to bytes and back: exact symbols, honest sizes, tiles, threads, damage."""

from __future__ import annotations

import copy
import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dictco_lib
from dictco_lib.bitstream import (
    Chunk,
    ChunkType,
    Flag,
    pack,
    unpack,
)
from dictco_lib.chunks import MAX_METADATA
from dictco_lib.coding import decode_image, encode
from dictco_lib.config import NANO
from dictco_lib.entropy.streams import EncodingCoder, LatentStreams
from dictco_lib.errors import (
    BadChecksum,
    BadHeader,
    BitstreamError,
    ImageError,
    NotUpdatedError,
    QualityError,
    ShapeError,
    TrainingModeError,
    Truncated,
    WrongModel,
)
from dictco_lib.evaluation.metrics import psnr
from dictco_lib.images import demo_images, read_image, to_uint8
from dictco_lib.images.icc import SRGB, make_profile
from dictco_lib.models import DictionaryCodec
from dictco_lib.plain import PlainFile, decode_plain, encode_plain, pack_plain, unpack_plain
from dictco_lib.training.loss import bits_per_image

GOLDEN = Path(__file__).parent / "expected" / "stream.json"


def encoder_y_hat(model, y, level):
    """What the encoder believes the decoder will get."""
    codec = model.latent_codec.for_coding()
    y, level = y.double(), None if level is None else level.double()
    coder = EncodingCoder(model.latent_codec.tables, [LatentStreams() for _ in y])
    return codec.run(coder, level, y).latent, coder.streams


@pytest.mark.parametrize("size", [(64, 64), (64, 192), (128, 128)])
@pytest.mark.parametrize("quality", [0.0, 37.5, 100.0])
def test_the_decoder_gets_exactly_what_the_encoder_had(nano, crops, size, quality):
    x = crops[:2, :, : size[0], : size[1]]
    y = nano.g_a(torch.nn.functional.pad(x, (0, size[1] - x.shape[3], 0, 0), mode="replicate"))
    level = nano.level(quality, y)
    want, streams = encoder_y_hat(nano, y, level)
    coded = nano.latent_codec.compress(y, level)
    assert [s.slices for s in coded] == [s.slices for s in streams]
    got = nano.latent_codec.for_coding().decompress(coded, y.shape[2:], level.double())
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    again, y_hat = nano.latent_codec.compress_with_latent(y, level)
    assert [s.slices for s in again] == [s.slices for s in streams]
    torch.testing.assert_close(y_hat, want.float(), rtol=0, atol=0)


def test_a_batch_of_three_qualities_is_exact(nano, crops):
    y = nano.g_a(crops[:3])
    level = nano.level(torch.tensor([5.0, 50.0, 95.0]), y)
    want, _ = encoder_y_hat(nano, y, level)
    coded = nano.latent_codec.compress(y, level)
    assert len(coded[0]) < len(coded[1]) < len(coded[2])
    got = nano.latent_codec.for_coding().decompress(coded, y.shape[2:], level.double())
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (63, 65), (64, 64), (203, 301)])
def test_images_of_any_size_come_back(nano, photo, size):
    part = np.ascontiguousarray(photo[: size[0], : size[1]])
    encoded = encode(nano, part, 70)
    assert encoded.bpp == pytest.approx(8 * len(encoded.data) / (size[0] * size[1]))
    assert sum(encoded.bits.values()) == 8 * len(encoded.data)
    back = dictco_lib.decode(nano, encoded.data)
    assert back.size == (size[1], size[0])
    assert psnr(np.array(back), part) > 20


@pytest.mark.parametrize("kind", ["black", "white", "noise"])
def test_extreme_images_come_back(nano, kind):
    pixels = {
        "black": np.zeros((70, 70, 3), np.uint8),
        "white": np.full((70, 70, 3), 255, np.uint8),
        "noise": np.random.default_rng(0).integers(0, 256, (70, 70, 3), dtype=np.uint8),
    }[kind]
    image = dictco_lib.decode(nano, encode(nano, pixels, 100).data)
    assert psnr(np.array(image), pixels) > (10 if kind == "noise" else 30)


def test_the_model_predicts_the_decoded_image(nano, photo):
    x = read_image(photo).pixels[None]
    want = nano(x, 60.0)["x_hat"].clamp(0, 1)[0]
    got = decode_image(nano, encode(nano, photo, 60).data)[0].pixels
    # The file is coded in float64, the model ran in float32: a symbol that lies within their
    # difference of a half may be another one, and moves the pixels around it.
    far = ((got - want).abs().amax(0) > 2e-3).float().mean()
    assert far <= 0.1 and (got - want).square().mean().sqrt() <= 5e-3


# Overhead: 24-bit frequencies, one scale for each of 64 bins (0.2 %), a 32-bit word to close each
# of six streams, header and checksums under 100 bytes. Hence 1 % + 128 bytes.
@pytest.mark.parametrize("name", ["astronaut", "coffee", "rocket"])
@pytest.mark.parametrize("quality", [0.0, 50.0, 100.0])
def test_real_bits_are_estimated_bits(classroom, name, quality):
    image = read_image(demo_images()[name])
    pixels = image.pixels[:, :256, :384]
    with torch.no_grad():
        bits = bits_per_image(classroom(pixels[None], quality)["likelihoods"])
    estimate = sum(v.item() for v in bits.values())
    real = 8 * len(encode(classroom, pixels, quality).data)
    assert abs(real - estimate) <= 0.01 * estimate + 8 * 128


def test_tiles_change_neither_size_nor_image_much(classroom):
    image = read_image(demo_images()["coffee"]).pixels
    whole = encode(classroom, image, 50)
    tiled = encode(classroom, image, 50, tile=16)
    assert unpack(tiled.data).tile == 16
    assert len(tiled.data) < 1.08 * len(whole.data)
    a = decode_image(classroom, whole.data)[0].pixels
    b = decode_image(classroom, tiled.data)[0].pixels
    assert psnr(to_uint8(a), to_uint8(b)) > 35
    columns = (a - b).abs().mean((0, 1))
    assert columns[252:260].max() < 4 * columns.mean()  # no visible seam at pixel 256


def test_alpha_profile_and_exif_travel(nano, photo):
    profile = make_profile(SRGB, (1.8,), is_grey=False)
    image = Image.fromarray(photo)
    image.putalpha(Image.fromarray(photo[:, :, 1]))
    image.info["icc_profile"] = profile
    exif = Image.Exif()
    exif[0x010E] = "a title"
    image.info["exif"] = exif.tobytes()
    back = dictco_lib.decode(nano, encode(nano, image, 50, metadata=True).data)
    assert back.mode == "RGBA"
    assert np.array_equal(np.array(back)[:, :, 3], photo[:, :, 1])
    assert back.info["icc_profile"] == profile
    assert b"a title" in back.info["exif"]
    assert "exif" not in dictco_lib.decode(nano, encode(nano, image, 50).data).info


def test_metadata_that_no_decoder_would_accept_is_not_written(nano, photo):
    image = Image.fromarray(photo)
    profile = make_profile(SRGB, (1.8,), is_grey=False)
    image.info["icc_profile"] = profile.ljust(MAX_METADATA + 1)
    with pytest.raises(ImageError, match="profile has 16777217 bytes"):
        encode(nano, image, 50)
    image = Image.fromarray(photo)
    image.info["exif"] = b"Exif\0\0no such thing"
    with pytest.raises(ImageError, match="EXIF data is damaged"):
        encode(nano, image, 50, metadata=True)
    assert dictco_lib.decode(nano, encode(nano, image, 50).data).size == (301, 203)


@pytest.mark.parametrize(
    ("chunk", "flags", "message"),
    [
        (Chunk(ChunkType.PROFILE, zlib.compress(bytes(MAX_METADATA + 1))), 0, "inflates to over"),
        (Chunk(ChunkType.PROFILE, zlib.compress(b"profile" * 50)[:-5]), 0, "ends early"),
        (Chunk(ChunkType.EXIF, b"nonsense"), 0, "cannot be inflated"),
        (Chunk(ChunkType.ALPHA, zlib.compress(bytes(301 * 202))), 0, "expected 61103"),
        (Chunk(ChunkType.ALPHA, zlib.compress(bytes(301 * 203))), Flag.SIXTEEN_BIT, "16 bits"),
    ],
    ids=["bomb", "cut", "nonsense", "short", "sixteen bits"],
)
def test_hostile_metadata_is_named(nano, photo, chunk, flags, message):
    container = unpack(encode(nano, photo, 0).data)
    container.chunks.append(chunk)
    container.flags |= flags
    with pytest.raises(BadHeader, match=message):
        dictco_lib.decode(nano, pack(container))


def test_grey_images_come_back_grey(nano, photo):
    assert dictco_lib.decode(nano, encode(nano, photo[:, :, 0].copy(), 50).data).mode == "L"


def test_more_slices_show_more(nano, photo):
    data = encode(nano, photo, 80).data
    quality = [
        psnr(np.array(dictco_lib.decode(nano, data, slices=k)), photo)
        for k in range(len(nano.config.groups) + 1)
    ]
    assert quality == sorted(quality)
    with pytest.raises(BadHeader, match="slices"):
        dictco_lib.decode(nano, data, slices=9)


def test_a_cut_file_shows_what_is_there(nano, photo):
    data = encode(nano, photo, 80).data
    last = len(unpack(data).chunks[-1].data)
    cut = data[: len(data) - last // 2]
    with pytest.raises(Truncated):
        dictco_lib.decode(nano, cut)
    shown = np.array(dictco_lib.decode(nano, cut, partial=True))
    want = np.array(dictco_lib.decode(nano, data, slices=len(nano.config.groups) - 1))
    assert np.array_equal(shown, want)
    with pytest.raises(Truncated):
        dictco_lib.decode(nano, data[:90], partial=True)


def test_damage_never_decodes_in_silence(nano, photo):
    data = bytearray(encode(nano, photo, 40).data)
    for i in np.random.default_rng(0).choice(len(data), 60, replace=False):
        data[i] ^= 0x10
        with pytest.raises(BitstreamError):
            dictco_lib.decode(nano, bytes(data))
        data[i] ^= 0x10


def test_wrong_symbols_are_caught_even_when_all_bytes_are_right(nano, photo):
    container = unpack(encode(nano, photo, 40).data)
    sums = bytearray(container.chunks[0].data)
    sums[2] ^= 1  # as if the decoder had read other symbols of slice 0
    container.chunks[0] = replace(container.chunks[0], data=bytes(sums))
    with pytest.raises(BadChecksum, match="slice 0"):
        dictco_lib.decode(nano, pack(container))


def test_another_model_is_refused(nano, photo):
    torch.manual_seed(1)
    other = DictionaryCodec(NANO).eval()
    other.update()
    with pytest.raises(WrongModel, match="give the checkpoint"):
        dictco_lib.decode(other, encode(nano, photo, 40).data)


def test_encoder_and_decoder_use_the_same_float64_level(nano, photo, monkeypatch):
    seen = []
    codec = type(nano.latent_codec)
    for name, place in (("compress", 1), ("decompress", 2)):
        original = getattr(codec, name)

        def spy(self, *args, original=original, place=place):
            seen.append(args[place])
            return original(self, *args)

        monkeypatch.setattr(codec, name, spy)
    dictco_lib.decode(nano, encode(nano, photo, 33.33).data)
    assert seen[0].dtype == torch.float64
    assert torch.equal(seen[0], seen[1])


def test_a_file_cannot_ask_for_unbounded_memory(nano, photo):
    container = unpack(encode(nano, photo, 40).data)
    container.width = container.height = 16384  # a single tile of a million latent samples
    with pytest.raises(BadHeader, match="tiles"):
        dictco_lib.decode(nano, pack(container))


def test_missing_tables_and_wrong_qualities_are_named(nano, photo):
    with pytest.raises(NotUpdatedError, match="update"):
        encode(DictionaryCodec(NANO).eval(), photo, 50)
    with pytest.raises(QualityError):
        encode(nano, photo, 300)


def test_a_model_in_training_mode_does_not_code(nano, photo):
    import copy

    data = encode(nano, photo, 50).data
    model = copy.deepcopy(nano)
    model.g_s.train()
    with pytest.raises(TrainingModeError, match=r"g_s is in training mode.*model.eval\(\)"):
        dictco_lib.decode(model, data)
    with pytest.raises(TrainingModeError):
        encode(model.train(), photo, 50)
    fixed = DictionaryCodec(replace(NANO, lmbdas=()))
    with pytest.raises(TrainingModeError):
        encode_plain(fixed, photo)
    with pytest.raises(TrainingModeError):
        decode_plain(fixed, b"")
    assert encode(model.eval(), photo, 50).data == data


def test_broken_weights_are_named(nano, photo):
    import copy

    model = copy.deepcopy(nano)
    model.g_a[0].conv.bias.fill_(float("nan"))
    with pytest.raises(ShapeError, match="not finite"):
        encode(model, photo, 50)


def test_changed_weights_code_after_an_update_only(nano, photo):
    before = encode(nano, photo, 50).data
    model = copy.deepcopy(nano)
    assert encode(model, photo, 50).data == before
    model.latent_codec.slices[0].mean[0].weight.mul_(1.1)
    with pytest.raises(NotUpdatedError, match="model.update"):
        encode(model, photo, 50)
    with pytest.raises(WrongModel):
        dictco_lib.decode(model, before)
    model.update()
    after = encode(model, photo, 50).data
    assert after != before
    dictco_lib.decode(model, after)


def test_fast_mode_is_labelled_and_comes_back(nano, photo):
    encoded = encode(nano, photo, 50, fast=True)
    assert unpack(encoded.data).flags
    assert dictco_lib.decode(nano, encoded.data).size == (301, 203)


@pytest.mark.parametrize("threads", [(1, 2), (2, 1)])
def test_streams_cross_thread_counts(classroom, photo, threads):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads[0])
        encoded = encode(classroom, photo, 60)
        torch.set_num_threads(threads[1])
        assert dictco_lib.decode(classroom, encoded.data).size == (301, 203)
    finally:
        torch.set_num_threads(before)


def test_the_bytes_of_a_stream_are_pinned(request):
    # Integer symbols and tables only: nothing here depends on floating-point details.
    from dictco_lib.entropy.streams import FrequencyTables

    tables = FrequencyTables()
    p = np.ldexp(1.0, -2 - np.abs(np.arange(-6, 7)))  # powers of two, exact on any machine
    tables.fill([p, np.full(3, 0.25)])
    symbols = (np.arange(300) * 7919 % 19 - 9).astype(np.int32)
    indexes = (np.arange(300) % 2).astype(np.uint8)
    got = {"frequencies": tables.frequencies.tolist(), "hex": tables.encode(symbols, indexes).hex()}
    if request.config.getoption("--regenerate"):
        GOLDEN.write_text(json.dumps(got) + "\n")
    assert got == json.loads(GOLDEN.read_text())
    assert np.array_equal(tables.decode(bytes.fromhex(got["hex"]), indexes), symbols)


@pytest.fixture(scope="module")
def fixed() -> DictionaryCodec:
    """A fixed-rate model, as plain files need one."""
    torch.manual_seed(0)
    return DictionaryCodec(replace(NANO, lmbdas=())).eval().requires_grad_(False)


def test_plain_files_round_trip_for_fixed_rate_models(nano, fixed, photo):
    image = decode_plain(fixed, encode_plain(fixed, photo))
    assert image.size == (301, 203)
    x = torch.nn.functional.pad(read_image(photo).pixels[None], (41, 42, 26, 27))
    want = to_uint8(fixed(x)["x_hat"][0, :, 26:229, 41:342])
    assert np.abs(np.array(image).astype(int) - want).max() <= 1
    with pytest.raises(QualityError, match="no place for the quality"):
        encode_plain(nano, photo)


# CompressAI's own decoder reads past the end of these, and the last one ends the process.
def test_hostile_plain_files_are_named(fixed, photo):
    whole = unpack_plain(encode_plain(fixed, photo[:64, :64]))
    rng = np.random.default_rng(0)
    for n in range(60):
        bad = [b"", b"\xff" * 4 * n, b"\x0f\0\0\0" * n, rng.bytes(4 * n), rng.bytes(n)][n % 5]
        name, string = ("y", whole.y) if n % 2 else ("z", whole.z)
        at = int(rng.integers(len(string)))
        for hostile in (bad, string[:at] + bad, string[: at // 4 * 4] + bad + string[at:]):
            if hostile != string:
                with pytest.raises(BadChecksum, match=f"the {name} string"):
                    decode_plain(fixed, pack_plain(replace(whole, **{name: hostile})))
    for name in ("y", "z"):
        with pytest.raises(BadChecksum, match=f"the {name} string"):
            decode_plain(fixed, pack_plain(replace(whole, **{name: b"\xff" * 2**21})))


def test_plain_files_that_ask_for_too_much_memory_are_neither_written_nor_read(fixed):
    with pytest.raises(ImageError, match="use a .dco file"):
        encode_plain(fixed, torch.zeros(3, 1, 2**17 + 1))
    with pytest.raises(BadHeader, match="use a .dco file"):
        decode_plain(fixed, pack_plain(PlainFile(4097, 4096, b"", b"")))


def test_plain_files_refuse_what_they_cannot_keep(fixed, photo):
    image = Image.fromarray(photo[:64, :64])
    image.putalpha(7)
    image.info["icc_profile"] = make_profile(SRGB, (1.8,), is_grey=False)
    with pytest.raises(ImageError, match="cannot keep alpha and the colour profile"):
        encode_plain(fixed, image)
    with pytest.raises(ImageError, match="cannot keep 16 bits"):
        encode_plain(fixed, np.arange(64 * 64, dtype=np.uint16).reshape(64, 64))


def test_broken_weights_do_not_hang_the_plain_encoder(fixed, photo):
    import copy

    for part in ("g_a", "latent_codec.slices.0.mean"):
        model = copy.deepcopy(fixed)
        next(model.get_submodule(part).parameters()).fill_(float("nan"))
        with pytest.raises(ShapeError, match="not finite"):
            encode_plain(model, photo[:64, :64])


def test_encoder_and_decoder_see_one_memory_layout(classroom, photo):
    # In float32 a convolution rounds differently in another layout: fast files of large images
    # could not be read back.
    seen: list[list] = []

    def tensors(args: tuple) -> list[torch.Tensor]:
        side, earlier, _ = args
        return [side.scales, side.means, *earlier]

    handles = [
        module.register_forward_pre_hook(
            lambda m, args: seen.append([(t.stride(), t.is_contiguous()) for t in tensors(args)])
        )
        for module in classroom.latent_codec.for_coding(torch.float32).slices
    ]
    try:
        data = dictco_lib.encode(classroom, photo, 80, fast=True).data
        written, seen[:] = list(seen), []
        dictco_lib.decode(classroom, data)
    finally:
        for handle in handles:
            handle.remove()
    assert len(written) == len(classroom.config.groups) and seen == written


def test_fast_files_of_large_images_are_read_back(classroom):
    image = np.kron(np.random.default_rng(0).integers(0, 256, (32, 48, 3)), np.ones((16, 16, 1)))
    for quality in (20, 50, 90):
        data = dictco_lib.encode(classroom, image.astype(np.uint8), quality, fast=True).data
        assert dictco_lib.decode(classroom, data).size == (768, 512)
