"""Symbols to bytes and back, tables, escapes, the guard."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compressai.ans import BufferedRansEncoder
from compressai.entropy_models import GaussianConditional
from hypothesis import given, settings
from hypothesis import strategies as st

from dictco_lib.entropy.gaussian import LOG_EDGES, LOG_SCALES, scale_bins
from dictco_lib.entropy.guard import (
    EPS,
    GuardedBin,
    apply_guard,
    distances_to_edges,
    find_near_edges,
    pack_guard,
    unpack_guard,
)
from dictco_lib.entropy.rans import RansReader
from dictco_lib.entropy.streams import (
    PRECISION,
    FrequencyTables,
    gaussian_probabilities,
    to_symbols,
)
from dictco_lib.errors import BadChecksum, BadHeader, NotUpdatedError, ShapeError


@pytest.fixture(scope="module")
def tables() -> FrequencyTables:
    tables = FrequencyTables()
    tables.fill(gaussian_probabilities())
    return tables


def test_every_row_adds_up_and_leaves_room_for_every_symbol(tables):
    ends = np.cumsum(2 * tables.half_widths.numpy() + 2)
    assert ends[-1] == tables.frequencies.numel()
    for row in np.split(tables.frequencies.numpy(), ends[:-1]):
        assert row.min() >= 1
        assert row.astype(np.int64).sum() == 2**PRECISION


# The coder may spend at most this much over the information content: one 32-bit word to close a
# stream, and 0.1 % for frequencies of 24 bits.
@pytest.mark.parametrize("bin_", [0, 5, 20, 40, 63])
def test_real_bits_are_the_information_content(tables, bin_):
    rng = np.random.default_rng(bin_)
    scale = LOG_SCALES[bin_].exp().item()
    symbols = np.rint(rng.standard_normal(50_000) * scale).astype(np.int32)
    data = tables.encode(symbols, np.full(symbols.size, bin_, np.uint8))
    v = torch.from_numpy(symbols).double().abs()
    p = torch.special.ndtr((0.5 - v) / scale) - torch.special.ndtr((-0.5 - v) / scale)
    bits = -p.log2().sum().item()
    assert bits - 64 <= 8 * len(data) <= 1.001 * bits + 64


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(-3, 3), st.integers(-(2**31) + 1, 2**31 - 1)), st.integers(0, 63)
        ),
        max_size=200,
    )
)
def test_any_symbols_come_back_escapes_included(tables, pairs):
    symbols = np.array([s for s, _ in pairs], np.int32)
    rows = np.array([r for _, r in pairs], np.uint8)
    assert np.array_equal(tables.decode(tables.encode(symbols, rows), rows), symbols)


def test_the_first_value_that_is_no_symbol_is_refused_in_any_precision():
    for dtype in (torch.float32, torch.float64):
        for value in (2.0**31, -(2.0**31), float("nan"), float("inf")):
            with pytest.raises(ShapeError, match="beyond"):
                to_symbols(torch.tensor([value], dtype=dtype))


def test_empty_tables_say_what_to_call():
    with pytest.raises(NotUpdatedError, match="update"):
        FrequencyTables().encode(np.zeros(3, np.int32), np.zeros(3, np.uint8))


def test_tables_travel_in_the_state_dict(tables):
    other = FrequencyTables()
    other.load_state_dict(tables.state_dict())
    symbols = np.arange(-5, 6, dtype=np.int32)
    rows = np.full(symbols.size, 12, np.uint8)
    assert other.encode(symbols, rows) == tables.encode(symbols, rows)


def test_a_scale_belongs_to_the_nearest_table_entry():
    assert torch.equal(scale_bins(LOG_SCALES), torch.arange(64))
    for moved, first in ((-1e-12, 0), (1e-12, 1)):
        assert torch.equal(scale_bins(LOG_EDGES + moved), torch.arange(first, 63 + first))
    far = torch.tensor([-99.0, 99.0, torch.inf, torch.nan]).double()  # and nothing beyond
    assert scale_bins(far).tolist() == [0, 63, 63, 63]
    assert not find_near_edges(far, scale_bins(far), k=0)


def test_places_by_arithmetic_are_those_that_a_search_finds():
    """The decoder without torch searches."""
    generator = torch.Generator().manual_seed(0)
    logs = 9 * torch.rand(100_000, generator=generator, dtype=torch.float64) - 3
    logs = torch.cat([logs, LOG_EDGES - 2 * EPS, LOG_EDGES + 2 * EPS])
    bins = scale_bins(logs)
    assert torch.equal(bins, torch.bucketize(logs, LOG_EDGES))
    assert [g.index for g in find_near_edges(logs, bins, k=0, eps=1e-6)] == [
        i for i, d in enumerate(distances_to_edges(logs.numpy())) if d <= 1e-6
    ]


def test_scales_near_an_edge_are_listed_and_the_decoder_obeys():
    log_scales = torch.full((1, 2, 2), 0.3, dtype=torch.float64)
    log_scales[0, 1, 0] = LOG_EDGES[9] + EPS / 2
    log_scales[0, 1, 1] = LOG_EDGES[9] + 2 * EPS
    near = find_near_edges(log_scales, scale_bins(log_scales), k=3)
    assert near == [GuardedBin(3, 2, 10)]
    assert unpack_guard(pack_guard(near)).tolist() == [(3, 2, 10)]
    bins = np.full(4, 9, np.uint8)  # what a decoder with other rounding found
    apply_guard(bins, near, k=3)
    assert bins.tolist() == [9, 9, 10, 9]
    apply_guard(bins, near, k=2)  # bins of other slices change nothing
    assert bins.tolist() == [9, 9, 10, 9]
    with pytest.raises(BadHeader, match="guard"):
        apply_guard(bins, [GuardedBin(0, 99, 1)], k=0)


def test_a_guard_that_names_no_bin_is_refused():
    assert len(unpack_guard(pack_guard([GuardedBin(0, 0, 63)]))) == 1
    for wrong in (64, 255):
        with pytest.raises(BadHeader, match=f"bin {wrong}"):
            unpack_guard(pack_guard([GuardedBin(0, 0, wrong)]))


@pytest.fixture(scope="module")
def gaussian() -> GaussianConditional:
    """CompressAI's tables."""
    gaussian = GaussianConditional(None)
    gaussian.update_scale_table(LOG_SCALES.exp().float().tolist())
    return gaussian


def write_rans(gaussian: GaussianConditional, symbols: list[int], rows: list[int]) -> bytes:
    encoder = BufferedRansEncoder()
    tables = gaussian.quantized_cdf, gaussian.cdf_length, gaussian.offset
    encoder.encode_with_indexes(symbols, rows, *(table.tolist() for table in tables))
    return encoder.flush()


# CompressAI's encoder takes no symbols of 2**27 and more, and wants a few of them.
@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.one_of(st.integers(-3, 3), st.integers(-(2**26), 2**26)), st.integers(0, 63)),
        min_size=8,
        max_size=200,
    )
)
def test_any_symbols_that_compressai_wrote_are_read_escapes_included(gaussian, pairs):
    symbols, rows = (list(column) for column in zip(*pairs, strict=True))
    reader = RansReader("y", write_rans(gaussian, symbols, rows), gaussian)
    half = len(rows) // 2
    assert reader.read(rows[:half]) + reader.read(rows[half:]) == symbols
    reader.finish()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[:-4],
        lambda data: data + bytes(4),
        lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
        lambda data: b"\xff" * len(data),
        lambda data: b"\x0f\0\0\0" * (len(data) // 4),  # escape digits, one in each word
        lambda data: bytes(len(data)),
    ],
)
def test_a_damaged_string_of_compressai_does_not_end_where_its_symbols_do(gaussian, damage):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 40, 3000)
    symbols = np.rint(rng.standard_normal(3000) * LOG_SCALES.exp().numpy()[rows]).astype(int)
    rows = rows.tolist()
    data = write_rans(gaussian, symbols.tolist(), rows)
    with pytest.raises(BadChecksum, match="the y string"):
        reader = RansReader("y", damage(data), gaussian)
        reader.read(rows)
        reader.finish()


def test_without_the_guard_that_decoder_would_read_noise(tables):
    rng = np.random.default_rng(0)
    rows = rng.integers(5, 30, 4000).astype(np.uint8)
    symbols = np.rint(rng.standard_normal(4000) * LOG_SCALES.exp().numpy()[rows]).astype(np.int32)
    data = tables.encode(symbols, rows)
    wrong = rows.copy()
    wrong[100] += 1
    try:
        decoded = tables.decode(data, wrong)
    except AssertionError:  # the coder itself may notice
        return
    assert (decoded != symbols).mean() > 0.1
