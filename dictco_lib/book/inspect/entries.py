"""Dictionary entries: where their attention is, and what it goes along with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dictco_lib.book.inspect.attention import weights_of
from dictco_lib.layers.hooks import watching
from dictco_lib.models import DictionaryCodec


@torch.no_grad()
def entry_weights(
    model: DictionaryCodec, x: Tensor, k: int, quality: float | None = None
) -> Tensor:
    """How every place of an image spreads its attention over the entries of slice k.

    Args:
        model: any codec.
        x: an image in [0, 1], shape (1, 3, H, W).
        k: slice.
        quality: 0-100 for a variable-rate model.

    Returns:
        Shape (h, K, N, H/16, W/16), padded size; the N entries of an expert add up to 1.
    """
    codec = model.latent_codec
    with watching({"q": codec.slices[k].attention.to_query}) as seen:
        model(x, quality)
    q = seen["q"].output
    weights = weights_of(codec, k, q)
    return weights.permute(0, 2, 3, 1).unflatten(-1, q.shape[1:3])


def properties(pixels: np.ndarray, side: int = 16) -> dict[str, np.ndarray]:
    """Simple properties of each square of an image: what an entry may answer to.

    Args:
        pixels: (H, W, 3) uint8, sides multiples of ``side``.
        side: of a square in pixels.

    Returns:
        Name -> (H / side, W / side): brightness, two colours, log-energy of edges, how much more
        of it lies across (upright edges) than down, and which half is brighter.
    """

    def squares(values: np.ndarray) -> np.ndarray:  # (H, W) -> (H / side, side, W / side, side)
        return values.reshape(values.shape[0] // side, side, -1, side)

    def mean(values: np.ndarray) -> np.ndarray:
        return squares(values).mean((1, 3))

    red, green, blue = np.moveaxis(pixels / 255, 2, 0)
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    down, across = (mean(gradient**2) for gradient in np.gradient(grey))
    edges = across + down
    half = side // 2
    return {
        "bright": mean(grey),
        "red": mean(red - green),
        "blue": mean(blue - (red + green) / 2),
        "edges": np.log(edges + 1e-5),
        "upright edges": (across - down) / (edges + 1e-4),
        "bright above": squares(grey)[:, :half].mean((1, 3)) - squares(grey)[:, half:].mean((1, 3)),
    }


def correlations(weights: Sequence[Tensor], seen: Sequence[dict[str, np.ndarray]]) -> dict:
    """How each entry's attention goes along with simple properties of the places.

    Args:
        weights: of each image, from :func:`entry_weights`.
        seen: of each image, from :func:`properties`.

    Returns:
        Name of the property -> correlation over all places of all images, (h, K, N).
    """
    flat = [w.flatten(3).cpu().numpy() for w in weights]
    places = np.concatenate(flat, axis=3)  # (h, K, N, places)
    places = places - places.mean(3, keepdims=True)
    spread = np.sqrt((places**2).mean(3)) + 1e-12
    found = {}
    for name in seen[0]:
        values = np.concatenate([m[name].ravel() for m in seen])
        values = (values - values.mean()) / values.std()
        found[name] = (places @ values) / len(values) / spread
    return found
