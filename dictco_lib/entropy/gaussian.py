"""The discretised Gaussian: likelihoods, scale bins, and the estimating slice coder."""

from __future__ import annotations

import math

import torch
from compressai.entropy_models import GaussianConditional
from torch import Tensor

SCALE_MIN, SCALE_MAX, SCALE_LEVELS = 0.11, 256.0, 64
LOG_SCALES = torch.linspace(
    math.log(SCALE_MIN), math.log(SCALE_MAX), SCALE_LEVELS, dtype=torch.float64
)
#: Half-way points between neighbouring log-scales: a scale belongs to its nearest table entry.
LOG_EDGES = (LOG_SCALES[1:] + LOG_SCALES[:-1]) / 2


def quantize_ste(x: Tensor) -> Tensor:
    """Round half to even; the gradient passes straight through."""
    return x + (x.round() - x).detach()


def log_scale(scale: Tensor) -> Tensor:
    """Logarithm of a raw scale after its lower bound."""
    return scale.clamp(min=SCALE_MIN).log()


def scale_bins(log_scales: Tensor) -> Tensor:
    """Index of the table entry nearest to each log-scale, 0 to ``SCALE_LEVELS - 1``."""
    return torch.bucketize(log_scales.contiguous(), LOG_EDGES.to(log_scales))


class EstimatingCoder:
    """Slice coder that codes nothing: rounds with a straight-through gradient, keeps likelihoods.

    Args:
        y: the latent split in slices.
        gaussian: CompressAI's conditional Gaussian. In training mode it measures the rate of
            ``y`` plus uniform noise, in evaluation mode that of the rounded values.

    Note:
        Rounding for the synthesis and noise for the rate follows Minnen & Singh, ICIP 2020,
        arXiv:2007.08739.
    """

    def __init__(self, y: tuple[Tensor, ...], gaussian: GaussianConditional) -> None:
        self.y = y
        self.gaussian = gaussian
        self.likelihoods: list[Tensor] = []

    def code(self, k: int, mean: Tensor, scale: Tensor) -> Tensor:
        """Quantised slice k."""
        self.likelihoods.append(self.gaussian(self.y[k], scale, mean)[1])
        return quantize_ste(self.y[k] - mean) + mean
