"""The discretised Gaussian: likelihoods, scale bins, and the estimating coder."""

from __future__ import annotations

import math

import torch
from compressai.entropy_models import EntropyBottleneck, GaussianConditional
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


def table_places(log_scales: Tensor) -> Tensor:
    """Where log-scales lie in the table: entry n is at n, an edge half-way; it ends at 0 and 63.

    The table is even, so nothing has to be searched, which took ten times as long.
    """
    low, high = float(LOG_SCALES[0]), float(LOG_SCALES[-1])
    last = SCALE_LEVELS - 1
    places = ((log_scales - low) * (last / (high - low))).clamp_(0, last)
    return places.nan_to_num_(last)  # a broken scale has a place, too: checksums tell


def scale_bins(log_scales: Tensor) -> Tensor:
    """Index of the table entry nearest to each log-scale, 0 to ``SCALE_LEVELS - 1``."""
    return table_places(log_scales).round_().long()


class EstimatingCoder:
    """Coder that codes nothing: rounds with a straight-through gradient, keeps likelihoods.

    Args:
        prior: CompressAI's factorised prior of z.
        gaussian: CompressAI's conditional Gaussian of y. In training mode both measure the rate
            of latents plus uniform noise, in evaluation mode that of the rounded values.

    Note:
        Rounding for the synthesis and noise for the rate follows Minnen & Singh, ICIP 2020,
        arXiv:2007.08739.
    """

    def __init__(self, prior: EntropyBottleneck, gaussian: GaussianConditional) -> None:
        self.prior = prior
        self.gaussian = gaussian
        self.z_likelihoods: Tensor | None = None
        self.y_likelihoods: list[Tensor] = []

    def code_z(self, z: Tensor, medians: Tensor) -> Tensor:
        """Quantised z."""
        self.z_likelihoods = self.prior(z)[1]
        return quantize_ste(z - medians) + medians

    def code(self, k: int, y: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        """Quantised slice k."""
        self.y_likelihoods.append(self.gaussian(y, scale, mean)[1])
        return quantize_ste(y - mean) + mean

    def likelihoods(self) -> dict[str, Tensor]:
        """Probabilities of the symbols of ``y``, (B, M, H, W), and ``z``."""
        return {"y": torch.cat(self.y_likelihoods, dim=1), "z": self.z_likelihoods}
