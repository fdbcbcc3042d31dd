"""Our entropy coder beside CompressAI's: the same symbols, seconds and bytes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from compressai.ans import BufferedRansEncoder, RansDecoder
from compressai.entropy_models import GaussianConditional
from torch import Tensor

from dictco_lib.arguments import level_of
from dictco_lib.entropy.gaussian import LOG_SCALES, log_scale, scale_bins
from dictco_lib.entropy.streams import (
    PRECISION,
    EncodingCoder,
    LatentStreams,
    Tables,
    in_one_layout,
    to_symbols,
)
from dictco_lib.errors import DictcoError
from dictco_lib.evaluation.load import sized_image
from dictco_lib.evaluation.timing import check_bench
from dictco_lib.images import read_image
from dictco_lib.models import Codec
from dictco_lib.tiles import analyse, tile_boxes


@dataclass(frozen=True)
class CoderCost:
    """One coder: median CPU seconds, bytes, and how many more than its tables promise.

    ``excess`` is the share beyond the sum of ``-log2 p`` over the symbols.
    """

    name: str
    encode_s: float
    decode_s: float
    symbols: int
    size: int
    excess: float

    @property
    def both_s(self) -> float:
        """Seconds to encode and decode."""
        return self.encode_s + self.decode_s


class _NotingCoder(EncodingCoder):
    """Coder that notes what it would code: flat symbols and log-scales, slice by slice."""

    def __init__(self, tables: Tables) -> None:
        super().__init__(tables, [LatentStreams()])
        self.noted: list[tuple[np.ndarray, Tensor]] = []

    def code(self, k: int, y: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        symbols = (y - mean).round()
        self.noted.append((to_symbols(symbols), log_scale(scale).flatten().cpu()))
        return in_one_layout(symbols + mean)


#: Of each slice of y of an image: its symbols, (n,) int32, and their log-scales, (n,) float64.
Slices = list[tuple[np.ndarray, Tensor]]


@torch.no_grad()
def slices_of(model: Codec, size: tuple[int, int] = (768, 512)) -> Slices:
    """What a codec, with its tables built, codes of an image of such a width and height.

    A packaged photograph, at quality 50 where there are qualities.

    Raises:
        OptionError: if the image has no pixels.
    """
    check_bench(size, 1)
    codec, image = model.latent_codec.for_coding(), read_image(sized_image(size))
    shape = (-(-size[1] // 64) * 4, -(-size[0] // 64) * 4)
    coder = _NotingCoder(Tables(codec.y_tables, codec.z_tables))
    level = level_of(model, 50.0 if model.config.is_variable_rate else None)
    for box in tile_boxes(shape, 64 if max(shape) > 64 else 0):
        codec.run(coder, level, analyse(model, image, box).double())
    return coder.noted


def bench_coder(model: Codec, noted: Slices, repeats: int = 5) -> list[CoderCost]:
    """Code the symbols of y of one image, slice by slice, with both coders.

    CompressAI's coder takes and gives lists: making them of arrays is part of its work, as it is
    part of its models'.

    Args:
        model: whose tables code.
        noted: what :func:`slices_of` gives.
        repeats: turns that count, after one that does not.

    Returns:
        Ours, then CompressAI's.

    Raises:
        OptionError: if there would be nothing to measure.
        DictcoError: if a coder does not give back what it got.
    """
    check_bench((1, 1), repeats)
    tables = model.latent_codec.tables
    slices = [
        (symbols, scale_bins(log_scales).to(torch.uint8).numpy()) for symbols, log_scales in noted
    ]
    theirs = _Theirs()
    coders = {
        "ours": (tables.y.encode, tables.y.decode),
        "CompressAI's": (theirs.encode, theirs.decode),
    }
    turns: dict[str, list[tuple[float, float]]] = {name: [] for name in coders}
    sizes = {}
    for _ in range(repeats + 1):
        for name, (encode, decode) in coders.items():
            encode_s, decode_s, sizes[name] = _turn(name, encode, decode, slices)
            turns[name].append((encode_s, decode_s))
    ideal = {"ours": tables.y.bits, "CompressAI's": theirs.bits}
    costs = []
    for name, found in turns.items():
        bits = sum(ideal[name](symbols, indexes).sum() for symbols, indexes in slices)
        seconds = (median(values) for values in zip(*found[1:], strict=True))
        count = sum(len(symbols) for symbols, _ in slices)
        costs.append(CoderCost(name, *seconds, count, sizes[name], 8 * sizes[name] / bits - 1))
    return costs


def _turn(
    name: str, encode: Callable, decode: Callable, slices: list[tuple[np.ndarray, np.ndarray]]
) -> tuple[float, float, int]:
    start = time.process_time()
    streams = [encode(symbols, indexes) for symbols, indexes in slices]
    middle = time.process_time()
    back = [decode(data, indexes) for data, (_, indexes) in zip(streams, slices, strict=True)]
    end = time.process_time()
    if not all(np.array_equal(a, b) for a, (b, _) in zip(back, slices, strict=True)):
        raise DictcoError(f"{name}: the coder did not give back the symbols that it got")
    return middle - start, end - middle, sum(map(len, streams))


def bench_scale_tables(
    noted: Slices, levels: tuple[int, ...], *, above: bool = False
) -> list[float]:
    """What it costs to code with a scale of a table instead of the scale itself.

    Args:
        noted: what :func:`slices_of` gives.
        levels: entries of each table, spread over the range of scales like those of the models.
        above: take the next larger entry, as CompressAI does, instead of the nearest.

    Returns:
        For each table the share of bits of y, ``-log2 p`` of the Gaussian, beyond those with
        exact scales. It can be below 0, for a model's scales are not the best ones, either.
    """
    symbols = torch.from_numpy(np.concatenate([s for s, _ in noted])).double().abs()
    exact = torch.cat([log_scales for _, log_scales in noted])
    bits = _gaussian_bits(symbols, exact)
    shares = []
    for n in levels:
        table = torch.linspace(*LOG_SCALES[[0, -1]].tolist(), n, dtype=torch.float64)
        edges = table[:-1] if above else (table[1:] + table[:-1]) / 2
        shares.append(_gaussian_bits(symbols, table[torch.bucketize(exact, edges)]) / bits - 1)
    return shares


def _gaussian_bits(distances: Tensor, log_scales: Tensor) -> float:
    scales = log_scales.exp()
    upper, lower = (torch.special.ndtr((half - distances) / scales) for half in (0.5, -0.5))
    return float(-(upper - lower).clamp(min=2.0**-PRECISION).log2().sum())


class _Theirs:
    """CompressAI's coder with its tables for the same 64 scales."""

    def __init__(self) -> None:
        self.model = GaussianConditional(None)
        self.model.update_scale_table(LOG_SCALES.exp().float().tolist())
        model = self.model
        self.lists = [t.tolist() for t in (model.quantized_cdf, model.cdf_length, model.offset)]

    def encode(self, symbols: np.ndarray, indexes: np.ndarray) -> bytes:
        encoder = BufferedRansEncoder()
        encoder.encode_with_indexes(symbols.tolist(), indexes.tolist(), *self.lists)
        return encoder.flush()

    def decode(self, data: bytes, indexes: np.ndarray) -> np.ndarray:
        decoder = RansDecoder()
        decoder.set_stream(data)
        return np.array(decoder.decode_stream(indexes.tolist(), *self.lists), np.int32)

    def bits(self, symbols: np.ndarray, indexes: np.ndarray) -> np.ndarray:
        """What each symbol costs by these tables; beyond them the escape and its digits."""
        cdf = self.model.quantized_cdf.numpy().astype(np.int64)
        lengths, offsets = (t.numpy() for t in (self.model.cdf_length, self.model.offset))
        escape = lengths[indexes] - 2
        places = symbols - offsets[indexes]
        is_escape = (places < 0) | (places >= escape)
        found = np.where(is_escape, escape, places)
        bits = 16 - np.log2(cdf[indexes, found + 1] - cdf[indexes, found])
        value = np.where(places < 0, -2 * places - 1, 2 * (places - escape))[is_escape]
        digits = -(-np.frexp(value.astype(np.float64))[1] // 4)  # hexadecimal
        bits[is_escape] += 4 * (1 + digits)  # how many, and they
        return bits
