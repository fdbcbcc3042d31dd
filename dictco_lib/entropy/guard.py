"""The guard: places where a scale lies so close to a bin edge that two machines might disagree.

The decoder recomputes every scale. Only its *bin* must agree with the encoder's. Computed in
float64, log-scales differ between machines by about 1e-12, so the encoder lists the bins of
the few (nearly always none) that lie within ``EPS`` of an edge, and the decoder takes those.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from dictco_lib.entropy.gaussian import LOG_EDGES, LOG_SCALES, SCALE_LEVELS, table_places
from dictco_lib.errors import BadHeader

EPS = 1e-9
#: A log-scale that is moved by EPS is rounded, and so is its place: it may lie this much further.
_ROUNDING = 2e-14
_RECORD = np.dtype([("slice", "u1"), ("index", "<u4"), ("bin", "u1")])


@dataclass(frozen=True)
class GuardedBin:
    """One scale near an edge: slice, position in the flattened (C, H, W) slice, bin."""

    slice: int
    index: int
    bin: int


#: Bins as the encoder gathers them, or as a chunk holds them: hostile ones may be millions.
Guard = list[GuardedBin] | np.ndarray


def find_near_edges(log_scales: Tensor, bins: Tensor, k: int, eps: float = EPS) -> list[GuardedBin]:
    """Bins near an edge, of one image and slice; both tensors have shape (C, H, W)."""
    reach = (eps + _ROUNDING) / float(LOG_SCALES[1] - LOG_SCALES[0])
    is_near = (table_places(log_scales) - bins).abs_() >= 0.5 - reach
    flat = bins.flatten()
    return [GuardedBin(k, i, int(flat[i])) for i in is_near.flatten().nonzero().flatten().tolist()]


def distances_to_edges(log_scales: np.ndarray) -> np.ndarray:
    """How far each log-scale lies from the nearest edge between two bins, of any shape."""
    edges = LOG_EDGES.numpy()
    right = np.searchsorted(edges, log_scales).clip(1, len(edges) - 1)
    return np.minimum(abs(log_scales - edges[right - 1]), abs(log_scales - edges[right]))


def apply_guard(bins: np.ndarray, guarded: Guard, k: int, of: int | None = None) -> None:
    """Overwrite the listed bins of slice k in a flat array, in place.

    Args:
        bins: flat, of slice k.
        guarded: bins of all slices, in order.
        k: which slice.
        of: how many slices there are.

    Raises:
        BadHeader: if one lies outside of the slices, or says more than the neighbouring bin.
    """
    if not len(guarded):
        return
    guarded = _as_array(guarded)
    if of is not None and guarded["slice"][-1] >= of:
        raise BadHeader(
            f"guard names slice {guarded['slice'][-1]} of {of}; the file is damaged, get it again"
        )
    guarded = guarded[guarded["slice"] == k]
    index = guarded["index"]
    if (worst := index.max(initial=0)) >= bins.size:
        raise BadHeader(
            f"guard names symbol {worst} of a slice with {bins.size}; the file is damaged, get it "
            "again"
        )
    if (abs(bins[index].astype(int) - guarded["bin"]) > 1).any():
        raise BadHeader(
            f"guard moves a symbol of slice {k} by more than one bin, where rounding never does; "
            "the file is damaged, get it again"
        )
    bins[index] = guarded["bin"]


def _as_array(guarded: Guard) -> np.ndarray:
    if isinstance(guarded, np.ndarray):
        return guarded
    return np.array([(e.slice, e.index, e.bin) for e in guarded], _RECORD)


def pack_guard(guarded: Guard) -> bytes:
    """Bytes of the guard chunk; empty if nothing is guarded."""
    return _as_array(guarded).tobytes()


def unpack_guard(data: bytes) -> np.ndarray:
    """Entries of a guard chunk: an array with the fields of :class:`GuardedBin`.

    Raises:
        BadHeader: if they are not in order, each once, or name a bin that is none.
    """
    if len(data) % _RECORD.itemsize:
        raise BadHeader(
            f"guard chunk has {len(data)} bytes, expected a multiple of {_RECORD.itemsize}"
        )
    guarded = np.frombuffer(data, _RECORD)
    if (worst := guarded["bin"].max(initial=0)) >= SCALE_LEVELS:
        raise BadHeader(
            f"guard names bin {worst}, there are {SCALE_LEVELS}; the file is damaged, get it again"
        )
    places = guarded["slice"].astype(np.int64) << 32 | guarded["index"]
    if (np.diff(places) <= 0).any():
        raise BadHeader("the guard's bins are out of order; the file is damaged, get it again")
    return guarded
