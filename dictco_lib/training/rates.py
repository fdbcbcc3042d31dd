"""What a step is weighed with: the learning rate of each part, the decay of the average."""

from __future__ import annotations

import math

from torch import nn

from dictco_lib.models import DictionaryCodec
from dictco_lib.training.recipe import Recipe


def rate_factor(recipe: Recipe, step: int, end: int) -> float:
    """Factor on every learning rate at a step: linear warm-up, then the schedule's.

    Args:
        recipe: names the schedule.
        step: from 0.
        end: the step at which the run stops.
    """
    r = recipe
    if step < r.warmup:
        return (step + 1) / r.warmup
    if r.schedule == "multistep":
        return r.decay ** sum(step >= milestone for milestone in r.milestones)
    if r.schedule == "constant":
        # The best form of a late decay in Hägele et al., "Scaling Laws and Compute-Optimal
        # Training Beyond Fixed Training Durations", NeurIPS 2024, arXiv:2405.18392.
        part = (step + r.decay_steps - end) / max(1, r.decay_steps)
        return r.final + (1 - r.final) * (1 - math.sqrt(min(1.0, max(0.0, part))))
    part = min(1.0, (step - r.warmup) / max(1, end - r.warmup))
    return r.final + (1 - r.final) * 0.5 * (1 + math.cos(math.pi * part))


def ema_decay(recipe: Recipe, step: int) -> float:
    """Share of the old average in the new one at a step: less at the beginning, then the recipe's.

    Args:
        recipe: names the decay of a long run.
        step: from 0.
    """
    return min(recipe.ema_decay, (1 + step) / (10 + step))


def parameter_groups(model: DictionaryCodec, recipe: Recipe) -> list[dict]:
    """Transforms, entropy model, factorised prior and routers, each with its peak rate."""
    groups: dict[str, list[nn.Parameter]] = {"transform_lr": [], "lr": [], "prior_lr": []}
    if recipe.router_lr:
        groups["router_lr"] = []
    for name, parameter in model.named_parameters():
        if name.endswith("quantiles"):
            continue
        key = "transform_lr" if name.startswith(("g_a.", "g_s.")) else "lr"
        if "entropy_bottleneck" in name:
            key = "prior_lr"
        elif recipe.router_lr and ".router." in name:
            key = "router_lr"
        groups[key].append(parameter)
    return [{"params": v, "peak_lr": getattr(recipe, key)} for key, v in groups.items()]
