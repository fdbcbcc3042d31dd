"""Training noise that does not depend on how a batch is dealt out."""

from __future__ import annotations

import torch
from compressai.entropy_models import EntropyBottleneck, GaussianConditional
from torch import Tensor


class _SharedNoise:
    """Draws the noise of the whole batch and takes one part of it.

    Processes that share a batch, and the steps of one gradient accumulation, seed alike: together
    they then see the very noise that one process with the whole batch would see.
    """

    batch_dim: int  # of what `quantize` gets
    part, parts = 0, 1

    def quantize(self, inputs: Tensor, mode: str, means: Tensor | None = None) -> Tensor:
        if mode != "noise" or self.parts == 1:
            return super().quantize(inputs, mode, means)
        size = inputs.shape[self.batch_dim]
        shape = list(inputs.shape)
        shape[self.batch_dim] *= self.parts
        noise = inputs.new_empty(shape)
        if noise.dim() == 4 and not inputs.is_contiguous():
            noise = noise.to(memory_format=torch.channels_last)  # filled in the order of memory
        noise.uniform_(-0.5, 0.5)
        return inputs + noise.narrow(self.batch_dim, self.part * size, size)


class FactorisedPrior(_SharedNoise, EntropyBottleneck):
    """CompressAI's learned prior of z, one density per channel."""

    batch_dim = 2  # it flattens to (C, 1, B * H * W)


class ConditionalGaussian(_SharedNoise, GaussianConditional):
    """CompressAI's discretised Gaussian of y."""

    batch_dim = 0


def share_noise(model: torch.nn.Module, part: int, parts: int) -> None:
    """Let all entropy models of a model draw part ``part`` of ``parts`` equal ones."""
    for module in model.modules():
        if isinstance(module, _SharedNoise):
            module.part, module.parts = part, parts
