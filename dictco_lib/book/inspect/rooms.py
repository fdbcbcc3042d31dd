"""The rooms of a codec as notebooks show them: a table, and what one place looks at most.

What is measured is :mod:`dictco_lib.evaluation.complexity` and :mod:`~dictco_lib.evaluation.reach`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from dictco_lib.evaluation.complexity import DECODER, ENCODER, Room, measure_rooms, total_macs
from dictco_lib.evaluation.reach import columns_seen, measure_reach

__all__ = [
    "DECODER", "ENCODER", "Room", "columns_seen", "influence", "measure_reach", "measure_rooms",
    "rooms_table", "total_macs",
]  # fmt: skip


def influence(
    function: Callable[[Tensor], Tensor], x: Tensor, place: tuple[int, int], draws: int = 8
) -> Tensor:
    """How strongly each pixel moves one place of what a function makes of an image.

    The sum over channels of squared derivatives, estimated without bias from random signs, as
    the mean over ``draws`` of ``(signs @ jacobian)**2``.

    Args:
        function: (1, C, H, W) -> (1, D, h, w).
        x: the image, shape (1, C, H, W).
        place: row and column of the output.
        draws: one gradient each.

    Returns:
        Squared derivatives, shape (H, W).

    Reference:
        Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural
        Networks", NeurIPS 2016, arXiv:1701.04128.
    """
    x = x.clone().requires_grad_()
    values = function(x)[0, :, place[0], place[1]]
    generator = torch.Generator().manual_seed(0)
    total = x.new_zeros(x.shape[-2:])
    for _ in range(draws):
        signs = (torch.randint(0, 2, values.shape, generator=generator) * 2.0 - 1).to(values)
        (gradient,) = torch.autograd.grad(values @ signs, x, retain_graph=True)
        total += gradient.square().sum((0, 1))
    return total / draws


def rooms_table(rooms: Sequence[Room], reach: Mapping[tuple[str, str], int]) -> str:
    """Text table of rooms, with a line between the parts."""
    head = f"{'':7}{'room':24}{'output':>18}{'stride':>8}{'parameters':>12}{'GMACs':>8}{'sees':>7}"
    lines = [head]
    for room in rooms:
        shape = " x ".join(map(str, room.shape))
        lines.append(
            f"{room.part:7}{room.name:24}{shape:>18}{room.stride:8}{room.parameters:12,}"
            f"{room.macs / 1e9:8.2f}{reach[room.part, room.name]:7,}"
        )
    cuts = [i for i, (a, b) in enumerate(pairwise(rooms), 2) if a.part != b.part]
    for i in reversed(cuts):
        lines.insert(i, "")
    return "\n".join(lines)
