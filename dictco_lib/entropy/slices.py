"""The slice loop: written once, for estimating, encoding, decoding and looking on alike.

``y`` is coded in channel slices. For slice k, a head sees the side information and slices before
it and predicts a mean and a scale; a *coder* turns these into the quantised slice; a latent
residual prediction refines that; the result joins what later heads see. All uses differ in the
coder alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from dictco_lib.entropy.heads import Side, SliceHead


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
) -> SliceTrace:
    """Run the loop over all slices.

    Args:
        heads: one per slice.
        dictionary: the dictionary that they share, shape (N, D), or None.
        side: what z_hat tells.
        coder: decides what a slice's quantised values are.
        y: the latent split in slices; None where it is read.
    """
    trace = SliceTrace()
    for k, head in enumerate(heads):
        prediction = head(side, trace.y_hat[: head.sees], dictionary)
        part = None if y is None else y[k]
        y_bar = coder.code(k, part, prediction.mean, prediction.scale)
        trace.y_hat.append(head.refine(prediction, y_bar))
        trace.means.append(prediction.mean)
        trace.scales.append(prediction.scale)
        if prediction.routing is not None:
            trace.routing.append(prediction.routing)
    return trace
