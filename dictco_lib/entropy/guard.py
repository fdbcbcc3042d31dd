"""The guard: places where a scale lies so close to a bin edge that two machines might disagree.

The decoder recomputes every scale. Only its *bin* must agree with the encoder's. Computed in
float64, log-scales differ between machines by about 1e-12, so the encoder lists the bins of
the few (nearly always none) that lie within ``EPS`` of an edge, and the decoder takes those.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from dictco_lib.entropy.gaussian import LOG_EDGES, SCALE_LEVELS
from dictco_lib.errors import BadHeader

EPS = 1e-9
_ENTRY = struct.Struct("<BIB")


@dataclass(frozen=True)
class GuardEntry:
    """One scale near an edge: slice, position in the flattened (C, H, W) slice, bin."""

    slice: int
    index: int
    bin: int


def find_near_edges(log_scales: Tensor, bins: Tensor, k: int, eps: float = EPS) -> list[GuardEntry]:
    """Entries for one image and slice; ``log_scales`` and ``bins`` have shape (C, H, W)."""
    edges = LOG_EDGES.to(log_scales)
    left = (bins - 1).clamp(min=0)
    right = bins.clamp(max=len(edges) - 1)
    is_near = ((log_scales - edges[left]).abs() < eps) | ((log_scales - edges[right]).abs() < eps)
    flat = bins.flatten()
    return [GuardEntry(k, i, int(flat[i])) for i in is_near.flatten().nonzero().flatten().tolist()]


def apply_guard(bins: np.ndarray, entries: list[GuardEntry], k: int) -> None:
    """Overwrite the listed bins of slice k in a flat array, in place."""
    for entry in entries:
        if entry.slice == k:
            if entry.index >= bins.size:
                raise BadHeader(
                    f"guard names symbol {entry.index} of a slice with {bins.size}; "
                    "the file is damaged, get it again"
                )
            bins[entry.index] = entry.bin


def pack_guard(entries: list[GuardEntry]) -> bytes:
    """Bytes of the guard chunk; empty for no entries."""
    return b"".join(_ENTRY.pack(e.slice, e.index, e.bin) for e in entries)


def unpack_guard(data: bytes) -> list[GuardEntry]:
    """Entries of a guard chunk."""
    if len(data) % _ENTRY.size:
        raise BadHeader(f"guard chunk has {len(data)} bytes, expected a multiple of {_ENTRY.size}")
    entries = [GuardEntry(*fields) for fields in _ENTRY.iter_unpack(data)]
    if (worst := max((entry.bin for entry in entries), default=0)) >= SCALE_LEVELS:
        raise BadHeader(
            f"guard names bin {worst}, there are {SCALE_LEVELS}; the file is damaged, get it again"
        )
    return entries
