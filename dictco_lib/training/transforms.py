"""What a run asks of ``g_a`` and ``g_s`` alone: their ceiling, and their faster precision."""

from __future__ import annotations

import time
from statistics import median

import torch
from torch import Tensor

from dictco_lib.models import DictionaryCodec
from dictco_lib.models.codec import pad_to_stride

DTYPES = {"float32": None, "bf16": torch.bfloat16}
_TURNS = 3
#: A choice made before is kept unless the other is faster by this factor: noise does not change
#: a run that goes on, another processor does.
_CLEARLY = 2.0


@torch.no_grad()
def unrounded_psnr(model: DictionaryCodec, x: Tensor) -> float:
    """What a model would reach without any quantisation, which bounds its highest quality.

    Args:
        model: any codec.
        x: one image, shape (1, 3, H, W), in [0, 1].

    Returns:
        PSNR in dB of ``g_s(g_a(x))``. Gains undo each other, so that there is no quality in it.
    """
    x_hat = model.g_s(model.g_a(pad_to_stride(x)))[..., : x.shape[-2], : x.shape[-1]]
    mse = (x_hat.clamp(0, 1) - x).square().mean().clamp(min=1e-10)
    return -10 * mse.log10().item()


def transform_seconds(model: DictionaryCodec, x: Tensor) -> dict[str, float]:
    """Median seconds of the transforms and their gradients in each precision, on this machine.

    On a CPU these are seconds of computing, which other work on the machine does not change.

    Processors with AVX512_BF16 or AMX are up to twice as fast with bf16, others a hundred times
    slower. Weights, gradients and random numbers are left as they are.

    Args:
        model: what is trained, not yet compiled.
        x: a batch as in training, shape (B, 3, H, W).

    Returns:
        Seconds for each name of :data:`DTYPES`.
    """
    mode, dtype = model.training, model.transform_dtype
    model.eval()  # BatchNorm must not count these
    seconds: dict[str, list[float]] = {name: [] for name in DTYPES}
    try:
        for _ in range(_TURNS + 1):
            for name in DTYPES:
                seconds[name].append(_seconds(model, x, name))
    finally:
        model.train(mode)
        model.transform_dtype = dtype
    return {name: median(values[1:]) for name, values in seconds.items()}


def faster(seconds: dict[str, float], kept: str | None = None) -> str:
    """The name with the least seconds; the one kept from before, unless it is clearly slower."""
    best = min(seconds, key=seconds.get)
    is_kept = kept in seconds and seconds[kept] <= _CLEARLY * seconds[best]
    return kept if is_kept else best


def _seconds(model: DictionaryCodec, x: Tensor, name: str) -> float:
    model.transform_dtype = DTYPES[name]
    weights = [*model.g_a.parameters(), *model.g_s.parameters()]
    clock = time.process_time if x.device.type == "cpu" else time.perf_counter
    start = clock()
    x_hat = model._transform(model.g_s, model._transform(model.g_a, x))
    torch.autograd.grad(x_hat.square().mean(), weights)[0].sum().item()  # waits for the device
    return clock() - start
