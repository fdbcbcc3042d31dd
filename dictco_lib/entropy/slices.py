"""The slice loop: written once, for estimating, encoding and decoding alike.

``y`` is coded in channel slices. For slice k, a context network sees the side information and
the slices before it and predicts a mean and a scale; a *slice coder* turns these into the
quantised slice; a latent residual prediction refines that; the result joins the context of
slice k + 1. The three uses differ in the slice coder alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from dictco_lib.config import ModelConfig
from dictco_lib.layers.dictionary import DictionaryAttention
from dictco_lib.layers.residual import WideConv


class SliceCoder(Protocol):
    """Turns the predicted distribution of a slice into its quantised values."""

    def code(self, k: int, mean: Tensor, scale: Tensor) -> Tensor:
        """Quantised values of slice k, shape (B, C_k, H, W), on the grid ``mean + integers``."""


@dataclass
class SliceTrace:
    """What the loop computed on its way, slice by slice."""

    y_hat: list[Tensor] = field(default_factory=list)
    means: list[Tensor] = field(default_factory=list)
    scales: list[Tensor] = field(default_factory=list)
    routing: list[Tensor] = field(default_factory=list)


def parameter_net(c_in: int, widths: tuple[int, int], c_out: int) -> nn.Sequential:
    """Three 3x3 convolutions with GELU in between: the form of the mean, scale and LRP nets."""
    sizes = (c_in, *widths, c_out)
    layers: list[nn.Module] = []
    for a, b in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [WideConv(a, b), nn.GELU()]
    return nn.Sequential(*layers[:-1])


class SliceHead(nn.Module):
    """Context network, Gaussian parameters and latent residual prediction (LRP) of one slice."""

    def __init__(self, config: ModelConfig, k: int) -> None:
        super().__init__()
        query = 2 * config.hyper_channels + sum(config.groups[:k])
        support = query + config.context_channels
        size, widths = config.groups[k], config.parameter_widths
        self.attention = DictionaryAttention(
            query,
            config.context_channels,
            dim=config.dictionary_dim,
            heads=config.heads,
            entries=config.entries,
            experts=config.experts,
            top_k=config.top_k,
        )
        self.mean = parameter_net(support, widths, size)
        self.scale = parameter_net(support, widths, size)
        self.lrp = parameter_net(support + size, widths, size)

    def forward(
        self, query: Tensor, dictionary: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Predict one slice.

        Args:
            query: side information and earlier slices, shape (B, C_q, H, W).
            dictionary: the shared dictionary, if there is one.

        Returns:
            Support, mean, raw scale (before its lower bound) and routing weights.
        """
        context, routing = self.attention(query, dictionary)
        support = torch.cat([query, context], dim=1)
        return support, self.mean(support), self.scale(support), routing

    def refine(self, support: Tensor, y_bar: Tensor) -> Tensor:
        """Add the latent residual prediction to the quantised slice."""
        return y_bar + 0.5 * torch.tanh(self.lrp(torch.cat([support, y_bar], dim=1)))


def code_slices(
    heads: nn.ModuleList, dictionary: Tensor | None, side: Tensor, coder: SliceCoder
) -> SliceTrace:
    """Run the loop over all slices.

    Args:
        heads: one :class:`SliceHead` per slice.
        dictionary: the shared dictionary, shape (N, D), or None.
        side: hyper-synthesis outputs, scales first, shape (B, 2S, H, W).
        coder: decides what a slice's quantised values are.
    """
    trace = SliceTrace()
    for k, head in enumerate(heads):
        query = torch.cat([side, *trace.y_hat], dim=1)
        support, mean, scale, routing = head(query, dictionary)
        y_bar = coder.code(k, mean, scale)
        trace.y_hat.append(head.refine(support, y_bar))
        trace.means.append(mean)
        trace.scales.append(scale)
        trace.routing.append(routing)
    return trace
