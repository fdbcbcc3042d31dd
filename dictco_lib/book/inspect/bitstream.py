"""What a decoder sees: distributions, symbols and bits of every slice; and decoders that err.

The decoder of :mod:`dictco_lib.coding` proves every symbol or raises. The one here looks on, and
can be told to compute like another machine or to read damaged bytes: to show what would happen.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dictco_lib.bitstream import Chunk, ChunkType, Container, pack
from dictco_lib.chunks import map_of
from dictco_lib.coding import decode_latent, from_latent
from dictco_lib.entropy.gaussian import log_scale, scale_bins
from dictco_lib.entropy.guard import (
    apply_guard,
    distances_to_edges,
    find_near_edges,
    pack_guard,
)
from dictco_lib.entropy.streams import (
    DecodingCoder,
    LatentStreams,
    Tables,
    channel_indexes,
    in_one_layout,
)
from dictco_lib.errors import BadChecksum, OptionError
from dictco_lib.evaluation.estimate import per_place
from dictco_lib.images import eight_bit
from dictco_lib.models import DictionaryCodec
from dictco_lib.regions import level_at
from dictco_lib.tiles import Box


@dataclass(frozen=True)
class SliceRecord:
    """One slice of a tile as the decoder saw it, all of shape (C_k, h, w).

    ``symbols`` are integers; ``bins`` the indexes of the frequency tables they were read with, the
    guard's word included; ``log_scales`` what the bins were computed from.
    """

    means: Tensor
    log_scales: Tensor
    bins: np.ndarray
    symbols: np.ndarray


@dataclass(frozen=True)
class Reading:
    """A decoded file: ``image`` (H, W, 3) uint8, ``y_hat``, and per tile what led there."""

    container: Container
    image: np.ndarray
    y_hat: Tensor
    boxes: list[Box]
    streams: list[LatentStreams]
    slices: list[list[SliceRecord]]

    def of_slice(self, k: int, what: str) -> np.ndarray:
        """``symbols``, ``bins``, ``means`` or ``log_scales`` of slice k, all tiles, flat."""
        return np.concatenate([np.asarray(getattr(t[k], what)).ravel() for t in self.slices])


class ObservingCoder(DecodingCoder):
    """Coder that keeps what it sees, and proves nothing but z.

    Args:
        tables: of the model.
        streams: of one image.
        z_shape: channels, height and width of z.
        drift: log-scales are off by up to this much, as if computed elsewhere.
        seed: which other machine.
    """

    def __init__(
        self,
        tables: Tables,
        streams: list[LatentStreams],
        z_shape: tuple[int, int, int],
        drift: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(tables, streams, z_shape)
        self.drift, self.seed = drift, seed
        self.records: list[SliceRecord] = []

    def code(self, k: int, y: None, mean: Tensor, scale: Tensor) -> Tensor:
        """Quantised slice k, right or wrong."""
        if k >= len(self.streams[0].slices):
            return in_one_layout(mean)
        log_scales = log_scale(scale) + other_machine(k, scale, self.drift, self.seed)
        bins = scale_bins(log_scales)[0].to("cpu", torch.uint8).numpy()
        indexes = bins.reshape(-1).copy()
        apply_guard(indexes, self.streams[0].guard, k)
        symbols = self._read_anyhow(self.streams[0].slices[k], indexes).reshape(bins.shape)
        self.records.append(
            SliceRecord(mean[0].cpu(), log_scales[0].cpu(), indexes.reshape(bins.shape), symbols)
        )
        return in_one_layout(torch.from_numpy(symbols).to(mean)[None] + mean)

    def _read_anyhow(self, data: bytes, indexes: np.ndarray) -> np.ndarray:
        try:
            return self.tables.y.decode(data, indexes)
        except (AssertionError, BadChecksum):  # from some place on, no symbol fits the bytes
            return self._read_until(data, indexes)

    def _read_until(self, data: bytes, indexes: np.ndarray) -> np.ndarray:
        """As many symbols as the bytes give, in coding order; zeros for the others."""
        order = np.argsort(indexes, kind="stable")
        limits = self.tables.y.half_widths.cpu().numpy()[indexes]
        symbols = np.zeros(indexes.size, np.int32)
        low, high = 0, indexes.size  # so many can be read; so many cannot
        while high - low > 1:
            middle = (low + high) // 2
            part = order[:middle]
            try:
                found = self.tables.y.decode(data, indexes[part])
            except (AssertionError, BadChecksum):
                high = middle
                continue
            low = middle
            # Digits of escapes end the stream, out of reach: the ends of the table instead.
            symbols[part] = np.clip(found, -limits[part], limits[part])
        return symbols


def other_machine(k: int, like: Tensor, drift: float, seed: int) -> Tensor:
    """Errors of the log-scales of slice k on another machine: uniform in ±drift, float64."""
    generator = torch.Generator().manual_seed(1000 * seed + k)
    noise = torch.rand(like.shape, generator=generator, dtype=torch.float64)
    return (drift * (2 * noise - 1)).to(like.device)


@torch.no_grad()
def read(
    model: DictionaryCodec, container: Container, *, drift: float = 0.0, seed: int = 0
) -> Reading:
    """Decode a file and keep everything, whether or not it is right.

    Nothing but z is proved here: use :func:`dictco_lib.decode` for images that matter.

    Args:
        model: the codec that made the file.
        container: the file, unpacked; perhaps changed since.
        drift: how far the log-scales of this decoder are off.
        seed: which decoder among those that are off so far.
    """
    coders: list[ObservingCoder] = []

    def make(tables: Tables, streams: list[LatentStreams], z_shape: tuple) -> ObservingCoder:
        coders.append(ObservingCoder(tables, streams, z_shape, drift, seed))
        return coders[-1]

    y_hat, boxes = decode_latent(model, container, coder=make)
    image = from_latent(model, container, torch.nan_to_num(y_hat), boxes)
    streams = [coder.streams[0] for coder in coders]
    records = [coder.records for coder in coders]
    return Reading(container, eight_bit(image), y_hat, boxes, streams, records)


@dataclass(frozen=True)
class Item:
    """A part of the file: its bits there, and those of its symbols, fractions included."""

    label: str
    bits: int
    of_symbols: float

    @property
    def of_coder(self) -> float:
        """Bits that the range coder adds, to end a stream with whole 32-bit words."""
        return self.bits - self.of_symbols


@dataclass(frozen=True)
class Account:
    """Every bit of a file: ``y`` (M, H, W) and ``z`` (N, H/4, W/4) per symbol, and all parts."""

    y: np.ndarray
    z: np.ndarray
    items: list[Item]

    @property
    def total(self) -> int:
        """Bits of the file."""
        return sum(item.bits for item in self.items)

    def per_place(self) -> np.ndarray:
        """Bits of the symbols of each 16x16 pixels, (H, W); z is shared out among its 16 places."""
        return per_place(self.y.sum(0), self.z.sum(0))


def account(model: DictionaryCodec, reading: Reading) -> Account:
    """Bits of every symbol by the integer tables that coded it, against the bytes of the file."""
    codec = model.latent_codec
    y = np.zeros(tuple(reading.y_hat.shape[1:]))
    z = np.zeros((model.config.N, y.shape[1] // 4, y.shape[2] // 4))
    for (top, left, bottom, right), streams, records in zip(
        reading.boxes, reading.streams, reading.slices, strict=True
    ):
        parts = [
            codec.y_tables.bits(r.symbols.ravel(), r.bins.ravel()).reshape(r.bins.shape)
            for r in records
        ]
        y[:, top:bottom, left:right] = np.concatenate(parts)
        box = z[:, top // 4 : bottom // 4, left // 4 : right // 4]
        indexes, symbols = z_symbols(model, streams, box.shape)
        box[:] = codec.z_tables.bits(symbols.ravel(), indexes).reshape(box.shape)
    ends = np.cumsum(model.config.groups)[:-1]
    known = {f"slice {k}": part.sum() for k, part in enumerate(np.split(y, ends))}
    return Account(y, z, _items(reading.container, known | {"z": z.sum()}))


def _items(container: Container, of_symbols: dict[str, float]) -> list[Item]:
    bits = {"header": 8 * container.header_bytes}
    for chunk in container.chunks:
        bits[chunk.label] = bits.get(chunk.label, 0) + 8 * len(chunk.data)
    return [Item(label, n, float(of_symbols.get(label, n))) for label, n in bits.items()]


def z_symbols(
    model: DictionaryCodec, streams: LatentStreams, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Indexes of tables (flat) and symbols (N, h, w) of z of one tile."""
    indexes = channel_indexes(shape)
    return indexes, model.latent_codec.z_tables.decode(streams.z, indexes).reshape(shape)


class _ReplayingCoder:
    """Coder that is told the symbols, and keeps the log-scales."""

    def __init__(
        self, z: np.ndarray, records: list[SliceRecord], memory_format: torch.memory_format
    ) -> None:
        self.z, self.records, self.memory_format = z, records, memory_format
        self.log_scales: list[Tensor] = []

    def code_z(self, z: None, medians: Tensor) -> Tensor:
        return self._on_grid(self.z, medians)

    def code(self, k: int, y: None, mean: Tensor, scale: Tensor) -> Tensor:
        self.log_scales.append(log_scale(scale)[0].double().cpu())
        return self._on_grid(self.records[k].symbols, mean)

    def _on_grid(self, symbols: np.ndarray, middle: Tensor) -> Tensor:
        values = torch.from_numpy(symbols).to(middle)[None] + middle
        return values.contiguous(memory_format=self.memory_format)


@torch.no_grad()
def log_scales_in(
    model: DictionaryCodec,
    reading: Reading,
    dtype: torch.dtype,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> list[Tensor]:
    """Log-scales of each slice of the first tile, computed anew from the same symbols.

    Args:
        model: the codec.
        reading: a whole file.
        dtype: precision to compute in.
        memory_format: ``torch.channels_last`` makes convolutions add up in another order.
    """
    codec = copy.deepcopy(model.latent_codec.for_coding(dtype)).to(memory_format=memory_format)
    top, left, bottom, right = reading.boxes[0]
    shape = (model.config.N, (bottom - top) // 4, (right - left) // 4)
    symbols = z_symbols(model, reading.streams[0], shape)[1]
    container = reading.container
    level = level_at(model, container.quality, map_of(container), reading.boxes[0])
    level = None if level is None else level.to(codec.medians())
    coder = _ReplayingCoder(symbols, reading.slices[0], memory_format)
    codec.run(coder, level)
    return coder.log_scales


def edge_distances(reading: Reading) -> np.ndarray:
    """How far every log-scale of y lies from the nearest edge between two bins, flat."""
    slices = range(len(reading.slices[0]))
    return distances_to_edges(np.concatenate([reading.of_slice(k, "log_scales") for k in slices]))


def changed_bins(reading: Reading, drift: float, seed: int = 0) -> list[int]:
    """For each slice, how many symbols another machine would read with the wrong distribution."""
    counts = [0] * len(reading.slices[0])
    for records in reading.slices:
        for k, record in enumerate(records):
            logs = record.log_scales[None]
            off = scale_bins(logs + other_machine(k, logs, drift, seed))
            counts[k] += int((off != scale_bins(logs)).sum())
    return counts


def guarded(reading: Reading, eps: float) -> bytes:
    """The same file, with a guard for all log-scales that lie within ``eps`` of an edge.

    Where none does, there is no guard chunk, as in any file.
    """
    guards = []
    for records in reading.slices:
        near = []
        for k, r in enumerate(records):
            bins = torch.from_numpy(r.bins).long()
            near += find_near_edges(r.log_scales, bins, k, eps)
        guards.append(Chunk(ChunkType.GUARD, pack_guard(near)))
    guards = guards if any(chunk.data for chunk in guards) else []
    chunks = [c for c in reading.container.chunks if c.type != ChunkType.GUARD]
    at = 1 + next(i for i, chunk in enumerate(chunks) if chunk.type == ChunkType.SUMS)
    return pack(replace(reading.container, chunks=chunks[:at] + guards + chunks[at:]))


def border_step(image: np.ndarray, box: tuple[int, int, int, int], outwards: int = 0) -> float:
    """Mean step, in levels, between neighbouring pixels across the border of a box.

    Args:
        image: shape (H, W, 3), in levels.
        box: left, top, width and height in pixels.
        outwards: the border is moved by so many pixels, inwards if negative.

    Raises:
        OptionError: if nothing is left of the box, or it has no neighbour on one of its sides.
    """
    left, top, width, height = box
    space = min(left, top, image.shape[1] - left - width, image.shape[0] - top - height)
    if not -min(width, height) / 2 < outwards < space:
        raise OptionError(
            f"the box {box}, moved outwards by {outwards} pixels, has no border inside an image "
            f"of {image.shape[1]}x{image.shape[0]} pixels"
        )
    columns = slice(left - outwards, left + width + outwards)
    rows = slice(top - outwards, top + height + outwards)
    right, down = np.diff(np.int16(image), axis=1), np.diff(np.int16(image), axis=0)
    across = [right[rows, [columns.start - 1, columns.stop - 1]]]
    across += [down[[rows.start - 1, rows.stop - 1], columns]]
    return float(np.abs(np.concatenate([steps.ravel() for steps in across])).mean())
