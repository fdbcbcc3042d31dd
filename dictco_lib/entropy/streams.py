"""Symbols <-> bytes: integer frequency tables and constriction's range coder.

Tables are computed once, saved in the checkpoint and never recomputed: from integers to the
coder's own numbers there are only exact or correctly rounded operations, so every machine codes
with the same distribution.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import NamedTuple

import constriction
import numpy as np
import torch
from torch import Tensor, nn

from dictco_lib.entropy.gaussian import LOG_SCALES, log_scale, scale_bins
from dictco_lib.entropy.guard import Guard, apply_guard, find_near_edges
from dictco_lib.errors import (
    BadChecksum,
    CheckpointError,
    NotUpdatedError,
    ShapeError,
    foreign,
)

PRECISION = 24  # bits of a frequency; constriction's default
_TAIL = 5.5  # half-width of a Gaussian table in standard deviations; beyond lies the escape
_MAX_SYMBOL = 2**31 - 1
_Categorical = constriction.stream.model.Categorical
_MAX_DIGITS = 31


class FrequencyTables(nn.Module):
    """Integer distributions over symbols ``-L..L`` plus an escape, one per table.

    Row r takes ``2 * half_widths[r] + 2`` places of ``frequencies``, the last one for the
    escape; each table adds up to ``2**PRECISION``. Both tensors are empty before :meth:`fill`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("half_widths", torch.zeros(0, dtype=torch.int32))
        self.register_buffer("frequencies", torch.zeros(0, dtype=torch.int32))
        self._models: list | None = None

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_models": None}  # the coder's objects cannot be copied

    def _load_from_state_dict(self, state: dict, prefix: str, *args) -> None:
        for name in ("half_widths", "frequencies"):
            if (value := state.get(prefix + name)) is not None:
                setattr(self, name, torch.empty_like(value, device=getattr(self, name).device))
        self._models = None
        super()._load_from_state_dict(state, prefix, *args)

    @property
    def is_filled(self) -> bool:
        """Whether the tables were built or loaded."""
        return self.half_widths.numel() > 0

    def check_filled(self) -> None:
        """Raise NotUpdatedError unless the tables were built or loaded."""
        if not self.is_filled:
            raise NotUpdatedError(
                "the frequency tables are empty; call model.update() once after training, "
                "or load a checkpoint that carries them"
            )

    def fill(self, probabilities: list[np.ndarray]) -> None:
        """Build the tables.

        Args:
            probabilities: per table the probabilities of ``-L..L``, an odd number of them; what
                they leave to 1 goes to the escape.
        """
        tables = [_to_frequencies(p) for p in probabilities]
        device = self.half_widths.device
        widths = [(len(table) - 2) // 2 for table in tables]
        self.half_widths = torch.tensor(widths, dtype=torch.int32, device=device)
        self.frequencies = torch.from_numpy(np.concatenate(tables)).to(device)
        self._models = None

    def check(self, count: int) -> None:
        """Raise CheckpointError unless these are so many filled tables."""
        widths, frequencies = self.half_widths.cpu().long(), self.frequencies.cpu().long()
        sizes = 2 * widths + 2
        ok = len(widths) == count and bool((widths >= 1).all())
        ok = ok and int(sizes.sum()) == len(frequencies) and bool((frequencies >= 1).all())
        if ok:
            sums = [int(table.sum()) for table in frequencies.split(sizes.tolist())]
            ok = set(sums) == {2**PRECISION}
        if not ok:
            raise CheckpointError(
                f"a frequency table is damaged: expected {count} tables of positive numbers, each "
                f"with the sum {2**PRECISION}"
            )

    def encode(self, symbols: np.ndarray, indexes: np.ndarray) -> bytes:
        """Code int32 symbols, each with the table of its index, both flat."""
        order, widths, counts = self._plan(indexes)
        values = symbols[order].astype(np.int32, copy=False)
        limits = np.repeat(widths, counts)
        coded = values + limits
        # Both comparisons at once: what lies below the table wraps round to a large number.
        escapes = np.flatnonzero(coded.view(np.uint32) > (2 * limits).view(np.uint32))
        coded[escapes] = 2 * limits[escapes] + 1
        encoder = constriction.stream.queue.RangeEncoder()
        start = 0
        for index in np.flatnonzero(counts):
            stop = start + counts[index]
            encoder.encode(coded[start:stop], self._models[index])
            start = stop
        _encode_escapes(encoder, values[escapes], limits[escapes])
        return encoder.get_compressed().astype("<u4").tobytes()

    def decode(self, data: bytes, indexes: np.ndarray) -> np.ndarray:
        """The way back: flat int32 symbols."""
        order, widths, counts = self._plan(indexes)
        if len(data) % 4:
            raise BadChecksum(f"a stream has {len(data)} bytes, expected a multiple of 4")
        decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(data, "<u4"))
        parts = [
            decoder.decode(self._models[index], int(counts[index]))
            for index in np.flatnonzero(counts)
        ]
        coded = np.concatenate(parts) if parts else np.zeros(0, np.int32)
        limits = np.repeat(widths, counts)
        values = coded - limits
        escapes = np.flatnonzero(values > limits)
        values[escapes] = _decode_escapes(decoder, limits[escapes])
        symbols = np.empty_like(values)
        symbols[order] = values
        return symbols

    def bits(self, symbols: np.ndarray, indexes: np.ndarray) -> np.ndarray:
        """What each symbol costs with the table of its index: flat, in bits, not rounded up.

        A stream takes their sum and up to two 32-bit words to close it.
        """
        _, widths, _ = self._plan(indexes)
        ends = np.cumsum(2 * widths + 2)
        starts = ends - (2 * widths + 2)
        tables = np.split(self.frequencies.cpu().numpy(), ends[:-1])
        frequencies = np.concatenate([_as_coded(table) for table in tables])
        limits = widths[indexes]
        excess = np.abs(symbols.astype(np.int64)) - limits
        is_escape = excess > 0
        places = starts[indexes] + np.where(is_escape, 2 * limits + 1, symbols + limits)
        bits = PRECISION - np.log2(frequencies[places])
        digits = np.frexp(excess[is_escape].astype(np.float64))[1]
        bits[is_escape] += np.log2(_MAX_DIGITS + 1) + 1 + digits  # how many digits, sign, digits
        return bits

    def _plan(self, indexes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.check_filled()
        widths = self.half_widths.cpu().numpy()
        if self._models is None:
            ends = np.cumsum(2 * widths + 2)[:-1]
            self._models = [
                _Categorical(table.astype(np.float64) / 2**PRECISION, perfect=False)
                for table in np.split(self.frequencies.cpu().numpy(), ends)
            ]
        order = np.argsort(indexes, kind="stable")
        tables = np.arange(len(widths), dtype=indexes.dtype)
        ends = np.searchsorted(indexes[order], tables, side="right")
        return order, widths, np.diff(ends, prepend=0)


# An escaped value is coded like Elias' gamma: the number of binary digits of its excess over the
# table, then sign and digits. All of them without a model, in groups of equal length.
def _encode_escapes(encoder, values: np.ndarray, limits: np.ndarray) -> None:
    if not len(values):
        return
    excess = np.abs(values.astype(np.int64)) - limits  # at least 1
    digits = np.frexp(excess.astype(np.float64))[1]
    encoder.encode(digits.astype(np.int32), _uniform(_MAX_DIGITS + 1))
    encoder.encode((values < 0).astype(np.int32), _uniform(2))
    for n in np.unique(digits):
        group = excess[digits == n]
        encoder.encode((group & 0xFFFF).astype(np.int32), _uniform(2 ** min(n, 16)))
        if n > 16:
            encoder.encode((group >> 16).astype(np.int32), _uniform(2 ** (n - 16)))


def _decode_escapes(decoder, limits: np.ndarray) -> np.ndarray:
    count = len(limits)
    if not count:
        return np.zeros(0, np.int32)
    digits = decoder.decode(_uniform(_MAX_DIGITS + 1), count)
    if (digits == 0).any():
        raise BadChecksum("an escaped symbol has no digits; the stream was read with other scales")
    sign = 1 - 2 * decoder.decode(_uniform(2), count).astype(np.int64)
    excess = np.zeros(count, np.int64)
    for n in np.unique(digits):
        where = np.flatnonzero(digits == n)
        excess[where] = decoder.decode(_uniform(2 ** min(n, 16)), len(where))
        if n > 16:
            excess[where] += (
                decoder.decode(_uniform(2 ** (n - 16)), len(where)).astype(np.int64) << 16
            )
    return (sign * (excess + limits)).astype(np.int32)


def _uniform(size: int):
    return constriction.stream.model.Uniform(int(size))


def _to_frequencies(p: np.ndarray) -> np.ndarray:
    p = np.append(p, max(0.0, 1.0 - p.sum()))
    frequencies = np.maximum(1, np.floor(p / p.sum() * 2**PRECISION)).astype(np.int64)
    frequencies[frequencies.argmax()] += 2**PRECISION - frequencies.sum()
    return frequencies.astype(np.int32)


def _as_coded(frequencies: np.ndarray) -> np.ndarray:
    """What constriction makes of a table: one count for each symbol, the rest shared out by it."""
    n = len(frequencies)
    left = np.cumsum(frequencies.astype(np.int64)) - frequencies
    edges = np.floor(left / 2**PRECISION * (2**PRECISION - n)) + np.arange(n)
    return np.diff(edges, append=2**PRECISION)


class Tables(NamedTuple):
    """The tables of a model: of y, one per scale bin, and of z, one per channel."""

    y: FrequencyTables
    z: FrequencyTables


def gaussian_probabilities() -> list[np.ndarray]:
    """Probabilities of the integers under a centred Gaussian, for each entry of the scale table."""
    tables = []
    for scale in LOG_SCALES.exp():
        half = max(1, int(np.ceil(_TAIL * scale)))
        edges = (torch.arange(half + 1, dtype=torch.float64) - 0.5) / scale
        upper = torch.special.ndtr(-edges)  # P(X > v - 0.5); the upper tail keeps its digits
        p = upper[:-1] - upper[1:]
        last = upper[-1] - torch.special.ndtr(-(half + 0.5) / scale)
        side = torch.cat([p[1:], last[None]])
        tables.append(torch.cat([side.flip(0), p[:1], side]).numpy())
    return tables


@dataclass
class LatentStreams:
    """One image's latent as bytes.

    ``sums`` holds a 16-bit checksum of the symbols of z and of each slice: it proves the decode,
    where the container's CRCs prove only the bytes.
    """

    z: bytes = b""
    slices: list[bytes] = field(default_factory=list)
    sums: list[int] = field(default_factory=list)
    guard: Guard = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.z) + sum(map(len, self.slices))


def checksum(symbols: np.ndarray) -> int:
    """16-bit checksum of int32 symbols."""
    return zlib.crc32(symbols.astype("<i4").tobytes()) & 0xFFFF


def to_symbols(values: Tensor) -> np.ndarray:
    """Rounded values of one image as flat int32 symbols."""
    values = values.detach().flatten()
    # In float64, because float32 rounds the limit up to 2**31.
    if not bool((values.double().abs() <= _MAX_SYMBOL).all()):
        raise ShapeError(
            "a latent is not finite or beyond 2**31; the image or the weights hold wrong numbers"
        )
    return values.to("cpu", torch.int32).numpy()


def in_one_layout(values: Tensor) -> Tensor:
    """What encoder and decoder both go on with, in the same order of memory.

    A convolution rounds a channels_last input another way than a contiguous one: in float32 that
    is enough to read a stream with other scales than it was written with.
    """
    return values.contiguous()


class EncodingCoder:
    """Coder that writes: rounds, codes, and notes what the decoder will need.

    Args:
        tables: of the model.
        streams: one per image, filled as the run goes.
    """

    def __init__(self, tables: Tables, streams: list[LatentStreams]) -> None:
        self.tables = tables
        self.streams = streams

    def code_z(self, z: Tensor, medians: Tensor) -> Tensor:
        """Quantised z; its bytes start every image's streams."""
        symbols = (z - medians).round()
        indexes = channel_indexes(symbols.shape[1:])
        for streams, values in zip(self.streams, symbols, strict=True):
            flat = to_symbols(values)
            streams.z = self.tables.z.encode(flat, indexes)
            streams.sums.append(checksum(flat))
        return in_one_layout(symbols + medians)

    def code(self, k: int, y: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        """Quantised slice k; its bytes are appended to every image's streams."""
        symbols = (y - mean).round()
        log_scales = log_scale(scale)
        bins = scale_bins(log_scales)
        for b, streams in enumerate(self.streams):
            flat = to_symbols(symbols[b])
            indexes = bins[b].flatten().to("cpu", torch.uint8).numpy()
            streams.slices.append(self.tables.y.encode(flat, indexes))
            streams.sums.append(checksum(flat))
            streams.guard += find_near_edges(log_scales[b], bins[b], k)
        return in_one_layout(symbols + mean)


class DecodingCoder:
    """Coder that reads; a slice that is not there decodes to its mean.

    Args:
        tables: of the model.
        streams: one per image; all hold the same number of slices, perhaps not all.
        z_shape: channels, height and width of z.
    """

    def __init__(
        self, tables: Tables, streams: list[LatentStreams], z_shape: tuple[int, int, int]
    ) -> None:
        self.tables = tables
        self.streams = streams
        self.z_shape = z_shape

    def code_z(self, z: None, medians: Tensor) -> Tensor:
        """Quantised z."""
        indexes = channel_indexes(self.z_shape)
        flat = [verified(self.tables.z, s.z, indexes, s.sums[0], "z") for s in self.streams]
        symbols = torch.from_numpy(np.stack(flat)).to(medians)
        return in_one_layout(symbols.reshape(-1, *self.z_shape) + medians)

    def code(self, k: int, y: None, mean: Tensor, scale: Tensor) -> Tensor:
        """Quantised slice k."""
        if k >= len(self.streams[0].slices):
            return in_one_layout(mean)
        bins = scale_bins(log_scale(scale)).to("cpu", torch.uint8)
        symbols = [self._read(streams, k, bins[b]) for b, streams in enumerate(self.streams)]
        flat = torch.from_numpy(np.stack(symbols)).to(mean)
        return in_one_layout(flat.reshape(mean.shape) + mean)

    def _read(self, streams: LatentStreams, k: int, bins: Tensor) -> np.ndarray:
        indexes = bins.flatten().numpy()
        apply_guard(indexes, streams.guard, k, of=len(streams.sums) - 1)
        return verified(
            self.tables.y, streams.slices[k], indexes, streams.sums[k + 1], f"slice {k}"
        )


def channel_indexes(shape: tuple[int, ...]) -> np.ndarray:
    """Index of the table of each flattened symbol of one image of z, (N, h, w): its channel."""
    return np.repeat(np.arange(shape[0], dtype=np.int32), shape[1] * shape[2])


_ADVICE = (
    "get the file again, or decode with the checkpoint that made it; a file that was made fast, in "
    "float32, also needs the machine and the version of this software that made it"
)


def verified(
    tables: FrequencyTables, data: bytes, indexes: np.ndarray, expected: int, what: str
) -> np.ndarray:
    """Decode symbols and prove them by their checksum.

    Raises:
        BadChecksum: if they are not what the encoder wrote.
    """
    with foreign(f"{what} cannot be decoded", BadChecksum, _ADVICE):
        symbols = tables.decode(data, indexes)
        # The coder does not look for the end of a stream, and reads on behind it.
        length = len(tables.encode(symbols, indexes))
    if (got := checksum(symbols)) != expected:
        raise BadChecksum(
            f"the decoded symbols of {what} have checksum {got:#06x}, the encoder wrote "
            f"{expected:#06x}; the decoder computed other scales than the encoder: {_ADVICE}"
        )
    if length != len(data):
        raise BadChecksum(
            f"{what} has {len(data)} bytes, its symbols end after {length}; {_ADVICE}"
        )
    return symbols
