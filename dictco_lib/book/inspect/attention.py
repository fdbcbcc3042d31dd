"""Where the places of an image look within the experts' dictionaries."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dictco_lib.book.inspect.outcome import Subject
from dictco_lib.entropy.ring import LatentCodec
from dictco_lib.layers.hooks import watching
from dictco_lib.models import DictionaryCodec


def weights_of(codec: LatentCodec, k: int, q: Tensor) -> Tensor:
    """Attention within each dictionary of slice k, (h, HW, K, N), for queries (1, H, W, D)."""
    attention = codec.slices[k].attention
    entries = attention.experts if attention.is_mixture else codec.dictionary[None]
    return attention.expert_weights(q, entries)


@torch.no_grad()
def expert_attention(model: DictionaryCodec, subject: Subject) -> list[np.ndarray]:
    """Weights within every expert, before any gate.

    Args:
        model: any codec; a shared dictionary is one expert.
        subject: the image.

    Returns:
        Per slice (h, w, heads, K, N), adding up to 1 over the N entries.
    """
    attentions = [head.attention for head in model.latent_codec.slices]
    with watching({str(k): attention.to_query for k, attention in enumerate(attentions)}) as seen:
        model.latent_codec(subject.y, subject.level)
    maps = []
    for k in range(len(attentions)):
        q = seen[str(k)].output
        weights = weights_of(model.latent_codec, k, q)
        maps.append(weights.transpose(0, 1).unflatten(0, q.shape[1:3]).cpu().numpy())
    return maps


def in_use(weights: np.ndarray) -> np.ndarray:
    """How many entries the attention is spread over: 2 to the power of its entropy.

    Args:
        weights: shape (..., N), adding up to 1.

    Returns:
        Shape (...), from 1 (one entry has it all) to N (all alike).
    """
    logs = np.log2(np.maximum(weights, 1e-30))
    return 2 ** -(weights * logs).sum(-1)
