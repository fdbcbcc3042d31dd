"""Whether the tensors of a file can take their places in a model: each check names the problem."""

from __future__ import annotations

import torch
from torch import Tensor

#: What CompressAI fills in its ``update()``: empty before.
TABLE_LEAVES = frozenset(("_offset", "_quantized_cdf", "_cdf_length", "scale_table"))
#: Last part of keys whose value is a constant of the architecture, or a table of another coder.
CONSTANT_LEAVES = TABLE_LEAVES | {
    "num_batches_tracked",
    "pedestal",
    "target",
    "bound",
    "scale_bound",
    "relative_position_index",
}


def plain_problem(got: Tensor) -> str | None:
    """Whether a tensor holds plain numbers, which every operation can be asked of."""
    is_number = not got.is_complex() and got.dtype != torch.bool and not got.is_quantized
    if got.layout == torch.strided and not got.is_meta and is_number:
        return None
    return f"{got.dtype} ({'meta' if got.is_meta else got.layout}), expected plain numbers"


def kind_problem(got: Tensor, *, is_float: bool) -> str | None:
    """Whether a tensor holds plain numbers of the expected kind."""
    if problem := plain_problem(got):
        return problem
    if got.is_floating_point() != is_float:
        return f"{got.dtype}, expected {'floats' if is_float else 'integers'}"
    return None


def tensor_problem(got: Tensor, want: Tensor) -> str | None:
    """Why a tensor of a file cannot take the place of one of a model; None if it can."""
    if got.shape != want.shape:
        return f"shape {tuple(got.shape)}, expected {tuple(want.shape)}"
    if problem := kind_problem(got, is_float=want.is_floating_point()):
        return problem
    if not bool(got.float().isfinite().all()):
        return "holds NaN or infinity, expected finite float32 values"
    return None


def is_same(a: Tensor, b: Tensor) -> bool:
    """Whether two spellings of one tensor agree."""
    return a is b or (a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b))


def constant_problem(value: Tensor, own: Tensor) -> str | None:
    """Why a constant of a file is not ours.

    Another constant is another function. Zeros are taken for "not given": layouts list these
    buffers without values, so that converters leave zeros there, and float16 turns the bound of
    1e-9 into 0; no published model means a zero. 1 % is what bfloat16 needs.
    """
    value, own = value.double().to(own.device), own.double()
    if not bool(value.any()) or torch.allclose(value, own, rtol=0.01, atol=0):
        return None
    return f"starts {value.flatten()[:4].tolist()}, the constant {own.flatten()[:4].tolist()}"


def position_index(rows: int) -> Tensor:
    """Row of the bias table for each query-key pair of a window, shape (L, L)."""
    side = round(rows**0.5)
    place = torch.arange((side + 1) // 2)
    delta = place[:, None] - place[None, :] + side // 2  # (w, w)
    index = delta[:, None, :, None] * side + delta[None, :, None, :]  # (w, w, w, w)
    return index.reshape(len(place) ** 2, -1)


def is_increasing(scales: Tensor) -> bool:
    """Whether a scale table (perhaps empty) is one."""
    if scales.dim() != 1 or kind_problem(scales, is_float=True):
        return False
    steps = torch.cat([torch.zeros(1), scales.cpu().float()]).diff()
    return bool((steps > 0).all() and scales.isfinite().all())


def is_coder_table(cdf: Tensor, length: Tensor, offset: Tensor, rows: int) -> bool:
    """Whether cumulative frequencies are what CompressAI's coder, which checks nothing, needs."""
    if cdf.dim() != 2 or any(kind_problem(t, is_float=False) for t in (cdf, length, offset)):
        return False
    if not (cdf.shape[:1] == length.shape == offset.shape == (rows,)):
        return False
    if not bool(((length >= 2) & (length <= cdf.shape[1])).all()):
        return False
    last = length.long()[:, None] - 1
    rises = cdf.diff(dim=1) > 0
    is_used = torch.arange(rises.shape[1], device=cdf.device) < last
    has_ends = (cdf[:, 0] == 0).all() and (cdf.gather(1, last) == 2**16).all()
    return bool(has_ends and rises[is_used].all())
