"""Transforms with a side branch, and the two side branches of the family."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dictco_lib.layers.linear import MapConv


class Branched(nn.Module):
    """A chain of layers, and a side branch whose maps are added after some of them.

    Args:
        main: the layers.
        branch: the branch's steps, each from its own map before; all begin at the input.
        taps: after which layer each step's map is added.
    """

    def __init__(
        self, main: Sequence[nn.Module], branch: Sequence[nn.Module], taps: Sequence[int]
    ) -> None:
        super().__init__()
        self.main = nn.Sequential(*main)
        self.branch = nn.ModuleList(branch)
        self.taps = tuple(taps)

    def forward(self, x: Tensor) -> Tensor:
        """Run both."""
        side = x
        steps = dict(zip(self.taps, self.branch, strict=True))
        for i, layer in enumerate(self.main):
            x = layer(x)
            if i in steps:
                side = steps[i](side)
                x = x + self._added(side, x)
        return x

    def _added(self, side: Tensor, x: Tensor) -> Tensor:
        return side


class LateBranched(Branched):
    """The same with a side branch that keeps the input's size: what is added is resized.

    CompressAI's port of SAAF.
    """

    def _added(self, side: Tensor, x: Tensor) -> Tensor:
        return F.interpolate(side, x.shape[2:], mode="bilinear", align_corners=False)


class HaarAnalysis(nn.Module):
    """Orthonormal Haar bands, scaled, then mixed at each place: (B, C, 2H, 2W) -> (B, C', H, W).

    Reference:
        Li et al., "On Disentangled Training for Nonlinear Transform in Learned Image
        Compression" (AuxT), ICLR 2025, arXiv:2501.13751.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.scaling_factors = nn.Parameter(_band_scales(c_in))
        self.linear = nn.Linear(4 * c_in, c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Halve height and width."""
        bands = _haar(x) * self.scaling_factors.exp().reshape(1, -1, 1, 1)
        return _pointwise(self.linear, bands)


class HaarSynthesis(nn.Module):
    """The way back: (B, C, H, W) -> (B, C', 2H, 2W)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.scaling_factors = nn.Parameter(_band_scales(c_out))
        self.linear = nn.Linear(c_in, 4 * c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Double height and width."""
        bands = _pointwise(self.linear, x) / self.scaling_factors.exp().reshape(1, -1, 1, 1)
        return _inverse_haar(bands)


def branch_penalty(*transforms: nn.Module) -> Tensor | int:
    """How far the linear maps of all steps beside some transforms are from orthonormal ones.

    Of each the mean square of W W^T - I, or of W^T W - I, whichever is smaller; 0 where there are
    no branches.

    Reference:
        AuxT, ICLR 2025, arXiv:2501.13751, its training loss.
    """
    steps = [step for transform in transforms for step in getattr(transform, "branch", ())]
    return sum(_distance_to_orthonormal(step.linear) for step in steps)


def _distance_to_orthonormal(linear: nn.Linear) -> Tensor:
    w = linear.weight
    gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    return (gram - torch.eye(len(gram), device=w.device, dtype=w.dtype)).square().mean()


def _band_scales(channels: int) -> Tensor:
    scales = torch.full((1, 1, 4 * channels), 0.5)
    scales[..., 3 * channels :] = 0
    return scales


def _pointwise(linear: nn.Linear, x: Tensor) -> Tensor:
    return linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _haar(x: Tensor) -> Tensor:
    """Bands LL, LH (between rows), HL (between columns), HH, all channels of each together."""
    a, b, c, d = (x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1))
    return torch.cat([a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d], dim=1) / 2


def _inverse_haar(bands: Tensor) -> Tensor:
    ll, lh, hl, hh = bands.chunk(4, dim=1)
    parts = [ll + lh + hl + hh, ll + lh - hl - hh, ll - lh + hl - hh, ll - lh - hl + hh]
    stacked = torch.stack(parts, dim=2).flatten(1, 2) / 2  # (B, 4C, H, W), four of a channel
    return F.pixel_shuffle(stacked, 2)


class FrequencyGate(nn.Module):
    """A linear map at each place, scaled by four learned weights, then resized if ``resizes``.

    Of the encoder: ``gate * x`` goes through the linear map, then halves by averaging. Of the
    decoder (``is_up``): doubles; its gate has a constant mean, so that its softmax has no effect
    and no gradient, as published.

    Reference:
        "Learned Image Compression via Sparse Attention and Adaptive Frequency" (SAAF), CVPR 2026.
    """

    def __init__(self, c_in: int, c_out: int, *, is_up: bool, resizes: bool = True) -> None:
        super().__init__()
        hidden = max(c_in // 4, 4)
        self.is_up, self.resizes = is_up, resizes
        self.linear = nn.Linear(c_in, c_out)
        self.attention = nn.Sequential(MapConv(c_in, hidden), nn.GELU(), MapConv(hidden, 4))
        if not is_up:
            self.weights = nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H/2, W/2), or to twice the size, or to the same."""
        out = self._gated(x)
        if not self.resizes:
            return out
        if self.is_up:
            return F.interpolate(out, scale_factor=2, mode="bilinear", align_corners=False)
        return F.avg_pool2d(out, 2)  # bilinear, for a factor of two

    def _gated(self, x: Tensor) -> Tensor:
        shares = self.attention(x).softmax(1)
        if self.is_up:
            out = _pointwise(self.linear, x)
            return out + 0.1 * out * shares.mean(1, keepdim=True)
        gate = (shares * self.weights.exp()[:, None, None]).sum(1, keepdim=True)
        return _pointwise(self.linear, gate * x)
