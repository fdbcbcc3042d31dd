"""Training for weights of 8 bits: the model computes with what a small file will hold."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.func import functional_call

from dictco_lib.checkpoints.rows8 import is_in_rows8, rounded
from dictco_lib.models import DictionaryCodec


class _Rounded(torch.autograd.Function):
    """Rounding whose gradient is that of the identity.

    Reference:
        Bengio et al., "Estimating or Propagating Gradients Through Stochastic Neurons for
        Conditional Computation", 2013, arXiv:1308.3432; of weights, with a step for each row:
        Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference: A
        whitepaper", 2018, arXiv:1806.08342.
    """

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, value: Tensor) -> Tensor:
        return rounded(value)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        return gradient


def run_rounded(model: DictionaryCodec, x: Tensor, quality: Tensor | None) -> dict:
    """What the model returns with its matrices in 8-bit rows, and the routing.

    The gradient goes straight through to the weights, which keep their fine digits: small steps
    of the optimiser add up until a weight takes the next value.

    Args:
        model: any codec; its weights are left as they are.
        x: images, shape (B, 3, H, W).
        quality: of each image, (B,); None for a fixed-rate model.
    """
    seen = {key: _Rounded.apply(value) for key, value in _matrices(model).items()}
    return functional_call(model, seen, (x, quality), {"return_routing": True})


@torch.no_grad()
def rounded_copy(model: DictionaryCodec) -> DictionaryCodec:
    """The model that ``dictco export --rows8`` makes of this one, whose matrices are rounded."""
    copied = copy.deepcopy(model)
    for value in _matrices(copied).values():
        value.copy_(rounded(value))
    return copied


def _matrices(model: DictionaryCodec) -> dict[str, Tensor]:
    parameters = model.named_parameters()
    return {key: value for key, value in parameters if is_in_rows8(key, value, transforms=True)}
