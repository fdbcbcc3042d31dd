"""Per-channel gains that make one model cover a range of rates."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Gain(nn.Module):
    """Learned per-channel gain and inverse gain at a few lambdas, interpolated geometrically.

    Before quantisation a latent is multiplied by the gain, afterwards by the inverse gain: a
    larger gain is a finer quantiser. Both are stored as logarithms, one row per lambda.

    Args:
        start: initial log-gain of each lambda, the same for all channels.
        channels: channels of the latent.

    Reference:
        Cui et al., "Asymmetric Gained Deep Image Compression With Continuous Rate Adaptation",
        CVPR 2021, arXiv:2003.02012.
    """

    def __init__(self, start: list[float], channels: int) -> None:
        super().__init__()
        rows = torch.tensor(start)[:, None].repeat(1, channels)
        self.log_gain = nn.Parameter(rows.clone())
        self.log_inverse = nn.Parameter(-rows)

    @staticmethod
    def _at(rows: Tensor, level: Tensor) -> Tensor:
        if level.dim() == 1:
            level = level[:, None, None]
        low = level.floor().long().clamp(0, len(rows) - 2)
        part = (level - low)[..., None].to(rows.dtype)
        return torch.lerp(rows[low], rows[low + 1], part).exp().permute(0, 3, 1, 2)

    def gain(self, level: Tensor) -> Tensor:
        """Gain at each level, (B,) or by place (B, H, W): (B, C, 1, 1) or (B, C, H, W)."""
        return self._at(self.log_gain, level)

    def inverse(self, level: Tensor) -> Tensor:
        """Inverse gain, like :meth:`gain`."""
        return self._at(self.log_inverse, level)
