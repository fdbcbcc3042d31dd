"""The router during training: what it does, and how its load is kept in balance."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dictco_lib.models import DictionaryCodec


def gate_entropy(gates: Tensor) -> Tensor:
    """How undecided a router is at each place, in bits: (..., K, H, W) -> (..., H, W)."""
    return -torch.special.xlogy(gates, gates).sum(-3) / math.log(2)


@torch.no_grad()
def routing_statistics(routing: list[Tensor]) -> Tensor:
    """How much each expert is used, and how sure the router is.

    Args:
        routing: per slice the gates of a batch, (B, K, H, W), adding up to 1 over the experts.

    Returns:
        Per slice the K mean gates (the load) and the mean entropy of the gates of a place in
        bits, shape (slices, K + 1). Means over places: those of equal parts of a batch average
        to those of the whole.
    """
    rows = []
    for gates in routing:
        gates = gates.detach().float()
        rows.append(torch.cat([gates.mean(dim=(0, 2, 3)), gate_entropy(gates).mean()[None]]))
    return torch.stack(rows)


def balance_loss(routing: list[Tensor], load: Tensor) -> Tensor:
    """``K * sum_k(load_k * mean gate_k)``, averaged over the slices: 1 when balanced.

    ``load`` is that of the step before, over all processes, and takes no gradient. So the loss
    is linear in the places of a batch, and the same however the batch is dealt out.

    Args:
        routing: per slice the gates of this part of a batch, (B, K, H, W).
        load: mean gates of the step before, shape (slices, K).

    Reference:
        Fedus et al., "Switch Transformers", JMLR 2022, arXiv:2101.03961 (there the load counts
        the chosen expert of each place; a dense mixture has only gates).
    """
    terms = [
        gates.shape[1] * (fraction * gates.mean(dim=(0, 2, 3))).sum()
        for gates, fraction in zip(routing, load.detach(), strict=True)
    ]
    return torch.stack(terms).mean()


@torch.no_grad()
def update_selection_bias(model: DictionaryCodec, load: Tensor, step: float) -> None:
    """Make experts with little load easier to select, those with much harder.

    Args:
        model: a model with ``top_k`` experts per place, changed in place.
        load: mean gates of the last batch over all processes, shape (slices, K).
        step: how far each bias moves.

    Reference:
        Wang et al., "Auxiliary-Loss-Free Load Balancing Strategy for Mixture-of-Experts",
        arXiv:2408.15664.
    """
    for head, fraction in zip(model.latent_codec.slices, load, strict=True):
        head.attention.selection_bias += step * torch.sign(1 / len(fraction) - fraction)


def named_statistics(statistics: Tensor) -> dict[str, float]:
    """``load/{slice}/{expert}`` and ``gate_entropy/{slice}`` for the log."""
    named = {}
    for k, row in enumerate(statistics.tolist()):
        named |= {f"load/{k}/{e}": value for e, value in enumerate(row[:-1])}
        named[f"gate_entropy/{k}"] = row[-1]
    return named
