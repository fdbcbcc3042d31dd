"""A variable-rate model held at one quality: a fixed-rate model, as the published ones are."""

from __future__ import annotations

from dataclasses import replace

import torch

from dictco_lib.entropy.gaussian import LOG_SCALES
from dictco_lib.errors import ConfigError
from dictco_lib.models import DictionaryCodec


@torch.no_grad()
def fixed_rate(model: DictionaryCodec, quality: float) -> DictionaryCodec:
    """A model without gains that computes what ``model`` computes at one quality.

    The gains of y and z are linear, and so are the layers next to them: g_a and h_a end with the
    gain of their channels in their last weights, g_s, h_scale and h_mean begin with its inverse.
    CompressAI's tables are filled, so that plain files can be written.

    Args:
        model: a variable-rate model of the dictionary family, whose nets end in single layers.
        quality: 0 to 100.

    Raises:
        ConfigError: for another member, whose nets may end otherwise.
        QualityError: for a model with one rate, or a quality out of range.
    """
    if model.config.family != "dictionary":
        raise ConfigError(
            f"model {model.config.name!r} is of the family {model.config.family!r}; gains are "
            "taken into the weights of the dictionary family only: give classroom or nano"
        )
    ring = model.latent_codec
    weight = next(model.parameters())
    level = model.level(quality, weight.new_empty(1))
    name = f"{model.config.name} at {quality:g}"
    fixed = type(model)(replace(model.config, name=name, lmbdas=())).to(weight)
    state = {k: v for k, v in model.state_dict().items() if "latent_codec.gain_" not in k}
    fixed.load_state_dict(state)
    inner = fixed.latent_codec
    for last, gain in ((fixed.g_a[-1], ring.gain_y), (inner.h_a[-1], ring.gain_z)):
        factor = gain.gain(level).flatten()
        last.weight *= factor[:, None, None, None]
        last.bias *= factor
    firsts = ((fixed.g_s, ring.gain_y), (inner.h_scale, ring.gain_z), (inner.h_mean, ring.gain_z))
    for net, gain in firsts:
        net[0].weight *= gain.inverse(level).flatten()[:, None, None, None]  # input channels first
    fixed.eval().requires_grad_(False)
    fixed.update()
    inner.gaussian.update_scale_table(LOG_SCALES.exp().float().tolist())
    inner.entropy_bottleneck.update()
    return fixed
