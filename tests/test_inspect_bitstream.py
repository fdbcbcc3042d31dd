"""Looks into a file: names for all bytes, bits that add up, decoders that err, the guard."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dictco_lib.bitstream import ChunkType, pack, unpack
from dictco_lib.book import checks, widgets
from dictco_lib.book.inspect import bitstream as look
from dictco_lib.book.inspect.fields import damage_chunk, flip_bit, hex_view, prefix, read_fields
from dictco_lib.coding import decode, encode
from dictco_lib.errors import BadChecksum, Truncated


@pytest.fixture(scope="module")
def data(nano, photo) -> bytes:
    return encode(nano, photo, 60).data


@pytest.fixture(scope="module")
def reading(nano, data) -> look.Reading:
    return look.read(nano, unpack(data))


def test_fields_name_every_byte_once(nano, photo):
    for tile in (64, 4):
        data = encode(nano, photo, 60, tile=tile).data
        fields = read_fields(data)
        assert [f.start for f in fields[1:]] == [f.stop for f in fields[:-1]]
        assert (fields[0].start, fields[-1].stop) == (0, len(data))
        said = {f.name: f.meaning for f in fields}
        assert (said["width"], said["height"], said["quality"]) == (
            "301 pixels",
            "203 pixels",
            "60",
        )
        assert {f.kind for f in fields} == {"header", "type", "length", "CRC32", "chunk"}


def test_the_hex_view_shows_every_field_and_frames_one(data):
    page = hex_view(data)
    for i, field in enumerate(read_fields(data)):
        assert f"{i} {field.name}" in page and f"<sup>{i}</sup>" in page
    assert "outline" not in page and hex_view(data, 3).count("outline") == 1


def test_a_prefix_decodes_to_its_slices(nano, data):
    for k in range(len(nano.config.groups) + 1):
        part = prefix(data, k)
        got = np.asarray(decode(nano, part, partial=True))
        assert np.array_equal(got, np.asarray(decode(nano, data, slices=k)))
    with pytest.raises(Truncated):
        decode(nano, prefix(data, 0)[:-1], partial=True)


# The observing decoder must see what the true one decodes, tiles included; a stream ends in at
# most two 32-bit words more than its symbols take.
@pytest.mark.parametrize("tile", [64, 4])
def test_bits_add_up_to_the_file(nano, photo, tile):
    data = encode(nano, photo, 60, tile=tile).data
    reading = look.read(nano, unpack(data))
    assert np.array_equal(reading.image, np.asarray(decode(nano, data)))
    account = look.account(nano, reading)
    assert account.total == 8 * len(data)
    assert account.per_place().sum() == pytest.approx(account.y.sum() + account.z.sum())
    for item in account.items:
        assert -8 <= item.of_coder <= 64 * len(reading.boxes)


def test_the_cost_of_escapes_is_what_the_coder_takes(nano):
    tables = nano.latent_codec.y_tables
    symbols = np.random.default_rng(0).integers(-900, 900, 3000).astype(np.int32)
    indexes = (np.arange(3000) % 40).astype(np.uint8)
    real = 8 * len(tables.encode(symbols, indexes))
    assert (
        tables.bits(symbols, indexes).sum() - 64 <= real <= tables.bits(symbols, indexes).sum() + 64
    )


def test_damage_changes_its_slice_and_not_those_before(nano, reading):
    kind = ChunkType.SLICE + 1
    half = 4 * len(reading.container.of_type(kind)[0])
    wrong = look.read(nano, damage_chunk(reading.container, kind, half))
    same = [
        np.array_equal(wrong.of_slice(k, "symbols"), reading.of_slice(k, "symbols"))
        for k in range(2)
    ]
    assert same == [True, False]
    assert np.isfinite(wrong.image).all()


def test_a_stream_that_stands_for_nothing_is_read_as_far_as_it_goes(nano, reading):
    record, data = reading.slices[0][2], reading.streams[0].slices[2]
    indexes = record.bins.ravel()
    coder = look.ObservingCoder(nano.latent_codec.tables, reading.streams, (nano.config.N, 1, 1))
    for bit in range(0, 8 * len(data), 101):
        broken = flip_bit(data, bit)
        try:
            coder.tables.y.decode(broken, indexes)
        except (AssertionError, BadChecksum):
            break
    else:
        pytest.skip("no bit of this stream is noticed by the coder")
    got = coder._read_anyhow(broken, indexes)
    assert got.shape == indexes.shape and (got != 0).any() and (got == 0).any()


def test_float32_is_further_off_than_float64(nano, reading):
    def farthest(dtype: torch.dtype, layout: torch.memory_format) -> float:
        parts = look.log_scales_in(nano, reading, dtype, layout)
        return max(
            float(np.abs(part.numpy().ravel() - reading.of_slice(k, "log_scales")).max())
            for k, part in enumerate(parts)
        )

    assert farthest(torch.float64, torch.contiguous_format) == 0
    assert farthest(torch.float64, torch.channels_last) < 1e-11
    assert farthest(torch.float32, torch.contiguous_format) > 1e-9


def test_another_machine_breaks_a_file_and_the_guard_saves_it(nano, data, reading):
    drift = 1e-3
    assert look.edge_distances(reading).min() < drift
    assert sum(look.changed_bins(reading, 0.0)) == 0
    assert sum(look.changed_bins(reading, drift)) > 0
    broken = look.read(nano, unpack(data), drift=drift)
    assert not np.array_equal(broken.image, reading.image)
    safe = look.guarded(reading, 2 * drift)
    assert unpack(safe).of_type(ChunkType.GUARD)
    assert np.array_equal(look.read(nano, unpack(safe), drift=drift).image, reading.image)
    assert np.array_equal(np.asarray(decode(nano, safe)), reading.image)
    assert look.guarded(reading, 0.0) == data


def test_the_widgets_follow_their_controls(nano, photo, data):
    slider, label, image = widgets.prefix_slider(nano, data, photo).children
    whole = (label.value, image.value)
    slider.value = 0
    assert f"{len(prefix(data, 0)):,} of {len(data):,} bytes" in label.value
    slider.value = slider.max
    assert (label.value, image.value) == whole
    picker, view = widgets.field_picker(data).children
    picker.value = 5
    assert view.value == hex_view(data, 5)


def test_the_checkers_tell_right_from_wrong(nano, photo, data, reading, capsys):
    assert checks.ex_bitstream_1(lambda b: sum((x & 127) << 7 * i for i, x in enumerate(b)))
    assert not checks.ex_bitstream_1(lambda b: int.from_bytes(b, "little"))
    assert checks.ex_bitstream_2(1.0, np.eye(10)) and not checks.ex_bitstream_2(0.1, np.eye(10))
    whole, least = prefix(data, 3), prefix(data, 0)
    assert checks.ex_bitstream_3(least, nano, photo, data, 1.0)
    assert not checks.ex_bitstream_3(whole, nano, photo, data, 1.0)
    assert not checks.ex_bitstream_3(least, nano, photo, data, 99.0)
    forged = damage_chunk(reading.container, ChunkType.SLICE, 1000)
    assert checks.ex_bitstream_4(pack(forged), nano, data)
    for answer in (data, flip_bit(data, 9999), None, "nonsense"):
        assert not checks.ex_bitstream_4(answer, nano, data)
    assert "not done yet" in capsys.readouterr().out
