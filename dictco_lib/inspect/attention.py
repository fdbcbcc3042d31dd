"""Where the places of a picture look within the experts' dictionaries."""

from __future__ import annotations

import numpy as np
import torch

from dictco_lib.inspect.hooks import watching
from dictco_lib.inspect.outcome import Subject
from dictco_lib.models import DictionaryCodec


@torch.no_grad()
def expert_attention(model: DictionaryCodec, subject: Subject) -> list[np.ndarray]:
    """Weights within every expert, before any gate.

    Args:
        model: a mixture.
        subject: the picture.

    Returns:
        Per slice (h, w, heads, K, N), adding up to 1 over the N entries.
    """
    attentions = [head.attention for head in model.latent_codec.slices]
    with watching({str(k): attention.to_query for k, attention in enumerate(attentions)}) as seen:
        model.latent_codec(subject.y, subject.level)
    maps = []
    for k, attention in enumerate(attentions):
        q = seen[str(k)].output
        weights = attention.expert_weights(q, attention.experts)  # (heads, hw, K, N)
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
