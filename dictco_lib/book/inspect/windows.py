"""Where window attention looks."""

from __future__ import annotations

import torch
from torch import Tensor

from dictco_lib.layers.attention import WindowAttention


def place_weights(attention: WindowAttention, x: Tensor, row: int, column: int) -> Tensor:
    """What one place looks at: its attention weights, laid out as a map.

    Args:
        attention: of one block.
        x: what the block hands to it, shape (1, H, W, C).
        row: of the place, 0 to H - 1.
        column: of the place, 0 to W - 1.

    Returns:
        Shape (h, H, W), each head adding up to 1; 0 outside the place's window.
    """
    _, height, width, _ = x.shape
    w, shift = attention.window, attention.shift
    rolled = (row - shift) % height, (column - shift) % width
    number = (rolled[0] // w) * (width // w) + rolled[1] // w
    query = (rolled[0] % w) * w + rolled[1] % w
    weights = attention.weights(x)[number, :, query].unflatten(-1, (w, w))  # (h, w, w)
    out = x.new_zeros(attention.heads, height, width)
    top, left = (r // w * w for r in rolled)
    out[:, top : top + w, left : left + w] = weights
    return torch.roll(out, (shift, shift), (1, 2))
