"""The same linear map at every place of a map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``F.linear``, by oneDNN where that is faster.

    torch gives a float32 product on a CPU to its BLAS, after it has copied the bias to every row.
    oneDNN, which it takes for convolutions, needs no copy: 98,304 rows of 96 channels to 384 took
    76 ms instead of 139 (one thread, Zen 4), wider ones a sixth less. Without gradients only: it
    has none here.

    Args:
        x: shape (..., C_in).
        weight: shape (C_out, C_in).
        bias: shape (C_out,), or None.

    Returns:
        Shape (..., C_out).
    """
    if not _is_for_onednn(x, weight):
        # What was a map whose channels came first is copied once, not for every block of it.
        return F.linear(x.contiguous(), weight, bias)
    rows = x.reshape(1, 1, -1, x.shape[-1]).permute(0, 3, 1, 2)  # (1, C, 1, rows), channels last
    kernel = weight[:, :, None, None]
    out = torch.mkldnn_convolution(rows, kernel, bias, (0, 0), (1, 1), (1, 1), 1)
    return out.permute(0, 2, 3, 1).reshape(*x.shape[:-1], len(weight))


class Linear(nn.Linear):
    """``nn.Linear`` that computes with :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C_in) to (..., C_out)."""
        return linear(x, self.weight, self.bias)


class PointwiseConv(nn.Conv2d):
    """1x1 convolution of maps whose channels come last: :func:`linear` with such a weight."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C_in) to (B, H, W, C_out)."""
        return linear(x, self.weight[:, :, 0, 0], self.bias)


class MapConv(nn.Conv2d):
    """1x1 convolution of maps whose channels come first, by oneDNN like :func:`linear`.

    With one thread torch leaves a float32 one to a product that is half as fast.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out, 1)

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        if not _is_for_onednn(x, weight):
            return super()._conv_forward(x, weight, bias)
        return torch.mkldnn_convolution(x, weight, bias, (0, 0), (1, 1), (1, 1), 1)


def takes_short_cuts(x: Tensor) -> bool:
    """Whether a layer may compute x another way, that only CPUs like and that has no gradients.

    A compiler and an exporter (which traces with gradients) get the definition, and so does who
    counts operations.
    """
    if x.device.type != "cpu" or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    return _get_current_dispatch_mode() is None


def _is_for_onednn(x: Tensor, weight: Tensor) -> bool:
    if not (x.dtype == weight.dtype == torch.float32 and x.numel() > 0 and takes_short_cuts(x)):
        return False
    if torch.is_autocast_enabled("cpu") or not torch.backends.mkldnn.is_available():
        return False
    return getattr(torch.backends.mkldnn, "enabled", True)
