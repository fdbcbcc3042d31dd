"""The slice loop: written once, for estimating, encoding, decoding and looking on alike.

``y`` is coded in channel slices. For slice k, a head sees the side information and slices before
it and predicts a mean and a scale; a *coder* turns these into the quantised slice; a latent
residual prediction refines that; the result joins what later heads see. All uses differ in the
coder alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from dictco_lib.entropy.heads import Side, SliceHead
from dictco_lib.layers.winograd import TileStore, is_coding


class Coder(Protocol):
    """Turns latents, where they are known, and predictions into what a decoder will have."""

    def code_z(self, z: Tensor | None, medians: Tensor) -> Tensor:
        """z_hat, shape (B, N, H/4, W/4), on the grid ``medians + integers``.

        Args:
            z: the hyper-latent; None where it is read.
            medians: of the prior of z, shape (1, N, 1, 1).
        """

    def code(self, k: int, y: Tensor | None, mean: Tensor, scale: Tensor) -> Tensor:
        """Quantised slice k, shape (B, C_k, H, W), on the grid ``mean + integers``.

        Args:
            k: number of the slice.
            y: the slice; None where it is read.
            mean: what the head predicts.
            scale: likewise, before its lower bound.
        """


@dataclass
class SliceTrace:
    """What the loop computed on its way, slice by slice."""

    y_hat: list[Tensor] = field(default_factory=list)
    means: list[Tensor] = field(default_factory=list)
    scales: list[Tensor] = field(default_factory=list)
    routing: list[Tensor] = field(default_factory=list)


def code_slices(
    heads: Iterable[SliceHead],
    dictionary: Tensor | None,
    side: Side,
    coder: Coder,
    y: Sequence[Tensor] | None = None,
    *,
    refines_all: bool = True,
) -> SliceTrace:
    """Run the loop over all slices.

    Args:
        heads: one per slice.
        dictionary: the dictionary that they share, shape (N, D), or None.
        side: what z_hat tells.
        coder: decides what a slice's quantised values are.
        y: the latent split in slices; None where it is read.
        refines_all: False if nobody wants to have y_hat: slices that no later head sees are then
            left as they were quantised.
    """
    trace, heads = SliceTrace(), list(heads)
    side = replace(side, tiles=TileStore())  # they go when the loop ends, the maps may stay
    if is_coding(side.scales):  # as the attention and the tiles want them there
        scales, means = (
            x.contiguous(memory_format=torch.channels_last) for x in (side.scales, side.means)
        )
        side = replace(side, scales=scales, means=means)
    for k, head in enumerate(heads):
        prediction = head(side, trace.y_hat[: head.sees], dictionary)
        part = None if y is None else y[k]
        y_bar = coder.code(k, part, prediction.mean, prediction.scale)
        is_seen = any(later.sees is None or later.sees > k for later in heads[k + 1 :])
        trace.y_hat.append(head.refine(prediction, y_bar) if refines_all or is_seen else y_bar)
        trace.means.append(prediction.mean)
        trace.scales.append(prediction.scale)
        if prediction.routing is not None:
            trace.routing.append(prediction.routing)
    return trace
